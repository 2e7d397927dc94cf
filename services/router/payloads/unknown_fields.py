"""The fields of a payload that nothing reads, each with the known field that was most likely meant.

Pure, and bounded in time and size for any payload. Names that a publisher made up are shown shortened, values never.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from services.router.payloads.envelope import Payload
from services.router.payloads.rejection import FIELD_CHARS, PROBLEMS_SHOWN, FieldProblem
from shared.core.nearest import NAME_CHARS, letters, nearest

UNKNOWN = "unknown"
DIFFERS = "differs from the topic, which counts"

# What others call a field of ours; the first of these that the topic takes and the payload does not say is meant.
OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "text": ("message", "body"),
    "msg": ("message", "body"),
    "content": ("message", "body"),
    "body": ("message",),
    "message": ("body",),
    "title": ("subject",),
    "subject": ("title",),
    "heading": ("title", "subject"),
    "html": ("html_body",),
    "email": ("to",),
    "mail": ("to",),
    "recipient": ("to", "phone", "user_id"),
    "to": ("phone", "user_id"),
    "number": ("phone",),
    "mobile": ("phone",),
    "user": ("user_id",),
    "device": ("tokens",),
    "devicetoken": ("tokens",),
    "mails": ("emails",),
    "messages": ("emails",),
    "groups": ("target_groups",),
    "systems": ("affected_systems",),
    "urgency": ("priority",),
    "importance": ("priority",),
    "payload": ("data",),
    "metadata": ("data",),
    "variables": ("data",),
    "context": ("data",),
    "idempotencykey": ("id",),
    "notificationid": ("id",),
    "messageid": ("id",),
    "delay": ("send_at",),
    "bodyhtml": ("html_body",),
    "endat": ("ends_at", "expires_at"),
    "ttl": ("ttl_s",),
    "deadline": ("expires_at",),
    "scheduledat": ("send_at",),
    "deliverat": ("send_at",),
}

_OURS = frozenset(each for words in OTHER_WORDS.values() for each in words)

# Fields that are objects, so that an object of another name may be meant for them.
OBJECTS = frozenset({"data", "services"})


def unknown_fields(model: type[Payload], document: Mapping[str, Any], params: Mapping[str, str]) -> list[FieldProblem]:
    """Name what a payload says and nothing reads; the first ``PROBLEMS_SHOWN``, and how many more.

    Args:
        document: the payload's object.
        params: the topic's levels, which win over fields of the same name.
    """
    found = [FieldProblem(name, DIFFERS) for name, value in params.items() if document.get(name, value) != value]
    known = _fields(model).keys()
    if document.keys() <= known:
        return found
    names = [name for name in document if name not in known]
    for name in names[:PROBLEMS_SHOWN]:
        found += _unread(model, document, params, name)
    more = len(names) - PROBLEMS_SHOWN
    return [*found, FieldProblem("", f"and {more} more unknown")] if more > 0 else found


def _unread(
    model: type[Payload], document: Mapping[str, Any], params: Mapping[str, str], name: str
) -> list[FieldProblem]:
    value, of_topic = document[name], _of_topic(model, name)
    if of_topic is not None:
        return [FieldProblem(name, DIFFERS)] if value != of_topic else []
    # What a publisher repeats is looked for once.
    meant = _meant_in(model, name[: NAME_CHARS + 1], tuple(params), tuple(sorted(document.keys() & _OURS)))
    # An object of another name: what stands in it belongs to the payload itself, as far as it is known there.
    inside = [each for each in value if each in _fields(model)] if isinstance(value, Mapping) else []
    if inside and meant not in OBJECTS:
        return [FieldProblem(f"{name}.{each}"[-FIELD_CHARS:], UNKNOWN, each) for each in inside]
    return [FieldProblem(name[:FIELD_CHARS], UNKNOWN, meant)]


def _of_topic(model: type[Payload], name: str) -> str | None:
    """Return what the topic says of a field that a payload cannot decide: the priority and the level of an alert."""
    value = getattr(model, name, None) if name in model.__class_vars__ else None
    return value if isinstance(value, str) else None


@lru_cache(maxsize=4096)
def _meant_in(model: type[Payload], name: str, params: tuple[str, ...], said: tuple[str, ...]) -> str | None:
    return _meant(name, [each for each in _fields(model) if each not in params], said)


def _meant(name: str, known: Collection[str], said: Collection[str] = ()) -> str | None:
    others = (each for each in OTHER_WORDS.get(letters(name), ()) if each in known and each not in said)
    return next(others, None) or nearest(name, known)


def meant_at(model: type[BaseModel], location: tuple[int | str, ...]) -> str | None:
    """Return the field that is meant where a model refuses an unknown one.

    Args:
        location: where pydantic found it; the last part is the unknown name.
    """
    *path, name = (part for part in location if isinstance(part, str))
    models = [model]
    parts = iter(path)
    for part in parts:
        annotations = [_fields(owner).get(part) for owner in models]
        # A tag of a union stands in the path like a field, and leads nowhere.
        below = [each for annotation in annotations for each in _models_in(annotation)]
        models = below or models
        if below and any(map(_is_map, annotations)):
            # A name that the writer made up, perhaps that of a field.
            next(parts, None)
    known = [each for owner in models for each in _fields(owner)]
    return _meant(name, known)


@cache
def _fields(model: type[BaseModel]) -> Mapping[str, Any]:
    """Return a model's fields as they are called in JSON."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _is_map(annotation: Any) -> bool:  # noqa: ANN401 - any annotation
    return get_origin(annotation) is dict


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return [model for each in get_args(annotation) for model in _models_in(each)]

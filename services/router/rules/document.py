"""The rules of every topic as one JSON document, for clients that check a payload before they publish it.

Promises that a client which follows ``clients/README.md`` finds the code, the fields and the problems that the router's
receipt would name. What needs more than the payload is the router's alone: rates, rights, deadlines, whether somebody
or something exists.
"""

import re
from typing import Any

from pydantic import BaseModel

from services.router.payloads.envelope import Envelope, Payload
from services.router.payloads.parse import (
    ANY_PAYLOAD,
    DIFFERS_FROM_TOPIC,
    MODELS,
    NOT_ON_THIS_TOPIC,
    RECORDS,
    TEMPLATED,
    WHEN_EMPTY,
)
from services.router.payloads.rejection import FIELD_CHARS, PROBLEMS_SHOWN, WORDS, RejectionCode
from services.router.payloads.unknown_fields import DIFFERS, OBJECTS, OTHER_WORDS
from services.router.rules.checks import CHECKS
from services.router.rules.schemas import schemas_of
from shared.core.limits import OBJECT_BYTES, payload_bytes
from shared.core.nearest import CLOSE, NAME_CHARS
from shared.core.topics import CLOSE_LEVEL, CLOSE_TOPIC, COMPARED_CHARS, Kind, Topics
from shared.directory.people import Person
from shared.directory.person_change import PersonChange

# Of the format, not of the rules: raised when a client that reads the former one would do something wrong.
VERSION = 1

# jiter, which reads the payloads, stops there.
JSON_LEVELS = 200

# The keywords of JSON Schema, and the pydantic errors whose words a refusal uses for them.
_ERRORS = {
    "required": "missing",
    "string": "string_type",
    "boolean": "bool_type",
    "number": "float_type",
    "integer": "int_type",
    "array": "tuple_type",
    "object": "dict_type",
    "minLength": "string_too_short",
    "maxLength": "string_too_long",
    "maxItems": "too_long",
    "maxProperties": "too_long",
    "exclusiveMinimum": "greater_than",
    "minimum": "greater_than_equal",
    "maximum": "less_than_equal",
    "enum": "enum",
    "unknown": "extra_forbidden",
}

_BLANK = re.compile(r"\{[^}]*\}")

_WORDS = {
    **{keyword: _BLANK.sub("{limit}", WORDS[error]) for keyword, error in _ERRORS.items()},
    "minItems": WORDS["string_too_short"],
    "differs": DIFFERS,
    "differs_refused": DIFFERS_FROM_TOPIC,
    "more_unknown": "and {count} more unknown",
    "not_on_this_topic": NOT_ON_THIS_TOPIC,
    "mail_too_large": "larger than {limit} bytes",
}

_MESSAGES = {
    "empty": "The payload is empty.",
    "not_json": "The payload is not JSON: {reason}.",
    "not_an_object": "The payload is not a JSON object.",
    "too_large": "The payload has {bytes} bytes. This topic takes at most {limit}.",
    "mails_too_large": "A mail of a batch has at most {limit} bytes. {count} of these have more.",
    "one_field": "One field is not valid.",
    "many_fields": "{count} fields are not valid.",
    "shown": " The first {shown} are listed.",
    "unknown_topic": "Nothing listens on this topic.",
    "nearest_topic": " Did you mean {topic}?",
}


def rules() -> dict[str, Any]:
    """Write the document."""
    models = {_record_of(model) for model in (*MODELS.values(), *TEMPLATED.values())}
    schemas = schemas_of(sorted(models, key=lambda model: model.__name__))
    topics = [_topic(kind) for kind in Kind]
    for topic in topics:
        for name in (topic["schema"], topic.get("templated")):
            if name:
                _say_parameters(schemas[name], topic["parameters"])
    return {
        "version": VERSION,
        "codes": [code.value for code in RejectionCode],
        "limits": {
            "problems_shown": PROBLEMS_SHOWN,
            "field_chars": FIELD_CHARS,
            "json_levels": JSON_LEVELS,
            "mail_bytes": OBJECT_BYTES,
        },
        "words": _WORDS,
        "messages": _MESSAGES,
        "names": {
            "close": CLOSE,
            "name_chars": NAME_CHARS,
            "other_words": {name: list(words) for name, words in OTHER_WORDS.items()},
            "objects": sorted(OBJECTS),
            "topic_close": CLOSE_TOPIC,
            "level_close": CLOSE_LEVEL,
            "topic_chars": COMPARED_CHARS,
        },
        "topics": topics,
        "checks": {name: list(steps) for name, steps in CHECKS.items()},
        "schemas": schemas,
    }


def _record_of(model: type[Any]) -> type[BaseModel]:
    """Return the model that a topic's payload is checked against; a change of a person is checked as a person."""
    return Person if model is PersonChange else model


def _topic(kind: Kind) -> dict[str, Any]:
    model = MODELS[kind]
    pattern = Topics().pattern(kind)
    parameter = pattern.partition("{")[2].partition("}")[0]
    is_record = model in RECORDS
    written: dict[str, Any] = {
        "kind": kind.value,
        "topic": pattern,
        "parameters": [parameter] if parameter else [],
        "schema": _record_of(model).__name__,
        "max_bytes": payload_bytes(kind),
        "empty": _empty(kind),
        "unknown_fields": "warn" if _ignores(model) else "refuse",
        "nulls": "clear" if model is PersonChange else "absent",
        "same_name": is_record,
    }
    if kind in ANY_PAYLOAD:
        written["any_payload"] = True
    if issubclass(model, Envelope):
        written["notification"] = True
        written["templated"] = TEMPLATED[kind].__name__ if kind in TEMPLATED else None
        written["properties"] = ["id", "ttl_s"]
    fixed = {name: getattr(model, name) for name in ("priority", "level") if name in _class_variables(model)}
    if fixed:
        written["fixed"] = {name: str(value) for name, value in fixed.items()}
    return written


def _ignores(model: type[Any]) -> bool:
    """Tell whether an unknown field of a payload is a warning."""
    return issubclass(model, Payload) and model.model_config.get("extra") == "ignore"


def _class_variables(model: type[Any]) -> set[str]:
    return model.__class_vars__ if issubclass(model, BaseModel) else set()


def _empty(kind: Kind) -> str:
    """Say what an empty payload means on a topic."""
    if kind not in WHEN_EMPTY:
        return "refused"
    return "object" if WHEN_EMPTY[kind] is MODELS[kind] else "delete"


def _say_parameters(schema: dict[str, Any], parameters: list[str]) -> None:
    """Mark the fields that stand in the topic: a payload need not say them."""
    schema["required"] = [name for name in schema.get("required", ()) if name not in parameters]
    for name in parameters:
        schema["properties"][name]["x-parameter"] = True
    if not schema["required"]:
        del schema["required"]

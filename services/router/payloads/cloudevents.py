"""CloudEvents 1.0 around a payload, in the two modes of its MQTT binding.

Binary: the payload is the event's data, and user properties are its attributes. Structured: the payload is the whole
event as JSON. The realtime service hands on what it takes over HTTP in the same forms, so that this is the one reader.

Pure. It takes the data out and checks the attributes. What the data must be, the topic's own model says.

Sections are those of "CloudEvents - Version 1.0.2" (CE), of its "JSON Event Format" (JSON) and of its "MQTT Protocol
Binding" (MQTT); https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, from_json, to_json

from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode, invalid_payload
from shared.core.fields import Line, Word, moment
from shared.core.topics import Kind

# MQTT, 3: an event is in structured mode if its content type begins so.
STRUCTURED = "application/cloudevents"
_JSON_FORMAT = "application/cloudevents+json"

SPECVERSION = "specversion"
_VERSION = "1.0"

# CE, "Required Attributes", and those of its optional ones that may not be empty.
_REQUIRED = ("id", "source", "type")
_TEXTS = ("subject", "dataschema")

_REALTIME = frozenset({Kind.REALTIME_USER, Kind.REALTIME_GROUP, Kind.REALTIME_BROADCAST})
_ALERTS = frozenset({Kind.ALERT_CRITICAL, Kind.ALERT_WARNING, Kind.ALERT_INFO})

_word: TypeAdapter[str] = TypeAdapter(Word)
_line: TypeAdapter[str] = TypeAdapter(Line)


@dataclass(frozen=True, slots=True)
class Event:
    """What an event carries.

    Attributes:
        payload: its data, as the topic takes it without an event around it.
    """

    id: str
    source: str
    type: str
    subject: str | None
    payload: bytes

    @property
    def key(self) -> str:
        """The idempotency key: CE, "id": whoever gets the same source and id may take it for the same event."""
        return f"ce-{blake2b(json.dumps([self.source, self.id]).encode(), digest_size=16).hexdigest()}"

    def envelope(self, kind: Kind) -> dict[str, object]:
        """Return what the attributes say in place of payload fields; the payload wins.

        An attribute that its field would refuse is left out: it is a valid event all the same.
        """
        said: dict[str, object] = {"id": self.key}
        if kind in _REALTIME and _fits(_word, self.type):
            said["type"] = self.type
        if kind in _ALERTS:
            if _fits(_line, self.source):
                said["source"] = self.source
            if self.subject is not None and _fits(_line, self.subject):
                said["affected_systems"] = [self.subject]
        return said


def _fits(field: TypeAdapter[str], text: str) -> bool:
    try:
        field.validate_python(text)
    except ValidationError:
        return False
    return True


def read_event(content_type: str | None, user_properties: Sequence[tuple[str, str]], payload: bytes) -> Event | None:
    """Read the event that a publish is; None for one that is no event.

    Raises:
        Rejected: with the code ``invalid_json``, or ``invalid_payload`` and the attributes that are wrong.
    """
    media_type = "" if content_type is None else _media_type(content_type)
    if media_type.startswith(STRUCTURED):
        return _structured(media_type, payload)
    if not any(name == SPECVERSION for name, _ in user_properties):
        return None
    attributes: dict[str, Any] = {}
    for name, value in user_properties:
        attributes.setdefault(name, value)
    # MQTT, 3.1.1: the content type is the attribute datacontenttype.
    attributes["datacontenttype"] = content_type
    return _event(attributes, payload)


def identity_of(
    content_type: str | None, user_properties: Sequence[tuple[str, str]], payload: bytes, key: str | None
) -> str | None:
    """Return what is the same of an event when it is sent again; None for a publish that is no event.

    Read before anything is checked. Events that could become two notifications differ in it.

    Args:
        key: the idempotency key that an MQTT property says.
    """
    said = dict(reversed(user_properties))
    if SPECVERSION not in said and not _media_type(content_type or "").startswith(STRUCTURED):
        return None
    names = json.dumps([key, said.get("source"), said.get("id")])
    return f"event {names} {blake2b(payload, digest_size=16).hexdigest()}"


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _structured(media_type: str, payload: bytes) -> Event:
    if media_type != _JSON_FORMAT:
        raise invalid_payload((FieldProblem("content_type", f"must be {_JSON_FORMAT}"),))
    try:
        document = from_json(payload, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise Rejected(RejectionCode.INVALID_JSON, f"The event is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise Rejected(RejectionCode.INVALID_JSON, "The event is not a JSON object.")
    # JSON, 2.2: an attribute that is null is one that is not there.
    attributes = {name: value for name, value in document.items() if value is not None}
    return _event(attributes, _data(attributes))


def _data(attributes: Mapping[str, Any]) -> bytes:
    """Take the data out of an event in JSON (JSON, 3.1)."""
    data, encoded = attributes.get("data"), attributes.get("data_base64")
    if encoded is None:
        if data is not None and not isinstance(data, dict):
            raise invalid_payload((FieldProblem("data", "must be an object"),))
        # Infinity (1e999) stays what no reader takes.
        return b"" if data is None else to_json(data, inf_nan_mode="constants")
    if data is not None:
        raise invalid_payload((FieldProblem("data_base64", "must not stand beside data"),))
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise invalid_payload((FieldProblem("data_base64", "must be in base64"),)) from None


def _event(attributes: Mapping[str, Any], payload: bytes) -> Event:
    problems = [
        problem for name in attributes.keys() | {SPECVERSION, *_REQUIRED} if (problem := _wrong(name, attributes))
    ]
    if problems:
        raise invalid_payload(tuple(sorted(problems, key=lambda problem: problem.field)))
    return Event(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        subject=attributes.get("subject"),
        payload=payload,
    )


def _wrong(name: str, attributes: Mapping[str, Any]) -> FieldProblem | None:
    """Say what is wrong with an attribute; what is no attribute that we read is passed over."""
    value = attributes.get(name)
    if name == SPECVERSION:
        return None if value == _VERSION else FieldProblem(name, "required" if value is None else f"must be {_VERSION}")
    if name in _REQUIRED and value is None:
        return FieldProblem(name, "required")
    if value is None:
        return None
    if name in _REQUIRED or name in _TEXTS:
        if not isinstance(value, str):
            return FieldProblem(name, "must be a string")
        return None if value else FieldProblem(name, "must not be empty")
    if name == "time":
        return (
            None if isinstance(value, str) and _is_moment(value) else FieldProblem(name, "must be a time in RFC 3339")
        )
    if name == "datacontenttype":
        return None if isinstance(value, str) and _is_json(value) else FieldProblem(name, "must be JSON")
    return None


def _is_moment(text: str) -> bool:
    try:
        moment(text)
    except PydanticCustomError:
        return False
    return True


def _is_json(content_type: str) -> bool:
    """Tell whether this media type is JSON (CE, "data": it ends in ``/json`` or ``+json``)."""
    return _media_type(content_type).endswith(("/json", "+json"))

"""Says in a publish of ours what an alert of Alertmanager says. Pure.

Promises, for every alert that could be read, a publish within the limits of its topic: what does not fit is left out or
shortened, and told. The same alert in the same state has the same idempotency key whichever member of a cluster sends
it and however often. When Alertmanager ends it again after it has begun again, that is another key.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from services.realtime.alertmanager.webhook import Alert, AlertStatus, Message
from shared.core.clock import rfc3339
from shared.core.fields import LINE_CHARS, WORD_CHARS, moment, single_line
from shared.core.limits import OBJECT_BYTES

# Any other severity, and none, is critical: a word that nobody has thought of wakes somebody.
_LEVELS = {"warning": "warning", "warn": "warning", "info": "info", "information": "info", "none": "info"}

# As an alert's payload has them (services/router/payloads/notifications.py and envelope.py).
LABELS = 64
KEY_CHARS = 128

# What a mail or an inbox can show; a page of text is already more than anybody reads at night.
MESSAGE_CHARS = 8_000
_ANNOTATION_CHARS = 4_000
_SHORT_CHARS = 500

# Annotations that say in words what is wrong, the shortest first.
_WORDS = ("summary", "message", "description")
# Labels that name what is broken. A job names the collector and not the thing.
_SYSTEMS = ("service", "instance", "node", "host")
_PORT = re.compile(r"(?P<host>[^:\s]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Said:
    """A publish that says what an alert says.

    Attributes:
        topic: without the prefix.
        key: the idempotency key.
        left_out: labels that are not within the limits of ours.
        shortened: whether something else had to be shortened or left out.
    """

    topic: str
    key: str
    payload: bytes
    left_out: int = 0
    shortened: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What the URL of the webhook asks for.

    Attributes:
        level: for every alert, whatever its label says; None goes by the label.
        expires_after_s: after how long without a message an alert counts as resolved.
    """

    alert_type: str
    level: str | None
    expires_after_s: float


def said(message: Message, alert: Alert, asked: Asked) -> Said:
    """Say an alert as a publish."""
    severity = alert.labels.get("severity", "").strip()
    level = asked.level or _LEVELS.get(severity.lower(), "critical")
    labels = {name: value for name, value in alert.labels.items() if _is_line(name) and _is_line(value)}
    labels = dict(sorted(labels.items())[:LABELS])
    fingerprint = fingerprint_of(alert)
    starts_at = _moment(alert.starts_at)
    payload: dict[str, Any] = {
        "message": _clipped(_words(alert), MESSAGE_CHARS),
        "source": _source(message, alert),
        "severity": _line(severity, WORD_CHARS),
        "affected_systems": list(_systems(alert.labels)),
        "labels": labels,
        "dedup_key": fingerprint,
        "group_key": _key(message.group_key),
        "status": alert.status.value,
        "starts_at": rfc3339(starts_at) if starts_at is not None else None,
        "expires_after": asked.expires_after_s,
    }
    payload = {name: value for name, value in payload.items() if value not in (None, "", [], {})}
    body, shortened = _fitting(payload, _data(message, alert, labels))
    return Said(
        f"notifications/alerts/{level}/{asked.alert_type}",
        _identity(message, alert, asked.alert_type, level, fingerprint),
        body,
        left_out=len(alert.labels) - len(labels),
        shortened=shortened or len(_words(alert)) > MESSAGE_CHARS,
    )


def fingerprint_of(alert: Alert) -> str:
    """Name the alert: by its fingerprint, or by its labels where a message has none."""
    return _key(alert.fingerprint) if alert.fingerprint else _digest(json.dumps(alert.labels, sort_keys=True))


def _identity(message: Message, alert: Alert, alert_type: str, level: str, fingerprint: str) -> str:
    starts_at = _moment(alert.starts_at)
    parts = [message.group_key, fingerprint, rfc3339(starts_at) if starts_at else alert.starts_at, alert.status.value]
    if alert.status is AlertStatus.RESOLVED:
        # An alert that Prometheus could not report for a while is resolved, and later fires with the former start. Its
        # second end must not pass for the first.
        ends_at = _moment(alert.ends_at)
        parts.append(rfc3339(ends_at) if ends_at else alert.ends_at)
    # Two receivers with URLs of their own may get the same alert.
    return _digest(json.dumps([alert_type, level, *parts]))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _key(text: str) -> str:
    return text if len(text) <= KEY_CHARS and _is_line(text, KEY_CHARS) else _digest(text)


def _moment(text: str) -> datetime | None:
    """Read a time; None where ours could not be such a time, such as the year 1, which Go writes for none."""
    try:
        return moment(text)
    except PydanticCustomError:
        return None


def _is_line(text: str, most_chars: int = LINE_CHARS) -> bool:
    if not 0 < len(text) <= most_chars:
        return False
    try:
        single_line(text)
    except PydanticCustomError:
        return False
    return True


def _line(text: str, most_chars: int = LINE_CHARS) -> str:
    """Make one line of a text; empty where nothing is left."""
    return _clipped(_CONTROL.sub(" ", text).replace("=?", "= ?").strip(), most_chars)


def _clipped(text: str, most_chars: int) -> str:
    return text if len(text) <= most_chars else f"{text[: most_chars - 1]}…"


def _words(alert: Alert) -> str:
    """Return what the annotations say, or else a sentence made of the labels."""
    found = dict.fromkeys(text for name in _WORDS if (text := alert.annotations.get(name, "").strip()))
    if found:
        return "\n\n".join(found)
    name = alert.labels.get("alertname", "").strip() or "An alert"
    others = ", ".join(
        f"{label}: {value}" for label, value in sorted(alert.labels.items()) if label not in ("alertname", "severity")
    )
    verb = "is resolved" if alert.status is AlertStatus.RESOLVED else "is firing"
    return f"{name} {verb} ({others})." if others else f"{name} {verb}."


def _source(message: Message, alert: Alert) -> str:
    for name in ("instance", "job"):
        if text := _line(alert.labels.get(name, "")):
            return text
    return _line(_host(message.external_url))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _systems(labels: Mapping[str, str]) -> Iterator[str]:
    """Name what is affected; an instance without its port, as people name the machine."""
    seen: set[str] = set()
    for name in _SYSTEMS:
        value = labels.get(name, "")
        with_port = _PORT.fullmatch(value)
        system = with_port["host"].strip("[]") if with_port else value
        if _is_line(system) and system not in seen:
            seen.add(system)
            yield system


def _data(message: Message, alert: Alert, labels: Mapping[str, str]) -> dict[str, Any]:
    others = {name: value for name, value in alert.labels.items() if name not in labels}
    parts: dict[str, Any] = {
        "generator_url": alert.generator_url,
        "external_url": message.external_url,
        "receiver": message.receiver,
        "annotations": alert.annotations,
        "group_labels": message.group_labels,
        "other_labels": others,
    }
    return {name: value for name, value in parts.items() if value}


# In this order parts of the data are given up.
_GIVEN_UP = ("other_labels", "group_labels", "annotations", "receiver", "external_url", "generator_url")


def _fitting(payload: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[bytes, bool]:
    """Write the payload with as much of the data as the topic takes, and tell whether that is not all of it."""
    body = _written(payload, data)
    if len(body) <= OBJECT_BYTES:
        return body, False
    for most_chars in (_ANNOTATION_CHARS, _SHORT_CHARS):
        shorter = _shortened(data, most_chars)
        body = _written(payload, shorter)
        if len(body) <= OBJECT_BYTES:
            return body, True
    for name in _GIVEN_UP:
        shorter.pop(name, None)
        body = _written(payload, shorter)
        if len(body) <= OBJECT_BYTES:
            break
    # The rest is within bounds: 8,000 characters of text and 64 labels of 400 take less than half of it, but escaped
    # or in four bytes each they may not.
    while len(body) > OBJECT_BYTES:
        payload = _without_longest(payload)
        body = _written(payload, {})
    return body, True


def _without_longest(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Take half of the message, then half of the labels, away."""
    text = str(payload["message"])
    if len(text) > _SHORT_CHARS:
        return {**payload, "message": _clipped(text, max(_SHORT_CHARS, len(text) // 2))}
    labels = dict(payload.get("labels", {}))
    return {**payload, "labels": dict(list(labels.items())[: len(labels) // 2])}


def _shortened(data: Mapping[str, Any], most_chars: int) -> dict[str, Any]:
    return {
        name: _clipped(value, most_chars)
        if isinstance(value, str)
        else {_clipped(each, LINE_CHARS): _clipped(text, most_chars) for each, text in value.items()}
        for name, value in data.items()
    }


def _written(payload: Mapping[str, Any], data: Mapping[str, Any]) -> bytes:
    document = {**payload, "data": data} if data else payload
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

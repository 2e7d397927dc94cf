"""What the headers of a request say, as the MQTT 5 properties that say the same.

Promises that no header makes the broker end our connection: a text that a broker may refuse is refused here, and all of
them together are bounded. What they mean is the router's business.

CloudEvents: "HTTP Protocol Binding for CloudEvents - Version 1.0.2", whose sections are named below.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from aiohttp import web

from services.realtime.access.refusals import FieldProblem, invalid
from services.realtime.publish.router_link import Properties
from shared.mqtt.connection import is_text
from shared.telemetry.tracing import TRACEPARENT, TRACESTATE

# Beside a payload of the largest size they fit into the largest packet that the brokers take.
PROPERTIES_BYTES = 16 * 1024

_IDEMPOTENCY_KEY = "idempotency-key"
_CE = "ce-"
# CloudEvents 1.0.2, "Naming Conventions": lower-case letters and digits.
_ATTRIBUTE = re.compile(f"{_CE}([a-z0-9]+)")
_SPECVERSION = "specversion"
# 3.2: the content type of an event in structured mode begins so.
_STRUCTURED = "application/cloudevents"

# RFC 9110, 5.6.4: a quoted string, whose backslashes quote the next character.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


def properties_of(request: web.Request) -> Properties:
    """Read the headers that mean something to the router.

    Raises:
        Refusal: they cannot be handed on.
    """
    headers = request.headers
    attributes = dict(_attributes(request))
    if attributes:
        # Headers of an event without a version are a mistake that the router names.
        attributes.setdefault(_SPECVERSION, "")
    said: dict[str, str] = {}
    if key := headers.get(_IDEMPOTENCY_KEY):
        said[_IDEMPOTENCY_KEY] = _unquoted(key)
    if traceparent := headers.get(TRACEPARENT):
        said[TRACEPARENT] = traceparent
        if tracestate := ",".join(headers.getall(TRACESTATE, [])):
            said[TRACESTATE] = tracestate
    content_type = headers.get("Content-Type")
    if not attributes and not (content_type or "").lower().startswith(_STRUCTURED):
        # A payload without an event around it is JSON, whatever the client calls it: curl says that it is a form.
        content_type = None
    # The trace that the request belongs to goes before the one that the event began in.
    found = Properties(user=tuple((attributes | said).items()), content_type=content_type)
    _check(found)
    return found


def _attributes(request: web.Request) -> Iterator[tuple[str, str]]:
    """Read the attributes of an event in binary mode (3.1.3)."""
    for name, value in request.headers.items():
        if found := _ATTRIBUTE.fullmatch(name.lower()):
            # 3.1.3.2: values are percent-encoded, and readers also take a quoted string.
            yield found[1], unquote(_unquoted(value), errors="surrogateescape")


def _unquoted(value: str) -> str:
    found = _QUOTED.fullmatch(value)
    return value if found is None else _ESCAPE.sub(r"\1", found[1])


def _check(properties: Properties) -> None:
    size_bytes = 0
    for name, value in (*properties.user, ("content-type", properties.content_type or "")):
        if not is_text(name) or not is_text(value):
            shown = name if name in (_IDEMPOTENCY_KEY, TRACEPARENT, TRACESTATE, "content-type") else f"{_CE}…"
            raise invalid(FieldProblem(shown, "must be text in UTF-8 without control characters"))
        size_bytes += len(name.encode()) + len(value.encode())
    if size_bytes > PROPERTIES_BYTES:
        raise invalid(FieldProblem("headers", f"too long: at most {PROPERTIES_BYTES} bytes"))

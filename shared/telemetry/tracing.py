"""One trace per notification: the W3C trace context on its way, and spans where OpenTelemetry is switched on.

The context (``traceparent``, ``tracestate``) arrives in the user properties of a publish. It is kept with the
notification in the ledger, and leaves in the user properties of its jobs and receipts. That happens whether or not
spans are made here.

A service makes spans if the standard variables ask for it. Otherwise we import nothing of OpenTelemetry, and ``span``
costs one call. Attributes are words from fixed lists, numbers and notification ids. They never name a user, an address
or the content.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from shared.core.errors import ConfigError
from shared.core.model import TraceContext

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

SpanKind = Literal["producer", "consumer", "client", "internal"]

# W3C Trace Context, 3.2.2: version, trace id, parent id and flags, and in versions above 00 perhaps more.
_TRACEPARENT = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE, _NO_PARENT, _INVALID_VERSION = "0" * 32, "0" * 16, "ff"
# 3.3.1.5: at least so many characters are to be handed on; what is longer may be left out as a whole.
_TRACESTATE_CHARS = 512


class Span(Protocol):
    """One step on the way; a context manager, or ended by ``end``.

    Attributes:
        context: what the next step has as its parent.
    """

    context: TraceContext | None

    def set(self, **attributes: str | int) -> None:
        """Add attributes."""
        ...

    def fail(self, reason: str) -> None:
        """Say that the step failed, by a word from a fixed list."""
        ...

    def end(self) -> None:
        """Say that the step is over."""
        ...

    def __enter__(self) -> Self:
        """Make this the current step."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        ...


class Untraced:
    """A step of which nobody keeps a span: it hands on the context that it was given."""

    __slots__ = ("context",)

    def __init__(self, context: TraceContext | None = None) -> None:
        self.context = context

    def set(self, **attributes: str | int) -> None:
        """Keep nothing."""

    def fail(self, reason: str) -> None:
        """Keep nothing."""

    def end(self) -> None:
        """Keep nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


_Begin = Callable[[str, SpanKind, TraceContext | None, Mapping[str, str | int]], Span]


class _Switch:
    """Whether this process makes spans, and what ends their export."""

    begin: _Begin | None = None
    provider: Any = None


UNTRACED = Untraced()


def span(name: str, kind: SpanKind, parent: TraceContext | None = None, **attributes: str | int) -> Span:
    """Begin a span; without a parent it belongs to the current one, or begins a trace."""
    if _Switch.begin is None:
        return UNTRACED if parent is None else Untraced(parent)
    return _Switch.begin(name, kind, parent, attributes)


def read(user_properties: Sequence[tuple[str, str]]) -> TraceContext | None:
    """Read the context that a message brought; None where there is none, or an invalid one."""
    traceparent = None
    for name, value in user_properties:
        if name == TRACEPARENT:
            if traceparent is not None:
                return None
            traceparent = value
    if traceparent is None:
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == _INVALID_VERSION or trace_id == _NO_TRACE or parent_id == _NO_PARENT or (version == "00" and more):
        return None
    # 3.2.2: what a later version says is handed on in the words of the one that we know.
    traceparent = f"00-{trace_id}-{parent_id}-{flags}"
    tracestate = ",".join(value for name, value in user_properties if name == TRACESTATE)
    is_usable = tracestate.isascii() and tracestate.isprintable() and len(tracestate) <= _TRACESTATE_CHARS
    return TraceContext(traceparent=traceparent, tracestate=tracestate or None if is_usable else None)


def user_properties(context: TraceContext | None) -> list[tuple[str, str]]:
    """Write a context as the user properties of a message."""
    if context is None:
        return []
    properties = [(TRACEPARENT, context.traceparent)]
    if context.tracestate is not None:
        properties.append((TRACESTATE, context.tracestate))
    return properties


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Tell whether OpenTelemetry's standard variables ask for spans.

    Raises:
        ConfigError: they ask for an exporter that is not offered.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in ("", "otlp", "none"):
        raise ConfigError("OTEL_TRACES_EXPORTER: only otlp and none are offered")
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return exporter != "none" and (exporter == "otlp" or any(environment.get(name) for name in endpoints))


def start(service: str) -> None:
    """Make spans in this process and export them, if the environment asks for it.

    Raises:
        ConfigError: it asks for what is not offered, or the packages are missing.
    """
    if not is_wanted(os.environ):
        return
    try:
        exports = import_module("shared.telemetry.span_export")
    except ImportError:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT: needs the packages of carillon[tracing]") from None
    _Switch.provider = exports.export(service)
    _Switch.begin = import_module("shared.telemetry.spans").begin


def stop() -> None:
    """Export what is left, and make no more spans."""
    provider, _Switch.provider, _Switch.begin = _Switch.provider, None, None
    if provider is not None:
        provider.shutdown()

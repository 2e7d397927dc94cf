"""Spans of OpenTelemetry, for ``shared.telemetry.tracing`` alone: imported only where tracing is on.

A span never holds the message or the stack trace of an exception, because they may name an address.
"""

from types import TracebackType
from typing import Self

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.core.model import TraceContext

_KINDS = {
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}
_NAMESPACE = "carillon."


class Recorded:
    """A span of OpenTelemetry; as a context manager also what spans begun meanwhile have as their parent."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: object = None
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span, contexts.Context()))
        self.context = TraceContext(**carrier) if carrier else None

    def set(self, **attributes: str | int) -> None:
        """Add attributes, each under Carillon's own namespace."""
        for name, value in attributes.items():
            self._span.set_attribute(_NAMESPACE + name, value)

    def fail(self, reason: str) -> None:
        """Say that what the span stands for failed, by a word from a fixed list."""
        self._span.set_attribute("error.type", reason)
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self) -> None:
        """Say that it is over; a second time changes nothing."""
        if self._span.is_recording():
            self._span.end()

    def __enter__(self) -> Self:
        self._token = contexts.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        contexts.detach(self._token)  # type: ignore[arg-type]  # what attach gave
        if kind is not None:
            self.fail(kind.__name__)
        self.end()


_propagator = TraceContextTextMapPropagator()


def begin(name: str, kind: str, parent: TraceContext | None, attributes: dict[str, str | int]) -> Recorded:
    """Begin a span; without a parent it belongs to the current one, or begins a trace."""
    context = None
    if parent is not None:
        context = _propagator.extract(parent.model_dump(exclude_none=True), contexts.Context())
    span = trace.get_tracer("carillon").start_span(name, context, _KINDS[kind])
    recorded = Recorded(span)
    recorded.set(**attributes)
    return recorded

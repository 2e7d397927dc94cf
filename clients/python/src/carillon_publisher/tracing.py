"""The W3C trace context of a publish, and its span, where the application has loaded OpenTelemetry.

Nothing of OpenTelemetry is imported otherwise. A span never holds a topic, a payload or the message of an exception.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# W3C Trace Context, 3.3.1.5: at least so many characters are to be handed on; what is longer may be left out.
_TRACESTATE_CHARS = 512


@dataclass(slots=True)
class Step:
    """A publish on its way.

    Attributes:
        context: the headers ``traceparent`` and ``tracestate``, as user properties; empty without a trace.
    """

    context: tuple[tuple[str, str], ...] = ()
    _span: Any = field(default=None, repr=False)

    def ended_as(self, outcome: str) -> None:
        """Say what the router answered."""
        if self._span is not None:
            self._span.set_attribute("carillon.outcome", outcome)


@contextmanager
def publishing() -> Iterator[Step]:
    """Make a span of the application's own provider; without OpenTelemetry do nothing."""
    if "opentelemetry.trace" not in sys.modules:
        yield Step()
        return
    # The application has paid for these imports.
    from opentelemetry import context as contexts  # noqa: PLC0415
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    tracer = trace.get_tracer("carillon")
    # An exception's message and stack may name an address.
    with tracer.start_as_current_span(
        "publish", kind=trace.SpanKind.PRODUCER, record_exception=False, set_status_on_exception=False
    ) as span:
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span, contexts.Context()))
        if len(carrier.get("tracestate", "")) > _TRACESTATE_CHARS:
            del carrier["tracestate"]
        try:
            yield Step(tuple(carrier.items()), span)
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise

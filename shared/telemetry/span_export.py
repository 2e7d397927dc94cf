"""Exports this process's spans by OTLP, for ``shared.telemetry.tracing``, as OpenTelemetry's variables say.

A thread exports the spans in batches. If the collector does not answer, spans are lost, but never a notification.
"""

import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from shared.core.errors import ConfigError

# OpenTelemetry's specification, "OpenTelemetry Protocol Exporter": what OTEL_EXPORTER_OTLP_PROTOCOL should default to.
_PROTOCOL = "http/protobuf"

# A collector that does not answer is tried for 10 s a batch, and there may be four; a pod has 10 s after its drain.
_LAST_SPANS_WITHIN_MS = 3000


class _Processor(BatchSpanProcessor):
    """Sends batches; at the end it gives the last ones ``_LAST_SPANS_WITHIN_MS``."""

    def shutdown(self) -> None:
        """Send what is left, or give it up."""
        self._batch_processor.shutdown(timeout_millis=_LAST_SPANS_WITHIN_MS)


def export(service: str) -> TracerProvider:
    """Make the provider of this process's spans, and export them until it is shut down.

    Raises:
        ConfigError: a variable asks for a protocol that is not offered.
    """
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if os.environ.get(name, _PROTOCOL) not in ("", _PROTOCOL):
            raise ConfigError(f"{name}: only {_PROTOCOL} is offered")
    resource = Resource.create()
    # Resource semantic conventions, service.name: what an unnamed one begins with.
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: f"carillon-{service}"}))
    # We shut it down ourselves, after the drain.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(_Processor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider

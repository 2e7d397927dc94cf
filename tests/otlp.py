"""An OpenTelemetry collector (OTLP over HTTP) that keeps the spans it gets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True)
class Seen:
    """One span."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str | int]
    failed: bool = False


@dataclass
class Collector:
    """A running collector, and the text of everything that it got."""

    port: int
    spans: list[Seen] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """The settings that make a process send its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}

    async def take(self, request: web.Request) -> web.Response:
        export = ExportTraceServiceRequest.FromString(await request.read())
        self.texts.append(str(export))
        for of_resource in export.resource_spans:
            resource = {each.key: _value(each.value) for each in of_resource.resource.attributes}
            for of_scope in of_resource.scope_spans:
                self.spans += [
                    Seen(
                        str(resource["service.name"]),
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        {each.key: _value(each.value) for each in span.attributes},
                        span.status.code == span.status.STATUS_CODE_ERROR,
                    )
                    for span in of_scope.spans
                ]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    def of(self, trace_id: str, name: str) -> list[Seen]:
        """Return the spans of one trace that have this name."""
        return [span for span in self.spans if span.trace_id == trace_id and span.name == name]


def _value(value: AnyValue) -> str | int:
    return value.int_value if value.HasField("int_value") else value.string_value


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on a free port."""
    application = web.Application()
    runner = web.AppRunner(application)
    collector = Collector(0)
    application.router.add_post("/v1/traces", collector.take)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        collector.port = runner.addresses[0][1]
        yield collector
    finally:
        await runner.cleanup()

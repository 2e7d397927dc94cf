"""One trace per notification, over real processes: from the publisher's span to the attempts at the providers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from carillon.local.ports import free_port
from carillon.local.stack import Stack, with_login
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from shared.telemetry import tracing
from tests.otlp import Collector, Seen, collecting
from tests.system import open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

NewStack = Callable[..., Stack]

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CONTEXT = [("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"), ("tracestate", "vendor=value")]


@pytest.fixture(scope="module")
def application() -> Iterator[InMemorySpanExporter]:
    """An application with OpenTelemetry, which is this process: it keeps its spans in memory."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    yield kept
    tracing.stop()


@pytest_asyncio.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as collector:
        yield collector


async def spans(collector: Collector, trace_id: str, name: str, count: int = 1) -> list[Seen]:
    """Wait until a trace has that many spans of this name."""

    async def enough() -> list[Seen] | None:
        found = collector.of(trace_id, name)
        return found if len(found) >= count else None

    found: list[Seen] = await eventually(enough, 30, f"{count} spans {name}")
    return found


def one(found: tuple[ReadableSpan, ...], name: str) -> tuple[str, str]:
    """Return trace id and span id of the application's one span of this name."""
    (span,) = (span for span in found if span.name == name)
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


async def test_one_trace_reaches_from_the_publishers_span_to_the_attempts_at_the_providers(
    new_stack: NewStack, collector: Collector, application: InMemorySpanExporter
) -> None:
    stack = new_stack(("router", "email", "realtime"), collector.settings)
    await stack.start()
    async with open_system(stack) as system:
        user_id = await system.person(email="private-address@example.com", name="Private Name")
        application.clear()
        topic = f"notifications/realtime/user/{user_id}"
        with trace.get_tracer("shop").start_as_current_span("order"):
            receipt = await system.publish(topic, {"message": "Private text", "priority": "high"})
        trace_id, publish_id = one(application.get_finished_spans(), "publish")
        assert trace_id == one(application.get_finished_spans(), "order")[0]

        (accept,) = await spans(collector, trace_id, "accept")
        (plan,) = await spans(collector, trace_id, "plan")
        deliveries = await spans(collector, trace_id, "deliver", 2)
        attempts = await spans(collector, trace_id, "attempt", 2)

    assert accept.parent_id == publish_id
    assert {plan.parent_id, *(deliver.parent_id for deliver in deliveries)} == {accept.span_id}
    assert {attempt.parent_id for attempt in attempts} == {deliver.span_id for deliver in deliveries}
    assert accept.attributes == {
        "carillon.kind": "realtime_user", "carillon.priority": "high", "carillon.outcome": "accepted",
        "carillon.notification_id": receipt.notification_id,
    }  # fmt: skip
    assert {span.service for span in (accept, plan)} == {"carillon-router"}
    assert {
        (span.service, span.attributes["carillon.channel"], span.attributes["carillon.provider"]) for span in attempts
    } == {("carillon-email", "email", "smtp"), ("carillon-realtime", "realtime", "inbox")}
    assert {span.attributes["carillon.outcome"] for span in attempts} == {"ok"}
    assert {span.attributes["carillon.outcome"] for span in deliveries} == {"delivered"}
    told = "".join(collector.texts)
    assert not [word for word in ("Private", "private-address", user_id) if word in told]


async def test_later_attempts_belong_to_the_trace_of_their_notification(
    new_stack: NewStack, collector: Collector
) -> None:
    stack = new_stack(("router",), collector.settings)
    await stack.start()
    # Nobody answers on this port until the relay is back.
    await stack.start_service("email", 0, {"EMAIL_SMTP_URL": f"smtp://127.0.0.1:{free_port()}?tls=none"})
    async with open_system(stack) as system, Broker(BrokerAddress.parse(stack.broker.url), "shop") as shop:
        mail = b'{"to": "user@example.com", "subject": "Hello", "body": "Good morning."}'
        await shop.publish("notifications/email/send", mail, user_properties=CONTEXT)
        first, *_ = await spans(collector, TRACE_ID, "attempt")
        assert first.failed
        assert (first.attributes["carillon.outcome"], first.attributes["error.type"]) == ("retry", "network")
        await stack.stop_service("email")
        await stack.start_service("email")
        await system.arrived(channel="email")

        async def arrived() -> Seen | None:
            return next((span for span in collector.of(TRACE_ID, "attempt") if not span.failed), None)

        last = await eventually(arrived, 30, "the attempt that succeeded")
    (accept,) = collector.of(TRACE_ID, "accept")
    deliveries = collector.of(TRACE_ID, "deliver")
    assert last.attributes["carillon.attempt"] == len(deliveries)
    assert {deliver.parent_id for deliver in deliveries} == {accept.span_id}


async def taken(broker: Broker, count: int) -> list[Incoming]:
    found: list[Incoming] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await broker.take(10)
    return found


async def test_without_tracing_the_context_passes_through_jobs_and_receipts_and_the_ledger(new_stack: NewStack) -> None:
    stack = new_stack(("router",))
    await stack.start()
    worker_url = with_login(stack.broker.url, stack.broker.credentials_of("email"))
    async with (
        Broker(BrokerAddress.parse(stack.broker.url), "shop") as shop,
        Broker(BrokerAddress.parse(worker_url), "worker") as worker,
    ):
        await shop.subscribe("receipts/shop")
        await worker.subscribe("$share/email/internal/email/normal")
        # The second one is handed over by the sweeper, from the ledger.
        for later in ("", f', "send_at": {time.time() + 1}'):
            mail = f'{{"to": "user@example.com", "subject": "Hello", "body": "Good morning."{later}}}'
            await shop.publish(
                "notifications/email/send", mail, response_topic="receipts/shop", user_properties=CONTEXT
            )
            for broker, topic in ((worker, "internal/email/normal"), (shop, "receipts/shop")):
                (message,) = await taken(broker, 1)
                assert (message.topic, list(message.user_properties)) == (topic, CONTEXT)
                broker.ack(message)


async def test_a_collector_that_is_away_costs_no_notification_and_no_time_at_the_end(new_stack: NewStack) -> None:
    stack = new_stack(("router", "email"), {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"})
    await stack.start()
    async with open_system(stack) as system:
        mail = {"to": "user@example.com", "subject": "Hello", "body": "Good morning."}
        await system.publish("notifications/email/send", mail)
        await system.arrived(channel="email")
        started_s = time.monotonic()
        assert await stack.stop_service("email") == 0
        assert time.monotonic() - started_s < 8

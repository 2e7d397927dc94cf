"""A notification's deadline on its whole way: what the provider is told of it, and what becomes of what is late."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.ledger.reader import Trace, TracedRow
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

TTL_S = 600
# Providers are told of whole seconds, rounded up; and a busy machine takes its time with a request.
ROUNDED_S = 1
BUSY_S = 2


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


def _header(entry: dict[str, Any], name: str) -> str:
    return str(next(value for each, value in entry["headers"] if each.lower() == name))


def _seconds_since(entry: dict[str, Any], value: str) -> float:
    return datetime.fromisoformat(entry["at"]).timestamp() + int(value)


# Until when the provider keeps trying, in epoch seconds, from what the sandbox kept.
UNTIL: dict[str, Callable[[dict[str, Any]], float]] = {
    "twilio": lambda entry: _seconds_since(entry, entry["validity_period_s"]),
    "apns": lambda entry: int(_header(entry, "apns-expiration")),
    "fcm": lambda entry: _seconds_since(entry, re.sub("s$", "", entry["payload"]["android"]["ttl"])),
    "webpush": lambda entry: _seconds_since(entry, _header(entry, "ttl")),
}
DOWN: dict[str, dict[str, Any]] = {
    "smtp": {"reply": "451 4.3.0 Try later", "at": "rcpt"},
    "twilio": {"status": 503},
    "apns": {"status": 503, "code": "ServiceUnavailable"},
    "fcm": {"status": 503, "code": "UNAVAILABLE"},
    "webpush": {"status": 503},
}


async def direct(system: System, provider: str) -> tuple[str, dict[str, Any], str]:
    """Say where and what to publish for one new address of a provider, and what the sandbox calls it."""
    name = uuid.uuid4().hex
    match provider:
        case "smtp":
            address = f"{name}@example.com"
            return "notifications/email/send", {"to": address, "subject": "s", "body": "b"}, address
        case "twilio":
            phone = f"+1212555{uuid.uuid4().int % 10_000:04}"
            return "notifications/sms/send", {"phone": phone, "message": "m"}, phone
        case "apns" | "fcm":
            platform = "ios" if provider == "apns" else "android"
            return f"notifications/push/mobile/{platform}", {"message": "m", "tokens": [name * 2]}, name * 2
        case _:
            body = {"message": "m", "tokens": [await system.sandbox.subscription(name)]}
            return "notifications/push/mobile/web", body, name


@pytest.mark.parametrize("provider", UNTIL)
async def test_a_provider_tries_until_the_deadline_and_no_longer(system: System, provider: str) -> None:
    topic, payload, to = await direct(system, provider)
    # By the second attempt, the first seconds are gone.
    await system.sandbox.play(provider, {"status": 429, "headers": {"Retry-After": "2"}}, to=to)
    receipt = await system.publish(topic, {**payload, "ttl_s": TTL_S})
    assert receipt.accepted_at is not None
    deadline_s = receipt.accepted_at.timestamp() + TTL_S
    (entry,) = await system.arrived(to=to, within_s=30)
    assert -ROUNDED_S <= UNTIL[provider](entry) - deadline_s <= ROUNDED_S + BUSY_S


@pytest.mark.parametrize("provider", DOWN)
async def test_what_a_provider_does_not_take_in_time_ends_as_expired(system: System, provider: str) -> None:
    topic, payload, to = await direct(system, provider)
    await system.sandbox.play(provider, DOWN[provider], to=to, times=None)
    receipt = await system.publish(topic, {**payload, "ttl_s": 2})
    notification_id = receipt.notification_id or ""
    async with Store(system.stack.store.url) as store:
        trace = Trace(store, Keys())

        async def ended() -> TracedRow | None:
            (row,) = [row async for row in trace.rows(notification_id)]
            return row if row.state.is_end else None

        row = await eventually(ended, 30, "the end of the delivery")
    assert (row.state, row.reason) == ("expired", "expired")
    assert row.attempts
    assert await system.sandbox.outbox(to=to) == []


@pytest.mark.parametrize("channel", ["email", "sms", "push"])
async def test_what_waits_where_no_process_works_ends_as_expired_with_event_and_counter(
    new_stack: Callable[..., Stack], channel: str
) -> None:
    stack = new_stack(services=("router",))
    await stack.start()
    provider = {"email": "smtp", "sms": "twilio", "push": "apns"}[channel]
    async with (
        open_system(stack) as system,
        Broker(BrokerAddress.parse(stack.broker.url), f"events-{channel}") as events,
    ):
        await events.subscribe("notifications/events/+")
        topic, payload, _ = await direct(system, provider)
        receipt = await system.publish(topic, {**payload, "ttl_s": 2, "events": True})
        heard: list[dict[str, Any]] = []

        async def told() -> bool:
            for incoming in await events.take(10):
                assert incoming.topic == f"notifications/events/{receipt.notification_id}"
                heard.append(json.loads(incoming.payload))
                events.ack(incoming)
            return len(heard) == 2

        await eventually(told, 30, "the event of the end")
        accepted, expired = heard
        assert accepted["state"] == "accepted"
        assert (expired["state"], expired["channel"], expired["reason"]) == ("expired", channel, "expired")
        wanted = f'carillon_deliveries_total{{channel="{channel}",outcome="expired",reason="expired"}} 1.0'
        async with system.http.get(f"{stack.ops_url('router')}/metrics") as answer:
            assert wanted in (await answer.text()).splitlines()
        async with Store(stack.store.url) as store:
            (row,) = [row async for row in Trace(store, Keys()).rows(receipt.notification_id or "")]
            assert (row.state, row.reason) == ("expired", "expired")

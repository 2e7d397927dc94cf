"""What nearly everybody is told is about us, what a few are told is about them: whole services and their providers."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from carillon.local.stack import Stack
from shared.core.clock import SystemClock
from shared.core.model import Channel
from shared.directory.suppression import Suppressions, digest
from shared.ledger.ledger import Ledger
from shared.store.keys import Keys
from shared.store.store import Store
from tests.smtp import Relay, relay
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.timeout(120)]

NewStack = Callable[..., Stack]

_READ = ("carillon_deliveries_total", "carillon_provider_paused", "carillon_attempts_total")

# For how long the relay refuses everybody.
REFUSES_S = 8.0
# For what is no figure: the machine of the tests is busy.
PATIENCE_S = 45.0


@asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[System]:
    await stack.start()
    async with open_system(stack) as system:
        yield system


async def metrics(system: System, service: str) -> Counter[str]:
    """Return how deliveries ended, and who is paused."""
    found: Counter[str] = Counter()
    async with system.http.get(f"{system.stack.ops_url(service)}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    # Only what is read: reading everything again and again takes longer than the rest of the test.
    text = "\n".join(line for line in lines if line.startswith(_READ)) + "\n"
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "carillon_deliveries_total":
                found[sample.labels["outcome"]] += int(sample.value)
            elif sample.name == "carillon_provider_paused":
                found[f"paused {sample.labels['provider']}"] = int(sample.value)
            elif sample.name == "carillon_attempts_total":
                found[f"attempts {sample.labels['outcome']}"] += int(sample.value)
    return found


async def ended(system: System, service: str, **wanted: int) -> bool:
    found = await metrics(system, service)
    return all(found[state] == count for state, count in wanted.items())


def address(number: int) -> str:
    return f"user{number}@example.com"


async def mail(system: System, number: int) -> None:
    payload = {"to": address(number), "subject": f"Mail {number}", "body": "Good morning."}
    assert (await system.publish("notifications/email/send", payload)).status == "accepted"


async def mails(system: System, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, 20):
        await asyncio.gather(*(mail(system, number) for number in range(start, min(start + 20, numbers.stop))))


async def suppressed(stack: Stack, numbers: range) -> list[int]:
    async with Store(stack.store.url) as store:
        suppressions = Suppressions(store, Keys(), Channel.EMAIL, SystemClock())
        return [number for number in numbers if await suppressions.entries(digest(address(number)))]


@pytest.mark.parametrize(
    ("reply", "before"), [("550 5.7.1 Relaying denied", 40), ("550 5.1.1 No such mailbox", 0), ("554 No", 0)]
)
async def test_a_relay_that_refuses_everybody_costs_no_mail(new_stack: NewStack, reply: str, before: int) -> None:
    stack = new_stack(("router", "email"))
    count = 120
    async with running(stack) as system:
        await mails(system, range(before))
        await eventually(lambda: ended(system, "email", delivered=before), PATIENCE_S)
        await system.sandbox.play("smtp", {"reply": reply, "at": "rcpt"}, times=None)
        began_s = time.monotonic()
        await mails(system, range(before, count))
        await eventually(lambda: ended(system, "email", **{"paused smtp": 1}), PATIENCE_S, "the pause")
        paused_s = time.monotonic()
        asked = (await metrics(system, "email"))["attempts operator"]
        await asyncio.sleep(max(0.0, began_s + REFUSES_S - paused_s))
        probes = (await metrics(system, "email"))["attempts operator"] - asked
        # One a second, and what was under way when the pause began.
        assert probes <= time.monotonic() - paused_s + 10
        await system.sandbox.heal()
        repaired_s = time.monotonic()
        await eventually(lambda: ended(system, "email", delivered=count), PATIENCE_S, "every mail")
        print(f"all delivered {time.monotonic() - repaired_s:.1f} s after the repair")  # noqa: T201
        assert await ended(system, "email", dead_lettered=0, expired=0, suppressed=0, **{"paused smtp": 0})
        arrived = Counter(entry["to"] for entry in await system.sandbox.outbox(channel="email"))
        assert arrived == {address(number): 1 for number in range(count)}
    assert await suppressed(stack, range(count)) == []


async def test_one_recipients_refusal_is_that_recipients_and_stops_nobody(new_stack: NewStack) -> None:
    stack = new_stack(("router", "email"))
    async with running(stack) as system:
        await mails(system, range(20))
        await system.sandbox.play("smtp", {"reply": "550 5.7.1 Blocked", "at": "rcpt"}, to=address(100), times=None)
        await system.sandbox.play("smtp", {"reply": "550 5.1.1 Unknown", "at": "rcpt"}, to=address(101), times=None)
        began_s = time.monotonic()
        for number in (100, 101):
            await mail(system, number)
        number = 200
        while not await ended(system, "email", dead_lettered=2):
            assert time.monotonic() < began_s + PATIENCE_S
            assert await ended(system, "email", **{"paused smtp": 0})
            await mail(system, number)
            number += 1
        print(f"both dead letters after {time.monotonic() - began_s:.1f} s")  # noqa: T201
        await eventually(lambda: ended(system, "email", delivered=20 + number - 200))
    assert await suppressed(stack, range(99, 102)) == [101]


async def test_a_refusal_in_a_quiet_system_ends_within_minutes(new_stack: NewStack) -> None:
    stack = new_stack(("router", "email"))
    async with running(stack) as system:
        await system.sandbox.play("smtp", {"reply": "550 5.7.1 Blocked", "at": "rcpt"}, times=None)
        await mail(system, 1)
        await eventually(lambda: ended(system, "email", dead_lettered=1), 90)
        assert (await metrics(system, "email"))["attempts unjudged"] == 5


async def test_the_next_relay_is_asked_when_the_first_refuses_everybody(new_stack: NewStack) -> None:
    script: list[dict[str, str | None]] = [{"RCPT": "550 5.7.1 Relaying denied"}] * 200
    async with relay(*script) as first, relay() as second:
        stack = new_stack(("router", "email"), {"EMAIL_SMTP_URL": f"{first.url},{second.url}"})
        async with running(stack) as system:
            began_s = time.monotonic()
            await mails(system, range(60))
            await eventually(lambda: len(second.mails) == 60, PATIENCE_S)
            await eventually(lambda: ended(system, "email", delivered=60, dead_lettered=0))
            assert await ended(system, "email", **{"paused smtp": 1, "paused smtp-2": 0})
            assert asked_for(first) <= 20 + time.monotonic() - began_s


def asked_for(scripted: Relay) -> int:
    return scripted.commands.count("RCPT")


async def browser(system: System, name: str, host: str | None = None) -> dict[str, Any]:
    subscription = await system.sandbox.subscription(name)
    if host:
        subscription["endpoint"] = subscription["endpoint"].replace("127.0.0.1", host)
    return subscription


async def push(system: System, subscription: dict[str, Any]) -> None:
    payload = {"title": "Hello", "message": "Pushed", "tokens": [subscription]}
    assert (await system.publish("notifications/push/mobile/web", payload)).status == "accepted"


async def test_three_endpoints_that_refuse_stop_nobody_elses_push(new_stack: NewStack) -> None:
    async with running(new_stack(("router", "push"))) as system:
        good = [await browser(system, f"good-{number}") for number in range(60)]
        bad = [await browser(system, f"bad-{number}") for number in range(3)]
        for number in range(3):
            await system.sandbox.play("webpush", {"status": 403}, to=f"bad-{number}", times=None)
        began_s = time.monotonic()
        for number, subscription in enumerate(good):
            if number % 15 == 0 and bad:
                await push(system, bad.pop())
            await push(system, subscription)
        await system.arrived(60, within_s=10)
        print(f"60 of 60 after {time.monotonic() - began_s:.1f} s")  # noqa: T201
        number = 60
        while not await ended(system, "push", dead_lettered=3):
            assert time.monotonic() < began_s + PATIENCE_S
            await push(system, await browser(system, f"good-{number}"))
            number += 1
        await eventually(lambda: ended(system, "push", delivered=number, **{"paused webpush": 0}))


async def test_a_push_service_that_refuses_us_is_paused_alone(new_stack: NewStack) -> None:
    stack = new_stack(("router", "push"), {"PUSH_WEBPUSH_ALLOWED_HOSTS": "127.0.0.1,localhost"})
    async with running(stack) as system:
        for number in range(20):
            await system.sandbox.play("webpush", {"status": 401}, to=f"one-{number}", times=None)
            await push(system, await browser(system, f"one-{number}"))
        await eventually(lambda: ended(system, "push", **{"paused webpush": 1}), PATIENCE_S, "the pause")
        began_s = time.monotonic()
        for number in range(30):
            await push(system, await browser(system, f"other-{number}", "localhost"))
        await system.arrived(30, within_s=10)
        print(f"30 of 30 after {time.monotonic() - began_s:.1f} s")  # noqa: T201
        assert await ended(system, "push", delivered=30, dead_lettered=0, **{"paused webpush": 1})
        await system.sandbox.heal()
        await system.arrived(50, within_s=PATIENCE_S)
        await eventually(lambda: ended(system, "push", delivered=50, dead_lettered=0, **{"paused webpush": 0}))


@pytest.mark.parametrize(
    ("provider", "fault"),
    [
        ("apns", {"status": 400, "code": "DeviceTokenNotForTopic"}),
        ("apns", {"status": 410, "code": "Unregistered"}),
        ("fcm", {"status": 403, "code": "SENDER_ID_MISMATCH"}),
    ],
)
async def test_a_few_strange_tokens_stop_no_push_and_all_of_them_cost_none(
    new_stack: NewStack, provider: str, fault: dict[str, Any]
) -> None:
    platform = "ios" if provider == "apns" else "android"

    async def send(numbers: range) -> None:
        for number in numbers:
            payload = {"title": "Hello", "message": "Pushed", "tokens": [f"{number:064x}"]}
            assert (await system.publish(f"notifications/push/mobile/{platform}", payload)).status == "accepted"

    async with running(new_stack(("router", "push"))) as system:
        # Before anything was taken, as after a restart.
        for number in range(3):
            await system.sandbox.play(provider, fault, to=f"{number:064x}", times=None)
        await send(range(40))
        await system.arrived(37, within_s=10)
        began_s, count = time.monotonic(), 40
        while not await ended(system, "push", dead_lettered=3):
            assert time.monotonic() < began_s + PATIENCE_S
            assert await ended(system, "push", **{f"paused {provider}": 0})
            await send(range(count, count + 1))
            count += 1
        await eventually(lambda: ended(system, "push", delivered=count - 3))
        await system.sandbox.play(provider, fault, times=None)
        await send(range(count, count + 60))
        await eventually(lambda: ended(system, "push", **{f"paused {provider}": 1}), PATIENCE_S, "the pause")
        await system.sandbox.heal()
        await eventually(lambda: ended(system, "push", delivered=count + 57, dead_lettered=3), PATIENCE_S)


async def test_the_record_of_a_delivery_says_how_often_it_was_refused(new_stack: NewStack) -> None:
    stack = new_stack(("router", "email"))
    async with running(stack) as system:
        await system.sandbox.play("smtp", {"reply": "550 5.7.1 Blocked", "at": "rcpt"}, times=2)
        receipt = await system.publish(
            "notifications/email/send", {"to": address(1), "subject": "Mail", "body": "Good morning."}
        )
        await eventually(lambda: ended(system, "email", delivered=1), PATIENCE_S)
        async with Store(stack.store.url) as store:
            base = Ledger(store, Keys(), 600).keys.shard_of(str(receipt.notification_id))
            fields = await store.command("HGETALL", f"{base}:n:{receipt.notification_id}")
        names = [name.decode() for name in (fields if isinstance(fields, dict) else fields[::2])]
        values = [value.decode() for value in (fields.values() if isinstance(fields, dict) else fields[1::2])]
        (refusals,) = [value for name, value in zip(names, values, strict=True) if name.startswith("r:")]
        assert refusals.split("|")[0] == "2"
        (status,) = [value for name, value in zip(names, values, strict=True) if name.startswith("s:")]
        # One attempt: those that nobody could judge used up none.
        assert status.split("|")[:1] + status.split("|")[4:5] == ["d", "1"]

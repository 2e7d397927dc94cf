"""SMS and what follows from them, through real processes: the sandbox calls back as Twilio does."""

import re
import time
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.core.incidents import AlertState
from shared.core.model import Channel, State
from shared.ledger.reader import Trace, TracedRow
from shared.store.keys import Keys
from shared.store.store import Store
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="session")
async def trace(stack: Stack) -> AsyncIterator[Trace]:
    async with Store(stack.store.url) as store:
        yield Trace(store, Keys())


def phone() -> str:
    """A number that only one test has: 555 numbers of Washington, kept for fiction."""
    return f"+1202555{uuid.uuid4().int % 10_000:04}"


async def confirmed(trace: Trace, notification_id: str | None, outcome: str, within_s: float = 15) -> TracedRow:
    """Wait until the SMS of a notification is confirmed so and has ended."""

    async def row() -> TracedRow | None:
        rows = [row async for row in trace.rows(str(notification_id)) if row.lane == Channel.SMS.value]
        done = [row for row in rows if row.confirmation and row.confirmation.outcome == outcome and row.state.is_end]
        return done[0] if done else None

    found: TracedRow = await eventually(row, within_s, f"an SMS confirmed as {outcome}")
    return found


async def ended(trace: Trace, notification_id: str | None) -> TracedRow:
    """Wait until a notification's one delivery has ended."""

    async def row() -> TracedRow | None:
        rows = [row async for row in trace.rows(str(notification_id))]
        return rows[0] if rows and rows[0].state.is_end else None

    found: TracedRow = await eventually(row, 30, "the end of a delivery")
    return found


async def test_an_sms_is_confirmed_when_the_handset_has_it(system: System, trace: Trace) -> None:
    receipt = await system.publish("notifications/sms/send", {"phone": phone(), "message": "Your code is 1234"})
    row = await confirmed(trace, receipt.notification_id, "delivered")
    assert (row.state, row.attempts_made, row.attempts[0].detail) == (State.DELIVERED, 1, "1 gsm7")
    assert row.confirmation is not None
    assert row.confirmation.provider_id == row.attempts[0].provider_id


async def test_a_failed_confirmation_has_its_code_and_the_dead_number_is_left_alone(
    system: System, trace: Trace
) -> None:
    number = phone()
    await system.sandbox.play("twilio", {"callback": "undelivered", "code": 30005}, to=number)
    receipt = await system.publish("notifications/sms/send", {"phone": number, "message": "Hello"})
    row = await confirmed(trace, receipt.notification_id, "failed")
    assert row.confirmation is not None
    assert (row.state, row.confirmation.code) == (State.DELIVERED, "30005")
    again = await system.publish("notifications/sms/send", {"phone": number, "message": "Hello again"})
    suppressed = await ended(trace, again.notification_id)
    assert (suppressed.state, suppressed.reason) == (State.SUPPRESSED, "bounced")
    assert len(await system.sandbox.outbox(to=number)) == 1


async def test_an_sms_in_doubt_is_settled_by_its_callback_and_not_sent_twice(system: System, trace: Trace) -> None:
    number, started_s = phone(), time.monotonic()
    await system.sandbox.play("twilio", {"cut": "after"}, to=number)
    receipt = await system.publish("notifications/sms/send", {"phone": number, "message": "Hello"})
    row = await confirmed(trace, receipt.notification_id, "delivered", within_s=30)
    # Without the callback it waits two minutes and is sent again.
    assert time.monotonic() - started_s < 60
    assert [attempt.outcome for attempt in row.attempts] == ["unknown", "ok"]
    assert len(await system.sandbox.outbox(to=number)) == 1


async def test_whoever_answers_ack_takes_the_alert(system: System, trace: Trace) -> None:
    number, kind = phone(), f"net-{uuid.uuid4().hex[:8]}"
    user = await system.person("oncall", phone=number)
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    alert_ids = {}
    for message in ("Link down", "Disk full"):
        payload = {"message": message, "dedup_key": f"{kind}/{message}"}
        alert_ids[message] = str((await system.publish(f"notifications/alerts/critical/{kind}", payload)).alert_id)
    bodies = [entry["body"] for entry in await system.arrived(2, to=number)]
    numbers = dict(re.findall(r"\[CRITICAL\] (.+)\nReply ACK (\d+)", "\n".join(bodies)))
    assert (numbers.keys(), sorted(numbers.values())) == (alert_ids.keys(), ["1", "2"])
    assert await system.sandbox.inbound_sms(number, "Ack") == 200
    (question,) = (await system.arrived(3, to=number))[2:]
    assert question["body"] == "2 alerts are open. Which one? Reply ACK 2 or ACK 1."
    for message, answer in (("Disk full", f"ok {numbers['Disk full']}"), ("Link down", "\N{THUMBS UP SIGN}")):
        assert await system.sandbox.inbound_sms(number, answer) == 200
        record = await trace.record(alert_ids[message])
        assert record is not None
        assert (record.alert, record.acknowledged_by) == (AlertState.ACKNOWLEDGED, user)


async def test_stop_and_start_are_kept(system: System, trace: Trace) -> None:
    number = phone()
    assert await system.sandbox.inbound_sms(number, "STOP") == 200
    unwanted = await system.publish("notifications/sms/send", {"phone": number, "message": "one"})
    row = await ended(trace, unwanted.notification_id)
    assert (row.state, row.reason) == (State.SUPPRESSED, "opted_out")
    assert await system.sandbox.inbound_sms(number, "START") == 200
    wanted = await system.publish("notifications/sms/send", {"phone": number, "message": "two"})
    await confirmed(trace, wanted.notification_id, "delivered")
    assert [entry["body"] for entry in await system.sandbox.outbox(to=number)] == ["two"]

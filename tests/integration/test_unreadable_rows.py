"""Rows that nobody can read, in a real Redis: they are put away, accounted for, and keep nothing else from going on."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
import pytest_asyncio

from shared.core.errors import Reason
from shared.core.incidents import AlertState
from shared.core.model import Channel, Content, Delivery, EmailAddress, Job, Notification, Priority, State
from shared.core.topics import Topics
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.ledger.audit import Audit, Depth
from shared.ledger.claims import Outcome
from shared.ledger.dead_letters import Answer, DeadLetters, Wanted
from shared.ledger.jobs import jobs_of_due, open_job
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.ledger.reader import Trace
from shared.ledger.schedule import EndedRow
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

LEASE = timedelta(seconds=30)
LATER = timedelta(minutes=10)


class Ledgers:
    """A ledger, and what reads it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ledger = Ledger(store, Keys(), record_retention_s=86_400)
        self.dead = DeadLetters(store, Keys())
        self.trace = Trace(store, Keys())

    async def accept(self, *keys: str, notification_id: str | None = None) -> str:
        """Accept a notification with rows that are due."""
        rows = [
            NewRow(
                Delivery(
                    key=key,
                    channel=Channel.EMAIL,
                    priority=Priority.NORMAL,
                    recipient="user123",
                    address=EmailAddress(email="user@example.com"),
                    expires_ms=round(time.time() * 1000) + 3_600_000,
                )
            )
            for key in keys
        ]
        notification = Notification(
            id=notification_id or new_notification_id(0), kind="email_send", priority=Priority.NORMAL,
            accepted_ms=round(time.time() * 1000), content=Content(title="t", message="m"),
        )  # fmt: skip
        await self.ledger.accept(NewRecord(notification, rows, alert=AlertState.OPEN))
        return notification.id

    def record(self, notification_id: str) -> str:
        return f"{Keys().shard_of(notification_id)}:n:{notification_id}"

    async def ended(self, times: int = 4) -> list[EndedRow]:
        """Sweep as often as it takes to look closely at what nobody claims."""
        found: list[EndedRow] = []
        for _ in range(times):
            found += (await self.ledger.schedule.sweep(100, LATER)).ended
        return found

    async def next_second(self) -> None:
        """Wait until the store's clock shows another second."""

        async def second() -> int:
            return int((await self.store.command("TIME"))[0])

        async def is_over() -> bool:
            return await second() > now

        now = await second()
        await eventually(is_over)

    async def holds(self) -> bool:
        report = await Audit(self.store, Keys(), 86_400).run(timedelta(hours=1), Depth.RECORDS)
        return not report.findings


@pytest_asyncio.fixture
async def ledgers(store: EmptyStore) -> AsyncIterator[Ledgers]:
    async with Store(store.url) as opened:
        yield Ledgers(opened)


Damage = Callable[[Ledgers, str], Awaitable[object]]


def _field(name: str, value: str | bytes) -> Damage:
    return lambda ledgers, one: ledgers.store.command("HSET", ledgers.record(one), name, value)


def _without(name: str) -> Damage:
    return lambda ledgers, one: ledgers.store.command("HDEL", ledgers.record(one), name)


async def _replaced(ledgers: Ledgers, one: str) -> None:
    await ledgers.store.command("DEL", ledgers.record(one))
    await ledgers.store.command("SET", ledgers.record(one), "something else")


DAMAGES: dict[str, Damage] = {
    "status is garbage": _field("s:email:bad", "garbage"),
    "status is empty": _field("s:email:bad", ""),
    "status is cut off": _field("s:email:bad", "p|email|normal|0|0"),
    "status has a state that is none": _field("s:email:bad", "z|email|normal|0|0|0|1|1|9999999999999|"),
    "status has a priority that is none": _field("s:email:bad", "p|email|urgent|0|0|0|1|1|9999999999999|"),
    "status has numbers that are none": _field("s:email:bad", "p|email|normal|x|0|0|1|1|9999999999999|"),
    "status is gone": _without("s:email:bad"),
    "spec is gone": _without("d:email:bad"),
    "spec is no JSON": _field("d:email:bad", "{"),
    "spec is no text": _field("d:email:bad", b"\xff\xfe{}"),
    "spec is a list": _field("d:email:bad", "[]"),
    "spec is a word": _field("d:email:bad", '"x"'),
    "spec is nothing": _field("d:email:bad", ""),
    "spec is nested without end": _field("d:email:bad", "[" * 100_000),
    "spec is another row's": _field("d:email:bad", '{"key":"email:other","channel":"email"}'),
    "spec is another lane's": _field("d:email:bad", '{"key":"email:bad","channel":"sms"}'),
    "status is another lane's": _field("s:email:bad", "p|sms|normal|0|0|0|1|1|9999999999999|"),
    "status has a time that never comes": _field("s:email:bad", f"p|email|normal|0|0|0|{'9' * 30}|1|9999999999999|"),
    "status is no text": _field("s:email:bad", b"\xff\xfe"),
    "content is gone": _without("c"),
    "content is a list": _field("c", "[]"),
    "content is another notification's": _field("c", '{"id":"01893e4a-0000-7000-8000-000000000000"}'),
    "content is no JSON": _field("c", "{"),
    "record is something else": _replaced,
    "record is gone": lambda ledgers, one: ledgers.store.command("DEL", ledgers.record(one)),
}
# What is wrong with the record as a whole concerns all its rows.
WHOLE = {name for name in DAMAGES if name.startswith(("content", "record"))}


@pytest.mark.parametrize("what", DAMAGES)
async def test_a_row_that_cannot_be_read_is_put_away_and_the_others_go_on(ledgers: Ledgers, what: str) -> None:
    bad, good = await ledgers.accept("email:bad", "email:beside"), await ledgers.accept("email:0")
    await DAMAGES[what](ledgers, bad)
    ended = await ledgers.ended()
    put_away = {"email:bad", "email:beside"} if what in WHOLE else {"email:bad"}
    assert sorted((row.notification_id, row.key) for row in ended if row.reason is Reason.UNREADABLE) == [
        (bad, key) for key in sorted(put_away)
    ]
    listed = [entry async for page in ledgers.dead.pages(Wanted(until=await ledgers.dead.now())) for entry in page]
    assert {(entry.notification_id, entry.key, entry.reason) for entry in listed} == {
        (bad, key, "unreadable") for key in put_away
    }
    # It is not handed out again, everything else is.
    claims = await ledgers.ledger.claim([(bad, "email:bad"), (good, "email:0")], LEASE)
    assert [claim.verdict for claim in claims] == ["ended", "claimed"]
    assert await ledgers.ledger.finish(claims[1], Outcome(State.DELIVERED)) == "finished"
    # Whoever looks at it gets an answer, and no reader ends.
    await ledgers.trace.record(bad)
    assert [letter.key for letter in await ledgers.trace.dead_letters(10)]
    assert "email:bad" in {row.key async for row in ledgers.trace.rows(bad)}
    assert await ledgers.holds()
    assert (await open_work(ledgers.ledger.store, ledgers.ledger.keys))["email"].count == (0 if what in WHOLE else 1)
    (entry, *_) = [entry for entry in listed if entry.key == "email:bad"]
    assert await ledgers.dead.replay(entry, dry_run=True) in (Answer.UNREADABLE, Answer.UNKNOWN_RECIPIENT)
    assert await ledgers.dead.drop([entry]) == 1


async def test_a_row_whose_time_nobody_knows_leaves_the_accounts_of_the_others_right(ledgers: Ledgers) -> None:
    bad = new_notification_id(0)
    await ledgers.next_second()
    good = await ledgers.accept("email:0")
    await ledgers.next_second()
    await ledgers.accept("email:bad", notification_id=bad)
    await ledgers.store.command("DEL", ledgers.record(bad))
    # All that is known of it is its minute, and only the other one is older there.
    assert [(row.notification_id, row.reason) for row in await ledgers.ended()] == [(bad, Reason.UNREADABLE)]
    (claim,) = await ledgers.ledger.claim([(good, "email:0")], LEASE)
    assert await ledgers.ledger.finish(claim, Outcome(State.DELIVERED)) == "finished"
    assert await ledgers.holds()
    assert (await open_work(ledgers.ledger.store, ledgers.ledger.keys))["email"].count == 0


async def test_a_damaged_count_of_one_second_takes_nothing_from_another(ledgers: Ledgers) -> None:
    one = await ledgers.accept("email:0")
    ages = f"{Keys().shard_of(one)}:age:email"
    (second,) = await ledgers.store.command("HKEYS", ages)
    await ledgers.next_second()
    another = await ledgers.accept("email:0")
    await ledgers.store.command("HSET", ages, second, "garbage")
    for each in (one, another):
        (claim,) = await ledgers.ledger.claim([(each, "email:0")], LEASE)
        assert await ledgers.ledger.finish(claim, Outcome(State.DELIVERED)) == "finished"
        assert await ledgers.holds()


@pytest.mark.parametrize("what", DAMAGES)
async def test_a_damaged_row_stops_nothing_that_meets_it(ledgers: Ledgers, what: str) -> None:
    bad, good = await ledgers.accept("email:bad"), await ledgers.accept("email:0")
    await DAMAGES[what](ledgers, bad)
    claims = await ledgers.ledger.claim([(bad, "email:bad"), (good, "email:0")], LEASE)
    assert claims[1].verdict == "claimed"
    await ledgers.ledger.finish(claims[0], Outcome(State.DELIVERED))
    await ledgers.ledger.alerts.acknowledge(bad, "user123", must_be_told=True)
    await ledgers.ledger.alerts.resolve(bad)
    await ledgers.ledger.cancel(bad)
    await ledgers.ledger.schedule.bring_forward("email")
    await open_work(ledgers.ledger.store, ledgers.ledger.keys)
    await Audit(ledgers.store, Keys(), 86_400).run(timedelta(hours=1), Depth.RECORDS)
    assert await ledgers.ledger.finish(claims[1], Outcome(State.DELIVERED)) == "finished"


@pytest.mark.parametrize("name", ["until", "open", "r:email:0", "w:email:0", "e:email:0", "k:email:0"])
async def test_a_count_of_a_record_that_is_none_keeps_no_row_from_ending(ledgers: Ledgers, name: str) -> None:
    cancelled, sent = await ledgers.accept("email:0"), await ledgers.accept("email:0")
    for one in (cancelled, sent):
        await _field(name, "garbage")(ledgers, one)
    (claim,) = await ledgers.ledger.claim([(sent, "email:0")], LEASE)
    await _field("cancelled", "1")(ledgers, cancelled)
    assert [row.reason for row in (await ledgers.ledger.schedule.sweep(100, LATER)).ended] == [Reason.CANCELLED]
    assert await ledgers.ledger.finish(claim, Outcome(State.DELIVERED)) == "finished"
    assert (await open_work(ledgers.ledger.store, ledgers.ledger.keys))["email"].count == 0


@pytest.mark.parametrize("name", ["open", "age:email"])
async def test_a_count_of_a_lane_that_is_none_keeps_no_row_from_ending(ledgers: Ledgers, name: str) -> None:
    one = await ledgers.accept("email:0")
    counts = f"{Keys().shard_of(one)}:{name}"

    async def damage() -> None:
        for field in await ledgers.store.command("HKEYS", counts):
            await ledgers.store.command("HSET", counts, field, "garbage")

    await damage()
    another = await ledgers.accept("email:0")
    await damage()
    for claim in await ledgers.ledger.claim([(one, "email:0"), (another, "email:0")], LEASE):
        assert await ledgers.ledger.finish(claim, Outcome(State.DELIVERED)) == "finished"
    assert (await open_work(ledgers.ledger.store, ledgers.ledger.keys))["email"].count == 0


@pytest.mark.parametrize("member", [b"garbage", b"", b"|", b"no-id|email:0", b"|||", b"\xff\xfe", b"\xff|\xfe"])
async def test_an_entry_of_the_schedule_that_names_nothing_is_put_away(ledgers: Ledgers, member: bytes) -> None:
    good = await ledgers.accept("email:0")
    await ledgers.store.command("ZADD", f"{Keys().shard(3)}:due:email", 1, member)
    swept = await ledgers.ledger.schedule.sweep(100, LATER)
    assert [row.notification_id for row in swept.due] == [good]
    assert [row.reason for row in swept.ended] == [Reason.UNREADABLE]
    assert await ledgers.store.command("ZSCORE", f"{Keys().shard(3)}:due:email", member) is None
    (letter,) = await ledgers.trace.dead_letters(10, reason="unreadable")
    assert letter.row is not None
    ((entry,),) = [page async for page in ledgers.dead.pages(Wanted(until=await ledgers.dead.now()))]
    assert (entry.lane, entry.reason) == ("email", "unreadable")
    assert await ledgers.dead.replay(entry) is Answer.UNREADABLE
    assert await ledgers.holds()
    assert await ledgers.dead.drop([entry]) == 1
    assert await ledgers.trace.dead_letters(10) == []


async def test_an_entry_for_a_record_that_never_was_is_put_away(ledgers: Ledgers) -> None:
    never = new_notification_id(0)
    await ledgers.store.command("ZADD", f"{Keys().shard(0)}:due:email", 1, f"{never}|email:0")
    assert [row.notification_id for row in (await ledgers.ledger.schedule.sweep(100)).ended] == [never]
    (letter,) = await ledgers.trace.dead_letters(10)
    assert (letter.notification_id, letter.row and letter.row.reason) == (never, "unreadable")
    assert await ledgers.holds()


async def test_an_entry_in_another_lanes_schedule_ends_no_row(ledgers: Ledgers) -> None:
    good = await ledgers.accept("email:0")
    await ledgers.store.command("ZADD", f"{Keys().shard(0)}:due:sms", 1, f"{good}|email:0")
    swept = await ledgers.ledger.schedule.sweep(100, LATER)
    assert [(row.lane, row.notification_id) for row in swept.due] == [("email", good)]
    assert swept.ended == []
    assert await ledgers.holds()


async def test_rows_beside_one_that_is_no_json_are_handed_out_with_the_first_sweep(ledgers: Ledgers) -> None:
    one = await ledgers.accept(*(f"email:{number}" for number in range(10)))
    await ledgers.store.command("HSET", ledgers.record(one), "d:email:5", "{")
    swept = await ledgers.ledger.schedule.sweep(100, LATER)
    assert {row.key for row in swept.due} == {f"email:{number}" for number in range(10) if number != 5}
    (message,) = jobs_of_due(Topics(), swept.due)
    assert len(open_job(Job[Delivery], message[1]).rows) == 9


@pytest.mark.parametrize("name", ["open", "e:email:0", "w:email:0", "cancelled_by", "alert", "at", "k:email:0"])
async def test_a_damaged_field_beside_a_row_neither_ends_nor_repeats_it(ledgers: Ledgers, name: str) -> None:
    one = await ledgers.accept("email:0", "email:1")
    await ledgers.store.command("HSET", ledgers.record(one), name, b"\xff garbage")
    (claim,) = await ledgers.ledger.claim([(one, "email:0")], LEASE)
    assert claim.verdict == "claimed"
    again = Outcome(State.PENDING, Reason.INTERNAL_ERROR)
    assert await ledgers.ledger.finish(claim, again) == "finished"
    (claim,) = await ledgers.ledger.claim([(one, "email:0")], LEASE)
    assert (claim.verdict, claim.failures) == ("claimed", 1)
    assert await ledgers.ledger.finish(claim, Outcome(State.DELIVERED)) == "finished"
    assert (await open_work(ledgers.ledger.store, ledgers.ledger.keys))["email"].count == 1
    # What is open is not forgotten.
    assert await ledgers.store.command("TTL", ledgers.record(one)) == -1
    record = await ledgers.trace.record(one)
    assert record is not None
    assert record.open_rows == 1
    assert {row.key async for row in ledgers.trace.rows(one)} == {"email:0", "email:1"}
    await ledgers.ledger.alerts.alert_states([one])


async def test_a_row_that_was_written_later_is_taken_from_its_own_minute(ledgers: Ledgers) -> None:
    bad = await ledgers.accept("email:bad", "email:0")
    await DAMAGES["status is garbage"](ledgers, bad)
    # As of a row of a fan-out, minutes after its notification was accepted.
    at = int(await ledgers.store.command("HGET", ledgers.record(bad), "at"))
    await ledgers.store.command("HSET", ledgers.record(bad), "at", at - 300_000)
    assert [row.key for row in await ledgers.ended(1)] == ["email:bad"]
    assert await ledgers.holds()
    assert (await open_work(ledgers.ledger.store, ledgers.ledger.keys))["email"].count == 1


async def test_a_schedule_that_is_none_keeps_no_other_from_being_swept(ledgers: Ledgers) -> None:
    good = await ledgers.accept("email:0")
    await ledgers.store.command("SET", f"{Keys().shard(1)}:due:email", "something else")
    swept = await ledgers.ledger.schedule.sweep(100, LATER)
    assert [row.notification_id for row in swept.due] == [good]
    assert swept.failed == [("email", Keys().shard(1))]


async def test_a_status_alone_is_replayed_where_the_rest_is_sound(ledgers: Ledgers) -> None:
    bad = await ledgers.accept("email:bad")
    await DAMAGES["status is garbage"](ledgers, bad)
    (row,) = await ledgers.ended(1)
    assert (row.state, row.reason) == (State.DEAD_LETTERED, Reason.UNREADABLE)
    (page,) = [page async for page in ledgers.dead.pages(Wanted(until=await ledgers.dead.now()))]
    await Directory(ledgers.store, Keys()).put(Person(user_id="user123", email="user@example.com"))
    assert await ledgers.dead.replay(page[0], timedelta(hours=1)) is Answer.REOPENED
    (claim,) = await ledgers.ledger.claim([(bad, "email:bad")], LEASE)
    assert claim.verdict == "claimed"
    await ledgers.ledger.finish(claim, Outcome(State.DELIVERED))
    assert await ledgers.holds()

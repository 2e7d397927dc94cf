"""What is handed over and what waits in the ledger: how much at once, in which order, and that none of it is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from shared.core.errors import Reason
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State
from shared.ledger.audit import Audit, Depth
from shared.ledger.backlog import WINDOW_ROWS, Backlog
from shared.ledger.claims import Claim, Outcome
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import GRACE_MS, NewRecord, NewRow, Part
from shared.ledger.schedule import DueRow, EndedRow, Swept
from shared.store.keys import SHARDS, Keys, new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.previous_release import PreviousRelease
from tests.records import LEASE, now_ms
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

SHARD = 5
WINDOW = 4
BASE = Keys().shard(SHARD)
DONE = Outcome(State.DELIVERED, provider="smtp")


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    """Everything is on one shard, which may have the whole window."""
    return Ledger(opened, Keys(), record_retention_s=600, backlog=Backlog(WINDOW, WINDOW))


def row(
    key: str = "email:0", *, priority: Priority = Priority.NORMAL, due_ms: int = 0, lifetime_s: float = 3600
) -> NewRow:
    return NewRow(
        Delivery(
            key=key,
            channel=Channel.EMAIL,
            priority=priority,
            address=EmailAddress(email="user@example.com"),
            due_ms=due_ms,
            expires_ms=now_ms() + round(lifetime_s * 1000),
        )
    )


def notification(publisher: str | None = None, shard: int = SHARD) -> Notification:
    return Notification(
        id=new_notification_id(shard),
        kind="email_send",
        priority=Priority.NORMAL,
        accepted_ms=now_ms(),
        content=Content(title="Subject", message="Body"),
        publisher=publisher,
    )


async def accept(ledger: Ledger, *rows: NewRow, publisher: str | None = None, share: float = 1) -> NewRecord:
    record = NewRecord(notification(publisher), rows or [row()], share=share)
    await ledger.accept(record)
    return record


async def fill(ledger: Ledger, priority: Priority = Priority.NORMAL, rows: int = WINDOW) -> list[str]:
    """Fill a window with deliveries that nobody claims yet."""
    return [(await accept(ledger, row(priority=priority))).notification.id for _ in range(rows)]


def waits(record: NewRecord) -> list[bool]:
    return [new.waits for new in record.rows]


async def claim(ledger: Ledger, notification_id: str, key: str = "email:0") -> Claim:
    (found,) = await ledger.claim([(notification_id, key)], LEASE)
    return found


async def deliver(ledger: Ledger, notification_id: str, key: str = "email:0") -> None:
    found = await claim(ledger, notification_id, key)
    assert found.verdict == "claimed"
    assert await ledger.finish(found, DONE) == "finished"


async def refill(ledger: Ledger, most: int = 100) -> list[DueRow]:
    swept = await ledger.schedule.refill(most)
    assert swept.ended == []
    return swept.due


async def size(opened: Store, name: str, priority: Priority = Priority.NORMAL) -> int:
    return int(await opened.command("ZCARD", f"{BASE}:{name}:email:{priority}"))


async def assert_balanced(opened: Store, open_rows: int) -> None:
    for depth in (Depth.COUNTERS, Depth.RECORDS):
        report = await Audit(opened, Keys(), 86400).run(timedelta(minutes=5), depth)
        assert report.findings == []
        assert report.open_rows == open_rows


async def assert_nothing_left(opened: Store) -> None:
    for name in ("out", "ready", "fair", "due"):
        assert await opened.command("KEYS", f"{BASE}:{name}:*") == []


async def test_no_more_is_handed_over_than_the_window_holds_and_the_rest_follows_as_it_is_claimed(
    ledger: Ledger, opened: Store
) -> None:
    many = await accept(ledger, *(row(f"email:{number}") for number in range(10)))
    assert waits(many) == [False] * WINDOW + [True] * 6
    assert (await size(opened, "out"), await size(opened, "ready")) == (WINDOW, 6)
    assert await refill(ledger) == []
    await assert_balanced(opened, 10)
    done: list[str] = []
    in_hand = [new.row.key for new in many.rows if not new.waits]
    while in_hand:
        key = in_hand.pop(0)
        await deliver(ledger, many.notification.id, key)
        done.append(key)
        assert await size(opened, "out") <= WINDOW
        in_hand += [due.key for due in await refill(ledger)]
    assert sorted(done) == sorted(new.row.key for new in many.rows)
    assert not ledger.backlog.is_there.is_set()
    await assert_nothing_left(opened)
    await assert_balanced(opened, 0)


async def test_a_claimed_row_makes_room_and_a_newer_one_does_not_overtake_what_waits(ledger: Ledger) -> None:
    first = await fill(ledger)
    waiting = await accept(ledger)
    await claim(ledger, first[0])
    newer = await accept(ledger)
    assert waits(waiting) + waits(newer) == [True, True]
    assert [due.notification_id for due in await refill(ledger)] == [waiting.notification.id]
    await claim(ledger, first[1])
    assert [due.notification_id for due in await refill(ledger)] == [newer.notification.id]
    # Nobody waits any more, so who comes now and finds room does not, either.
    await claim(ledger, first[2])
    assert waits(await accept(ledger)) == [False]


async def test_each_priority_has_a_window_of_its_own_and_the_most_urgent_goes_first(ledger: Ledger) -> None:
    taken = {priority: await fill(ledger, priority) for priority in Priority}
    for priority in Priority:
        assert waits(await accept(ledger, row(priority=priority))) == [True]
    for ids in taken.values():
        await claim(ledger, ids[0])
    # One at a time, as where texts are long.
    order = [due.priority for _ in range(4) for due in await refill(ledger, 1)]
    assert order == [Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW]


async def test_publishers_take_turns_by_their_shares(ledger: Ledger) -> None:
    first = await fill(ledger)
    for _ in range(30):
        await accept(ledger, publisher="shop")
    for _ in range(2):
        await accept(ledger, publisher="billing")
    for _ in range(8):
        await accept(ledger, publisher="bank", share=3)
    order = []
    for _ in range(12):
        await deliver(ledger, first.pop(0))
        (due,) = await refill(ledger)
        first.append(due.notification_id)
        order.append(Notification.model_validate_json(due.content).publisher)
    assert Counter(order[:5]) == {"bank": 3, "shop": 1, "billing": 1}
    assert Counter(order[:10]) == {"bank": 6, "shop": 2, "billing": 2}


async def test_one_row_of_another_publisher_does_not_wait_behind_a_crowd_that_came_before(ledger: Ledger) -> None:
    first = await fill(ledger)
    await accept(ledger, *(row(f"email:{number}") for number in range(500)), publisher="shop")
    for _ in range(3):
        await deliver(ledger, first.pop(0))
        await refill(ledger)
    billing = await accept(ledger, publisher="billing")
    await deliver(ledger, first.pop(0))
    (due,) = await refill(ledger)
    await deliver(ledger, due.notification_id, due.key)
    (due_next,) = await refill(ledger)
    assert billing.notification.id in (due.notification_id, due_next.notification_id)


async def test_a_retry_and_the_rows_of_a_part_wait_with_their_publishers_share(ledger: Ledger, opened: Store) -> None:
    whole = await accept(ledger, row("email:task", priority=Priority.LOW), publisher="bank", share=4)
    first = await fill(ledger)
    task = await claim(ledger, whole.notification.id, "email:task")
    part = Part(notification("bank").model_copy(update={"part_of": whole.notification.id}), [row(), row("email:1")])
    assert await ledger.finish(task, Outcome(State.DELIVERED, part=part)) == "finished"
    assert [new.waits for new in part.rows] == [True, True]
    turns = await opened.command("ZRANGE", f"{BASE}:ready:email:normal", 0, -1, "WITHSCORES")
    assert sorted(_scores(turns)) == [0.25, 0.5]
    # As when its attempt has failed, and its time has come again.
    taken = await claim(ledger, first[0])
    assert [due.key for due in await refill(ledger)] == ["email:0"]
    retried = await claim(ledger, part.notification.id)
    await ledger.finish(retried, Outcome(State.PENDING, Reason.NETWORK))
    assert [due.key for due in (await ledger.schedule.sweep(10)).due] == ["email:1"]
    turns = await opened.command("ZRANGE", f"{BASE}:ready:email:normal", 0, -1, "WITHSCORES")
    assert _scores(turns) == [0.75]
    assert taken.verdict == "claimed"
    await assert_balanced(opened, WINDOW + 2)


def _scores(answer: list[object]) -> list[float]:
    """Read ZRANGE WITHSCORES, whose answer is flat in RESP2 and pairs in RESP3."""
    flat = [part for pair in answer for part in (pair if isinstance(pair, list) else [pair])]
    return [float(part) for part in flat[1::2]]  # type: ignore[arg-type]


async def test_what_waits_ends_at_its_deadline_though_nobody_works(ledger: Ledger, opened: Store) -> None:
    await fill(ledger)
    late = await accept(ledger, row(lifetime_s=0.2))
    assert waits(late) == [True]
    ended: list[EndedRow] = []

    async def has_ended() -> bool:
        ended.extend((await ledger.schedule.sweep(10)).ended)
        return bool(ended)

    await eventually(has_ended)
    assert [(one.notification_id, one.state) for one in ended] == [(late.notification.id, State.EXPIRED)]
    assert await size(opened, "ready") == 0
    await assert_balanced(opened, WINDOW)


async def test_what_waits_can_be_cancelled_and_makes_no_room(ledger: Ledger, opened: Store) -> None:
    first = await fill(ledger)
    waiting, next_one = await accept(ledger), await accept(ledger)
    cancelled = await ledger.cancel(waiting.notification.id)
    assert cancelled is not None
    assert len(cancelled.ended) == 1
    assert await size(opened, "ready") == 1
    await ledger.cancel(first[0])
    assert [due.notification_id for due in await refill(ledger)] == [next_one.notification.id]
    assert await size(opened, "out") == WINDOW
    await assert_balanced(opened, WINDOW)


async def test_a_worker_may_claim_what_waits(ledger: Ledger, opened: Store) -> None:
    first = await fill(ledger)
    waiting = await accept(ledger)
    # Its job was published once, and comes late.
    await deliver(ledger, waiting.notification.id)
    assert await opened.command("EXISTS", f"{BASE}:ready:email:normal", f"{BASE}:fair:email:normal") == 0
    for each in first:
        await deliver(ledger, each)
    await assert_nothing_left(opened)
    await assert_balanced(opened, 0)


async def test_only_what_was_handed_over_and_not_claimed_is_handed_over_again(
    ledger: Ledger, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRACE_MS, Priority.NORMAL, 50)
    first = await fill(ledger)
    for _ in range(20):
        await accept(ledger)
    again: Counter[str] = Counter()

    async def some_twice() -> bool:
        due = (await ledger.schedule.sweep(100)).due
        assert all(each.is_lost for each in due)
        again.update(each.notification_id for each in due)
        return min(again.values(), default=0) >= 2

    await eventually(some_twice)
    assert again.keys() == set(first)
    assert (await size(opened, "out"), await size(opened, "ready")) == (WINDOW, 20)


async def test_what_a_dead_worker_had_goes_before_what_waits(ledger: Ledger, opened: Store) -> None:
    first = await fill(ledger)
    for _ in range(20):
        await accept(ledger)
    # It has had its turn. Behind all that waits it would come minutes after the lease.
    (held,) = await ledger.claim([(first[0], "email:0")], timedelta(milliseconds=1))
    assert held.verdict == "claimed"
    await asyncio.sleep(0.01)
    assert [due.notification_id for due in (await ledger.schedule.sweep(10)).due] == [first[0]]
    # Nobody else's turn is later for it.
    turns = await opened.command("ZRANGE", f"{BASE}:ready:email:normal", 0, -1, "WITHSCORES")
    assert _scores(turns) == list(range(1, 21))
    await assert_balanced(opened, WINDOW + 20)


async def test_what_becomes_due_waits_behind_what_waits(ledger: Ledger) -> None:
    first = await fill(ledger)
    scheduled = await accept(ledger, row(due_ms=now_ms() + 50))
    waiting = await accept(ledger)
    await asyncio.sleep(0.06)
    await claim(ledger, first[0])
    swept = await ledger.schedule.sweep(10)
    assert [due.notification_id for due in swept.due] == [waiting.notification.id]
    await claim(ledger, first[1])
    assert [due.notification_id for due in await refill(ledger)] == [scheduled.notification.id]


async def test_a_sweep_that_looks_ahead_leaves_what_finds_no_room_where_it_is(ledger: Ledger, opened: Store) -> None:
    first = await fill(ledger)
    later = await accept(ledger, row(due_ms=now_ms() + 400))
    assert (await ledger.schedule.sweep(10, timedelta(seconds=2))).due == []
    assert await size(opened, "ready") == 0
    await claim(ledger, first[0])
    (due,) = (await ledger.schedule.sweep(10, timedelta(seconds=2))).due
    assert (due.notification_id, due.is_lost) == (later.notification.id, False)
    assert due.wait_s > 0


async def test_what_the_previous_release_claims_makes_room_at_once(ledger: Ledger, opened: Store) -> None:
    previous = PreviousRelease(opened)
    first = await fill(ledger)
    waiting = [await accept(ledger) for _ in range(3)]
    # It ends two in the window, and one that waits, and cleans neither.
    for each in (*first[:2], waiting[0].notification.id):
        await previous.end(each)
    assert (await size(opened, "out"), await size(opened, "ready")) == (WINDOW, 3)
    due = [*await refill(ledger), *await refill(ledger)]
    assert [each.notification_id for each in due] == [each.notification.id for each in waiting[1:]]
    for each in (*first[2:], *(one.notification.id for one in waiting[1:])):
        await deliver(ledger, each)
    assert await refill(ledger) == []
    await assert_nothing_left(opened)
    await assert_balanced(opened, 0)


async def test_while_very_much_becomes_due_at_one_time_the_store_serves_others_in_between(
    opened: Store, store: EmptyStore
) -> None:
    ledger = Ledger(opened, Keys())
    at_nine_ms = now_ms() + 3_600_000
    for shard in range(SHARDS):
        rows = [row(f"email:{number}", due_ms=at_nine_ms, lifetime_s=7200) for number in range(100)]
        await ledger.accept(NewRecord(notification(shard=shard), rows))
    answers = 0

    async def ask(other: Store) -> None:
        nonlocal answers
        while True:
            await other.command("GET", "something")
            answers += 1

    async with Store(store.url) as other:
        asking = asyncio.create_task(ask(other))
        await eventually(lambda: answers > 0)
        answers = 0
        swept = await ledger.schedule.sweep(100, timedelta(hours=2))
        asking.cancel()
    assert len(swept.due) == WINDOW_ROWS
    assert answers >= SHARDS


async def test_what_the_previous_release_has_accepted_is_handed_over_when_its_grace_is_over(
    ledger: Ledger, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRACE_MS, Priority.NORMAL, 50)
    previous = PreviousRelease(opened)
    theirs = [await previous.accept(row(lifetime_s=3600), shard=SHARD) for _ in range(WINDOW + 3)]
    monkeypatch.setitem(GRACE_MS, Priority.NORMAL, 60_000)
    found: list[str] = []

    async def all_found() -> bool:
        swept: Swept = await ledger.schedule.sweep(100)
        for each in swept.due:
            found.append(each.notification_id)
            await deliver(ledger, each.notification_id)
        return len(found) == len(theirs)

    await eventually(all_found)
    assert sorted(found) == sorted(theirs)
    await assert_nothing_left(opened)
    await assert_balanced(opened, 0)


async def test_entries_that_stand_for_nothing_are_dropped(ledger: Ledger, opened: Store) -> None:
    first = await fill(ledger)
    waiting = await accept(ledger)
    strangers = [f"{new_notification_id(SHARD)}|email:0", "nonsense"]
    for number, stranger in enumerate(strangers):
        await opened.command("ZADD", f"{BASE}:ready:email:normal", number / 10, stranger)
    await deliver(ledger, first[0])
    due = [due for _ in range(3) for due in await refill(ledger)]
    assert [each.notification_id for each in due] == [waiting.notification.id]
    for stranger in strangers:
        await opened.command("ZADD", f"{BASE}:out:email:normal", now_ms() + 60_000, stranger)
    await deliver(ledger, first[1])
    assert waits(await accept(ledger)) == [True]
    assert len(await refill(ledger)) == 1
    assert await opened.command("EXISTS", f"{BASE}:dead") == 0
    await assert_balanced(opened, WINDOW)


async def test_a_lane_that_nobody_reads_is_probed_and_its_window_does_not_grow(
    ledger: Ledger, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRACE_MS, Priority.NORMAL, 30)
    for _ in range(20):
        await accept(ledger)
    probes = 0

    async def probed() -> bool:
        nonlocal probes
        due = (await ledger.schedule.sweep(100, probed={"email"})).due
        assert len(due) <= 1
        probes += len(due)
        return probes == 10

    await eventually(probed)
    assert (await size(opened, "out"), await size(opened, "ready")) == (WINDOW, 20 - WINDOW)
    # All that was handed over has ended meanwhile: the first of those that wait is the next probe.
    members = await opened.command("ZRANGE", f"{BASE}:out:email:normal", 0, -1)
    for member in members:
        await ledger.cancel(member.decode().partition("|")[0])
    assert len((await ledger.schedule.sweep(100, probed={"email"})).due) == 1


async def test_what_no_worker_here_reads_does_not_stop_the_others(
    ledger: Ledger, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRACE_MS, Priority.NORMAL, 5)
    unread = await fill(ledger)
    waiting = await accept(ledger)

    async def handed_over() -> bool:
        due = (await ledger.schedule.sweep(100)).due
        return waiting.notification.id in {each.notification_id for each in due}

    await eventually(handed_over)
    # They are still tried.
    tried: set[str] = set()

    async def all_tried() -> bool:
        tried.update(each.notification_id for each in (await ledger.schedule.sweep(100)).due)
        return tried.issuperset(unread)

    await eventually(all_tried)
    for each in unread:
        await deliver(ledger, each)
    await assert_balanced(opened, 1)


async def test_what_waits_long_is_looked_at_and_keeps_its_turn(ledger: Ledger, opened: Store) -> None:
    await fill(ledger)
    waiting = await accept(ledger)
    member = f"{waiting.notification.id}|email:0"
    schedule, ready = f"{BASE}:due:email", f"{BASE}:ready:email:normal"
    turn = await opened.command("ZSCORE", ready, member)
    # Long before its deadline, so that a release that knows of no waiting publishes it after a while.
    assert now_ms() < float(await opened.command("ZSCORE", schedule, member)) <= now_ms() + 600_000
    await opened.command("ZADD", schedule, now_ms() - 1, member)
    assert (await ledger.schedule.sweep(10)).due == []
    assert await opened.command("ZSCORE", ready, member) == turn
    assert float(await opened.command("ZSCORE", schedule, member)) > now_ms() + 300_000


async def test_what_waits_and_is_looked_at_keeps_no_lane_from_being_probed(ledger: Ledger, opened: Store) -> None:
    await fill(ledger)
    waiting = [(await accept(ledger)).notification.id for _ in range(10)]
    await opened.command(
        "ZADD", f"{BASE}:due:email", *(part for each in waiting for part in (now_ms() - 1000, f"{each}|email:0"))
    )
    for member in await opened.command("ZRANGE", f"{BASE}:out:email:normal", 0, -1):
        await opened.command("ZADD", f"{BASE}:due:email", now_ms(), member)
    assert len((await ledger.schedule.sweep(100, probed={"email"})).due) == 1

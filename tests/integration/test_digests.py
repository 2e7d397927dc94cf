"""Digests against a real Redis: what comes in goes out once, together, however often it is tried."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from shared.core.incidents import AlertState
from shared.core.model import Content, Notification, Priority, State
from shared.ledger import digests as module
from shared.ledger.audit import Audit, Depth
from shared.ledger.audit_report import ItemAccounts, Kind, Report
from shared.ledger.claims import Outcome
from shared.ledger.digests import Added, Closed, Digests, Item, Opening, StillOpen
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord
from shared.ledger.reader import Trace
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.digests import GROUP, HOUR_MS, item, member, opening
from tests.previous_release import PreviousRelease
from tests.records import LEASE, accept, delivery, now_ms

pytestmark = pytest.mark.real_store


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def digests(opened: Store) -> Digests:
    return Digests(opened, Keys(), retention_s=600)


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    return Ledger(opened, Keys(), record_retention_s=600)


def over() -> Opening:
    """A window that is over as soon as it is opened."""
    return opening(ends_ms=1)


async def opened_by(digests: Digests, first: Item, how: Opening) -> str:
    added = await digests.add(GROUP, first, how)
    assert added == Added(how.notification.id, opened=True)
    return how.notification.id


async def close(digests: Digests, digest_id: str) -> Closed:
    closed = await digests.close(digest_id)
    assert isinstance(closed, Closed)
    return closed


async def test_items_of_one_window_are_told_together_in_the_order_in_which_they_came(digests: Digests) -> None:
    items = [item(number) for number in range(3)]
    digest_id = await opened_by(digests, items[0], over())
    for each in items[1:]:
        assert await digests.add(GROUP, each, over()) == Added(digest_id, opened=False)
    expected = Closed(tuple(each.text for each in items), 3, tuple(map(member, items)), items[0].at_ms, items[2].at_ms)
    assert await digests.close(digest_id) == expected
    assert await digests.close(digest_id) == expected


async def test_what_comes_after_the_close_opens_the_next_one(digests: Digests) -> None:
    first, second = item(), item()
    digest_id = await opened_by(digests, first, over())
    await digests.close(digest_id)
    next_id = await opened_by(digests, second, over())
    assert next_id != digest_id
    assert (await close(digests, digest_id)).members == (member(first),)
    assert (await close(digests, next_id)).members == (member(second),)


async def test_nothing_is_left_of_a_window_that_is_over(digests: Digests, ledger: Ledger) -> None:
    base = Keys().shard(Digests.shard_of_group(GROUP))
    await digests.close(await opened_by(digests, item(), over()))
    assert await ledger.store.command("KEYS", f"{base}:digest:*") == []
    await ledger.cancel(await opened_by(digests, item(), over()))
    assert await ledger.store.command("KEYS", f"{base}:digest:*") == []
    await digests.add(GROUP, item(), opening(window_ms=30, first_now=True))
    await asyncio.sleep(0.04)
    assert await ledger.store.command("KEYS", f"{base}:digest:*") == []


async def test_an_item_that_is_added_again_stays_where_it_is_after_the_close_as_well(digests: Digests) -> None:
    first = item()
    digest_id = await opened_by(digests, first, over())
    assert await digests.add(GROUP, first, over()) == Added(digest_id, opened=False)
    await digests.close(digest_id)
    assert await digests.add(GROUP, first, over()) == Added(digest_id, opened=False)
    assert (await close(digests, digest_id)).count == 1


async def test_a_window_ends_when_its_time_has_come(digests: Digests) -> None:
    before_ms = now_ms()
    # Long enough for a machine that is busy.
    digest_id = await opened_by(digests, item(), opening(window_ms=2000))
    still = await digests.close(digest_id)
    assert isinstance(still, StillOpen)
    assert before_ms <= still.ends_ms - 2000 <= now_ms()
    await asyncio.sleep((still.ends_ms - now_ms()) / 1000 + 0.02)
    assert (await close(digests, digest_id)).count == 1


async def test_the_row_that_closes_it_is_due_at_the_end_and_is_not_expired_by_then(
    digests: Digests, ledger: Ledger, opened: Store
) -> None:
    ends_ms = now_ms() + 2 * HOUR_MS
    digest_id = await opened_by(digests, item(), opening(ends_ms=ends_ms))
    assert [each async for each in _rows(opened, digest_id)] == [("close", "pending", ends_ms)]
    swept = await ledger.schedule.sweep(100, timedelta(hours=3))
    assert [(each.notification_id, each.key) for each in swept.due] == [(digest_id, "close")]
    assert swept.ended == []


async def _rows(store: Store, digest_id: str) -> AsyncIterator[tuple[str, str, int]]:
    async for row in Trace(store, Keys()).rows(digest_id):
        yield row.key, row.state.value, round(row.until.timestamp() * 1000)


async def test_a_sliding_window_moves_its_end_and_not_beyond_the_longest_time(digests: Digests) -> None:
    how = opening(window_ms=HOUR_MS, sliding=True, at_most_ms=HOUR_MS + 300)
    digest_id = await opened_by(digests, item(), how)
    ends = [await _end(digests, digest_id)]
    for wait_s in (0.01, 0.3):
        await asyncio.sleep(wait_s)
        await digests.add(GROUP, item(), opening())
        ends.append(await _end(digests, digest_id))
    assert ends[0] < ends[1] <= ends[2] == ends[0] + 300


async def _end(digests: Digests, digest_id: str) -> int:
    still = await digests.close(digest_id)
    assert isinstance(still, StillOpen)
    return still.ends_ms


async def test_an_open_window_keeps_its_specification(digests: Digests) -> None:
    digest_id = await opened_by(digests, item(), opening(items=2))
    end_ms = await _end(digests, digest_id)
    later = opening(window_ms=2 * HOUR_MS, sliding=True, at_most_ms=5 * HOUR_MS, items=1, first_now=True)
    assert (await digests.add(GROUP, item(), later)).digest_id == digest_id
    assert await _end(digests, digest_id) == end_ms


async def test_the_first_of_a_window_goes_out_alone_and_is_no_item(digests: Digests) -> None:
    first, second = item(), item()
    how = opening(window_ms=1_000, first_now=True)
    for _ in range(2):
        assert await digests.add(GROUP, first, how) == Added(None, opened=False)
    begun_ms = now_ms()
    await asyncio.sleep(0.01)
    digest_id = await opened_by(digests, second, opening(window_ms=1_000, first_now=True))
    # The window was begun by the first one.
    ends_ms = await _end(digests, digest_id)
    assert ends_ms <= begun_ms + 1_000
    await asyncio.sleep((ends_ms + 20 - now_ms()) / 1_000)
    assert (await close(digests, digest_id)).members == (member(second),)
    assert await digests.add(GROUP, item(), how) == Added(None, opened=False)
    assert await digests.add(GROUP, first, how) == Added(None, opened=False)


async def test_the_newest_texts_are_kept_and_the_count_stays_true(
    digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [item(number) for number in range(5)]
    digest_id = await opened_by(digests, items[0], opening(ends_ms=1, items=3))
    for each in items[1:]:
        await digests.add(GROUP, each, over())
    closed = await close(digests, digest_id)
    assert closed.items == tuple(each.text for each in items[2:])
    assert (closed.count, len(closed.members)) == (5, 5)
    monkeypatch.setattr(module, "TEXTS_BYTES", 2 * len(items[0].text))
    digest_id = await opened_by(digests, item(10), over())
    for number in range(11, 14):
        await digests.add(GROUP, item(number), over())
    assert len((await close(digests, digest_id)).items) < 3


async def test_groups_have_nothing_in_common(digests: Digests) -> None:
    other = f"{GROUP}, another"
    digest_id = await opened_by(digests, item(), over())
    second = await digests.add(other, item(), opening(other, ends_ms=1))
    assert second.opened
    assert (await close(digests, digest_id)).count == (await close(digests, str(second.digest_id))).count == 1


async def test_a_cancelled_digest_ends_and_the_next_item_opens_another(digests: Digests, ledger: Ledger) -> None:
    digest_id = await opened_by(digests, item(), opening())
    cancelled = await ledger.cancel(digest_id)
    assert cancelled is not None
    assert cancelled.ended
    assert await opened_by(digests, item(), opening()) != digest_id


async def test_a_digest_that_is_cancelled_in_the_hands_of_a_router_takes_nothing_more(
    digests: Digests, ledger: Ledger
) -> None:
    digest_id = await opened_by(digests, item(), over())
    await asyncio.sleep(0.01)
    (claim,) = await ledger.claim([(digest_id, "close")], LEASE)
    await ledger.cancel(digest_id)
    next_id = await opened_by(digests, item(), over())
    assert (await close(digests, digest_id)).count == 1
    assert await ledger.finish(claim, Outcome(State.DELIVERED, then=[delivery()])) == "void"
    assert (await close(digests, next_id)).count == 1


async def test_a_digest_that_the_previous_release_has_ended_takes_nothing_more(
    digests: Digests, ledger: Ledger
) -> None:
    digest_id = await opened_by(digests, item(), over())
    await asyncio.sleep(0.01)
    await PreviousRelease(ledger.store).end(digest_id, "close")
    next_id = await opened_by(digests, item(), opening())
    assert next_id != digest_id
    report = await audit(ledger.store, Depth.RECORDS)
    assert report.findings == []
    assert report.items["email"] == ItemAccounts(came_in=2, taken_out=1, waiting=1, digests=1)


async def test_a_digest_goes_through_the_ledger(digests: Digests, ledger: Ledger) -> None:
    digest_id = await opened_by(digests, item(), over())
    await asyncio.sleep(0.01)
    (claim,) = await ledger.claim([(digest_id, "close")], LEASE)
    await close(digests, digest_id)
    assert await ledger.finish(claim, Outcome(State.DELIVERED, then=[delivery()])) == "finished"
    assert len(await digests.members(digest_id)) == 1
    (claim,) = await ledger.claim([(digest_id, "email:0")], LEASE)
    await ledger.finish(claim, Outcome(State.DELIVERED))
    base = Keys().shard_of(digest_id)
    for name in ("n", "members", "texts"):
        assert 0 < await ledger.store.command("TTL", f"{base}:{name}:{digest_id}") <= 600


async def test_cancelled_items_and_answered_alerts_are_called_off(digests: Digests, ledger: Ledger) -> None:
    kept, cancelled = await accept(ledger, delivery()), await accept(ledger, delivery())
    await ledger.cancel(cancelled)
    alerts = [await _alert(ledger) for _ in range(2)]
    await ledger.alerts.resolve(alerts[0])
    members = [(each, "email:0") for each in (kept, cancelled, *alerts, new_notification_id())]
    assert await digests.called_off(members) == {members[1], members[2]}


async def _alert(ledger: Ledger) -> str:
    notification = Notification(
        id=new_notification_id(), kind="alert_warning", priority=Priority.NORMAL, accepted_ms=now_ms(),
        content=Content(title="Alert", message="Slow"),
    )  # fmt: skip
    await ledger.accept(NewRecord(notification, [delivery()], alert=AlertState.OPEN))
    return notification.id


async def test_leaving_items_out_counts_each_once(digests: Digests) -> None:
    items = [item(number) for number in range(3)]
    digest_id = await opened_by(digests, items[0], over())
    for each in items[1:]:
        await digests.add(GROUP, each, over())
    left_out = [member(items[0]), member(item())]
    assert await digests.leave_out(digest_id, left_out) == 0
    await digests.close(digest_id)
    assert await digests.leave_out(digest_id, left_out) == 1
    assert await digests.leave_out(digest_id, left_out) == 0


async def test_the_audit_balances_and_says_what_waits_left_and_was_taken_out(digests: Digests, ledger: Ledger) -> None:
    await _told_waiting_and_cancelled(digests, ledger)
    report = await audit(ledger.store, Depth.RECORDS)
    assert report.findings == []
    assert report.items["email"] == ItemAccounts(came_in=6, left=2, taken_out=2, waiting=2, digests=1)
    assert report.items["sms"] == ItemAccounts()


async def _told_waiting_and_cancelled(digests: Digests, ledger: Ledger) -> str:
    """Make a digest that is told with two of its three items, one that is cancelled, and one that waits with two."""
    items = [item(number) for number in range(3)]
    told = await opened_by(digests, items[0], over())
    for each in items[1:]:
        await digests.add(GROUP, each, over())
    await digests.close(told)
    await digests.leave_out(told, [member(items[0])])
    await ledger.cancel(await opened_by(digests, item(), opening()))
    waiting = await opened_by(digests, item(), opening())
    await digests.add(GROUP, item(), opening())
    return waiting


async def audit(store: Store, depth: Depth = Depth.COUNTERS) -> Report:
    return await Audit(store, Keys(), 86400).run(timedelta(minutes=5), depth)


async def test_a_changed_count_of_items_is_found(digests: Digests, ledger: Ledger) -> None:
    waiting = await _told_waiting_and_cancelled(digests, ledger)
    base = Keys().shard_of(waiting)
    await ledger.store.command("HINCRBY", f"{base}:items", "email|out", -1)
    (found,) = (await audit(ledger.store)).findings
    numbers = ItemAccounts(came_in=6, left=1, taken_out=2, waiting=2, digests=1).named
    assert (found.kind, found.lane, found.count, found.numbers) == (Kind.DIGEST, "email", 1, numbers)


async def test_a_lost_digest_and_a_lost_item_are_found_and_named(digests: Digests, ledger: Ledger) -> None:
    waiting = await _told_waiting_and_cancelled(digests, ledger)
    base = Keys().shard_of(waiting)
    await ledger.store.command("ZREMRANGEBYRANK", f"{base}:members:{waiting}", 0, 0)
    assert (await audit(ledger.store)).holds
    (found,) = (await audit(ledger.store, Depth.RECORDS)).findings
    assert (found.kind, found.count, found.numbers) == (Kind.DIGEST, 1, {"counted": 2, "members": 1})
    assert found.notification_ids == {waiting}
    await ledger.store.command("ZREM", f"{base}:digests:email", waiting)
    (found,) = (await audit(ledger.store)).findings
    assert (found.kind, found.count, found.numbers) == (Kind.DIGEST, 2, {"waiting": 2, "in_open_digests": 0})


async def test_the_accounts_balance_while_items_come_and_digests_close(digests: Digests, ledger: Ledger) -> None:
    async def work(group: str) -> None:
        for _ in range(30):
            how = opening(group, ends_ms=1)
            await asyncio.gather(*(digests.add(group, item(), how) for _ in range(4)))
            await digests.close(how.notification.id)

    async with asyncio.TaskGroup() as tasks:
        working = [tasks.create_task(work(f"group {number}"), name=f"group-{number}") for number in range(10)]
        while not all(each.done() for each in working):
            report = await audit(ledger.store)
            assert [each for each in report.findings if each.kind is Kind.DIGEST] == []
    report = await audit(ledger.store)
    assert report.items["email"] == ItemAccounts(came_in=1200, left=1200)


async def test_a_large_digest_holds_the_store_for_a_moment_only(digests: Digests, opened: Store) -> None:
    digest_id = await opened_by(digests, item(), over())
    many = [new_notification_id() for _ in range(10_000)]
    members_key = f"{Keys().shard_of(digest_id)}:members:{digest_id}"
    await opened.command("ZADD", members_key, *(part for each in many for part in (now_ms(), f"{each}|email:user1")))
    await opened.command("CONFIG", "SET", "slowlog-log-slower-than", 0)
    await opened.command("SLOWLOG", "RESET")
    for _ in range(10):
        closed = await close(digests, digest_id)
    entries = await opened.command("SLOWLOG", "GET", 10_000)
    await opened.command("CONFIG", "SET", "slowlog-log-slower-than", 10_000)
    assert len(set(closed.members)) == closed.count == 10_001
    assert list(closed.members) == await digests.members(digest_id)
    assert await digests.leave_out(digest_id, closed.members[:1_000]) == 1_000
    # Of each kind the quickest: the others were kept waiting by whatever else this machine does.
    quickest: dict[bytes, int] = {}
    for _, _, took_us, (command, *_), *_ in entries:
        quickest[command] = min(took_us, quickest.get(command, took_us))
    assert max(quickest[b"EVALSHA"], quickest[b"ZRANGE"]) < 2_000


async def test_what_is_no_digest_cannot_be_closed(digests: Digests, ledger: Ledger) -> None:
    for each in (await accept(ledger, delivery()), new_notification_id()):
        with pytest.raises(LookupError):
            await digests.close(each)


def test_an_opening_has_one_end() -> None:
    with pytest.raises(ValueError, match="either"):
        opening(window_ms=None)
    with pytest.raises(ValueError, match="longest"):
        opening(sliding=True)

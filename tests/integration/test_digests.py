"""Digests against a real Redis: what comes in goes out once, together, however often it is tried."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State
from shared.ledger import digests as module
from shared.ledger.digests import Added, Closed, Digests, Item, Member, Opening, StillOpen
from shared.ledger.ledger import AlertState, Ledger, NewRecord, NewRow, Outcome
from shared.ledger.reader import Trace
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.records import LEASE, accept, delivery, now_ms

pytestmark = pytest.mark.real_store

GROUP = "user1|comments|email|post-7"
HOUR_MS = 3_600_000


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


def item(number: int = 0, *, notification_id: str = "") -> Item:
    own = notification_id or new_notification_id()
    text = json.dumps({"title": f"Comment {number}", "notification_id": own})
    return Item(own, "email:user1", now_ms() + number, text)


def opening(group: str = GROUP, **options: object) -> Opening:
    """Describe a window of an hour, or another one."""
    notification = Notification(
        id=new_notification_id(Digests.shard_of_group(group)),
        kind="user",
        priority=Priority.NORMAL,
        accepted_ms=now_ms(),
        content=Content(title="", message="", category="comments"),
    )
    # Any row can stand for the router's task.
    close = NewRow(
        Delivery(
            key="close",
            channel=Channel.EMAIL,
            priority=Priority.NORMAL,
            address=EmailAddress(email="user@example.com"),
            expires_ms=now_ms() + 60_000,
        )
    )
    if "ends_ms" not in options:
        options = {"window_ms": HOUR_MS} | options
    return Opening(notification, close, Channel.EMAIL, **options)  # type: ignore[arg-type]


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


def member(of: Item) -> Member:
    return of.notification_id, of.key


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


async def test_an_item_that_is_added_again_stays_where_it_is_after_the_close_as_well(digests: Digests) -> None:
    first = item()
    digest_id = await opened_by(digests, first, over())
    assert await digests.add(GROUP, first, over()) == Added(digest_id, opened=False)
    await digests.close(digest_id)
    assert await digests.add(GROUP, first, over()) == Added(digest_id, opened=False)
    assert (await close(digests, digest_id)).count == 1


async def test_a_window_ends_when_its_time_has_come(digests: Digests) -> None:
    before_ms = now_ms()
    digest_id = await opened_by(digests, item(), opening(window_ms=60))
    still = await digests.close(digest_id)
    assert isinstance(still, StillOpen)
    assert before_ms <= still.ends_ms - 60 <= now_ms()
    await asyncio.sleep(0.08)
    assert (await close(digests, digest_id)).count == 1


async def test_the_row_that_closes_it_is_due_at_the_end_and_is_not_expired_by_then(
    digests: Digests, ledger: Ledger, opened: Store
) -> None:
    ends_ms = now_ms() + 2 * HOUR_MS
    digest_id = await opened_by(digests, item(), opening(ends_ms=ends_ms))
    assert [each async for each in _rows(opened, digest_id)] == [("close", "pending", ends_ms)]
    swept = await ledger.sweep(100, timedelta(hours=3))
    assert [(each.notification_id, each.key) for each in swept.due] == [(digest_id, "close")]
    assert swept.ended == []


async def _rows(store: Store, digest_id: str) -> AsyncIterator[tuple[str, str, int]]:
    async for row in Trace(store, Keys()).rows(digest_id):
        yield row.key, row.state.value, round(row.until.timestamp() * 1000)


async def test_a_sliding_window_moves_its_end_and_not_beyond_the_longest_time(digests: Digests) -> None:
    how = opening(window_ms=HOUR_MS, sliding=True, at_most_ms=HOUR_MS + 40)
    digest_id = await opened_by(digests, item(), how)
    ends = [await _end(digests, digest_id)]
    for _ in range(2):
        await asyncio.sleep(0.03)
        await digests.add(GROUP, item(), opening())
        ends.append(await _end(digests, digest_id))
    assert ends[0] < ends[1] < ends[2] == ends[0] + 40


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
    how = opening(window_ms=100, first_now=True)
    began_ms = now_ms()
    for _ in range(2):
        assert await digests.add(GROUP, first, how) == Added(None, opened=False)
    digest_id = await opened_by(digests, second, opening(window_ms=100, first_now=True))
    # The window was begun by the first one.
    assert await _end(digests, digest_id) - began_ms < 150
    await asyncio.sleep(0.12)
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
    await ledger.resolve(alerts[0])
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


async def test_what_is_no_digest_cannot_be_closed(digests: Digests, ledger: Ledger) -> None:
    for each in (await accept(ledger, delivery()), new_notification_id()):
        with pytest.raises(LookupError):
            await digests.close(each)


def test_an_opening_has_one_end() -> None:
    with pytest.raises(ValueError, match="either"):
        opening(window_ms=None)
    with pytest.raises(ValueError, match="longest"):
        opening(sliding=True)

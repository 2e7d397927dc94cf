"""Snoozed entries and pressed actions in a real store."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from shared.inbox.actions import Press, PressedActions
from shared.inbox.cursor import Cursor
from shared.inbox.feed import FeedMirror
from shared.inbox.snooze import Snoozes, TooManySnoozed
from shared.inbox.timeline import FeedEntry, Mark, Snapshot, feed_mark, follow, newest_first, pending, unread
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.integration.test_inbox import MONTH, NO_GROUPS, Desk, add, body, desk_on
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

HOUR_MS = 3600 * 1000


@pytest_asyncio.fixture
async def connection(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as connected:
        yield connected


@pytest.fixture
def desk(connection: Store) -> Desk:
    return desk_on(connection)


def snoozes_of(desk: Desk) -> Snoozes:
    return Snoozes(desk.store, desk.keys, desk.inbox)


def now_ms() -> int:
    return round(time.time() * 1000)


async def snooze(desk: Desk, name: str, for_ms: int = HOUR_MS) -> int:
    until_ms = now_ms() + for_ms
    entry = desk.mirror.log.get(name)
    assert await snoozes_of(desk).snooze("user1", name, until_ms, entry, desk.mirror.log) is not None
    return until_ms


async def listed(desk: Desk, *marks: Mark) -> list[str]:
    page = await desk.inbox.page("user1", marks or (Mark.UNREAD, Mark.READ), 100)
    assert page is not None
    line = newest_first(page.snapshot, desk.mirror.log, NO_GROUPS)
    return [item.id for item in line if item.mark in (marks or (Mark.UNREAD, Mark.READ))]


async def counted(desk: Desk) -> int:
    return unread(await desk.inbox.pending("user1"), desk.mirror.log, NO_GROUPS)


async def test_a_snoozed_entry_is_in_no_other_list_and_not_counted(desk: Desk) -> None:
    await add(desk, "n1", "n2", "n3")
    await desk.inbox.mark("user1", "n3", "read")
    until_ms = await snooze(desk, "n1")
    await snooze(desk, "n3")
    assert await listed(desk) == ["n2"]
    assert await listed(desk, Mark.SNOOZED) == ["n3", "n1"]
    assert await counted(desk) == 1
    snapshot = await desk.inbox.everything("user1")
    assert snapshot.wake_ms == until_ms
    shown = json.loads(snapshot.entries[0].utf8)
    assert shown == {"id": "n1", "snoozed_until": until_ms / 1000}
    # Nobody who follows the line, or comes anew, is shown it.
    for stream in (
        follow(Cursor(), snapshot, desk.mirror.log, NO_GROUPS),
        pending(await desk.inbox.pending("user1"), desk.mirror.log, NO_GROUPS),
    ):
        assert stream is not None
        assert [item.id for item in stream.items] == ["n2"]


async def test_an_entry_comes_back_as_unread_on_top_and_to_every_cursor(desk: Desk) -> None:
    await add(desk, "n1", "n2")
    await desk.inbox.mark("user1", "n1", "read")
    until_ms = await snooze(desk, "n1", 1000)
    told = await desk.inbox.everything("user1")
    place = Cursor(told.epoch, told.seq, desk.mirror.log.epoch, desk.mirror.log.seq)

    async def is_back() -> Snapshot | None:
        snapshot = await desk.inbox.after("user1", place.user_seq)
        return snapshot if snapshot.unread == 2 else None

    snapshot = await eventually(is_back)
    assert now_ms() >= until_ms
    assert (snapshot.version > told.version, snapshot.wake_ms) == (True, 0)
    stream = follow(place, snapshot, desk.mirror.log, NO_GROUPS)
    assert stream is not None
    assert [(item.id, item.mark) for item in stream.items] == [("n1", Mark.UNREAD)]
    assert json.loads(stream.items[0].notification)["snoozed_until"] == until_ms / 1000
    assert await listed(desk) == ["n1", "n2"]


@pytest.mark.parametrize("reader", ["touch", "open", "add", "page", "mark"])
async def test_whatever_reads_the_inbox_first_finds_what_is_due(desk: Desk, reader: str) -> None:
    await add(desk, "n1", "n2")
    await snooze(desk, "n1", 50)
    await asyncio.sleep(0.1)
    if reader == "touch":
        assert (await desk.sessions.touch_on_node("user1", ["s1"], "a")).snapshot.unread == 2
    elif reader == "open":
        opened = await desk.sessions.open_on_node("user1", "s1", "a", most=3, after=None)
        assert opened is not None
        assert [entry.id for entry in opened.snapshot.entries] == ["n1", "n2"]
    elif reader == "add":
        assert (await desk.inbox.add("user1", "n3", body("n3"))).unread == 3
    elif reader == "page":
        assert await listed(desk) == ["n1", "n2"]
    else:
        marked = await desk.inbox.mark("user1", "n2", "read")
        assert marked is not None
        assert marked.snapshot.unread == 1


async def test_whoever_wakes_it_learns_what_came_back_once(desk: Desk) -> None:
    await add(desk, "n1", "n2", "n3")
    await snooze(desk, "n3")
    await snooze(desk, "n2", 1200)
    await snooze(desk, "n1", 1000)
    await asyncio.sleep(1.3)
    woken = await snoozes_of(desk).wake("user1")
    assert woken is not None
    assert [json.loads(entry.body)["id"] for entry in woken.entries] == ["n1", "n2"]
    first, second = (entry.added for entry in woken.entries)
    assert (first.is_new, first.seq, second.before < second.seq) == (True, second.before, True)
    assert (second.unread, woken.position.snapshot.unread) == (2, 2)
    again = await snoozes_of(desk).wake("user1")
    assert again is not None
    assert not again.entries


async def test_ending_a_snooze_brings_the_entry_back_at_once(desk: Desk) -> None:
    await add(desk, "n1", "n2")
    await snooze(desk, "n1")
    woken = await snoozes_of(desk).wake("user1", "n1")
    assert woken is not None
    assert len(woken.entries) == 1
    assert woken.position.snapshot.wake_ms == 0
    assert await listed(desk) == ["n1", "n2"]
    for name, known in (("n2", True), ("missing", False)):
        answer = await snoozes_of(desk).wake("user1", name)
        assert (answer is not None) is known
    assert await counted(desk) == 2


async def test_marks_of_a_snoozed_entry(desk: Desk) -> None:
    await add(desk, "n1", "n2", "n3")
    for name in ("n1", "n2", "n3"):
        await snooze(desk, name)
    read = await desk.inbox.mark("user1", "n1", "read")
    await desk.inbox.read_all("user1", desk.mirror.log)
    assert read is not None
    assert not read.changed
    await desk.inbox.mark("user1", "n2", "unread")
    await desk.inbox.mark("user1", "n3", "archive")
    assert await listed(desk, Mark.SNOOZED) == ["n1"]
    assert await listed(desk, Mark.UNREAD) == ["n2"]
    assert await listed(desk, Mark.ARCHIVED) == ["n3"]
    snapshot = await desk.inbox.everything("user1")
    assert [b"snoozed_until" in entry.utf8 for entry in snapshot.entries] == [True, False, False]
    assert snapshot.unread == 1


async def test_snoozing_again_moves_the_time(desk: Desk) -> None:
    await add(desk, "n1", "n2")
    await snooze(desk, "n1", 1500)
    await snooze(desk, "n2", 2 * HOUR_MS)
    later_ms = await snooze(desk, "n1")
    await asyncio.sleep(1.6)
    snapshot = await desk.inbox.everything("user1")
    assert (snapshot.unread, snapshot.wake_ms) == (0, later_ms)
    assert json.loads(snapshot.entries[0].utf8)["snoozed_until"] == later_ms / 1000


async def test_neither_the_limit_nor_the_retention_takes_a_snoozed_entry(connection: Store) -> None:
    desk = desk_on(connection, retention=timedelta(seconds=2))
    await add(desk, "n1")
    await snooze(desk, "n1", 1000)
    await add(desk, *(f"m{number}" for number in range(9)))
    assert len(await listed(desk)) == 5
    assert await listed(desk, Mark.SNOOZED) == ["n1"]

    async def is_back() -> bool:
        return "n1" in await listed(desk)

    await eventually(is_back)
    # It is kept for as long as one that was written when it came back.
    assert await desk.store.command("PTTL", f"{desk.keys.user('user1')}:inbox") > 1000
    assert snoozes_of(desk).longest == timedelta(seconds=1)
    assert snoozes_of(desk_on(connection)).longest == MONTH - timedelta(minutes=5)


async def test_only_so_many_are_snoozed(connection: Store) -> None:
    desk = desk_on(connection, limit=300)
    await add(desk, *(f"n{number}" for number in range(201)))
    for number in range(200):
        await snooze(desk, f"n{number}")
    with pytest.raises(TooManySnoozed):
        await snooze(desk, "n200")
    await snooze(desk, "n7", 2 * HOUR_MS)
    assert await listed(desk) == ["n200"]


async def test_a_user_without_snoozed_entries_has_nothing_more_in_the_store(desk: Desk) -> None:
    await add(desk, "n1", "n2")
    await snooze(desk, "n1")
    await snoozes_of(desk).wake("user1", "n1")
    base = desk.keys.user("user1")
    assert await desk.store.command("EXISTS", f"{base}:snoozed") == 0
    assert await desk.store.command("HGET", f"{base}:meta", "wake") is None
    await snooze(desk, "n2")
    await desk.inbox.forget("user1")
    assert await desk.store.command("EXISTS", f"{base}:snoozed", f"{base}:meta", f"{base}:entries") == 0


# Broadcasts.


async def broadcast(desk: Desk, *names: str) -> list[FeedEntry]:
    for name in names:
        await desk.feed.add(name, body(name), None)
    await desk.mirror.refresh()
    found = [desk.mirror.log.get(name) for name in names]
    return [entry for entry in found if entry is not None]


async def test_a_snoozed_broadcast_comes_back_to_this_user_alone(desk: Desk) -> None:
    await broadcast(desk, "f1", "f2")
    await add(desk, "n1")
    await snooze(desk, "f1", 1000)
    assert await listed(desk) == ["n1", "f2"]
    assert await listed(desk, Mark.SNOOZED) == ["f1"]
    assert await listed(desk, Mark.ARCHIVED) == []
    assert await counted(desk) == 2

    async def is_back() -> bool:
        return await counted(desk) == 3

    await eventually(is_back)
    assert await listed(desk) == ["f1", "n1", "f2"]
    await desk.inbox.read_all("user1", desk.mirror.log)
    assert await counted(desk) == 0
    assert await listed(desk) == ["f1", "n1", "f2"]
    assert unread(await desk.inbox.pending("user2"), desk.mirror.log, NO_GROUPS) == 2


async def test_the_previous_release_reads_the_marks_of_a_moved_broadcast_as_archived(desk: Desk) -> None:
    [entry] = await broadcast(desk, "f1")
    await snooze(desk, "f1")
    stored = await desk.store.command("HGET", f"{desk.keys.user('user1')}:feed_state", "f1")
    assert (stored[:1], int(stored[1:])) == (b"a", entry.seq)
    assert await desk.store.command("HGET", f"{desk.keys.user('user1')}:state", "f1") == b"s"
    snapshot = await desk.inbox.everything("user1")
    assert feed_mark(entry, snapshot, desk.mirror.log) is Mark.MOVED


# Actions.


def pressed_of(desk: Desk) -> PressedActions:
    return PressedActions(desk.store, desk.keys, desk.inbox)


async def end(desk: Desk, name: str, action: str, *, published: bool = True, former: str | None = None) -> None:
    await pressed_of(desk).pressed(
        "user1", name, action, published=published, former=former, broadcast=desk.mirror.log.get(name),
        feed=desk.mirror.log,
    )  # fmt: skip


async def test_one_process_publishes_a_press_and_never_again(desk: Desk) -> None:
    await add(desk, "n1")
    pressed = pressed_of(desk)
    presses = await asyncio.gather(*(pressed.press("user1", "n1", "approve") for _ in range(5)))
    assert sorted(presses) == [Press.BUSY] * 4 + [Press.MINE]
    assert await pressed.press("user1", "n1", "decline") is Press.MINE
    await end(desk, "n1", "decline", published=False)
    assert await pressed.press("user1", "n1", "decline") is Press.MINE
    await end(desk, "n1", "approve")
    assert await pressed.press("user1", "n1", "approve") is Press.PUBLISHED
    [entry] = (await desk.inbox.everything("user1")).entries
    assert json.loads(entry.utf8) == {"id": "n1", "acted": "approve"}


async def test_what_was_pressed_and_until_when_it_is_snoozed_stand_side_by_side(desk: Desk) -> None:
    await add(desk, "n1")
    until_ms = await snooze(desk, "n1")
    await end(desk, "n1", 'say "yes"')
    await end(desk, "n1", "née", former='say "yes"')
    [entry] = (await desk.inbox.everything("user1")).entries
    assert json.loads(entry.utf8) == {"id": "n1", "acted": "née", "snoozed_until": until_ms / 1000}
    assert entry.utf8.count(b"acted") == 1
    await desk.inbox.mark("user1", "n1", "unread")
    [entry] = (await desk.inbox.everything("user1")).entries
    assert json.loads(entry.utf8) == {"id": "n1", "acted": "née"}


async def test_an_action_of_a_broadcast_is_one_users_and_leaves_the_entry_in_its_place(desk: Desk) -> None:
    await broadcast(desk, "f1")
    await add(desk, *(f"n{number}" for number in range(5)))
    await desk.inbox.mark_feed(
        "user1", desk.mirror.log.visible("f1", NO_GROUPS) or pytest.fail("gone"), "read", desk.mirror.log
    )
    assert await pressed_of(desk).press("user1", "f1", "join") is Press.MINE
    await end(desk, "f1", "join", published=False)
    assert await listed(desk) == ["n4", "n3", "n2", "n1", "n0", "f1"]
    await end(desk, "f1", "join")
    # The inbox is full, and the oldest entry has gone for this one.
    assert await listed(desk) == ["n4", "n3", "n2", "n1", "f1"]
    snapshot = await desk.inbox.everything("user1")
    [own] = [entry for entry in snapshot.entries if entry.id == "f1"]
    assert (json.loads(own.utf8)["acted"], own.mark) == ("join", Mark.READ)
    assert await counted(desk) == 4
    other = FeedMirror(desk.feed)
    await other.refresh()
    assert b"acted" not in (other.log.get("f1") or pytest.fail("gone")).utf8


async def test_presses_of_entries_that_are_gone_do_not_pile_up(desk: Desk) -> None:
    for number in range(210):
        await pressed_of(desk).press("user1", f"gone{number}", "go")
    assert await desk.store.command("HLEN", f"{desk.keys.user('user1')}:acted") < 205

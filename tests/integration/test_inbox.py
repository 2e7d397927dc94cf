"""Inboxes, the feed and sessions in a real store."""

import asyncio
import gc
import itertools
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.realtime.sessions.news import decode, encode
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.inbox.cursor import Cursor
from shared.inbox.feed import Feed, FeedMirror, FeedNews, group_set
from shared.inbox.inbox import Inbox
from shared.inbox.sessions import GATEWAY_TTL_S, NODE_TTL_S, Sessions
from shared.inbox.timeline import FeedEntry, Mark, Snapshot, feed_mark, follow, newest_first, pending, unread
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

MONTH = timedelta(days=30)
NO_GROUPS: frozenset[str] = frozenset()


@dataclass
class Desk:
    """Everything around inboxes on one store, with small limits."""

    store: Store
    keys: Keys
    inbox: Inbox
    feed: Feed
    mirror: FeedMirror
    directory: Directory
    sessions: Sessions


def desk_on(store: Store, *, limit: int = 5, feed_limit: int = 6, retention: timedelta = MONTH) -> Desk:
    keys = Keys(uuid4().hex)
    inbox = Inbox(store, keys, limit, retention)
    feed = Feed(store, keys, retention, limit=feed_limit)
    mirror = FeedMirror(feed)
    directory = Directory(store, keys)
    return Desk(store, keys, inbox, feed, mirror, directory, Sessions(store, keys, inbox, directory, mirror))


@pytest_asyncio.fixture
async def connection(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as connected:
        yield connected


@pytest.fixture
def desk(connection: Store) -> Desk:
    return desk_on(connection)


def body(name: str) -> str:
    return f'{{"id":"{name}"}}'


async def add(desk: Desk, *names: str, user_id: str = "user1") -> None:
    for name in names:
        await desk.inbox.add(user_id, name, body(name))


async def test_a_pinned_entry_is_not_pushed_out_until_it_is_unpinned(desk: Desk) -> None:
    await desk.inbox.add("user1", "alert", body("alert"), pinned=True)
    await add(desk, *(f"n{number}" for number in range(8)))
    entries = (await desk.inbox.everything("user1")).entries
    assert [entry.id for entry in entries] == ["alert", "n3", "n4", "n5", "n6", "n7"]
    assert [entry.id for entry in await desk.inbox.pinned("user1")] == ["alert"]
    assert (await desk.inbox.pending("user1")).unread == 6
    await desk.inbox.unpin("user1", ["alert"])
    await add(desk, "n8")
    assert "alert" not in {entry.id for entry in (await desk.inbox.everything("user1")).entries}
    assert await desk.inbox.pinned("user1") == []
    await desk.inbox.add("user1", "alert2", body("alert2"), pinned=True)
    await desk.inbox.forget("user1")
    assert await desk.inbox.pinned("user1") == []


async def test_same_id_again_is_the_same_entry(desk: Desk) -> None:
    first = await desk.inbox.add("user1", "n1", body("n1"))
    again = await desk.inbox.add("user1", "n1", body("something else"))
    assert (again.is_new, again.seq, again.before) == (False, first.seq, -1)
    [entry] = (await desk.inbox.everything("user1")).entries
    assert entry.utf8 == body("n1").encode()


async def test_oldest_entries_go_beyond_the_limit_and_the_count_stays_right(desk: Desk) -> None:
    await add(desk, "n0", "n1")
    await desk.inbox.mark("user1", "n0", "read")
    await add(desk, *(f"n{number}" for number in range(2, 9)))
    snapshot = await desk.inbox.everything("user1")
    assert [entry.id for entry in snapshot.entries] == ["n4", "n5", "n6", "n7", "n8"]
    assert snapshot.unread == 5
    assert snapshot.floor < snapshot.entries[0].seq
    assert await desk.store.command("HLEN", f"{desk.keys.user('user1')}:state") == 0


async def test_entries_go_after_the_retention_and_keys_expire_with_it(connection: Store) -> None:
    desk = desk_on(connection, limit=100_000, retention=timedelta(seconds=2))
    await add(desk, "old")
    base = desk.keys.user("user1")
    assert 0 < await desk.store.command("PTTL", f"{base}:entries") <= 2000
    numbers = itertools.count()

    async def old_is_gone() -> Snapshot | None:
        # A younger entry keeps the keys alive, so only its own age can take the old one away.
        await add(desk, f"new{next(numbers)}")
        snapshot = await desk.inbox.everything("user1")
        return None if "old" in {entry.id for entry in snapshot.entries} else snapshot

    snapshot = await eventually(old_is_gone)
    assert snapshot.entries[-1].id == f"new{next(numbers) - 1}"
    assert snapshot.unread == len(snapshot.entries)


async def test_a_mark_that_outlives_its_entry_is_counted_against_nothing(connection: Store) -> None:
    desk = desk_on(connection, retention=timedelta(seconds=2))
    await add(desk, "n1")
    base = desk.keys.user("user1")
    before = await desk.inbox.everything("user1")
    await eventually(lambda: _expires_within(desk, f"{base}:inbox", 1500))
    await desk.inbox.mark("user1", "n1", "read")
    await eventually(lambda: _is_gone(desk, f"{base}:inbox"))
    assert await desk.store.command("EXISTS", f"{base}:state") == 1
    position = await desk.sessions.touch_on_node("user1", ["s1"], "node-a")
    assert position.snapshot.unread == 0
    assert (await desk.inbox.pending("user1")).unread == 0
    # Whoever had not been told of the entry is told that something is gone.
    late = Cursor(before.epoch, before.seq - 1)
    assert follow(late, await desk.inbox.after("user1", late.user_seq), desk.mirror.log, NO_GROUPS) is None
    assert (await desk.inbox.add("user1", "n2", body("n2"))).unread == 1


async def _expires_within(desk: Desk, key: str, most_ms: int) -> bool:
    return bool(await desk.store.command("PTTL", key) < most_ms)


async def _is_gone(desk: Desk, key: str) -> bool:
    return not await desk.store.command("EXISTS", key)


async def test_marks_change_the_count_once(desk: Desk) -> None:
    await add(desk, "n1", "n2", "n3")
    read = await desk.inbox.mark("user1", "n1", "read")
    again = await desk.inbox.mark("user1", "n1", "read")
    assert read is not None
    assert again is not None
    assert (read.changed, again.changed, again.snapshot.unread) == (True, False, 2)
    archived = await desk.inbox.mark("user1", "n2", "archive")
    still_archived = await desk.inbox.mark("user1", "n2", "read")
    back = await desk.inbox.mark("user1", "n2", "unread")
    assert archived is not None
    assert still_archived is not None
    assert back is not None
    assert (archived.snapshot.unread, still_archived.changed, back.snapshot.unread) == (1, False, 2)
    assert await desk.inbox.mark("user1", "missing", "read") is None
    assert await desk.inbox.mark("user3", "n1", "read") is None


async def test_read_all_covers_own_entries_and_the_feed_but_nothing_later(desk: Desk) -> None:
    await add(desk, "n1", "n2")
    await desk.feed.add("f1", body("f1"), None)
    await desk.mirror.refresh()
    entry = desk.mirror.log.get("f1")
    assert entry is not None
    await desk.inbox.mark_feed("user1", entry, "unread", desk.mirror.log)
    marked = await desk.inbox.read_all("user1", desk.mirror.log)
    assert unread(marked.snapshot, desk.mirror.log, NO_GROUPS) == 0
    await desk.feed.add("f2", body("f2"), None)
    await desk.mirror.refresh()
    assert unread(marked.snapshot, desk.mirror.log, NO_GROUPS) == 1
    again = await desk.inbox.mark_feed("user1", entry, "unread", desk.mirror.log)
    assert unread(again.snapshot, desk.mirror.log, NO_GROUPS) == 2


async def test_feed_marks_of_entries_that_are_gone_do_not_pile_up(desk: Desk) -> None:
    for number in range(20):
        await desk.feed.add(f"f{number}", body(f"f{number}"), None)
        await desk.mirror.refresh()
        entry = desk.mirror.log.get(f"f{number}")
        assert entry is not None
        await desk.inbox.mark_feed("user1", entry, "archive", desk.mirror.log)
    assert await desk.store.command("HLEN", f"{desk.keys.user('user1')}:feed_state") == 6


async def test_broadcast_is_stored_once_and_seen_by_its_groups(desk: Desk) -> None:
    await desk.feed.add("all", body("all"), None)
    await desk.feed.add("ops", body("ops"), ("ops", "admins"))
    assert (await desk.feed.add("ops", body("ops"), ("ops",))).is_new is False
    await desk.mirror.refresh()
    snapshot = await desk.inbox.everything("user1")
    seen = [item.id for item in newest_first(snapshot, desk.mirror.log, frozenset({"ops"}))]
    assert seen == ["ops", "all"]
    assert [item.id for item in newest_first(snapshot, desk.mirror.log, NO_GROUPS)] == ["all"]


async def test_mirror_takes_news_in_order_and_asks_for_what_is_missing(desk: Desk) -> None:
    first = await desk.feed.add("f1", body("f1"), None)
    second = await desk.feed.add("f2", body("f2"), ("ops",))
    news = [
        FeedNews(
            added.epoch, added.before, FeedEntry(added.seq, name, group_set(groups), body(name).encode(), added.order)
        )
        for added, name, groups in ((first, "f1", None), (second, "f2", ("ops",)))
    ]
    assert desk.mirror.take(news[1]) is None
    assert desk.mirror.take(news[0]) == [news[0].entry]
    assert desk.mirror.take(news[0]) == []
    assert desk.mirror.take(news[1]) == [news[1].entry]
    assert await desk.mirror.refresh() == []
    behind = FeedMirror(desk.feed)
    assert await behind.refresh() == [news[0].entry, news[1].entry]


async def test_a_mirror_keeps_broadcasts_in_the_bytes_that_they_have(desk: Desk) -> None:
    # One character of four bytes makes all of a Python string four times as long.
    text = json.dumps({"message": "\N{BELL WITH CANCELLATION STROKE}" + "x" * 60_000}, ensure_ascii=False)
    count = 200
    feed = Feed(desk.store, desk.keys, MONTH)
    await asyncio.gather(*(feed.add(f"n{number}", text, None) for number in range(count)))
    read, told = FeedMirror(feed), FeedMirror(feed)
    tracemalloc.start()
    try:
        entries = await read.refresh()
        # The connection lets go of the last answer when the next one comes.
        await desk.store.ping()
        kept_bytes = [_traced_bytes()]
        epoch, before = read.log.epoch, 0
        for entry in entries:
            heard = decode(encode(FeedNews(epoch, before, entry)).encode())
            assert isinstance(heard, FeedNews)
            assert told.take(heard) == [entry]
            before = entry.seq
        del heard
        kept_bytes.append(_traced_bytes() - kept_bytes[0])
    finally:
        tracemalloc.stop()
    assert all(entry.body == text for entry in told.log.after(0, NO_GROUPS))
    assert len(told.log) == count
    most_bytes = 1.1 * count * len(text.encode())
    assert max(kept_bytes) < most_bytes


def _traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_status_keeps_the_latest(desk: Desk) -> None:
    assert await desk.feed.put_status(2, '{"message":"later"}')
    assert not await desk.feed.put_status(1, '{"message":"earlier"}')
    await desk.mirror.refresh()
    assert desk.mirror.status == '{"message":"later"}'


async def test_positions_are_never_used_twice_after_the_store_lost_writes(desk: Desk) -> None:
    await add(desk, "n1")
    base = desk.keys.user("user1")
    before = await desk.inbox.everything("user1")
    await add(desk, "n2")
    known = await desk.inbox.everything("user1")
    cursor = Cursor(known.epoch, known.seq)
    # What a store that lost its last second looks like.
    await desk.store.command("ZREM", f"{base}:inbox", "n2")
    await desk.store.command("HSET", f"{base}:meta", "seq", before.seq)
    await add(desk, "n3")
    after = await desk.inbox.after("user1", cursor.user_seq)
    stream = follow(cursor, after, desk.mirror.log, NO_GROUPS)
    assert stream is not None
    assert [item.id for item in stream.items] == ["n3"]


async def test_session_lapses_unless_it_is_kept_alive(desk: Desk) -> None:
    opened = await desk.sessions.open_on_node("user1", "s1", "node-a", most=2, after=None)
    assert opened is not None
    await desk.sessions.open_on_node("user1", "s2", "node-b", most=2, after=None)
    assert await desk.sessions.nodes_of("user1") == {"node-a", "node-b"}
    assert await desk.sessions.open_on_node("user1", "s3", "node-c", most=2, after=None) is None
    base = desk.keys.user("user1")
    assert await desk.store.command("PTTL", f"{base}:sessions") <= NODE_TTL_S * 1000
    # What a process that died half a minute ago leaves behind.
    await desk.store.command("ZADD", f"{base}:sessions", 1, "s1")
    assert await desk.sessions.nodes_of("user1") == {"node-b"}
    assert (await desk.inbox.add("user1", "n1", body("n1"))).sessions == [b"node-b"]
    assert await desk.sessions.open_on_node("user1", "s3", "node-c", most=2, after=None) is not None
    await desk.sessions.touch_on_node("user1", ["s1"], "node-a")
    assert "node-a" in await desk.sessions.nodes_of("user1")
    await desk.sessions.close_on_node("user1", "s1")
    assert "node-a" not in await desk.sessions.nodes_of("user1")


async def test_gateway_session_is_opened_with_its_pending_entries_and_kept_by_heartbeats(desk: Desk) -> None:
    await desk.directory.put(Person(user_id="user1", groups=("ops",)))
    await add(desk, "n1")
    await desk.feed.add("f1", body("f1"), ("ops",))
    await desk.feed.put_status(1, '{"type":"status","message":"fine"}')
    opened = await desk.sessions.open_session("user1", "g1", reply_to="gate/1", correlation="00ff")
    assert opened is not None
    assert opened.session_id == "g1"
    assert [(entry["id"], entry["read"]) for entry in opened.pending] == [("n1", False), ("f1", False)]
    assert (opened.unread, opened.status) == (2, {"type": "status", "message": "fine"})
    [gateway] = (await desk.sessions.targets_of("user1")).gateways
    assert (gateway.reply_to, gateway.correlation, gateway.groups) == ("gate/1", b"\x00\xff", frozenset({"ops"}))
    assert [session.user_id for session in await desk.sessions.gateways()] == ["user1"]
    assert await desk.store.command("PTTL", f"{desk.keys.user('user1')}:sessions") > (GATEWAY_TTL_S - 5) * 1000
    assert await desk.sessions.touch_session("user1", "g1")
    assert await desk.sessions.touch_session("user1", None)
    assert not await desk.sessions.touch_session("user1", "unknown")
    assert await desk.sessions.close_session("user1", None)
    assert await desk.sessions.gateways() == []
    assert not await desk.sessions.touch_session("user1", "g1")


async def test_gateway_session_without_a_name_gets_one(desk: Desk) -> None:
    opened = await desk.sessions.open_session("user1", None)
    assert opened is not None
    assert await desk.sessions.close_session("user1", opened.session_id)


async def test_pending_are_the_ten_newest_unread_and_resuming_between_them_skips_none(connection: Store) -> None:
    desk = desk_on(connection, limit=100)
    for number in range(8):
        await add(desk, f"n{number}")
        await desk.feed.add(f"f{number}", body(f"f{number}"), None)
    await desk.inbox.mark("user1", "n6", "read")
    await desk.mirror.refresh()
    log = desk.mirror.log
    snapshot = await desk.inbox.pending("user1")
    stream = pending(snapshot, log, NO_GROUPS)
    ids = [item.id for item in stream.items]
    assert ids == ["f2", "n3", "f3", "n4", "f4", "n5", "f5", "f6", "n7", "f7"]
    for index, cursor in enumerate([stream.start, *(item.cursor for item in stream.items)]):
        later = await desk.inbox.after("user1", cursor.user_seq)
        resumed = follow(cursor, later, log, NO_GROUPS)
        assert resumed is not None
        assert [item.id for item in resumed.items if item.mark is Mark.UNREAD] == ids[index:]
    assert stream.items[-1].cursor == stream.end


@dataclass
class Model:
    """What a reader of a line must have seen, kept by simple means."""

    told: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    feed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)

    def tell_up_to(self, name: str) -> None:
        """Take what was told out of what waits. A place in the feed is that of an entry which the user may see."""
        end = self.waiting.index(name) + 1
        told, rest = self.waiting[:end], self.waiting[end:]
        passed = max((at for at, each in enumerate(told) if each.startswith("feed")), default=-1)
        self.waiting = [each for each in told[passed + 1 :] if each.startswith("others")] + rest


OPERATIONS = st.lists(
    st.one_of(
        st.just(("own", 0)),
        st.just(("own again", 0)),
        st.just(("feed", 0)),
        st.just(("feed for us", 0)),
        st.just(("feed for others", 0)),
        st.tuples(st.sampled_from(["read", "archive", "unread"]), st.integers(0, 30)),
        st.tuples(st.just("resume"), st.integers(0, 8)),
    ),
    max_size=40,
)

OUR_GROUPS = frozenset({"us"})


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(operations=OPERATIONS)
@example(operations=[("own", 0), ("feed", 0), ("archive", 0), ("resume", 0), ("unread", 0)])
async def test_resuming_never_skips_and_never_repeats(connection: Store, operations: list[tuple[str, int]]) -> None:
    desk = desk_on(connection)
    log = desk.mirror.log
    model, cursor, count = Model(), Cursor(), 0
    for operation, number in [*operations, ("resume", 99)]:
        if operation == "resume":
            await desk.mirror.refresh()
            snapshot = await desk.inbox.after("user1", cursor.user_seq)
            stream = follow(cursor, snapshot, log, OUR_GROUPS)
            if stream is None:
                # Rightly: something that waited, or that we may not see, is not kept any more.
                kept = {entry.id for entry in log.after(0, OUR_GROUPS | {"them"})} | set(model.own[-5:])
                assert set(model.waiting) - kept
                everything = await desk.inbox.everything("user1")
                cursor = Cursor(everything.epoch, everything.seq, log.epoch, log.seq)
                model.waiting.clear()
                continue
            expected = [name for name in model.waiting if name not in model.hidden and not name.startswith("others")]
            shown = [item.id for item in stream.items]
            # What was archived when the line went past it, and is not any more, may still be shown, once.
            passed = model.passed & set(shown)
            model.passed -= passed
            assert [name for name in shown if name not in passed] == expected
            before = set(model.waiting)
            if number < len(stream.items):
                # The connection broke after some of them.
                cursor = stream.items[number].cursor
                told = [name for name in shown[: number + 1] if name not in passed]
                if told:
                    model.tell_up_to(told[-1])
            else:
                cursor = stream.end
                model.waiting.clear()
            model.passed |= (before - set(model.waiting)) & model.hidden
            assert Cursor.decode(cursor.encode()) == cursor
        elif operation == "own again":
            if model.own:
                await add(desk, model.own[-1])
        elif operation == "own":
            count += 1
            model.own.append(f"own{count}")
            model.waiting.append(f"own{count}")
            await add(desk, f"own{count}")
        elif operation.startswith("feed"):
            count += 1
            groups = {"feed": None, "feed for us": ("us", "them"), "feed for others": ("them",)}[operation]
            name = f"{'others' if groups == ('them',) else 'feed'}{count}"
            model.feed.append(name)
            model.waiting.append(name)
            await desk.feed.add(name, body(name), groups)
        else:
            await _mark_some(desk, model, operation, number)
    await _counts_agree(desk)


async def _mark_some(desk: Desk, model: Model, change: str, number: int) -> None:
    await desk.mirror.refresh()
    names = model.own[-5:] + [entry.id for entry in desk.mirror.log.after(0, OUR_GROUPS)]
    if not names:
        return
    name = names[number % len(names)]
    entry = desk.mirror.log.get(name)
    if entry is not None:
        await desk.inbox.mark_feed("user1", entry, change, desk.mirror.log)  # type: ignore[arg-type]
    else:
        assert await desk.inbox.mark("user1", name, change) is not None  # type: ignore[arg-type]
    if change == "archive":
        model.hidden.add(name)
    elif change == "unread":
        model.hidden.discard(name)


async def _counts_agree(desk: Desk) -> None:
    """Compare the count with counting."""
    await desk.mirror.refresh()
    snapshot, log = await desk.inbox.everything("user1"), desk.mirror.log
    own = sum(entry.mark is Mark.UNREAD for entry in snapshot.entries)
    broadcasts = sum(feed_mark(entry, snapshot, log) is Mark.UNREAD for entry in log.after(0, OUR_GROUPS))
    assert (snapshot.unread, unread(snapshot, log, OUR_GROUPS)) == (own, own + broadcasts)


# In the order of acceptance.


def line_of(desk: Desk, snapshot: Snapshot) -> list[str]:
    return [item.id for item in newest_first(snapshot, desk.mirror.log, OUR_GROUPS)]


async def test_the_line_stands_in_the_order_of_acceptance_whoever_wrote_it(connection: Store) -> None:
    desk = desk_on(connection, limit=20, feed_limit=20)
    for number in (1, 0, 2, 3, 5, 7, 9, 4, 6, 8):
        if number % 3:
            await desk.inbox.add("user1", f"n{number}", body(f"n{number}"), order=1_000 + number)
        else:
            await desk.feed.add(f"n{number}", body(f"n{number}"), None, order=1_000 + number)
    await desk.mirror.refresh()
    assert line_of(desk, await desk.inbox.everything("user1")) == [f"n{number}" for number in reversed(range(10))]
    # A mirror that is told by messages has the same order as one that reads.
    stream = pending(await desk.inbox.pending("user1"), desk.mirror.log, OUR_GROUPS)
    assert [item.id for item in stream.items] == [f"n{number}" for number in range(10)]


async def test_entries_of_one_order_both_stand_on_the_line(desk: Desk) -> None:
    first = await desk.inbox.add("user1", "n1", body("n1"), order=1_000)
    second = await desk.inbox.add("user1", "n2", body("n2"), order=1_000)
    assert (first.order, second.order) == (1_000, 1_001)
    again = await desk.inbox.add("user1", "n1", body("n1"), order=1_000)
    assert (again.is_new, again.order) == (False, 1_000)


async def test_what_the_previous_release_writes_meanwhile_stands_where_it_was_written(desk: Desk) -> None:
    base = desk.keys.user("user1")
    known = await desk.inbox.add("user1", "n1", body("n1"))

    async def written_before(name: str) -> None:
        """What the scripts of the previous release do: no order, and no cleaning of it."""
        seq = int(await desk.store.command("HGET", f"{base}:meta", "seq")) + 1_000
        await desk.store.command("HSET", f"{base}:meta", "seq", seq)
        await desk.store.command("ZADD", f"{base}:inbox", seq, name)
        await desk.store.command("HSET", f"{base}:entries", name, body(name))

    await written_before("n2")
    # Full, it takes one away for each one that it adds, so that the numbers agree.
    await desk.store.command("ZREM", f"{base}:inbox", "n1")
    await desk.store.command("HDEL", f"{base}:entries", "n1")
    # A mark without an entry, as an expired inbox left it.
    await desk.store.command("HSET", f"{base}:state", "gone", "r")
    page = await desk.inbox.page("user1", tuple(Mark), 10)
    assert page is not None
    assert [entry.id for entry in page.snapshot.entries] == ["n2"]
    assert page.snapshot.unread == 1
    await desk.inbox.add("user1", "n0", body("n0"), order=known.order)
    await written_before("n3")
    assert line_of(desk, await desk.inbox.everything("user1")) == ["n3", "n2", "n0"]
    assert [entry.id for entry in (await desk.inbox.pending("user1")).entries] == ["n3", "n2", "n0"]


async def test_a_page_is_a_part_of_the_line_in_every_state(connection: Store) -> None:
    desk = desk_on(connection, limit=1_000)
    for number in range(250):
        await desk.inbox.add("user1", f"n{number:03}", body(f"n{number:03}"), order=10_000 - number)
        if number % 50 == 0:
            await desk.inbox.mark("user1", f"n{number:03}", "read")
    names = [f"n{number:03}" for number in range(250)]
    for marks, expected in (
        (tuple(Mark), names),
        ((Mark.READ,), names[::50]),
        ((Mark.UNREAD,), [name for number, name in enumerate(names) if number % 50]),
        ((Mark.ARCHIVED,), []),
    ):
        found: list[str] = []
        bound = "+inf"
        while bound:
            page = await desk.inbox.page("user1", marks, 40, bound=bound)
            assert page is not None
            assert len(page.snapshot.entries) <= 40
            found += [entry.id for entry in page.snapshot.entries]
            bound = page.bound
        assert found == expected
    above = await desk.inbox.page("user1", tuple(Mark), 2, above="n100")
    assert above is not None
    assert [entry.id for entry in above.snapshot.entries] == ["n101", "n102"]
    assert await desk.inbox.page("user1", tuple(Mark), 2, above="of another user") is None


WRITES = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.sampled_from(["own", "feed"]), st.sampled_from([0, 1])),
        st.tuples(st.just("write"), st.sampled_from([0, 1]), st.integers(0, 5)),
        st.tuples(st.just("read"), st.integers(0, 6), st.just(0)),
        st.tuples(st.just("connect"), st.integers(0, 6), st.just(0)),
    ),
    max_size=40,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(operations=WRITES)
async def test_two_writers_make_one_line_and_no_cursor_on_it_skips_or_repeats(
    connection: Store, operations: list[tuple[str, str | int, int]]
) -> None:
    desk = desk_on(connection, limit=100, feed_limit=100)
    log, cursor = desk.mirror.log, Cursor()
    inboxes = (desk.inbox, Inbox(connection, desk.keys, 100, MONTH))
    waiting: tuple[list[str], list[str]] = ([], [])
    accepted: list[str] = []
    written: set[str] = set()
    told: list[str] = []

    async def write(writer: int, index: int) -> None:
        """Let a writer write one of what it has in hand, whichever it comes to first."""
        if not waiting[writer]:
            return
        name = waiting[writer].pop(index % len(waiting[writer]))
        order = 1_000 + accepted.index(name)
        if name.startswith("own"):
            await inboxes[writer].add("user1", name, body(name), order=order)
        else:
            await desk.feed.add(name, body(name), None, order=order)
        written.add(name)

    async def read(most: int) -> None:
        """Follow the cursor; the connection breaks after so many."""
        nonlocal cursor
        await desk.mirror.refresh()
        stream = follow(cursor, await desk.inbox.after("user1", cursor.user_seq), log, NO_GROUPS)
        assert stream is not None
        names = [item.id for item in stream.items]
        assert sorted(names) == sorted(written - set(told))
        if cursor.part is None:
            assert names == sorted(names, key=accepted.index)
        told.extend(names[:most])
        cursor = stream.end if most >= len(names) else stream.items[most - 1].cursor if most else stream.start
        assert Cursor.decode(cursor.encode()) == cursor

    async def connect(most: int) -> None:
        """Come without a cursor: the newest ten are told, and what is before them counts as told."""
        nonlocal cursor
        await desk.mirror.refresh()
        stream = pending(await desk.inbox.pending("user1"), log, NO_GROUPS)
        names = [item.id for item in stream.items]
        assert names == sorted(written, key=accepted.index)[-10:]
        told[:] = [*sorted(written - set(names)), *names[:most]]
        cursor = stream.end if most >= len(names) else stream.items[most - 1].cursor if most else stream.start

    for operation, one, other in operations:
        if operation == "accept":
            accepted.append(f"{one}{len(accepted)}")
            waiting[other].append(accepted[-1])
        elif operation == "write":
            await write(int(one), other)
        elif operation == "read":
            await read(int(one))
        else:
            await connect(int(one))
    for writer in (0, 1):
        while waiting[writer]:
            await write(writer, 0)
    await read(99)
    await read(99)
    assert sorted(told) == sorted(accepted)
    assert line_of(desk, await desk.inbox.everything("user1")) == accepted[::-1]

"""What stands in an inbox, and how much of it is unread, by tenant and by category: compared with counting by hand."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.realtime.sessions.news import decode, encode
from shared.core.model import Action, Content
from shared.inbox.feed import FeedNews
from shared.inbox.inbox import wire_body
from shared.inbox.snooze import Snoozes
from shared.inbox.timeline import FeedEntry, Mark, by_category, newest_first, page, unread
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.integration.test_inbox import MONTH, NO_GROUPS, Desk, desk_on
from tests.realtime import notification

pytestmark = pytest.mark.real_store

LIMIT, FEED_LIMIT = 6, 4
LISTED = (Mark.UNREAD, Mark.READ)
TENANTS = (None, "acme", "other")
CATEGORIES = (None, "billing", 'a "b", \\"priority":"low","category":"billing","data":{')


@pytest_asyncio.fixture
async def connection(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as connected:
        yield connected


def text_of(name: str, tenant: str | None, category: str | None) -> str:
    sent = notification(
        f'say ","priority":"low","category":"billing","data":{{}} {name}', category=category, data={"category": "no"}
    ).model_copy(update={"id": name, "tenant": tenant})
    return wire_body(sent, sent.content)


@dataclass
class Entry:
    """One entry as the model knows it."""

    name: str
    tenant: str | None
    category: str | None
    mark: Mark = Mark.UNREAD
    is_feed: bool = False

    def is_seen(self, tenant: str | None) -> bool:
        return tenant is None or self.tenant in (None, tenant)


@dataclass
class Model:
    """A user's line, kept by simple means: own entries and the feed's in the order of their writing."""

    own: list[Entry] = field(default_factory=list)
    feed: list[Entry] = field(default_factory=list)

    def trim(self) -> None:
        kept = [entry for entry in self.own if entry.mark is not Mark.SNOOZED][-LIMIT:]
        self.own = [entry for entry in self.own if entry in kept or entry.mark is Mark.SNOOZED]
        self.feed = self.feed[-FEED_LIMIT:]

    @property
    def line(self) -> list[Entry]:
        moved = {entry.name for entry in self.own}
        return [*self.own, *(entry for entry in self.feed if entry.name not in moved and entry.mark is not Mark.MOVED)]

    def wake(self, *names: str) -> None:
        for entry in [entry for entry in self.own if entry.name in names]:
            self.own.remove(entry)
            entry.mark = Mark.UNREAD
            self.own.append(entry)


CHOICE = st.integers(0, 20)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["own", "feed"]), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.sampled_from(["read", "unread", "archive", "snooze", "end snooze"]), CHOICE, st.just(0)),
        st.tuples(st.just("read all"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("time passes"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(operations=OPERATIONS)
async def test_counts_and_lists_are_what_counting_by_hand_finds(
    connection: Store, operations: list[tuple[str, int, int]]
) -> None:
    desk = desk_on(connection, limit=LIMIT, feed_limit=FEED_LIMIT)
    model = Model()
    for number, (what, one, two) in enumerate(operations):
        if what in ("own", "feed"):
            entry = Entry(f"{what}{number}", TENANTS[one], CATEGORIES[two], is_feed=what == "feed")
            body = text_of(entry.name, entry.tenant, entry.category)
            if entry.is_feed:
                await desk.feed.add(entry.name, body, None)
                model.feed.append(entry)
            else:
                await desk.inbox.add("user1", entry.name, body, tenant=entry.tenant)
                model.own.append(entry)
        elif what == "read all":
            tenant = TENANTS[one]
            await desk.mirror.refresh()
            await desk.inbox.read_all("user1", desk.mirror.log, tenant, NO_GROUPS)
            for entry in model.line:
                if entry.mark is Mark.UNREAD and entry.is_seen(tenant):
                    entry.mark = Mark.READ
        elif what == "time passes":
            await _let_time_pass(desk)
            model.wake(*(entry.name for entry in model.own if entry.mark is Mark.SNOOZED))
        elif model.line:
            await _change(desk, model, what, model.line[one % len(model.line)])
        await desk.mirror.refresh()
        await desk.inbox.pending("user1")
        model.trim()
        await _agree(desk, model)


async def _change(desk: Desk, model: Model, what: str, entry: Entry) -> None:
    await desk.mirror.refresh()
    broadcast = desk.mirror.log.get(entry.name) if entry in model.feed else None
    snoozes = Snoozes(desk.store, desk.keys, desk.inbox)
    if what == "snooze":
        assert await snoozes.snooze("user1", entry.name, 2**42, broadcast, desk.mirror.log) is not None
        if broadcast is not None:
            model.own.append(Entry(entry.name, entry.tenant, entry.category, Mark.SNOOZED))
            entry.mark = Mark.MOVED
        entry.mark = Mark.MOVED if broadcast is not None else Mark.SNOOZED
    elif what == "end snooze":
        if broadcast is None:
            woken = await snoozes.wake("user1", entry.name)
            assert woken is not None
            assert len(woken.entries) == (entry.mark is Mark.SNOOZED)
            if entry.mark is Mark.SNOOZED:
                model.wake(entry.name)
    else:
        if broadcast is not None:
            await desk.inbox.mark_feed("user1", broadcast, what, desk.mirror.log)  # type: ignore[arg-type]
        else:
            assert await desk.inbox.mark("user1", entry.name, what) is not None  # type: ignore[arg-type]
        if what == "read" and entry.mark is Mark.UNREAD:
            entry.mark = Mark.READ
        elif what != "read":
            entry.mark = Mark.ARCHIVED if what == "archive" else Mark.UNREAD


async def _let_time_pass(desk: Desk) -> None:
    """Make the time of everything that is snoozed come."""
    base = desk.keys.user("user1")
    order = await desk.store.command("ZRANGE", f"{base}:snoozed", 0, -1)
    for name in order:
        seq = await desk.store.command("ZSCORE", f"{base}:inbox", name)
        # In the order of writing, which is that of the model.
        await desk.store.command("ZADD", f"{base}:snoozed", int(seq) // 1_000_000, name)
    if order:
        await desk.store.command("HSET", f"{base}:meta", "wake", "1 2592000")


async def _agree(desk: Desk, model: Model) -> None:
    for tenant in TENANTS:
        seen = [entry for entry in model.line if entry.is_seen(tenant)]
        expected = sum(entry.mark is Mark.UNREAD for entry in seen)
        own = await desk.inbox.page("user1", LISTED, 100, tenant=tenant, count=True)
        assert own is not None
        log = desk.mirror.log
        assert unread(own.snapshot, log, NO_GROUPS, tenant) == expected
        counts = by_category(own.categories, own.snapshot, log, NO_GROUPS, tenant)
        listed = [entry for entry in seen if entry.mark in LISTED]
        assert {each.category: each.entries for each in counts} == Counter(entry.category for entry in listed)
        assert {each.category: each.unread for each in counts if each.unread} == Counter(
            entry.category for entry in listed if entry.mark is Mark.UNREAD
        )
        assert [each.category or "" for each in counts] == sorted(each.category or "" for each in counts)
        for marks, categories in (
            (LISTED, None), ((Mark.SNOOZED,), None), ((Mark.ARCHIVED,), None), (LISTED, {"billing", None}),
            ((Mark.UNREAD,), {CATEGORIES[2]}),
        ):  # fmt: skip
            part = await desk.inbox.page("user1", marks, 100, tenant=tenant, categories=categories)
            assert part is not None
            line = newest_first(part.snapshot, log, NO_GROUPS, tenant=tenant, categories=categories)
            assert sorted(item.id for item in page(line, marks, 100)) == sorted(
                entry.name
                for entry in seen
                if entry.mark in marks and (categories is None or entry.category in categories)
            )
        newest = await desk.inbox.pending("user1", tenant)
        own_unread = [entry for entry in model.own if entry.is_seen(tenant) and entry.mark is Mark.UNREAD]
        assert len(newest.entries) == len(own_unread)


async def test_a_user_without_tenants_or_snoozed_entries_has_no_key_for_them(connection: Store) -> None:
    desk = desk_on(connection)
    await desk.inbox.add("user1", "n1", text_of("n1", None, "billing"))
    base = desk.keys.user("user1")
    keys = await desk.store.command("KEYS", f"{base}:*")
    assert {key.decode().removeprefix(f"{base}:") for key in keys} == {"inbox", "order", "entries", "meta"}
    assert set(await desk.store.command("HKEYS", f"{base}:meta")) == {b"epoch", b"seq", b"ordered", b"version"}


async def test_tenants_of_entries_that_are_gone_are_forgotten(connection: Store) -> None:
    desk = desk_on(connection, limit=3)
    for number in range(6):
        await desk.inbox.add("user1", f"n{number}", text_of(f"n{number}", "acme", None), tenant="acme")
    base = desk.keys.user("user1")
    assert (await desk.inbox.pending("user1")).tenants == {"acme": 3}
    assert await desk.store.command("HLEN", f"{base}:tenants") == 3
    for number in range(6):
        await desk.inbox.add("user1", f"m{number}", text_of(f"m{number}", None, None))
    assert (await desk.inbox.pending("user1")).tenants == {}
    assert await desk.store.command("HGET", f"{base}:meta", "tenanted") is None


async def test_retention_counts_for_tenants_and_categories(connection: Store) -> None:
    desk = desk_on(connection, retention=timedelta(hours=1))
    await desk.inbox.add("user1", "old", text_of("old", "acme", "billing"), tenant="acme")
    await desk.inbox.add("user1", "new", text_of("new", "acme", None), tenant="acme")
    base = desk.keys.user("user1")
    await desk.store.command("ZADD", f"{base}:inbox", 1, "old")
    found = await desk.inbox.page("user1", LISTED, 10, count=True)
    assert found is not None
    assert (found.snapshot.unread, found.snapshot.tenants) == (1, {"acme": 1})
    assert [each.category for each in found.categories] == [None]
    assert desk_on(connection).inbox.retention_s == MONTH.total_seconds()


def test_a_broadcast_keeps_whose_it_is_on_its_way_between_processes() -> None:
    body = text_of("f1", "acme", "billing").encode()
    news = FeedNews("f" * 16, 1, FeedEntry.of(2, "f1", None, body))
    heard = decode(encode(news).encode())
    assert isinstance(heard, FeedNews)
    assert (heard.entry.tenant, heard.entry.category) == ("acme", "billing")
    assert heard == news


@pytest.mark.parametrize("silent", [False, True])
def test_optional_fields_of_a_body_are_left_out(silent: bool) -> None:
    content = Content(title="T", message="m", actions=(Action(id="go", label="Go", url="https://example.com"),))
    sent = notification("m")
    plain: dict[str, Any] = json.loads(wire_body(sent, sent.content, silent=silent))
    full = json.loads(wire_body(sent.model_copy(update={"tenant": "acme"}), content))
    assert ("silent" in plain) is silent
    assert not {"tenant", "actions"} & set(plain)
    assert (full["tenant"], full["actions"]) == (
        "acme", [{"id": "go", "label": "Go", "url": "https://example.com"}],
    )  # fmt: skip

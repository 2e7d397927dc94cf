"""Finds what was said to whom: by person, by address, by the publisher's own id, and by time.

    finder = Finder(store, keys, retention_s=settings.record_retention_s)
    page = await finder.by_person("user123", limit=50)
    page = await finder.by_address("user@example.com", since=..., until=...)      # mail address or telephone number
    page = await finder.by_own_id("order-4711", filters=Filters(publisher="shop"))
    page = await finder.by_time(since=..., until=..., filters=Filters(category="billing", outcomes=OUTCOMES["open"]))
    older = await finder.by_person("user123", limit=50, after=page.cursor)        # None: nothing is left

Each returns the newest first: a ``Page`` of ``Found`` (``shared.ledger.found``), each with those deliveries that are
this person's or go to this address. ``by_own_id`` and ``by_time`` list the first deliveries and count the others.

Promises to write nothing. A search ends within its time, with what it has found and where to go on. It asks for few
records at a time. A record that has expired is passed over, and so is what was said to a user before that user was
deleted. What an earlier release has accepted is found by its time alone, because it is not in the index.

The index (``shared.ledger.told``) keeps about a thousand of a person's notifications a day. A broadcast's common entry
of the inbox is nobody's in particular, so it is found by its time and by its publisher's id.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

from shared.core.clock import Clock, SystemClock, epoch_ms
from shared.core.model import State
from shared.directory.directory import Directory
from shared.directory.suppression import digest
from shared.ledger.found import (
    COMPLAINED,
    NOT_ARRIVED,
    AddressHash,
    Filters,
    Found,
    FoundDelivery,
    Person,
    Records,
    Whose,
)
from shared.ledger.past import LONGEST_SPAN_S
from shared.ledger.rows import LATEST_MS
from shared.ledger.told import DAY_MS, LONGEST_DAYS, Told, address_hash_name, own_name, person_name
from shared.store.keys import SHARDS, Keys, is_notification_id, milliseconds_of_id
from shared.store.store import Store, load_script

_born_counts = load_script(__package__, "born_counts", "ledger")

# What ``--outcome`` and the console's form call what has become of a delivery.
OUTCOMES: Mapping[str, frozenset[str]] = {
    "open": frozenset({State.PENDING, State.SENDING}),
    "undelivered": frozenset({State.SUPPRESSED, State.EXPIRED, State.DEAD_LETTERED, NOT_ARRIVED}),
    **{state.value: frozenset({state}) for state in State},
    # What was complained about has arrived.
    State.DELIVERED.value: frozenset({State.DELIVERED, COMPLAINED}),
    NOT_ARRIVED: frozenset({NOT_ARRIVED}),
    COMPLAINED: frozenset({COMPLAINED}),
}

TIME_LIMIT = timedelta(seconds=3)
MOST_FOUND = 500
_ANY = Filters()
_LIMIT = 50

# Records that are read together; days of the index, and minutes, that are asked for together; and about how many ids of
# minutes, of which one has as many as it has.
_RECORDS = 25
_DAYS = 40
_MINUTES = 240
_IDS = 200
_SCAN_COUNT = 1000

_MINUTE_MS = 60_000

_CURSOR = re.compile(r"([0-9a-f]{1,12})\.([0-9a-f-]{36})")


class BadCursor(ValueError):
    """It is not one that a page has named."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what was found, the newest first.

    Attributes:
        cursor: where the next page goes on, which may be empty; None where nothing is left.
        is_cut: the time was over before the page was full.
    """

    found: tuple[Found, ...]
    cursor: str | None = None
    is_cut: bool = False


class Narrowed(TypedDict, total=False):
    """What a search is narrowed down to.

    Attributes:
        since: what was first due from then on; ``until`` likewise.
        after: the cursor of the page before.
        limit: at most so many notifications, and at most ``MOST_FOUND``; 50 where it is not said.
    """

    since: datetime | None
    until: datetime | None
    after: str | None
    limit: int
    filters: Filters


# Where a record stands among the others of a search: by time, then by its id.
_Place = tuple[int, str]


class Finder:
    """Searches on one store.

    Args:
        retention_s: how long a notification is kept after its end.
        time_limit: of one search.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        *,
        retention_s: int,
        time_limit: timedelta = TIME_LIMIT,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._retention_days = -(-retention_s // 86400)
        self._time_limit_s = time_limit.total_seconds()
        self._clock = clock or SystemClock()
        self._told = Told(store, keys)
        self._records = Records(store, keys)
        self._directory = Directory(store, keys, self._clock)

    async def by_person(self, user_id: str, **narrowed: Unpack[Narrowed]) -> Page:
        """Return what was said to a user, or was not said and why.

        Raises:
            BadCursor: ``after`` is none.
        """
        return await self._search(Person(user_id), person_name(user_id), narrowed)

    async def by_address(self, address: str, **narrowed: Unpack[Narrowed]) -> Page:
        """Return what went to a mail address or a telephone number, in whatever case; see ``by_person``."""
        return await self.by_address_hash(digest(address), **narrowed)

    async def by_address_hash(self, address_hash: str, **narrowed: Unpack[Narrowed]) -> Page:
        """Return what went to the address with this hash (``shared.directory.suppression.digest``)."""
        return await self._search(AddressHash(address_hash), address_hash_name(address_hash), narrowed)

    async def by_own_id(self, publishers_id: str, **narrowed: Unpack[Narrowed]) -> Page:
        """Return what its publisher calls so: by idempotency key or an alert's dedup key; see ``by_person``."""
        return await self._search(None, own_name(publishers_id), narrowed)

    async def by_time(self, **narrowed: Unpack[Narrowed]) -> Page:
        """Return everything of a span of time, by when its first delivery was due; see ``by_person``.

        The parts of a fan-out are listed one by one. The ledger knows the last week by its time.
        """
        # The store's clock may be ahead of ours.
        until = narrowed.get("until") or self._clock.now() + timedelta(minutes=1)
        return await self._search(None, None, {**narrowed, "until": until})

    async def _search(self, whose: Whose, name: str | None, narrowed: Narrowed) -> Page:
        """Look at what stands in the index under a name; without one, at everything."""
        since, until = narrowed.get("since"), narrowed.get("until")
        span = 0 if since is None else epoch_ms(since), LATEST_MS if until is None else epoch_ms(until)
        after = _read_cursor(narrowed.get("after"))
        places = self._accepted(span, after) if name is None else self._named(name, span, after)
        limit, filters = narrowed.get("limit", _LIMIT), narrowed.get("filters", _ANY)
        return await self._page(places, whose, filters, span, limit, is_walk=name is None)

    async def _page(
        self,
        places: AsyncGenerator[_Place, None],
        whose: Whose,
        filters: Filters,
        span: tuple[int, int],
        limit: int,
        *,
        is_walk: bool = False,
    ) -> Page:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._time_limit_s
        wanted = max(1, min(limit, MOST_FOUND))
        found: list[Found] = []
        async with aclosing(places), aclosing(_batches(places, min(_RECORDS, wanted))) as batches:
            async for some in batches:
                read = await asyncio.gather(
                    *(self._read(place, whose, filters, span, is_walk=is_walk) for place in some)
                )
                there = {each.record_id: each for each in await self._without_deleted([each for each in read if each])}
                for place in some:
                    if (hit := there.get(place[1])) is not None:
                        found.append(hit)
                    if len(found) == wanted:
                        return Page(tuple(found), _cursor(place))
                if loop.time() >= ends_s:
                    return Page(tuple(found), _cursor(some[-1]), is_cut=True)
        return Page(tuple(found))

    async def _read(
        self, place: _Place, whose: Whose, filters: Filters, span: tuple[int, int], *, is_walk: bool
    ) -> Found | None:
        if not is_walk:
            return await self._records.read(place[1], whose, filters, *span)
        hit = await self._records.read(place[1], whose, filters)
        # Rows that become due later bring it up again. It is listed where the first of them stands.
        is_first = hit is None or epoch_ms(hit.at) // _MINUTE_MS == place[0] // _MINUTE_MS
        return hit if is_first else None

    async def _without_deleted(self, found: Sequence[Found]) -> list[Found]:
        """Leave out what was said to people who were deleted since."""
        user_ids = list({row.recipient for each in found for row in each.deliveries if row.recipient is not None})
        times = await asyncio.gather(*(self._directory.deleted_at(user_id) for user_id in user_ids))
        deleted = {user_id: at for user_id, at in zip(user_ids, times, strict=True) if at is not None}
        if not deleted:
            return list(found)
        return [kept for each in found if (kept := _without(each, deleted)) is not None]

    async def _named(self, name: str, span: tuple[int, int], after: _Place | None) -> AsyncGenerator[_Place, None]:
        """Yield the records under a name of the index, the newest first, each once."""
        today = epoch_ms(self._clock.now()) // DAY_MS
        first = max(span[0] // DAY_MS, today - self._retention_days - LONGEST_DAYS)
        last = min(span[1] // DAY_MS, today + 1)
        seen: set[str] = set()
        for start in range(last, first - 1, -_DAYS):
            days = range(start, max(start - _DAYS, first - 1), -1)
            of_days = await self._told.records(name, days)
            for day in days:
                fresh = set(of_days.get(day, ())) - seen
                seen |= fresh
                begin, end = day * DAY_MS, (day + 1) * DAY_MS - 1
                places = [(min(max(milliseconds_of_id(one), begin), end), one) for one in fresh]
                for place in sorted(places, reverse=True):
                    if after is None or place < after:
                        yield place

    async def _accepted(self, span: tuple[int, int], after: _Place | None) -> AsyncGenerator[_Place, None]:
        """Yield the records of a span, the newest first; one whose rows became due in several minutes repeatedly."""
        now_ms = epoch_ms(self._clock.now())
        since_ms = max(span[0], now_ms - LONGEST_SPAN_S * 1000)
        until_ms = span[1] if after is None else min(span[1], after[0])
        async for minutes in self._busy_minutes(since_ms // _MINUTE_MS, until_ms // _MINUTE_MS):
            of_minutes = await asyncio.gather(*(self._born(minute, shards) for minute, shards in minutes.items()))
            for minute, ids in zip(minutes, of_minutes, strict=True):
                begin, end = minute * _MINUTE_MS, (minute + 1) * _MINUTE_MS - 1
                places = [(min(max(milliseconds_of_id(one), begin), end), one) for one in ids]
                for place in sorted(places, reverse=True):
                    if since_ms <= place[0] <= until_ms and (after is None or place < after):
                        yield place

    async def _busy_minutes(self, first: int, last: int) -> AsyncIterator[dict[int, list[int]]]:
        """Yield minutes in which something became due, with the shards that know of it, the last first.

        A few quiet ones come together.
        """
        for stop in range(last, first - 1, -_MINUTES):
            start = max(first, stop - _MINUTES + 1)
            of_shards = await asyncio.gather(
                *(
                    self._store.submit_script(_born_counts, self._keys.shard(shard), start, stop)
                    for shard in range(SHARDS)
                )
            )
            some: dict[int, list[int]] = {}
            count = 0
            for minute in range(stop, start - 1, -1):
                counts = [counts[minute - start] for counts in of_shards]
                if any(counts):
                    some[minute] = [shard for shard, known in enumerate(counts) if known]
                    count += sum(counts)
                if count >= _IDS:
                    yield some
                    some, count = {}, 0
            if some:
                yield some

    async def _born(self, minute: int, shards: Sequence[int]) -> list[str]:
        of_shards = await asyncio.gather(*(self._members(f"{self._keys.shard(one)}:born:{minute}") for one in shards))
        return [one for ids in of_shards for one in ids if is_notification_id(one)]

    async def _members(self, name: str) -> set[str]:
        members: set[str] = set()
        cursor = 0
        while True:
            answer = await self._store.command("SSCAN", name, cursor, "COUNT", _SCAN_COUNT)
            cursor = int(answer[0])
            members.update(member.decode(errors="replace") for member in answer[1])
            if cursor == 0:
                return members


async def _batches(places: AsyncIterator[_Place], size: int) -> AsyncGenerator[list[_Place], None]:
    batch: list[_Place] = []
    async for place in places:
        batch.append(place)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _without(found: Found, deleted: Mapping[str, int]) -> Found | None:
    kept = tuple(row for row in found.deliveries if not _is_before(row, deleted))
    gone = len(found.deliveries) - len(kept)
    if not gone:
        return found
    counts = dict(found.counts)
    for row in set(found.deliveries) - set(kept):
        counts[row.channel, row.outcome, row.reason] -= 1
    counts = {what: count for what, count in counts.items() if count > 0}
    return replace(found, deliveries=kept, counts=counts) if counts else None


def _is_before(row: FoundDelivery, deleted: Mapping[str, int]) -> bool:
    deleted_s = deleted.get(row.recipient) if row.recipient is not None else None
    return deleted_s is not None and int(row.at.timestamp()) <= deleted_s


def _cursor(place: _Place) -> str:
    return f"{place[0]:x}.{place[1]}"


def _read_cursor(text: str | None) -> _Place | None:
    if text is None:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None or not is_notification_id(found[2]):
        raise BadCursor("not a cursor of a page before")
    return int(found[1], 16), found[2]

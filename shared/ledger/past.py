"""What the ledger remembers of a span of time: its notifications, and the people that each of them went to.

Promises to write nothing, and to hold little at a time: it goes from minute to minute, and through records in pages.
A record that has expired is counted; nobody knows any more what it said.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from redis.exceptions import ResponseError

from shared.core.model import Notification, Platform
from shared.core.topics import Kind
from shared.store.keys import SHARDS, Keys, milliseconds_of_id
from shared.store.replies import pairs, read_object
from shared.store.store import Store, each

# How long the index of each minute is kept (BORN_RETENTION_S in the ledger's scripts), less a margin.
LONGEST_SPAN_S = 7 * 86400

# Minutes whose indexes are asked for together, ids in one page of an index, records that are read together, and fields
# of one in a page.
_MINUTES = 30
_IDS = 500
_RECORDS = 100
_FIELDS = 500

# Of notifications that became due later than their minute so many are known, so that each is met once.
_LATE = 100_000


@dataclass(frozen=True, slots=True)
class PastNotification:
    """A notification, or a part of one's fan-out, with the people in its record.

    Attributes:
        due_ms: when it was to be sent, of a scheduled one; else 0.
        only_push: the devices that it went to, where its topic says so.
        direct: how many addresses its publisher gave.
    """

    notification: Notification
    user_ids: tuple[str, ...]
    due_ms: int = 0
    only_push: Platform | None = None
    direct: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Some notifications, in the order of their acceptance.

    Attributes:
        minute: until which the span has been read, minutes since 1970.
        expired: so many of the ledger's names have no record any more; ``unreadable``: or one that cannot be read.
    """

    minute: int
    found: Sequence[PastNotification]
    expired: int = 0
    unreadable: int = 0


class Past:
    """Reads on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._late: set[str] = set()

    async def walk(self, since_ms: int, until_ms: int) -> AsyncGenerator[Page, None]:
        """Yield what was accepted within a span, the earliest first, each once; and a page without any now and then."""
        first, last = since_ms // 60_000, until_ms // 60_000
        before: frozenset[str] = frozenset()
        for start in range(first, last + 1, _MINUTES):
            minutes = range(start, min(start + _MINUTES, last + 1))
            names = [f"{self._keys.shard(shard)}:born:{minute}" for minute in minutes for shard in range(SHARDS)]
            sizes = await asyncio.gather(*(self._store.submit("SCARD", name) for name in names))
            for minute in minutes:
                of_minute = range((minute - start) * SHARDS, (minute - start + 1) * SHARDS)
                ids = frozenset(
                    [found for place in of_minute if sizes[place] for found in await self._ids(names[place])]
                )
                fresh = await self._met_first(sorted(ids - before), minute)
                wanted = [one for one in fresh if since_ms <= milliseconds_of_id(one) <= until_ms]
                for some in _pages(wanted):
                    yield await self._read(minute, some)
                before = ids
            yield Page(minutes.stop, ())

    async def _ids(self, name: str) -> set[str]:
        ids: set[str] = set()
        cursor = 0
        while True:
            answer = await self._store.command("SSCAN", name, cursor, "COUNT", _IDS)
            cursor = int(answer[0])
            ids.update(found.decode() for found in answer[1])
            if cursor == 0:
                return ids

    async def _met_first(self, ids: Sequence[str], minute: int) -> list[str]:
        """Return those that were not met in an earlier minute: rows that become due later bring them up again."""
        late = [one for one in ids if milliseconds_of_id(one) // 60_000 < minute - 1]
        if not late:
            return list(ids)
        asked = [
            self._store.submit("SISMEMBER", f"{self._keys.shard_of(one)}:born:{own + step}", one)
            for one in late
            for own in (milliseconds_of_id(one) // 60_000,)
            for step in (0, 1)
        ]
        answers = await asyncio.gather(*asked)
        known = {one for place, one in enumerate(late) if any(answers[place * 2 : place * 2 + 2])}
        known |= self._late.intersection(late)
        if len(self._late) < _LATE:
            self._late.update(late)
        return [one for one in ids if one not in known]

    async def _read(self, minute: int, ids: Sequence[str]) -> Page:
        contents = await each(self._store.submit("HGET", self._record(one), "c") for one in ids)
        there = [(one, content) for one, content in zip(ids, contents, strict=True) if content is not None]
        pasts = await asyncio.gather(*(self._one(one, content) for one, content in there))
        found = [past for past in pasts if past is not None]
        return Page(minute, found, expired=len(ids) - len(there), unreadable=len(there) - len(found))

    def _record(self, notification_id: str) -> str:
        return f"{self._keys.shard_of(notification_id)}:n:{notification_id}"

    async def _one(self, notification_id: str, content: bytes | ResponseError) -> PastNotification | None:
        if isinstance(content, ResponseError):
            # Something else than a record has its name.
            return None
        try:
            notification = Notification.model_validate_json(content)
        except ValidationError:
            return None
        user_ids: dict[str, None] = {}
        direct: set[str] = set()
        due_ms, only_push = 0, None
        async for key, row in self._rows(notification_id):
            who = _who(row)
            user_ids |= dict.fromkeys(who)
            address, what = _object(row, "address"), _object(row, "what")
            if not who and address and address.get("to") != "feed":
                direct.add(key)
            if what.get("do") == "plan":
                due_ms = int(row.get("due_ms") or 0)
            if who and notification.kind == Kind.PUSH_MOBILE:
                only_push = only_push or _platform(what.get("only_push") or address.get("platform"))
        return PastNotification(notification, tuple(user_ids), due_ms, only_push, len(direct))

    async def _rows(self, notification_id: str) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        cursor = 0
        while True:
            answer = await self._store.command(
                "HSCAN", self._record(notification_id), cursor, "MATCH", "d:*", "COUNT", _FIELDS
            )
            cursor = int(answer[0])
            for name, spec in pairs(answer[1]):
                yield name.decode(errors="replace"), read_object(spec)
            if cursor == 0:
                return


def _who(row: Mapping[str, Any]) -> list[str]:
    what = _object(row, "what")
    audience = _object(what, "audience").get("user_ids")
    named = [row.get("recipient"), what.get("user_id"), *(audience if isinstance(audience, list) else ())]
    return [user_id for user_id in named if isinstance(user_id, str)]


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = row.get(name)
    return found if isinstance(found, Mapping) else {}


def _platform(said: object) -> Platform | None:
    return Platform(said) if isinstance(said, str) and said in list(Platform) else None


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _RECORDS] for start in range(0, len(ids), _RECORDS))

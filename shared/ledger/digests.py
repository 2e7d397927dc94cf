"""Digests: what would be told one by one is told together when a window closes.

A group is whatever shares one digest: a person, a category, a channel, and perhaps a key. Its digest is a record in the
ledger like any other notification's, with one row that closes it. So trace, cancel, expiry and audit work on it.

Promises, through scripts that each run atomically on the shard of the group:

- an item is in one digest, or goes out alone, and is so however often it is added;
- an item that comes while a window closes is in this digest or in the next, never in both and never in neither;
- a digest is closed once, and every repetition of that tells the same;
- an open window keeps the specification that it was opened with;
- in = out + taken out + waiting, for the items of each channel and shard: see ``shared.ledger.audit_digests``.

Every call may be repeated after StoreUnavailable. A digest names all of its items and keeps the texts of the newest. It
does not look at what became of their notifications: ``called_off`` tells that, when the digest is closed.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from redis.exceptions import ResponseError

from shared.core.channels import Channel
from shared.core.incidents import AlertState, alert_state
from shared.core.model import Notification
from shared.ledger.new_records import NewRow, row_args
from shared.ledger.rows import milliseconds
from shared.store.keys import Keys, shard_of_id, shard_of_key
from shared.store.store import Store, each, load_script

# For how long after its window an item that is added again is known.
REMEMBERED_S = 86400

# What the texts of a digest may be together; beyond it the oldest are dropped. A few of the largest publishes, or some
# hundred usual ones.
TEXTS_BYTES = 256 * 1024

# Items that one call reads or writes, so that a large digest does not hold the store for long.
_PAGE = 200

_add = load_script(__package__, "digest_add", "ledger")
_close = load_script(__package__, "digest_close", "ledger")
_leave_out = load_script(__package__, "digest_leave_out", "ledger")

# The record and the row that were folded.
Member = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Item:
    """What is to be told in a digest.

    Attributes:
        notification_id: the record in which the folded row stands; ``key`` is that row's.
        at_ms: when it happened, milliseconds since 1970.
        text: JSON, as the digest's template gets it.
    """

    notification_id: str
    key: str
    at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Opening:
    """How a group's next digest is opened, if none is open. Either ``window_ms`` or ``ends_ms`` is given.

    Attributes:
        notification: the digest itself, with a new id on the group's shard.
        close: the row that closes it. The store says when it is due. Its deadline is a day after that at least.
        channel: whose items are counted together.
        window_ms: it ends so long after its first event.
        ends_ms: it ends at this moment, milliseconds since 1970.
        sliding: each item moves the end to ``window_ms`` from now, up to ``at_most_ms`` after the first event.
        first_now: the first event of a window goes out alone.
        items: how many of the newest texts are kept.
    """

    notification: Notification
    close: NewRow
    channel: Channel
    window_ms: int | None = None
    ends_ms: int | None = None
    sliding: bool = False
    at_most_ms: int | None = None
    first_now: bool = False
    items: int = 50

    def __post_init__(self) -> None:
        if (self.window_ms is None) == (self.ends_ms is None):
            raise ValueError("a digest has either a window or an end")
        if self.sliding and (self.window_ms is None or self.at_most_ms is None):
            raise ValueError("a sliding digest has a window and a longest time")


@dataclass(frozen=True, slots=True)
class Added:
    """Where an item is.

    Attributes:
        digest_id: None when it goes out alone.
        opened: it is the first of this digest; False where a call is repeated.
    """

    digest_id: str | None
    opened: bool


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Where an item would be.

    Attributes:
        alone: it would go out alone.
        ends_ms: when the window would end that it came into, or began.
    """

    alone: bool
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A digest whose window is over.

    Attributes:
        items: the newest texts, in the order in which they came.
        count: how many items it has, with those whose texts are not kept.
        members: all of them, by their time.
        first_ms: the time of the earliest, 0 where there is none; ``last_ms`` that of the latest.
    """

    items: tuple[str, ...]
    count: int
    members: tuple[Member, ...]
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class StillOpen:
    """A digest whose end has not come, or has moved."""

    ends_ms: int


class Digests:
    """The digests on one store.

    Args:
        retention_s: how long an ended digest can be traced.
    """

    def __init__(self, store: Store, keys: Keys, retention_s: int) -> None:
        self._store = store
        self._keys = keys
        self._retention_s = retention_s

    @staticmethod
    def shard_of_group(group: str) -> int:
        """Return the shard on which a group's digests stand."""
        return shard_of_key(group)

    async def add(self, group: str, item: Item, opening: Opening) -> Added:
        """Put an item into its group's open digest, open one for it, or say that it goes out alone."""
        shard = self.shard_of_group(group)
        if shard_of_id(opening.notification.id) != shard:
            raise ValueError("the digest's id is not on the shard of its group")
        digest_id, opened = await self._store.script(
            _add,
            self._keys.shard(shard),
            _hashed(group),
            _written((item.notification_id, item.key)),
            item.at_ms,
            item.text,
            REMEMBERED_S,
            self._retention_s,
            TEXTS_BYTES,
            opening.notification.id,
            opening.notification.written(),
            opening.notification.publisher or "",
            opening.channel,
            opening.window_ms or 0,
            opening.ends_ms or 0,
            int(opening.sliding),
            opening.at_most_ms or 0,
            int(opening.first_now),
            opening.items,
            *row_args([opening.close]),
            lasting=True,
        )
        return Added(digest_id.decode() or None, bool(opened))

    async def foresee(self, group: str, opening: Opening, *, now_ms: int) -> Foreseen:
        """Return what ``add`` would do with an item that it does not know, and write nothing."""
        base = self._keys.shard(self.shard_of_group(group))
        digest_id, *times = await self._store.command("HMGET", f"{base}:digest:{_hashed(group)}", "id", "began", "ends")
        if digest_id is not None:
            names = ("digest", "digest:ends", "digest:as", "cancelled", "open")
            record = await self._store.command("HMGET", f"{base}:n:{digest_id.decode()}", *names)
            ends_ms = _moved(record, now_ms)
            if ends_ms is not None:
                return Foreseen(alone=False, ends_ms=ends_ms)
        return opened(opening, *(milliseconds(each) for each in times), now_ms=now_ms)

    async def place(self, group: str, notification_id: str, key: str) -> Added | None:
        """Return where an item is that may have been added before; None where it was not, or a day ago."""
        folded = f"{self._keys.shard(self.shard_of_group(group))}:folded:{_written((notification_id, key))}"
        found = await self._store.command("GET", folded)
        return None if found is None else Added(found.decode() or None, opened=False)

    async def close(self, digest_id: str) -> Closed | StillOpen:
        """Close a digest, so that later items of its group come into the next one.

        Raises:
            LookupError: there is no such digest, or its record is damaged.
        """
        base = self._keys.shard_of(digest_id)
        verdict, *found = await self._store.script(_close, base, digest_id, _PAGE, lasting=True)
        match verdict, found:
            case b"open", [ends_ms]:
                return StillOpen(ends_ms)
            case b"closed", [count, first_ms, last_ms, named, texts]:
                members = [_read(text) for text in named]
                if count > len(members):
                    # Nothing is added to it any more.
                    members += await self._members(digest_id, len(members))
                return Closed(tuple(text.decode() for text in texts), count, tuple(members), first_ms, last_ms)
        msg = f"no digest {digest_id}"
        raise LookupError(msg)

    async def members(self, digest_id: str) -> list[Member]:
        """Return what was folded into a digest, by its time; nothing when its record is gone."""
        return await self._members(digest_id, 0)

    async def _members(self, digest_id: str, start: int) -> list[Member]:
        key = f"{self._keys.shard_of(digest_id)}:members:{digest_id}"
        members: dict[Member, None] = {}
        while True:
            page = await self._store.command("ZRANGE", key, start, start + _PAGE - 1)
            # An item that came in between may show another one again.
            members |= dict.fromkeys(map(_read, page))
            start += _PAGE
            if len(page) < _PAGE:
                return list(members)

    async def called_off(self, members: Sequence[Member]) -> set[Member]:
        """Return those whose notification was cancelled, or whose alert was answered."""
        off: set[Member] = set()
        for some in _pages(members):
            asked = [
                self._store.submit("HMGET", f"{self._keys.shard_of(record)}:n:{record}", "cancelled", "alert")
                for record, _ in some
            ]
            # One whose record is damaged is told.
            answers = await each(asked)
            off.update(member for member, found in zip(some, answers, strict=True) if _is_off(found))
        return off

    async def leave_out(self, digest_id: str, members: Sequence[Member]) -> int:
        """Write down which items of a closed digest are not told in it; return how many are left out only now."""
        base = self._keys.shard_of(digest_id)
        calls = [
            self._store.submit_script(_leave_out, base, digest_id, *map(_written, some)) for some in _pages(members)
        ]
        return sum(await asyncio.gather(*calls))


def opened(opening: Opening, began_ms: int | None, ends_ms: int | None, *, now_ms: int) -> Foreseen:
    """Say where the next item of a group would be in which no digest is open, as ``digest_add.lua`` decides it.

    Args:
        began_ms: when the group's last window began, and when it ends; None where there is none.
    """
    if ends_ms is None or began_ms is None or ends_ms <= now_ms:
        return Foreseen(alone=opening.first_now, ends_ms=opening.ends_ms or now_ms + (opening.window_ms or 0))
    if opening.sliding:
        ends_ms = max(ends_ms, min(now_ms + (opening.window_ms or 0), began_ms + (opening.at_most_ms or 0)))
    return Foreseen(alone=False, ends_ms=ends_ms)


def _moved(record: Sequence[bytes | None], now_ms: int) -> int | None:
    """Say when an open digest ends once it has one more item; None where it is not open."""
    state, ends, said, cancelled, rows = record
    if state != b"open" or said is None or cancelled is not None or not milliseconds(rows):
        return None
    _, _, latest, step, _ = said.split(b"|")
    latest_ms, step_ms, ends_ms = int(latest), int(step), milliseconds(ends) or 0
    return max(ends_ms, min(now_ms + step_ms, latest_ms)) if step_ms else ends_ms


def _hashed(group: str) -> str:
    # A group's name may be of any length and hold anything.
    return sha256(group.encode()).hexdigest()[:32]


def _pages(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    return (members[start : start + _PAGE] for start in range(0, len(members), _PAGE))


def _written(member: Member) -> str:
    return "|".join(member)


def _read(text: bytes) -> Member:
    # Ids hold no bar, keys may.
    notification_id, _, key = text.decode().partition("|")
    return notification_id, key


def _is_off(found: list[bytes | None] | ResponseError) -> bool:
    if isinstance(found, ResponseError):
        return False
    cancelled, alert = found
    return cancelled is not None or alert_state(alert) in (AlertState.ACKNOWLEDGED, AlertState.RESOLVED)

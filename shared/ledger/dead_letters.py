"""Dead letters: found by channel, reason and age, reopened if that still makes sense, or dropped from the list.

Promises that a dead letter is reopened once, however many people replay it at the same time, and that the accounts stay
true: one step takes it from its minute's dead letters and adds it to the open rows. A reopened row is due at once. The
router's sweeper drives it like every due row.

A delivery to a person is checked against the person's current record first. A mail or an SMS goes to the address in
that record. The dead letter stays as it is if:

- the person is gone, has switched the channel off, or has no such address any more;
- the address of a mail or an SMS is on the suppression list, by the rules that its channel asks before a send.

Dropping is permanent: the record keeps its state and its trace, and nothing replays it.
"""

import asyncio
import heapq
import json
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from redis.exceptions import ResponseError

from shared.core.channels import ROUTER_LANE
from shared.core.clock import SystemClock, epoch_ms, from_epoch_ms
from shared.core.model import Channel, Delivery, Job, Priority, State
from shared.directory.catalogue import Catalogues
from shared.directory.categories import KnownCategory
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.directory.routes import routes
from shared.directory.suppression import Suppressions, digest, refusal
from shared.ledger.jobs import open_job
from shared.ledger.reader import Trace
from shared.ledger.rows import DAMAGED, RowStatus, is_readable, member_of, parts_of, spec_field, status_field
from shared.store.keys import SHARDS, Keys, is_notification_id
from shared.store.replies import scored
from shared.store.store import Store, each, load_script

# Entries that are read from one shard's list, and handed out, at a time.
_PAGE = 200

_replay = load_script(__package__, "replay", "ledger")


class Answer(StrEnum):
    """What became of a try to replay; all but the first leave things as they are."""

    REOPENED = "reopened"
    ALREADY = "already"
    """Somebody else replayed or dropped it meanwhile."""
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ACKNOWLEDGED = "acknowledged"
    """Its alert was, as with the next: nobody is to be told any more."""
    RESOLVED = "resolved"
    RECORD_EXPIRED = "record_expired"
    """Nothing is known any more of what was to be sent."""
    UNKNOWN_RECIPIENT = "unknown_recipient"
    UNREADABLE = "unreadable"
    """What the ledger holds of it is damaged."""
    PREFERENCE_OFF = "preference_off"
    NO_ADDRESS = "no_address"
    NOT_SERVED = "not_served"
    """This system does without its channel: it would wait for nobody."""
    BOUNCED = "bounced"
    """Its address is on the suppression list because nothing arrives there."""
    OPTED_OUT = "opted_out"
    """Its recipient has unsubscribed, has complained or has answered STOP."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters are meant.

    Attributes:
        until: those that ended at this time or earlier; so what dies again after its replay is not met again.
        lane: a channel's, or the router's; None is any, as with the others.
        reason: the word they ended with.
    """

    until: datetime
    lane: str | None = None
    reason: str | None = None
    notification_id: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One entry of the list.

    Attributes:
        notification_id: something else, or nothing, where the ledger's schedule was damaged.
        reason: None once the record has expired.
        base: the shard that lists it.
    """

    at_ms: int
    lane: str
    notification_id: str
    key: str
    reason: str | None = None
    base: str = ""

    @property
    def member(self) -> str:
        """Its name in the list."""
        return member_of(self.lane, self.notification_id, self.key)


class DeadLetters:
    """The dead letters on one store.

    Args:
        without: channels that this system does without, which replays nothing there.
    """

    def __init__(self, store: Store, keys: Keys, without: Collection[str] = ()) -> None:
        self._without = frozenset(without)
        self._store = store
        self._keys = keys
        self._directory = Directory(store, keys)
        self._catalogues = Catalogues(store, keys)
        self._trace = Trace(store, keys)
        self._unwanted = {
            channel: Suppressions(store, keys, channel, SystemClock()) for channel in (Channel.EMAIL, Channel.SMS)
        }

    async def now(self) -> datetime:
        """Ask the store for the time, by which dead letters are dated."""
        seconds, microseconds = await self._store.command("TIME")
        return from_epoch_ms(int(seconds) * 1000 + int(microseconds) // 1000)

    async def pages(self, wanted: Wanted, most: int | None = None) -> AsyncIterator[list[Entry]]:
        """Yield dead letters, the oldest first, each once.

        Args:
            most: at most so many.
        """
        left = most
        async for page in self._listed(wanted):
            found = [entry for entry in await self._known(page) if wanted.reason in (None, entry.reason)]
            some = found if left is None else found[:left]
            if some:
                yield some
            if left is not None:
                left -= len(some)
                if left == 0:
                    return

    async def lately(self, since: datetime, most: int) -> tuple[int, list[Entry]]:
        """Count those that ended since then, and return the newest of them, in two exchanges.

        Args:
            most: at most so many are returned; those that live again are counted and not returned.
        """
        bases = [self._keys.shard(shard) for shard in range(SHARDS)]
        span = (epoch_ms(since), "+inf")
        counts = [self._store.submit("ZCOUNT", f"{base}:dead", *span) for base in bases]
        ends = [
            self._store.submit(
                "ZRANGE", f"{base}:dead", *reversed(span), "BYSCORE", "REV", "LIMIT", 0, most, "WITHSCORES"
            )
            for base in bases
        ]
        answers = await each([*counts, *ends])
        # Of a list that is damaged the audit tells.
        count = sum(answer for answer in answers[:SHARDS] if not isinstance(answer, ResponseError))
        found = [
            Entry(at_ms, *parts_of(member.decode(errors="surrogateescape")), base=base)
            for base, answer in zip(bases, answers[SHARDS:], strict=True)
            if not isinstance(answer, ResponseError)
            for member, at_ms in scored(answer)
        ]
        return count, await self._known(sorted(found, reverse=True)[:most])

    async def _listed(self, wanted: Wanted) -> AsyncIterator[list[Entry]]:
        if wanted.notification_id is not None:
            yield await self._of_notification(wanted, wanted.notification_id)
            return
        shards = [self._of_shard(self._keys.shard(shard), wanted) for shard in range(SHARDS)]
        # The earliest entry that each shard has left.
        firsts = await asyncio.gather(*(anext(shard, None) for shard in shards))
        heads = [(entry, number) for number, entry in enumerate(firsts) if entry is not None]
        heapq.heapify(heads)
        page: list[Entry] = []
        while heads:
            entry, number = heads[0]
            page.append(entry)
            following = await anext(shards[number], None)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following, number))
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    async def _of_shard(self, base: str, wanted: Wanted) -> AsyncIterator[Entry]:
        """Yield one shard's entries in their order, while others may take some of them away."""
        last = (0, "")
        count = _PAGE
        while True:
            answer = await self._store.command(
                "ZRANGEBYSCORE", f"{base}:dead", last[0], epoch_ms(wanted.until), "WITHSCORES", "LIMIT", 0, count
            )
            members = [(at_ms, member.decode(errors="surrogateescape")) for member, at_ms in scored(answer)]
            fresh = [each for each in members if each > last]
            for at_ms, member in fresh:
                last = (at_ms, member)
                lane, notification_id, key = parts_of(member)
                if wanted.lane in (None, lane):
                    yield Entry(at_ms, lane, notification_id, key, base=base)
            if len(members) < count:
                return
            # More of one millisecond than fit on a page: the next page has to hold them all.
            count = _PAGE if fresh else count * 2

    async def _of_notification(self, wanted: Wanted, notification_id: str) -> list[Entry]:
        if await self._trace.record(notification_id) is None:
            return []
        rows = [
            row
            async for row in self._trace.rows(notification_id)
            if row.state is State.DEAD_LETTERED and wanted.lane in (None, row.lane) and row.until <= wanted.until
        ]
        base = self._keys.shard_of(notification_id)
        found = [Entry(epoch_ms(row.until), row.lane, row.record_id, row.key, base=base) for row in rows]
        # A row whose entry was dropped is a dead letter no more.
        scores = await asyncio.gather(
            *(self._store.submit("ZSCORE", f"{base}:dead", _bytes(entry.member)) for entry in found)
        )
        return sorted(entry for entry, score in zip(found, scores, strict=True) if score is not None)

    async def _known(self, page: list[Entry]) -> list[Entry]:
        """Add the reasons, and leave out rows that live again."""
        statuses = await asyncio.gather(*(self._status(entry) for entry in page))
        known = []
        for entry, status in zip(page, statuses, strict=True):
            if status is None or status.state is State.DEAD_LETTERED:
                reason = None if status is None else status.reason
                known.append(replace(entry, reason=reason))
        return known

    async def _status(self, entry: Entry) -> RowStatus | None:
        """Read where an entry's row stands; None when its record has expired."""
        if not is_notification_id(entry.notification_id):
            return DAMAGED
        try:
            status = await self._store.command("HGET", self._record(entry), _bytes(status_field(entry.key)))
        except ResponseError:
            # Something else than a record has its name.
            return DAMAGED
        return None if status is None else RowStatus.read(status.decode(errors="replace")) or DAMAGED

    async def replay(self, entry: Entry, extend: timedelta | None = None, *, dry_run: bool = False) -> Answer:
        """Reopen a dead letter, once.

        Args:
            extend: a new deadline, from now; a later one is kept.
            dry_run: only say what would become of it.
        """
        if entry.lane in self._without:
            return Answer.NOT_SERVED
        status = await self._status(entry)
        if status is None:
            return Answer.RECORD_EXPIRED
        if status is DAMAGED:
            return Answer.UNREADABLE
        (content, text), now = await asyncio.gather(
            self._store.submit("HMGET", self._record(entry), "c", _bytes(spec_field(entry.key))), self.now()
        )
        if not is_readable(entry.notification_id, entry.key, entry.lane, content or b"", text or b""):
            return Answer.UNREADABLE
        if entry.lane != ROUTER_LANE and not _is_delivery(content, text):
            return Answer.UNREADABLE
        try:
            spec: dict[str, Any] = json.loads(text)
            refused = await self._refuse_or_readdress(spec, json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError):
            # None of the form that a row has.
            return Answer.UNREADABLE
        if refused is not None:
            return refused
        deadline_ms = 0
        if extend is not None:
            deadline_ms = epoch_ms(now + extend)
            spec["expires_ms"] = max(spec["expires_ms"], deadline_ms)
        answer: bytes = await self._store.script(
            _replay,
            self._keys.shard_of(entry.notification_id),
            entry.lane,
            entry.notification_id,
            entry.key,
            deadline_ms,
            "" if spec == json.loads(text) else json.dumps(spec, ensure_ascii=False, separators=(",", ":")),
            int(dry_run),
            lasting=True,
        )
        return Answer(answer.decode())

    async def _refuse_or_readdress(self, spec: dict[str, Any], notification: dict[str, Any]) -> Answer | None:
        """Write into a row where its recipient is reached now, or say why it is to be left dead."""
        if spec.get("recalls"):
            # It goes where the other one went.
            return None
        category = (spec.get("content") or notification["content"]).get("category")
        if spec.get("recipient") is not None:
            known = await self._known_category(category, notification.get("tenant"))
            refused = _readdress(spec, notification, await self._directory.person(spec["recipient"]), known)
            if refused is not None:
                return refused
        address = spec.get("address", {})
        reached_at = address.get("email") or address.get("phone")
        if reached_at is None:
            return None
        channel = Channel(spec["channel"])
        entries = await self._unwanted[channel].entries(digest(reached_at))
        required = spec.get("required") is True
        reason = refusal(channel, entries, Priority(spec["priority"]), category, required=required)
        return None if reason is None else Answer(reason.value)

    async def _known_category(self, name: str | None, tenant: str | None) -> KnownCategory | None:
        names, tenants = [name] if name is not None else [], [tenant] if tenant is not None else []
        return (await self._catalogues.look_up(names, tenants)).category(name, tenant)

    async def count(self) -> int:
        """Return how many the list has, with those whose records are over."""
        counts = await asyncio.gather(
            *(self._store.submit("ZCARD", f"{self._keys.shard(shard)}:dead") for shard in range(SHARDS))
        )
        return sum(counts)

    async def drop(self, entries: Iterable[Entry]) -> int:
        """Take dead letters from the list, and return how many were still there."""
        removed = await asyncio.gather(
            *(self._store.submit("ZREM", f"{entry.base}:dead", _bytes(entry.member), lasting=True) for entry in entries)
        )
        return sum(removed)

    async def trim(self, older_than: timedelta) -> int:
        """Take those from the list that are older, because their records have expired, and return how many."""
        until_ms = epoch_ms(await self.now() - older_than)
        removed = await asyncio.gather(
            *(
                self._store.submit("ZREMRANGEBYSCORE", f"{self._keys.shard(shard)}:dead", "-inf", until_ms)
                for shard in range(SHARDS)
            )
        )
        return sum(removed)

    def _record(self, entry: Entry) -> str:
        return f"{self._keys.shard_of(entry.notification_id)}:n:{entry.notification_id}"


def _readdress(
    spec: dict[str, Any], notification: dict[str, Any], person: Person | None, category: KnownCategory | None
) -> Answer | None:
    """Write into a delivery where its recipient is reached now, or say why it is to be left dead."""
    if person is None:
        return Answer.UNKNOWN_RECIPIENT
    # Critical alerts go past preferences, at their acceptance and now.
    regardless = (notification["content"].get("alert") or {}).get("level") == "critical"
    channel, device = Channel(spec["channel"]), _device(spec["address"])
    named = (spec.get("content") or notification["content"]).get("category")
    is_on = person.choice(channel, named, category).on
    if channel is not Channel.REALTIME and not (regardless or is_on):
        return Answer.PREFERENCE_OFF
    # The delivery is this device's; another one has, or had, a delivery of its own.
    now = [route.address for route in routes(channel, person, live=regardless or is_on) if route.device == device]
    if not now:
        return Answer.NO_ADDRESS
    spec["address"] = now[0].model_dump(mode="json", exclude_none=True)
    return None


def _device(address: dict[str, Any]) -> str:
    """Return what tells the device of an address, as ``shared.directory.routes`` has it."""
    return str(address.get("token") or address.get("endpoint") or "")


def _bytes(name: str) -> bytes:
    """Write a name as it was read, whatever it is."""
    return name.encode(errors="surrogateescape")


def _is_delivery(content: bytes, spec: bytes) -> bool:
    """Tell whether a channel's service could read this."""
    job = open_job(Job[Delivery], b'{"v":1,"notification":%b,"rows":[%b]}' % (content, spec))
    return bool(job.rows)

"""People, groups and on-call entries: who can be told, and how.

Promises that a read after a write sees it, and that the indexes (groups, everybody, admins) hold at least everybody
they should: a record is swapped atomically, its index entries follow, and whoever reads an index looks at the record
before relying on it. Of two writers to one user the last one wins. A record that cannot be read counts as none, and is
logged, so that one of them does not stop what concerns everybody else.
"""

import asyncio
import logging
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from pydantic import ValidationError

from shared.clock import Clock, SystemClock
from shared.keys import SHARDS, Keys
from shared.people import Device, OnCall, Person
from shared.store import Store, load_script

log = logging.getLogger(__name__)

_swap = load_script("directory_swap")

# The type whose on-call entry serves the types without one.
ANY_TYPE = "*"

# People looked at in each part of everybody to estimate how much there is of something in all records.
_SAMPLE_PER_PART = 20


# Records are parsed once per stored text: a cache that is keyed by it can be neither stale nor wrong, and validating a
# person costs more than reading one. A version that is newer than ours may have written fields that we do not know.


@lru_cache(maxsize=20_000)
def _parse_person(record: bytes) -> Person | None:
    try:
        return Person.model_validate_json(record, extra="ignore")
    except ValidationError as error:
        log.error("unreadable record of a person", extra={"problems": error.error_count()})  # noqa: TRY400 - it is personal
        return None


@lru_cache(maxsize=1_000)
def _parse_oncall(record: bytes) -> OnCall | None:
    try:
        return OnCall.model_validate_json(record, extra="ignore")
    except ValidationError as error:
        log.error("unreadable on-call entry", extra={"problems": error.error_count()})  # noqa: TRY400 - it is personal
        return None


@dataclass(frozen=True, slots=True)
class Members:
    """A set of user ids that is read in pages: a group, or one part of everybody."""

    key: str
    group: str | None = None


class Directory:
    """The directory on one store.

    Args:
        clock: says when a device is registered.
    """

    def __init__(self, store: Store, keys: Keys, clock: Clock | None = None) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock or SystemClock()

    def _record(self, user_id: str) -> str:
        return f"{self._keys.user(user_id)}:record"

    async def person(self, user_id: str) -> Person | None:
        """Return one user's record, None when there is none."""
        return (await self.people([user_id])).get(user_id)

    async def people(self, user_ids: Sequence[str]) -> dict[str, Person]:
        """Return the records of those who have one, in one round trip."""
        records = await asyncio.gather(*(self._store.submit("GET", self._record(user_id)) for user_id in user_ids))
        return {
            user_id: person
            for user_id, record in zip(user_ids, records, strict=True)
            if record is not None and (person := _parse_person(record)) is not None
        }

    async def put(self, person: Person) -> None:
        """Write one user's record and his places in the indexes.

        A device without a time of registration keeps the one that the record before had, or is registered now.
        """
        expected: bytes | str = "*"
        swapped = False
        while not swapped:
            if all(device.registered_at for device in person.devices):
                stamped = person
            else:
                expected = await self._store.command("GET", self._record(person.user_id)) or b""
                stamped = _stamped(person, _parse_person(expected) if expected else None, self._clock.now())
            after = stamped.model_dump_json(exclude_none=True).encode()
            swapped, before = await self._store.script(
                _swap, self._record(person.user_id), after, expected, lasting=True
            )
        await self._reindex(person.user_id, before, after)

    async def delete(self, user_id: str) -> None:
        """Forget one user; nothing happens when there is no such user."""
        _, before = await self._store.script(_swap, self._record(user_id), "", "*", lasting=True)
        await self._reindex(user_id, before, b"")

    async def change(self, user_id: str, change: Callable[[Person], Person]) -> Person | None:
        """Change one user's record without losing another change made meanwhile.

        Args:
            change: called with the current record, perhaps more than once.

        Returns:
            The record as written, None when there is no such user.
        """
        while True:
            before = await self._store.command("GET", self._record(user_id))
            person = None if before is None else _parse_person(before)
            if person is None:
                return None
            changed = change(person)
            after = changed.model_dump_json(exclude_none=True).encode()
            swapped, _ = await self._store.script(_swap, self._record(user_id), after, before, lasting=True)
            if swapped:
                await self._reindex(user_id, before, after)
                return changed

    async def forget_device(self, user_id: str, identity: str, gone_at: datetime) -> bool:
        """Take a device out of a user's record, unless it was registered after it was found gone.

        Args:
            identity: the token, or a subscription's endpoint.

        Returns:
            Whether it stood there.
        """
        found = False

        def without(person: Person) -> Person:
            nonlocal found
            kept = tuple(
                device
                for device in person.devices
                if device.identity != identity or (device.registered_at is not None and device.registered_at > gone_at)
            )
            found = len(kept) < len(person.devices)
            return person.model_copy(update={"devices": kept}) if found else person

        await self.change(user_id, without)
        return found

    async def estimate(self, amount: Callable[[Person], int]) -> int:
        """Estimate a sum over everybody's records from a sample; exact while there are few people."""
        total = 0.0
        for part in self.everybody():
            known = await self._store.command("ZCARD", part.key)
            sample = [each.decode() for each in await self._store.command("ZRANDMEMBER", part.key, _SAMPLE_PER_PART)]
            if sample:
                people = await self.people(sample)
                total += known * sum(map(amount, people.values())) / len(sample)
        return round(total)

    async def _reindex(self, user_id: str, before: bytes, after: bytes) -> None:
        old = self._index_keys(user_id, before)
        new = self._index_keys(user_id, after)
        # All that he should have, not only the new ones: a write that is repeated finds its own record there, and
        # the first one may have been cut off before the indexes.
        await asyncio.gather(
            *(self._store.submit("ZADD", key, 0, user_id, lasting=True) for key in new),
            *(self._store.submit("ZREM", key, user_id, lasting=True) for key in old - new),
        )
        # Another writer may have swapped the record in between, and its entries may have been removed just now.
        current = await self._store.command("GET", self._record(user_id))
        if (current or b"") != after:
            keys = self._index_keys(user_id, current or b"")
            await asyncio.gather(*(self._store.submit("ZADD", key, 0, user_id, lasting=True) for key in keys))

    def _index_keys(self, user_id: str, record: bytes) -> set[str]:
        person = _parse_person(record) if record else None
        if person is None:
            return set()
        keys = {self._keys.group(group) for group in person.groups}
        keys.add(self._keys.everybody(zlib.crc32(user_id.encode()) % SHARDS))
        if person.is_admin:
            keys.add(self._keys.admins)
        return keys

    def group(self, group_id: str) -> Members:
        """Name a group's members."""
        return Members(self._keys.group(group_id), group_id)

    def everybody(self) -> tuple[Members, ...]:
        """Name everybody, in parts that can be read side by side."""
        return tuple(Members(self._keys.everybody(part)) for part in range(SHARDS))

    async def count(self) -> int:
        """Return how many users there are."""
        counts = await asyncio.gather(*(self._store.submit("ZCARD", part.key) for part in self.everybody()))
        return sum(counts)

    async def page(self, members: Members, after: str, most: int) -> list[str]:
        """Return the next user ids in lexical order.

        Args:
            after: the last id of the page before, ``""`` for the first page.
        """
        start = f"({after}" if after else "-"
        ids = await self._store.command("ZRANGE", members.key, start, "+", "BYLEX", "LIMIT", 0, most)
        return [user_id.decode() for user_id in ids]

    async def admins(self) -> list[str]:
        """Return the user ids with the role admin, in lexical order."""
        ids = [user_id.decode() for user_id in await self._store.command("ZRANGE", self._keys.admins, 0, -1)]
        people = await self.people(ids)
        return [user_id for user_id in ids if user_id in people and people[user_id].is_admin]

    async def oncall(self, alert_types: Iterable[str]) -> dict[str, OnCall]:
        """Return the on-call entry that serves each of these types; types without any are left out."""
        types = list(alert_types)
        if not types:
            return {}
        *own, fallback = await self._store.command("HMGET", self._keys.oncall, *types, ANY_TYPE)
        entries = {alert_type: record or fallback for alert_type, record in zip(types, own, strict=True)}
        return {
            alert_type: entry
            for alert_type, record in entries.items()
            if record is not None and (entry := _parse_oncall(record)) is not None
        }

    async def put_oncall(self, alert_type: str, entry: OnCall) -> None:
        """Write who answers for one type of alert."""
        await self._store.command(
            "HSET",
            self._keys.oncall,
            alert_type,
            entry.model_dump_json(exclude_none=True, by_alias=True),
            lasting=True,
        )

    async def delete_oncall(self, alert_type: str) -> None:
        """Forget who answers for one type of alert."""
        await self._store.command("HDEL", self._keys.oncall, alert_type, lasting=True)


def _stamped(person: Person, before: Person | None, now: datetime) -> Person:
    """Say when each device was registered where nobody has said so."""
    known = {device.identity: device.registered_at for device in before.devices} if before else {}

    def stamped(device: Device) -> Device:
        return device.model_copy(update={"registered_at": device.registered_at or known.get(device.identity) or now})

    return person.model_copy(update={"devices": tuple(map(stamped, person.devices))})

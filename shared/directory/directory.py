"""People, groups and on-call entries: who can be told, and how.

A user has two records: what the directory says, and what the user chose and registered. A write to one never touches
the other. A reader sees both as one person.

Promises:

- A read after a write sees it.
- The indexes (groups, everybody, admins) name at least everybody they should. A record is swapped atomically, and its
  index entries follow. So whoever reads an index must look at the record before relying on it.
- A device has one user. Whoever registers it takes it from the user before.
- A record that cannot be read counts as none, and is logged. It does not stop what concerns everybody else.
"""

import asyncio
import json
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from shared.core.clock import Clock, SystemClock
from shared.core.model import Platform
from shared.directory.people import Device, OnCall, OwnChoices, Person, with_choices
from shared.directory.person_change import PersonChange, merged
from shared.store.keys import SHARDS, Keys
from shared.store.replies import pairs
from shared.store.store import Store, load_script

log = logging.getLogger(__name__)

_swap = load_script(__package__, "directory_swap")

# The type whose on-call entry serves the types without one.
ANY_TYPE = "*"

# People looked at in each part of everybody to estimate how much there is of something in all records.
_SAMPLE_PER_PART = 20


# For how long it is remembered that a user was deleted: longer than any token that was issued before should hold.
DELETED_RETENTION_S = 400 * 24 * 3600

# Records are parsed once per stored text: a cache that is keyed by it can be neither stale nor wrong, and validating a
# person costs more than reading one. A version that is newer than ours may have written fields that we do not know.


@lru_cache(maxsize=20_000)
def _parse_person(record: bytes, own: bytes | None = None) -> Person | None:
    """Read what the directory says of a person, with what the person chose over it."""
    try:
        person = Person.model_validate_json(record, extra="ignore")
    except ValidationError as error:
        log.error("unreadable record of a person", extra={"problems": error.error_count()})  # noqa: TRY400 - it is personal
        return None
    return with_choices(person, _parse_own(own)) if own else person


def _parse_own(own: bytes | None) -> OwnChoices:
    try:
        return OwnChoices.model_validate_json(own, extra="ignore") if own else OwnChoices()
    except ValidationError as error:
        log.error("unreadable choices of a person", extra={"problems": error.error_count()})  # noqa: TRY400 - they are personal
        return OwnChoices()


@lru_cache(maxsize=1_000)
def _parse_oncall(record: bytes) -> OnCall | None:
    try:
        return OnCall.model_validate_json(record, extra="ignore")
    except ValidationError as error:
        log.error("unreadable on-call entry", extra={"problems": error.error_count()})  # noqa: TRY400 - it is personal
        return None


def _user_id(member: bytes) -> str:
    """Read an index entry; one that is not UTF-8 becomes a name that nobody has."""
    return member.decode(errors="replace")


def _parse_first_oncall(*records: bytes | None) -> OnCall | None:
    """Read the first of these that can be read."""
    return next((entry for record in records if record and (entry := _parse_oncall(record)) is not None), None)


@dataclass(frozen=True, slots=True)
class Members:
    """A set of user ids that is read in pages: a group, or one part of everybody."""

    key: str
    group: str | None = None


# The token of such a device is a secret. Whoever names it has the device, so it belongs to one user. A topic of ntfy is
# a name that anybody can guess or share. It is taken from nobody.
_OF_ONE_USER = frozenset(Platform) - {Platform.NTFY}


class TooManyCategories(Exception):
    """A record would choose something for more categories than it may."""


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

    def _own(self, user_id: str) -> str:
        return f"{self._keys.user(user_id)}:own"

    def _deleted(self, user_id: str) -> str:
        return f"{self._keys.user(user_id)}:deleted"

    async def person(self, user_id: str) -> Person | None:
        """Return one user as the directory and the user's own choices have it, None when there is no record."""
        return (await self.people([user_id])).get(user_id)

    async def people(self, user_ids: Sequence[str]) -> dict[str, Person]:
        """Return those who have a record, in one round trip."""
        found = await self.records(user_ids)
        return {
            user_id: person
            for user_id, (record, own) in zip(user_ids, found, strict=True)
            if record is not None and (person := _parse_person(record, own)) is not None
        }

    async def records(self, user_ids: Sequence[str]) -> Sequence[tuple[bytes | None, bytes | None]]:
        """Return each user's two records as they are stored, None for one that is not there."""
        found = await asyncio.gather(
            *(self._store.submit("MGET", self._record(user_id), self._own(user_id)) for user_id in user_ids)
        )
        return [(record, own) for record, own in found]

    async def entry_and_choices(self, user_id: str) -> tuple[Person | None, OwnChoices]:
        """Return what the directory says of a user, None where there is no record, and what the user chose."""
        ((record, own),) = await self.records([user_id])
        return None if record is None else _parse_person(record), _parse_own(own)

    async def put(self, change: PersonChange | Person) -> None:
        """Set the fields that a write names, and the user's places in the indexes; the other fields stay.

        A device without a time of registration keeps the one that the record before had, or is registered now.

        Args:
            change: of a ``Person`` the fields that were set when it was made.

        Raises:
            TooManyCategories: with what the record says already. Nothing is changed.
        """
        if isinstance(change, Person):
            change = PersonChange.of(change)
        user_id = change.user_id
        now = self._clock.now().isoformat()
        before, after = await self._swap(
            self._record(user_id), lambda record: _dump(_with_patch(_document(record), change, now))
        )
        await self._reindex(user_id, before, after)
        named = [_identity(device) for device in change.patch.get("devices") or ()]
        own = [_identity(device) for device in change.patch.get("devices") or () if device["platform"] in _OF_ONE_USER]
        await self._take_devices(user_id, own)
        if "devices" in change.patch:
            for identity in _registered(_document(before)).keys() - set(named):
                await self._release_device(user_id, identity)

    async def delete(self, user_id: str) -> None:
        """Forget one user; tokens that were issued until now are of no use any more, see ``deleted_at``."""
        now_s = int(self._clock.now().timestamp())
        await self._store.command("SET", self._deleted(user_id), now_s, "EX", DELETED_RETENTION_S, lasting=True)
        _, own = await self._store.script(_swap, self._own(user_id), "", "*", lasting=True)
        _, before = await self._store.script(_swap, self._record(user_id), "", "*", lasting=True)
        await self._reindex(user_id, before, b"")
        person = _parse_person(before, own) if before else None
        for device in person.devices if person else ():
            await self._release_device(user_id, device.identity)

    async def deleted_at(self, user_id: str) -> int | None:
        """Return when a user of this name was last deleted, in seconds since 1970; None if never, or long ago."""
        deleted_s = await self._store.command("GET", self._deleted(user_id))
        return None if deleted_s is None else int(deleted_s)

    async def choose(self, user_id: str, change: Callable[[Person, OwnChoices], OwnChoices]) -> Person | None:
        """Change a user's own choices without losing another change made meanwhile.

        Args:
            change: called with the person and the own choices as they are, perhaps more than once.

        Returns:
            The person as it is then, None when there is no such user.
        """
        while True:
            record, before = await self._store.command("MGET", self._record(user_id), self._own(user_id))
            person = None if record is None else _parse_person(record, before)
            if person is None:
                return None
            known = _parse_own(before)
            chosen = change(person, known)
            after = chosen.model_dump_json(exclude_unset=True).encode()
            swapped, _ = await self._store.script(_swap, self._own(user_id), after, before or b"", lasting=True)
            if swapped:
                # Also for a device that registers again: the first registration may have been cut off before this.
                fresh = [device for device in chosen.devices if device not in known.devices]
                await self._take_devices(user_id, [each.identity for each in fresh if each.platform in _OF_ONE_USER])
                return _parse_person(record, after)

    async def forget_device(self, user_id: str, identity: str, gone_at: datetime | None = None) -> bool:
        """Take a device out of what the directory and the user say, and return whether it stood there.

        Args:
            identity: the token, or a subscription's endpoint.
            gone_at: a device that was registered after it was found gone stays; None takes it out in any case.
        """

        def stays(device: Device) -> bool:
            later = gone_at is not None and device.registered_at is not None and device.registered_at > gone_at
            return device.identity != identity or later

        person = await self.person(user_id)
        if person is None or all(map(stays, person.devices)):
            return False

        def out_of_record(record: bytes) -> bytes:
            known = _parse_person(record) if record else None
            if known is None or all(map(stays, known.devices)):
                return record
            kept = [device.model_dump(mode="json", exclude_unset=True) for device in known.devices if stays(device)]
            return _dump(_document(record) | {"devices": kept})

        def out_of_own(text: bytes) -> bytes:
            own = _parse_own(text)
            if all(map(stays, own.devices)):
                return text
            kept = tuple(device for device in own.devices if stays(device))
            return own.model_copy(update={"devices": kept}).model_dump_json(exclude_unset=True).encode()

        await self._swap(self._record(user_id), out_of_record)
        await self._swap(self._own(user_id), out_of_own)
        await self._release_device(user_id, identity)
        return True

    async def _swap(self, key: str, change: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
        """Replace a text by what ``change`` makes of it; ``b""`` is none. Return it as it was, and as it is now."""
        while True:
            before = await self._store.command("GET", key) or b""
            after = change(before)
            if after == before:
                return before, after
            swapped, _ = await self._store.script(_swap, key, after, before, lasting=True)
            if swapped:
                return before, after

    async def _take_devices(self, user_id: str, identities: Iterable[str]) -> None:
        """Make devices this user's alone; the record that holds them has been written.

        Of two users who register the same device at the same time, whoever comes here later keeps it.
        """
        for identity in identities:
            former = await self._store.command("SET", self._keys.device(identity), user_id, "GET", lasting=True)
            if former is not None and former.decode() != user_id:
                await self.forget_device(former.decode(), identity)

    async def _release_device(self, user_id: str, identity: str) -> None:
        await self._store.script(_swap, self._keys.device(identity), "", user_id, lasting=True)

    async def estimate(self, amount: Callable[[Person], int]) -> int:
        """Estimate a sum over everybody's records from a sample; exact while there are few people."""
        total = 0.0
        for part in self.everybody():
            known = await self._store.command("ZCARD", part.key)
            sample = [_user_id(each) for each in await self._store.command("ZRANDMEMBER", part.key, _SAMPLE_PER_PART)]
            if sample:
                people = await self.people(sample)
                total += known * sum(map(amount, people.values())) / len(sample)
        return round(total)

    async def _reindex(self, user_id: str, before: bytes, after: bytes) -> None:
        old = self._index_keys(user_id, before)
        new = self._index_keys(user_id, after)
        # All entries, not only new ones: a repeated write finds its own record there, and the first write may have been
        # cut off before the indexes.
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
        return [_user_id(each) for each in ids]

    async def empty_groups(self, group_ids: Sequence[str]) -> frozenset[str]:
        """Return those of the groups that have nobody, in one round trip."""
        counts = await asyncio.gather(*(self._store.submit("ZCARD", self._keys.group(each)) for each in group_ids))
        return frozenset(each for each, count in zip(group_ids, counts, strict=True) if not count)

    async def admins(self) -> list[str]:
        """Return the user ids with the role admin, in lexical order."""
        ids = await self.admin_ids()
        return admins_among(ids, await self.people(ids))

    async def admin_ids(self) -> list[str]:
        """Return the user ids that the index of admins names, in lexical order; what counts is each one's record."""
        return [_user_id(each) for each in await self._store.command("ZRANGE", self._keys.admins, 0, -1)]

    async def oncall(self, alert_types: Iterable[str]) -> dict[str, OnCall]:
        """Return the on-call entry that serves each of these types; types without any are left out."""
        types = list(alert_types)
        if not types:
            return {}
        *own, fallback = await self.oncall_records([*types, ANY_TYPE])
        entries = {
            alert_type: _parse_first_oncall(record, fallback) for alert_type, record in zip(types, own, strict=True)
        }
        return {alert_type: entry for alert_type, entry in entries.items() if entry is not None}

    async def all_oncall(self) -> dict[str, OnCall | None]:
        """Return every on-call entry by the type that it serves, None for one that cannot be read."""
        flat = await self._store.command("HGETALL", self._keys.oncall)
        return {name.decode(errors="replace"): _parse_oncall(record) for name, record in pairs(flat)}

    async def oncall_types(self) -> list[str]:
        """Return the types that have an on-call entry, by name."""
        return sorted(name.decode(errors="replace") for name in await self._store.command("HKEYS", self._keys.oncall))

    async def oncall_pages(self, most: int) -> AsyncIterator[dict[str, OnCall | None]]:
        """Yield every on-call entry in pages of about ``most``, None for one that cannot be read.

        An entry that is there all the time is in one page at least, and may be in two.
        """
        cursor = b"0"
        while True:
            cursor, flat = await self._store.command("HSCAN", self._keys.oncall, cursor, "COUNT", most)
            yield {name.decode(errors="replace"): _parse_oncall(record) for name, record in pairs(flat)}
            if int(cursor) == 0:
                return

    async def oncall_records(self, alert_types: Sequence[str]) -> Sequence[bytes | None]:
        """Return on-call entries as they are stored, None for one that is not there."""
        found: list[bytes | None] = await self._store.command("HMGET", self._keys.oncall, *alert_types)
        return found

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


def admins_among(user_ids: Iterable[str], people: Mapping[str, Person]) -> list[str]:
    """Return those of these users who are admins, in the same order."""
    return [user_id for user_id in user_ids if user_id in people and people[user_id].is_admin]


def with_change(record: bytes | None, change: PersonChange, now: datetime) -> bytes:
    """Return a user's record as it is after a write; None is no record."""
    return _dump(_with_patch(_document(record or b""), change, now.isoformat()))


def _document(record: bytes) -> dict[str, Any]:
    """Read a record with the fields that only a newer version knows; what cannot be read says nothing."""
    try:
        document = json.loads(record) if record else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _with_patch(before: Mapping[str, Any], change: PersonChange, now: str) -> Mapping[str, Any]:
    patch = dict(change.patch)
    if patch.get("devices"):
        known = _registered(before)
        patch["devices"] = [
            device if device.get("registered_at") else {**device, "registered_at": known.get(_identity(device), now)}
            for device in patch["devices"]
        ]
    after = merged(before, patch)
    if _parse_person(_dump(after)) is None:
        if before and _parse_person(_dump(before)) is not None:
            # Both are sound: only their categories add up.
            raise TooManyCategories
        # What stood there was damaged; the write is sound.
        after = merged({}, patch)
    return after


def _registered(record: Mapping[str, Any]) -> dict[str, str]:
    """Return when the devices of a record were registered, as far as it says so."""
    person = _parse_person(_dump(record)) if record else None
    devices = person.devices if person else ()
    return {device.identity: device.registered_at.isoformat() for device in devices if device.registered_at}


def _identity(device: Mapping[str, Any]) -> str:
    token = device.get("token")
    return str(device["subscription"]["endpoint"] if token is None else token)

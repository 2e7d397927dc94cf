"""Addresses that are not to be used any more: bounced, complained about, or unsubscribed by their owner.

Promises:

- An address is kept only as the SHA-256 of its normalised form. Somebody who already has a list of addresses can still
  tell which of them are here.
- Each reason stands on its own: lifting a bounce does not undo an unsubscription.
- Nothing expires: whoever lifts an entry does it on purpose.

``refusal`` alone decides what an entry keeps away. A channel asks it before each send, the router to warn in a receipt,
and the replay of dead letters before it reopens one.
"""

import asyncio
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

from shared.core.clock import Clock, rfc3339
from shared.core.errors import DeliveryRefused, Reason
from shared.core.model import Channel, Priority
from shared.store.keys import Keys
from shared.store.replies import pairs
from shared.store.store import Store


class Cause(StrEnum):
    """Why an address is not used."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBED = "unsubscribed"


EPOCH = datetime.fromtimestamp(0, UTC)

_ASKED_AT_ONCE = 50

# Between a cause and the category that it is about, in the name of an entry.
_ABOUT = ":"


@dataclass(frozen=True, slots=True)
class Entry:
    """One reason against an address.

    Attributes:
        detail: a short technical text such as a status code; no personal data.
        category: what was unsubscribed from; None is every category.
    """

    cause: Cause
    at: datetime
    detail: str
    category: str | None = None


def digest(address: str) -> str:
    """Return what stands for an address: the hex SHA-256 of its form without differences of case.

    The local part, too: no known mail service tells addresses apart by case alone, and a reported address often comes
    back in another one (RFC 5321, 2.4 would allow it to matter).
    """
    return sha256(address.strip().casefold().encode()).hexdigest()


def must_arrive(priority: Priority) -> bool:
    """Tell whether a delivery goes out against the wish of the address's owner.

    Only a critical one does: an alert must reach the people on call. So does what belongs to a required category.
    """
    return priority is Priority.CRITICAL


def refusal(
    channel: Channel, entries: Iterable[Entry], priority: Priority, category: str | None, *, required: bool = False
) -> Reason | None:
    """Say why a delivery to an address is not sent; None lets it pass.

    A bounce stops everything, because nothing would arrive. A complaint stops what need not arrive. An unsubscription
    stops one category of mail, or all of them. Mail without a category has no link, so it is still sent. On SMS an
    unsubscription is the word STOP. It stops every SMS to the number, whatever the priority and the category, because
    laws demand it.

    Args:
        priority: the delivery's.
        category: what the notification says that it belongs to.
        required: nobody can switch off that category.
    """
    found = list(entries)
    if any(entry.cause is Cause.BOUNCE for entry in found):
        return Reason.BOUNCED
    if channel is Channel.SMS:
        return Reason.OPTED_OUT if found else None
    if required or must_arrive(priority):
        return None
    return Reason.OPTED_OUT if any(_is_about(entry, category) for entry in found) else None


def _is_about(entry: Entry, category: str | None) -> bool:
    return entry.cause is not Cause.UNSUBSCRIBED or (category is not None and is_unsubscription(entry, category))


def is_unsubscription(entry: Entry, category: str) -> bool:
    """Tell whether an entry says that the address's owner wants no more of a category."""
    return entry.cause is Cause.UNSUBSCRIBED and entry.category in (None, category)


class Suppressions:
    """The suppression list of one channel."""

    def __init__(self, store: Store, keys: Keys, channel: Channel, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._channel = channel
        self._clock = clock

    async def add(self, address_digest: str, cause: Cause, detail: str = "", category: str | None = None) -> bool:
        """Write down a reason; return False when it stood there already, and is left as it was.

        Args:
            category: what was unsubscribed from; None is every category.
        """
        entry = json.dumps({"at": rfc3339(self._clock.now()), "detail": detail})
        name = _name(cause, category)
        return bool(await self._store.command("HSETNX", self._key(address_digest), name, entry, lasting=True))

    async def lift(self, address_digest: str, cause: Cause | None = None, category: str | None = None) -> bool:
        """Take back a reason, or all of them; return whether there was one.

        Args:
            category: only the unsubscription from this one; None is all of them.
        """
        key = self._key(address_digest)
        if cause is None:
            return bool(await self._store.command("DEL", key, lasting=True))
        names = [_name(cause, category)]
        if cause is Cause.UNSUBSCRIBED and category is None:
            entries = await self.entries(address_digest)
            names += [_name(cause, entry.category) for entry in entries if entry.cause is cause and entry.category]
        return bool(await self._store.command("HDEL", key, *names, lasting=True))

    async def resubscribe(self, address_digest: str, category: str, others: Collection[str]) -> bool:
        """Take back the unsubscription from one category; return whether there was one.

        Args:
            others: somebody who unsubscribed from everything stays unsubscribed from these.
        """
        about = [entry for entry in await self.entries(address_digest) if is_unsubscription(entry, category)]
        if not about:
            return False
        if any(entry.category is None for entry in about):
            # First: cut off in between, it leaves too many entries and not too few.
            for other in others:
                await self.add(address_digest, Cause.UNSUBSCRIBED, category=other)
        names = [_name(entry.cause, entry.category) for entry in about]
        return bool(await self._store.command("HDEL", self._key(address_digest), *names, lasting=True))

    async def entries(self, address_digest: str) -> list[Entry]:
        """Return the reasons against an address; usually none."""
        return _read(await self._store.command("HGETALL", self._key(address_digest)))

    async def listed(self, address_digests: Collection[str]) -> dict[str, list[Entry]]:
        """Return the reasons against those of the addresses that have any, in few round trips."""
        digests: Sequence[str] = list(address_digests)
        asked = []
        for number, each in enumerate(digests):
            if number and number % _ASKED_AT_ONCE == 0:
                # A batch has hundreds of addresses; others' work on the event loop goes on in between.
                await asyncio.sleep(0)
            asked.append(self._store.submit("HGETALL", self._key(each)))
        found = await asyncio.gather(*asked)
        return {each: entries for each, answer in zip(digests, found, strict=True) if (entries := _read(answer))}

    async def check(
        self, address_digest: str, priority: Priority, category: str | None = None, *, required: bool = False
    ) -> None:
        """Let a delivery pass, or refuse it.

        Raises:
            DeliveryRefused: with the reason for the delivery's end.
        """
        entries = await self.entries(address_digest)
        reason = refusal(self._channel, entries, priority, category, required=required)
        if reason is not None:
            raise DeliveryRefused(reason)

    def _key(self, address_digest: str) -> str:
        return self._keys.suppressed(self._channel.value, address_digest)


def _name(cause: Cause, category: str | None) -> str:
    return cause.value if category is None else f"{cause.value}{_ABOUT}{category}"


def _read(answer: Mapping[bytes, bytes] | Sequence[bytes]) -> list[Entry]:
    known = {cause.value for cause in Cause}
    entries = []
    for name, text in pairs(answer):
        cause, about, category = name.decode(errors="replace").partition(_ABOUT)
        # A newer version may know more reasons, and what to do about them.
        if cause in known:
            at, detail = _noted(text)
            entries.append(Entry(Cause(cause), at, detail, category if about else None))
    return entries


def _noted(text: bytes) -> tuple[datetime, str]:
    """Read when and why an entry was made; one that is damaged still counts, because its name says what it is about."""
    try:
        fields = json.loads(text)
        return datetime.fromisoformat(fields["at"]), str(fields["detail"])
    except (ValueError, TypeError, KeyError):
        return EPOCH, "unreadable"

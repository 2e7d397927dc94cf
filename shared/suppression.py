"""Addresses that are not to be used any more: bounced, complained about, or unsubscribed by their owner.

Promises that an address is kept only as the SHA-256 of its normalised form, that each reason stands on its own (lifting
a bounce does not undo an unsubscription), and that nothing expires: whoever lifts an entry does it on purpose. It does
not promise that somebody who has a list of addresses cannot tell which of them are here.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from shared.clock import Clock, rfc3339
from shared.errors import DeliveryRefused, Reason
from shared.keys import Keys
from shared.model import Channel, Priority
from shared.store import Store


class Cause(StrEnum):
    """Why an address is not used."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBED = "unsubscribed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One reason against an address.

    Attributes:
        detail: a short technical text such as a status code; no personal data.
    """

    cause: Cause
    at: datetime
    detail: str


def digest(address: str) -> str:
    """Return what stands for an address: the hex SHA-256 of its form without differences of case.

    The local part, too: no known mail service tells addresses apart by case alone, and a reported address often comes
    back in another one (RFC 5321, 2.4 would allow it to matter).
    """
    return sha256(address.strip().casefold().encode()).hexdigest()


class Suppressions:
    """The suppression list of one channel."""

    def __init__(self, store: Store, keys: Keys, channel: Channel, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._channel = channel
        self._clock = clock

    async def add(self, address_digest: str, cause: Cause, detail: str = "") -> bool:
        """Write down a reason; return False when it stood there already, and is left as it was."""
        entry = json.dumps({"at": rfc3339(self._clock.now()), "detail": detail})
        return bool(await self._store.command("HSETNX", self._key(address_digest), cause.value, entry))

    async def lift(self, address_digest: str, cause: Cause | None = None) -> bool:
        """Take back a reason, or all of them; return whether there was one."""
        key = self._key(address_digest)
        if cause is None:
            return bool(await self._store.command("DEL", key))
        return bool(await self._store.command("HDEL", key, cause.value))

    async def entries(self, address_digest: str) -> list[Entry]:
        """Return the reasons against an address; usually none."""
        found = await self._store.command("HGETALL", self._key(address_digest))
        pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
        known = {cause.value for cause in Cause}
        entries = []
        for name, text in pairs:
            # A newer version may know more reasons, and what to do about them.
            if name.decode() in known:
                fields = json.loads(text)
                at = datetime.fromisoformat(fields["at"])
                entries.append(Entry(Cause(name.decode()), at, str(fields["detail"])))
        return entries

    async def check(self, address_digest: str, priority: Priority) -> None:
        """Let a delivery pass, or refuse it.

        What bounced is useless for everything. What its owner does not want is still used for critical deliveries: an
        alert must reach the people on call.

        Raises:
            DeliveryRefused: with the reason for the delivery's end.
        """
        causes = {entry.cause for entry in await self.entries(address_digest)}
        if Cause.BOUNCE in causes:
            raise DeliveryRefused(Reason.BOUNCED)
        if causes and priority is not Priority.CRITICAL:
            raise DeliveryRefused(Reason.OPTED_OUT)

    def _key(self, address_digest: str) -> str:
        return self._keys.suppressed(self._channel.value, address_digest)

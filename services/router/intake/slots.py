"""Router slots: which broker session a router reads, so that a session always has exactly one owner.

A router's sessions at the broker stay when the router ends. That keeps publishes while it restarts. But the broker also
goes on to hand a dead router's sessions their share of the publishes. So each router leases a numbered slot in the
store, and its client ids carry the number. When a lease has lapsed, another router takes over the slot, drains its
sessions, and has the broker forget them.
"""

import asyncio
import logging
import random

from shared.core.errors import CarillonError, StoreUnavailable
from shared.store.store import Store, load_script
from shared.store.until_stored import until_stored

log = logging.getLogger(__name__)

LEASE_MS = 4_000
RENEW_S = 1.0
# Sooner if the store did not answer: once it is back, living routers must renew before others look for orphans.
RENEW_AGAIN_S = 0.25
SLOTS = 1_000

_slot = load_script(__package__, "slot")


class SlotLost(CarillonError):
    """Another router may own our sessions by now; this process ends and starts again."""


class Slots:
    """The slots on one store.

    Args:
        base: the base key of slots.
        owner: a name of this process.
    """

    def __init__(self, store: Store, base: str, owner: str) -> None:
        self._store = store
        self._base = base
        self._owner = owner
        self._released: set[int] = set()

    async def take(self) -> int:
        """Lease the lowest free slot."""
        slot = int(await until_stored(lambda: self._call("take", SLOTS)))
        self._released.discard(slot)
        return slot

    async def take_orphan(self, own: int) -> int | None:
        """Lease a slot that has sessions at the broker and no living owner, to drain it.

        There is none for a while after the store was away for half a lease or longer: the living renew theirs first.

        Args:
            own: the caller's slot.
        """
        number = int(await self._call("orphan", own))
        self._released.discard(number)
        return number if number >= 0 else None

    async def renew(self, slot: int) -> bool:
        """Extend a lease; False when it is not ours any more."""
        return bool(await self._call("renew", slot))

    async def release(self, slot: int) -> None:
        """Give a slot back whose sessions the broker has forgotten; whoever keeps it stops then."""
        self._released.add(slot)
        await self._call("release", slot)

    async def _call(self, what: str, number: int) -> int:
        answer: int = await self._store.script(_slot, self._base, what, self._owner, LEASE_MS, number)
        return answer

    async def keep(self, slot: int) -> None:
        """Renew a lease until cancelled, or until the slot is given back.

        Raises:
            SlotLost: the store was away, or we were stopped, for longer than the lease, and another took it.
        """
        wait_s = RENEW_S
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            try:
                if not await self.renew(slot) and slot not in self._released:
                    raise SlotLost("router slot lost")
                if slot in self._released:
                    return
                wait_s = RENEW_S
            except StoreUnavailable:
                # While the store is away nobody else can take the slot either, and afterwards the living renew first.
                wait_s = RENEW_AGAIN_S

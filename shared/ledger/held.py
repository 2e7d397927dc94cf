"""What waits for a person: which rows of the router a change of that person's quiet time concerns.

Beside each user stand the rows that are held for him, by the time until which they are. It is an index and no promise:
a row that is not in it is looked at when its time comes, and one that is gone is passed over. A row whose time is over
leaves the index when the next one is noted, and all of it goes with the last one's time.

What is released becomes due one after the other. So somebody whose quiet time changes again and again takes a small
part of the router's time, however much is held for him.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from shared.core.channels import ROUTER_LANE
from shared.ledger.schedule import BROUGHT_FORWARD_STEP_MS
from shared.store.keys import Keys, shard_of_id
from shared.store.store import Store, load_script

_held = load_script(__package__, "held")
_release = load_script(__package__, "release", "ledger")

# Rows that are released in one exchange.
_PAGE = 500


class Held:
    """The rows that are held for people, on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def _key(self, name: str) -> str:
        return f"{self._keys.user(name)}:held"

    async def note(self, rows: Iterable[tuple[str, str, str, int]]) -> None:
        """Write down that rows are held: for what, in which record, under which key and until when (ms since 1970)."""
        of_users: defaultdict[str, list[str | int]] = defaultdict(list)
        for user_id, notification_id, key, due_ms in rows:
            of_users[user_id] += (due_ms, f"{notification_id}|{key}")
        await asyncio.gather(
            *(self._store.submit_script(_held, self._key(user_id), *args) for user_id, args in of_users.items())
        )

    async def of(self, name: str, most: int) -> list[tuple[str, str]]:
        """Return the first rows that are held, by their time, as record and key; some may be over."""
        members = await self._store.command("ZRANGE", self._key(name), 0, most - 1)
        found = (member.decode(errors="replace").partition("|") for member in members)
        return [(notification_id, key) for notification_id, _, key in found]

    async def release(self, user_id: str) -> int:
        """Make what is held for a user due, one row after the other, so that it is decided anew; return how many."""
        key = self._key(user_id)
        # What is noted from now on was decided by what is there now.
        left = await self._store.command("ZCARD", key)
        released = 0
        while left > 0 and (members := await self._store.command("ZRANGE", key, 0, min(left, _PAGE) - 1)):
            by_shard: defaultdict[int, list[bytes]] = defaultdict(list)
            for member in members:
                with suppress(ValueError):
                    by_shard[shard_of_id(member.partition(b"|")[0].decode(errors="replace"))].append(member)
            for shard, some in by_shard.items():
                released += await self._store.script(
                    _release, self._keys.shard(shard), ROUTER_LANE, released * BROUGHT_FORWARD_STEP_MS,
                    BROUGHT_FORWARD_STEP_MS, *some, lasting=True,
                )  # fmt: skip
            # Not before: a call that is broken off is made again.
            await self._store.command("ZREM", key, *members)
            left -= len(members)
        return released


class Muted(Held):
    """The rows of incidents that tell nobody, by what keeps them from it: ``silence:ID``, or ``incident:ID``."""

    def _key(self, name: str) -> str:
        return self._keys.muted(name)

"""What waits for a person: which rows of the router a change of that person's quiet time concerns.

Beside each user stand the rows that are held for him, by the time until which they are. It is an index and no promise:
a row that is not in it is looked at when its time comes, and one that is gone is passed over.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from shared.ledger.ledger import ROUTER_LANE
from shared.store.keys import Keys, shard_of_id
from shared.store.store import Store, load_script

_release = load_script(__package__, "release", "ledger")

# Rows that are released in one exchange.
_PAGE = 500
# Beyond its time an entry is of no use, and nothing else takes it away.
_KEPT_MS = 60_000


class Held:
    """The rows that are held, on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def _key(self, user_id: str) -> str:
        return f"{self._keys.user(user_id)}:held"

    async def note(self, rows: Iterable[tuple[str, str, str, int]]) -> None:
        """Write down that rows are held: for whom, in which record, under which key and until when (ms since 1970)."""
        commands = [
            command
            for user_id, notification_id, key, due_ms in rows
            for command in (
                ("ZADD", self._key(user_id), due_ms, f"{notification_id}|{key}"),
                ("PEXPIREAT", self._key(user_id), due_ms + _KEPT_MS, "NX"),
                ("PEXPIREAT", self._key(user_id), due_ms + _KEPT_MS, "GT"),
            )
        ]
        await asyncio.gather(*(self._store.submit(*command) for command in commands))

    async def release(self, user_id: str) -> int:
        """Make what is held for a user due now, so that it is decided anew; return how many rows."""
        key = self._key(user_id)
        released = 0
        while members := await self._store.command("ZRANGE", key, 0, _PAGE - 1):
            by_shard: defaultdict[int, list[bytes]] = defaultdict(list)
            for member in members:
                with suppress(ValueError):
                    by_shard[shard_of_id(member.partition(b"|")[0].decode(errors="replace"))].append(member)
            for shard, some in by_shard.items():
                base = self._keys.shard(shard)
                released += await self._store.script(_release, base, ROUTER_LANE, *some, lasting=True)
            # Not before: a call that is broken off is made again.
            await self._store.command("ZREM", key, *members)
        return released

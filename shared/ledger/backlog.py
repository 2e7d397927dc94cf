"""How many rows may be handed over and not yet claimed, and where others wait for their turn."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from shared.core.model import Priority
from shared.ledger.new_records import NewRow
from shared.store.keys import SHARDS, shard_of_id

# Rows of a lane and priority that are handed over and not yet claimed, over all shards; each has its part. Ten workers
# find work for the time between two sweeps. At a provider that takes some hundred in a second, nobody waits behind it
# for longer than a second or two.
WINDOW_ROWS = 512
SHARD_ROWS = WINDOW_ROWS // SHARDS
# If all shards together have less than this, those where something waits may have the rest beside their part: a fan-out
# stands on one shard alone.
SHARED_ROWS = WINDOW_ROWS // 2


class Backlog:
    """Where rows wait for room, as far as one process knows: lane and priority -> shards.

    Args:
        shard_rows: of a lane and priority, each shard may have so many handed over.
        shared_rows: and all of them together so many, where more wait on few.

    Attributes:
        is_there: set while any are known.
        has_news: set when this process has written rows since it was cleared.
    """

    def __init__(self, shard_rows: int = SHARD_ROWS, shared_rows: int = SHARED_ROWS) -> None:
        self.shard_rows = shard_rows
        self.shared_rows = shared_rows
        self._shards: defaultdict[tuple[str, Priority], set[int]] = defaultdict(set)
        self.is_there = asyncio.Event()
        self.has_news = asyncio.Event()

    def add(self, lane: str, priority: Priority, shard: int) -> None:
        """Write down that something waits."""
        self._shards[lane, priority].add(shard)
        self.is_there.set()

    def written(self, notification_id: str, rows: Sequence[NewRow], waiting: Iterable[int]) -> None:
        """Write down which of the rows that were written now wait."""
        for number in waiting:
            new = rows[number]
            new.waits = True
            self.add(new.row.lane, new.row.priority, shard_of_id(notification_id))
        self.has_news.set()

    def found(self, lane: str, shard: int, waiting: Collection[Priority]) -> None:
        """Write down what a sweep has left waiting."""
        for priority in Priority:
            if priority in waiting:
                self.add(lane, priority, shard)
            else:
                self._shards[lane, priority].discard(shard)
        if not any(self._shards.values()):
            self.is_there.clear()

    def places(self, without: Collection[str]) -> dict[tuple[str, Priority], set[int]]:
        """Return where something waits, without these lanes."""
        return {
            (lane, priority): set(shards)
            for (lane, priority), shards in self._shards.items()
            if shards and lane not in without
        }

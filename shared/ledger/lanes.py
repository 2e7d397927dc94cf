"""What is open on each lane: how much waits, how much is handed over, and since when the oldest has been due.

Promises that a look costs the same however much is open: it reads counters and the ends of queues. It takes two
exchanges with each server of the store.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from redis.exceptions import ResponseError

from shared.core.channels import LANES
from shared.core.model import Priority
from shared.ledger.audit import OVERDUE_AFTER
from shared.ledger.schedule import shards_with
from shared.store.first_come import comes_first
from shared.store.keys import SHARDS, Keys
from shared.store.replies import read_object
from shared.store.store import Store, each, load_script

_lanes = load_script(__package__, "lanes", "ledger")
_open_work = load_script(__package__, "open_work", "ledger")

# As the script has them.
_BY_URGENCY = tuple(reversed(Priority))


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What is not yet ended on one lane, over all shards."""

    count: int = 0
    oldest_age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Queue:
    """The rows of one lane and priority that are due and have not been claimed.

    Attributes:
        waiting: in the ledger, for room.
        handed_over: published to the lane's workers.
        waits_s: for how long that has been due which is the next to be handed over; None where nothing waits.
    """

    waiting: int = 0
    handed_over: int = 0
    waits_s: float | None = None

    def __add__(self, other: "Queue") -> "Queue":
        """Join what two shards have."""
        waits_s = [each.waits_s for each in (self, other) if each.waits_s is not None]
        return Queue(
            self.waiting + other.waiting, self.handed_over + other.handed_over, max(waits_s) if waits_s else None
        )


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane: a channel's, or the router's own.

    Attributes:
        open: rows that have not ended; those that are planned for later are among them.
        oldest_s: for how long the oldest of them has been due; 0 where none is.
        overdue: rows that nobody has looked at a minute after their time.
        queues: for each priority.
    """

    name: str
    open: int = 0
    oldest_s: float = 0.0
    overdue: int = 0
    queues: Mapping[Priority, Queue] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """How many rows are due and wait for room."""
        return sum(queue.waiting for queue in self.queues.values())

    @property
    def handed_over(self) -> int:
        """How many rows are published and not yet claimed."""
        return sum(queue.handed_over for queue in self.queues.values())


async def open_work_lately(store: Store, keys: Keys, within_ms: int) -> dict[str, OpenWork]:
    """Return what some caller has counted so lately, or count it."""
    kept = f"{keys.slots}:open_work"
    if not await comes_first(store, keys, "counted", within_ms):
        found = read_object(await store.command("GET", kept) or b"")
        if found:
            return {lane: OpenWork(*counts) for lane, counts in found.items()}
    work = await open_work(store, keys)
    text = json.dumps({lane: (of_lane.count, of_lane.oldest_age_s) for lane, of_lane in work.items()})
    await store.command("SET", kept, text, "PX", 10 * within_ms)
    return work


async def open_work(store: Store, keys: Keys) -> dict[str, OpenWork]:
    """Count what is open on each lane, and the age of the oldest."""
    shards = await shards_with(store, keys, *(f"{name}:{lane}" for name in ("due", "age") for lane in LANES))
    futures = [store.submit_script(_open_work, keys.shard(shard), *LANES) for shard in shards]
    total = dict.fromkeys(LANES, OpenWork())
    for answer in await each(futures):
        # Of a shard whose counters are damaged the audit tells.
        counts = [] if isinstance(answer, ResponseError) else zip(LANES, answer, strict=True)
        for lane, (count, age_ms) in counts:
            before = total[lane]
            age_s = age_ms / 1000 if count else 0.0
            total[lane] = OpenWork(before.count + count, max(before.oldest_age_s, age_s))
    return total


async def read_lanes(store: Store, keys: Keys, overdue_after: timedelta = OVERDUE_AFTER) -> list[Lane]:
    """Look at every lane."""
    after_ms = round(overdue_after.total_seconds() * 1000)
    asked = [store.submit_script(_lanes, keys.shard(shard), after_ms, *LANES) for shard in range(SHARDS)]
    work, answers = await asyncio.gather(open_work(store, keys), each(asked))
    overdue = dict.fromkeys(LANES, 0)
    queues = {lane: dict.fromkeys(_BY_URGENCY, Queue()) for lane in LANES}
    for answer in answers:
        # Of a shard whose counters are damaged the audit tells.
        counted = [] if isinstance(answer, ResponseError) else zip(LANES, answer, strict=True)
        for lane, (late, *numbers) in counted:
            overdue[lane] += late
            for priority, waiting, handed_over, waits_ms in zip(
                _BY_URGENCY, numbers[::3], numbers[1::3], numbers[2::3], strict=True
            ):
                queues[lane][priority] += Queue(waiting, handed_over, None if waits_ms < 0 else waits_ms / 1000)
    return [Lane(lane, work[lane].count, work[lane].oldest_age_s, overdue[lane], queues[lane]) for lane in LANES]

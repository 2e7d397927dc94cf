"""The schedule: it hands over what is due, what a dead worker had claimed, and what waits; and it moves what waits.

Each call looks at every shard that has something, so that many callers share the work.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from redis.exceptions import ResponseError

from shared.core.channels import LANES
from shared.core.errors import PROVIDER_AWAY, Reason
from shared.core.model import Priority, State
from shared.ledger.backlog import Backlog
from shared.ledger.new_records import GRACE_MS
from shared.ledger.rows import ATTEMPTS_KEPT, is_readable, state_of
from shared.store.keys import SHARDS, Keys
from shared.store.replies import decoded, pairs
from shared.store.store import Store, each, load_script

# Texts taken from one lane and shard in one round. All of them together fit a router's memory several times.
SWEPT_BYTES = 256 * 1024

PROBES_PER_SHARD = 1

# Rows looked at in one exchange. The store does not serve others in between, and the digests of one minute may be many.
SWEPT_AT_ONCE = 100

# Retries are written by other processes, and may be due in a moment. What is in somebody's hands stands in the schedule
# with the end of its lease, so where nothing is planned for the next minute, no retry comes.
CALM_MS = 60_000

# Rows looked at in one call, so that a long backlog does not hold the store's single thread.
BROUGHT_FORWARD_AT_ONCE = 100
# How far apart what is brought forward becomes due on one shard: over all of them some hundred in a second, so that
# a backlog does not take everything at once that others need.
BROUGHT_FORWARD_STEP_MS = 20
# A row that waits longer than this waits for another reason (``shared.delivery.retry``, ``.provider_health``).
_LONGEST_WAIT_MS = 310_000
# What waits for the end of a pause by hand may wait longer: it is brought forward then.
LONGEST_PAUSED_WAIT_S = 3600
_AWAY_OR_REFUSED_US = (
    *sorted(PROVIDER_AWAY), Reason.AUTH, Reason.QUOTA,
    # What waits with these was refused, and nobody knows whose fault it is.
    Reason.REJECTED, Reason.GONE, Reason.TOO_LARGE,
)  # fmt: skip

_due_lanes = load_script(__package__, "due_lanes", "ledger")
_sweep = load_script(__package__, "sweep", "ledger")
_quarantine = load_script(__package__, "quarantine", "ledger")
_bring_forward = load_script(__package__, "bring_forward", "ledger")


@dataclass(frozen=True, slots=True)
class DueRow:
    """A row to be published again; content and spec are the JSON texts as they were written.

    Attributes:
        wait_s: how long after the answer its time comes; a claim before would be refused as ``early``.
        is_lost: it was handed over before, and nobody claimed it in time.
    """

    notification_id: str
    key: str
    lane: str
    priority: Priority
    content: str
    spec: str
    wait_s: float = 0.0
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class EndedRow:
    """A row that a sweep ended: nobody wants it any more, its deadline has passed, or it cannot be read.

    Attributes:
        content: the notification's JSON text, perhaps damaged.
        spec: the row's JSON text, perhaps damaged.
    """

    notification_id: str
    key: str
    lane: str
    state: State
    reason: Reason
    content: bytes
    spec: bytes


@dataclass(slots=True)
class Swept:
    """What a sweep found.

    Attributes:
        failed: lanes and shards' base keys whose schedule could not be read.
        is_calm: nothing was found, and nothing comes within ``CALM_MS``.
    """

    due: list[DueRow] = field(default_factory=list)
    ended: list[EndedRow] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    is_calm: bool = False


@dataclass(slots=True)
class Schedule:
    """The schedule of one store.

    Args:
        record_retention_s: how long an ended notification can be traced.
        backlog: what waits, as far as this process knows.
    """

    store: Store
    keys: Keys
    record_retention_s: int
    backlog: Backlog

    async def sweep(self, most_per_shard: int, ahead: timedelta = timedelta(0), probed: Collection[str] = ()) -> Swept:
        """Hand over what is due and what waits on every lane and shard, so that many callers share the work.

        What nobody wants any more, what has passed its deadline and what cannot be read ends in the same step.

        Args:
            ahead: hand over also what will be due until then. The caller publishes each row when its time has come.
            probed: lanes whose jobs nobody takes at the moment. Of these ``PROBES_PER_SHARD`` rows are taken, to find
                out whether that is still so, and they do not wait longer from time to time as others do.
        """
        ahead_ms = round(ahead.total_seconds() * 1000)
        # Mostly there is nothing, and a sweeper looks all the time: so this is one command for each shard.
        shards = await shards_with(self.store, self.keys, *(f"due:{lane}" for lane in LANES))
        bases = [self.keys.shard(shard) for shard in shards]
        found = await asyncio.gather(*(self.store.submit_script(_due_lanes, base, ahead_ms, *LANES) for base in bases))
        calls = {
            (lane.decode(), shard): min(most_per_shard, count)
            for shard, (_, *lanes) in zip(shards, found, strict=True)
            for lane, count in pairs(lanes)
        }
        swept = await self._sweep(calls, most_per_shard, ahead_ms, probed, {})
        swept.is_calm = not calls and all(not 0 <= soonest_ms < CALM_MS for soonest_ms, *_ in found)
        return swept

    async def refill(self, most_per_shard: int, without: Collection[str] = ()) -> Swept:
        """Hand over what waits, where this process knows of it, as far as there is room.

        Args:
            without: lanes whose jobs nobody takes at the moment.
        """
        windows, free = await self._windows(self.backlog.places(without))
        return await self._sweep(free, most_per_shard, 0, (), windows)

    async def handed_over(self, lane: str, priority: Priority) -> int:
        """Return how many rows of this priority are handed over on a lane and not yet claimed."""
        names = [f"{self.keys.shard(shard)}:out:{lane}:{priority}" for shard in range(SHARDS)]
        return sum(await asyncio.gather(*(self.store.submit("ZCARD", name) for name in names)))

    async def _windows(
        self, places: Mapping[tuple[str, Priority], Collection[int]]
    ) -> tuple[dict[tuple[str, int], dict[Priority, int]], Counter[tuple[str, int]]]:
        """Return how many rows of each priority a lane and shard where something waits may have handed over.

        Each shard has its part. What all of them leave free is divided among those where something waits. The other
        answer is how many more that is than now, of all priorities.
        """
        asked = [
            self.store.submit("ZCARD", f"{self.keys.shard(shard)}:out:{lane}:{priority}")
            for lane, priority in places
            for shard in range(SHARDS)
        ]
        sizes = await asyncio.gather(*asked)
        windows: defaultdict[tuple[str, int], dict[Priority, int]] = defaultdict(dict)
        more: Counter[tuple[str, int]] = Counter()
        for index, ((lane, priority), shards) in enumerate(places.items()):
            handed_over = sizes[index * SHARDS : (index + 1) * SHARDS]
            free = max(0, self.backlog.shared_rows - sum(handed_over)) // len(shards)
            for shard in shards:
                window = max(self.backlog.shard_rows, handed_over[shard] + free)
                windows[lane, shard][priority] = window
                more[lane, shard] += max(0, window - handed_over[shard])
        return windows, more

    async def _sweep(
        self,
        calls: Mapping[tuple[str, int], int],
        most_per_shard: int,
        ahead_ms: int,
        probed: Collection[str],
        windows: Mapping[tuple[str, int], Mapping[Priority, int]],
    ) -> Swept:
        """Sweep these lanes and shards; ``calls`` says about how many rows each is going to look at."""
        answers: list[Any] = []
        for some in _portions(calls):
            answers += await each(self._ask(some, most_per_shard, ahead_ms, probed, windows))
        swept = Swept()
        garbled: defaultdict[tuple[str, str], list[EndedRow]] = defaultdict(list)
        for (lane, shard), answer in zip(calls, answers, strict=True):
            base = self.keys.shard(shard)
            if isinstance(answer, ResponseError):
                swept.failed.append((lane, base))
                self.backlog.found(lane, shard, ())
                continue
            rows, ends, waiting = answer
            self.backlog.found(lane, shard, [Priority(priority.decode()) for priority in waiting])
            content = b""
            for notification_id, key, priority, own_content, spec, wait_ms, is_lost in rows:
                # Rows of one notification mostly come together, and their texts once.
                content = own_content or content
                named = decoded(notification_id), decoded(key)
                if is_readable(*named, lane, content, spec):
                    urgency, texts = Priority(priority.decode()), (content.decode(), spec.decode())
                    swept.due.append(DueRow(*named, lane, urgency, *texts, wait_ms / 1000, bool(is_lost)))
                else:
                    unread = EndedRow(*named, lane, State.DEAD_LETTERED, Reason.UNREADABLE, content, spec)
                    garbled[lane, base].append(unread)
            for notification_id, key, letter, reason, content, spec in ends:
                named = decoded(notification_id), decoded(key)
                swept.ended.append(EndedRow(*named, lane, state_of(letter), Reason(reason.decode()), content, spec))
        for (lane, base), unreads in garbled.items():
            named_rows = [(row.notification_id, row.key) for row in unreads]
            put_away = await self._quarantine(lane, base, named_rows)
            swept.ended.extend(row for row, is_put_away in zip(unreads, put_away, strict=True) if is_put_away)
        return swept

    def _ask(
        self,
        calls: Sequence[tuple[str, int]],
        most_per_shard: int,
        ahead_ms: int,
        probed: Collection[str],
        windows: Mapping[tuple[str, int], Mapping[Priority, int]],
    ) -> "list[asyncio.Future[Any]]":
        graces = [GRACE_MS[priority] for priority in Priority]
        return [
            self.store.submit_script(
                _sweep,
                self.keys.shard(shard),
                lane,
                PROBES_PER_SHARD if lane in probed else most_per_shard,
                ahead_ms,
                int(lane in probed),
                self.record_retention_s,
                *graces,
                SWEPT_BYTES,
                *(windows.get((lane, shard), {}).get(priority, self.backlog.shard_rows) for priority in Priority),
                ATTEMPTS_KEPT,
            )
            for lane, shard in calls
        ]

    async def quarantine(self, lane: str, rows: Sequence[tuple[str, str]]) -> int:
        """Make dead letters of one notification's rows that cannot be read; return how many."""
        return sum(await self._quarantine(lane, self.keys.shard_of(rows[0][0]), rows))

    async def _quarantine(self, lane: str, base: str, rows: Sequence[tuple[str, str]]) -> list[int]:
        arguments = [part.encode(errors="surrogateescape") for row in rows for part in row]
        answer: list[int] = await self.store.script(_quarantine, base, lane, self.record_retention_s, *arguments)
        return answer

    async def bring_forward(self, lane: str) -> int:
        """Make due what waits because its provider was away or refused us, spread over a while; return how many."""
        bases = map(self.keys.shard, range(SHARDS))
        asked = (self._bring_forward(lane, base, _LONGEST_WAIT_MS, _AWAY_OR_REFUSED_US) for base in bases)
        return sum(await asyncio.gather(*asked))

    async def bring_forward_paused(self, lane: str) -> int:
        """Make due what waits because its providers were paused by hand, the critical ones first; return how many.

        One shard after the other: there may be very much of it, and others use the store meanwhile.
        """
        # Of those that were to look at the end of the pause, some look a little after it.
        within_ms = (LONGEST_PAUSED_WAIT_S + 60) * 1000
        moved = dict.fromkeys(map(self.keys.shard, range(SHARDS)), 0)
        for priority in (Priority.CRITICAL, None):
            for base, before in moved.items():
                moved[base] = await self._bring_forward(
                    lane, base, within_ms, (Reason.PAUSED,), priority=priority, moved=before
                )
        return sum(moved.values())

    async def _bring_forward(
        self,
        lane: str,
        base: str,
        within_ms: int,
        reasons: Sequence[Reason],
        *,
        priority: Priority | None = None,
        moved: int = 0,
    ) -> int:
        from_ms: bytes = b""
        seen: int = 0
        while True:
            from_ms, seen, moved = await self.store.script(
                _bring_forward, base, lane, from_ms, seen, within_ms, BROUGHT_FORWARD_AT_ONCE, moved,
                BROUGHT_FORWARD_STEP_MS, priority or "", *reasons,
            )  # fmt: skip
            if not from_ms:
                return moved


async def shards_with(store: Store, keys: Keys, *names: str) -> list[int]:
    """Return the shards on which one of these keys exists."""
    bases = [keys.shard(shard) for shard in range(SHARDS)]
    asked = [store.submit("EXISTS", *(f"{base}:{name}" for name in names)) for base in bases]
    return [shard for shard, count in enumerate(await asyncio.gather(*asked)) if count]


def _portions(calls: Mapping[tuple[str, int], int]) -> Iterator[Sequence[tuple[str, int]]]:
    """Divide calls so that those of one exchange look at ``SWEPT_AT_ONCE`` rows together, or are one call."""
    some: list[tuple[str, int]] = []
    rows = 0
    for call, count in calls.items():
        if some and rows + count > SWEPT_AT_ONCE:
            yield some
            some, rows = [], 0
        some.append(call)
        rows += count
    if some:
        yield some

"""The audit: is everything that was accepted accounted for, and is anything overdue?

The law, for each minute, channel and the router's own lane:

    accepted = delivered + suppressed + expired + dead_lettered + open

A minute is the one in which a row first became due. Each shard is read by one script per few minutes, so the law must
hold at any moment, also for a minute that is still moving. The counters are not believed alone: the number of open rows
must be that of the schedule's entries, open rows are looked at for their deadlines and leases, and
``shared.audit_records`` counts the rows of the records themselves.

Promises to write nothing and to hold the store for a few milliseconds at a time only. Does not promise to find a row
that was never written, and looks at the counters of the last ``LONGEST_SPAN`` only.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.clock import from_epoch_ms
from shared.keys import SHARDS, Keys
from shared.ledger import LANES
from shared.store import Store, load_script

# A day less than the ledger keeps its counters (TALLY_RETENTION_S).
LONGEST_SPAN = timedelta(days=7)

# How long after its time something may still be waiting: the sweepers come by every second, a restart takes some.
OVERDUE_AFTER = timedelta(seconds=60)

# Minutes per script, shards asked at the same time, and open rows looked at per script: together some milliseconds.
_MINUTES = 15
_SHARDS_AT_ONCE = 4
_OPEN_ROWS = 200

_counters = load_script("audit", "ledger")
_schedule = load_script("audit_schedule", "ledger")
_open = load_script("audit_open", "ledger")

Progress = Callable[[int, int], None]


class Kind(StrEnum):
    """What is wrong; the last three are overdue work, the others are broken accounts."""

    TALLY = "tally"
    """The counters of a minute contradict each other."""
    SCHEDULE = "schedule"
    """Open rows and entries of the schedule are not the same: nobody will look at some row."""
    ROWS = "rows"
    """The counters of a minute say something else than the rows in the records."""
    MISSING = "missing"
    """A notification's record is not there although its time is not over."""
    OPEN_COUNT = "open_count"
    """A record miscounts its open rows, so it would expire too early or never."""
    EXPIRING = "expiring"
    """A record will be forgotten although something in it is open."""
    UNSWEPT = "unswept"
    """Rows were due long ago and no router has taken them up."""
    LEASE_LAPSED = "lease_lapsed"
    """A worker died with rows in its hands long ago, and nobody has claimed them since."""
    PAST_EXPIRY = "past_expiry"
    """Rows are open long after their deadline: nobody claims them."""

    @property
    def is_overdue(self) -> bool:
        """Tell whether this is work that waits too long, and not a broken account."""
        return self in (Kind.UNSWEPT, Kind.LEASE_LAPSED, Kind.PAST_EXPIRY)


@dataclass(frozen=True, slots=True)
class Accounts:
    """How many rows were accepted on a lane, and where they are now."""

    accepted: int = 0
    delivered: int = 0
    suppressed: int = 0
    expired: int = 0
    dead_lettered: int = 0
    open: int = 0

    def __add__(self, other: "Accounts") -> "Accounts":
        """Add two accounts, field by field."""
        return Accounts(*(getattr(self, name) + getattr(other, name) for name in ACCOUNT_NAMES))

    def document(self) -> dict[str, int]:
        """Return the numbers by name."""
        return {name: getattr(self, name) for name in ACCOUNT_NAMES}

    @property
    def difference(self) -> int:
        """What was accepted and stands nowhere; below 0 what stands somewhere and was never accepted."""
        return self.accepted - self.delivered - self.suppressed - self.expired - self.dead_lettered - self.open


ACCOUNT_NAMES = tuple(each.name for each in fields(Accounts))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        lane: a channel, or the router.
        count: how many rows (for ``missing``: notifications) are concerned.
        minute: when these rows first became due; of overdue work, when the oldest should have been dealt with; None
            where that cannot be told.
        numbers: what was compared, by name.
        notification_ids: of whom, as far as it is known. For an operator's eyes, never for a log or a metric.
    """

    kind: Kind
    lane: str
    count: int
    minute: datetime | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    notification_ids: frozenset[str] = frozenset()

    def __add__(self, other: "Finding") -> "Finding":
        """Join what two shards know of the same thing."""
        numbers = {
            name: self.numbers.get(name, 0) + other.numbers.get(name, 0) for name in self.numbers | other.numbers
        }
        minutes = [minute for minute in (self.minute, other.minute) if minute is not None]
        return Finding(
            self.kind,
            self.lane,
            self.count + other.count,
            min(minutes, default=None),
            numbers,
            self.notification_ids | other.notification_ids,
        )


def joined(findings: Iterable[Finding]) -> list[Finding]:
    """Join the findings of all shards: one for each kind, lane and minute, and of overdue work one for each lane."""
    found: dict[tuple[Kind, str, datetime | None], Finding] = {}
    for each in findings:
        key = (each.kind, each.lane, None if each.kind.is_overdue else each.minute)
        found[key] = found[key] + each if key in found else each
    order = list(Kind)
    return [found[key] for key in sorted(found, key=lambda key: (order.index(key[0]), str(key[2] or ""), key[1]))]


@dataclass(frozen=True, slots=True)
class Moment:
    """The store's clock when an audit began."""

    now_ms: int

    @property
    def minute(self) -> int:
        """The current minute since 1970."""
        return self.now_ms // 60_000

    def minutes_of(self, span: timedelta) -> range:
        """Return the minutes that lie in a span before now, the current one included."""
        return range((self.now_ms - round(span.total_seconds() * 1000)) // 60_000, self.minute + 1)


class Audit:
    """Audits the ledger on one store.

    Args:
        overdue_after: how long after its time something is overdue.
    """

    def __init__(self, store: Store, keys: Keys, overdue_after: timedelta = OVERDUE_AFTER) -> None:
        self._store = store
        self._bases = [keys.shard(shard) for shard in range(SHARDS)]
        self._overdue_ms = round(overdue_after.total_seconds() * 1000)

    async def moment(self) -> Moment:
        """Ask the store for the time."""
        seconds, microseconds = await self._store.command("TIME")
        return Moment(int(seconds) * 1000 + int(microseconds) // 1000)

    async def counters(self, minutes: range, progress: Progress | None = None) -> tuple[list[Accounts], list[Finding]]:
        """Add up the accounts of these minutes on each of ``LANES``, and find the minutes that do not balance."""
        totals = [Accounts() for _ in LANES]
        findings: list[Finding] = []
        for chunk in _chunks(minutes):
            answers = await asyncio.gather(
                *(
                    self._store.submit_script(_counters, base, chunk.start, chunk.stop - 1, *LANES)
                    for chunk, base in chunk.of(self._bases)
                )
            )
            for sums, unbalanced in answers:
                totals = [total + Accounts(*more) for total, more in zip(totals, sums, strict=True)]
                findings += [_of_minute(*each) for each in unbalanced]
            if progress is not None:
                progress(chunk.done, chunk.total)
        return totals, findings

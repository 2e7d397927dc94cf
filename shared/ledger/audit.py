"""The audit: is everything that was accepted accounted for, and is anything overdue?

``shared.ledger.audit_report`` has the equation that must hold. One script reads a few minutes of one shard, so the
equation must hold at any moment, also for a minute that still changes. The audit does not rely on the counters alone:

- the number of open rows must match the entries of the schedule;
- open rows are checked for lapsed deadlines and leases;
- ``shared.ledger.audit_records`` counts the rows in the records themselves;
- ``shared.ledger.audit_digests`` compares what waits in digests with the open ones.

Promises to write nothing, and to hold the store for only some milliseconds at a time. It does not find what was never
written at all, and it knows only the counters of the last ``LONGEST_SPAN``.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from enum import Enum, auto
from operator import add
from typing import Any

from shared.core.channels import LANES, Channel
from shared.core.clock import from_epoch_ms
from shared.ledger.audit_digests import AuditDigests
from shared.ledger.audit_records import AuditRecords
from shared.ledger.audit_report import Accounts, Finding, ItemAccounts, Kind, Report, joined
from shared.store.keys import SHARDS, Keys
from shared.store.replies import pairs
from shared.store.store import Script, Store, load_script

# The ledger keeps its counters a day longer (TALLY_RETENTION_S).
LONGEST_SPAN = timedelta(days=7)

# How long after its time something may wait: sweepers come by every second, a restart takes some more.
OVERDUE_AFTER = timedelta(seconds=60)

# Minutes and open rows that one script reads, seconds in one page of a lane's, and scripts sent together: some
# milliseconds of the store's time.
_MINUTES = 15
_OPEN_ROWS = 200
_SECONDS = 500
_AT_ONCE = 4

# How many minutes of some shard a sample holds, and how many records of each at most.
_SAMPLE_UNITS = 16
_SAMPLE_RECORDS = 500

_counters = load_script(__package__, "audit", "ledger")
_schedule = load_script(__package__, "audit_schedule", "ledger")
_open = load_script(__package__, "audit_open", "ledger")

# The minute of one shard.
Unit = tuple[str, int]

Progress = Callable[[str, int, int], None]


class Depth(Enum):
    """How far an audit goes beyond the counters and the schedule."""

    COUNTERS = auto()
    """Open rows only, those that are due first."""
    SAMPLE = auto()
    """Beside that, the records of some minutes in some shards."""
    RECORDS = auto()
    """Every open row, and every record that is not too old."""


class Audit:
    """Audits the ledger on one store.

    Args:
        record_retention_s: what the services have: a record that has ended may be gone after that.
        overdue_after: how long after its time something is overdue.
    """

    def __init__(
        self, store: Store, keys: Keys, record_retention_s: int, overdue_after: timedelta = OVERDUE_AFTER
    ) -> None:
        self._store = store
        self._bases = [keys.shard(shard) for shard in range(SHARDS)]
        self._records = AuditRecords(store, record_retention_s)
        self._digests = AuditDigests(store)
        self._overdue_ms = round(overdue_after.total_seconds() * 1000)

    async def run(self, span: timedelta, depth: Depth, progress: Progress = lambda _what, _done, _of: None) -> Report:
        """Audit what became due in this span before now, and everything that is open.

        Args:
            span: at most ``LONGEST_SPAN``.
            progress: is told what is being read, how much of it is done, and how much there is.
        """
        now_ms = await self._now_ms()
        minutes = _minutes(span, now_ms)
        accounts, busy, findings = await self._check_counters(minutes, progress)
        # One moment for both: what is counted is what gets a name.
        overdue_at_ms = now_ms - self._overdue_ms
        open_rows, astray, more = await self._check_schedule(overdue_at_ms, progress)
        findings += more
        seen, more = await self._check_open(overdue_at_ms, progress, everything=depth is Depth.RECORDS)
        findings += more
        if depth is Depth.RECORDS:
            # So that the rows which the schedule has lost get a name, whenever they were or will be due.
            busy |= await self._open_minutes(astray)
        earliest = self._records.earliest(now_ms)
        units = sorted((base, minute) for base, minute in busy if minute >= earliest)
        records_seen, more = await self._check_records(units, depth, progress)
        findings += more
        items, more = await self._check_digests(progress, everything=depth is Depth.RECORDS)
        findings += more
        return Report(
            since=from_epoch_ms(minutes.start * 60_000),
            until=from_epoch_ms(now_ms),
            accounts=accounts,
            findings=joined(findings),
            open_rows=open_rows,
            open_rows_seen=seen,
            records_seen=records_seen,
            items=items,
        )

    async def accounts(self, span: timedelta) -> dict[str, Accounts]:
        """Add up the accounts of what became due in this span before now, and look at nothing else."""
        accounts, _, _ = await self._check_counters(
            _minutes(span, await self._now_ms()), lambda _what, _done, _of: None
        )
        return accounts

    async def each_minute(self, minutes: Sequence[int]) -> list[dict[str, Accounts]]:
        """Return the accounts of what became due in each of these minutes, minutes since 1970; and look at no row."""
        calls: list[tuple[str | int, ...]] = [(minute, minute, *LANES) for minute in minutes]
        answers = await self._ask(_counters, calls, lambda _done, _of: None)
        found = [dict.fromkeys(LANES, Accounts()) for _ in minutes]
        for number, (_, (sums, _unbalanced, _busy)) in enumerate(answers):
            of_minute = found[number // len(self._bases)]
            for lane, numbers in zip(LANES, sums, strict=True):
                of_minute[lane] += Accounts(*numbers)
        return found

    async def _now_ms(self) -> int:
        seconds, microseconds = await self._store.command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def _ask(
        self, script: Script, calls: Iterable[Sequence[str | int]], tell: Callable[[int, int], None]
    ) -> list[tuple[str, Any]]:
        """Run a script with each of these arguments on every shard, few at a time, and say which shard answered."""
        every = [(base, args) for args in calls for base in self._bases]
        answers: list[Any] = []
        for start in range(0, len(every), _AT_ONCE):
            some = every[start : start + _AT_ONCE]
            answers += await asyncio.gather(*(self._store.submit_script(script, base, *args) for base, args in some))
            tell(len(answers), len(every))
        return [(base, answer) for (base, _), answer in zip(every, answers, strict=True)]

    async def _check_counters(
        self, minutes: range, progress: Progress
    ) -> tuple[dict[str, Accounts], set[Unit], list[Finding]]:
        """Add up the accounts of each lane, and find the minutes that are not empty and those that do not balance."""
        calls: list[tuple[str | int, ...]] = [
            (first, min(first + _MINUTES, minutes.stop) - 1, *LANES)
            for first in range(minutes.start, minutes.stop, _MINUTES)
        ]
        # Of a week these are some thousand sums, and the router has other things to do.
        totals = {lane: list(Accounts().numbers) for lane in LANES}
        busy: set[Unit] = set()
        findings = []
        answers = await self._ask(_counters, calls, lambda done, of: progress("counters", done, of))
        for base, (sums, unbalanced, busy_minutes) in answers:
            busy.update((base, minute) for minute in busy_minutes)
            for lane, numbers in zip(LANES, sums, strict=True):
                totals[lane] = list(map(add, totals[lane], numbers))
            for minute, lane, *numbers in unbalanced:
                found = Accounts(*numbers)
                at = from_epoch_ms(minute * 60_000)
                findings.append(Finding(Kind.TALLY, lane.decode(), abs(found.difference), at, found.named))
        return {lane: Accounts(*numbers) for lane, numbers in totals.items()}, busy, findings

    async def _check_schedule(
        self, overdue_at_ms: int, progress: Progress
    ) -> tuple[int, list[tuple[str, str]], list[Finding]]:
        """Count the open rows, and find schedules (shard and lane) that differ from them, and what nobody sweeps."""
        calls: list[tuple[str | int, ...]] = [(overdue_at_ms, *LANES)]
        open_rows, astray, findings = 0, [], []
        for base, answer in await self._ask(_schedule, calls, lambda done, of: progress("schedules", done, of)):
            for lane, (count, entries, overdue, earliest_ms) in zip(LANES, answer, strict=True):
                open_rows += count
                if count != entries:
                    astray.append((base, lane))
                    numbers = {"open": count, "scheduled": entries}
                    findings.append(Finding(Kind.SCHEDULE, lane, abs(count - entries), numbers=numbers))
                if overdue:
                    findings.append(Finding(Kind.UNSWEPT, lane, overdue, from_epoch_ms(earliest_ms)))
        return open_rows, astray, findings

    async def _open_minutes(self, schedules: list[tuple[str, str]]) -> set[Unit]:
        """Return the minutes in which open rows of these shards and lanes became due, or will."""
        found: set[Unit] = set()
        for base, lane in schedules:
            cursor = 0
            while True:
                page = await self._store.command("HSCAN", f"{base}:age:{lane}", cursor, "COUNT", _SECONDS)
                cursor = int(page[0])
                found.update((base, int(second) // 60) for second, _ in pairs(page[1]))
                if cursor == 0:
                    break
        return found

    async def _check_open(
        self, overdue_at_ms: int, progress: Progress, *, everything: bool
    ) -> tuple[int, list[Finding]]:
        """Look at open rows one by one; where not at everything, at those of each lane and shard that are due first."""
        seen = 0
        findings: list[Finding] = []
        first = b"0" if everything else b""
        left = [(base, lane, first) for lane in LANES for base in self._bases]
        schedules = len(left)
        while left:
            some, left = left[-_AT_ONCE:], left[:-_AT_ONCE]
            arguments = [(base, lane, overdue_at_ms, _OPEN_ROWS, cursor) for base, lane, cursor in some]
            answers = await asyncio.gather(*(self._store.submit_script(_open, *each) for each in arguments))
            for (base, lane, _), (cursor, count, *problems) in zip(some, answers, strict=True):
                seen += count
                findings += joined(_of_open_row(lane, *problem) for problem in problems)
                if cursor != b"0":
                    left.append((base, lane, cursor))
            progress("schedules", schedules - len(left), schedules)
        return seen, findings

    async def _check_digests(
        self, progress: Progress, *, everything: bool
    ) -> tuple[dict[str, ItemAccounts], list[Finding]]:
        """Add up the accounts of each channel's digests, and compare them with the open ones."""
        totals = {channel.value: ItemAccounts() for channel in Channel}
        findings: list[Finding] = []
        for start in range(0, len(self._bases), _AT_ONCE):
            some = self._bases[start : start + _AT_ONCE]
            for accounts, more in await asyncio.gather(
                *(self._digests.check(base, everything=everything) for base in some)
            ):
                totals = {channel: total + accounts[channel] for channel, total in totals.items()}
                findings += joined(more)
            progress("digests", start + len(some), len(self._bases))
        return totals, findings

    async def _check_records(self, units: list[Unit], depth: Depth, progress: Progress) -> tuple[int, list[Finding]]:
        """Count the rows in the records of these shards and minutes, or of some of them."""
        if depth is Depth.COUNTERS:
            return 0, []
        most = None
        if depth is Depth.SAMPLE:
            most = _SAMPLE_RECORDS
            units = random.sample(units, min(_SAMPLE_UNITS, len(units)))
        seen = 0
        findings: list[Finding] = []
        for start in range(0, len(units), _AT_ONCE):
            some = units[start : start + _AT_ONCE]
            for count, more in await asyncio.gather(*(self._records.check(*unit, most) for unit in some)):
                seen += count
                findings += joined(more)
            progress("records", start + len(some), len(units))
        return seen, findings


def _minutes(span: timedelta, now_ms: int) -> range:
    return range((now_ms - round(span.total_seconds() * 1000)) // 60_000, now_ms // 60_000 + 1)


def _of_open_row(lane: str, kind: bytes, notification_id: bytes, since_ms: int) -> Finding:
    word = kind.decode()
    ids = frozenset((notification_id.decode(),))
    if word == "stray":
        return Finding(Kind.SCHEDULE, lane, 1, notification_ids=ids)
    # What nobody sweeps has been counted already; this is its name.
    return Finding(Kind(word), lane, 0 if word == Kind.UNSWEPT else 1, from_epoch_ms(since_ms), notification_ids=ids)

"""The part of the audit that does not rely on counters: it counts the rows in the records, one notification at a time.

An index beside the counters names the notifications of each minute, so that a missing record has a name. A record is
read in pages while the system goes on. So the counters are read before and after it, and the counted rows must lie in
between. Rows never move to another minute, and no rows are added to a minute that is over.
"""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from shared.core.channels import LANES, ROUTER_LANE
from shared.core.clock import from_epoch_ms
from shared.ledger.audit_report import ACCOUNT_WORDS, Accounts, Finding, Kind
from shared.ledger.rows import CountedRow
from shared.store.store import Store, load_script

# The ledger keeps the index longer (BORN_RETENTION_S); to count all of that takes too long.
LONGEST_SPAN = timedelta(hours=24)

# A record that ended early in its minute expires before one that ended late in it; and clocks are read one by one.
_RETENTION_MARGIN_S = 120

# Records in one script, fields of a record in one page, and ids in one page of the index.
_RECORDS = 50
_FIELDS = 500
_IDS = 500

# A replay between the two readings of the counters may undo an end; that does not happen every time.
_TRIES = 3

_counters = load_script(__package__, "audit", "ledger")
_records = load_script(__package__, "audit_records", "ledger")


class AuditRecords:
    """Counts the rows in the records of one store.

    Args:
        record_retention_s: a record that has ended may be gone after that, so minutes of then are not looked at.
    """

    def __init__(self, store: Store, record_retention_s: int) -> None:
        self._store = store
        self._kept_s = min(record_retention_s, round(LONGEST_SPAN.total_seconds())) - _RETENTION_MARGIN_S

    def earliest(self, now_ms: int) -> int:
        """Return the earliest minute whose records must all be there."""
        return (now_ms // 1000 - self._kept_s) // 60 + 1

    async def check(self, base: str, minute: int, most: int | None) -> tuple[int, list[Finding]]:
        """Compare the records of one shard and minute with its counters.

        Args:
            base: the shard's base key.
            minute: not before ``earliest``.
            most: where there are more records, look at so many of them, and only at each for itself.

        Returns:
            How many records were read, and what is wrong.
        """
        for left in reversed(range(_TRIES)):
            before, size = await asyncio.gather(
                self._tally(base, minute), self._store.submit("SCARD", f"{base}:born:{minute}")
            )
            sampled = most is not None and size > most
            ids = await (self._some_ids(base, minute, most) if sampled and most else self._ids(base, minute))
            counted, findings = await self._read(base, minute, ids)
            if sampled:
                break
            wrong = _compare(minute, before, counted, await self._tally(base, minute))
            if not wrong:
                break
            if not left:
                findings += wrong
        return len(ids), findings

    async def _tally(self, base: str, minute: int) -> list[Accounts]:
        sums, *_ = await self._store.submit_script(_counters, base, minute, minute, *LANES)
        return [Accounts(*numbers) for numbers in sums]

    async def _some_ids(self, base: str, minute: int, most: int) -> set[str]:
        return {each.decode() for each in await self._store.command("SRANDMEMBER", f"{base}:born:{minute}", most)}

    async def _ids(self, base: str, minute: int) -> set[str]:
        ids: set[str] = set()
        cursor = 0
        while True:
            answer = await self._store.command("SSCAN", f"{base}:born:{minute}", cursor, "COUNT", _IDS)
            cursor = int(answer[0])
            ids.update(each.decode() for each in answer[1])
            if cursor == 0:
                return ids

    async def _read(self, base: str, minute: int, ids: set[str]) -> tuple[list[Accounts], list[Finding]]:
        """Read the rows of these notifications: how they stand on each lane, and what is wrong with single ones."""
        at = from_epoch_ms(minute * 60_000)
        counts: Counter[tuple[str, str]] = Counter()
        findings: list[Finding] = []
        # A page may show a row again that was shown before; only records of several pages are remembered for that.
        shown: dict[str, set[bytes]] = {}
        waiting: list[tuple[str, bytes]] = [(each, b"0") for each in ids]
        while waiting:
            some, waiting = waiting[-_RECORDS:], waiting[:-_RECORDS]
            arguments = [part for pair in some for part in pair]
            answers: list[Any] = await self._store.script(_records, base, minute, _FIELDS, *arguments)
            for (notification_id, _), (cursor, rows, unscheduled, faults) in zip(some, answers, strict=True):
                whose = frozenset((notification_id,))
                if cursor != b"0":
                    waiting.append((notification_id, cursor))
                    shown.setdefault(notification_id, set())
                fresh = read = [CountedRow.read(row) for row in rows]
                if notification_id in shown:
                    known = shown[notification_id]
                    fresh = [row for row in read if row.key not in known]
                    known.update(row.key for row in read)
                counts.update((row.lane, row.state) for row in fresh)
                # To a record as a whole the router's lane is given: its rows, which would tell another, may be gone.
                findings += [Finding(Kind(fault.decode()), ROUTER_LANE, 1, at, {}, whose) for fault in faults]
                findings += [Finding(Kind.SCHEDULE, lane.decode(), 1, at, {}, whose) for lane in unscheduled]
        return [_accounts(lane, counts) for lane in LANES], findings


def _accounts(lane: str, counts: Counter[tuple[str, str]]) -> Accounts:
    of_lane = {state: count for (its_lane, state), count in counts.items() if its_lane == lane}
    ends = {word: of_lane.get(word, 0) for word in ACCOUNT_WORDS[1:-1]}
    return Accounts(accepted=sum(of_lane.values()), open=sum(of_lane.values()) - sum(ends.values()), **ends)


def _compare(minute: int, before: list[Accounts], counted: list[Accounts], after: list[Accounts]) -> list[Finding]:
    """Find the lanes where something was counted that the counters have not said at any time in between."""
    findings = []
    at = from_epoch_ms(minute * 60_000)
    for lane, *three in zip(LANES, before, counted, after, strict=True):
        numbers: dict[str, int] = {}
        most = 0
        # Open rows come and go; they are what the others leave over.
        for word in ACCOUNT_WORDS[:-1]:
            low, found, high = (getattr(accounts, word) for accounts in three)
            if not min(low, high) <= found <= max(low, high):
                numbers |= {word: high, f"{word}_in_records": found}
                most = max(most, abs(high - found))
        if numbers:
            findings.append(Finding(Kind.ROWS, lane, most, at, numbers))
    return findings

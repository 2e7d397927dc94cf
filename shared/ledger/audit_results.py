"""The results of the newest audits, of the routers' own and of those that operators made.

Promises to keep ``RESULTS_KEPT`` of them for ``KEPT_S`` after the last, each of some kilobytes at most: of many
findings the first, and of each the ids of some notifications. The newest periodic one is what the metrics show.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from redis.exceptions import ResponseError

from shared.core.clock import rfc3339
from shared.ledger.audit import Depth
from shared.ledger.audit_report import Finding, Report
from shared.store.keys import Keys
from shared.store.replies import object_or_none
from shared.store.store import Store, load_script

RESULTS_KEPT = 120
KEPT_S = 8 * 86400
FINDINGS_KEPT = 40
IDS_KEPT = 3

# Read together while the newest of the routers' own is looked for.
_PAGE = 10

_keep = load_script(__package__, "audit_keep")


class MadeBy(StrEnum):
    """Who has made an audit."""

    ROUTER = "router"
    """One of the routers, for all of them, every ROUTER_AUDIT_INTERVAL_S."""
    OPERATOR = "operator"
    """Somebody with ``carillon audit``."""


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What one audit has found.

    Attributes:
        at: when it began.
        depth: how far it went beyond the counters, in a word.
        holds: the accounts balance and nothing is overdue.
        imbalance, overdue: how many rows, for each lane.
        document: all of it: what ``carillon audit --json`` prints, with the first findings alone.
    """

    at: datetime
    by: MadeBy
    depth: str
    took_s: float
    holds: bool
    imbalance: Mapping[str, int]
    overdue: Mapping[str, int]
    document: Mapping[str, Any]

    @classmethod
    def read(cls, text: bytes | str | None) -> "AuditResult | None":
        """Read what was kept; None where it is something else, or a later release's."""
        said = object_or_none(text)
        try:
            return None if said is None else cls(
                at=datetime.fromisoformat(said["until"]),
                by=MadeBy(said["by"]),
                depth=str(said["depth"]),
                took_s=float(said["took_s"]),
                holds=said["holds"] is True,
                imbalance={str(lane): int(count) for lane, count in said["imbalance"].items()},
                overdue={str(lane): int(count) for lane, count in said["overdue"].items()},
                document=said,
            )  # fmt: skip
        except (KeyError, ValueError, TypeError, AttributeError):
            return None


class AuditResults:
    """The results that are kept on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._base = keys.audit

    async def keep(self, report: Report, by: MadeBy, depth: Depth, took: timedelta) -> AuditResult | None:
        """Keep a result, and return the newest of the routers' own before it.

        Both are one step: where two audits overlap, one of them sees the other.
        """
        text = _text(report, by, depth, took)
        return AuditResult.read(await self._store.script(_keep, self._base, text, RESULTS_KEPT, KEPT_S))

    async def newest(self, most: int = RESULTS_KEPT) -> list[AuditResult]:
        """Return results, the newest first."""
        return await self._page(0, most)

    async def last(self) -> AuditResult | None:
        """Return the newest of all."""
        return next(iter(await self.newest(1)), None)

    async def last_periodic(self) -> AuditResult | None:
        """Return the newest of the routers' own."""
        for start in range(0, RESULTS_KEPT, _PAGE):
            found = await self._page(start, _PAGE)
            for each in found:
                if each.by is MadeBy.ROUTER:
                    return each
            if not found:
                break
        return None

    async def _page(self, start: int, most: int) -> list[AuditResult]:
        try:
            texts = await self._store.command("LRANGE", f"{self._base}:results", start, start + most - 1)
        except ResponseError:
            # Something else has the name.
            return []
        found = map(AuditResult.read, texts)
        return [each for each in found if each is not None]


def report_document(
    report: Report, findings: Sequence[Finding] | None = None, ids: int | None = None
) -> dict[str, Any]:
    """Write a report as ``carillon audit --json`` prints it.

    Args:
        findings: these instead of all.
        ids: so many of each finding's notifications at most.
    """
    return {
        "holds": report.holds,
        "since": rfc3339(report.since),
        "until": rfc3339(report.until),
        "accounts": {
            lane: accounts.named | {"difference": accounts.difference} for lane, accounts in report.accounts.items()
        },
        "digests": {
            channel: accounts.named | {"difference": accounts.difference} for channel, accounts in report.items.items()
        },
        "findings": [
            {
                "kind": each.kind,
                "overdue": each.kind.is_overdue,
                "channel": each.lane,
                "minute": rfc3339(each.minute) if each.minute else None,
                "count": each.count,
                "numbers": each.numbers,
                "notification_ids": sorted(each.notification_ids)[:ids],
            }
            for each in (report.findings if findings is None else findings)
        ],
        "open_rows": report.open_rows,
        "open_rows_seen": report.open_rows_seen,
        "records_seen": report.records_seen,
    }


def _text(report: Report, by: MadeBy, depth: Depth, took: timedelta) -> str:
    said = report_document(report, report.findings[:FINDINGS_KEPT], IDS_KEPT)
    of_all = {
        "by": by, "depth": depth.name.lower(), "took_s": round(took.total_seconds(), 3),
        "imbalance": report.imbalance(), "overdue": report.overdue(), "findings_in_all": len(report.findings),
    }  # fmt: skip
    return json.dumps(said | of_all, separators=(",", ":"))

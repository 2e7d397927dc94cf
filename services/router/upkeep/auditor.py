"""The periodic audit: every router can make it, one at a time does, and all of them show its result.

A router claims the turn in the store, for less than an interval. So if it dies, another router makes the next audit.
The result is kept in the store, too, with those before it (``shared.ledger.audit_results``). So the gauges of several
routers agree, and the next audit knows whether the last one failed. After each audit, dead letters whose records have
expired are taken off the list.
"""

import asyncio
import logging
import random
import time
from datetime import timedelta

from shared.core.channels import LANES
from shared.core.errors import StoreUnavailable
from shared.ledger.audit import Audit, Depth
from shared.ledger.audit_report import Report
from shared.ledger.audit_results import AuditResults, MadeBy
from shared.ledger.dead_letters import DeadLetters
from shared.store.keys import Keys
from shared.store.store import Store
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# Longer than a delivery without a deadline of its own is tried, with the default DELIVERY_LIFETIME_S.
SPAN = timedelta(hours=25)

# What part of an interval a turn is taken for. It is over when the next audit is due, so whichever router comes first
# makes that one, and a router that died is not waited for.
_TURN = 0.8


class Auditor:
    """One router's part in the periodic audit.

    Args:
        record_retention_s: how long ended records, and so dead letters, are kept.
        span: how far an audit looks back.
    """

    def __init__(self, store: Store, keys: Keys, record_retention_s: int, span: timedelta = SPAN) -> None:
        self._store = store
        self._span = span
        self._turn = f"{keys.audit}:turn"
        self._results = AuditResults(store, keys)
        self._audit = Audit(store, keys, record_retention_s)
        self._dead_letters = DeadLetters(store, keys)
        self._retention = timedelta(seconds=record_retention_s)
        for lane in LANES:
            metrics.audit_imbalance.labels(lane)
            metrics.audit_overdue.labels(lane)

    async def work_forever(self, interval_s: float) -> None:
        """Audit when it is our turn, and show the last result, until cancelled."""
        broken = False
        while True:
            await asyncio.sleep(interval_s * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
            try:
                if await self._store.command("SET", self._turn, 1, "NX", "PX", round(interval_s * _TURN * 1000)):
                    await self._work()
                await self._show()
                broken = False
            except StoreUnavailable:
                log.debug("store away, no audit")
            except Exception:
                # An audit that cannot be made is seen by the age of the last one; notifications go on.
                if not broken:
                    log.exception("audit failed")
                broken = True

    async def _work(self) -> None:
        began_s = time.monotonic()
        report = await self._audit.run(self._span, Depth.SAMPLE)
        took = timedelta(seconds=time.monotonic() - began_s)
        before = await self._results.keep(report, MadeBy.ROUTER, Depth.SAMPLE, took)
        _tell(report, held=before is None or before.holds)
        trimmed = await self._dead_letters.trim(self._retention)
        if trimmed:
            log.info("dead letters expired", extra={"dead_letters": trimmed})

    async def _show(self) -> None:
        result = await self._results.last_periodic()
        if result is None:
            return
        for lane in LANES:
            metrics.audit_imbalance.labels(lane).set(result.imbalance.get(lane, 0))
            metrics.audit_overdue.labels(lane).set(result.overdue.get(lane, 0))
        metrics.audit_last_success.set(result.at.timestamp())


def _tell(report: Report, *, held: bool) -> None:
    """Write one line when the accounts begin to be wrong or something to be overdue, and one when all is well again."""
    if held and not report.holds:
        log.error(
            "audit: does not hold",
            extra={
                "kinds": sorted({each.kind.value for each in report.findings}),
                "imbalance": {lane: count for lane, count in report.imbalance().items() if count},
                "overdue": {lane: count for lane, count in report.overdue().items() if count},
            },
        )
    elif report.holds and not held:
        log.info("audit: holds again")

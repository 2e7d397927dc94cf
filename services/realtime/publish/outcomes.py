"""What became of a notification, for the publisher that published it.

Promises that it reads what ``carillon trace`` reads, that it shows no address and nothing that was said, and that a
notification of somebody else looks as if it did not exist. What it reads is bounded, however many people were told.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from services.realtime.publish.shapes import (
    AlertOutcome,
    Confirmed,
    DeliveryCount,
    DeliveryOutcome,
    NotificationOutcome,
)
from shared.core.channels import ROUTER_LANE
from shared.core.model import Channel, State
from shared.ledger.reader import Trace, TracedRecord, TracedRow


class Outcomes:
    """Reads outcomes from the ledger."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    async def read(self, publisher: str, notification_id: str, limit: int) -> NotificationOutcome | None:
        """Return where a publisher's notification stands; None where it has none of that id.

        Args:
            limit: of deliveries to list.
        """
        record = await self._trace.record(notification_id)
        # A part of a fan-out is told of under the id of the whole, which is the one in the receipt.
        if record is None or record.publisher != publisher or record.part_of is not None:
            return None
        rows = [row async for row in _first(self._trace.rows(notification_id), limit + 1)]
        complete = len(rows) <= limit
        listed = sorted(rows[:limit], key=lambda row: (row.since, row.lane, row.key))
        return _outcome(record, listed, complete=complete)


async def _first(rows: AsyncIterator[TracedRow], most: int) -> AsyncIterator[TracedRow]:
    """Yield the first deliveries; the steps that plan deliveries are the router's own."""
    found = 0
    async for row in rows:
        if row.lane == ROUTER_LANE:
            continue
        yield row
        found += 1
        if found == most:
            return


def _outcome(record: TracedRecord, rows: Sequence[TracedRow], *, complete: bool) -> NotificationOutcome:
    counts = Counter((row.lane, row.state, row.reason or None, row.recalls) for row in rows)
    return NotificationOutcome(
        notification_id=record.notification_id,
        kind=record.kind,
        priority=record.priority,
        channels=None if record.channels is None else list(record.channels),
        accepted_at=record.accepted_at,
        cancelled_at=record.cancelled_at,
        recalled_at=record.recalled_at,
        open=record.open_rows,
        alert=None
        if record.alert is None
        else AlertOutcome(
            state=record.alert,
            acknowledged_by=record.acknowledged_by,
            acknowledged_at=record.acknowledged_at,
            resolved_at=record.resolved_at,
        ),
        counts=[
            DeliveryCount(
                channel=Channel(lane), state=state, reason=reason, recalls=True if recalls else None, count=count
            )
            for (lane, state, reason, recalls), count in sorted(counts.items(), key=str)
        ],
        deliveries=[_delivery(row) for row in rows],
        complete=complete,
    )


def _delivery(row: TracedRow) -> DeliveryOutcome:
    confirmed = row.confirmation
    return DeliveryOutcome(
        channel=Channel(row.lane),
        recipient=row.recipient,
        everybody=True if row.broadcast else None,
        groups=None if row.groups is None else list(row.groups),
        state=row.state,
        reason=row.reason or None,
        rule=row.rule,
        recalls=True if row.recalls else None,
        since=row.since,
        next_at=row.until if row.state is State.PENDING else None,
        ended_at=row.until if row.state.is_end else None,
        expires_at=row.expires_at,
        attempts=row.attempts_made,
        confirmation=None if confirmed is None else Confirmed(outcome=confirmed.outcome, at=confirmed.at),
    )

"""Deliveries that planning suppressed: they are counted, and reported to publishers who asked for events.

Nothing else happens to them, whether they are planned at acceptance or later.
"""

from collections.abc import Iterable

from shared.core.clock import Clock
from shared.core.model import Delivery, Notification
from shared.core.topics import Topics
from shared.ledger.events import event
from shared.ledger.jobs import Message
from shared.ledger.ledger import NewRow
from shared.telemetry import metrics


def tell_suppressed(topics: Topics, notification: Notification, rows: Iterable[NewRow], clock: Clock) -> list[Message]:
    """Count those of the rows that have ended, and return the events that tell of them."""
    messages: list[Message] = []
    for new in rows:
        if not new.state.is_end:
            continue
        metrics.series(metrics.deliveries, new.row.lane, new.state, new.reason).inc()
        if notification.events:
            recipient = new.row.recipient if isinstance(new.row, Delivery) else None
            lane, reason = new.row.lane, new.reason
            messages.append(
                event(topics, notification.id, new.state, clock, channel=lane, recipient=recipient, reason=reason)
            )
    return messages

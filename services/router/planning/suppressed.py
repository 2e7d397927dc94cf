"""Deliveries that were decided against while people were planned: counted, and told to who asked for events.

Whenever that is, at acceptance or at a later time, nothing else happens to them.
"""

import json
from collections.abc import Iterable

from shared.core.clock import Clock, rfc3339
from shared.core.model import Delivery, Notification
from shared.core.topics import Topics
from shared.ledger.jobs import Message
from shared.ledger.ledger import NewRow
from shared.telemetry import metrics


def tell_suppressed(topics: Topics, notification: Notification, rows: Iterable[NewRow], clock: Clock) -> list[Message]:
    """Count those of the rows that have ended, and return the events that tell of them."""
    messages: list[Message] = []
    topic, at = topics.event(notification.id), rfc3339(clock.now())
    for new in rows:
        if not new.state.is_end:
            continue
        metrics.series(metrics.deliveries, new.row.lane, new.state, new.reason).inc()
        if notification.events:
            recipient = new.row.recipient if isinstance(new.row, Delivery) else None
            step = {"state": new.state, "channel": new.row.lane, "recipient": recipient, "reason": new.reason, "at": at}
            messages.append((topic, json.dumps(step)))
    return messages

"""Deliveries that were decided against while people were planned: counted, and told to who asked for events.

Whenever that is, at acceptance or at a later time, nothing else happens to them.
"""

import json
from collections.abc import Iterable

from shared import metrics
from shared.clock import Clock, rfc3339
from shared.jobs import Message
from shared.ledger import NewRow
from shared.model import Delivery, Notification
from shared.topics import Topics


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

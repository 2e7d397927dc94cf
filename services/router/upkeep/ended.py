"""Rows that a sweep ended: counted, logged if unreadable, and reported to publishers who asked for events."""

import logging
from collections import Counter
from collections.abc import Collection

from shared.core.channels import ROUTER_LANE
from shared.core.clock import Clock
from shared.core.errors import Reason
from shared.core.topics import Topics
from shared.ledger.events import event, step_of
from shared.ledger.jobs import Message
from shared.ledger.rows import told_as
from shared.ledger.schedule import EndedRow
from shared.store.replies import read_object
from shared.telemetry import metrics

log = logging.getLogger(__name__)


def tell_ended(topics: Topics, ended: Collection[EndedRow], clock: Clock) -> list[Message]:
    """Count these ends and return the events that tell of them."""
    messages: list[Message] = []
    for row in ended:
        if row.lane != ROUTER_LANE or row.reason is Reason.UNREADABLE:
            metrics.deliveries.labels(row.lane, row.state, row.reason).inc()
        notification = read_object(row.content)
        channel, recipient = told_as(row.lane, row.spec)
        if channel != ROUTER_LANE and notification.get("events") is True:
            whole = str(notification.get("part_of") or row.notification_id)
            messages.append(
                event(
                    topics,
                    whole,
                    step_of(row.key, row.state),
                    clock,
                    channel=channel,
                    recipient=recipient,
                    reason=row.reason,
                )
            )
    for lane, rows in Counter(row.lane for row in ended if row.reason is Reason.UNREADABLE).items():
        # What is in them may be anything, so that nothing of it is logged.
        log.error("rows put away: unreadable", extra={"lane": lane, "rows": rows})
    return messages

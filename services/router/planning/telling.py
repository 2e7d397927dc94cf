"""What planning has decided beside what is sent: counted, and reported to publishers who asked for events.

Deliveries that planning suppressed, or that would expire before they could leave, have ended. What is held or folded is
counted by its category's policy. It is the same whether they are planned at acceptance or later.
"""

from collections.abc import Iterable

from services.router.planning.tasks import Fold, Recheck, Task
from shared.core.clock import Clock
from shared.core.errors import Reason
from shared.core.model import Delivery, Notification
from shared.core.topics import Topics
from shared.ledger.events import event
from shared.ledger.jobs import Message
from shared.ledger.ledger import NewRow
from shared.telemetry import metrics


def tell_planned(topics: Topics, notification: Notification, rows: Iterable[NewRow], clock: Clock) -> list[Message]:
    """Count the rows that say so, and return the events that tell of those that have ended."""
    messages: list[Message] = []
    for new in rows:
        if isinstance(new.row, Task):
            if isinstance(new.row.what, Recheck):
                metrics.series(metrics.held, new.row.what.channel, new.policy).inc()
            elif isinstance(new.row.what, Fold):
                metrics.series(metrics.folded, new.row.what.channel, new.policy).inc()
            continue
        if not new.state.is_end:
            continue
        lane, reason = new.row.lane, new.reason
        metrics.series(metrics.deliveries, lane, new.state, reason).inc()
        if reason is Reason.THROTTLED:
            metrics.series(metrics.throttled, lane, new.policy).inc()
        if notification.events:
            recipient = new.row.recipient if isinstance(new.row, Delivery) else None
            said = event(
                topics, notification.public_id, new.state, clock, channel=lane, recipient=recipient, reason=reason
            )
            messages.append(said)
    return messages

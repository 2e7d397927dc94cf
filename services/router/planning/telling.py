"""What planning has decided beside what is sent: counted, and reported to publishers who asked for events.

Deliveries that planning suppressed, or that would expire before they could leave, have ended. What is held or folded is
counted by its category's policy. It is the same whether they are planned at acceptance or later.
"""

from collections.abc import Iterable, Sequence

from services.router.planning.tasks import Escalation, Fold, Recheck, Task
from shared.core.clock import Clock
from shared.core.errors import Reason
from shared.core.incidents import Happened, Way, line
from shared.core.model import Delivery, Notification
from shared.core.topics import Topics
from shared.ledger.events import event
from shared.ledger.jobs import Message
from shared.ledger.new_records import NewRow
from shared.telemetry import metrics


def is_step(new: NewRow) -> bool:
    """Tell whether a row is a step of an escalation."""
    return isinstance(new.row, Task) and isinstance(new.row.what, Escalation)


def told_lines(rows: Sequence[NewRow], level: str, *, is_last: bool | None = None) -> list[str]:
    """Write for an incident's timeline whom a level tells, and that no other follows it.

    Args:
        is_last: whether another may follow; None is whether one does.
    """
    recipients: dict[str, list[str]] = {}
    if is_last is None:
        is_last = not any(map(is_step, rows))
    for new in rows:
        if isinstance(new.row, Delivery) and new.row.recipient is not None and not new.state.is_end:
            channels = recipients.setdefault(new.row.recipient, [])
            if new.row.channel not in channels:
                channels.append(new.row.channel)
    said = [line(Happened.TOLD, way=Way.ESCALATION, recipients=recipients, level=level)]
    return [*said, line(Happened.EXHAUSTED, way=Way.ESCALATION)] if is_last else said


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

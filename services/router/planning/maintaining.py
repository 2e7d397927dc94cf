"""Maintenance: systems that are worked on are silent meanwhile, and people are reminded before.

The silence is a record like any other, with the notification's id in its name. So it is listed, may be ended by hand,
and what is still open at its end is told then.
"""

import re

from services.router.alerts.noise import MAINTENANCE_PREFIX
from services.router.planning.compose import Draft
from services.router.planning.tasks import Crowd, Maintain, Remind, Task
from shared.core.clock import from_epoch_ms, rfc3339
from shared.core.fields import LINE_CHARS
from shared.core.model import Content, Notification, Priority
from shared.core.topics import Kind
from shared.directory.silences import Silence
from shared.ledger.new_records import TASK_LIFETIME_MS, NewRow

REMINDED_BEFORE_MS = 15 * 60 * 1000


def maintenance_rows(draft: Draft) -> list[NewRow]:
    """Write down what is to be done about a maintenance whose times are known."""
    times = draft.maintenance
    if draft.notification.kind != Kind.SYSTEM_MAINTENANCE or times is None:
        return []
    now_ms = draft.notification.accepted_ms
    rows = []
    if times.systems and times.ends_ms > now_ms:
        rows.append(_row("maintain", times, now_ms, 0))
    remind_ms = times.starts_ms - REMINDED_BEFORE_MS
    if remind_ms > max(now_ms, draft.send_at_ms) and isinstance(draft.audience, Crowd):
        rows.append(_row("remind", Remind(audience=draft.audience), now_ms, remind_ms))
    return rows


def _row(key: str, what: Maintain | Remind, now_ms: int, due_ms: int) -> NewRow:
    expires_ms = max(now_ms, due_ms) + TASK_LIFETIME_MS
    return NewRow(Task(key=key, priority=Priority.HIGH, due_ms=due_ms, expires_ms=expires_ms, what=what))


def silence_of(notification: Notification, what: Maintain) -> tuple[str, Silence]:
    """Return the silence of a maintenance, and its name."""
    systems = "|".join(re.escape(system) for system in what.systems)
    text = " ".join(notification.content.message.split())[:LINE_CHARS]
    record = {
        "matchers": [f'system=~"{_quoted(systems)}"'],
        "starts_at": what.starts_ms / 1000,
        "ends_at": what.ends_ms / 1000,
        "comment": text or "maintenance",
        "publisher": what.publisher,
    }
    return f"{MAINTENANCE_PREFIX}{notification.id}", Silence.model_validate(record)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def reminder_of(content: Content, now_ms: int) -> Content:
    """Say that it begins soon."""
    begins = content.data.get("starts_at")
    when = f" ({begins})" if isinstance(begins, str) else ""
    data = {**content.data, "reminded_at": rfc3339(from_epoch_ms(now_ms))}
    return content.model_copy(update={"title": f"Soon: {content.title}{when}"[:LINE_CHARS], "data": data})

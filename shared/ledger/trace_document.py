"""A trace as a JSON document: what ``carillon trace --json`` prints and the console exports."""

from collections.abc import Iterable
from datetime import datetime

from shared.core.channels import ROUTER_LANE
from shared.core.clock import rfc3339
from shared.core.model import State
from shared.ledger.reader import Seen, TracedRecord, TracedRow
from shared.ledger.rows import Confirmation, TracedAttempt


def in_order(rows: Iterable[TracedRow]) -> list[TracedRow]:
    """Sort rows by when they were first due."""
    return sorted(rows, key=lambda row: (row.since, row.lane, row.key))


def trace_document(record: TracedRecord, rows: Iterable[TracedRow], seen: Seen) -> dict[str, object]:
    """Return a whole trace; docs/reference/command-line.md names each field.

    Args:
        rows: in the order in which they are to stand.
    """
    listed = list(rows)
    alert = None
    if record.alert is not None:
        alert = {
            "state": record.alert,
            "acknowledged_by": record.acknowledged_by,
            "acknowledged_at": _time(record.acknowledged_at),
            "resolved_at": _time(record.resolved_at),
        }
    return {
        "notification_id": record.notification_id,
        "part_of": record.part_of,
        "publisher": record.publisher,
        "kind": record.kind,
        "priority": record.priority,
        "channels": record.channels,
        "accepted_at": rfc3339(record.accepted_at),
        "open": record.open_rows,
        "alert": alert,
        "cancelled_at": _time(record.cancelled_at),
        "recalled_at": _time(record.recalled_at),
        "seen": [{"recipient": user, "at": rfc3339(at)} for user, at in seen.by.items()],
        "seen_complete": seen.complete,
        "deliveries": [row_document(row) for row in listed if row.lane != ROUTER_LANE],
        "tasks": [row_document(row) for row in listed if row.lane == ROUTER_LANE],
    }


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None


def row_document(row: TracedRow) -> dict[str, object]:
    """Return a delivery, or a router's task, for JSON; times that do not apply are null."""
    document: dict[str, object] = {
        "key": row.key,
        "channel": row.lane,
        "recipient": row.recipient,
        "priority": row.priority,
        "state": row.state,
        "reason": row.reason or None,
        "rule": row.rule,
        "since": rfc3339(row.since),
        "next_at": rfc3339(row.until) if row.state is State.PENDING else None,
        "lease_until": rfc3339(row.until) if row.state is State.SENDING else None,
        "ended_at": rfc3339(row.until) if row.state.is_end else None,
        "expires_at": rfc3339(row.expires_at),
        "attempts_made": row.attempts_made,
        "attempts": [_attempt_document(attempt) for attempt in row.attempts],
    }
    if row.confirmation is not None:
        document["confirmation"] = confirmation_document(row.confirmation)
        document["callbacks"] = [confirmation_document(each) for each in row.callbacks]
    if row.digest is not None:
        document["digest"] = row.digest
    if row.recalls:
        document["recalls"] = True
    if row.broadcast:
        document["groups"] = row.groups
    if row.task is not None:
        document["task"] = row.task
    return document


def confirmation_document(confirmation: Confirmation) -> dict[str, object]:
    """Write what a provider said later."""
    return {
        "outcome": confirmation.outcome,
        "code": confirmation.code or None,
        "provider_id": confirmation.provider_id or None,
        "at": rfc3339(confirmation.at),
    }


def _attempt_document(attempt: TracedAttempt) -> dict[str, object]:
    return {
        "number": attempt.number,
        "at": rfc3339(attempt.at),
        "provider": attempt.provider or None,
        "outcome": attempt.outcome,
        "reason": attempt.reason or None,
        "provider_id": attempt.provider_id or None,
        "detail": attempt.detail or None,
    }

"""How a row of the ledger is shown: as a JSON object, and in a person's words."""

from carillon.commands.output import printable
from shared.core.clock import rfc3339
from shared.core.model import State
from shared.ledger.reader import TracedRow
from shared.ledger.rows import Confirmation, TracedAttempt


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
        document["confirmation"] = _confirmation_document(row.confirmation)
        document["callbacks"] = [_confirmation_document(each) for each in row.callbacks]
    if row.digest is not None:
        document["digest"] = row.digest
    if row.recalls:
        document["recalls"] = True
    if row.broadcast:
        document["groups"] = row.groups
    if row.task is not None:
        document["task"] = row.task
    return document


def _confirmation_document(confirmation: Confirmation) -> dict[str, object]:
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


def whom(row: TracedRow) -> str:
    """Say for whom a row is, or what a task does."""
    if row.task is not None:
        return task_text(row)
    if row.broadcast:
        return "everybody" if row.groups is None else f"groups {', '.join(row.groups)}"
    return row.recipient or "(address given)"


def state_of(row: TracedRow) -> str:
    """Say where a row stands, and of one that takes a delivery back that it does."""
    if not row.recalls:
        return row.state.value
    return "recalled" if row.state is State.DELIVERED else f"recall {row.state}"


def task_text(row: TracedRow) -> str:
    """Say what a task of the router does."""
    task = row.task or {}
    match task.get("do"):
        case "plan":
            return "plan at its time"
        case "fan_out":
            crowd = f"group {task['group']}" if "group" in task else "everybody"
            return f"fan-out to {crowd}" + (f" after {task['after']}" if task.get("after") else "")
        case "escalate":
            return f"escalation step {task.get('round', '')}".rstrip()
        case "recheck":
            return f"{task.get('channel')} to {row.recipient}, held"
        case "fold":
            return f"{task.get('channel')} to {row.recipient}, into a digest"
        case "close_digest":
            return f"digest of {row.recipient} by {task.get('channel')}"
        case other:
            return str(other or row.key)


def when(row: TracedRow) -> str:
    """Say what a row's time means and what it is."""
    word = {State.PENDING: "due ", State.SENDING: "lease until "}.get(row.state, "")
    return word + rfc3339(row.until)


def confirmation_line(confirmation: Confirmation) -> str:
    """Write in one line what the provider said later."""
    parts = ["confirmed", rfc3339(confirmation.at), confirmation.outcome, confirmation.code, confirmation.provider_id]
    return printable(" ".join(part for part in parts if part))


def attempt_line(attempt: TracedAttempt) -> str:
    """Write one attempt in one line."""
    parts = [
        f"{attempt.number}.",
        rfc3339(attempt.at),
        attempt.provider,
        attempt.outcome,
        attempt.reason,
        attempt.provider_id,
        attempt.detail,
    ]
    return printable(" ".join(part for part in parts if part))

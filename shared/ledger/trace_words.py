"""What the parts of a trace are called, for people: for whom a row is, where it stands, and what a task does."""

from shared.core.model import State
from shared.ledger.reader import TracedRow


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

"""The parts of a row as ``shared/lua/ledger.lua`` writes them, read on this side; any of them may be damaged."""

import json
from typing import Any, NamedTuple, Self

from shared.model import Priority, State

STATES_BY_LETTER = {
    "p": State.PENDING,
    "s": State.SENDING,
    "d": State.DELIVERED,
    "x": State.SUPPRESSED,
    "e": State.EXPIRED,
    "l": State.DEAD_LETTERED,
}


class RowStatus(NamedTuple):
    """Where a row stands; times are milliseconds."""

    state: State
    lane: str
    priority: Priority
    token: int
    attempts: int
    redrives: int
    due_ms: int
    born_ms: int
    expires_ms: int
    reason: str

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Read a status; None when it is none of ours, or damaged."""
        try:
            letter, lane, priority, *numbers, reason = text.split("|", 9)
            token, attempts, redrives, due_ms, born_ms, expires_ms = map(int, numbers)
            state, urgency = STATES_BY_LETTER[letter], Priority(priority)
        except (ValueError, KeyError):
            return None
        return cls(state, lane, urgency, token, attempts, redrives, due_ms, born_ms, expires_ms, reason)


def read_object(text: bytes | str | None) -> dict[str, Any]:
    """Read a JSON object of the ledger; of one that is damaged nothing is known, and it says nothing."""
    try:
        read = json.loads(text) if text else {}
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}

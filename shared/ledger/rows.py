"""The parts of a row as ``shared/ledger/lua/ledger.lua`` writes them, read on this side; any of them may be damaged."""

from typing import NamedTuple, Self

from shared.core.model import READABLE_VERSION, Priority, State
from shared.store.replies import object_or_none

STATES_BY_LETTER = {
    "p": State.PENDING,
    "s": State.SENDING,
    "d": State.DELIVERED,
    "x": State.SUPPRESSED,
    "e": State.EXPIRED,
    "l": State.DEAD_LETTERED,
}


# The end of the year 9999, as in ``shared/ledger/lua/ledger.lua``: a later time is none of ours.
LATEST_MS = 253_402_300_799_999


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
        if max(due_ms, born_ms) > LATEST_MS:
            return None
        expires_ms = min(expires_ms, LATEST_MS)
        return cls(state, lane, urgency, token, attempts, redrives, due_ms, born_ms, expires_ms, reason)


def is_readable(notification_id: str, key: str, lane: str, content: bytes, spec: bytes) -> bool:
    """Tell whether these texts can stand in a job: JSON objects that say they are this notification and this row.

    What else is in them, whoever takes the job finds out, for this row alone.
    """
    said, row = object_or_none(content), object_or_none(spec)
    if said is None or row is None:
        return False
    if any(isinstance(part.get("v"), int) and part["v"] > READABLE_VERSION for part in (said, row)):
        # A newer release knows what it is.
        return True
    return (said.get("id"), row.get("key"), row.get("channel", lane)) == (notification_id, key, lane)

"""The parts of a row as the scripts in ``shared/ledger/lua`` write them, read in Python; any of them may be damaged.

A record is one hash. The parts of a row stand in it under the row's key: ``s:KEY`` is its status, ``d:KEY`` is the row
as JSON, ``a:KEY:SLOT`` are its newest attempts, and ``k:KEY`` is what the provider said later. Only the scripts read
and write the other fields, see ``shared/ledger/lua/ledger.lua``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self

from shared.core.clock import from_epoch_ms
from shared.core.errors import Reason
from shared.core.model import READABLE_VERSION, Priority, State
from shared.store.replies import object_or_none, read_object

# Attempts whose outcome is kept per row; later ones overwrite the oldest, so that a delivery which is tried for a day
# does not grow without bound.
ATTEMPTS_KEPT = 20

_STATES_BY_LETTER = {
    "p": State.PENDING,
    "s": State.SENDING,
    "d": State.DELIVERED,
    "x": State.SUPPRESSED,
    "e": State.EXPIRED,
    "l": State.DEAD_LETTERED,
}
_LETTERS = {state: letter for letter, state in _STATES_BY_LETTER.items()}


# The end of the year 9999, as in ``shared/ledger/lua/ledger.lua``: a later time is none of ours.
LATEST_MS = 253_402_300_799_999


def status_field(key: str) -> str:
    """Name the field of a row's status."""
    return f"s:{key}"


def spec_field(key: str) -> str:
    """Name the field of the row's own JSON text."""
    return f"d:{key}"


def attempt_field(key: str, slot: int) -> str:
    """Name the field of one of the attempts that are kept; slots are attempt numbers modulo ``ATTEMPTS_KEPT``."""
    return f"a:{key}:{slot}"


def confirmation_field(key: str) -> str:
    """Name the field of what the provider said later."""
    return f"k:{key}"


def callbacks_field(key: str) -> str:
    """Name the field of all that the provider said later."""
    return f"b:{key}"


def letter_of(state: State) -> str:
    """Write a state as it stands in a status."""
    return _LETTERS[state]


def state_of(letter: bytes) -> State:
    """Read a state as the scripts answer it; they answer no other letter."""
    return _STATES_BY_LETTER[letter.decode()]


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
            state, urgency = _STATES_BY_LETTER[letter], Priority(priority)
        except (ValueError, KeyError):
            return None
        if max(due_ms, born_ms) > LATEST_MS:
            return None
        expires_ms = min(expires_ms, LATEST_MS)
        return cls(state, lane, urgency, token, attempts, redrives, due_ms, born_ms, expires_ms, reason)


# What is shown of a row whose status is damaged.
DAMAGED = RowStatus(
    State.DEAD_LETTERED, Reason.UNREADABLE.value, Priority.NORMAL, 0, 0, 0, 0, 0, 0, Reason.UNREADABLE.value
)


class CountedRow(NamedTuple):
    """A row as ``audit_records.lua`` answers it: where it stands, and which one it is."""

    state: State
    lane: str
    key: bytes

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read one; the script leaves out those whose status is damaged."""
        letter, lane, key = text.split(b"|", 2)
        return cls(state_of(letter), lane.decode(), key)


@dataclass(frozen=True, slots=True)
class TracedAttempt:
    """One attempt.

    Attributes:
        number: counted from 1. An attempt that was not counted has the number of the next one.
        outcome: ok, or the word for what kind of failure it was (retry, unknown, gone, bad, operator, paused, ...).
        detail: a short technical text such as a status code.
    """

    number: int
    at: datetime
    provider: str
    outcome: str
    reason: str
    provider_id: str
    detail: str


def attempt_text(provider: str, outcome: str, reason: str, provider_id: str, detail: str) -> str:
    """Write an attempt as it is kept, without its time, which ``finish.lua`` puts before it."""
    return "|".join((provider, outcome, reason, provider_id, detail))


def read_attempts(history: Mapping[int, bytes | None], made: int) -> tuple[TracedAttempt, ...]:
    """Read a row's attempts, oldest first.

    Args:
        history: by slot. Slots are attempt numbers modulo ``ATTEMPTS_KEPT``, so the numbers follow from the order in
            time: the newest is at most ``made`` + 1 (one that was not counted), each earlier one is smaller.
    """
    entries = sorted(((slot, _split(text)) for slot, text in history.items() if text), key=lambda entry: entry[1][0])
    attempts: list[TracedAttempt] = []
    limit = made + 1
    for slot, (at_ms, provider, outcome, reason, provider_id, detail) in reversed(entries):
        number = limit - (limit - slot) % ATTEMPTS_KEPT
        attempts.append(TracedAttempt(number, from_epoch_ms(at_ms), provider, outcome, reason, provider_id, detail))
        limit = number - 1
    return tuple(reversed(attempts))


def _split(text: bytes) -> tuple[int, str, str, str, str, str]:
    # The entry of a lapsed lease, written by the claim after it, has no field for a detail.
    at_ms, provider, outcome, reason, provider_id, detail = _fields(text, 6)
    return milliseconds(at_ms) or 0, provider, outcome, reason, provider_id, detail


def _fields(text: bytes, count: int) -> Sequence[str]:
    """Split a text into so many fields, of which the last may hold the separator; those that it lacks are empty."""
    return [*text.decode(errors="replace").split("|", count - 1), *[""] * count][:count]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the provider said later of a delivery that it had taken.

    Attributes:
        outcome: taken, sent, delivered, failed or complained.
        code: the provider's number for a failure, or empty.
    """

    outcome: str
    code: str
    provider_id: str
    at: datetime

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read what ``shared/ledger/lua/confirm.lua`` writes; of a damaged one, as much as there is."""
        outcome, code, provider_id, at_ms = _fields(text, 4)
        return cls(outcome, code, provider_id, moment(at_ms) or from_epoch_ms(0))


def read_callbacks(text: bytes | None) -> tuple[Confirmation, ...]:
    """Read all that a provider said later, in the order in which it came; lines that are damaged as far as they go."""
    return tuple(Confirmation.read(each) for each in (text or b"").splitlines() if each)


def told_as(lane: str, spec: bytes) -> tuple[str, str | None]:
    """Return by which channel a row would tell whom: of what the router holds for a person, too.

    Args:
        spec: the row's JSON text, perhaps damaged.
    """
    said = read_object(spec)
    what = said.get("what")
    if isinstance(what, dict) and isinstance(what.get("channel"), str) and isinstance(what.get("user_id"), str):
        return what["channel"], what["user_id"]
    recipient = said.get("recipient")
    return lane, recipient if isinstance(recipient, str) else None


def member_of(lane: str, notification_id: str, key: str) -> str:
    """Name a row as the list of dead letters does."""
    return f"{lane}|{notification_id}|{key}"


def parts_of(member: str) -> tuple[str, str, str]:
    """Split an entry of the list of dead letters into lane, notification id and key."""
    lane, _, rest = member.partition("|")
    notification_id, _, key = rest.partition("|")
    return lane, notification_id, key


def milliseconds(text: object) -> int | None:
    """Read a number of milliseconds, or of rows; None where it is none, or none of ours."""
    try:
        number = int(text)  # type: ignore[call-overload]
    except (ValueError, TypeError):
        return None
    return number if 0 <= number <= LATEST_MS else None


def moment(text: object) -> datetime | None:
    """Read a time; None where it is none, or none of ours."""
    number = milliseconds(text)
    return None if number is None else from_epoch_ms(number)


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

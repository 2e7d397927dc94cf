"""What an outbox holds, and when an entry must not be sent any more."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from carillon_publisher.receipts import Refusal

# The router knows an idempotency key for so long (the wire contract, section 2).
IDEMPOTENCY_WINDOW_S = 24 * 3600

# The router's window begins with the acceptance, and so after the first send. The last ten minutes are left for a
# publish that waits in the broker before a router takes it.
RESEND_WINDOW_MS = (IDEMPOTENCY_WINDOW_S - 600) * 1000

OUTBOX_ENTRIES = 100_000


class State(StrEnum):
    """What is known of an entry."""

    WAITING = "waiting"
    """It has no receipt and is sent again."""
    REFUSED = "refused"
    """It was not accepted and is not sent again."""
    STALE = "stale"
    """It may have been accepted, and sending it again could make a second notification, or comes too late."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One publish in an outbox.

    Attributes:
        topic: with the prefix.
        deadline: after it nothing is sent; None where the payload names none.
        first_sent_at: None if it was certainly never sent.
        error: why it is refused or stale.
    """

    number: int
    key: str
    topic: str = field(repr=False)
    payload: bytes = field(repr=False)
    state: State
    written_at: datetime
    deadline: datetime | None
    first_sent_at: datetime | None
    error: Refusal | None


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A publish to be kept. ``sending`` says that it may be sent before the next write about it."""

    key: str
    topic: str = field(repr=False)
    payload: bytes = field(repr=False)
    deadline_ms: int | None
    sending: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A waiting entry that must not be sent any more."""

    number: int
    state: State
    error: Refusal


def end_of(number: int, deadline_ms: int | None, first_sent_ms: int | None, now_ms: int) -> Ended | None:
    """Say whether a waiting entry must not be sent any more, and as what it ends."""
    if deadline_ms is not None and now_ms >= deadline_ms:
        if first_sent_ms is None:
            return Ended(number, State.REFUSED, Refusal(code="expired", message="Its deadline passed before it left."))
        message = "Its deadline passed without a receipt; it may have been accepted."
        return Ended(number, State.STALE, Refusal(code="expired", message=message))
    if first_sent_ms is not None and now_ms - first_sent_ms >= RESEND_WINDOW_MS:
        message = "It may have been accepted, and its idempotency key holds no longer: again could be twice."
        return Ended(number, State.STALE, Refusal(code="no_receipt", message=message))
    return None

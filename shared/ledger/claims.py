"""What a worker is told when it takes rows, and what it says of each attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from shared.core.errors import AttemptOutcome, Reason
from shared.core.incidents import AlertState
from shared.core.model import State
from shared.ledger.new_records import NewRow, Part


class ClaimVerdict(StrEnum):
    """What became of a try to take a row, in the words of ``claim.lua``; only a claimed one is the caller's."""

    CLAIMED = "claimed"
    HELD = "held"
    """Somebody has it."""
    EARLY = "early"
    """Its time has not come."""
    ENDED = "ended"
    UNKNOWN = "unknown"
    """There is no such row."""
    # It ended just now: its deadline had passed, nobody wants it any more, or nobody can do it.
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    WORKER_DIED = "worker_died"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim; only with verdict ``claimed`` is the row the caller's.

    Attributes:
        attempt: the number of the attempt to be made, counted from 1.
        in_doubt: an earlier attempt may have arrived.
        alert: the alert's state, for the rows of an alert.
        failures: how many attempts have failed by an error of our own.
        refusals: how often a provider has refused it without anybody knowing whose fault that is.
        refused_for: for how long that has been so.
        is_mute: the incident was looked at before, and tells nobody for now.
    """

    notification_id: str
    key: str
    verdict: ClaimVerdict
    token: int = 0
    attempt: int = 0
    in_doubt: bool = False
    alert: str = ""
    failures: int = 0
    refusals: int = 0
    refused_for: timedelta = timedelta(0)
    is_mute: bool = False

    @property
    def delivery_id(self) -> str:
        """The name of the row in logs."""
        return f"{self.notification_id}/{self.key}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        state: an end, or PENDING to be tried again after ``wait``.
        counts: False when no attempt was used up.
        in_doubt: the provider may have taken it.
        asked: the provider said how long to wait, so that it is not brought forward.
        refusals: what a later claim's ``refusals`` will be; None where this attempt says nothing about it.
        word: what came of the attempt, for history and metrics.
        then: rows that follow from a router's task; written together with its end.
        part: more of them, in a record of their own.
        guard: the alert state that ``then`` needs, with ``|`` and the incident's turn where that counts.
        becomes: the alert's state with ``then``; an incident that is opened again begins its next turn.
        mutes: of a row that is to be looked at again, what keeps its incident from telling.
        says: lines for the timeline of an incident.
    """

    state: State
    reason: Reason = Reason.NONE
    wait: timedelta = timedelta(0)
    counts: bool = True
    in_doubt: bool = False
    asked: bool = False
    refusals: int | None = None
    word: AttemptOutcome = AttemptOutcome.OK
    provider: str = ""
    provider_id: str | None = None
    detail: str = ""
    then: Sequence[NewRow] = ()
    part: Part | None = None
    guard: str = ""
    becomes: AlertState | None = None
    mutes: str = ""
    says: Sequence[str] = ()


class Finish(StrEnum):
    """What became of an outcome that was to be written, in the words of ``finish.lua``."""

    FINISHED = "finished"
    STALE = "stale"
    """Somebody else holds the row now; nothing was written."""
    VOID = "void"
    """The notification was cancelled or its alert answered meanwhile: ``then`` and ``part`` were not added."""
    # It was to be tried again, and ended because nobody wants it any more.
    CANCELLED = "cancelled"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"

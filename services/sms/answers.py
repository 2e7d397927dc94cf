"""What follows from an answer to the alerts of a telephone number: a pure function.

Every text fits into one SMS of the GSM alphabet (``tests/unit/test_sms_answers.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.sms.alerts import Answerable, SentAlert
from services.sms.keywords import Asked, Request
from shared.core.incidents import AlertState

# If more alerts are open, only the newest are named.
NAMED = 8


@dataclass(frozen=True, slots=True)
class Take:
    """Acknowledge this alert with this note."""

    alert: SentAlert
    note: str


@dataclass(frozen=True, slots=True)
class Say:
    """Answer with this text.

    Attributes:
        is_help: the SMS asked for nothing that is known here, so the answer is the general one.
    """

    text: str
    is_help: bool = False


NOT_TAKEN = Say("This alert cannot be taken by SMS.")


def suffix(number: int) -> str:
    """Say in an alert's SMS how it is answered."""
    return f"\nReply ACK {number}"


def decide(asked: Asked, alerts: Sequence[Answerable]) -> Take | Say | None:
    """Say what follows.

    Args:
        asked: an acknowledgement, or nothing known.
        alerts: what was sent to the number, the newest first.

    Returns:
        None for somebody to whom we have sent no alert: an answer would cost money.
    """
    if not alerts:
        return None
    named = next((each for each in alerts if each.number is not None and each.number == asked.number), None)
    if named is not None:
        return Take(named.sent, asked.note) if named.is_open else Say(_closed(named))
    open_ = [each for each in alerts if each.is_open]
    if asked.request is not Request.ACKNOWLEDGE or asked.is_bare:
        return Say(_help([each.number for each in open_ if each.number is not None]), is_help=True)
    if not open_:
        return Say("No alert that was sent to this number is open.")
    numbers = [each.number for each in open_ if each.number is not None]
    if len(open_) == 1 or not numbers:
        # Alerts of an earlier release have no number. That release took the newest one.
        return Take(open_[0].sent, asked.words)
    return Say(f"{len(open_)} alerts are open. Which one? Reply {_listed(numbers)}.")


def _closed(alert: Answerable) -> str:
    match alert.state:
        case AlertState.ACKNOWLEDGED | AlertState.RESOLVED:
            return f"Alert {alert.number} is {alert.state} already."
        case _:
            return f"Alert {alert.number} is over."


def _help(numbers: Sequence[int]) -> str:
    if numbers:
        return f"Reply {_listed(numbers)} to take an alert. STOP ends all messages."
    return "This number sends alerts; none is open now. STOP ends all messages."


def _listed(numbers: Sequence[int]) -> str:
    words = [f"ACK {number}" for number in numbers[:NAMED]]
    listed = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return listed if len(numbers) <= NAMED else f"{listed} ({len(numbers) - NAMED} older ones)"

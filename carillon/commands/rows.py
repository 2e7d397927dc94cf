"""How a row of the ledger is shown, line by line."""

from carillon.commands.output import printable
from shared.core.clock import rfc3339
from shared.core.model import State
from shared.ledger.reader import TracedRow
from shared.ledger.rows import Confirmation, TracedAttempt


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

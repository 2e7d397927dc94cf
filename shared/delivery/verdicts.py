"""Tables that say what a provider's refusals mean, and how they are read.

A provider's own table names the status codes and words that the provider documents. Any other answer is judged by its
status class: 5xx is temporary, 4xx is a bad message, and anything else is not an answer of the provider.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from shared.core.errors import DeliveryError, OutcomeUnknown, PermanentFailure, Reason, RecipientGone, TemporaryFailure

Verdict = tuple[type[DeliveryError], Reason]
Table = Mapping[tuple[int, str | None], Verdict]
"""By status and the provider's word for it; None stands for every other word, "" for none at all."""


def look_up(table: Table, status: int, word: str, *, may_be_taken: bool = False) -> Verdict:
    """Find the row for an answer.

    Args:
        may_be_taken: a 5xx does not say that the provider has not taken the message, and a second one costs money.
    """
    if row := table.get((status, word)) or table.get((status, None)):
        return row
    if status >= 500 and may_be_taken:
        return OutcomeUnknown, Reason.UNAVAILABLE
    if status >= 500:
        return TemporaryFailure, Reason.UNAVAILABLE
    if status >= 400:
        return PermanentFailure, Reason.REJECTED
    return TemporaryFailure, Reason.BAD_ANSWER


def failure(verdict: Verdict, code: str, wait: timedelta | None) -> DeliveryError:
    """Turn a row into the error to raise.

    Args:
        code: status and word; see ``DeliveryError.said``.
        wait: counts only where a later attempt makes sense.
    """
    kind, reason = verdict
    if issubclass(kind, TemporaryFailure):
        return kind(reason, code, retry_after=wait)
    if issubclass(kind, RecipientGone):
        return kind(code).said(code)
    return kind(reason, code).said(code)


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read the Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3); None where there is nothing to read."""
    if not value:
        return None
    text = value.strip()
    try:
        if text.isascii() and text.isdigit():
            return timedelta(seconds=int(text))
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # A date without a zone is in UTC, as every HTTP date is.
    return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now, timedelta())

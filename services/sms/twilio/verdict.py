"""What Twilio's answer or its silence means for the delivery: pure functions.

Twilio's own code outranks the HTTP status. If an SMS may have been accepted, the verdict is ``OutcomeUnknown``, because
a second one costs money. No text of an answer is kept: Twilio quotes the number in it.

Each code is about one thing: the number (it is suppressed), the pair of sender and destination (the next sender is
tried; after the last one it is a dead letter), the country, the text, or our account (the provider is paused).
"""

import ssl
from datetime import timedelta

import aiohttp

from shared.core.errors import (
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    RouteUnfit,
    TemporaryFailure,
)
from shared.delivery import http_attempt

# All codes: twilio.com/docs/api/errors/CODE. In July 2024 Twilio gave cases of 21211, 21212, 21606 and 21614 codes of
# their own: twilio.com/en-us/changelog/updates-to-the-error-code-dictionary-to-clarify-number-validatio
_GONE = frozenset(
    {
        21211,  # invalid To number
        21265,  # To is a short code
        21268,  # To is a premium-rate or information service number
        21614,  # To is not a mobile number
        21635,  # To is a landline, in a country where Twilio does not try those
        30005,  # unknown destination handset
        30006,  # landline or unreachable carrier
    }
)
# This sender and this destination: neither is wrong by itself.
_UNFIT = frozenset(
    {
        21266,  # To and From are the same number
        21606,  # From cannot send to this destination
        21612,  # To is not reachable from this From
        21657,  # the sender's name is not supported in this country, or not registered there
        30032,  # the toll-free sender is not verified, which the United States and Canada ask for
        30034,  # the sender is not registered for A2P 10DLC, which the United States ask for
    }
)
# A short code belongs to one country and to the carriers that have approved it. For a short code these codes are about
# the destination.
_UNFIT_SHORT_CODE = frozenset(
    {
        21659,  # From is not a number of Twilio, or a short code of another country
        30006,  # or a short code that the carrier does not know
    }
)
OPTED_OUT_CODE = 21610  # the recipient answered STOP
# Our own account forbids these, for this number only. There is nothing to pause for, and a retry does not help.
_REFUSED = {
    # The account's geographic permissions leave this country out. It says nothing about the next number, so the channel
    # goes on: one message to one blocked country must not stop all SMS.
    21408: Reason.COUNTRY_NOT_ALLOWED,
    OPTED_OUT_CODE: Reason.OPTED_OUT,
}
_PERMANENT = {
    21602: Reason.REJECTED,  # the body is missing
    21608: Reason.REJECTED,  # a trial account sends to numbers that were verified, and this one was not
    21617: Reason.TOO_LARGE,  # over 1,600 characters
    30007: Reason.REJECTED,  # filtered by Twilio or the carrier; repeating it makes matters worse
}
_TEMPORARY = {
    20429: Reason.RATE_LIMITED,  # too many requests
    21611: Reason.RATE_LIMITED,  # the sender's queue is full
    30001: Reason.RATE_LIMITED,  # queue overflow
    30003: Reason.UNAVAILABLE,  # the handset is unreachable
    30008: Reason.UNAVAILABLE,  # unknown error of the carrier
}
_OPERATOR = {
    20003: Reason.AUTH,  # wrong account or token
    20005: Reason.AUTH,  # the account is not active
    21212: Reason.REJECTED,  # invalid From number
    21603: Reason.REJECTED,  # From is missing
    21659: Reason.REJECTED,  # From is not a number of Twilio
    21660: Reason.REJECTED,  # From is not a number of this account
    21661: Reason.REJECTED,  # From cannot send SMS
    21701: Reason.REJECTED,  # the messaging service does not exist in this account
    21705: Reason.REJECTED,  # the messaging service is invalid
    30002: Reason.QUOTA,  # the account is suspended
}


class RefusalError(Exception):
    """Twilio did not create the message."""

    def __init__(self, status: int, code: int | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.retry_after = retry_after


class UnreadableAnswerError(Exception):
    """Twilio answered with success, but not with the message that it created."""


def verdict(error: RefusalError | UnreadableAnswerError, *, short_code: bool = False) -> DeliveryError:
    """Say what an answer means.

    Args:
        error: the answer.
        short_code: the sender is one.
    """
    if isinstance(error, UnreadableAnswerError):
        return OutcomeUnknown(Reason.BAD_ANSWER, "no message resource in the answer")
    found = _of_code(error, short_code=short_code) or _of_status(error)
    return found.said(str(error.code or error.status))


def unanswered(error: Exception) -> DeliveryError:
    """Say what the lack of an answer means."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        # aiohttp raises these only while it connects. Its own classes derive from them.
        return ProviderMisconfigured(Reason.AUTH, f"TLS {type(error).__name__}")
    return http_attempt.verdict(error)


def of_callback(code: int, *, short_code: bool) -> RecipientGone | DeliveryRefused | None:
    """Say what the code of a status callback means for the number; None if it means nothing.

    Args:
        short_code: the sender was one.
    """
    if _is_gone(code, short_code=short_code):
        return RecipientGone(str(code))
    return DeliveryRefused(Reason.OPTED_OUT, str(code)) if code == OPTED_OUT_CODE else None


def _is_gone(code: int, *, short_code: bool) -> bool:
    return code in _GONE and not (short_code and code in _UNFIT_SHORT_CODE)


def _of_code(refusal: RefusalError, *, short_code: bool) -> DeliveryError | None:
    code, detail = refusal.code, _detail(refusal)
    if code is None:
        return None
    if code in _UNFIT or (short_code and code in _UNFIT_SHORT_CODE):
        return RouteUnfit(Reason.REJECTED, detail)
    if _is_gone(code, short_code=short_code):
        return RecipientGone(detail)
    if code in _REFUSED:
        return DeliveryRefused(_REFUSED[code], detail)
    if code in _PERMANENT:
        return PermanentFailure(_PERMANENT[code], detail)
    if code in _TEMPORARY:
        return TemporaryFailure(_TEMPORARY[code], detail, retry_after=refusal.retry_after)
    if code in _OPERATOR:
        return ProviderMisconfigured(_OPERATOR[code], detail)
    return None


def _of_status(refusal: RefusalError) -> DeliveryError:
    detail = _detail(refusal)
    match refusal.status:
        case 408:
            # RFC 9110, 15.5.9: the server did not get the whole request.
            return TemporaryFailure(Reason.TIMEOUT, detail, retry_after=refusal.retry_after)
        case 429:
            return TemporaryFailure(Reason.RATE_LIMITED, detail, retry_after=refusal.retry_after)
        case 401 | 403:
            return ProviderMisconfigured(Reason.AUTH, detail)
        case 402:
            return ProviderMisconfigured(Reason.QUOTA, detail)
        case 404 | 405 | 407:
            # Not of this account, or not Twilio at all.
            return ProviderMisconfigured(Reason.REJECTED, detail)
        case status if status >= 500:
            return OutcomeUnknown(Reason.UNAVAILABLE, detail)
        case status if status >= 400:
            return PermanentFailure(Reason.REJECTED, detail)
        case _:
            return ProviderMisconfigured(Reason.BAD_ANSWER, detail)


def _detail(refusal: RefusalError) -> str:
    return f"{refusal.status} {refusal.code}" if refusal.code else str(refusal.status)

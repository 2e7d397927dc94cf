"""What Twilio's answer, or its silence, means for the delivery: a pure function.

Twilio's own code outranks the HTTP status. Where an SMS may have been taken the verdict is ``OutcomeUnknown``, because
a second one costs money. No text of an answer is kept: Twilio quotes the number in it.
"""

import ssl
from datetime import timedelta

import aiohttp

from shared.errors import (
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)

# All codes: twilio.com/docs/api/errors/CODE.
GONE_CODES = frozenset(
    {
        21211,  # invalid To number
        21614,  # To is not a mobile number
        30005,  # unknown destination handset
        30006,  # landline or unreachable carrier
    }
)
OPTED_OUT_CODE = 21610  # the recipient answered STOP
# Our own side forbids these, for this number alone: nothing to pause for, nothing that a retry mends.
_REFUSED = {
    # The account's geographic permissions leave this country out. It says nothing about the next number, so the channel
    # goes on: one message to one blocked country must not stop all SMS.
    21408: Reason.COUNTRY_NOT_ALLOWED,
    OPTED_OUT_CODE: Reason.OPTED_OUT,
}
_PERMANENT = {
    21602: Reason.REJECTED,  # the body is missing
    21612: Reason.REJECTED,  # To is not reachable from this From
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
    21606: Reason.REJECTED,  # From cannot send SMS
    21659: Reason.REJECTED,  # From is not a number of this account
    30002: Reason.QUOTA,  # the account is suspended
    30034: Reason.REJECTED,  # the sender is not registered for A2P 10DLC
}


class RefusalError(Exception):
    """Twilio answered with something else than a created message."""

    def __init__(self, status: int, code: int | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.retry_after = retry_after


class UnreadableAnswerError(Exception):
    """Twilio said yes, but not what it made of the message."""


def verdict(error: Exception) -> DeliveryError:
    """Say what an answer, or the lack of one, means."""
    kind = type(error).__name__
    match error:
        case RefusalError():
            return _of_code(error) or _of_status(error)
        case UnreadableAnswerError():
            return OutcomeUnknown(Reason.BAD_ANSWER, "no message resource in the answer")
        case aiohttp.ConnectionTimeoutError():
            return TemporaryFailure(Reason.TIMEOUT, "connect")
        case ssl.SSLError():
            # aiohttp raises these while connecting only; its own classes derive from them.
            return ProviderMisconfigured(Reason.AUTH, f"TLS {kind}")
        case aiohttp.ClientConnectorError():
            return TemporaryFailure(Reason.NETWORK, kind)
        case aiohttp.InvalidURL():
            return ProviderMisconfigured(Reason.REJECTED, kind)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return OutcomeUnknown(Reason.BAD_ANSWER, kind)
        case _:
            return OutcomeUnknown(Reason.NETWORK, kind)


def _of_code(refusal: RefusalError) -> DeliveryError | None:
    code, detail = refusal.code, _detail(refusal)
    if code in GONE_CODES:
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

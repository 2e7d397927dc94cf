"""Twilio's answers as a table."""

import ssl
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from services.sms.twilio.verdict import RefusalError, UnreadableAnswerError, unanswered, verdict
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

# aiohttp builds it from a request; here only the classes matter.
KEY: Any = Mock(spec=ConnectionKey, host="api.example.com", port=443, ssl=True, is_ssl=True)


@pytest.mark.parametrize(
    ("status", "code", "kind", "reason"),
    [
        (429, 20429, TemporaryFailure, Reason.RATE_LIMITED),
        (429, None, TemporaryFailure, Reason.RATE_LIMITED),
        (400, 21611, TemporaryFailure, Reason.RATE_LIMITED),
        (400, 30001, TemporaryFailure, Reason.RATE_LIMITED),
        (400, 30003, TemporaryFailure, Reason.UNAVAILABLE),
        (400, 30008, TemporaryFailure, Reason.UNAVAILABLE),
        (408, None, TemporaryFailure, Reason.TIMEOUT),
        (400, 21211, RecipientGone, Reason.GONE),
        (400, 21614, RecipientGone, Reason.GONE),
        (400, 21265, RecipientGone, Reason.GONE),
        (400, 21268, RecipientGone, Reason.GONE),
        (400, 21635, RecipientGone, Reason.GONE),
        (400, 30005, RecipientGone, Reason.GONE),
        (400, 30006, RecipientGone, Reason.GONE),
        (400, 21610, DeliveryRefused, Reason.OPTED_OUT),
        (400, 21408, DeliveryRefused, Reason.COUNTRY_NOT_ALLOWED),
        (403, 21408, DeliveryRefused, Reason.COUNTRY_NOT_ALLOWED),
        (400, 21602, PermanentFailure, Reason.REJECTED),
        (400, 21608, PermanentFailure, Reason.REJECTED),
        (400, 21617, PermanentFailure, Reason.TOO_LARGE),
        (400, 30007, PermanentFailure, Reason.REJECTED),
        (400, 99999, PermanentFailure, Reason.REJECTED),
        (400, None, PermanentFailure, Reason.REJECTED),
        (401, 20003, ProviderMisconfigured, Reason.AUTH),
        (401, None, ProviderMisconfigured, Reason.AUTH),
        (403, 20003, ProviderMisconfigured, Reason.AUTH),
        (403, None, ProviderMisconfigured, Reason.AUTH),
        (404, 20404, ProviderMisconfigured, Reason.REJECTED),
        (400, 21266, RouteUnfit, Reason.REJECTED),
        (400, 21606, RouteUnfit, Reason.REJECTED),
        (400, 21612, RouteUnfit, Reason.REJECTED),
        (400, 21657, RouteUnfit, Reason.REJECTED),
        (400, 30032, RouteUnfit, Reason.REJECTED),
        (400, 30034, RouteUnfit, Reason.REJECTED),
        (400, 21212, ProviderMisconfigured, Reason.REJECTED),
        (400, 21659, ProviderMisconfigured, Reason.REJECTED),
        (400, 21660, ProviderMisconfigured, Reason.REJECTED),
        (400, 21661, ProviderMisconfigured, Reason.REJECTED),
        (400, 21701, ProviderMisconfigured, Reason.REJECTED),
        (400, 21705, ProviderMisconfigured, Reason.REJECTED),
        (400, 30002, ProviderMisconfigured, Reason.QUOTA),
        (302, None, ProviderMisconfigured, Reason.BAD_ANSWER),
        (500, 20500, OutcomeUnknown, Reason.UNAVAILABLE),
        (502, None, OutcomeUnknown, Reason.UNAVAILABLE),
        (503, 20503, OutcomeUnknown, Reason.UNAVAILABLE),
        (504, None, OutcomeUnknown, Reason.UNAVAILABLE),
    ],
)
def test_an_answer(status: int, code: int | None, kind: type[DeliveryError], reason: Reason) -> None:
    found = verdict(RefusalError(status, code))
    assert (type(found), found.reason) == (kind, reason)


@pytest.mark.parametrize("code", [21659, 30006])
def test_what_a_short_code_cannot_reach_another_sender_may(code: int) -> None:
    # Short codes belong to one country and to the carriers that have taken them on.
    assert isinstance(verdict(RefusalError(400, code), short_code=True), RouteUnfit)
    assert not isinstance(verdict(RefusalError(400, code)), RouteUnfit)


def test_a_rate_limit_carries_the_time_that_twilio_asks_for() -> None:
    found = verdict(RefusalError(429, 20429, timedelta(seconds=7)))
    assert isinstance(found, TemporaryFailure)
    assert found.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError()), TemporaryFailure, Reason.NETWORK),
        (aiohttp.ClientConnectorDNSError(KEY, OSError()), TemporaryFailure, Reason.NETWORK),
        (aiohttp.ConnectionTimeoutError(), TemporaryFailure, Reason.TIMEOUT),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError()),
            ProviderMisconfigured,
            Reason.AUTH,
        ),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError()), ProviderMisconfigured, Reason.AUTH),
        (aiohttp.InvalidURL("x"), ProviderMisconfigured, Reason.REJECTED),
        (aiohttp.ServerDisconnectedError(), OutcomeUnknown, Reason.NETWORK),
        (aiohttp.ClientOSError(104, "reset"), OutcomeUnknown, Reason.NETWORK),
        (ConnectionResetError(), OutcomeUnknown, Reason.NETWORK),
        (aiohttp.ClientPayloadError(), OutcomeUnknown, Reason.BAD_ANSWER),
    ],
)
def test_no_answer(error: Exception, kind: type[DeliveryError], reason: Reason) -> None:
    found = unanswered(error)
    assert (type(found), found.reason) == (kind, reason)


def test_an_answer_without_a_message_may_stand_for_one() -> None:
    found = verdict(UnreadableAnswerError())
    assert (type(found), found.reason) == (OutcomeUnknown, Reason.BAD_ANSWER)

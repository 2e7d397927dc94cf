"""What the providers' refusals mean, as tables."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from google.auth.exceptions import RefreshError, TransportError

from services.push import apns, apns_pool, fcm, webpush
from services.push.apns_connection import ApnsAnswer
from services.push.exchange import Answer
from shared.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
FCM_ERROR = {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError"}
BAD_REQUEST = {"@type": "type.googleapis.com/google.rpc.BadRequest"}


def apns_answer(
    status: int, reason: str | None, *, timestamp: int | None = None, wait: str | None = None
) -> ApnsAnswer:
    body = b"" if reason is None else json.dumps({"reason": reason, "timestamp": timestamp}).encode()
    return ApnsAnswer("id", str(status), body, wait)


def check(error: DeliveryError, kind: type[DeliveryError], reason: Reason) -> None:
    assert (type(error), error.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("status", "word", "kind", "reason"),
    [
        (400, "BadCollapseId", PermanentFailure, Reason.REJECTED),
        (400, "BadExpirationDate", PermanentFailure, Reason.REJECTED),
        (400, "PayloadEmpty", PermanentFailure, Reason.REJECTED),
        (400, "SomethingNew", PermanentFailure, Reason.REJECTED),
        (400, None, TemporaryFailure, Reason.BAD_ANSWER),
        (400, "BadTopic", ProviderMisconfigured, Reason.REJECTED),
        (400, "MissingTopic", ProviderMisconfigured, Reason.REJECTED),
        (400, "TopicDisallowed", ProviderMisconfigured, Reason.REJECTED),
        (400, "IdleTimeout", TemporaryFailure, Reason.NETWORK),
        (403, "ExpiredProviderToken", ProviderMisconfigured, Reason.AUTH),
        (403, "InvalidProviderToken", ProviderMisconfigured, Reason.AUTH),
        (403, None, ProviderMisconfigured, Reason.AUTH),
        (404, "BadPath", PermanentFailure, Reason.REJECTED),
        (405, "MethodNotAllowed", PermanentFailure, Reason.REJECTED),
        (410, "Unregistered", RecipientGone, Reason.GONE),
        (410, "ExpiredToken", RecipientGone, Reason.GONE),
        (410, None, TemporaryFailure, Reason.BAD_ANSWER),
        (413, "PayloadTooLarge", PermanentFailure, Reason.TOO_LARGE),
        (429, "TooManyRequests", TemporaryFailure, Reason.RATE_LIMITED),
        (429, None, TemporaryFailure, Reason.RATE_LIMITED),
        (429, "TooManyProviderTokenUpdates", ProviderMisconfigured, Reason.AUTH),
        (500, "InternalServerError", TemporaryFailure, Reason.UNAVAILABLE),
        (503, "Shutdown", TemporaryFailure, Reason.UNAVAILABLE),
        (503, None, TemporaryFailure, Reason.UNAVAILABLE),
        (302, None, TemporaryFailure, Reason.BAD_ANSWER),
    ],
)
@pytest.mark.parametrize("proven", [True, False])
def test_apns(status: int, word: str | None, kind: type[DeliveryError], reason: Reason, proven: bool) -> None:
    check(apns.verdict(apns_answer(status, word), NOW, proven=proven), kind, reason)


def test_apns_says_since_when_a_token_is_gone() -> None:
    error = apns.verdict(apns_answer(410, "Unregistered", timestamp=1767603600000), NOW, proven=False)
    assert error.detail == "410 Unregistered since 2026-01-05T09:00:00.000Z"
    assert (
        apns.verdict(apns_answer(410, "Unregistered", timestamp=10**30), NOW, proven=False).detail == "410 Unregistered"
    )


def test_a_strange_apns_token_accuses_the_settings_until_one_push_was_taken() -> None:
    bad, other_app = apns_answer(400, "BadDeviceToken"), apns_answer(400, "DeviceTokenNotForTopic")
    check(apns.verdict(bad, NOW, proven=False), PermanentFailure, Reason.REJECTED)
    check(apns.verdict(bad, NOW, proven=True), RecipientGone, Reason.GONE)
    check(apns.verdict(other_app, NOW, proven=False), ProviderMisconfigured, Reason.REJECTED)
    check(apns.verdict(other_app, NOW, proven=True), PermanentFailure, Reason.REJECTED)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"reason": 5}', b'{"reason": "two words"}', b"[" * 4000])
def test_an_apns_answer_in_another_format_has_no_reason(body: bytes) -> None:
    answer = ApnsAnswer("id", "400", body, None)
    assert answer.description in ("", "5")
    assert answer.timestamp is None


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (TimeoutError(), TemporaryFailure, Reason.TIMEOUT),
        (ConnectionRefusedError(), TemporaryFailure, Reason.NETWORK),
        (OutcomeUnknown(Reason.BAD_ANSWER), TemporaryFailure, Reason.BAD_ANSWER),
    ],
)
def test_what_fails_while_connecting_was_never_sent(
    error: Exception, kind: type[DeliveryError], reason: Reason
) -> None:
    check(apns_pool.connect_verdict(error), kind, reason)


def google(status: str, message: str = "", *details: object) -> bytes:
    return json.dumps({"error": {"status": status, "message": message, "details": details}}).encode()


def fcm_code(code: str, message: str = "") -> bytes:
    return google("X", message, {**FCM_ERROR, "errorCode": code})


BAD_TOKEN = "The registration token is not a valid FCM registration token"


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (200, b"", OutcomeUnknown, Reason.BAD_ANSWER),
        (400, b"<html>", TemporaryFailure, Reason.BAD_ANSWER),
        (400, google("INVALID_ARGUMENT"), PermanentFailure, Reason.REJECTED),
        (400, google("INVALID_ARGUMENT", "Android message is too big"), PermanentFailure, Reason.REJECTED),
        (400, fcm_code("INVALID_ARGUMENT", "Android message is too big"), PermanentFailure, Reason.REJECTED),
        (400, google("INVALID_ARGUMENT", BAD_TOKEN), PermanentFailure, Reason.REJECTED),
        (400, fcm_code("INVALID_ARGUMENT", BAD_TOKEN), RecipientGone, Reason.GONE),
        (401, google("UNAUTHENTICATED"), ProviderMisconfigured, Reason.AUTH),
        (401, fcm_code("THIRD_PARTY_AUTH_ERROR"), ProviderMisconfigured, Reason.AUTH),
        (403, google("PERMISSION_DENIED"), ProviderMisconfigured, Reason.AUTH),
        (404, fcm_code("UNREGISTERED"), RecipientGone, Reason.GONE),
        (404, google("NOT_FOUND"), ProviderMisconfigured, Reason.REJECTED),
        (404, b"", ProviderMisconfigured, Reason.REJECTED),
        (413, b"", PermanentFailure, Reason.TOO_LARGE),
        (429, fcm_code("QUOTA_EXCEEDED"), TemporaryFailure, Reason.RATE_LIMITED),
        (500, fcm_code("INTERNAL"), TemporaryFailure, Reason.UNAVAILABLE),
        (503, fcm_code("UNAVAILABLE"), TemporaryFailure, Reason.UNAVAILABLE),
        (502, b"<html>", TemporaryFailure, Reason.UNAVAILABLE),
        (307, b"", TemporaryFailure, Reason.BAD_ANSWER),
    ],
)
@pytest.mark.parametrize("proven", [True, False])
def test_fcm(status: int, body: bytes, kind: type[DeliveryError], reason: Reason, proven: bool) -> None:
    check(fcm.verdict(Answer(status, body, None), NOW, proven=proven), kind, reason)


@pytest.mark.parametrize(
    ("fields", "gone"), [(["message.token"], True), (["message.data[0].value"], False), (["message.token", "x"], False)]
)
def test_fcm_forgets_a_token_only_when_the_token_is_all_that_is_wrong(fields: list[str], gone: bool) -> None:
    violations = {**BAD_REQUEST, "fieldViolations": [{"field": field} for field in fields]}
    body = google("INVALID_ARGUMENT", "Invalid value", {**FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}, violations)
    error = fcm.verdict(Answer(400, body, None), NOW, proven=True)
    assert isinstance(error, RecipientGone) is gone


def test_a_sender_mismatch_accuses_our_project_until_one_push_was_taken() -> None:
    answer = Answer(403, fcm_code("SENDER_ID_MISMATCH"), None)
    check(fcm.verdict(answer, NOW, proven=False), ProviderMisconfigured, Reason.AUTH)
    check(fcm.verdict(answer, NOW, proven=True), PermanentFailure, Reason.REJECTED)


@pytest.mark.parametrize(
    "body",
    [b"[]", b'{"error": []}', b'{"error": {"details": [1, {"fieldViolations": 3}]}}', b'{"error": {"status": "a b"}}'],
)
def test_a_google_error_of_another_shape_has_no_word(body: bytes) -> None:
    assert fcm.refusal(body) == ""


def test_fcm_without_retry_after_waits_a_minute() -> None:
    waits = [fcm.verdict(Answer(429, b"", header), NOW, proven=True) for header in (None, "5")]
    assert [error.retry_after for error in waits if isinstance(error, TemporaryFailure)] == [
        timedelta(seconds=60),
        timedelta(seconds=5),
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TransportError("down"), TemporaryFailure),  # type: ignore[no-untyped-call]
        (RefreshError("down", retryable=True), TemporaryFailure),  # type: ignore[no-untyped-call]
        (RefreshError("invalid_grant"), ProviderMisconfigured),  # type: ignore[no-untyped-call]
    ],
)
def test_access_token(error: RefreshError, kind: type[DeliveryError]) -> None:
    assert isinstance(fcm.token_verdict(error), kind)


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (307, TemporaryFailure, Reason.BAD_ANSWER),
        (400, PermanentFailure, Reason.REJECTED),
        (401, ProviderMisconfigured, Reason.AUTH),
        (403, ProviderMisconfigured, Reason.AUTH),
        (404, RecipientGone, Reason.GONE),
        (406, TemporaryFailure, Reason.RATE_LIMITED),
        (408, TemporaryFailure, Reason.TIMEOUT),
        (410, RecipientGone, Reason.GONE),
        (413, PermanentFailure, Reason.TOO_LARGE),
        (429, TemporaryFailure, Reason.RATE_LIMITED),
        (500, TemporaryFailure, Reason.UNAVAILABLE),
        (503, TemporaryFailure, Reason.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("proven", [True, False])
def test_webpush(status: int, kind: type[DeliveryError], reason: Reason, proven: bool) -> None:
    check(webpush.verdict(Answer(status, b"", None), NOW, proven=proven), kind, reason)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, b"the VAPID credentials do not correspond to the credentials used to create the subscriptions.\n"),
        (401, b'{"code":401,"errno":109,"error":"Unauthorized","message":"VAPID public key mismatch"}'),
    ],
)
def test_a_subscription_made_with_another_key_stops_only_itself_once_a_push_was_taken(status: int, body: bytes) -> None:
    answer = Answer(status, body, None)
    check(webpush.verdict(answer, NOW, proven=False), ProviderMisconfigured, Reason.AUTH)
    check(webpush.verdict(answer, NOW, proven=True), PermanentFailure, Reason.REJECTED)

"""What the providers' refusals mean, as tables."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from google.auth.exceptions import RefreshError, TransportError

from services.push.apns import pool as apns_pool
from services.push.apns import provider as apns
from services.push.apns.connection import ApnsAnswer
from services.push.fcm import provider as fcm
from services.push.webpush import provider as webpush
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.delivery.http_attempt import Answer

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
GONE_MS = epoch_ms(NOW) - 3_600_000
FCM_ERROR = {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError"}
BAD_REQUEST = {"@type": "type.googleapis.com/google.rpc.BadRequest"}


def apns_answer(
    status: int, reason: str | None, *, timestamp: int | None = None, wait: str | None = None
) -> ApnsAnswer:
    body = b"" if reason is None else json.dumps({"reason": reason, "timestamp": timestamp}).encode()
    return ApnsAnswer("id", str(status), body, wait)


def apns_verdict(answer: ApnsAnswer, *, sure: bool = True, registered_ms: int | None = None) -> DeliveryError:
    return apns.verdict(answer, NOW, sure=sure, registered_ms=registered_ms)


def check(error: DeliveryError, kind: type[DeliveryError], reason: Reason) -> None:
    assert (type(error), error.reason) == (kind, reason)


# developer.apple.com, "Handling notification responses from APNs", the two tables of status codes and reasons.
@pytest.mark.parametrize(
    ("status", "word", "kind", "reason"),
    [
        (400, "BadCollapseId", PermanentFailure, Reason.REJECTED),
        (400, "BadExpirationDate", PermanentFailure, Reason.REJECTED),
        (400, "BadMessageId", PermanentFailure, Reason.REJECTED),
        (400, "BadPriority", PermanentFailure, Reason.REJECTED),
        (400, "DuplicateHeaders", PermanentFailure, Reason.REJECTED),
        (400, "InvalidPushType", PermanentFailure, Reason.REJECTED),
        (400, "MissingDeviceToken", PermanentFailure, Reason.REJECTED),
        (400, "PayloadEmpty", PermanentFailure, Reason.REJECTED),
        (400, "SomethingNew", PermanentFailure, Reason.REJECTED),
        (400, None, TemporaryFailure, Reason.BAD_ANSWER),
        (400, "BadTopic", ProviderMisconfigured, Reason.REJECTED),
        (400, "MissingTopic", ProviderMisconfigured, Reason.REJECTED),
        (400, "TopicDisallowed", ProviderMisconfigured, Reason.REJECTED),
        (400, "DeviceTokenNotForTopic", PermanentFailure, Reason.REJECTED),
        (400, "IdleTimeout", TemporaryFailure, Reason.NETWORK),
        (403, "BadCertificate", ProviderMisconfigured, Reason.AUTH),
        (403, "BadCertificateEnvironment", ProviderMisconfigured, Reason.AUTH),
        (403, "ExpiredProviderToken", ProviderMisconfigured, Reason.AUTH),
        (403, "Forbidden", PermanentFailure, Reason.REJECTED),
        (403, "MissingProviderToken", ProviderMisconfigured, Reason.AUTH),
        (403, "UnrelatedKeyIdInToken", ProviderMisconfigured, Reason.AUTH),
        (403, "BadEnvironmentKeyIdInToken", ProviderMisconfigured, Reason.AUTH),
        (403, "InvalidProviderToken", ProviderMisconfigured, Reason.AUTH),
        (403, None, TemporaryFailure, Reason.BAD_ANSWER),
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
        (503, "ServiceUnavailable", TemporaryFailure, Reason.UNAVAILABLE),
        (503, "Shutdown", TemporaryFailure, Reason.UNAVAILABLE),
        (503, None, TemporaryFailure, Reason.UNAVAILABLE),
        (302, None, TemporaryFailure, Reason.BAD_ANSWER),
    ],
)
def test_apns(status: int, word: str | None, kind: type[DeliveryError], reason: Reason) -> None:
    check(apns_verdict(apns_answer(status, word)), kind, reason)


def test_apns_says_since_when_a_token_is_gone() -> None:
    error = apns_verdict(apns_answer(410, "Unregistered", timestamp=GONE_MS))
    assert isinstance(error, RecipientGone)
    assert (error.detail, error.since) == ("410 Unregistered since 2026-01-05T08:00:00.000Z", from_epoch_ms(GONE_MS))
    unreadable = apns_verdict(apns_answer(410, "Unregistered", timestamp=10**30))
    assert isinstance(unreadable, RecipientGone)
    assert (unreadable.detail, unreadable.since) == ("410 Unregistered", None)


@pytest.mark.parametrize(
    ("registered_ms", "timestamp", "kind", "reason"),
    [
        (GONE_MS - 1, GONE_MS, RecipientGone, Reason.GONE),
        (None, GONE_MS, RecipientGone, Reason.GONE),
        (GONE_MS + 1, None, RecipientGone, Reason.GONE),
        (GONE_MS, GONE_MS, TemporaryFailure, Reason.UNAVAILABLE),
        (GONE_MS + 1, GONE_MS, TemporaryFailure, Reason.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("word", ["Unregistered", "ExpiredToken"])
def test_an_apns_token_that_was_registered_after_it_was_found_gone_is_not_gone(
    registered_ms: int | None, timestamp: int | None, kind: type[DeliveryError], reason: Reason, word: str
) -> None:
    answer = apns_answer(410, word, timestamp=timestamp)
    check(apns_verdict(answer, registered_ms=registered_ms), kind, reason)


@pytest.mark.parametrize(
    ("sure", "kind", "reason"),
    [(False, PermanentFailure, Reason.REJECTED), (True, RecipientGone, Reason.GONE)],
)
def test_a_bad_apns_token_is_gone_only_where_its_environment_is_sure(
    sure: bool, kind: type[DeliveryError], reason: Reason
) -> None:
    check(apns_verdict(apns_answer(400, "BadDeviceToken"), sure=sure), kind, reason)


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


# firebase.google.com/docs/cloud-messaging/error-codes; the reference's ErrorCode (projects.messages, FcmError).
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
        (401, fcm_code("THIRD_PARTY_AUTH_ERROR"), PermanentFailure, Reason.REJECTED),
        (403, google("PERMISSION_DENIED"), ProviderMisconfigured, Reason.AUTH),
        (403, fcm_code("SENDER_ID_MISMATCH"), PermanentFailure, Reason.REJECTED),
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
def test_fcm(status: int, body: bytes, kind: type[DeliveryError], reason: Reason) -> None:
    check(fcm.verdict(Answer(status, body, None), NOW), kind, reason)


@pytest.mark.parametrize(
    ("fields", "gone"), [(["message.token"], True), (["message.data[0].value"], False), (["message.token", "x"], False)]
)
def test_fcm_forgets_a_token_only_when_the_token_is_all_that_is_wrong(fields: list[str], gone: bool) -> None:
    violations = {**BAD_REQUEST, "fieldViolations": [{"field": field} for field in fields]}
    body = google("INVALID_ARGUMENT", "Invalid value", {**FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}, violations)
    error = fcm.verdict(Answer(400, body, None), NOW)
    assert isinstance(error, RecipientGone) is gone


@pytest.mark.parametrize(
    "body",
    [b"[]", b'{"error": []}', b'{"error": {"details": [1, {"fieldViolations": 3}]}}', b'{"error": {"status": "a b"}}'],
)
def test_a_google_error_of_another_shape_has_no_word(body: bytes) -> None:
    assert fcm.refusal(body) == ""


@pytest.mark.parametrize(
    ("violations", "one_device"),
    [
        (None, False),
        ([], False),
        ([{"subject": "project:1", "description": "Message rate exceeded"}], False),
        ([{"subject": "device", "description": "Device message rate exceeded"}], True),
        ([{"description": "device message rate"}, {"description": "message rate"}], False),
        ("nonsense", False),
    ],
)
def test_an_fcm_limit_is_of_one_device_only_where_it_says_so(violations: object, one_device: bool) -> None:
    failure = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}
    body = google("RESOURCE_EXHAUSTED", "", {**FCM_ERROR, "errorCode": "QUOTA_EXCEEDED"}, failure)
    assert fcm.is_of_one_device(body) is one_device


def test_fcm_without_retry_after_waits_a_minute() -> None:
    waits = [fcm.verdict(Answer(429, b"", header), NOW) for header in (None, "5")]
    assert [error.retry_after for error in waits if isinstance(error, TemporaryFailure)] == [
        timedelta(seconds=60),
        timedelta(seconds=5),
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TransportError("down"), TemporaryFailure),  # type: ignore[no-untyped-call]
        (RefreshError("down", retryable=True), TemporaryFailure),  # type: ignore[no-untyped-call]
        (
            RefreshError("invalid_grant: None", {"error": "invalid_grant"}),  # type: ignore[no-untyped-call]
            ProviderMisconfigured,
        ),
        (RefreshError("<html>"), TemporaryFailure),  # type: ignore[no-untyped-call]
    ],
)
def test_access_token(error: RefreshError, kind: type[DeliveryError]) -> None:
    assert isinstance(fcm.token_verdict(error), kind)


# RFC 8030, 5 and 7; RFC 8292, 4.2; learn.microsoft.com, "Push notification service request and response headers".
@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (307, TemporaryFailure, Reason.BAD_ANSWER),
        (400, PermanentFailure, Reason.REJECTED),
        (401, PermanentFailure, Reason.REJECTED),
        (403, PermanentFailure, Reason.REJECTED),
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
def test_webpush(status: int, kind: type[DeliveryError], reason: Reason) -> None:
    check(webpush.verdict(Answer(status, b"", None), NOW), kind, reason)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, b"the VAPID credentials do not correspond to the credentials used to create the subscriptions.\n"),
        (401, b'{"code":401,"errno":109,"error":"Unauthorized","message":"VAPID public key mismatch"}'),
    ],
)
def test_a_subscription_made_with_another_key_is_told_from_other_refusals(status: int, body: bytes) -> None:
    error = webpush.verdict(Answer(status, body, None), NOW)
    check(error, PermanentFailure, Reason.REJECTED)
    assert error.code == f"{status} {webpush.OTHER_KEY}"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (apns_verdict(apns_answer(410, "Unregistered", timestamp=GONE_MS)), "410 Unregistered"),
        (apns_verdict(apns_answer(400, "BadDeviceToken"), sure=False), "400 BadDeviceToken"),
        (apns_verdict(apns_answer(413, "PayloadTooLarge")), "413 PayloadTooLarge"),
        (fcm.verdict(Answer(404, fcm_code("UNREGISTERED"), None), NOW), "404 UNREGISTERED"),
        (fcm.verdict(Answer(403, fcm_code("SENDER_ID_MISMATCH"), None), NOW), "403 SENDER_ID_MISMATCH"),
        (webpush.verdict(Answer(410, b"", None), NOW), "410"),
    ],
)
def test_a_refusal_for_good_has_the_code_that_others_would_have_got(error: DeliveryError, code: str) -> None:
    assert error.code == code

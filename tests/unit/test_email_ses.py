"""Amazon SES: its answers as a table, its settings, and when its signer is imported."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from yarl import URL

from services.email.providers import EmailServiceSettings
from services.email.ses import DAILY_QUOTA, SesSettings, refusal, signer, verdict
from shared.core.errors import (
    ConfigError,
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
)
from shared.delivery.http_attempt import Answer

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
GIVEN: dict[str, Any] = {
    "email_ses_region": "eu-west-1",
    "email_ses_access_key_id": "AKIDEXAMPLE",
    "email_ses_secret_access_key": SECRET,
}


def answer(status: int, word: str = "", text: str = "", wait: str | None = None) -> Answer:
    return Answer(status, json.dumps({"message": text}).encode(), wait, {"X-Amzn-ErrorType": word} if word else {})


@pytest.mark.parametrize(
    ("status", "word", "kind", "reason"),
    [
        (400, "AccountSuspendedException", ProviderMisconfigured, Reason.REJECTED),
        (400, "SendingPausedException", ProviderMisconfigured, Reason.REJECTED),
        (400, "MailFromDomainNotVerifiedException", ProviderMisconfigured, Reason.REJECTED),
        (404, "NotFoundException", ProviderMisconfigured, Reason.REJECTED),
        (404, "UnknownOperationException", ProviderMisconfigured, Reason.REJECTED),
        (400, "MessageRejected", PermanentFailure, Reason.REJECTED),
        (400, "BadRequestException", PermanentFailure, Reason.REJECTED),
        (403, "AccessDeniedException", PermanentFailure, Reason.REJECTED),
        (400, "SomethingElse", PermanentFailure, Reason.REJECTED),
        (400, "", PermanentFailure, Reason.REJECTED),
        (413, "RequestEntityTooLargeException", PermanentFailure, Reason.TOO_LARGE),
        (400, "LimitExceededException", TemporaryFailure, Reason.RATE_LIMITED),
        (429, "TooManyRequestsException", TemporaryFailure, Reason.RATE_LIMITED),
        (429, "", TemporaryFailure, Reason.RATE_LIMITED),
        (400, "ThrottlingException", TemporaryFailure, Reason.RATE_LIMITED),
        (400, "Throttling", TemporaryFailure, Reason.RATE_LIMITED),
        (408, "RequestTimeoutException", TemporaryFailure, Reason.TIMEOUT),
        (503, "ServiceUnavailable", TemporaryFailure, Reason.UNAVAILABLE),
        # It may have been taken.
        (503, "", OutcomeUnknown, Reason.UNAVAILABLE),
        (500, "InternalFailure", OutcomeUnknown, Reason.UNAVAILABLE),
        (502, "", OutcomeUnknown, Reason.UNAVAILABLE),
        (302, "", TemporaryFailure, Reason.BAD_ANSWER),
        *(
            (status, word, ProviderMisconfigured, Reason.AUTH)
            for status in (400, 403)
            for word in (
                "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId",
                "InvalidSignatureException", "MissingAuthenticationToken", "OptInRequired", "RequestExpired",
                "SignatureDoesNotMatch", "UnrecognizedClientException",
            )
        ),
    ],
)  # fmt: skip
def test_an_answer_means(status: int, word: str, kind: type[DeliveryError], reason: Reason) -> None:
    error = verdict(answer(status, word, "user123@example.com"), NOW)
    assert (type(error), error.reason) == (kind, reason)
    assert "example.com" not in f"{error} {error.detail} {error.code}"
    if isinstance(error, PermanentFailure):
        assert error.code == f"{status} {word}".strip()


@pytest.mark.parametrize(("status", "word"), [(429, "TooManyRequestsException"), (400, "ThrottlingException")])
def test_a_spent_daily_quota_is_the_operators(status: int, word: str) -> None:
    error = verdict(answer(status, word, "Daily message quota exceeded."), NOW)
    assert (type(error), error.reason, error.detail) == (
        ProviderMisconfigured,
        Reason.QUOTA,
        f"{status} {DAILY_QUOTA}",
    )


@pytest.mark.parametrize(("wait", "expected_s"), [("5", 5), ("Mon, 05 Jan 2026 09:01:00 GMT", 60), (None, None)])
def test_a_limit_that_names_a_time_is_kept_to(wait: str | None, expected_s: int | None) -> None:
    error = verdict(answer(429, "TooManyRequestsException", wait=wait), NOW)
    assert isinstance(error, TemporaryFailure)
    assert error.retry_after == (None if expected_s is None else timedelta(seconds=expected_s))


@pytest.mark.parametrize(
    ("headers", "body", "word"),
    [
        ({"X-Amzn-ErrorType": "MessageRejected"}, {}, "MessageRejected"),
        ({"X-Amzn-ErrorType": "MessageRejected:http://internal.example.com/"}, {}, "MessageRejected"),
        ({}, {"__type": "com.example#MessageRejected"}, "MessageRejected"),
        ({}, {"code": "MessageRejected"}, "MessageRejected"),
        ({"X-Amzn-ErrorType": "MessageRejected"}, {"__type": "Other"}, "MessageRejected"),
        ({"X-Amzn-ErrorType": "user123@example.com was here"}, {}, ""),
        ({}, {"__type": 7}, ""),
        ({}, [], ""),
    ],
)
def test_the_name_of_an_error_is_found(headers: dict[str, str], body: object, word: str) -> None:
    assert refusal(Answer(400, json.dumps(body).encode(), None, headers)) == word


def test_no_name_of_an_error_is_found_in_what_is_no_json() -> None:
    assert refusal(Answer(400, b"<html>" + b"[" * 100_000, None)) == ""


def test_a_request_is_signed_as_botocore_signs_it() -> None:
    sign = signer(SesSettings.model_validate(GIVEN | {"email_ses_session_token": "t/ok+"}))
    url = URL("https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails")
    headers = sign(url, {"Content-Type": "application/json", "X-Amz-Date": "20261128T120000Z"}, b'{"a": 1}')
    assert headers["x-amz-security-token"] == "t/ok+"
    # botocore 1.44.8, SigV4Auth, at the same time and with the same header fields.
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261128/eu-west-1/ses/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token, "
        "Signature=63b222e29ec6b8de1dfc2a1378f444507bdcbbf8c59ff1f00d23d6d16e8b6bda"
    )
    assert SECRET not in str(headers)


def test_a_new_day_has_a_new_key() -> None:
    sign = signer(SesSettings.model_validate(GIVEN))
    url = URL("https://email.eu-west-1.amazonaws.com/")
    for day in ("20261128", "20261129"):
        signed = sign(url, {"X-Amz-Date": f"{day}T120000Z"}, b"")
        assert f"AKIDEXAMPLE/{day}/eu-west-1/" in signed["Authorization"]
        assert signed == signer(SesSettings.model_validate(GIVEN))(url, {"X-Amz-Date": f"{day}T120000Z"}, b"")


def test_mails_go_to_the_endpoint_of_the_region_unless_another_server_is_named() -> None:
    ses = SesSettings.model_validate(GIVEN)
    assert str(ses.endpoint) == "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails"
    ses = SesSettings.model_validate(GIVEN | {"email_ses_url": "http://127.0.0.1:8025/"})
    assert str(ses.endpoint) == "http://127.0.0.1:8025/v2/email/outbound-emails"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMAIL_SES_REGION", "eu-west-1.example.com/"),
        ("EMAIL_SES_REGION", "Ireland"),
        ("EMAIL_SES_ACCESS_KEY_ID", "AKIA, Credential"),
        ("EMAIL_SES_SESSION_TOKEN", "to\nken"),
        ("EMAIL_SES_URL", "https://email.example.com/v2?x=1"),
        ("EMAIL_SES_URL", "https://user:hunter2@email.example.com"),
    ],
)
def test_a_malformed_setting_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    given = {"mqtt_url": "mqtt://localhost", "redis_url": "redis://localhost", "email_from": "a@example.com", **GIVEN}
    for each, text in given.items():
        monkeypatch.setenv(each.upper(), text)
    assert EmailServiceSettings.load().of(SesSettings) is not None
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as refused:
        EmailServiceSettings.load()
    assert value not in str(refused.value)


def test_a_service_without_ses_does_not_import_the_signer() -> None:
    code = "import sys, services.email.__main__; sys.exit('requests_aws4auth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own words

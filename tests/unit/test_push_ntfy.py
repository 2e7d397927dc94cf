"""What ntfy is sent, and what its refusals mean."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack, get_args

import pytest

from services.push import ntfy, payload
from services.push.ntfy import DOCUMENT_LIMIT_BYTES, MESSAGE_LIMIT_BYTES
from services.push.providers import PROVIDERS
from shared.core.clock import SystemClock
from shared.core.errors import (
    ConfigError,
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
)
from shared.core.model import Address, AlertDetails, Platform, Priority, TokenPlatform
from shared.delivery.http_attempt import Answer
from shared.directory.routes import device_address
from tests.push import What, android, build_providers, ios, make_attempt, settings_from
from tests.push import ntfy as topic

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
URL = "https://ntfy.example.com"


def sent(**what: Unpack[What]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ntfy.message(make_attempt(topic("ops"), **what), "ops"))
    return document


def refusal(status: int, code: object, wait: str | None = None) -> DeliveryError:
    body = b"<html>" if code is None else json.dumps({"code": code, "http": status, "error": "secret"}).encode()
    return ntfy.verdict(Answer(status, body, wait), NOW)


def test_an_alert_has_a_button_and_opens_its_page() -> None:
    url = "https://notify.example.com/v1/answer?token=abc"
    alert = AlertDetails(type="disk", level="critical", source="disk-watch", requires_acknowledgment=True)
    attempt = make_attempt(topic("ops"), message="Full.", alert=alert, now=NOW)
    document = json.loads(ntfy.message(attempt, "ops", url))
    assert document["message"] == "Full.\nSource: disk-watch\nSince: 2026-01-05 09:00 UTC"
    assert document["actions"] == [
        {"action": "http", "label": "Acknowledge", "url": url, "method": "POST", "clear": True}
    ]
    assert document["click"] == url
    own = make_attempt(topic("ops"), alert=alert, data={"url": "https://example.com/runbook"}, now=NOW)
    assert json.loads(ntfy.message(own, "ops", url))["click"] == "https://example.com/runbook"
    assert "actions" not in json.loads(ntfy.message(own, "ops"))


# Codes: ntfy's server/errors.go.
@pytest.mark.parametrize(
    ("status", "code", "kind", "reason"),
    [
        (200, None, OutcomeUnknown, Reason.BAD_ANSWER),
        (301, None, TemporaryFailure, Reason.BAD_ANSWER),
        (400, None, TemporaryFailure, Reason.BAD_ANSWER),
        (400, 40007, PermanentFailure, Reason.REJECTED),
        (400, 40009, PermanentFailure, Reason.REJECTED),
        (400, 40010, PermanentFailure, Reason.REJECTED),
        (400, 40014, PermanentFailure, Reason.REJECTED),
        (400, 40024, PermanentFailure, Reason.REJECTED),
        (401, 40101, ProviderMisconfigured, Reason.AUTH),
        (401, None, ProviderMisconfigured, Reason.AUTH),
        (403, 40301, PermanentFailure, Reason.REJECTED),
        (404, 40401, ProviderMisconfigured, Reason.REJECTED),
        (404, None, ProviderMisconfigured, Reason.REJECTED),
        (413, 41301, PermanentFailure, Reason.TOO_LARGE),
        (413, 41303, PermanentFailure, Reason.TOO_LARGE),
        (429, 42901, TemporaryFailure, Reason.RATE_LIMITED),
        (429, 42904, TemporaryFailure, Reason.RATE_LIMITED),
        (429, 42908, TemporaryFailure, Reason.RATE_LIMITED),
        (429, 42909, ProviderMisconfigured, Reason.AUTH),
        (429, None, TemporaryFailure, Reason.RATE_LIMITED),
        (500, 50001, TemporaryFailure, Reason.UNAVAILABLE),
        (502, None, TemporaryFailure, Reason.UNAVAILABLE),
        (507, 50701, TemporaryFailure, Reason.UNAVAILABLE),
    ],
)
def test_what_each_answer_means(status: int, code: int | None, kind: type[DeliveryError], reason: Reason) -> None:
    error = refusal(status, code)
    assert (type(error), error.reason) == (kind, reason)
    assert "secret" not in str(error)


def test_a_refusal_names_ntfys_code_and_nothing_else_of_the_answer() -> None:
    assert refusal(403, 40301).code == "403 40301"
    for odd in ("planted", True, -1, 10**12, [1], 1.5):
        assert refusal(403, odd).code == "403"


def test_the_wait_that_is_asked_for_is_kept() -> None:
    error = refusal(429, 42901, "60")
    assert isinstance(error, TemporaryFailure)
    assert error.retry_after == timedelta(seconds=60)


@pytest.mark.parametrize(
    ("priority", "expected"), [(Priority.CRITICAL, 5), (Priority.HIGH, 4), (Priority.NORMAL, 3), (Priority.LOW, 2)]
)
def test_priorities_are_ntfys(priority: Priority, expected: int) -> None:
    assert sent(priority=priority)["priority"] == expected


def test_a_message_has_its_title_its_category_and_its_link() -> None:
    document = sent(title="Down", message="db-3", category="disk", data={"url": "https://status.example.com/3"})
    assert document.pop("sequence_id")
    assert document == {
        "topic": "ops",
        "title": "Down",
        "message": "db-3",
        "priority": 3,
        "tags": ["disk"],
        "click": "https://status.example.com/3",
    }


@pytest.mark.parametrize("url", ["/inbox", "intent://x", "https://", "https://a b", 7, None, {"url": "https://a"}])
def test_what_is_no_web_address_is_no_link(url: object) -> None:
    assert "click" not in sent(data={"url": url})


def test_a_repeated_push_is_in_the_sequence_of_the_first_and_another_is_not() -> None:
    first, second = make_attempt(topic()), make_attempt(topic())
    ids = [json.loads(ntfy.message(attempt, "ops"))["sequence_id"] for attempt in (first, first, second)]
    assert ids[0] == ids[1] == payload.collapse_id(first) != ids[2]


@pytest.mark.parametrize("letter", ["a", "ä", "😀", '"', "\x01"])
def test_a_long_text_is_shortened_so_that_it_stays_a_message(letter: str) -> None:
    attempt = make_attempt(
        topic("ops"), message=letter * 5000, title='"' * 200, data={"url": "https://a.test/" + "x" * 1900}
    )
    document = ntfy.message(attempt, "ops")
    text = json.loads(document)["message"]
    assert text.endswith("…")
    assert len(text.encode()) <= MESSAGE_LIMIT_BYTES
    assert len(document) <= DOCUMENT_LIMIT_BYTES
    # Not more is cut off than has to be.
    assert len(text.encode()) > MESSAGE_LIMIT_BYTES - 8 or len(document) > DOCUMENT_LIMIT_BYTES - 8


def test_what_does_not_fit_without_text_is_too_large() -> None:
    with pytest.raises(PermanentFailure) as caught:
        sent(data={"url": "https://a.test/" + "x" * DOCUMENT_LIMIT_BYTES})
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        (URL, True),
        ("https://ntfy.sh/", True),
        ("http://127.0.0.1:2586", True),
        ("http://localhost:2586", True),
        ("http://[::1]:2586", True),
        ("http://ntfy.example.com", False),
        ("https://user:pass@ntfy.example.com", False),
        ("https://ntfy.example.com/topic", False),
        ("ntfy.example.com", False),
    ],
)
def test_the_token_goes_nowhere_in_the_clear(url: str, is_good: bool) -> None:
    if is_good:
        assert settings_from({"PUSH_NTFY_URL": url}).of(ntfy.NtfySettings)
    else:
        with pytest.raises(ConfigError, match="PUSH_NTFY_URL"):
            settings_from({"PUSH_NTFY_URL": url})


@pytest.mark.parametrize("token", ["", "tk_a b", "tk_a\r\nX: y", "tk_ä"])
def test_a_token_that_fits_no_header_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="PUSH_NTFY_TOKEN: an access token"):
        settings_from({"PUSH_NTFY_URL": URL, "PUSH_NTFY_TOKEN": token})


@pytest.mark.parametrize(("address", "names"), [(ios(), []), (android(), []), (topic(), ["ntfy"])])
async def test_it_gets_topics_and_nothing_else(address: Address, names: list[str]) -> None:
    built = build_providers(settings_from({"PUSH_NTFY_URL": URL}), SystemClock())
    delivery = make_attempt(address).delivery
    assert [provider.name for provider in built if provider.handles(delivery)] == names
    for provider in built:
        await provider.close()


def test_every_platform_but_the_web_has_tokens_and_keeps_its_name() -> None:
    assert {*get_args(TokenPlatform)} == {*Platform} - {Platform.WEB}
    for platform in get_args(TokenPlatform):
        assert device_address(platform, "token-1").platform is platform
    with pytest.raises(ValueError, match="subscription"):
        device_address(Platform.WEB, "token-1")


def test_its_place_is_below_those_that_were_there_before() -> None:
    assert PROVIDERS[-1] is ntfy.NTFY

"""Vonage's answers as a table, and its settings."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from services.sms.providers import SmsServiceSettings
from services.sms.vonage import VonageSettings, verdict
from shared.core.errors import (
    ConfigError,
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
from shared.delivery.http_attempt import Answer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GENERAL = "https://developer.vonage.com/api-errors"
OF_MESSAGES = f"{GENERAL}/messages"


def answer(status: int, link: object = None, retry_after: str | None = None) -> Answer:
    return Answer(status, json.dumps({"type": link, "title": "+12025550123"}).encode(), retry_after)


@pytest.mark.parametrize(
    ("status", "link", "kind", "reason"),
    [
        (400, None, PermanentFailure, Reason.REJECTED),
        # The specification's own spelling.
        (401, f"{GENERAL}/#unathorized", ProviderMisconfigured, Reason.AUTH),
        (401, f"{GENERAL}/#unprovisioned", ProviderMisconfigured, Reason.AUTH),
        (401, None, ProviderMisconfigured, Reason.AUTH),
        (402, None, ProviderMisconfigured, Reason.QUOTA),
        (403, None, ProviderMisconfigured, Reason.AUTH),
        (403, f"{GENERAL}#low-balance", ProviderMisconfigured, Reason.QUOTA),
        (403, f"{GENERAL}#account-suspended", ProviderMisconfigured, Reason.AUTH),
        (404, None, ProviderMisconfigured, Reason.REJECTED),
        (405, None, ProviderMisconfigured, Reason.REJECTED),
        (407, None, ProviderMisconfigured, Reason.REJECTED),
        (408, None, TemporaryFailure, Reason.TIMEOUT),
        (413, None, PermanentFailure, Reason.TOO_LARGE),
        (429, None, TemporaryFailure, Reason.RATE_LIMITED),
        (429, f"{OF_MESSAGES}#1000", TemporaryFailure, Reason.RATE_LIMITED),
        (403, f"{GENERAL}#throttled", TemporaryFailure, Reason.RATE_LIMITED),
        (422, f"{OF_MESSAGES}#1000", TemporaryFailure, Reason.RATE_LIMITED),
        (422, f"{OF_MESSAGES}#1241", TemporaryFailure, Reason.RATE_LIMITED),
        (422, f"{OF_MESSAGES}#1460", TemporaryFailure, Reason.RATE_LIMITED),
        (422, f"{OF_MESSAGES}#1472", TemporaryFailure, Reason.RATE_LIMITED),
        (422, f"{OF_MESSAGES}#1180", TemporaryFailure, Reason.UNAVAILABLE),
        (422, f"{OF_MESSAGES}#1220", TemporaryFailure, Reason.UNAVAILABLE),
        (422, f"{OF_MESSAGES}#1230", TemporaryFailure, Reason.UNAVAILABLE),
        (422, f"{OF_MESSAGES}#1331", TemporaryFailure, Reason.UNAVAILABLE),
        (422, f"{OF_MESSAGES}#110", RecipientGone, Reason.GONE),
        (422, f"{OF_MESSAGES}#1170", RecipientGone, Reason.GONE),
        (422, f"{OF_MESSAGES}#1190", RecipientGone, Reason.GONE),
        (422, f"{OF_MESSAGES}#1430", RecipientGone, Reason.GONE),
        (422, f"{OF_MESSAGES}#1240", DeliveryRefused, Reason.OPTED_OUT),
        (422, f"{OF_MESSAGES}#1474", DeliveryRefused, Reason.COUNTRY_NOT_ALLOWED),
        (422, f"{OF_MESSAGES}#1050", RouteUnfit, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1120", RouteUnfit, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1250", RouteUnfit, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1251", RouteUnfit, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1420", RouteUnfit, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1480", RouteUnfit, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1481", RouteUnfit, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1482", RouteUnfit, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1060", ProviderMisconfigured, Reason.AUTH),
        (422, f"{OF_MESSAGES}#1070", ProviderMisconfigured, Reason.QUOTA),
        (422, f"{OF_MESSAGES}#1080", ProviderMisconfigured, Reason.AUTH),
        (422, f"{OF_MESSAGES}#1476", ProviderMisconfigured, Reason.REJECTED),
        # Filtered, or one of the codes that mean two things: by the status.
        (422, f"{OF_MESSAGES}#1210", PermanentFailure, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1100", PermanentFailure, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#1150", PermanentFailure, Reason.REJECTED),
        (422, f"{OF_MESSAGES}#9999", PermanentFailure, Reason.REJECTED),
        (422, None, PermanentFailure, Reason.REJECTED),
        (422, 7, PermanentFailure, Reason.REJECTED),
        (302, None, TemporaryFailure, Reason.BAD_ANSWER),
        (500, f"{OF_MESSAGES}#1030", OutcomeUnknown, Reason.UNAVAILABLE),
        (502, None, OutcomeUnknown, Reason.UNAVAILABLE),
        (503, None, OutcomeUnknown, Reason.UNAVAILABLE),
        # A yes without an id may stand for a message.
        (202, None, OutcomeUnknown, Reason.BAD_ANSWER),
    ],
)
def test_an_answer(status: int, link: object, kind: type[DeliveryError], reason: Reason) -> None:
    found = verdict(answer(status, link), NOW)
    assert (type(found), found.reason) == (kind, reason)
    assert "2025550123" not in str(found)


def test_the_code_is_its_own_word_for_a_refusal() -> None:
    assert verdict(answer(422, f"{OF_MESSAGES}#1150"), NOW).code == "422 1150"


@pytest.mark.parametrize("link", [f"{OF_MESSAGES}#+12025550123", f"{OF_MESSAGES}#{'a' * 41}", f"{OF_MESSAGES}#a b"])
def test_what_is_no_code_is_not_kept(link: str) -> None:
    assert verdict(answer(422, link), NOW).code == "422"


def test_a_rate_limit_carries_the_time_that_vonage_asks_for() -> None:
    found = verdict(answer(429, f"{GENERAL}#throttled", "15"), NOW)
    assert isinstance(found, TemporaryFailure)
    assert found.retry_after == timedelta(seconds=15)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in {
        "MQTT_URL": "mqtt://localhost",
        "REDIS_URL": "redis://localhost",
        "SMS_ALLOWED_COUNTRIES": "*",
        "SMS_VONAGE_API_KEY": "abcd1234",
        "SMS_VONAGE_API_SECRET": "hunter2",
        "SMS_VONAGE_FROM": "+12025550100",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_settings_are_enough_and_the_secret_is_masked(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SMS_VONAGE_BASE_URL", "https://api-eu.nexmo.com")
    settings = SmsServiceSettings.load()
    assert settings.of(VonageSettings) is not None
    assert "hunter2" not in str(settings.masked())


@pytest.mark.parametrize("sender", ["+12025550100", "12025550100", "12345", "Carillon", "4Bells"])
def test_every_kind_of_sender_may_be_set(environment: pytest.MonkeyPatch, sender: str) -> None:
    environment.setenv("SMS_VONAGE_FROM", sender)
    assert SmsServiceSettings.load().of(VonageSettings) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMS_VONAGE_API_KEY", "ab:cd"),
        ("SMS_VONAGE_FROM", "Bell Co"),
        ("SMS_VONAGE_FROM", "ALONGERNAMETHANELEVEN"),
        ("SMS_VONAGE_FROM", "+1234567890123456"),
        ("SMS_VONAGE_FROM", "+12025550100,+12025550101"),
        ("SMS_VONAGE_BASE_URL", "api.nexmo.com"),
        ("SMS_VONAGE_BASE_URL", "https://user:hunter2@api.nexmo.com"),
    ],
)
def test_a_malformed_one_is_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as refusal:
        SmsServiceSettings.load()
    assert "hunter2" not in str(refusal.value)

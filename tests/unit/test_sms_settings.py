"""What the SMS service's settings mean, and how a wrong one is refused."""

import pytest

from services.sms.countries import country_of, is_allowed, parse_countries
from services.sms.providers import SmsServiceSettings
from services.sms.twilio.provider import TwilioSettings
from services.sms.twilio.senders import sender_parameter
from shared.core.errors import ConfigError

_REQUIRED = {
    "MQTT_URL": "mqtt://localhost",
    "REDIS_URL": "redis://localhost",
    "SMS_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "SMS_TWILIO_AUTH_TOKEN": "hunter2",
    "SMS_TWILIO_FROM": "+15005550006",
    "SMS_ALLOWED_COUNTRIES": "US, de",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in _REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def senders() -> tuple[str, ...]:
    twilio = SmsServiceSettings.load().of(TwilioSettings)
    assert twilio is not None
    return twilio.senders


def test_the_settings_are_read_and_the_token_masked() -> None:
    settings = SmsServiceSettings.load()
    assert settings.countries == {"US", "DE"}
    assert (settings.ops_port, settings.sms_concurrency) == (9102, 10)
    assert "hunter2" not in str(settings.masked())


@pytest.mark.parametrize("name", [name for name in _REQUIRED if name.startswith("SMS_")])
def test_each_one_is_required(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(ConfigError, match=f"{name}: required"):
        SmsServiceSettings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMS_ALLOWED_COUNTRIES", "US,XX"),
        ("SMS_ALLOWED_COUNTRIES", "US,*"),
        ("SMS_ALLOWED_COUNTRIES", "US,"),
        ("SMS_ALLOWED_COUNTRIES", "Germany"),
        ("SMS_TWILIO_FROM", "+49 151"),
        ("SMS_TWILIO_FROM", "MG" + "a" * 31),
        ("SMS_TWILIO_FROM", "1234567890"),
        ("SMS_TWILIO_FROM", "ALONGERNAMETHANELEVEN"),
        ("SMS_TWILIO_ACCOUNT_SID", "SK123"),
        ("SMS_TWILIO_ACCOUNT_SID", "AC/../x"),
        ("SMS_TWILIO_BASE_URL", "api.example.com"),
        ("SMS_TWILIO_BASE_URL", "ftp://api.example.com"),
        ("SMS_TWILIO_BASE_URL", "https://user:hunter2@api.example.com"),
        ("SMS_TWILIO_BASE_URL", "https://api.example.com:99999"),
        ("SMS_CONCURRENCY", "0"),
        ("SMS_TWILIO_FROM", "+15005550006,+49 151"),
        ("SMS_TWILIO_FROM", "+15005550006,+15005550006"),
        ("SMS_TWILIO_FROM", "+15005550006,"),
        ("SMS_MAX_SEGMENTS", "0"),
        ("SMS_CAP_PER_NUMBER", "-1"),
        ("SMS_CALLBACK_URL", "sms.example.com"),
        ("SMS_CALLBACK_URL", "https://sms.example.com/?a=b"),
    ],
)
def test_a_malformed_one_is_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as refusal:
        SmsServiceSettings.load()
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("sender", ["+15005550006", "12345", "MG" + "a" * 32, "Carillon", "4Bells", "Bell Co 24"])
def test_every_kind_of_sender_may_be_set(environment: pytest.MonkeyPatch, sender: str) -> None:
    environment.setenv("SMS_TWILIO_FROM", sender)
    name = "messaging_service_sid" if sender.startswith("MG") else "from_"
    assert [sender_parameter(each) for each in senders()] == [{name: sender}]


def test_several_senders_keep_their_order(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SMS_TWILIO_FROM", "+15005550006, Carillon,12345")
    assert senders() == ("+15005550006", "Carillon", "12345")


def test_the_callback_endpoint_is_set_whole_or_not_at_all(environment: pytest.MonkeyPatch) -> None:
    assert SmsServiceSettings.load().callbacks is None
    environment.setenv("SMS_CALLBACK_PORT", "8081")
    with pytest.raises(ConfigError, match="SMS_CALLBACK_PORT and SMS_CALLBACK_URL"):
        SmsServiceSettings.load()
    environment.setenv("SMS_CALLBACK_URL", "https://sms.example.com/carillon/")
    callbacks = SmsServiceSettings.load().callbacks
    assert callbacks is not None
    assert (callbacks.port, callbacks.url) == (8081, "https://sms.example.com/carillon")


@pytest.mark.parametrize(
    ("phone", "country"),
    [
        ("+12025550123", "US"),
        ("+15005550006", "US"),
        ("+12425550123", "BS"),
        ("+447700900123", "GB"),
        ("+441481960194", "GG"),
        ("+4915112345678", "DE"),
        ("+77010001234", "KZ"),
        ("+870773111632", None),
        ("+1", None),
        ("user123", None),
    ],
)
def test_a_number_belongs_to_a_country(phone: str, country: str | None) -> None:
    assert country_of(phone) == country


def test_only_an_allowed_country_is_reached() -> None:
    countries = parse_countries("us")
    assert is_allowed("+12025550123", countries)
    # The same calling code, and one of the places where sending is dear.
    assert not is_allowed("+12425550123", countries)
    assert not is_allowed("+870773111632", countries)
    assert is_allowed("+870773111632", parse_countries("*"))

"""Settings of the realtime service."""

from pathlib import Path

import pytest

from services.realtime.bounces.sns import host_of
from services.realtime.settings import RealtimeSettings, region_of_topic, topic_list
from shared.core.errors import ConfigError

SECRET = "s" * 32


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("MQTT_URL", "mqtt://broker")
    monkeypatch.setenv("REDIS_URL", "redis://store")
    return monkeypatch


def test_secret_is_enough_and_is_never_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REALTIME_JWT_SECRET", SECRET)
    settings = RealtimeSettings.load()
    assert (settings.realtime_port, settings.ops_port, settings.allowed_origins) == (8080, 9104, frozenset())
    assert SECRET not in str(settings.masked())


def test_origins_are_read_as_a_list(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REALTIME_JWT_SECRET", SECRET)
    environment.setenv("REALTIME_ALLOWED_ORIGINS", "https://app.example.com, http://localhost:3000")
    assert RealtimeSettings.load().allowed_origins == {"https://app.example.com", "http://localhost:3000"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REALTIME_JWT_SECRET", "too short"),
        ("REALTIME_JWKS_URL", "ftp://keys.example.com"),
        ("REALTIME_ALLOWED_ORIGINS", "https://*"),
        ("REALTIME_ALLOWED_ORIGINS", "https://app.example.org/"),
        ("REALTIME_ALLOWED_ORIGINS", "app.example.org"),
        ("REALTIME_WEBPUSH_PUBLIC_KEY", "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4"),
        ("REALTIME_BOUNCES_SES_TOPIC_ARNS", "arn:aws:sqs:eu-west-1:123456789012:bounces"),
        ("REALTIME_BOUNCES_SES_TOPIC_ARNS", "arn:aws:sns:example.com/:123456789012:bounces"),
        ("REALTIME_BOUNCES_SENDGRID_PUBLIC_KEY", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"),
        ("REALTIME_BOUNCES_POSTMARK_USER", "a:b"),
        ("REALTIME_BOUNCES_POSTMARK_PASSWORD", "guessable"),
        ("REALTIME_BOUNCES_MAILGUN_SIGNING_KEY", "short"),
        ("REALTIME_PORT", "99999"),
        ("REALTIME_PROT", "8123"),
    ],
)
def test_wrong_setting_is_named_and_its_value_is_not_repeated(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv("REALTIME_JWT_SECRET", SECRET)
    environment.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as caught:
        RealtimeSettings.load()
    assert value not in str(caught.value)


def test_neither_secret_nor_key_set_is_refused_and_so_are_both(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="REALTIME_JWT_SECRET or REALTIME_JWKS_URL"):
        RealtimeSettings.load()
    environment.setenv("REALTIME_JWT_SECRET", SECRET)
    environment.setenv("REALTIME_JWKS_URL", "https://keys.example.com/jwks.json")
    with pytest.raises(ConfigError, match="not both"):
        RealtimeSettings.load()


def test_secrets_of_bounce_reports_may_come_from_files_and_are_never_shown(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("REALTIME_JWT_SECRET", SECRET)
    for name, secret in (("POSTMARK_PASSWORD", "p" * 40), ("MAILGUN_SIGNING_KEY", "m" * 32)):
        (tmp_path / name).write_text(secret + "\n")
        environment.setenv(f"REALTIME_BOUNCES_{name}_FILE", str(tmp_path / name))
    settings = RealtimeSettings.load()
    assert settings.realtime_bounces_mailgun_signing_key is not None
    assert settings.realtime_bounces_mailgun_signing_key.get_secret_value() == "m" * 32
    assert "p" * 40 not in str(settings.masked())
    assert "m" * 32 not in str(settings.masked())


def test_topics_are_read_as_a_list_with_their_regions(environment: pytest.MonkeyPatch) -> None:
    topics = ["arn:aws:sns:eu-west-1:123456789012:bounces", "arn:aws-cn:sns:cn-north-1:123456789012:a_b-c"]
    environment.setenv("REALTIME_JWT_SECRET", SECRET)
    environment.setenv("REALTIME_BOUNCES_SES_TOPIC_ARNS", ", ".join(topics))
    read = topic_list(RealtimeSettings.load().realtime_bounces_ses_topic_arns or "")
    assert read == topics
    assert [host_of(region_of_topic(topic)) for topic in read] == [
        "sns.eu-west-1.amazonaws.com",
        "sns.cn-north-1.amazonaws.com.cn",
    ]

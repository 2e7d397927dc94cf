"""Settings of the realtime service."""

import pytest

from services.realtime.settings import RealtimeSettings
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

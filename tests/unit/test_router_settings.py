"""The router's settings whose text is more than a number or a name."""

import pytest

from services.router.settings import RouterSettings
from shared.core.errors import ConfigError
from shared.directory.quiet_hours import QuietHours


@pytest.fixture(autouse=True)
def needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_URL", "mqtt://127.0.0.1")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1")


def test_quiet_hours_are_a_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    document = '{"timezone": "Europe/Paris", "windows": [{"from": "22:00", "to": "07:00"}]}'
    monkeypatch.setenv("ROUTER_QUIET_HOURS", document)
    assert RouterSettings.load().router_quiet_hours == QuietHours.model_validate_json(document)
    monkeypatch.setenv("ROUTER_QUIET_HOURS", "")
    assert RouterSettings.load().router_quiet_hours is None


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("22:00", "ROUTER_QUIET_HOURS: must be a JSON object"),
        ('{"windows": [{"from": "22:00"}]}', "ROUTER_QUIET_HOURS.WINDOWS.0.TO: required"),
        ('{"windos": []}', "ROUTER_QUIET_HOURS.WINDOS: "),
    ],
)
def test_what_is_wrong_with_quiet_hours_is_named(monkeypatch: pytest.MonkeyPatch, said: str, problem: str) -> None:
    monkeypatch.setenv("ROUTER_QUIET_HOURS", said)
    with pytest.raises(ConfigError, match=problem):
        RouterSettings.load()

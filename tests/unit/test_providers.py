"""What holds for every provider in a channel's list: its settings, its tests, and who knows of it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grimp
import pytest

from services.email.providers import PROVIDERS as EMAIL
from services.email.providers import EmailServiceSettings
from services.push.providers import PROVIDERS as PUSH
from services.push.providers import PushServiceSettings
from services.sms.providers import PROVIDERS as SMS
from services.sms.providers import SmsServiceSettings
from shared.core.errors import ConfigError
from shared.runtime.providers import ProviderKind
from shared.runtime.settings import ChannelSettings, CommonSettings

TESTS = Path(__file__).parents[1]
CHANNELS: list[tuple[type[ChannelSettings], Sequence[ProviderKind[Any, Any]]]] = [
    (EmailServiceSettings, EMAIL),
    (SmsServiceSettings, SMS),
    (PushServiceSettings, PUSH),
]
Kind = ProviderKind[Any, Any]
kinds = pytest.mark.parametrize(
    ("settings", "kind"),
    [pytest.param(settings, kind, id=kind.settings.__name__) for settings, each in CHANNELS for kind in each],
)
channels = pytest.mark.parametrize("settings", [settings for settings, _ in CHANNELS])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in {
        "MQTT_URL": "mqtt://localhost",
        "REDIS_URL": "redis://localhost",
        "EMAIL_FROM": "notifications@example.com",
        "SMS_ALLOWED_COUNTRIES": "*",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@kinds
def test_its_names_begin_as_its_channels_do_and_are_nobody_elses(settings: type[ChannelSettings], kind: Kind) -> None:
    names = kind.settings.model_fields.keys()
    assert kind.settings.needed()
    assert {name for name in names if not name.startswith(f"{settings.channel}_")} == set()
    others = [group.model_fields.keys() for group in settings.groups if group is not kind.settings]
    assert names & {*settings.model_fields, *(name for each in others for name in each)} == set()
    assert [name for name, field in kind.settings.model_fields.items() if not field.description] == []


@kinds
def test_it_is_set_whole_or_not_at_all(
    environment: pytest.MonkeyPatch, settings: type[ChannelSettings], kind: Kind
) -> None:
    for name in kind.settings.model_fields:
        others = [needed for needed in kind.settings.needed() if needed != name.upper()]
        if others:
            with environment.context() as only:
                only.setenv(name.upper(), "x")
                with pytest.raises(ConfigError, match=f"{', '.join(others)}: required, because {name.upper()} is set"):
                    settings.load()


@kinds
def test_a_misspelt_name_is_refused(
    environment: pytest.MonkeyPatch, settings: type[ChannelSettings], kind: Kind
) -> None:
    name = kind.settings.needed()[0]
    environment.setenv(f"{name}X", "x")
    with pytest.raises(ConfigError, match=f"{name}X: unknown setting, did you mean {name}"):
        settings.load()


@channels
def test_without_any_the_message_names_the_first_setting_of_each(settings: type[ChannelSettings]) -> None:
    names = " or ".join(group.needed()[0] for group in settings.groups)
    with pytest.raises(ConfigError, match=f"no {settings.channel} provider is configured: set {names}"):
        settings.load()


@channels
def test_what_is_wrong_with_the_rest_is_told_as_well(
    environment: pytest.MonkeyPatch, settings: type[ChannelSettings]
) -> None:
    environment.delenv("REDIS_URL")
    environment.setenv(next(reversed(settings.groups[0].model_fields)).upper(), "x")
    with pytest.raises(ConfigError, match=r"REDIS_URL: required; \w+"):
        settings.load()


@kinds
def test_only_the_list_knows_it(settings: type[ChannelSettings], kind: Kind) -> None:
    channel = f"services.{settings.channel}"
    room = ".".join(kind.settings.__module__.split(".")[:3])
    graph = grimp.build_graph("services")
    inside = {room, *graph.find_descendants(room)}
    knowing = set().union(*(graph.find_modules_that_directly_import(module) for module in inside)) - inside
    assert knowing == {f"{channel}.providers"}


@kinds
def test_it_keeps_the_provider_contract(settings: type[ChannelSettings], kind: Kind) -> None:
    cases = (TESTS / "integration" / f"test_contract_{settings.channel}.py").read_text()
    assert kind.settings.__name__.removesuffix("Settings") in cases


def test_the_common_settings_are_no_providers() -> None:
    assert CommonSettings.every_field().keys() == CommonSettings.model_fields.keys()

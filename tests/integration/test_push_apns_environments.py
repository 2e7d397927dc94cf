"""Apple's two push services: each device is reached at the one that knows its app's environment."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.credentials import service_environment
from sandbox.script import Rule
from sandbox.server import Options, Sandbox, running
from services.push.apns.provider import APNS_SANDBOX_URL, APNS_URL, ApnsSettings
from services.push.settings import PushSettings
from shared.core.clock import SystemClock
from shared.core.errors import DeliveryError, PermanentFailure, RecipientGone
from shared.core.model import AppEnvironment, MobileToken
from shared.delivery.attempt import Receipt
from shared.delivery.provider import Provider
from tests.attempts import outcome
from tests.push import build_providers, ios, make_attempt, settings_from


def environment(box: Sandbox, **names: str | None) -> dict[str, str]:
    changed = {**service_environment(box.credentials.data), **names}
    return {name: value for name, value in changed.items() if value is not None}


@pytest.fixture
async def developers(box: Sandbox, tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A second push service with the same keys."""
    shutil.copytree(box.credentials.data, tmp_path / "developers")
    async with running(Options(data=tmp_path / "developers")) as sandbox:
        yield sandbox


@pytest.fixture
async def apns(box: Sandbox, developers: Sandbox) -> AsyncIterator[Provider]:
    settings = settings_from(environment(box, PUSH_APNS_SANDBOX_URL=developers.addresses.apns_url))
    built = build_providers(settings, SystemClock())
    yield built[0]
    for each in built:
        await each.close()


def device(known: AppEnvironment | None) -> MobileToken:
    return ios().model_copy(update={"environment": known})


async def test_a_push_goes_to_the_service_of_its_devices_environment(
    box: Sandbox, developers: Sandbox, apns: Provider
) -> None:
    for known, message in [
        (None, "unknown"),
        (AppEnvironment.PRODUCTION, "store"),
        (AppEnvironment.SANDBOX, "developer"),
    ]:
        assert isinstance(await outcome(apns, make_attempt(device(known), message=message)), Receipt)
    assert [entry.as_json()["body"] for entry in box.kept.select()] == ["unknown", "store"]
    assert [entry.as_json()["body"] for entry in developers.kept.select()] == ["developer"]


@pytest.mark.parametrize(
    ("known", "kind"),
    [(None, PermanentFailure), (AppEnvironment.PRODUCTION, RecipientGone), (AppEnvironment.SANDBOX, RecipientGone)],
)
async def test_a_bad_token_is_gone_only_where_its_environment_is_known(
    box: Sandbox, developers: Sandbox, apns: Provider, known: AppEnvironment | None, kind: type[DeliveryError]
) -> None:
    for sandbox in (box, developers):
        sandbox.script.add(
            Rule.model_validate({"provider": "apns", "fault": {"status": 400, "code": "BadDeviceToken"}})
        )
    assert type(await outcome(apns, make_attempt(device(known)))) is kind


def urls(settings: PushSettings) -> tuple[str, str]:
    apns = settings.of(ApnsSettings)
    assert apns is not None
    return apns.urls[AppEnvironment.PRODUCTION], apns.urls[AppEnvironment.SANDBOX]


async def test_the_settings_name_both_services_or_one_for_both(box: Sandbox) -> None:
    one, other = "https://one.example.com", "https://other.example.com"
    apples = environment(box, PUSH_APNS_URL=None)
    assert urls(settings_from(apples)) == (APNS_URL, APNS_SANDBOX_URL)
    assert urls(settings_from({**apples, "PUSH_APNS_URL": one})) == (one, one)
    assert urls(settings_from({**apples, "PUSH_APNS_SANDBOX_URL": other})) == (APNS_URL, other)
    both = {"PUSH_APNS_URL": one, "PUSH_APNS_SANDBOX_URL": other}
    assert urls(settings_from({**apples, **both})) == (one, other)

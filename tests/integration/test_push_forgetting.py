"""Forgetting devices against a real directory and the sandbox: only what is gone, and never in masses."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from sandbox.credentials import service_environment
from sandbox.script import Rule
from sandbox.server import Sandbox
from services.push.forgetting import Forgetting, counting
from shared.core.clock import SystemClock, epoch_ms
from shared.core.errors import RecipientGone
from shared.core.model import Channel, MobileToken, WebSubscription
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.forgetting import FREE_IN_WINDOW, ForgettingLimit
from shared.delivery.rules import Guarded, guarded
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.store.keys import Keys
from shared.store.store import Store
from tests.attempts import outcome
from tests.conftest import EmptyStore
from tests.push import android, build_providers, ios, make_attempt, settings_from
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

NOW = datetime.now(UTC)
REGISTERED = NOW - timedelta(days=1)
TOKEN = "0a" * 32
OTHER = "0b" * 32


@pytest.fixture
async def directory(store: EmptyStore) -> AsyncIterator[Directory]:
    async with Store(store.url) as opened:
        directory = Directory(opened, Keys())
        await directory.put(person("user123", TOKEN, OTHER))
        yield directory


@pytest.fixture
def stops() -> ForgettingLimit:
    return ForgettingLimit(Channel.PUSH)


@pytest.fixture
async def apns(box: Sandbox, directory: Directory, stops: ForgettingLimit) -> AsyncIterator[Guarded]:
    settings = settings_from(service_environment(box.credentials.data))
    built = build_providers(settings, SystemClock())
    [provider] = guarded(Forgetting(directory, stops), built[:1])
    yield provider
    for each in built:
        await each.close()


def person(user_id: str, *tokens: str, registered_at: datetime = REGISTERED) -> Person:
    devices = [{"platform": "ios", "token": token, "registered_at": registered_at} for token in tokens]
    return Person.model_validate({"user_id": user_id, "devices": devices})


async def tokens(directory: Directory, user_id: str = "user123") -> list[str]:
    found = await directory.person(user_id)
    return [device.identity for device in found.devices] if found else []


def registered(token: str = TOKEN, at: datetime = REGISTERED) -> MobileToken:
    return ios(token).model_copy(update={"registered_ms": epoch_ms(at)})


def gone(box: Sandbox, *, times: int = 1, **body: object) -> None:
    fault: dict[str, object] = {"status": 410, **({"body": {"reason": "Unregistered", **body}} if body else {})}
    box.script.add(Rule.model_validate({"provider": "apns", "times": times, "fault": fault}))


def attempt_for(user_id: str | None, token: str = TOKEN) -> Attempt:
    attempt = make_attempt(registered(token))
    return replace(attempt, delivery=attempt.delivery.model_copy(update={"recipient": user_id}))


async def test_a_token_that_is_gone_leaves_its_owners_record(box: Sandbox, apns: Guarded, directory: Directory) -> None:
    gone(box)
    assert isinstance(await outcome(apns, make_attempt(registered())), RecipientGone)
    assert await tokens(directory) == [OTHER]
    assert isinstance(await outcome(apns, make_attempt(registered(OTHER))), Receipt)


async def test_a_browser_that_unsubscribed_leaves_its_owners_record(
    box: Sandbox, directory: Directory, stops: ForgettingLimit
) -> None:
    async with aiohttp.ClientSession(box.addresses.http_url, raise_for_status=True) as http:
        async with http.post("/webpush/subscriptions", json={"name": "browser"}) as answer:
            subscription = await answer.json()
        async with http.delete("/webpush/subscriptions/browser"):
            pass
    browser = {"platform": "web", "subscription": subscription, "registered_at": REGISTERED}
    await directory.put(Person.model_validate({"user_id": "user123", "devices": [browser]}))
    address = WebSubscription(endpoint=subscription["endpoint"], **subscription["keys"])
    built = build_providers(settings_from(service_environment(box.credentials.data)), SystemClock())
    [webpush] = guarded(Forgetting(directory, stops), built[2:])
    assert isinstance(await outcome(webpush, make_attempt(address)), RecipientGone)
    assert await tokens(directory) == []
    for each in built:
        await each.close()


async def test_a_device_that_registered_again_meanwhile_keeps_its_place(
    box: Sandbox, apns: Guarded, directory: Directory
) -> None:
    # The delivery was planned before, the record says otherwise by now.
    await directory.put(person("user123", TOKEN, registered_at=NOW))
    gone(box, timestamp=epoch_ms(NOW - timedelta(hours=1)))
    assert isinstance(await outcome(apns, make_attempt(registered())), RecipientGone)
    assert await tokens(directory) == [TOKEN]
    # Without a timestamp it counts when we asked.
    await directory.put(person("user123", TOKEN, registered_at=datetime.now(UTC) + timedelta(minutes=1)))
    gone(box, timestamp=None)
    assert isinstance(await outcome(apns, make_attempt(registered())), RecipientGone)
    assert await tokens(directory) == [TOKEN]


async def test_a_token_that_belongs_to_nobody_is_nobodys_loss(
    box: Sandbox, apns: Guarded, directory: Directory
) -> None:
    gone(box)
    assert isinstance(await outcome(apns, attempt_for(None)), RecipientGone)
    assert await tokens(directory) == [TOKEN, OTHER]


async def test_forgetting_stops_when_everything_looks_gone(
    box: Sandbox, apns: Guarded, directory: Directory, stops: ForgettingLimit
) -> None:
    names = [f"user{number}" for number in range(FREE_IN_WINDOW * 3)]
    own = {name: f"{number:064x}" for number, name in enumerate(names)}
    await asyncio.gather(*(directory.put(person(name, own[name])) for name in names))
    gone(box, times=len(names))
    for name in names:
        assert isinstance(await outcome(apns, attempt_for(name, own[name])), RecipientGone)
    assert stops.is_on
    kept = [name for name in names if await tokens(directory, name)]
    assert len(kept) == len(names) - FREE_IN_WINDOW


async def test_a_delivery_ends_as_it_would_have_when_the_store_is_away(box: Sandbox, apns: Guarded) -> None:
    gone(box)
    async with Store("redis://127.0.0.1:1") as away:
        [forgetting] = guarded(Forgetting(Directory(away, Keys()), ForgettingLimit(Channel.PUSH)), [apns])
        assert isinstance(await outcome(forgetting, make_attempt(registered())), RecipientGone)


async def test_other_platforms_are_left_to_other_providers(apns: Guarded) -> None:
    assert apns.name == "apns"
    assert apns.handles(make_attempt(ios()).delivery)
    assert not apns.handles(make_attempt(android()).delivery)


async def test_the_limit_learns_how_many_devices_there_are(directory: Directory, stops: ForgettingLimit) -> None:
    async with counting(directory, stops, interval_s=0.05):
        await eventually(lambda: stops.known == 2)
        await directory.put(person("user124", "0c" * 32))
        await eventually(lambda: stops.known == 3)

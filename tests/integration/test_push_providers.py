"""The push providers against the sandbox's APNs, FCM and Web Push servers, a process of its own."""

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

import pytest

from services.push import payload
from shared.core.clock import SystemClock
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.core.model import Address, Priority
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.provider import Provider
from tests.attempts import outcome
from tests.push import (
    ANDROID_TOKEN,
    IOS_TOKEN,
    PushSandbox,
    What,
    android,
    build_providers,
    changed,
    ios,
    make_attempt,
    running_sandbox,
)
from tests.waiting import eventually

BROWSER = "browser-1"
SECRET = "planted-SECRET-4711"


@pytest.fixture(scope="module")
def push_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
async def providers(push_sandbox: PushSandbox) -> AsyncIterator[dict[str, Provider]]:
    await push_sandbox.clear()
    built = build_providers(push_sandbox.settings, SystemClock())
    yield {provider.name: provider for provider in built}
    for provider in built:
        await provider.close()


@asynccontextmanager
async def webpush_allowing(push_sandbox: PushSandbox, hosts: str) -> AsyncIterator[Provider]:
    settings = changed(push_sandbox.settings, push_webpush_allowed_hosts=hosts)
    built = build_providers(settings, SystemClock())
    yield next(provider for provider in built if provider.name == "webpush")
    for provider in built:
        await provider.close()


@dataclass
class Target:
    """One provider, and an address that it reaches in the sandbox under the name ``to``."""

    provider: Provider
    sandbox: PushSandbox
    address: Address
    to: str

    async def send(self, **what: Unpack[What]) -> Receipt:
        attempt = make_attempt(self.address, **what)
        assert self.provider.handles(attempt.delivery)
        async with asyncio.timeout(15):
            return await self.provider.send(attempt)

    async def failure(self, **what: Unpack[What]) -> DeliveryError:
        with pytest.raises(DeliveryError) as caught:
            await self.send(**what)
        return caught.value

    async def play(self, fault: dict[str, Any], times: int | None = 1) -> None:
        await self.sandbox.play(self.provider.name, fault, to=self.to, times=times)


@pytest.fixture(params=["apns", "fcm", "webpush"])
async def target(request: pytest.FixtureRequest, providers: dict[str, Provider], push_sandbox: PushSandbox) -> Target:
    browser = await push_sandbox.subscribe(BROWSER)
    addresses: dict[str, tuple[Address, str]] = {
        "apns": (ios(), IOS_TOKEN),
        "fcm": (android(), ANDROID_TOKEN),
        "webpush": (browser, BROWSER),
    }
    return Target(providers[request.param], push_sandbox, *addresses[request.param])


async def test_what_arrives_is_what_was_sent(target: Target) -> None:
    await target.send(
        title="Grüße 🎉", message='Zeile "eins"\nzwei', data={"n": 1, "nested": {"a": [True, None]}},
        category="chat", priority=Priority.HIGH, notification_id="01890000-0000-7000-8000-000000000001",
    )  # fmt: skip
    [entry] = await target.sandbox.outbox()
    assert (entry["provider"], entry["to"]) == (target.provider.name, target.to)
    assert (entry["title"], entry["body"]) == ("Grüße 🎉", 'Zeile "eins"\nzwei')
    shown = entry["payload"]
    custom = shown["message"]["data"] if "message" in shown else shown.get("data", {}) if "token" in shown else shown
    assert custom["carillon_id"] == "01890000-0000-7000-8000-000000000001"
    assert (custom["type"], custom["priority"], custom["category"]) == ("message", "high", "chat")
    assert custom["data"] in ({"n": 1, "nested": {"a": [True, None]}}, '{"n":1,"nested":{"a":[true,null]}}')


async def test_urgency_lifetime_and_collapse_id_travel_in_the_providers_own_words(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    now = datetime.now(UTC)
    addresses: dict[str, Address] = {
        "apns": ios(),
        "fcm": android(),
        "webpush": await push_sandbox.subscribe(BROWSER),
    }
    attempts: dict[str, Attempt] = {
        name: make_attempt(address, priority=Priority.CRITICAL, lifetime=timedelta(minutes=10))
        for name, address in addresses.items()
    }
    for name, attempt in attempts.items():
        await providers[name].send(attempt)
    entries = {entry["provider"]: entry for entry in await push_sandbox.outbox()}
    ids = {name: payload.collapse_id(attempt) for name, attempt in attempts.items()}
    apns = dict(entries["apns"]["headers"])
    assert (apns["apns-priority"], apns["apns-push-type"], apns["apns-collapse-id"]) == ("10", "alert", ids["apns"])
    assert 590 <= int(apns["apns-expiration"]) - now.timestamp() <= 602
    fcm = entries["fcm"]["payload"]["android"]
    assert (fcm["priority"], fcm["notification"]["tag"]) == ("HIGH", ids["fcm"])
    assert 590 <= int(fcm["ttl"].removesuffix("s")) <= 600
    web = {name.lower(): value for name, value in entries["webpush"]["headers"]}
    assert (web["urgency"], web["topic"]) == ("high", ids["webpush"])
    assert 590 <= int(web["ttl"]) <= 600


async def test_the_receipt_names_the_push_where_that_is_no_secret(target: Target) -> None:
    receipt = await target.send()
    [entry] = await target.sandbox.outbox()
    assert receipt.provider_id == (None if target.provider.name == "webpush" else entry["id"])


async def test_the_largest_notification_is_taken(target: Target) -> None:
    await target.send(message="ä" * 5000, data={"k": "v" * 2000})
    [entry] = await target.sandbox.outbox()
    assert entry["body"].startswith("äää")
    assert entry["body"].endswith("ä…")


async def test_a_removed_subscription_is_gone(providers: dict[str, Provider], push_sandbox: PushSandbox) -> None:
    subscription = await push_sandbox.subscribe(BROWSER)
    await push_sandbox.unsubscribe(BROWSER)
    with pytest.raises(RecipientGone):
        await providers["webpush"].send(make_attempt(subscription))


async def test_a_bad_message_is_given_up_and_the_address_kept(target: Target) -> None:
    await target.play({"status": 400, "code": "BadCollapseId" if target.provider.name == "apns" else None})
    error = await target.failure()
    assert type(error) is PermanentFailure
    assert error.reason is Reason.REJECTED


async def test_a_redirect_is_not_followed(target: Target) -> None:
    await target.play({"status": 307, "headers": {"Location": f"{target.sandbox.http_url}/outbox.json"}})
    error = await target.failure()
    assert isinstance(error, TemporaryFailure)
    assert error.reason is Reason.BAD_ANSWER
    assert await target.sandbox.outbox() == []


async def test_a_host_that_is_not_allowed_is_never_contacted(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    subscription = await push_sandbox.subscribe(BROWSER)
    contacted = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        contacted.set()
        writer.close()

    server = await asyncio.start_server(serve, "localhost", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        stranger = subscription.model_copy(update={"endpoint": f"http://localhost:{port}/push/{BROWSER}"})
        with pytest.raises(PermanentFailure) as caught:
            await providers["webpush"].send(make_attempt(stranger))
    assert caught.value.reason is Reason.REJECTED
    assert not contacted.is_set()


@pytest.mark.parametrize("host", ["push.example.com", "127.1", "2130706433", "0x7f000001", "localhost.example.com"])
async def test_a_name_that_resolves_to_this_machine_is_not_connected_to(
    push_sandbox: PushSandbox, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    contacted = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        contacted.set()
        writer.close()

    resolve = socket.getaddrinfo

    def resolve_example(name: str | None, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if name and name.endswith("example.com") else name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_example)
    subscription = await push_sandbox.subscribe(BROWSER)
    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        webpush_allowing(push_sandbox, host) as provider,
    ):
        port = server.sockets[0].getsockname()[1]
        stranger = subscription.model_copy(update={"endpoint": f"https://{host}:{port}/push/{SECRET}"})
        error = await outcome(provider, make_attempt(stranger))
    assert isinstance(error, PermanentFailure)
    # The numbers that aiohttp takes for misspelt addresses are refused by it, before ours is asked.
    assert error.reason is Reason.REJECTED
    assert error.detail in ("the host's address is not public", "InvalidUrlClientError")
    assert not contacted.is_set()


async def test_an_answer_that_is_no_http_leaves_the_outcome_open_and_the_endpoint_a_secret(
    push_sandbox: PushSandbox,
) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"garbage\r\n\r\n")
        await writer.drain()
        writer.close()

    subscription = await push_sandbox.subscribe(BROWSER)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, webpush_allowing(push_sandbox, "127.0.0.1") as provider:
        port = server.sockets[0].getsockname()[1]
        endpoint = f"http://127.0.0.1:{port}/push/{SECRET}"
        with pytest.raises(OutcomeUnknown) as caught:
            await provider.send(make_attempt(subscription.model_copy(update={"endpoint": endpoint})))
    assert caught.value.reason is Reason.BAD_ANSWER
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_nobody_at_the_other_end_is_a_temporary_failure(push_sandbox: PushSandbox) -> None:
    nowhere = changed(
        push_sandbox.settings,
        push_apns_url="https://127.0.0.1:1",
        push_fcm_url="http://127.0.0.1:1",
        push_webpush_allowed_hosts="127.0.0.1",
    )
    subscription = await push_sandbox.subscribe(BROWSER)
    addresses: list[Address] = [
        ios(),
        android(),
        subscription.model_copy(update={"endpoint": "http://127.0.0.1:1/push"}),
    ]
    for provider, address in zip(build_providers(nowhere, SystemClock()), addresses, strict=True):
        with pytest.raises(TemporaryFailure) as caught:
            await provider.send(make_attempt(address))
        assert caught.value.reason is Reason.NETWORK
        await provider.close()


async def test_a_limit_of_fcm_holds_every_device_back_without_a_request(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    await push_sandbox.play("fcm", {"status": 429, "headers": {"Retry-After": "1"}})
    assert isinstance(await outcome(providers["fcm"], make_attempt(android())), TemporaryFailure)
    held = await outcome(providers["fcm"], make_attempt(android("another-token")))
    assert isinstance(held, TemporaryFailure)
    assert (held.reason, held.detail) == (Reason.RATE_LIMITED, "held back after a 429")
    assert timedelta(0) < (held.retry_after or timedelta(0)) <= timedelta(seconds=1)
    assert await push_sandbox.outbox() == []

    async def goes_on() -> bool:
        return isinstance(await outcome(providers["fcm"], make_attempt(android())), Receipt)

    await eventually(goes_on)


async def test_a_limit_of_one_device_holds_no_other_back(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    failure = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"description": "Device message rate exceeded"}],
    }
    await push_sandbox.play("fcm", {"status": 429, "body": {"error": {"code": 429, "details": [failure]}}})
    assert isinstance(await outcome(providers["fcm"], make_attempt(android())), TemporaryFailure)
    assert isinstance(await outcome(providers["fcm"], make_attempt(android("another-token"))), Receipt)


async def test_apns_and_browsers_are_held_back_one_by_one(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    addresses: dict[str, Address] = {"apns": ios(), "webpush": await push_sandbox.subscribe(BROWSER)}
    for name, address in addresses.items():
        await push_sandbox.play(name, {"status": 429, "headers": {"Retry-After": "60"}})
        assert isinstance(await outcome(providers[name], make_attempt(address)), TemporaryFailure)
        assert isinstance(await outcome(providers[name], make_attempt(address)), Receipt)


async def test_fcm_sends_share_one_access_token(providers: dict[str, Provider], push_sandbox: PushSandbox) -> None:
    # The second request for a token would be refused.
    await push_sandbox.play("fcm", {"delay_s": 0.2, "at": "token"})
    await push_sandbox.play("fcm", {"operator": True, "at": "token"}, times=None)
    await asyncio.gather(*(providers["fcm"].send(make_attempt(android())) for _ in range(20)))
    assert len(await push_sandbox.outbox()) == 20


async def test_a_refused_access_token_is_replaced(providers: dict[str, Provider], push_sandbox: PushSandbox) -> None:
    await providers["fcm"].send(make_attempt(android()))
    await push_sandbox.play("fcm", {"operator": True})
    await push_sandbox.play("fcm", {"operator": True, "at": "token"})
    for _ in range(2):
        with pytest.raises(ProviderMisconfigured):
            await providers["fcm"].send(make_attempt(android()))
    await providers["fcm"].send(make_attempt(android()))


async def test_an_access_token_that_hangs_ends_with_the_deadline(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    await push_sandbox.play("fcm", {"delay_s": 1, "at": "token"})
    await push_sandbox.play("fcm", {"operator": True, "at": "token"}, times=None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await providers["fcm"].send(make_attempt(android()))
    # The fetch went on, and serves this one.
    await providers["fcm"].send(make_attempt(android()))


async def test_a_server_error_at_the_token_endpoint_is_tried_again(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    await push_sandbox.play("fcm", {"status": 503, "code": "internal_failure", "at": "token"}, times=3)
    with pytest.raises(TemporaryFailure):
        await providers["fcm"].send(make_attempt(android()))

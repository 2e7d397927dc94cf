"""The push providers against the sandbox's APNs, FCM and Web Push servers, a process of its own."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Unpack

import pytest

from services.push import payload
from services.push.providers import build_providers
from shared.clock import SystemClock
from shared.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.model import Address, Attempt, Priority, Receipt, WebSubscription
from shared.provider import Provider
from tests.push import ANDROID_TOKEN, IOS_TOKEN, PushSandbox, What, android, ios, make_attempt, running_sandbox

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


async def test_a_token_that_is_gone_is_said_to_be_gone(target: Target) -> None:
    await target.play({"status": 404 if target.provider.name == "fcm" else 410})
    assert isinstance(await target.failure(), RecipientGone)


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


async def test_refused_credentials_are_the_operators_business(target: Target) -> None:
    await target.send()
    await target.play({"operator": True})
    error = await target.failure()
    assert isinstance(error, ProviderMisconfigured)
    assert error.reason is Reason.AUTH
    await target.send()


async def test_a_rate_limit_is_obeyed(target: Target) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    await target.play({"status": 429, "headers": {"Retry-After": "7"}})
    await target.play({"status": 429, "headers": {"Retry-After": in_an_hour}})
    await target.play({"status": 429})
    for least_s, most_s in ((7, 7), (3590, 3600), (0, 60)):
        error = await target.failure()
        assert isinstance(error, TemporaryFailure)
        assert error.reason is Reason.RATE_LIMITED
        wait = error.retry_after or timedelta()
        assert timedelta(seconds=least_s) <= wait <= timedelta(seconds=most_s)


@pytest.mark.parametrize("status", [500, 503])
async def test_a_server_error_is_tried_again(target: Target, status: int) -> None:
    await target.play({"status": status})
    error = await target.failure()
    assert isinstance(error, TemporaryFailure)
    assert error.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_connection_cut_after_sending_leaves_the_outcome_open(target: Target, cut: str) -> None:
    await target.send()
    await target.play({"cut": cut})
    error = await target.failure()
    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.NETWORK
    await target.send()


async def test_a_send_that_hangs_ends_with_the_deadline_and_harms_no_other(target: Target) -> None:
    await target.play({"hang": True})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await target.send()
    await target.send()
    assert len(await target.sandbox.outbox()) == 1


async def test_garbage_where_an_error_should_be_is_nobodys_verdict(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    # RFC 8030 gives errors no format, so Web Push cannot tell.
    addresses: list[tuple[str, Address]] = [("apns", ios()), ("fcm", android())]
    for name, address in addresses:
        await push_sandbox.play(name, {"status": 400, "body": "<html>proxy</html>"})
        with pytest.raises(TemporaryFailure) as caught:
            await providers[name].send(make_attempt(address))
        assert caught.value.reason is Reason.BAD_ANSWER


async def test_garbage_where_the_name_should_be_leaves_the_outcome_open(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    await push_sandbox.play("fcm", {"status": 200, "body": "<html>proxy</html>"})
    with pytest.raises(OutcomeUnknown) as caught:
        await providers["fcm"].send(make_attempt(android()))
    assert caught.value.reason is Reason.BAD_ANSWER


async def test_a_redirect_is_not_followed(target: Target) -> None:
    await target.play({"status": 307, "headers": {"Location": f"{target.sandbox.http_url}/outbox.json"}})
    error = await target.failure()
    assert isinstance(error, TemporaryFailure)
    assert error.reason is Reason.BAD_ANSWER
    assert await target.sandbox.outbox() == []


FAULTS: list[dict[str, Any]] = [
    {"status": 400, "code": "BadCollapseId"}, {"status": 404}, {"status": 410}, {"operator": True}, {"status": 429},
    {"status": 503, "body": SECRET}, {"cut": "before"}, {"cut": "after"}, {"status": 200, "body": SECRET},
    {"status": 400, "body": {"reason": SECRET, "error": {"message": SECRET, "status": SECRET}}}, {"hang": True},
]  # fmt: skip


async def test_no_error_and_no_log_line_tells_a_secret(
    target: Target, push_sandbox: PushSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    addresses: dict[str, Address] = {
        "apns": ios(SECRET),
        "fcm": android(SECRET),
        "webpush": await push_sandbox.subscribe(SECRET),
    }
    address = addresses[target.provider.name]
    told: list[str] = []
    for fault in FAULTS:
        await push_sandbox.play(target.provider.name, fault, to=SECRET)
        try:
            async with asyncio.timeout(0.5):
                await target.provider.send(make_attempt(address, title=SECRET, message=SECRET, data={"k": SECRET}))
        except (DeliveryError, TimeoutError):
            told.append(traceback.format_exc())
    assert len(told) >= len(FAULTS) - 1
    told += [f"{record.name} {record.getMessage()} {record.__dict__}" for record in caplog.records]
    keys = [address.auth, address.p256dh] if isinstance(address, WebSubscription) else []
    # Traces of the test itself name the variable, not its value.
    for secret in [SECRET, "Bearer ey", "bearer ey", "ya29.", "vapid t=", *keys]:
        assert [line for line in told if secret in line] == []


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


async def test_an_answer_that_is_no_http_leaves_the_outcome_open_and_the_endpoint_a_secret(
    providers: dict[str, Provider], push_sandbox: PushSandbox
) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"garbage\r\n\r\n")
        await writer.drain()
        writer.close()

    subscription = await push_sandbox.subscribe(BROWSER)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        endpoint = f"http://127.0.0.1:{port}/push/{SECRET}"
        with pytest.raises(OutcomeUnknown) as caught:
            await providers["webpush"].send(make_attempt(subscription.model_copy(update={"endpoint": endpoint})))
    assert caught.value.reason is Reason.BAD_ANSWER
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_nobody_at_the_other_end_is_a_temporary_failure(push_sandbox: PushSandbox) -> None:
    nowhere = push_sandbox.settings.model_copy(
        update={"push_apns_url": "https://127.0.0.1:1", "push_fcm_url": "http://127.0.0.1:1"}
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

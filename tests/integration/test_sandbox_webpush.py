"""The sandbox's Web Push service, spoken to by pywebpush."""

import json
import time
from pathlib import Path

import aiohttp
import pytest
from pywebpush import WebPushException, webpush_async  # type: ignore[import-untyped]

from sandbox.credentials import WEBPUSH_SUBJECT
from sandbox.script import Rule
from sandbox.server import Options, Sandbox, running

Subscription = dict[str, object]


def play(box: Sandbox, fault: dict[str, object], to: str | None = None) -> None:
    box.script.add(Rule.model_validate({"provider": "webpush", "to": to, "fault": fault}))


async def subscribe(box: Sandbox, name: str = "user123") -> Subscription:
    url = f"{box.addresses.http_url}/webpush/subscriptions"
    async with aiohttp.ClientSession() as session, session.post(url, json={"name": name}) as answer:
        assert answer.status == 201
        subscription: Subscription = await answer.json()
        return subscription


async def push(
    box: Sandbox,
    subscription: Subscription,
    payload: str | None = None,
    *,
    key_file: Path | None = None,
    claims: dict[str, object] | None = None,
    timeout_s: float = 5,
) -> None:
    await webpush_async(
        subscription_info=subscription,
        data=payload if payload is not None else json.dumps({"title": "Hello", "body": "Good morning."}),
        vapid_private_key=str(key_file or box.credentials.vapid_key_file),
        vapid_claims={"sub": WEBPUSH_SUBJECT, **(claims or {})},
        headers={"Urgency": "high", "Topic": "topic-1"},
        ttl=60,
        timeout=aiohttp.ClientTimeout(total=timeout_s),
    )


def entries(box: Sandbox) -> list[dict[str, object]]:
    return [entry.as_json() for entry in box.kept.select()]


async def test_a_push_is_decrypted_and_kept(box: Sandbox) -> None:
    subscription = await subscribe(box)
    assert subscription["endpoint"] == f"{box.addresses.http_url}/webpush/user123"
    payload = {"title": "Grüße", "body": "Good morning.", "data": {"a": 1}, "carillon_id": "notification-1"}
    await push(box, subscription, json.dumps(payload))
    [entry] = entries(box)
    assert (entry["to"], entry["title"], entry["body"]) == ("user123", "Grüße", "Good morning.")
    assert entry["data"] == {"a": 1}
    assert entry["payload"] == payload
    assert entry["notification_id"] == "notification-1"
    assert entry["headers"] == [
        ["TTL", "60"],
        ["Urgency", "high"],
        ["Topic", "topic-1"],
        ["Content-Encoding", "aes128gcm"],
    ]


async def test_a_push_of_plain_text_has_a_body_and_no_title(box: Sandbox) -> None:
    await push(box, await subscribe(box), "just text")
    assert (entries(box)[0]["title"], entries(box)[0]["body"]) == ("", "just text")


async def test_subscriptions_outlive_a_restart_and_differ_by_name(data: Path) -> None:
    async with running(Options(data=data)) as box:
        before, other = await subscribe(box), await subscribe(box, "user124")
    async with running(Options(data=data)) as box:
        after = await subscribe(box)
    assert before["keys"] == after["keys"]
    assert before["keys"] != other["keys"]


async def test_a_removed_subscription_is_gone_until_it_is_made_again(box: Sandbox) -> None:
    subscription = await subscribe(box)
    async with aiohttp.ClientSession(box.addresses.http_url) as session:
        await session.delete("/webpush/subscriptions/user123")
    assert await refused(box, subscription) == 410
    await push(box, await subscribe(box))


async def refused(box: Sandbox, subscription: Subscription, **options: object) -> int:
    """The status with which a push is refused."""
    with pytest.raises(WebPushException) as caught:
        await push(box, subscription, **options)  # type: ignore[arg-type]
    assert caught.value.response is not None
    assert entries(box) == []
    return int(caught.value.response.status)


async def test_another_senders_key_is_refused(box: Sandbox, tmp_path: Path) -> None:
    async with running(Options(data=tmp_path)) as other:
        key_file = other.credentials.vapid_key_file
    assert await refused(box, await subscribe(box), key_file=key_file) == 403


@pytest.mark.parametrize("claims", [{"aud": "https://push.example.org"}, {"exp": int(time.time()) + 90_000}])
async def test_vapid_claims_are_checked(box: Sandbox, claims: dict[str, object]) -> None:
    assert await refused(box, await subscribe(box), claims=claims) == 403


async def test_keys_of_another_subscription_do_not_decrypt(box: Sandbox) -> None:
    subscription, other = await subscribe(box), await subscribe(box, "user124")
    assert await refused(box, subscription | {"keys": other["keys"]}) == 400


async def test_a_payload_over_the_limit_is_refused(box: Sandbox) -> None:
    assert await refused(box, await subscribe(box), payload="x" * 4097) == 413


async def test_a_request_without_vapid_or_ttl_is_refused(box: Sandbox) -> None:
    async with aiohttp.ClientSession(box.addresses.http_url) as session, session.post("/webpush/user123") as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"status": 410}, 410),
        ({"status": 429, "headers": {"Retry-After": "2"}}, 429),
        ({"status": 406, "body": {"reason": "throttled"}}, 406),
        ({"operator": True}, 403),
    ],
)
async def test_a_scripted_refusal_reaches_the_client_once(box: Sandbox, fault: dict[str, object], status: int) -> None:
    subscription = await subscribe(box)
    play(box, fault, to="user123")
    assert await refused(box, subscription) == status
    await push(box, subscription)


@pytest.mark.parametrize(("fault", "kept"), [({"cut": "before"}, 0), ({"cut": "after"}, 1), ({"hang": "after"}, 1)])
async def test_a_silent_provider_keeps_what_it_took(box: Sandbox, fault: dict[str, object], kept: int) -> None:
    subscription = await subscribe(box)
    play(box, fault)
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        await push(box, subscription, timeout_s=0.3)
    assert len(entries(box)) == kept

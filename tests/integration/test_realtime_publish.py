"""HTTP for publishers, with a real broker and a router that answers what it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from services.realtime.publish.metrics import http_publishes
from services.realtime.publish.publisher_keys import NEW_KEYS_AT_ONCE
from shared.core.limits import PAYLOAD_BYTES
from shared.directory.publishers import Publishers
from tests.conftest import EmptyStore
from tests.publishing import ACCEPTED, KEY, FakeRouter, fake_router, give_key, post
from tests.realtime import Realtime, realtime_node
from tests.waiting import eventually

TOPIC = "notifications/realtime/user/user123"
HELLO = {"message": "Hello"}


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        await give_key(running, "shop")
        await eventually(lambda: running.router.is_up, what="the link for publishers")
        yield running


@pytest_asyncio.fixture
async def router(broker: LocalServer, topic_prefix: str) -> AsyncIterator[FakeRouter]:
    async with fake_router(broker.url, topic_prefix) as running:
        yield running


async def test_what_is_posted_is_published_in_the_publishers_name(
    node: Realtime, router: FakeRouter, topic_prefix: str
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    status, receipt, headers = await post(
        node, TOPIC, b' {"message": "Hello"}', Idempotency_Key="order-1", traceparent=trace, tracestate="a=1"
    )
    assert (status, receipt) == (202, ACCEPTED)
    assert headers["Content-Type"] == "application/json"
    (got,) = router.got
    assert got.topic == f"{topic_prefix}from/shop/{TOPIC}"
    assert got.payload == b' {"message": "Hello"}'
    assert got.user_properties == [("idempotency-key", "order-1"), ("traceparent", trace), ("tracestate", "a=1")]
    assert got.content_type is None
    assert got.response_topic is not None
    assert got.response_topic.startswith(f"{topic_prefix}receipts/shop/http/")


@pytest.mark.parametrize(
    ("receipt", "status", "retry_after"),
    [
        ({"status": "accepted", "notification_id": "1", "warnings": [{"field": "x"}]}, 202, None),
        ({"status": "duplicate", "notification_id": "1"}, 200, None),
        *(
            ({"status": "rejected", "error": {"code": code, "message": "x", "fields": []}}, status, retry_after)
            for code, status, retry_after in [
                ("invalid_json", 400, None),
                ("invalid_payload", 400, None),
                ("unknown_topic", 400, None),
                ("expired", 400, None),
                ("a code of a later release", 400, None),
                ("unauthorized", 403, None),
                ("idempotency_conflict", 409, None),
                ("too_large", 413, None),
                ("rate_limited", 429, "1"),
            ]
        ),
        ({"status": "rejected", "error": {"code": "rate_limited", "retry_after_s": 11.2}}, 429, "12"),
    ],
)
async def test_receipts_status_is_the_answers_status(
    node: Realtime, router: FakeRouter, receipt: dict[str, Any], status: int, retry_after: str | None
) -> None:
    router.answer = lambda _incoming: receipt
    found, answer, headers = await post(node, TOPIC, HELLO)
    assert (found, answer) == (status, receipt)
    assert headers.get("Retry-After") == retry_after


async def test_an_event_in_binary_mode_becomes_properties(node: Realtime, router: FakeRouter) -> None:
    event = {
        "ce_specversion": "1.0", "ce_id": "1", "ce_source": "/shop", "ce_type": "com.example.shipped",
        "ce_subject": "Euro %E2%82%AC", "Content_Type": "application/json",
    }  # fmt: skip
    await post(node, TOPIC, HELLO, **event)
    (got,) = router.got
    attributes = {
        "specversion": "1.0",
        "id": "1",
        "source": "/shop",
        "type": "com.example.shipped",
        "subject": "Euro €",
    }
    assert dict(got.user_properties) == attributes
    assert got.content_type == "application/json"
    assert json.loads(got.payload) == HELLO


async def test_an_event_without_a_version_is_told_from_no_event(node: Realtime, router: FakeRouter) -> None:
    await post(node, TOPIC, HELLO, ce_id="1", Content_Type="application/json")
    assert dict(router.got[0].user_properties) == {"id": "1", "specversion": ""}


async def test_an_event_in_structured_mode_is_handed_on(node: Realtime, router: FakeRouter) -> None:
    await post(node, TOPIC, {"specversion": "1.0", "data": HELLO}, Content_Type="application/cloudevents+json")
    assert router.got[0].content_type == "application/cloudevents+json"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", f"Bearer {'x' * 600}"]
)
async def test_without_the_key_of_a_publisher_nothing_is_published(
    node: Realtime, router: FakeRouter, authorization: str
) -> None:
    status, answer, headers = await post(node, TOPIC, HELLO, Authorization=authorization)
    assert (status, answer["error"]["code"]) == (401, "unauthorized")
    assert headers["WWW-Authenticate"] == "Bearer"
    assert not router.got


async def test_unknown_keys_do_not_cost_a_question_to_the_store_each(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    look_up = Publishers.of_key

    async def counted(publishers: Publishers, digest: str) -> str | None:
        asked.append(digest)
        return await look_up(publishers, digest)

    monkeypatch.setattr(Publishers, "of_key", counted)
    async with (
        fake_router(broker.url, topic_prefix),
        realtime_node(store.url, broker.url, topic_prefix) as node,
    ):
        await give_key(node, "shop")
        await eventually(lambda: node.router.is_up, what="the link for publishers")
        assert (await post(node, TOPIC, HELLO))[0] == 202
        same = await asyncio.gather(*(post(node, TOPIC, HELLO, key="wrong") for _ in range(200)))
        assert {status for status, _, _ in same} == {401}
        assert len(asked) == 2
        others = await asyncio.gather(*(post(node, TOPIC, HELLO, key=f"wrong {number}") for number in range(300)))
        assert {status for status, _, _ in others} == {401, 429}
        assert len(asked) < NEW_KEYS_AT_ONCE + 30
        # Whoever was served before is served, from the same address.
        assert (await post(node, TOPIC, HELLO))[0] == 202


async def test_a_topic_that_a_broker_would_refuse_is_refused_here(node: Realtime, router: FakeRouter) -> None:
    for topic in ("a%2Bb", "notifications/%23", "a%00b", "a%0Ab", "/".join("x" * 130)):
        status, answer, _ = await post(node, topic, HELLO)
        assert (status, answer["error"]["code"]) == (400, "invalid_request"), topic
    assert not router.got
    assert node.router.is_up


@pytest.mark.parametrize(
    "headers",
    [
        {"ce_specversion": "1.0", "ce_id": "a%01b"},
        {"ce_specversion": "1.0", "ce_id": "a%EF%BF%BFb"},
        {"ce_specversion": "1.0", "ce_id": "a%FFb"},
        {"Idempotency_Key": "a\tb"},
        {f"ce_x{number}": "x" * 4000 for number in range(5)},
    ],
)
async def test_headers_that_a_broker_would_refuse_are_refused_here(
    node: Realtime, router: FakeRouter, headers: dict[str, str]
) -> None:
    status, answer, _ = await post(node, TOPIC, HELLO, **headers)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert not router.got
    assert (await post(node, TOPIC, HELLO))[0] == 202


async def test_a_body_of_the_largest_size_reaches_the_router_and_a_larger_one_does_not(
    node: Realtime, router: FakeRouter
) -> None:
    assert (await post(node, "notifications/email/batch", b"x" * PAYLOAD_BYTES))[0] == 202
    assert router.got[0].payload_bytes == PAYLOAD_BYTES
    status, answer, _ = await post(node, "notifications/email/batch", b"x" * (PAYLOAD_BYTES + 1))
    assert (status, answer["error"]["code"]) == (413, "too_large")

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 65_536

    headers = {"Authorization": f"Bearer {KEY}"}
    async with node.client.post(f"{node.url}/v1/publish/{TOPIC}", data=parts(), headers=headers) as answered:
        assert answered.status == 413
    assert len(router.got) == 1


async def test_answers_are_counted_by_their_status(node: Realtime, router: FakeRouter) -> None:
    def counted(status: int) -> float:
        value: float = http_publishes.labels(str(status))._value.get()
        return value

    before = [counted(202), counted(401)]
    await post(node, TOPIC, HELLO)
    await post(node, TOPIC, HELLO, key="wrong")
    assert [counted(202), counted(401)] == [before[0] + 1, before[1] + 1]
    assert len(router.got) == 1


async def test_many_at_once_are_answered_each_with_its_own_receipt(node: Realtime, router: FakeRouter) -> None:
    router.answer = lambda incoming: {"status": "accepted", "notification_id": json.loads(incoming.payload)["n"]}
    answers = await asyncio.gather(*(post(node, TOPIC, {"n": number}) for number in range(500)))
    assert [answer["notification_id"] for _, answer, _ in answers] == list(range(500))
    assert node.router.outstanding == 0


async def test_where_nobody_reads_the_client_is_told_to_come_again(node: Realtime) -> None:
    status, answer, headers = await post(node, TOPIC, HELLO)
    assert (status, answer["error"]["code"], headers["Retry-After"]) == (503, "unavailable", "2")
    assert "was not accepted" in answer["error"]["message"]


async def test_where_no_router_answers_the_client_is_told_that_it_may_have_been_accepted(
    node: Realtime, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.answer = lambda _incoming: None
    monkeypatch.setattr(node.router, "_receipt_s", 0.2)
    status, answer, headers = await post(node, TOPIC, HELLO)
    assert (status, headers["Retry-After"]) == (503, "2")
    assert "Idempotency-Key" in answer["error"]["message"]
    assert node.router.outstanding == 0


async def test_a_client_that_goes_away_leaves_nothing(
    node: Realtime, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.answer = lambda _incoming: None
    monkeypatch.setattr(node.router, "_receipt_s", 1)
    waiting = [asyncio.create_task(post(node, TOPIC, HELLO)) for _ in range(20)]
    await eventually(lambda: len(router.got) == 20, what="publishes")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await eventually(lambda: node.router.outstanding == 0 and node.router.places.taken == 0, what="end of the waits")
    assert node.router.places.held_bytes == 0


async def test_one_publisher_cannot_take_every_place(
    node: Realtime, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give_key(node, "billing", "another key")
    router.answer = lambda incoming: None if "/shop/" in incoming.topic else ACCEPTED
    monkeypatch.setattr(node.router.places, "_most_of_one", 10)
    waiting = [asyncio.create_task(post(node, TOPIC, HELLO)) for _ in range(10)]
    await eventually(lambda: len(router.got) == 10, what="publishes")
    status, _, headers = await post(node, TOPIC, HELLO)
    assert (status, headers["Retry-After"]) == (429, "1")
    assert (await post(node, TOPIC, HELLO, key="another key"))[0] == 202
    for held in router.got[:10]:
        router.tell(held, ACCEPTED)
    assert {status for status, _, _ in await asyncio.gather(*waiting)} == {202}


async def test_too_many_bytes_in_hand_are_not_read(
    node: Realtime, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.router.places._budget, "_limit_bytes", 100_000)
    router.answer = lambda incoming: ACCEPTED if incoming.payload == b"{}" else None
    waiting = asyncio.create_task(post(node, TOPIC, b"x" * 100_000))
    await eventually(lambda: len(router.got) == 1, what="the large publish")
    status, _, headers = await post(node, TOPIC)
    assert (status, headers["Retry-After"]) == (503, "1")
    router.tell(router.got[0], ACCEPTED)
    assert (await waiting)[0] == 202
    assert (await post(node, TOPIC))[0] == 202


async def test_a_lost_connection_ends_the_wait_at_once(node: Realtime, router: FakeRouter) -> None:
    router.answer = lambda _incoming: None
    waiting = asyncio.create_task(post(node, TOPIC, HELLO))
    await eventually(lambda: len(router.got) == 1, what="the publish")
    broker = node.router._link._broker
    assert broker is not None
    broker.hang_up()
    async with asyncio.timeout(3):
        status, answer, _ = await waiting
    assert status == 503
    assert "may have been accepted" in answer["error"]["message"]
    router.answer = lambda _incoming: ACCEPTED
    await eventually(lambda: node.router.is_up, what="the link for publishers")
    assert (await post(node, TOPIC, HELLO))[0] == 202


@pytest.mark.timeout(30)
async def test_what_waits_for_its_receipt_is_answered_before_the_process_ends(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, router: FakeRouter
) -> None:
    router.answer = lambda _incoming: None
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as client:
        async with realtime_node(store.url, broker.url, topic_prefix) as node:
            await give_key(node, "shop")
            await eventually(lambda: node.router.is_up, what="the link for publishers")
            waiting = asyncio.create_task(client.post(f"{node.url}/v1/publish/{TOPIC}", json=HELLO))
            await eventually(lambda: len(router.got) == 1, what="the publish")
            node.context.stopping.set()
            asyncio.get_running_loop().call_later(0.5, router.tell, router.got[0], ACCEPTED)
        answer = await waiting
        assert answer.status == 202
        assert answer.headers["Connection"] == "close"
        assert await answer.json() == ACCEPTED

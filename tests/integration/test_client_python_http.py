"""The Python client over HTTP, against a small server that speaks the wire contract's section 5."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from carillon_publisher import AsyncPublisher, NoReceipt, NotConnected, Publisher, RateLimited, Refused, Status

ACCEPTED = {"status": "accepted", "notification_id": "n1", "accepted_at": "2026-01-05T09:00:00.123Z"}
KEY = "key-of-the-shop"


def rejected(code: str, **more: object) -> dict[str, Any]:
    return {"status": "rejected", "error": {"code": code, "message": "No.", "fields": [], **more}}


@dataclass
class Service:
    """What answers, and what it was asked.

    Attributes:
        answers: status, body and headers, in this order; accepted when there are none left.
    """

    url: str = ""
    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    outcomes: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    async def publish(self, request: web.Request) -> web.Response:
        self.asked.append((request.match_info["topic"], dict(request.headers), await request.json()))
        if not self.answers:
            return web.json_response(ACCEPTED, status=202)
        status, body, headers = self.answers.pop(0)
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    async def outcome(self, _request: web.Request) -> web.Response:
        status, body = self.outcomes.pop(0)
        return web.json_response(body, status=status)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    application = web.Application()
    application.router.add_post("/v1/publish/{topic:.+}", service.publish)
    application.router.add_get("/v1/notifications/{id}", service.outcome)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield service
    await runner.cleanup()


async def test_a_publish_is_one_request_with_the_key(service: Service) -> None:
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        receipt = await publisher.send_user("user 123", message="Hello")
    assert (receipt.status, receipt.notification_id, receipt.sends) == (Status.ACCEPTED, "n1", 1)
    ((topic, headers, payload),) = service.asked
    assert (topic, payload) == ("notifications/realtime/user/user 123", {"message": "Hello"})
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"
    assert headers["idempotency-key"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_payload"),
        (400, "unknown_topic"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (409, "idempotency_conflict"),
        (413, "too_large"),
    ],
)
async def test_a_refusal_is_the_receipt_that_came_with_it(service: Service, status: int, code: str) -> None:
    service.answers = [(status, rejected(code), {})]
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        with pytest.raises(Refused) as refused:
            await publisher.send_user("user123", message="Hello")
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("status", "code"), [(400, "rejected"), (401, "unauthorized"), (404, "rejected"), (413, "too_large")]
)
async def test_a_refusal_without_a_receipt_is_named_after_its_status(service: Service, status: int, code: str) -> None:
    service.answers = [(status, "<html>", {})]
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        with pytest.raises(Refused, match=str(status)) as refused:
            await publisher.send_user("user123", message="Hello")
    assert refused.value.code == code


async def test_a_refusal_of_the_service_itself_is_one_as_well(service: Service) -> None:
    error = {"code": "invalid_request", "message": "Some fields are not valid.", "fields": [
        {"field": "topic", "problem": "must be the name of an MQTT topic"}
    ]}  # fmt: skip
    unknown_key = {"code": "unauthorized", "message": "There is no such key."}
    often = {"code": "too_many_requests", "message": "Too many unknown keys."}
    service.answers = [
        (400, {"error": error}, {}),
        (401, {"error": unknown_key}, {}),
        (429, {"error": often}, {"Retry-After": "3"}),
    ]
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        refused = [await _refusal(publisher) for _ in range(3)]
    assert [each.code for each in refused] == ["invalid_request", "unauthorized", "rate_limited"]
    assert refused[0].fields[0].field == "topic"
    assert isinstance(refused[2], RateLimited)
    assert refused[2].retry_after_s == 3


async def _refusal(publisher: AsyncPublisher) -> Refused:
    with pytest.raises(Refused) as refused:
        await publisher.send_user("user123", message="Hello")
    return refused.value


async def test_the_ends_of_the_deliveries_are_told_until_all_have_ended(service: Service) -> None:
    def delivery(channel: str, state: str, **more: str) -> dict[str, str]:
        return {"channel": channel, "recipient": "user123", "state": state, "since": "2026-01-05T09:00:00Z", **more}

    inbox = delivery("realtime", "delivered", ended_at="2026-01-05T09:00:01Z")
    mail = delivery("email", "dead_lettered", ended_at="2026-01-05T09:00:02Z", reason="rejected")
    service.outcomes = [
        (503, {}),
        (200, {"open": 1, "deliveries": [delivery("email", "pending"), inbox]}),
        (200, {"open": 0, "deliveries": [mail, inbox]}),
    ]
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        steps = [(step.channel, step.state, step.reason) async for step in publisher.events("n1", within_s=30)]
        assert steps == [("realtime", "delivered", None), ("email", "dead_lettered", "rejected")]
        service.outcomes = [(404, {"error": {"code": "not_found", "message": "There is nothing by that name."}})]
        with pytest.raises(Refused, match="not_found"):
            [step async for step in publisher.events("n2")]


async def test_a_duplicate_is_no_error(service: Service) -> None:
    service.answers = [(200, {"status": "duplicate", "notification_id": "n0"}, {})]
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        receipt = await publisher.send_user("user123", message="Hello", id="order-17")
    assert (receipt.status, receipt.notification_id) == (Status.DUPLICATE, "n0")


@pytest.mark.parametrize("body", [rejected("rate_limited", retry_after_s=7), "slow down"])
async def test_too_many_requests_say_when_the_next_one_is_taken(service: Service, body: Any) -> None:
    service.answers = [(429, body, {"Retry-After": "7"})]
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        with pytest.raises(RateLimited) as limited:
            await publisher.send_user("user123", message="Hello")
    assert limited.value.retry_after_s == 7


async def test_without_an_answer_of_a_router_the_same_key_is_sent_again(service: Service) -> None:
    service.answers = [(503, "no router", {"Retry-After": "0"}), (502, "gateway", {}), (503, "no router", {})]
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        receipt = await publisher.send_user("user123", message="Hello")
    assert receipt.sends == 4
    assert len({headers["idempotency-key"] for _, headers, _ in service.asked}) == 1


async def test_whoever_waits_in_vain_is_told_why_and_with_which_key(service: Service) -> None:
    service.answers = [(503, "no router", {"Retry-After": "60"})]
    async with AsyncPublisher(service.url, key=KEY) as publisher:
        with pytest.raises(NoReceipt, match="503") as nobody:
            await publisher.publish("notifications/system/status", {"message": "a"}, "k1", timeout_s=0.5)
    assert nobody.value.key == "k1"


async def test_an_outbox_works_over_http_too(service: Service, tmp_path: Path) -> None:
    service.answers = [(503, "no router", {}), (429, rejected("rate_limited", retry_after_s=0.1), {})]
    async with AsyncPublisher(service.url, key=KEY, outbox=tmp_path / "outbox") as publisher:
        await publisher.submit("notifications/system/status", {"message": "a"}, "k1")
        assert await publisher.flush(30) == 0
        assert await publisher.outbox.refused() == []
    assert [headers["idempotency-key"] for _, headers, _ in service.asked] == ["k1"] * 3


async def test_a_program_without_a_loop_publishes_over_http(service: Service) -> None:
    def program() -> str | None:
        with Publisher(service.url, key=KEY) as publisher:
            return publisher.critical_alert("disk_full", message="Disk full on db1").notification_id

    assert await asyncio.to_thread(program) == "n1"


async def test_nobody_there_is_told_at_once_and_later_in_the_error() -> None:
    publisher = AsyncPublisher("http://127.0.0.1:1", key=KEY)
    with pytest.raises(NotConnected, match="Connection refused"):
        async with publisher:
            pass

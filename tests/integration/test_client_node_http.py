"""The Node client over HTTP, against a server that answers as the test says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from carillon.local.ports import LOOPBACK, free_port
from tests.client_node_build import Failed, node_client
from tests.waiting import eventually

KEY = "geheim-key_1.2~3"
ACCEPTED = {"status": "accepted", "notification_id": "first", "accepted_at": "2026-01-05T09:00:00.123Z"}


@dataclass
class Door:
    """What was asked, and what is answered, one answer each; the last one again and again."""

    url: str = ""
    answers: list[web.Response | None] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    async def publish(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.match_info["topic"], headers, json.loads(body or b"null")))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)


def said(document: object, status: int = 202, **headers: str) -> web.Response:
    return web.json_response(
        document, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def refused(code: str, status: int, **more: object) -> web.Response:
    return said({"status": "rejected", "error": {"code": code, "message": "No.", "fields": [], **more}}, status)


@asynccontextmanager
async def opened(door: Door) -> AsyncIterator[Door]:
    app = web.Application()
    app.add_routes([web.post("/base/v1/publish/{topic:.+}", door.publish)])
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOOPBACK, port).start()
    door.url = f"http://{LOOPBACK}:{port}/base/"
    yield door
    await runner.cleanup()


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    async with opened(Door()) as running:
        yield running


async def test_a_publish_is_posted_with_its_keys_and_answered_with_the_receipt(
    node_client_package: Path, door: Door
) -> None:
    door.answers = [said(ACCEPTED), said({"status": "duplicate", "notification_id": "first"}, 200)]
    async with node_client(node_client_package, url=door.url, key=KEY) as client:
        receipt = await client.call("sendUser", "ü 1?", {"message": "Hello"}, {"key": "k1"})
        again = await client.call("sendUser", "ü 1?", {"message": "Hello"}, {"key": "k1"})
    assert receipt == ACCEPTED | {"sends": 1}
    assert again == {"status": "duplicate", "notification_id": "first", "sends": 1}
    topic, headers, body = door.asked[0]
    assert (topic, body) == ("notifications/realtime/user/ü 1?", {"message": "Hello"})
    assert (headers["authorization"], headers["idempotency-key"]) == (f"Bearer {KEY}", "k1")


async def test_a_key_is_quoted_where_a_header_needs_it_and_made_only_where_there_is_none(
    node_client_package: Path, door: Door
) -> None:
    door.answers = [said(ACCEPTED)]
    async with node_client(node_client_package, url=door.url, key=KEY) as client:
        await client.call("sendUser", "user123", {"message": "Hello"}, {"key": 'two words "quoted"'})
        await client.call("sendUser", "user123", {"message": "Hello", "id": "own"})
    quoted, own = (headers.get("idempotency-key") for _, headers, _ in door.asked)
    assert (quoted, own) == ('"two words \\"quoted\\""', None)


async def test_what_got_no_answer_is_posted_again_under_the_same_key(node_client_package: Path, door: Door) -> None:
    unavailable = said({"error": {"code": "unavailable", "message": "No router answered."}}, 503, Retry_After="1")
    door.answers = [None, said("proxy", 502), unavailable, said(ACCEPTED)]
    async with node_client(node_client_package, url=door.url, key=KEY) as client:
        receipt = await client.call("sendUser", "user123", {"message": "Hello"}, {"timeoutMs": 20_000})
    assert receipt == ACCEPTED | {"sends": 4}
    assert len({headers["idempotency-key"] for _, headers, _ in door.asked}) == 1


async def test_a_refusal_is_the_same_error_as_over_mqtt(node_client_package: Path, door: Door) -> None:
    cases = [
        (refused("invalid_payload", 400), "Refused", "invalid_payload"),
        (refused("unauthorized", 403), "Refused", "unauthorized"),
        (refused("idempotency_conflict", 409), "Refused", "idempotency_conflict"),
        (refused("too_large", 413), "Refused", "too_large"),
        (refused("rate_limited", 429, retry_after_s=12), "RateLimited", "rate_limited"),
        (said({"error": {"code": "unauthorized", "message": "No such key."}}, 401), "Refused", "unauthorized"),
        (said({"error": {"code": "x", "message": "Slow."}}, 429, Retry_After="12"), "RateLimited", "rate_limited"),
        (said("a proxy's page", 418), "Refused", "rejected"),
        (said({}, 302, Location="http://127.0.0.1:1/"), "Refused", "rejected"),
    ]
    async with node_client(node_client_package, url=door.url, key=KEY) as client:
        for answer, name, code in cases:
            door.answers = [answer]
            with pytest.raises(Failed) as failed:
                await client.call("sendUser", "user123", {"message": "Hello"})
            assert (failed.value.name, failed.value.error["code"]) == (name, code)
            assert failed.value.error.get("retryAfterS") == (12 if name == "RateLimited" else None)
            assert KEY not in json.dumps(failed.value.error)
    # None was sent twice.
    assert len(door.asked) == len(cases)


async def test_a_limited_publish_waits_when_asked_to(node_client_package: Path, door: Door) -> None:
    door.answers = [refused("rate_limited", 429, retry_after_s=0.3), said(ACCEPTED)]
    async with node_client(node_client_package, url=door.url, key=KEY) as client:
        receipt = await client.call("sendUser", "user123", {"message": "Hello"}, {"waitWhenLimited": True})
    assert receipt["status"] == "accepted"
    assert door.asked[0][1]["idempotency-key"] == door.asked[1][1]["idempotency-key"]


async def test_a_server_that_is_away_is_named_when_the_time_is_over(node_client_package: Path) -> None:
    async with node_client(node_client_package, url=f"http://{LOOPBACK}:{free_port()}", key=KEY) as client:
        with pytest.raises(Failed, match="ECONNREFUSED") as failed:
            await client.call("sendUser", "user123", {"message": "Hello"}, {"timeoutMs": 700, "key": "k1"})
    assert (failed.value.name, failed.value.error["key"]) == ("NoReceipt", "k1")


async def test_closing_ends_what_waits(node_client_package: Path, door: Door) -> None:
    door.answers = [said("proxy", 502)]
    async with node_client(node_client_package, url=door.url, key=KEY) as client:
        answers = client.start("sendUser", "user123", {"message": "Hello"})
        await eventually(lambda: door.asked)
    assert "the publisher was closed" in (await answers.get())["error"]["message"]


async def test_many_at_once_use_a_bounded_number_of_connections(node_client_package: Path, door: Door) -> None:
    at_once = most = 0
    publish = door.publish

    async def counted(request: web.Request) -> web.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return await publish(request)

    door.publish = counted  # type: ignore[method-assign]
    door.answers = [said(ACCEPTED)]
    async with opened(door), node_client(node_client_package, url=door.url, key=KEY) as client:
        answers = [client.start("sendUser", f"user{number}", {"message": "Hello"}) for number in range(200)]
        statuses = {(await each.get())["result"]["status"] for each in answers}
    assert statuses == {"accepted"}
    assert most <= 64

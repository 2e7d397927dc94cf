"""The API's own description, held against what the service does: by schemathesis, and answer by answer."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel

from carillon.local.servers import LocalServer
from services.realtime.access.bodies import read_json
from services.realtime.http.shapes import BounceOutcomes, Error, Frame, Inbox, Preferences, Ticket, WebPushKey
from services.realtime.publish.shapes import Accepted, Duplicate, NotPublished
from shared.core.topics import Kind, Topics
from shared.directory.catalogue import Catalogues
from shared.directory.categories import Category
from shared.directory.people import Person
from shared.mqtt.packets import Incoming
from tests.bounces import every_secret, mailgun
from tests.conftest import EmptyStore
from tests.publishing import ACCEPTED, KEY, fake_router, give_key, post
from tests.realtime import ALERT, Realtime, notification, realtime_node, token
from tests.waiting import eventually

EXAMPLES = 15
QUIET_HOURS = {"timezone": "Europe/Paris", "windows": [{"days": ["friday"], "from": "22:00", "to": "07:00"}]}
CONFIG = Path(__file__).parent / "schemathesis.toml"


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with (
        fake_router(broker.url, topic_prefix, _receipt),
        realtime_node(store.url, broker.url, topic_prefix, **every_secret()) as running,
    ):
        await give_key(running, "shop")
        await eventually(lambda: running.router.is_up, what="the link for publishers")
        await running.context.directory.put(Person(user_id="user1", email="user1@example.com"))
        comments = {"title": "Comments", "digest": {"window": "1h"}, "channels": {"email": True}}
        await Catalogues(running.context.store, running.context.keys).put_category(
            "comments", Category.model_validate(comments)
        )
        for number in range(3):
            await running.to_user("user1", notification(f"number {number}", data={"n": number}))
        yield running


def _receipt(incoming: Incoming) -> dict[str, Any]:
    """Answer a publish: an object is accepted, and nothing else."""
    if isinstance(read_json(incoming.payload or b"{}"), dict):
        return ACCEPTED
    return {"status": "rejected", "error": {"code": "invalid_json", "message": "No object.", "fields": []}}


@pytest.mark.timeout(240)
async def test_api_does_what_its_description_says(node: Realtime, tmp_path: Path) -> None:
    # The two streams do not end by themselves, and the token of a link is nothing that can be guessed; they have
    # their own tests.
    checking = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(CONFIG),
        "run", f"{node.url}/v1/openapi.json",
        "--exclude-path-regex", "^/v1/(ws|events|unsubscribe|answer)$",
        "--max-examples", str(EXAMPLES), "--generation-deterministic", "--seed", "1",
        "--request-timeout", "10", "--no-color",
        env={**os.environ, "USER_TOKEN": token("user1"), "PUBLISHER_KEY": KEY},
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(200):
            report, _ = await checking.communicate()
    finally:
        if checking.returncode is None:
            checking.kill()
    assert checking.returncode == 0, report.decode()


async def test_page_for_people_names_every_call_and_runs_nothing(node: Realtime) -> None:
    async with node.client.get(f"{node.url}/v1/openapi.json") as answer:
        description = await answer.json()
    async with node.client.get(f"{node.url}/api") as answer:
        page = await answer.text()
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for path, methods in description["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}</h3>" in page
    assert not re.search(r"<script|<style|\sstyle=|(href|src)=.https?:", page)
    async with node.client.get(f"{node.url}/api.css") as answer:
        assert answer.headers["Content-Type"].startswith("text/css")


@pytest.mark.parametrize(
    ("query", "accept", "content_type"),
    [
        ("", "*/*", "application/json"),
        ("", "application/json, text/html", "application/json"),
        ("", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("?format=json", "text/html", "application/json"),
        ("?format=html", "application/json", "text/html"),
    ],
)
async def test_what_goes_over_mqtt_is_described_for_programs_and_for_people(
    node: Realtime, query: str, accept: str, content_type: str
) -> None:
    async with node.client.get(f"{node.url}/v1/asyncapi{query}", headers={"Accept": accept}) as answer:
        text = await answer.text()
        assert (answer.status, answer.headers["Content-Type"]) == (200, f"{content_type}; charset=utf-8")
        assert answer.headers["Vary"] == "Accept"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    if content_type == "application/json":
        assert json.loads(text)["asyncapi"] == "3.0.0"
        return
    for topic in map(Topics().pattern, Kind):
        assert f"{topic}</h3>" in text
    named = re.findall(r'href="#([^"]+)"', text)
    assert named
    assert set(named) <= set(re.findall(r'id="([^"]+)"', text))
    assert not re.search(r"<script|<style|\sstyle=|(href|src)=.https?:", text)


async def test_another_form_of_the_description_is_refused(node: Realtime) -> None:
    status, answer = await node.call("GET", "/v1/asyncapi?format=yaml", "user1")
    assert (status, answer["error"]["fields"][0]["field"]) == (400, "format")


def _fits(answer: Any, shape: type[BaseModel]) -> None:
    """Hold an answer against its model: nothing is missing, of another type, or beside what it names."""
    read = shape.model_validate_json(json.dumps(answer), strict=True, extra="forbid")
    assert read.model_dump(mode="json", exclude_unset=True) == answer


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "shape"),
    [
        ("GET", "/v1/inbox", {}, 200, Inbox),
        ("GET", "/v1/inbox?before=nothing", {}, 400, Error),
        ("GET", "/v1/preferences", {}, 200, Preferences),
        ("PUT", "/v1/preferences", {"json": {"sms": True}}, 200, Preferences),
        (
            "PUT",
            "/v1/preferences",
            {"json": {"categories": {"comments": {"email": True, "digest": "daily"}}}},
            200,
            Preferences,
        ),
        (
            "PUT",
            "/v1/preferences",
            {"json": {"quiet_hours": QUIET_HOURS, "snooze_until": 2_000_000_000}},
            200,
            Preferences,
        ),
        ("PUT", "/v1/preferences", {"json": {"fax": True}}, 400, Error),
        ("GET", "/v1/webpush", {}, 404, Error),
        ("POST", "/v1/tickets", {}, 200, Ticket),
        ("POST", "/v1/tickets", {"headers": {"Authorization": ""}}, 401, Error),
        ("POST", "/v1/tickets", {"headers": {"Origin": "https://example.org"}}, 403, Error),
        ("GET", "/v1/ws", {}, 426, Error),
        ("POST", "/v1/bounces/mailgun", {"data": mailgun({"event": "opened"}).body}, 200, BounceOutcomes),
        ("POST", "/v1/bounces/mailgun", {"data": b"{}"}, 403, Error),
        ("POST", "/v1/bounces/postmark", {"headers": {"Authorization": ""}}, 401, Error),
    ],
)
async def test_answers_have_the_shapes_of_the_description(
    node: Realtime, method: str, path: str, options: dict[str, Any], status: int, shape: type[BaseModel]
) -> None:
    await node.to_user("user1", notification("disk full", kind="alert_critical", alert=ALERT))
    found, answer = await node.call(method, path, "user1", **options)
    assert found == status
    _fits(answer, shape)


async def test_key_for_browsers_has_the_shape_of_the_description(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    key = "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM"
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_webpush_public_key=key) as node:
        _, answer = await node.call("GET", "/v1/webpush", "user1")
    _fits(answer, WebPushKey)
    assert answer["public_key"] == key


@pytest.mark.parametrize(
    ("receipt", "shape"),
    [
        (ACCEPTED | {"alert_id": "1", "warnings": [{"field": "prioriy", "problem": "unknown"}]}, Accepted),
        ({"status": "duplicate", "notification_id": "1"}, Duplicate),
        ({"status": "rejected", "error": {"code": "invalid_json", "message": "x", "fields": []}}, NotPublished),
        ({"status": "rejected", "error": {"code": "rate_limited", "message": "x", "retry_after_s": 1.5}}, NotPublished),
    ],
)
def test_receipts_have_the_shapes_of_the_description(receipt: dict[str, Any], shape: type[BaseModel]) -> None:
    _fits(receipt, shape)


@pytest.mark.parametrize(
    ("topic", "options", "status"), [("a%00b", {}, 400), ("x", {"Authorization": "Bearer wrong"}, 401)]
)
async def test_refusals_of_publishes_have_the_shape_of_the_description(
    node: Realtime, topic: str, options: dict[str, str], status: int
) -> None:
    found, answer, _ = await post(node, topic, {}, **options)
    assert found == status
    _fits(answer, NotPublished)


async def test_frames_have_the_shapes_of_the_description(node: Realtime) -> None:
    await node.to_all(
        notification("degraded", kind=Kind.SYSTEM_STATUS, data={"status": "degraded", "services": ["mail"]})
    )
    async with node.session("user1", "?cursor=nowhere") as client:
        await client.next("status")
        await client.next("hello")
        await client.next("gap")
        await node.to_user("user1", notification("disk full", kind="alert_critical", alert=ALERT))
        shown = await client.next("notification")
        await client.say(type="read", id=shown["notification"]["id"])
        await client.next("unread")
        await client.say(type="read", id="nothing")
        await client.next("error")
        await client.say(type="ping")
        await client.next("pong")
        for frame in client.seen:
            _fits(frame, Frame)

"""The operators' HTTP: who may ask, what is answered, and that it writes nothing and ends when it is told to."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer

from carillon.console import api as module
from carillon.console.app import Console
from carillon.console.backend import Backend
from services.router.explaining.replaying import Replay
from services.router.explaining.rules import RouterRules
from shared.directory.catalogue import Catalogues
from shared.directory.categories import Category
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore

pytestmark = pytest.mark.real_store

TOKEN = "a token of the tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
EXPLAIN = {"topic": "notifications/realtime/user/ada", "payload": {"message": "A secret", "category": "comments"}}


@pytest_asyncio.fixture
async def client(store: EmptyStore) -> AsyncIterator[TestClient[Any, Any]]:
    async with Store(store.url) as opened:
        await Directory(opened, Keys()).put(Person(user_id="ada", email="ada@example.com"))
        record = Category.model_validate({"title": "Comments", "channels": {"email": True}})
        await Catalogues(opened, Keys()).put_category("comments", record)
        rules = RouterRules(alert_escalation_after_s=300, lifetime_s=86400)
        console = Console(Backend(opened, rules), token=TOKEN)
        async with TestClient(TestServer(console.application())) as client:
            yield client


async def ask(client: TestClient[Any, Any], path: str, body: object = None, **options: Any) -> tuple[int, Any]:
    headers = options.pop("headers", BEARER)
    method = "GET" if body is None else "POST"
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)
    async with client.request(method, path, data=data, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
async def test_nobody_is_answered_without_the_token(client: TestClient[Any, Any], headers: dict[str, str]) -> None:
    for path in ("/v1/categories", "/v1/nothing"):
        status, answer = await ask(client, path, headers=headers)
        assert (status, answer["error"]["code"]) == (401, "unauthorized")


async def test_explain_answers_as_the_command_does(client: TestClient[Any, Any]) -> None:
    status, answer = await ask(client, "/v1/explain", EXPLAIN)
    assert (status, answer["accepted"], answer["category"]) == (200, True, "comments")
    decided = {one["channel"]: (one["verdict"], one["rule"]) for one in answer["decided"]}
    assert decided["email"] == ("send", "category:comments")
    refused = {**EXPLAIN, "topic": "notifications/nowhere"}
    status, answer = await ask(client, "/v1/explain", refused)
    assert (status, answer["accepted"], answer["error"]["code"]) == (200, False, "unknown_topic")


async def test_categories_are_listed(client: TestClient[Any, Any]) -> None:
    status, answer = await ask(client, "/v1/categories")
    assert (status, [one["name"] for one in answer]) == (200, ["comments"])
    assert (await ask(client, "/v1/categories?tenant=nobody"))[0] == 404


async def test_decisions_are_replayed_with_the_records_of_the_request(client: TestClient[Any, Any]) -> None:
    status, answer = await ask(
        client, "/v1/replay-decisions", {"since": "1h", "with": [{"category": "comments"}], "people": True}
    )
    assert (status, answer["notifications"], answer["people"]) == (200, 0, [])


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/explain", b"{", "body"),
        ("/v1/explain", b"[]", "body"),
        ("/v1/explain", {"topic": "x"}, "payload"),
        ("/v1/explain", {**EXPLAIN, "at": "yesterday"}, "at"),
        ("/v1/explain", {**EXPLAIN, "surprise": 1}, "surprise"),
        ("/v1/replay-decisions", {"since": "8d", "with": []}, "since"),
        ("/v1/replay-decisions", {"since": "1d"}, "with"),
        ("/v1/replay-decisions", {"with": [{}, {"category": "c", "policy": "maybe"}]}, "with.0.user_id"),
        ("/v1/replay-decisions", {"with": [{"category": "c", "policy": "maybe"}]}, "with.0.policy"),
    ],
)
async def test_a_refusal_names_the_field(client: TestClient[Any, Any], path: str, body: object, field: str) -> None:
    status, answer = await ask(client, path, body)
    assert (status, [each["field"] for each in answer["error"]["fields"]]) == (400, [field])


async def test_what_takes_too_long_or_comes_too_often_is_refused(
    client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def waits(*_: object, **__: object) -> None:
        began.set()
        await goes_on.wait()

    monkeypatch.setattr(Replay, "run", waits)
    monkeypatch.setattr(module, "REPLAY_S", 0.5)
    first = asyncio.create_task(ask(client, "/v1/replay-decisions", {"with": []}))
    await began.wait()
    assert (await ask(client, "/v1/replay-decisions", {"with": []}))[0] == 429
    assert (await first)[0] == 504


async def test_a_mistake_of_ours_tells_nothing(
    client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("A secret")

    monkeypatch.setattr(module, "explainer", breaks)
    status, answer = await ask(client, "/v1/explain", EXPLAIN)
    assert (status, answer["error"]["code"]) == (500, "internal_error")
    assert "A secret" not in caplog.text
    assert TOKEN not in caplog.text


async def test_the_command_prints_a_token_and_ends_when_told(store: EmptyStore) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSOLE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "carillon", "--json", "console", "--port", "0",
        env={**environment, "REDIS_URL": store.url}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    said = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    assert said["console"].startswith("http://127.0.0.1:")
    assert len(said["token"]) >= 32
    assert said["sign_in"].startswith(said["console"] + "/sign-in?link=")
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err) == (0, b"")

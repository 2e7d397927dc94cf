"""The API's own description, held against what the service does by schemathesis."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from shared.directory.people import Person
from tests.conftest import EmptyStore
from tests.realtime import Realtime, bearer, notification, realtime_node

EXAMPLES = 15
CONFIG = Path(__file__).parent / "schemathesis.toml"


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        await running.context.directory.put(Person(user_id="user1", email="user1@example.com"))
        for number in range(3):
            await running.to_user("user1", notification(f"number {number}", data={"n": number}))
        yield running


@pytest.mark.timeout(240)
async def test_api_does_what_its_description_says(node: Realtime, tmp_path: Path) -> None:
    # The two streams do not end by themselves, and a link that unsubscribes is nothing that can be guessed; they have
    # their own tests.
    checking = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(CONFIG),
        "run", f"{node.url}/v1/openapi.json",
        "--header", f"Authorization: {bearer('user1')['Authorization']}",
        "--exclude-path-regex", "^/v1/(ws|events|unsubscribe)$",
        "--max-examples", str(EXAMPLES), "--generation-deterministic", "--seed", "1",
        "--request-timeout", "10", "--no-color",
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

"""The commands that ``carillon up`` prints for other MQTT clients: each is run by a shell as it is printed."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from carillon.local.first_steps import SAMPLE_USER, client_snippets
from carillon.local.stack import Stack
from tests.conftest import need
from tests.node_packages import NODE
from tests.system import System, open_system
from tests.waiting import eventually

SNIPPETS = {snippet.name: snippet.purpose for snippet in client_snippets("mqtt://127.0.0.1:1883", "")}


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        await system.publish(f"directory/user/{SAMPLE_USER}", {"name": "User 123"})
        yield system


def test_a_prefix_stands_before_the_topics_of_every_client() -> None:
    commands = {each.name: each.command for each in client_snippets("mqtt://127.0.0.1:1883", "staging/")}
    inbox = f"notifications/realtime/user/{SAMPLE_USER}"
    assert all(f"staging/{inbox}" in commands[name] for name in ("mosquitto_pub", "node"))
    assert 'Publisher("mqtt://127.0.0.1:1883", topic_prefix="staging/")' in commands["python"]
    assert f'send_user("{SAMPLE_USER}"' in commands["python"]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", SNIPPETS)
async def test_a_printed_command_puts_something_into_the_inbox(
    system: System, request: pytest.FixtureRequest, name: str
) -> None:
    environment = dict(os.environ)
    if name == "mosquitto_pub":
        need("mosquitto_pub")
    if name == "node":
        packages: Path = request.getfixturevalue("node_packages")
        environment["NODE_PATH"] = str(packages / "node_modules")
        environment["PATH"] = f"{NODE.parent}{os.pathsep}{environment['PATH']}"
    (snippet,) = (each for each in client_snippets(system.stack.broker.url, "") if each.name == name)
    # Its own text, because other runs of it may stand there.
    sign = uuid.uuid4().hex[:8]
    command = snippet.command.replace("Hello from", f"Hello {sign} from")
    process = await asyncio.create_subprocess_shell(
        command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed
    assert printed.startswith(b"accepted ") == (name == "python"), printed

    async def arrived() -> bool:
        _, inbox = await system.call("GET", "/v1/inbox", SAMPLE_USER)
        return any(sign in entry["message"] for entry in inbox["notifications"])

    await eventually(arrived, 30, f"what {name} has published")

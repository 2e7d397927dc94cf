"""The tutorials and guides that need a running system, each followed step by step as it is written."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.places import DATA_VARIABLE
from carillon.local.servers import ROOT
from carillon.local.stack import Stack
from carillon.local.system import SAMPLE_DIRECTORY
from tests.command_line import NOT_INHERITED, CommandLine
from tests.node_packages import NODE
from tests.page import stored
from tests.system import System, open_system
from tests.waiting import eventually
from tests.walk import Walk, checkout, walking

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """What ``make up`` starts, with its sample people, and shared by the pages."""
    stack = Stack(tmp_path_factory.mktemp("system"))
    await stack.start()
    try:
        async with open_system(stack) as system:
            people = SAMPLE_DIRECTORY.read_text().replace(
                '"sandbox"', json.dumps(await system.sandbox.subscription("1"))
            )
            imported = await CommandLine(stack.data)("directory", "import", "-", stdin=people)
            assert imported.status == 0, imported.err
            yield system
    finally:
        await stack.stop()


def walk(page: str, system: System, tmp_path: Path, **options: Any) -> AbstractAsyncContextManager[Walk]:
    """Begin to follow a page in a checkout, beside a system that runs; the page's ports become those of the system."""
    ports = system.stack.ports
    folder = checkout(tmp_path / "checkout")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    environment[DATA_VARIABLE] = str(system.stack.data)
    environment["PATH"] = f"{NODE.parent}{os.pathsep}{environment['PATH']}"
    # A command that has to compile what it imports takes a second and a half longer.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "compiled")
    places = {
        "127.0.0.1:1883": f"127.0.0.1:{ports.mqtt}",
        "-p 1883": f"-p {ports.mqtt}",
        "127.0.0.1:8080": f"127.0.0.1:{ports.http}",
        "127.0.0.1:8025": f"127.0.0.1:{ports.sandbox}",
        "/path/to/your/checkout": str(folder),
    }
    scratch = tmp_path / "walk"
    scratch.mkdir()
    return walking(page, folder, scratch, environment=environment, places=places, **options)


def running(_folder: Path) -> None:
    """Do nothing: the system runs already."""


async def test_publish(system: System, tmp_path: Path, node_client_package: Path) -> None:
    # How the two packages are built and installed has tests of its own.
    def python_client(folder: Path) -> None:
        (folder / ".venv").symlink_to(tmp_path / "checkout" / ".venv")

    def node_client(folder: Path) -> None:
        shutil.copytree(node_client_package, folder / "node_modules" / "@carillon" / "publisher", symlinks=True)

    instead = {
        "make up": running,
        "python3 -m venv .venv": python_client,
        '(cd "$CARILLON/clients/node" && npm ci && npm pack)': node_client,
    }
    async with walk("tutorials/publish.md", system, tmp_path, instead=instead) as page:
        await page.rest()
    assert len(await system.sandbox.outbox(to="ada@example.com")) == 1
    wanted = {f"Hello from {client}" for client in ("Python", "Node", "curl", "mosquitto_pub")}

    async def told() -> bool:
        return {entry["message"] for entry in await system.inbox("user123")} >= wanted

    await eventually(told, what="what the four clients have published")


async def test_tenancy(system: System, tmp_path: Path) -> None:
    async with walk("guides/tenancy.md", system, tmp_path) as page:
        await page.until("## 4. Show each tenant its own")
        await stored(system, "grace", 2)
        await page.rest()

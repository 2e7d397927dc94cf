"""The tutorials and guides that need a running system, each followed step by step as it is written."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from carillon.local.places import DATA_VARIABLE
from carillon.local.ports import free_port
from carillon.local.servers import ROOT
from carillon.local.stack import Stack
from carillon.local.system import SAMPLE_DIRECTORY
from tests.client_inbox_build import Packed, shop
from tests.command_line import NOT_INHERITED, CommandLine
from tests.node_packages import NODE, NPM
from tests.page import DEADLINE_MS, entry, open_inbox, stored
from tests.system import System, open_system
from tests.waiting import eventually
from tests.walk import Walk, checkout, walking

# A dozen commands, each an interpreter of its own, take a minute and more where other tests run beside them.
pytestmark = [
    pytest.mark.real_broker,
    pytest.mark.real_store,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="session"),
]

# Where the page of somebody's own is served; the system allows it.
PAGE_PORT = free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """What ``make up`` starts, with its sample people, and shared by the pages."""
    allowed = {"REALTIME_ALLOWED_ORIGINS": f"http://localhost:{PAGE_PORT}"}
    stack = Stack(tmp_path_factory.mktemp("system"), settings=allowed)
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


def walk(page: str, stack: Stack, tmp_path: Path, **options: Any) -> AbstractAsyncContextManager[Walk]:
    """Begin to follow a page in a checkout, beside a system that runs; the page's ports become those of the system."""
    ports = stack.ports
    folder = checkout(tmp_path / "checkout")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    environment[DATA_VARIABLE] = str(stack.data)
    environment["PATH"] = f"{node_programs(tmp_path / 'bin')}{os.pathsep}{environment['PATH']}"
    # A command that has to compile what it imports takes a second and a half longer.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "compiled")
    places = {
        "127.0.0.1:1883": f"127.0.0.1:{ports.mqtt}",
        "-p 1883": f"-p {ports.mqtt}",
        "127.0.0.1:8080": f"127.0.0.1:{ports.http}",
        "127.0.0.1:8025": f"127.0.0.1:{ports.sandbox}",
        "-p 6379": f"-p {ports.redis}",
        "--port 5173": f"--port {PAGE_PORT}",
        "var/redis": str(stack.data / "redis"),
        "/path/to/your/checkout": str(folder),
    }
    scratch = tmp_path / "walk"
    scratch.mkdir()
    return walking(page, folder, scratch, environment=environment, places=places, **options)


def node_programs(folder: Path) -> Path:
    """Make a folder with the ``node`` and the ``npm`` of the developers' packages."""
    folder.mkdir()
    (folder / "node").symlink_to(NODE)
    (folder / "npm").write_text(f'#!/bin/sh\nexec "{NODE}" "{NPM}" "$@"\n')
    (folder / "npm").chmod(0o700)
    return folder


async def served(port: int) -> None:
    """Wait until a page is served there."""

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("localhost", port)
        except OSError:
            return False
        writer.close()
        return True

    await eventually(answers, 30, f"a page on port {port}")


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
    async with walk("tutorials/publish.md", system.stack, tmp_path, instead=instead) as page:
        await page.rest()
    assert len(await system.sandbox.outbox(to="ada@example.com")) == 1
    wanted = {f"Hello from {client}" for client in ("Python", "Node", "curl", "mosquitto_pub")}

    async def told() -> bool:
        return {entry["message"] for entry in await system.inbox("user123")} >= wanted

    await eventually(told, what="what the four clients have published")


async def test_answer_for_it(system: System, tmp_path: Path) -> None:
    async with walk("tutorials/answer.md", system.stack, tmp_path) as page:
        await page.until("## 4. Who is on call?")
        # The pause has ended, and nobody has published again.
        assert len(await system.arrived(to="mark@example.com")) == 1
        await page.rest()


async def test_tenancy(system: System, tmp_path: Path) -> None:
    async with walk("guides/tenancy.md", system.stack, tmp_path) as page:
        await page.until("## 4. Show each tenant its own")
        await stored(system, "grace", 2)
        await page.rest()


async def test_leaving_a_channel_out(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "system")
    await stack.start()

    async def again(_folder: Path) -> None:
        """Do what the next ``make up`` does."""
        await stack.stop_service("router")
        await stack.stop_service("sms")
        await stack.start_service("router", settings={"CARILLON_WITHOUT": "sms"})
        await eventually(says_so, 30)

    async def says_so() -> bool:
        services = (await CommandLine(stack.data)("status", "--json")).json["services"]
        return bool(services["router"]["ready"] and services["sms"]["left_out"] and not services["sms"]["alive"])

    try:
        people = SAMPLE_DIRECTORY.read_text().replace(', {"platform": "web", "subscription": "sandbox"}', "")
        assert (await CommandLine(stack.data)("directory", "import", "-", stdin=people)).status == 0
        instead = {"CARILLON_WITHOUT=sms make up": again}
        async with walk("guides/without.md", stack, tmp_path, instead=instead) as page:
            await page.rest()
    finally:
        await stack.stop()


async def test_an_inbox_in_a_react_page(
    system: System, tmp_path: Path, inbox_package: Packed, pytestconfig: pytest.Config, browser: Browser
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    cache = pytestconfig.rootpath / ".pytest_cache" / "node"

    def install(folder: Path) -> None:
        described = (folder / "package.json").read_text()
        wanted = json.loads(described)
        shop(cache, inbox_package, folder)
        (folder / "package.json").write_text(described)
        for name, version in {**wanted["dependencies"], **wanted["devDependencies"]}.items():
            installed = json.loads((folder / "node_modules" / name / "package.json").read_text())
            assert installed["version"] == version
        programs = folder / "node_modules" / ".bin"
        programs.mkdir(exist_ok=True)
        (programs / "vite").symlink_to("../vite/bin/vite.js")

    instead = {
        '(cd "$CARILLON/clients/inbox" && npm ci && npm pack)': install,
        "REALTIME_ALLOWED_ORIGINS=http://localhost:5173 make up": running,
    }
    visit = await (await browser.new_context()).new_page()
    async with walk("tutorials/inbox.md", system.stack, tmp_path, instead=instead, stays={"npm run preview"}) as page:
        await page.until("## 6. An alert that wants an answer")
        await served(PAGE_PORT)
        await visit.goto(f"http://localhost:{PAGE_PORT}")
        await expect(visit.locator("h1")).to_have_text(re.compile(r"My shop \(\d+\)"))
        await open_inbox(visit)
        await expect(entry(visit, "Hello").first).to_contain_text("From the shop.")
        await page.rest()
        await stored(system, "oncall1", 1)
        await visit.reload()
        await open_inbox(visit)
        alert = entry(visit, "Database connection lost")
        await alert.get_by_role("button", name="Acknowledge").click()

        async def taken() -> bool:
            return any(each["alert"].get("acknowledged_by") == "oncall1" for each in await system.inbox("oncall1"))

        await eventually(taken, what="the acknowledgement at the service")
    await visit.context.close()


async def test_back_up_lose_and_restore(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = new_stack(services=("router", "email", "realtime"))
    await stack.start()

    async def make_up(_folder: Path) -> None:
        await stack.start()

    async with walk("guides/restoring.md", stack, tmp_path, instead={"make up": make_up}) as page:
        await page.until("## 4. Lose it")
        await stack.stop()
        await page.rest()

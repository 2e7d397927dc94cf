"""What the tests run against: real servers and processes on free ports with private folders.

``broker`` and ``store`` are mosquitto and redis-server. On a machine without them the tests that need them are skipped;
``CARILLON_REQUIRE_REAL=1`` (set in CI) turns such a skip into a failure. ``stack`` is the whole system. Without
mosquitto and redis-server it runs on the embedded broker and store. ``CARILLON_EMBEDDED=1`` treats every machine as one
without them.
"""

import itertools
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import pytest_asyncio
import redis.asyncio

from carillon.local import child, ports
from carillon.local.ports import SERVICES, free_port
from carillon.local.servers import LocalServer, find_server, local_broker, local_store
from carillon.local.stack import Stack
from sandbox.server import Options, Sandbox, running
from tests import warm_start
from tests.client_inbox_build import Packed, pack
from tests.client_node_build import build
from tests.console import Served, console_of
from tests.node_packages import NotInstalled, install
from tests.redis_sets import ClusterSet
from tests.sandbox_client import SandboxClient
from tests.store_users import give_users, refused

pytest.register_assert_rewrite("tests.provider_contract")
if TYPE_CHECKING:
    from playwright.async_api import Browser

# A machine that is busy with other tests is slow. That says nothing about the code.
hypothesis.settings.register_profile("carillon", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("carillon")

_DATABASES = 1000
_NEEDED_BY_MARKER = {"real_broker": "mosquitto", "real_store": "redis-server", "smtp_sink": "smtp-sink"}
_EMBEDDED = os.environ.get("CARILLON_EMBEDDED") == "1"


def _own_ports() -> range:
    """Return this process's part of the free ports: one that another has chosen looks free until it is listened on."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    size = len(ports.FREE_PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return ports.FREE_PORTS[int(worker) * size :][:size]


ports.FREE_PORTS = _own_ports()
child.start_process = warm_start.start_process


def pytest_unconfigure() -> None:
    warm_start.stop()


def need(program: str) -> None:
    """Skip the test on a machine without that server, or fail it where nothing may be skipped."""
    if find_server(program) and not _EMBEDDED:
        return
    if os.environ.get("CARILLON_REQUIRE_REAL") == "1":
        pytest.fail(f"{program} is not installed, and CARILLON_REQUIRE_REAL=1 forbids a skip", pytrace=False)
    pytest.skip(f"{program} is not installed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, program in _NEEDED_BY_MARKER.items():
        if item.get_closest_marker(marker):
            need(program)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalServer]:
    """One mosquitto for all tests: ``broker.url``, ``broker.port``. Use a ``topic_prefix``, and never stop it."""
    need("mosquitto")
    server = local_broker(tmp_path_factory.mktemp("broker"), free_port(), embedded=False)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def new_broker(tmp_path: Path) -> AsyncIterator[Callable[[], LocalServer]]:
    """A function that describes a mosquitto of the test's own, to start, kill and restart; ended after the test."""
    servers: list[LocalServer] = []

    def make() -> LocalServer:
        need("mosquitto")
        servers.append(local_broker(tmp_path / f"broker-{len(servers)}", free_port(), embedded=False))
        return servers[-1]

    yield make
    for server in servers:
        await server.stop()


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for the topics and client ids of one test on the common broker; it ends in a slash."""
    return f"test-{uuid.uuid4().hex[:12]}/"


@dataclass(frozen=True)
class EmptyStore:
    """A database of its own in the common redis-server."""

    url: str
    server: LocalServer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalServer]:
    """One redis-server for all tests. Use ``store``, and never stop it."""
    need("redis-server")
    server = local_store(tmp_path_factory.mktemp("store"), free_port(), embedded=False, databases=_DATABASES)
    await server.start()
    yield server
    await server.stop()


_numbers = itertools.count(1)


@pytest_asyncio.fixture
async def store(store_server: LocalServer) -> EmptyStore:
    """An empty database for one test: ``store.url``."""
    number = next(_numbers) % _DATABASES
    url = f"redis://127.0.0.1:{store_server.port}/{number}"
    # The server is ours, so no keys of others are lost. After a thousand tests a database number is used again.
    async with redis.asyncio.from_url(url) as client:
        await client.flushdb()
    return EmptyStore(url, store_server)


@pytest_asyncio.fixture
async def new_store(tmp_path: Path) -> AsyncIterator[Callable[[], LocalServer]]:
    """A function that describes a redis-server of the test's own, to start, kill and restart; ended after the test."""
    servers: list[LocalServer] = []

    def make() -> LocalServer:
        need("redis-server")
        servers.append(local_store(tmp_path / f"store-{len(servers)}", free_port(), embedded=False))
        return servers[-1]

    yield make
    for server in servers:
        await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sandbox_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SandboxClient]:
    """One sandbox without services for all tests. Use ``sandbox``."""
    stack = Stack(tmp_path_factory.mktemp("sandbox"))
    await stack.start_sandbox()
    yield SandboxClient(stack.sandbox_url, stack.environment)
    await stack.stop()


@pytest_asyncio.fixture
async def sandbox(sandbox_server: SandboxClient) -> SandboxClient:
    """An empty sandbox that plays no fault; ``sandbox.environment`` holds the settings that point services at it."""
    await sandbox_server.clear()
    return sandbox_server


@pytest.fixture(scope="session")
def node_packages(pytestconfig: pytest.Config) -> Path:
    """The folder that holds ``node_modules`` with what tests/node pins; run it with ``tests.node_packages.NODE``."""
    with _needing_npm():
        return install(pytestconfig.rootpath / ".pytest_cache" / "node")


@pytest.fixture(scope="session")
def node_client_package(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node client, built in a folder of its own; see ``tests.client_node_build``."""
    with _needing_npm():
        return build(pytestconfig.rootpath / ".pytest_cache" / "node", tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="session")
def inbox_package(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """The package ``@carillon/inbox``; see ``tests.client_inbox_build``."""
    with _needing_npm():
        return pack(pytestconfig.rootpath / ".pytest_cache" / "node", tmp_path_factory.mktemp("inbox"))


@contextmanager
def _needing_npm() -> Iterator[None]:
    try:
        yield
    except NotInstalled as error:
        if os.environ.get("CARILLON_REQUIRE_REAL") == "1":
            pytest.fail(f"{error}, and CARILLON_REQUIRE_REAL=1 forbids a skip", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of one module's sandboxes: keys and certificates are made once."""
    return tmp_path_factory.mktemp("sandbox")


@pytest_asyncio.fixture
async def box(data: Path) -> AsyncIterator[Sandbox]:
    """A sandbox in the test's own process, whose outbox and script can be looked at."""
    async with running(Options(data=data)) as sandbox:
        yield sandbox


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The whole system for all tests. A test that kills a part of it starts that part again.

    With ``CARILLON_TEST_STORE=cluster`` it uses a Redis Cluster, and its own store is idle. With ``users`` each service
    has its own user of the store.
    """
    data = tmp_path_factory.mktemp("stack")
    async with AsyncExitStack() as cleanup:
        settings: dict[str, str] = {}
        if os.environ.get("CARILLON_TEST_STORE") == "cluster":
            need("redis-server")
            cluster = ClusterSet(data / "cluster")
            cleanup.push_async_callback(cluster.stop)
            await cluster.start()
            settings = {"REDIS_URL": cluster.url, "REDIS_WAIT_REPLICAS": "1"}
        system = Stack(data, embedded=_EMBEDDED or None, settings=settings)
        with_users = os.environ.get("CARILLON_TEST_STORE") == "users"
        if with_users:
            give_users(system)
        cleanup.push_async_callback(system.stop)
        await system.start()
        yield system
        if with_users:
            assert await refused(system) == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def console(stack: Stack) -> AsyncIterator[Served]:
    """The operators' console of the common system, for all tests; see ``tests.console``."""
    async with console_of(stack) as served:
        yield served


@pytest_asyncio.fixture
async def new_stack(tmp_path: Path) -> AsyncIterator[Callable[..., Stack]]:
    """A function that describes a system of the test's own (``services``, ``settings``); stopped after the test."""
    systems: list[Stack] = []

    def make(services: Iterable[str] = SERVICES, settings: Mapping[str, str] | None = None) -> Stack:
        data = tmp_path / f"stack-{len(systems)}"
        systems.append(Stack(data, embedded=_EMBEDDED or None, services=services, settings=settings))
        return systems[-1]

    yield make
    for system in systems:
        await system.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator["Browser"]:
    """One Chromium for all tests; each visit is a window with a memory of its own.

    It is the one without a window, which takes half the processor time. It shows no notifications.
    """
    async with _chromium("chromium-headless-shell", "chromium") as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole_browser() -> AsyncIterator["Browser"]:
    """The same with all that a person's Chromium has, for pushes."""
    async with _chromium("chromium") as browser:
        yield browser


@asynccontextmanager
async def _chromium(*programs: str) -> AsyncIterator["Browser"]:
    """Run the first of these programs that is installed."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - for the few tests that have a browser

    program = next(filter(None, map(shutil.which, programs)), None)
    if program is None:
        if os.environ.get("CARILLON_REQUIRE_REAL") == "1":
            pytest.fail("chromium is not installed, and CARILLON_REQUIRE_REAL=1 forbids a skip", pytrace=False)
        pytest.skip("chromium is not installed")
    arguments = ["--no-sandbox", "--disable-background-networking"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        await browser.close()

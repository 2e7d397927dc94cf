"""A store that drops records, loses them or takes none is noticed: at start, in readiness, metrics and log."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from carillon.local.ports import free_port
from carillon.local.servers import ROOT, LocalServer
from shared.core.errors import ConfigError
from shared.runtime.ops import serve_ops
from shared.runtime.service import open_context
from shared.runtime.settings import CommonSettings
from shared.store.store import Store
from shared.store.watch import StoreWatch
from tests.redis_sets import ClusterSet, ask, info
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

NewStore = Callable[[], LocalServer]


@pytest_asyncio.fixture
async def server(new_store: NewStore) -> LocalServer:
    server = new_store()
    await server.start()
    return server


@pytest_asyncio.fixture
async def opened(server: LocalServer) -> AsyncIterator[Store]:
    async with Store(server.url) as opened:
        yield opened


def metric(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"carillon_{name}")


@asynccontextmanager
async def watched(store: Store, *, allow_eviction: bool = False) -> AsyncIterator[StoreWatch]:
    watch = StoreWatch(store, allow_eviction=allow_eviction, interval_s=0.02)
    await watch.at_start()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.run(), name="watch")
        yield watch
        running.cancel()


async def start_router(broker: LocalServer, url: str, **settings: str) -> "asyncio.subprocess.Process":
    environment = {
        "PATH": os.environ["PATH"], "MQTT_URL": broker.url, "REDIS_URL": url, "OPS_HOST": "127.0.0.1",
        "OPS_PORT": "0", "TOPIC_PREFIX": "watched", **settings,
    }  # fmt: skip
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.router",
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.real_broker
async def test_a_store_that_evicts_is_refused_at_start_unless_that_is_allowed(
    server: LocalServer, broker: LocalServer
) -> None:
    await ask(server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    refused = await start_router(broker, server.url)
    _, errors = await asyncio.wait_for(refused.communicate(), 30)
    assert refused.returncode == 2
    (line,) = errors.decode().splitlines()
    assert "REDIS_URL" in line
    assert "allkeys-lru" in line
    assert "REDIS_ALLOW_EVICTION" in line

    port = free_port()
    allowed = await start_router(broker, server.url, REDIS_ALLOW_EVICTION="true", OPS_PORT=str(port))
    try:
        await eventually(lambda: _is_ready(port), within_s=30)
    finally:
        allowed.terminate()
        await asyncio.wait_for(allowed.communicate(), 30)
    assert allowed.returncode == 0


@pytest.mark.real_broker
async def test_a_store_that_is_away_at_start_is_asked_when_it_is_there(
    new_store: NewStore, broker: LocalServer
) -> None:
    server = new_store()
    waiting = await start_router(broker, server.url)
    assert waiting.stdout is not None
    async with asyncio.timeout(30):
        while b"ops endpoint" not in (line := await waiting.stdout.readline()):
            assert line, "the router ended"
    server.command += ["--maxmemory-policy", "volatile-ttl"]
    await server.start()
    _, errors = await asyncio.wait_for(waiting.communicate(), 30)
    assert waiting.returncode == 2
    assert "volatile-ttl" in errors.decode()


async def _is_ready(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == HTTPStatus.OK
    except aiohttp.ClientError:
        return False


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the watch has said; asyncio says in the same log which steps were slow."""
    return [record.message for record in caplog.records if record.name == "shared.store.watch"]


async def test_a_policy_that_changes_while_we_run_is_told_and_told_again_when_it_is_over(
    opened: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared.store.watch")
    async with watched(opened) as watch:
        assert watch.is_safe
        assert metric("store_may_evict") == 0
        await opened.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
        await eventually(lambda: not watch.is_safe)
        assert metric("store_may_evict") == 1
        await opened.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await eventually(lambda: watch.is_safe)
        assert metric("store_may_evict") == 0
    messages = told(caplog)
    assert messages == ["store may drop records when its memory is full", "store keeps everything again"]


async def test_an_allowed_policy_keeps_nobody_from_being_ready_and_is_in_the_metrics(opened: Store) -> None:
    await opened.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigError):
        await StoreWatch(opened, allow_eviction=False).at_start()
    async with watched(opened, allow_eviction=True) as watch:
        assert watch.is_safe
        assert metric("store_may_evict") == 1
    await opened.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await StoreWatch(opened, allow_eviction=False).at_start()


async def test_a_store_without_an_append_only_file_is_warned_of_and_may_be_used(
    opened: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(opened) as watch:
        assert metric("store_append_only") == 1
        await opened.command("CONFIG", "SET", "appendonly", "no")
        await eventually(lambda: metric("store_append_only") == 0)
        assert watch.is_safe
        await opened.command("CONFIG", "SET", "appendonly", "yes")
        await eventually(lambda: metric("store_append_only") == 1)
    assert told(caplog) == ["store keeps no append-only file: what is accepted is lost with its process"]


async def test_a_user_who_may_not_ask_is_told_once_and_works(
    server: LocalServer, opened: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await opened.command("ACL", "SETUSER", "service", "on", ">password", "~*", "+@all", "-info", "-config")
    async with Store(server.url.replace("redis://", "redis://service:password@")) as limited:
        watch = StoreWatch(limited, allow_eviction=False)
        await watch.at_start()
        await watch.at_start()
        assert watch.is_safe
    assert told(caplog) == ["store does not say how it is set up"]


async def test_every_master_of_a_cluster_is_asked(tmp_path: Path) -> None:
    cluster = ClusterSet(tmp_path)
    await cluster.start()
    try:
        async with Store(cluster.url) as opened:
            await StoreWatch(opened, allow_eviction=False).at_start()
            await opened.takes_writes()
            await ask(cluster.masters[-1], "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
            with pytest.raises(ConfigError, match="allkeys-random"):
                await StoreWatch(opened, allow_eviction=False).at_start()
    finally:
        await cluster.stop()


# What a store says that stands and cannot take a write: out of memory, no replica is left, it has become a replica, its
# last snapshot failed.
REFUSALS = {
    "full": (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    "without replicas": (
        ["CONFIG", "SET", "min-replicas-to-write", "1"],
        ["CONFIG", "SET", "min-replicas-to-write", "0"],
    ),
    "a replica": (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
    "disk": (["CONFIG", "SET", "save", "1000 1000"], ["CONFIG", "SET", "save", ""]),
}


@pytest.mark.parametrize("problem", REFUSALS)
async def test_readiness_is_off_while_writes_are_refused(server: LocalServer, opened: Store, problem: str) -> None:
    begin, end = REFUSALS[problem]
    if problem == "disk":
        await _fail_to_save(server)
    settings = CommonSettings(mqtt_url="mqtt://127.0.0.1", redis_url=server.url, ops_host="127.0.0.1")
    async with open_context(settings, "test") as context:
        checks = {"store": context.checks["store"]}
        async with serve_ops("127.0.0.1", 0, checks) as port:
            assert await _is_ready(port)
            await opened.command(*begin)
            assert not await _is_ready(port)
            assert metric("store_up") == 0
            await opened.command(*end)
            assert await eventually(lambda: _is_ready(port))


async def _fail_to_save(server: LocalServer) -> None:
    """Have the last snapshot fail: where any are wanted, that is a reason to refuse writes."""
    # A folder stands where the file would be.
    (server.folder / "dump.rdb").mkdir()
    await ask(server, "SET", "something", "1")
    await ask(server, "BGSAVE")

    async def failed() -> bool:
        return bool((await info(server, "persistence"))["rdb_last_bgsave_status"] == "err")

    await eventually(failed)

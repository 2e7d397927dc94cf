"""The whole system on a Redis Cluster that waits for its replicas, while one of the masters is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from tests.command_line import CommandLine
from tests.redis_sets import ClusterSet
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ClusterSet]:
    servers = ClusterSet(tmp_path / "cluster")
    try:
        await servers.start()
        yield servers
    finally:
        await servers.stop()


async def check(system: System) -> dict[str, str]:
    """Return what the router's readiness says."""
    url = f"{system.stack.ops_url('router')}/readyz"
    async with system.http.get(url) as answer:
        checks: dict[str, str] = (await answer.json())["checks"]
        return checks


async def metric(system: System, name: str) -> float:
    async with system.http.get(f"{system.stack.ops_url('router')}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


async def test_everything_goes_on_when_a_replica_takes_over(
    cluster: ClusterSet, new_stack: Callable[..., Stack]
) -> None:
    stack = new_stack(settings={"REDIS_URL": cluster.url, "REDIS_WAIT_REPLICAS": "1", "REDIS_WAIT_TIMEOUT_MS": "500"})
    await stack.start()
    async with open_system(stack) as system:
        people = [await system.person(groups=["ops"], email=f"user{number}@example.com") for number in range(8)]

        async def everybody_is_told() -> None:
            receipt = await system.publish(
                "notifications/realtime/group/ops", {"message": "To all of you"}, timeout_s=60
            )
            assert receipt.status == "accepted"
            for person in people:
                await system.in_inbox(person, str(receipt.notification_id), within_s=30)

        await everybody_is_told()
        mail = await system.publish("notifications/email/send", {"to": "one@example.com", "subject": "s", "body": "b"})
        assert mail.status == "accepted"
        await system.arrived(to="one@example.com")
        assert (await check(system))["replicas"] == "ok"

        await cluster.masters[0].kill()
        await eventually(lambda: _is(system, store="not ready"), within_s=30, what="a router that is not ready")
        assert await metric(system, "carillon_store_up") == 0
        await cluster.promoted(0)
        await cluster.masters[0].start()

        await everybody_is_told()
        await eventually(lambda: _is(system, store="ok", replicas="ok"), within_s=30, what="a router that is ready")
        await eventually(lambda: _up(system), within_s=30, what="the metric")
        audited = await CommandLine(stack.data)("audit", "--deep")
        assert audited.status == 0, audited


async def _is(system: System, **wanted: str) -> bool:
    try:
        return wanted.items() <= (await check(system)).items()
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _up(system: System) -> bool:
    return await metric(system, "carillon_store_up") == 1

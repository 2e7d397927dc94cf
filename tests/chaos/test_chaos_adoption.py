"""Adoption of a dead router's sessions ends while the adopter is busy with publishes of its own."""

import asyncio
import itertools
from collections.abc import Callable

import pytest

from carillon.local.stack import Stack
from services.router.intake.slots import LEASE_MS
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from shared.store.until_stored import until_stored
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]


async def _publish_steadily(url: str) -> None:
    """Publish so steadily that no router is idle for half a second, which it would take for the end.

    Receipts are not waited for: those of a dead router's share come late.
    """
    async with Broker(BrokerAddress.parse(url), "steady") as broker:
        for number in itertools.count():
            broker.publish(f"directory/user/person{number % 100}", "{}")
            await asyncio.sleep(0.004)


async def test_one_dead_router_after_the_other_is_adopted_while_publishes_go_on(
    new_stack: Callable[..., Stack],
) -> None:
    stack = new_stack(services=["router"])
    await stack.start()
    async with Store(stack.store.url) as store, asyncio.TaskGroup() as group:
        steady = group.create_task(_publish_steadily(stack.broker.url), name="steady")

        async def slots(count: int) -> bool:
            owned: int = await store.command("HLEN", f"{Keys().slots}:owners")
            return owned == count

        for _ in range(2):
            await stack.start_service("router", 1)
            assert await slots(2)
            await stack.kill("router", 1)
            await eventually(lambda: slots(1), within_s=30, what="the dead router's slot given back")
        steady.cancel()


async def test_routers_keep_their_slots_when_the_store_was_away_for_longer_than_a_lease(
    new_stack: Callable[..., Stack],
) -> None:
    stack = new_stack(services=["router"])
    await stack.start()
    await stack.start_service("router", 1)
    routers = [stack.child("router", index) for index in range(2)]
    async with Store(stack.store.url) as store:

        async def owners() -> dict[bytes, bytes]:
            """Return the owner of each slot; behind its name stand the times of its lease."""
            found: dict[bytes, bytes] = await until_stored(lambda: store.command("HGETALL", f"{Keys().slots}:owners"))
            return {slot: owner.partition(b"|")[0] for slot, owner in found.items()}

        before = await owners()
        await stack.kill("store")
        await asyncio.sleep(LEASE_MS / 1000 + 1)
        await stack.restart(stack.store)
        # The time in which the first of them would take the other's slot, and the other notice it.
        await asyncio.sleep(2 * LEASE_MS / 1000 + 2)
        assert await owners() == before
    assert all(router.alive for router in routers)
    assert not any("adopting" in line for router in routers for line in router.last_lines())

"""Adoption of a dead router's sessions ends while the adopter is busy with publishes of its own."""

import asyncio
from collections.abc import Callable

import pytest

from carillon.publisher import Publisher
from carillon.stack import Stack
from shared.keys import Keys
from shared.store import Store
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]


async def _publish_steadily(url: str) -> None:
    """Leave no half second in which a router has nothing in hand, which it would take for the end of everything."""
    async with Publisher(url) as publisher:

        async def one_after_the_other(number: int) -> None:
            while True:
                await publisher.publish(f"directory/user/person{number}", {}, timeout_s=60)

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(one_after_the_other(number), name=f"publish-{number}")


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
            await eventually(lambda: slots(1), within_s=15, what="the dead router's slot given back")
        steady.cancel()

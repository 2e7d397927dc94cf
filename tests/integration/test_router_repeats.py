"""A publish without an idempotency key that the broker hands over again, because its router died, is the same one."""

import asyncio
import json
from collections.abc import Callable

import pytest

from carillon.local.stack import Stack
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import SHARDS, Keys
from shared.store.store import Store
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

_PUBLISHES = 1_500
_OUTSTANDING = 100
_KILL_AT = (300, 600, 900, 1_200)


async def _notifications(store: Store) -> int:
    """Count what the ledger holds; each publish has one delivery, and each of them is open."""
    lanes = await asyncio.gather(
        *(store.command("ZCARD", f"{Keys().shard(shard)}:due:realtime") for shard in range(SHARDS))
    )
    return sum(lanes)


async def test_what_a_dying_router_had_stored_and_not_acknowledged_is_not_accepted_twice(
    new_stack: Callable[..., Stack],
) -> None:
    stack = new_stack(services=["router"])
    await stack.start()
    async with Broker(BrokerAddress.parse(stack.broker.url), "publisher") as broker, Store(stack.store.url) as store:
        room = asyncio.Semaphore(_OUTSTANDING)
        # An inbox entry for somebody who is known stays open while no realtime service runs.
        await broker.publish("directory/user/user1", "{}")

        async def publish(number: int) -> None:
            async with room:
                await broker.publish("notifications/realtime/user/user1", json.dumps({"message": str(number)}))

        async with asyncio.TaskGroup() as group:
            for number in range(_PUBLISHES):
                group.create_task(publish(number), name=f"publish-{number}")
            for stored in _KILL_AT:

                async def is_stored(least: int = stored) -> bool:
                    return await _notifications(store) >= least

                await eventually(is_stored, within_s=60)
                await stack.kill("router")
                await stack.start_service("router", 0)

        async def all_adopted() -> bool:
            owners: int = await store.command("HLEN", f"{Keys().slots}:owners")
            return owners == 1 and await _notifications(store) >= _PUBLISHES

        # An adopted session is empty when its slot is given back: nothing comes after that.
        await eventually(all_adopted, within_s=60)
        assert await _notifications(store) == _PUBLISHES

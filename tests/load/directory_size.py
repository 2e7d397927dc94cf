"""How many writes to the store a broadcast costs realtime, by the number of users in the directory."""

import asyncio
import json
import time
import zlib

import redis.asyncio

from carillon.local.stack import Stack
from shared.core.topics import Kind, Topics
from shared.directory.people import Person
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import SHARDS, Keys
from tests.waiting import eventually

BROADCASTS = 20

_CHUNK = 10_000


async def measure_broadcast_writes(stack: Stack, sizes: list[int]) -> list[tuple[int, float]]:
    """Fill the directory to each size and broadcast.

    Returns:
        For each size: users, and writes to the store per broadcast, the router's included.
    """
    figures: list[tuple[int, float]] = []
    users = 0
    topic = Topics().publish(Kind.REALTIME_BROADCAST)
    body = json.dumps({"message": "to all", "channels": ["realtime"]})
    async with (
        redis.asyncio.from_url(stack.store.url) as store,
        Broker(BrokerAddress.parse(stack.broker.url), "bench-broadcast") as publisher,
    ):
        # The feed's first entry and the scripts' loading are no part of it.
        await publisher.publish(topic, body)
        await _feed_has(store, 1)
        for size in sizes:
            await fill_directory(store, users, size)
            users = size
            standing = await count_writes(store)
            await asyncio.sleep(2)
            idle_per_s = (await count_writes(store) - standing) / 2
            entries = await _feed_length(store)
            before, started_s = await count_writes(store), time.perf_counter()
            for number in range(BROADCASTS):
                await publisher.publish(topic, body)
                await _feed_has(store, entries + number + 1)
            # For writes after the last broadcast, such as the end of its delivery in the ledger.
            await asyncio.sleep(1)
            took_s = time.perf_counter() - started_s
            writes = await count_writes(store) - before - idle_per_s * took_s
            figures.append((size, writes / BROADCASTS))
    return figures


async def fill_directory(store: "redis.asyncio.Redis", first: int, last: int) -> None:
    """Write records and the list of everybody as the directory would, but many at a time."""
    keys = Keys()
    for start in range(first, last, _CHUNK):
        pipeline = store.pipeline(transaction=False)
        members: dict[str, dict[str, int]] = {}
        for number in range(start, min(start + _CHUNK, last)):
            user_id = f"member{number}"
            person = Person(user_id=user_id, email=f"{user_id}@example.com")
            pipeline.set(f"{keys.user(user_id)}:record", person.model_dump_json(exclude_none=True))
            members.setdefault(keys.everybody(zlib.crc32(user_id.encode()) % SHARDS), {})[user_id] = 0
        for key, ids in members.items():
            pipeline.zadd(key, ids)
        await pipeline.execute()


async def count_writes(store: "redis.asyncio.Redis") -> int:
    """Read how many changes the store has made (Redis INFO, persistence; this store saves no snapshots)."""
    return int((await store.info("persistence"))["rdb_changes_since_last_save"])


async def _feed_length(store: "redis.asyncio.Redis") -> int:
    return int(await store.zcard(f"{Keys().feed}:log"))


async def _feed_has(store: "redis.asyncio.Redis", entries: int) -> None:
    async def there() -> bool:
        return await _feed_length(store) >= entries

    await eventually(there, within_s=30, what="the broadcast in the feed")

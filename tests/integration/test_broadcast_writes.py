"""A broadcast is stored once, however many users there are."""

import redis.asyncio

from carillon.local.servers import LocalServer
from tests.conftest import EmptyStore
from tests.load.directory_size import count_writes, fill_directory
from tests.realtime import realtime_node


async def test_writes_of_a_broadcast_do_not_grow_with_the_directory(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    writes: list[int] = []
    async with (
        realtime_node(store.url, broker.url, topic_prefix) as node,
        redis.asyncio.from_url(store.url) as raw,
    ):
        await node.to_all("the feed's first entry makes its keys")
        for first, last in ((0, 100), (100, 10_000)):
            await fill_directory(raw, first, last)
            before = await count_writes(raw)
            await node.to_all("to all")
            writes.append(await count_writes(raw) - before)
    assert writes[0] == writes[1] <= 10

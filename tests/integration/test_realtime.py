"""The realtime service as its clients see it, against a real store and a real broker."""

from collections.abc import AsyncIterator

import pytest_asyncio

from carillon.local import LocalServer
from tests.conftest import EmptyStore
from tests.realtime import Realtime, realtime_node
from tests.waiting import eventually


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        yield running


async def test_new_entry_reaches_an_open_session(node: Realtime) -> None:
    async with node.session("ada") as client:
        hello = await client.next("hello")
        assert hello["unread"] == 0
        sent = await node.to_user("ada", "hi")
        frame = await client.next("notification")
        assert frame["notification"]["id"] == sent.id
        assert frame["notification"]["read"] is False
        assert (await client.next("unread"))["unread"] == 1

"""A realtime process and a second one of the same system; a module with needs of its own has its own ``node``."""

from collections.abc import AsyncIterator

import pytest_asyncio

from carillon.local.servers import LocalServer
from tests.conftest import EmptyStore
from tests.realtime import ALLOWED, Realtime, realtime_node


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(
        store.url, broker.url, topic_prefix, inbox_limit=200, realtime_max_sessions_per_user=3,
        realtime_allowed_origins=ALLOWED,
    ) as running:  # fmt: skip
        yield running


@pytest_asyncio.fixture
async def other(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    """A second process of the same system."""
    async with realtime_node(
        store.url, broker.url, topic_prefix, inbox_limit=200, realtime_max_sessions_per_user=3
    ) as running:
        yield running

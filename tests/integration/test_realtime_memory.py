"""What is left of a session when it is over."""

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aiohttp import web

from carillon.local.servers import LocalServer
from services.realtime.access.client_connection import ClientConnection
from services.realtime.sessions.close_codes import TOO_SLOW
from services.realtime.sessions.session import Session
from tests.conftest import EmptyStore
from tests.load.crowd import Member
from tests.realtime import Realtime, bearer, realtime_node, token
from tests.waiting import eventually

KINDS = (Session, ClientConnection, web.Request, web.WebSocketResponse, web.StreamResponse)


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        yield running


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Only what nobody holds goes, at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left() -> list[str]:
    return [type(one).__name__ for one in gc.get_objects() if type(one) in KINDS]


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("end", ["goodbye", "loss", "refusal", "stream"])
async def test_nothing_of_a_session_waits_for_the_garbage_collector(node: Realtime, end: str) -> None:
    # It stops the process while it looks at everything there is; ten thousand sessions that come back are much.
    before = left()
    if end == "loss":
        member = Member("user1", token("user1"))
        await member.connect("127.0.0.1", int(node.url.rpartition(":")[2]))
        assert len(left()) > len(before)
        member.cut()
    elif end == "stream":
        async with node.client.get(f"{node.url}/v1/events", headers=bearer("user1")) as stream:
            await stream.content.readline()
            assert len(left()) > len(before)
    else:
        async with node.session("user1") as client:
            await client.next("hello")
            assert len(left()) > len(before)
            if end == "refusal":
                node.node.hub.sessions()[0].close(TOO_SLOW)
                assert await client.closed() == TOO_SLOW
    await eventually(lambda: left() == before, what="nothing to be left")

"""What clients who mean no good, or are only broken, can take from the realtime service, over real sockets."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from services.realtime.sessions import TOO_MANY_SESSIONS
from tests.conftest import EmptyStore
from tests.realtime import Client, Realtime, bearer, realtime_node, token
from tests.waiting import eventually

DEADLINE_S = 0.5


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same deadlines, sooner."""
    monkeypatch.setattr("services.realtime.connections.HANDSHAKE_S", DEADLINE_S)
    monkeypatch.setattr("services.realtime.connections.IDLE_S", 2 * DEADLINE_S)
    monkeypatch.setattr("services.realtime.answers.BODY_S", DEADLINE_S)
    monkeypatch.setattr("services.realtime.gateway.PING_EVERY_S", DEADLINE_S)


@pytest_asyncio.fixture
async def node(
    short_deadlines: None,  # noqa: ARG001 - before the server starts
    store: EmptyStore,
    broker: LocalServer,
    topic_prefix: str,
) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        yield running


class Wire:
    """A TCP connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ended(self, within_s: float) -> float:
        """Read until the server ends the connection, and return how long that took."""
        started_s = time.monotonic()
        async with asyncio.timeout(within_s):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
        return time.monotonic() - started_s

    async def drip(self, data: bytes, every_s: float = 0.05) -> None:
        """Write a byte at a time until the server has enough."""
        try:
            for index in range(len(data)):
                self.writer.write(data[index : index + 1])
                await self.writer.drain()
                await asyncio.sleep(every_s)
        except ConnectionError:
            pass


@asynccontextmanager
async def wire(node: Realtime) -> AsyncIterator[Wire]:
    address = urlsplit(node.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def upgrade(user_id: str) -> bytes:
    """Write the request that opens a WebSocket."""
    key = base64.b64encode(b"sixteen bytes...").decode()
    return (
        "GET /v1/ws HTTP/1.1\r\nHost: carillon\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token(user_id)}\r\n\r\n"
    ).encode()


# Deadlines.


async def test_connection_that_says_nothing_is_cut(node: Realtime) -> None:
    async with wire(node) as silent:
        assert await silent.ended(within_s=5) >= DEADLINE_S * 0.8


async def test_request_that_drips_in_is_cut_at_the_same_deadline(node: Realtime) -> None:
    async with wire(node) as slow:
        dripping = asyncio.create_task(slow.drip(upgrade("user1")))
        assert await slow.ended(within_s=5) < DEADLINE_S * 4
        await dripping


async def test_second_request_may_not_drip_in_either(node: Realtime) -> None:
    async with wire(node) as slow:
        slow.writer.write(b"GET /v1/openapi.json HTTP/1.1\r\nHost: carillon\r\n\r\n")
        assert (await slow.reader.readline()).startswith(b"HTTP/1.1 200")
        dripping = asyncio.create_task(slow.drip(upgrade("user1")))
        assert await slow.ended(within_s=5) < DEADLINE_S * 8
        await dripping


async def test_body_that_drips_in_is_refused(node: Realtime) -> None:
    async with wire(node) as slow:
        slow.writer.write(
            f"PUT /v1/preferences HTTP/1.1\r\nHost: carillon\r\nAuthorization: Bearer {token('user1')}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".encode()
        )
        async with asyncio.timeout(5):
            assert (await slow.reader.readline()).startswith(b"HTTP/1.1 408")


async def test_socket_that_does_not_answer_pings_is_cut_and_its_session_ends(node: Realtime) -> None:
    async with wire(node) as dead:
        dead.writer.write(upgrade("user1"))
        assert (await dead.reader.readline()).startswith(b"HTTP/1.1 101")
        await eventually(lambda: node.node.hub.users.get("user1"), what="the session")
        # It reads, so only the missing pongs tell that nobody is there.
        await dead.ended(within_s=10)
    await eventually(lambda: not node.node.hub.users, what="the session's end")


async def test_session_whose_client_answers_outlives_all_deadlines(node: Realtime) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        receiving = asyncio.create_task(client.next("notification", within_s=30))
        await asyncio.sleep(DEADLINE_S * 5)
        sent = await node.to_user("user1", "still here")
        assert (await receiving)["notification"]["id"] == sent.id


# Limits per address.


async def test_address_has_at_most_so_many_sessions_whoever_its_users_are(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_max_sessions_per_address=2) as node:
        async with node.session("user1") as one, node.session("user2") as two:
            await one.next("hello")
            await two.next("hello")
            async with node.session("user3") as third:
                assert await third.closed() == TOO_MANY_SESSIONS
            async with node.client.get(f"{node.url}/v1/events", headers=bearer("user3")) as refused:
                assert (refused.status, (await refused.json())["error"]["code"]) == (429, "too_many_sessions")
        await eventually(lambda: not node.node.hub.users, what="the sessions' end")
        async with node.session("user3") as third:
            await third.next("hello")


async def test_address_has_at_most_so_many_connections(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_max_sessions_per_address=2) as node:
        async with wire(node), wire(node), wire(node), wire(node), wire(node) as fifth:
            assert await fifth.ended(within_s=5) < 5
        async with node.session("user1") as client:
            await client.next("hello")


async def test_sessions_begun_too_fast_are_told_to_wait(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_new_sessions_per_address_per_s=0.2) as node:
        for _ in range(2):
            async with node.client.get(f"{node.url}/v1/events") as refused:
                assert refused.status == 401
        for path in ("/v1/events", "/v1/ws"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                async with node.client.ws_connect(f"{node.url}{path}", headers=bearer("user1")):
                    pass
            assert error.value.status == 429
            assert error.value.headers is not None
            assert error.value.headers["Retry-After"]


async def test_clients_behind_a_trusted_proxy_are_told_apart(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    def session(node: Realtime, forwarded: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        headers = {**bearer("user1"), "X-Forwarded-For": forwarded}
        return node.client.ws_connect(f"{node.url}/v1/ws", headers=headers)

    settings: dict[str, Any] = {"realtime_max_sessions_per_address": 1, "realtime_trusted_proxies": "127.0.0.0/8"}
    async with (
        realtime_node(store.url, broker.url, topic_prefix, **settings) as node,
        session(node, "203.0.113.1") as first,
        session(node, "203.0.113.2") as other,
        # What the client itself says stands before what the proxy adds.
        session(node, "198.51.100.7, 203.0.113.1") as same,
    ):
        await Client(first).next("hello")
        await Client(other).next("hello")
        assert await Client(same).closed() == TOO_MANY_SESSIONS

"""What clients who mean no good, or are only broken, can take from the realtime service, over real sockets."""

import asyncio
import base64
import gzip
import logging
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import WSMsgType
from yarl import URL

from carillon.local.servers import LocalServer
from services.realtime.sessions.close_codes import TOO_MANY_SESSIONS, TRY_AGAIN_LATER, UNAUTHENTICATED
from tests.conftest import EmptyStore
from tests.realtime import Client, Realtime, bearer, realtime_node, token
from tests.waiting import eventually

DEADLINE_S = 1.0
# For calls of which a whole answer is expected.
_IN_TIME = aiohttp.ClientTimeout(total=10)


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same deadlines, sooner."""
    monkeypatch.setattr("services.realtime.access.client_connection.HANDSHAKE_S", DEADLINE_S)
    monkeypatch.setattr("services.realtime.access.client_connection.IDLE_S", 2 * DEADLINE_S)
    monkeypatch.setattr("services.realtime.access.bodies.BODY_S", DEADLINE_S)
    monkeypatch.setattr("services.realtime.sockets.endpoints.PING_EVERY_S", DEADLINE_S)


# Only where a test waits for one: a busy machine may take as long for an honest request.
SOON = pytest.mark.usefixtures("short_deadlines")


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
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


@SOON
async def test_connection_that_says_nothing_is_cut(node: Realtime) -> None:
    async with wire(node) as silent:
        assert await silent.ended(within_s=5) >= DEADLINE_S * 0.8


@SOON
async def test_request_that_drips_in_is_cut_at_the_same_deadline(node: Realtime) -> None:
    async with wire(node) as slow:
        dripping = asyncio.create_task(slow.drip(upgrade("user1")))
        assert await slow.ended(within_s=5) < DEADLINE_S * 4
        await dripping


@SOON
async def test_second_request_may_not_drip_in_either(node: Realtime) -> None:
    async with wire(node) as slow:
        slow.writer.write(b"GET /v1/openapi.json HTTP/1.1\r\nHost: carillon\r\n\r\n")
        assert (await slow.reader.readline()).startswith(b"HTTP/1.1 200")
        dripping = asyncio.create_task(slow.drip(upgrade("user1")))
        assert await slow.ended(within_s=5) < DEADLINE_S * 8
        await dripping


@SOON
async def test_body_that_drips_in_is_refused(node: Realtime) -> None:
    async with wire(node) as slow:
        slow.writer.write(
            f"PUT /v1/preferences HTTP/1.1\r\nHost: carillon\r\nAuthorization: Bearer {token('user1')}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".encode()
        )
        async with asyncio.timeout(30):
            assert (await slow.reader.readline()).startswith(b"HTTP/1.1 408")


@SOON
async def test_socket_that_does_not_answer_pings_is_cut_and_its_session_ends(node: Realtime) -> None:
    async with wire(node) as dead:
        dead.writer.write(upgrade("user1"))
        assert (await dead.reader.readline()).startswith(b"HTTP/1.1 101")
        await eventually(lambda: node.node.hub.users.get("user1"), what="the session")
        # It reads, so only the missing pongs tell that nobody is there.
        await dead.ended(within_s=10)
    await eventually(lambda: not node.node.hub.users, what="the session's end")


@SOON
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


# Texts that are none.

# Half a surrogate pair: as an escape, as the bytes that no UTF-8 has, and under other encodings of JSON.
HALVES = {
    "escaped": rb'{"note": "\ud800", "platform": "ios", "token": "\udfff", "email": "\ud800"}',
    "as a name": rb'{"\ud800": true}',
    "in bytes": b'{"note": "\xed\xa0\x80", "platform": "ios", "token": "\xed\xa0\x80"}',
    "not UTF-8": b'{"note": "\xff", "platform": "ios", "token": "\xff"}',
    "UTF-16": '{"note": "a", "platform": "ios", "token": "a"}'.encode("utf-16"),
    "not a number": b'{"note": NaN, "email": Infinity}',
    "deep": b'{"note":' + b"[" * 30_000,
}
CALLS = [
    ("PUT", "/v1/preferences"),
    ("POST", "/v1/devices"),
    ("POST", "/v1/alerts/someone/acknowledge"),
]
# Percent-encoded: half a pair, a byte that is no UTF-8, a zero, and a name as long as a request line may be.
ODD = ("%ED%A0%80", "%FF", "%00", "a%0D%0Ab", "%25ED", "%F4%90%80%80", "x" * 7000)


@pytest.fixture
def complaints(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What was logged above INFO until the test's end, which fails when there is any."""
    found: list[str] = []
    yield found
    # asyncio also warns of steps that were slow, as on a busy machine all are.
    least = {"asyncio": logging.ERROR}
    found += [one.getMessage() for one in caplog.records if one.levelno >= least.get(one.name, logging.WARNING)]
    assert found == []


@pytest.mark.usefixtures("complaints")
@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in HALVES.items()])
async def test_body_that_is_no_text_is_refused(node: Realtime, body: bytes) -> None:
    for method, path in CALLS:
        status, answer = await node.call(method, path, "user1", data=body)
        assert (status, answer["error"]["code"]) == (400, "invalid_request"), path


@pytest.mark.usefixtures("complaints")
@pytest.mark.parametrize("odd", ODD, ids=[odd[:20] for odd in ODD])
async def test_path_and_query_that_are_no_text_are_refused_or_name_nothing(node: Realtime, odd: str) -> None:
    paths = [
        ("POST", f"/v1/inbox/{odd}/read"),
        ("POST", f"/v1/inbox/{odd}/archive"),
        ("POST", f"/v1/alerts/{odd}/acknowledge"),
        ("DELETE", f"/v1/devices/{odd}"),
        ("GET", f"/v1/inbox?before={odd}"),
        ("GET", f"/v1/inbox?limit={odd}"),
        ("GET", f"/v1/inbox?state={odd}"),
        ("GET", f"/v1/events?ticket={odd}"),
        ("GET", f"/{odd}"),
    ]
    for method, path in paths:
        headers = {} if "ticket" in path else bearer("user1")
        async with node.client.request(method, URL(f"{node.url}{path}", encoded=True), headers=headers) as answer:
            assert answer.status in (400, 401, 404), path


@pytest.mark.usefixtures("complaints")
async def test_ticket_and_cursor_that_are_no_text_open_nothing_wrong(node: Realtime) -> None:
    for odd in ODD:
        async with node.client.ws_connect(URL(f"{node.url}/v1/ws?ticket={odd}", encoded=True)) as socket:
            assert await Client(socket).closed() == UNAUTHENTICATED
        async with node.session("user1", f"?cursor={odd}") as client:
            await client.next("hello")


@pytest.mark.usefixtures("complaints")
@pytest.mark.parametrize("name", ["Authorization", "Origin", "Host", "Last-Event-ID", "X-Forwarded-For", "Content-Type",
                                  "If-None-Match", "Sec-Fetch-Site", "Accept-Encoding", "Range"])  # fmt: skip
async def test_header_that_is_no_text_is_refused(node: Realtime, name: str) -> None:
    for value in (b"\xff\xfe", b"Bearer \xed\xa0\x80.\xff.\xff", b"http://[", b"http://a:port", b"null", b"x" * 7000):
        for path in (b"/v1/inbox", b"/v1/events", b"/carillon.js"):
            async with wire(node) as raw:
                host = b"" if name == "Host" else b"Host: carillon\r\n"
                raw.writer.write(
                    b"GET %s HTTP/1.1\r\n%s%s: %s\r\nConnection: close\r\n\r\n" % (path, host, name.encode(), value)
                )
                async with asyncio.timeout(30):
                    status = (await raw.reader.readline()).split()[1]
                assert status in (b"200", b"400", b"401", b"403", b"404"), (path, value)


@pytest.mark.usefixtures("complaints")
async def test_frames_that_are_no_text_are_answered_and_the_session_goes_on(node: Realtime) -> None:
    async with node.session("user1") as client:
        for text in (
            r'{"type": "read", "id": "\ud800"}',
            r'{"type": "acknowledge", "alert_id": "\udfff"}',
            r'{"type": "\ud800"}',
            r'{"\ud800": 1}',
            '{"type": "read", "id": NaN}',
            "[" * 10_000,
            "",
            "null",
        ):
            await client.socket.send_str(text)
            assert (await client.next("error"))["code"] == "invalid_frame", text
        for odd in ("\0", "a/b#+", "*", "x" * 10_000, "{other}:inbox"):
            await client.say(type="read", id=odd)
            assert (await client.next("error"))["code"] == "not_found", odd
        await client.say(type="ping")
        await client.next("pong")
    async with node.session("user1") as client:
        await client.next("hello")
        await client.socket._writer.send_frame(b"\xed\xa0\x80", WSMsgType.TEXT)
        # RFC 6455, 8.1: a text that is no UTF-8 fails the connection; 1007 says so (7.4.1).
        assert await client.closed() == 1007


# Bodies that are packed.


@pytest.mark.usefixtures("complaints")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense"])
async def test_packed_body_that_cannot_be_unpacked_is_refused(node: Realtime, coding: str) -> None:
    for body in (b"no packed body", gzip.compress(b'{"email": false}')[:-9], bytes(100)):
        for method, path in CALLS:
            headers = {"Content-Encoding": coding}
            status, answer = await node.call(method, path, "user1", data=body, headers=headers, timeout=_IN_TIME)
            assert status in (400, 415), (path, body, answer)


@pytest.mark.usefixtures("complaints")
async def test_small_body_that_unpacks_to_much_is_refused_and_takes_no_memory(node: Realtime) -> None:
    bomb = gzip.compress(bytes(256 * 1024 * 1024))
    assert len(bomb) > 64 * 1024  # aiohttp must not be saved by the bound on what comes in
    small = gzip.compress(bytes(32 * 1024 * 1024))
    tracemalloc.start()
    try:
        for body in (small, bomb):
            for method, path in CALLS:
                headers = {"Content-Encoding": "gzip"}
                status, _ = await node.call(method, path, "user1", data=body, headers=headers, timeout=_IN_TIME)
                assert status in (400, 413, 415), path
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 * 1024 * 1024


# How often one user may ask.


async def test_user_who_asks_too_often_is_told_when_to_come_again(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_requests_per_user_per_s=1) as node:
        statuses = [(await node.call("GET", "/v1/inbox", "user1"))[0] for _ in range(15)]
        assert statuses.count(200) in (10, 11, 12)
        assert set(statuses[12:]) == {429}
        async with node.client.post(f"{node.url}/v1/tickets", headers=bearer("user1")) as refused:
            assert (refused.status, (await refused.json())["error"]["code"]) == (429, "too_many_requests")
            assert int(refused.headers["Retry-After"]) == 1
        async with node.client.get(f"{node.url}/v1/events", headers=bearer("user1")) as refused:
            assert refused.status == 429
        async with node.session("user1") as again:
            assert await again.closed() == TRY_AGAIN_LATER
        # Others do not notice.
        assert (await node.call("GET", "/v1/inbox", "user2"))[0] == 200

        async def let_in() -> bool:
            return (await node.call("GET", "/v1/inbox", "user1"))[0] == 200

        await eventually(let_in, what="the next request's turn")


async def test_frames_of_all_sockets_of_a_user_count_with_his_requests(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with (
        realtime_node(store.url, broker.url, topic_prefix, realtime_requests_per_user_per_s=2) as node,
        node.session("user1") as first,
        node.session("user1") as second,
        node.session("user2") as other,
    ):
        for client in (first, second, other):
            await client.next("hello")
        for client in (first, second):
            for _ in range(12):
                await client.say(type="ping")
        answers = [(await client.next("pong", "error")).get("code") for client in (first, second) for _ in range(12)]
        assert answers.count("too_many_requests") >= 2
        assert answers.count(None) >= 16
        assert (await node.call("GET", "/v1/inbox", "user1"))[0] == 429
        await other.say(type="ping")
        assert (await other.next("pong", "error"))["type"] == "pong"

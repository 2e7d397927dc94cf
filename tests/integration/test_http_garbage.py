"""Bytes that are no request, sent to every HTTP server of ours: they are refused, and no log repeats them."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from carillon.local.servers import LocalServer
from services.sms.callback_server import serve_callbacks
from services.sms.settings import CallbackEndpoint
from services.sms.twilio.callbacks import Callbacks
from shared.runtime.ops import serve_ops
from shared.telemetry.log import configure
from tests.conftest import EmptyStore
from tests.realtime import realtime_node

SECRET = "planted7secret"

REQUESTS = {
    "no request at all": f"{SECRET}\r\n\r\n".encode(),
    "TLS": b"\x16\x03\x01\x02\x00\x01" + SECRET.encode() + b"\r\n\r\n",
    "no version": f"GET /v1/ws?ticket={SECRET}\r\n\r\n".encode(),
    "another version": f"GET /v1/ws?ticket={SECRET} HTTP/7.7\r\nHost: a\r\n\r\n".encode(),
    "a space in the target": f"GET /v1/ws?ticket={SECRET} and more HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a zero in the target": f"GET /v1/ws?ticket={SECRET}\0 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a target that is no URL": f"GET http://[{SECRET} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a port that is no number": f"GET http://a:{SECRET}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a long target": f"GET /v1/ws?ticket={SECRET}{'x' * 20_000} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a header without a colon": f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization {SECRET}\r\n\r\n".encode(),
    "a name that is none": f"GET / HTTP/1.1\r\nHost: a\r\n{SECRET}(): a\r\n\r\n".encode(),
    "a zero in a header": f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SECRET}\0\r\n\r\n".encode(),
    "a long header": f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SECRET}{'x' * 20_000}\r\n\r\n".encode(),
    "two lengths": f"POST /{SECRET} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na".encode(),
    "a length that is none": f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SECRET}\r\n\r\n".encode(),
    "a chunk without a size": (
        f"POST /v1/tickets HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n\r\n"
    ).encode(),
    "a coding of its own": f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {SECRET}\r\n\r\n".encode(),
    "a host that is none": f"GET /v1/inbox HTTP/1.1\r\nHost: [{SECRET}\r\nOrigin: http://a\r\n\r\n".encode(),
    "an origin that is no URL": f"GET /v1/inbox HTTP/1.1\r\nHost: a\r\nOrigin: http://[{SECRET}\r\n\r\n".encode(),
    "no UTF-8 in the target": b"GET /v1/inbox/\xff%s/read?before=\xed\xa0\x80 HTTP/1.1\r\nHost: a\r\n\r\n"
    % SECRET.encode(),
    "no UTF-8 in a header": b"GET /v1/inbox HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\xff\r\n\r\n"
    % SECRET.encode(),
    "no UTF-8 in the host": b"GET /v1/inbox HTTP/1.1\r\nHost: \xff%s\r\nOrigin: \xff\r\n\r\n" % SECRET.encode(),
    "a cookie of bytes": b"GET / HTTP/1.1\r\nHost: a\r\nCookie: \xff%s\r\n\r\n" % SECRET.encode(),
    "an expectation": f"GET / HTTP/1.1\r\nHost: a\r\nExpect: {SECRET}\r\n\r\n".encode(),
    "a body that cannot be unpacked": (
        f"POST /v1/twilio/status HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 14\r\n\r\n{SECRET}"
    ).encode(),
    "a page that cannot be unpacked": (
        f"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 14\r\n\r\n{SECRET}"
    ).encode(),
    "a form in an alphabet of its own": (
        "POST /v1/twilio/status HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n"
        f"Content-Type: application/x-www-form-urlencoded; charset={SECRET}\r\n\r\na={SECRET}"
    ).encode(),
    "a form with half a surrogate pair": (
        b"POST /v1/twilio/status?delivery=%ED%A0%80 HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n"
        b"Content-Type: application/x-www-form-urlencoded; charset=unicode_escape\r\n\r\na=\\ud800&b=c"
    ),
    "a form of parts that are none": (
        f"POST /v1/twilio/status HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n"
        f"Content-Type: multipart/form-data; boundary={SECRET}\r\n\r\n{SECRET}"
    ).encode(),
    "a form of parts without a boundary": (
        f"POST /v1/twilio/status HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n"
        f"Content-Type: multipart/form-data\r\n\r\n{SECRET}"
    ).encode(),
    "a socket that is none": (
        f"GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: {SECRET}\r\nSec-WebSocket-Key: {SECRET}\r\n\r\n"
    ).encode(),
    "a format of a version that is no number": (
        f"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text; version={SECRET}\r\n\r\n"
    ).encode(),
    "an upgrade to something else": (
        f"GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: {SECRET}\r\nConnection: Upgrade\r\n\r\n"
    ).encode(),
}


@pytest.fixture
def lines() -> Iterator[Callable[[], str]]:
    """What a service would have logged since the last look."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in list(logging.root.manager.loggerDict)}
    configure("INFO", "json", "test")
    written = io.StringIO()
    (handler,) = root.handlers
    cast("logging.StreamHandler[Any]", handler).setStream(written)

    def read() -> str:
        text = written.getvalue()
        written.seek(0)
        written.truncate()
        return text

    yield read
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


@asynccontextmanager
async def serving(name: str, store: EmptyStore, broker: LocalServer, prefix: str) -> AsyncIterator[int]:
    """Run one of the servers, and yield its port."""
    if name == "ops":
        async with serve_ops("127.0.0.1", 0, {}) as port:
            yield port
    elif name == "callbacks":
        nobody = cast("Any", None)
        endpoint = CallbackEndpoint("127.0.0.1", 0, "https://sms.example.com")
        async with serve_callbacks(endpoint, Callbacks("token", endpoint.url, nobody, nobody).routes()) as port:
            yield port
    else:
        async with realtime_node(store.url, broker.url, prefix) as node:
            yield int(node.url.rpartition(":")[2])


async def answer_to(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as ended:
        return ended.partial
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("name", ["ops", "callbacks", "realtime"])
async def test_bytes_that_are_no_request_are_refused_and_stand_in_no_log(
    name: str, store: EmptyStore, broker: LocalServer, topic_prefix: str, lines: Callable[[], str]
) -> None:
    async with serving(name, store, broker, topic_prefix) as port:
        lines()
        wrong: dict[str, tuple[bytes, str]] = {}
        for what, request in REQUESTS.items():
            answer = await answer_to(port, request)
            logged = lines()
            status = answer.partition(b" ")[2][:3]
            if not b"200" <= status < b"500" or SECRET in logged or "traceback" in logged:
                wrong[what] = (answer, logged)
        assert wrong == {}
        assert (await answer_to(port, b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).startswith(
            b"HTTP/1.1 404"
        )


async def test_a_socket_in_no_language_of_ours_is_no_failure_of_ours(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, lines: Callable[[], str]
) -> None:
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    request = f"GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n"
    async with serving("realtime", store, broker, topic_prefix) as port:
        lines()
        answer = await answer_to(port, f"{request}Sec-WebSocket-Protocol: {SECRET}\r\n\r\n".encode())
        logged = lines()
    assert answer.startswith(b"HTTP/1.1 101")
    assert SECRET not in logged
    assert '"warning"' not in logged

"""How many publishes one realtime process takes over HTTP, each answered with its receipt, and how long one takes.

Mails are published, because nothing of them comes back to the realtime process. Nobody sends them.
"""

import asyncio
import hashlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carillon.local.ports import LOOPBACK
from carillon.local.stack import Stack
from shared.core.model import Channel
from shared.core.rates import Rate as PublisherRate
from shared.directory.publishers import Publisher, Publishers
from shared.store.keys import Keys
from shared.store.store import Store
from tests.load.intake import Rate, cpu_s, drained
from tests.load.latency import Latency, percentiles

CONNECTIONS = 64
LATENCY_PER_SECOND = 200

_TOPIC = "notifications/email/send"
_BODY = json.dumps({"to": "user@example.com", "subject": "Hello", "body": "You have a new message"}).encode()
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_ACCEPTED = b"HTTP/1.1 202"


class Connection(asyncio.Protocol):
    """One connection that is kept; a client of aiohttp would cost more than the service that it measures."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""
        self._answered: asyncio.Future[bool] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Tell whoever asked when the answer is complete."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and length and len(body) >= int(length[1]) and self._answered is not None:
            self._buffer = b""
            self._answered.set_result(head.startswith(_ACCEPTED))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever asked that no answer comes."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("connection closed"))

    async def post(self) -> bool:
        """Publish once; tell whether it was accepted."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        return await self._answered

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


async def measure_http(stack: Stack, publishes: int, seconds: int) -> tuple[Rate, Latency]:
    """Publish over HTTP as fast as the connections do, then at a steady rate.

    Returns:
        The rate with the realtime process's own time for each publish, and the latency at ``LATENCY_PER_SECOND``.
    """
    async with _connections(stack, await _publisher(stack)) as connections, drained(stack, Channel.EMAIL):
        await _flood(connections, 500)
        pid = stack.child("realtime").pid
        cpu_before_s, started_s = cpu_s(pid), time.perf_counter()
        await _flood(connections, publishes)
        took_s = time.perf_counter() - started_s
        rate = Rate(publishes / took_s, (cpu_s(pid) - cpu_before_s) / publishes * 1e6)
        return rate, await _steady(connections, seconds)


async def _publisher(stack: Stack) -> str:
    """Make a publisher without a rate, and return its key."""
    key = secrets.token_urlsafe(32)
    record = Publisher(rate=PublisherRate(0), keys=(hashlib.sha256(key.encode()).hexdigest(),))
    async with Store(stack.store.url) as store:
        await Publishers(store, Keys()).put("bench", record)
    return key


@asynccontextmanager
async def _connections(stack: Stack, key: str) -> AsyncIterator[list[Connection]]:
    head = (
        f"POST /v1/publish/{_TOPIC} HTTP/1.1\r\nHost: carillon\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    request = head.encode() + _BODY
    opened = [
        (await loop.create_connection(lambda: Connection(request), LOOPBACK, stack.ports.http))[1]
        for _ in range(CONNECTIONS)
    ]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


async def _flood(connections: list[Connection], publishes: int) -> None:
    left = publishes

    async def work(connection: Connection) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            if not await connection.post():
                raise RuntimeError("a publish was not accepted")

    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(work(connection), name="publisher")


async def _steady(connections: list[Connection], seconds: int) -> Latency:
    """Publish at a steady rate, whether or not the answers come; a late one counts from when it was to be sent."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    took_ms: list[float] = []

    async def publish(due_s: float) -> None:
        connection = await free.get()
        if await connection.post():
            took_ms.append((time.perf_counter() - due_s) * 1000)
        free.put_nowait(connection)

    count = LATENCY_PER_SECOND * seconds
    async with asyncio.timeout(seconds + 60), asyncio.TaskGroup() as group:
        started_s = time.perf_counter()
        for number in range(count):
            due_s = started_s + number / LATENCY_PER_SECOND
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            group.create_task(publish(due_s), name="publish")
    return percentiles(took_ms, count)

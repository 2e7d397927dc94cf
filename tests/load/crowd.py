"""Many WebSocket clients in one process, each as small as possible.

A client of aiohttp costs more than the session it opens. These speak just enough of RFC 6455 to connect, to answer
pings, and to count notifications and gaps. They keep their cursor for the next connection.
"""

import asyncio
import base64
import json
import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import jwt

# Handshakes under way at a time. The others wait, as behind a load balancer.
CONNECTING = 500

_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A


class Member(asyncio.Protocol):
    """One user's client."""

    __slots__ = (
        "_buffer",
        "_greeted",
        "_transport",
        "_upgraded",
        "cursor",
        "gaps",
        "ids",
        "last_s",
        "token",
        "user_id",
    )

    def __init__(self, user_id: str, token: str) -> None:
        self.user_id = user_id
        self.token = token
        self.cursor = ""
        self.ids: list[str] = []
        self.gaps = 0
        self.last_s = 0.0
        self._buffer = b""
        self._upgraded = False
        self._greeted: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    async def connect(self, host: str, port: int) -> None:
        """Open a session, from where the last one ended, and return when it was greeted."""
        loop = asyncio.get_running_loop()
        self._buffer, self._upgraded, self._greeted = b"", False, loop.create_future()
        await loop.create_connection(lambda: self, host, port)
        async with asyncio.timeout(60):
            await self._greeted

    def cut(self) -> None:
        """Lose the connection, without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    def told(self, notification: dict[str, Any]) -> None:
        """Note a notification, and when it came."""
        self.ids.append(notification["id"])
        self.last_s = time.perf_counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        cursor = f"?cursor={self.cursor}" if self.cursor else ""
        transport.write(
            f"GET /v1/ws{cursor} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            f"Authorization: Bearer {self.token}\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_exception(exc or ConnectionResetError("closed before the greeting"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.cut()
                return
            self._upgraded, self._buffer = True, rest
        while (size := self._frame_size()) is not None:
            start, end_ = size
            self._take(self._buffer[0], self._buffer[start:end_])
            self._buffer = self._buffer[end_:]

    def _frame_size(self) -> tuple[int, int] | None:
        """Return where the first frame's payload begins and ends, None when it is not there yet."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        return (start, start + size) if len(buffer) >= start + size else None

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == _PING and self._transport is not None:
            # Masked with zeros: on a loopback the mask need not hide anything.
            self._transport.write(bytes((_PONG, 0x80 | len(payload))) + bytes(4) + payload)
        if kind != _TEXT:
            return
        frame = json.loads(payload)
        self.cursor = frame.get("cursor", self.cursor)
        match frame["type"]:
            case "notification":
                self.told(frame["notification"])
            case "gap":
                self.gaps += 1
            case "hello" if self._greeted is not None and not self._greeted.done():
                self._greeted.set_result(None)


def members(count: int, secret: str, kind: type[Member] = Member) -> list[Member]:
    """Make clients of as many users."""
    expires_s = time.time() + 3600
    return [
        kind(f"user{number}", jwt.encode({"sub": f"user{number}", "exp": expires_s}, secret, "HS256"))
        for number in range(count)
    ]


async def connect_all(crowd: Sequence[Member], url: str) -> float:
    """Connect everybody and return how long that took, in seconds."""
    address, places = urlsplit(url), asyncio.Semaphore(CONNECTING)

    async def connect(member: Member) -> None:
        async with places:
            await member.connect(address.hostname or "", address.port or 0)

    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for member in crowd:
            group.create_task(connect(member), name=member.user_id)
    return time.perf_counter() - started_s

"""The two kinds of sockets that a session's frames leave through.

Frames that are sent together leave in one write. Each write is a system call, which costs more than making the frame.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from aiohttp import web

from services.realtime.access.client_connection import ClientConnection
from services.realtime.sessions.frames import Frame

# How long a client has to answer our close frame before the connection is cut.
CLOSE_S = 5.0

_KEEP_ALIVE = b": keep-alive\n\n"


class WebSocketSink:
    """A WebSocket; each frame is one text message.

    aiohttp does the handshake, reads, pings and closes. Its own method for sending would write each message separately.
    """

    __slots__ = ("_connection", "_socket")

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        # See ``app``: we accept connections of no other kind.
        self._connection = cast("ClientConnection", request.protocol)

    def send_now(self, frames: Sequence[Frame]) -> bool:
        """Send frames unless the client is slow."""
        transport = self._connection.transport
        if self._connection.writing_paused or self._socket.closed or transport is None or transport.is_closing():
            return False
        transport.write(b"".join([frame.message for frame in frames]))
        return True

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames, waiting while the client is slow."""
        await self._connection.taken()
        if not self.send_now(frames):
            raise ConnectionResetError
        await self._connection.taken()

    async def close(self, code: int) -> None:
        """Send the close code, and cut the connection when the client does not answer it."""
        try:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.close(code=code)
        finally:
            _cut(self._connection.transport)


class EventStreamSink:
    """A stream of server-sent events; it begins with the first frame, and its end gives no reason.

    Args:
        preamble: sent before the first frame.
    """

    __slots__ = ("_preamble", "_request", "_response", "over")

    def __init__(self, request: web.Request, response: web.StreamResponse, preamble: bytes) -> None:
        self._request = request
        self._response = response
        self._preamble = preamble
        self.over = asyncio.Event()

    def send_now(self, frames: Sequence[Frame]) -> bool:  # noqa: ARG002 - see the class
        """Say that sending has to wait: aiohttp sends no part of a body without an await."""
        return False

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send events, waiting while the client is slow."""
        events = b"".join([frame.event for frame in frames])
        if not self._response.prepared:
            await self._response.prepare(self._request)
            events = self._preamble + events
        await self._response.write(events)

    async def keep_alive(self) -> None:
        """Send a comment, so that proxies do not close the stream as idle."""
        await self._response.write(_KEEP_ALIVE)

    async def close(self, code: int) -> None:  # noqa: ARG002 - see the class
        """Let the stream end, and cut it when the client does not take what is left."""
        self.over.set()
        if not self._response.prepared:
            return
        try:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_S):
                    await self._response.write_eof()
        finally:
            _cut(self._request.transport)


def _cut(transport: asyncio.Transport | None) -> None:
    """Cut a connection at once if it still holds data for a client that does not read."""
    if transport is not None and transport.get_write_buffer_size() > 0:
        transport.abort()

"""The two kinds of sockets that a session's frames leave through."""

import asyncio
from contextlib import suppress

from aiohttp import WSMsgType, web

from services.realtime.frames import Frame

# How long a client has to answer our close frame before the connection is cut.
CLOSE_S = 5.0

_KEEP_ALIVE = b": keep-alive\n\n"


class WebSocketSink:
    """A WebSocket; each frame is one text message."""

    __slots__ = ("_request", "_socket")

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request = request
        self._socket = socket

    async def send(self, frame: Frame) -> None:
        """Send one frame, waiting while the client is slow."""
        await self._socket.send_frame(frame.data, WSMsgType.TEXT)

    async def close(self, code: int) -> None:
        """Send the close code, and cut the connection when the client does not answer it."""
        try:
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.close(code=code)
        finally:
            _cut(self._request)


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

    async def send(self, frame: Frame) -> None:
        """Send one event, waiting while the client is slow."""
        if not self._response.prepared:
            await self._response.prepare(self._request)
            await self._response.write(self._preamble)
        await self._response.write(frame.event)

    async def keep_alive(self) -> None:
        """Send a comment, so that proxies do not take the stream for dead."""
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
            _cut(self._request)


def _cut(request: web.Request) -> None:
    """End a connection at once if data for a client that does not read still waits in it."""
    transport = request.transport
    if transport is not None and transport.get_write_buffer_size() > 0:
        transport.abort()

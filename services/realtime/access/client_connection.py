"""The server's end of each client's connection, below HTTP.

Promises that a connection is cut if its first request is not complete after ``HANDSHAKE_S``, or if no request follows
within ``IDLE_S`` of an answer. One address does not hold more connections than it may. These limits do not hold for a
session's socket: its pings find out whether the client is alive.
"""

import asyncio
import logging
from typing import cast

from aiohttp import web

from services.realtime.access.addresses import Addresses, AddressLimits, counted_as
from services.realtime.access.refusals import from_status

# From the connection to the end of its first request's headers.
HANDSHAKE_S = 10.0

# From an answer to the end of the next request's headers. Longer than common proxies keep an idle connection to us
# (nginx: keepalive_timeout of an upstream, 60 s), so that the proxy closes first.
IDLE_S = 75.0

# For the rest of a body that was not read.
_LINGERING_S = 5.0


class ClientConnection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_addresses", "_counted", "_deadline", "_limits")

    def __init__(
        self, server: web.Server, addresses: Addresses, limits: AddressLimits, loop: asyncio.AbstractEventLoop
    ) -> None:
        # aiohttp's annotation forgets that None turns its access log off.
        no_log = cast("logging.Logger", None)
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=IDLE_S,
            lingering_time=_LINGERING_S,
            access_log=no_log,
            # No body is decompressed, not even one that nobody reads: see ``app``.
            auto_decompress=False,
        )
        self._addresses = addresses
        self._limits = limits
        self._counted: str | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a client in, or cut him off when his address has too many connections."""
        super().connection_made(transport)
        peer = str((transport.get_extra_info("peername") or ("",))[0])
        # A proxy's connections are many clients'.
        if not self._addresses.is_trusted(peer):
            address = counted_as(peer)
            if not self._limits.connect(address):
                self._cut()
                return
            self._counted = address
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._cut)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take note of the end."""
        self.asked()
        if self._counted is not None:
            self._limits.disconnect(self._counted)
            self._counted = None
        super().connection_lost(exc)
        # A WebSocket's callback. It would close a reference cycle through the whole connection, and only a full garbage
        # collection would free that. Such a collection costs more than all else at the end of many connections.
        self._data_received_cb = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that are no request. aiohttp's own answer would repeat them.

        Raises:
            ConnectionError: another answer was begun already.
        """
        # aiohttp writes the log line, and ``shared.telemetry.log`` removes what it quotes.
        super().handle_error(request, status, exc, message)
        response = from_status(status).response()
        response.force_close()
        return response

    def asked(self) -> None:
        """Take note that a whole request has come."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def taken(self) -> None:
        """Return when the client has taken most of what was written to it.

        Raises:
            ConnectionError: the client is gone.
        """
        await self._drain_helper()

    def _cut(self) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

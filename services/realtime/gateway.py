"""The doors: WebSocket and SSE sessions, from the handshake to the goodbye.

Promises: nobody is let in without an identity, and nobody stays longer than it holds. A WebSocket that is refused is
accepted and closed with a code first, because a browser cannot read the status of a failed handshake; an event stream is
refused with a status. A client that sends too much, too fast, or in no format of ours is closed or told so.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from services.realtime import frames, sessions
from services.realtime.answers import Refusal, unauthorized, unavailable
from services.realtime.auth import Identity, TokenVerifier, Unauthenticated, seconds_left
from services.realtime.jwks import KeysUnavailable
from services.realtime.node import RealtimeNode
from services.realtime.origins import Origins
from services.realtime.sessions import Session, Sink
from services.realtime.sockets import CLOSE_S, EventStreamSink, WebSocketSink
from services.realtime.tickets import Tickets
from shared.errors import StoreUnavailable
from shared.timeline import Cursor

log = logging.getLogger(__name__)

# Frames of clients are short commands.
INBOUND_BYTES = 16 * 1024
INBOUND_RATE = 20.0
INBOUND_BURST = 40.0

# aiohttp waits half of this for the answer, so a dead connection is found within 38 s.
PING_EVERY_S = 25.0

# Shorter than the idle limit of common proxies (nginx: proxy_read_timeout, 60 s).
KEEP_ALIVE_S = 15.0

# How often an event stream looks whether its client is still there.
_PRESENCE_S = 5.0

# EventSource waits this long before it connects again (HTML, 9.2.6).
_RETRY_MS = 2000

_PLACE_UNKNOWN = Cursor(user_epoch="f" * 16, feed_epoch="f" * 16)


class Gateway:
    """Lets clients in."""

    def __init__(self, node: RealtimeNode, verifier: TokenVerifier, tickets: Tickets, origins: Origins) -> None:
        self._node = node
        self._verifier = verifier
        self._tickets = tickets
        self._origins = origins
        self._sessions_most = node.context.settings.realtime_max_sessions_per_user

    async def identify(self, request: web.Request, *, by_ticket: bool = False) -> Identity:
        """Return who makes a request.

        Args:
            request: with an Authorization header.
            by_ticket: a ``ticket`` in the query will do, too.

        Raises:
            Unauthenticated: nobody whom we can be sure of.
            Refusal: not now, or not from that page.
        """
        origin = self._origins.of(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() == "bearer" and token:
                return await self._verifier.verify(token.strip())
            ticket = request.query.get("ticket")
            if by_ticket and ticket:
                return await self._tickets.redeem(ticket, origin)
        except (StoreUnavailable, KeysUnavailable):
            raise unavailable() from None
        raise Unauthenticated

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Serve ``GET /v1/ws``."""
        socket = web.WebSocketResponse(
            heartbeat=PING_EVERY_S, timeout=CLOSE_S, max_msg_size=INBOUND_BYTES, compress=False
        )
        if not socket.can_prepare(request):
            raise Refusal(426, "upgrade_required", "This is a WebSocket.", headers={"Upgrade": "websocket"})
        self._origins.of(request)
        try:
            identity = await self.identify(request, by_ticket=True)
        except (Unauthenticated, Refusal) as error:
            await socket.prepare(request)
            refused = sessions.UNAUTHENTICATED if isinstance(error, Unauthenticated) else sessions.TRY_AGAIN_LATER
            await WebSocketSink(request, socket).close(refused)
            return socket
        await socket.prepare(request)
        await self._serve(request, identity, WebSocketSink(request, socket), lambda s: self._read(socket, s, identity))
        return socket

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Serve ``GET /v1/events``."""
        try:
            identity = await self.identify(request, by_ticket=True)
        except Unauthenticated:
            raise unauthorized() from None
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                # nginx would collect events before it passes them on.
                "X-Accel-Buffering": "no",
            }
        )
        sink = EventStreamSink(request, response)

        async def wait(_session: Session) -> None:
            await self._attend(request, sink)

        session = self._begin(identity, sink)
        try:
            opened, person = await self._open(session, _cursor(request))
            if opened is None:
                raise Refusal(429, "too_many_sessions", "This user has too many open sessions.")
            await response.prepare(request)
            await response.write(b"retry: %d\n\n" % _RETRY_MS)
            await self._node.hub.admit(session, opened, person, _cursor(request))
            await wait(session)
        except ConnectionError:
            log.debug("a client left")
        finally:
            self._end(session)
        return response

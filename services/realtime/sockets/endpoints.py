"""The endpoints of WebSocket and SSE sessions, from the handshake to the close.

Promises that nobody gets a session without an identity, and that it ends when the identity expires. A refused WebSocket
is accepted first and then closed with a code, because a browser cannot read the status of a failed handshake. An event
stream is refused with a status.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from aiohttp import web

from services.realtime.access.addresses import Addresses, AddressLimits
from services.realtime.access.guard import Guard
from services.realtime.access.origins import Origins
from services.realtime.access.refusals import Refusal, unauthorized, unavailable
from services.realtime.access.tokens import Identity, Unauthenticated
from services.realtime.node.node import RealtimeNode
from services.realtime.sessions import close_codes
from services.realtime.sessions.session import Phase, Session, Sink
from services.realtime.sockets.client_frames import INBOUND_BYTES, ClientFrames
from services.realtime.sockets.sinks import CLOSE_S, EventStreamSink, WebSocketSink
from shared.core.errors import StoreUnavailable
from shared.inbox.cursor import Cursor

log = logging.getLogger(__name__)

# aiohttp waits half of this for the answer, so a dead connection is found within 38 s.
PING_EVERY_S = 25.0

# Shorter than the idle limit of common proxies (nginx: proxy_read_timeout, 60 s).
KEEP_ALIVE_S = 15.0

# How often an event stream looks whether its client is still there.
_PRESENCE_S = 5.0

# How long an EventSource waits before it connects again (HTML, 9.2.6).
_RETRY_MS = 2000

# Stands for a cursor that we cannot read. It matches no history that we have, so its client is told of a gap.
_NOWHERE = Cursor(user_epoch="f" * 16, feed_epoch="f" * 16)


class SessionEndpoints:
    """Lets clients in, and serves them until they leave."""

    def __init__(
        self,
        node: RealtimeNode,
        guard: Guard,
        origins: Origins,
        client_frames: ClientFrames,
        *,
        addresses: Addresses,
        limits: AddressLimits,
    ) -> None:
        self._node = node
        self._guard = guard
        self._origins = origins
        self._client_frames = client_frames
        self._addresses = addresses
        self._limits = limits
        self._directory = node.context.directory
        self._stopping = node.context.stopping
        self._sessions_most = node.context.settings.realtime_max_sessions_per_user

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Serve ``GET /v1/ws``."""
        self._origins.of(request)
        socket = web.WebSocketResponse(
            heartbeat=PING_EVERY_S, timeout=CLOSE_S, max_msg_size=INBOUND_BYTES, compress=False
        )
        if not socket.can_prepare(request):
            raise Refusal(
                HTTPStatus.UPGRADE_REQUIRED,
                "upgrade_required",
                "This is a WebSocket.",
                headers={"Upgrade": "websocket"},
            )
        address = self._addresses.of(request)
        self._limits.begin(address)
        identity, refused = None, close_codes.UNAUTHENTICATED
        try:
            identity = await self._guard.identify(request, by_ticket=True)
        except Unauthenticated:
            pass
        except Refusal:
            refused = close_codes.TRY_AGAIN_LATER
        with suppress(ConnectionError), self._limits.session(address) as has_place:
            await socket.prepare(request)
            sink = WebSocketSink(request, socket)
            if identity is None:
                await sink.close(refused)
            elif self._stopping.is_set():
                await sink.close(close_codes.GOING_AWAY)
            elif not has_place:
                await sink.close(close_codes.TOO_MANY_SESSIONS)
            else:
                await self._serve_socket(request, socket, sink, identity)
        if (error := socket.exception()) is not None:
            # The frames in its traceback hold the socket, which holds the error: see ``ClientConnection``.
            error.__context__ = None
            error.__traceback__ = None
        return socket

    async def _serve_socket(
        self, request: web.Request, socket: web.WebSocketResponse, sink: WebSocketSink, identity: Identity
    ) -> None:
        cursor = _cursor(request)
        async with self._session(identity, sink) as session:
            try:
                if not await self._admit(session, cursor):
                    session.close(close_codes.TOO_MANY_SESSIONS)
            except StoreUnavailable:
                session.close(close_codes.TRY_AGAIN_LATER)
            await self._client_frames.obey(session, socket)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Serve ``GET /v1/events``."""
        address = self._addresses.of(request)
        self._limits.begin(address)
        try:
            identity = await self._guard.identify(request, by_ticket=True)
        except Unauthenticated:
            raise unauthorized() from None
        if self._stopping.is_set():
            raise unavailable()
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            # nginx would collect events before it passes them on.
            "X-Accel-Buffering": "no",
        }
        response = web.StreamResponse(headers=headers)
        sink = EventStreamSink(request, response, preamble=b"retry: %d\n\n" % _RETRY_MS)
        with suppress(ConnectionError), self._limits.session(address) as has_place:
            if not has_place:
                raise _too_many_sessions("address")
            async with self._session(identity, sink) as session:
                try:
                    admitted = await self._admit(session, _cursor(request))
                except StoreUnavailable:
                    raise unavailable() from None
                if not admitted:
                    raise _too_many_sessions("user")
                await self._attend(request, session, sink)
        return response

    async def _attend(self, request: web.Request, session: Session, sink: EventStreamSink) -> None:
        """Return when an event stream is over."""
        last_s = time.monotonic()
        while session.phase is not Phase.CLOSED and request.transport is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PRESENCE_S):
                    await sink.over.wait()
            if time.monotonic() - last_s >= KEEP_ALIVE_S and session.phase is Phase.LIVE:
                last_s = time.monotonic()
                await sink.keep_alive()

    @asynccontextmanager
    async def _session(self, identity: Identity, sink: Sink) -> AsyncIterator[Session]:
        """Hold a session until its connection is over, or its identity expires."""
        hub, registry = self._node.hub, self._node.registry
        session = hub.add(str(uuid.uuid4()), identity.user_id, sink, tenant=identity.tenant)
        loop = asyncio.get_running_loop()
        session.expiry = loop.call_later(
            max(0.0, identity.expires_s - time.time()), session.close, close_codes.UNAUTHENTICATED
        )
        try:
            yield session
        finally:
            hub.remove(session)
            self._node.spawn(_forget(registry.close_on_node(identity.user_id, session.id)), "session-forget")

    async def _admit(self, session: Session, cursor: Cursor | None) -> bool:
        """Open a session in the registry and show it what it missed; False when the user has too many."""
        user_id = session.user.id
        opened, person = await asyncio.gather(
            self._node.registry.open_on_node(
                user_id,
                session.id,
                self._node.id,
                most=self._sessions_most,
                after=None if cursor is None else cursor.user_seq,
                tenant=session.tenant,
            ),
            self._directory.person(user_id),
        )
        if opened is None:
            return False
        await self._node.hub.admit(session, opened, person, cursor)
        return True


def _too_many_sessions(whose: str) -> Refusal:
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too_many_sessions", f"This {whose} has too many open sessions.")


def _cursor(request: web.Request) -> Cursor | None:
    """Read where a client was. An EventSource says it in a header when it reconnects by itself."""
    text = request.headers.get("Last-Event-ID") or request.query.get("cursor")
    return (Cursor.decode(text) or _NOWHERE) if text else None


async def _forget(closing: Awaitable[None]) -> None:
    # If the store cannot be told, the session expires, because nobody keeps it alive any more.
    with suppress(StoreUnavailable):
        await closing

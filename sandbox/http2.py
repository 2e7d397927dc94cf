"""A small HTTP/2 server over TLS, for the one provider that speaks nothing else.

Promises whole requests in and whole replies out. It can also end a stream or connection in ways that a proper server
would avoid. Bounds: STREAM_LIMIT open streams a connection, BODY_LIMIT_BYTES a request. No server push, no trailers, no
streaming.
"""

import asyncio
import contextlib
import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from sandbox.exchange import CutConnectionError, Reply
from sandbox.listener import Connections, Listener

_log = logging.getLogger(__name__)

# Apple announces 1,000 to a sender that has authenticated itself.
STREAM_LIMIT = 1_000
BODY_LIMIT_BYTES = 64 * 1024


class ResetStreamError(Exception):
    """The stream has to end with RST_STREAM instead of a reply."""


class GoAwayError(Exception):
    """The connection has to end, and the client to learn that this stream was not processed."""


@dataclass(slots=True)
class Request:
    """One request, whole by the time it is handled."""

    headers: Mapping[str, str]
    body: bytearray = field(default_factory=bytearray)

    @property
    def method(self) -> str:
        """The method."""
        return self.headers.get(":method", "")

    @property
    def path(self) -> str:
        """The path as it came."""
        return self.headers.get(":path", "")


Handle = Callable[[Request], Awaitable[Reply]]


class Http2Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, handle: Handle, connections: Connections) -> None:
        self._handle = handle
        self._connections = connections
        self._http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._transport: asyncio.Transport | None = None
        self._requests: dict[int, Request] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._last_started = 0
        # Bodies that the client's flow control holds back, at most one a stream.
        self._held: deque[tuple[int, bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a client that agreed on h2; drop any other (RFC 9113, 3.3)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # asyncio declares the base class only.
        self._transport = transport
        self._connections.add(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            transport.abort()
            return
        self._http2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = STREAM_LIMIT
        self._http2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is still being handled."""
        del exc
        self._connections.discard(self)
        self._transport = None
        for task in self._tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take frames; a client that breaks the protocol gets a GOAWAY."""
        try:
            for event in self._http2.receive_data(data):
                self._on_event(event)
        except ProtocolError:
            self._flush()
            self.close()
            return
        self._flush()

    def abort(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """End the connection once what was written is out."""
        if self._transport is not None:
            self._transport.close()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._requests[event.stream_id] = Request({str(name): str(value) for name, value in event.headers})
        elif isinstance(event, DataReceived):
            self._on_body(event)
        elif isinstance(event, StreamEnded):
            request = self._requests.pop(event.stream_id, None)
            if request is not None:
                self._start(event.stream_id, request)
        elif isinstance(event, StreamReset):
            self._requests.pop(event.stream_id, None)
            if task := self._tasks.get(event.stream_id):
                task.cancel()
        elif isinstance(event, WindowUpdated):
            self._send_held()
        elif isinstance(event, ConnectionTerminated):
            self.close()

    def _on_body(self, event: DataReceived) -> None:
        self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        request = self._requests.get(event.stream_id)
        if request is None:
            return
        request.body += event.data
        if len(request.body) > BODY_LIMIT_BYTES:
            del self._requests[event.stream_id]
            self._http2.reset_stream(event.stream_id, ErrorCodes.ENHANCE_YOUR_CALM)

    def _start(self, stream_id: int, request: Request) -> None:
        self._last_started = max(self._last_started, stream_id)
        task = asyncio.get_running_loop().create_task(self._answer(stream_id, request), name=f"http2-{stream_id}")
        self._tasks[stream_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(stream_id, None))

    async def _answer(self, stream_id: int, request: Request) -> None:
        try:
            reply = await self._handle(request)
        except CutConnectionError:
            self.abort()
        except ResetStreamError:
            self._reset(stream_id)
        except GoAwayError:
            self._go_away(stream_id)
        except Exception:  # noqa: BLE001  # the top of a task: it logs, and the client hears of it.
            _log.exception("An HTTP/2 request failed.")
            self._reset(stream_id)
        else:
            # The client may have reset the stream or closed the connection meanwhile.
            with contextlib.suppress(ProtocolError):
                self._send(stream_id, reply)

    def _send(self, stream_id: int, reply: Reply) -> None:
        headers = [(":status", str(reply.status)), *((name.lower(), value) for name, value in reply.headers.items())]
        self._http2.send_headers(stream_id, headers, end_stream=reply.body is None)
        if reply.body is not None:
            self._held.append((stream_id, reply.body))
            self._send_held()
        self._flush()

    def _send_held(self) -> None:
        """Send bodies in order, as far as the client's windows allow."""
        for _ in range(len(self._held)):
            stream_id, body = self._held.popleft()
            # A stream that the client has reset meanwhile raises, and its body is dropped.
            with contextlib.suppress(ProtocolError):
                rest = self._send_some(stream_id, body)
                if rest is not None:
                    self._held.append((stream_id, rest))

    def _send_some(self, stream_id: int, body: bytes) -> bytes | None:
        """Send what fits into the window; returns the rest, None if the stream is ended."""
        while True:
            size = min(self._http2.local_flow_control_window(stream_id), self._http2.max_outbound_frame_size)
            if size >= len(body):
                self._http2.send_data(stream_id, body, end_stream=True)
                return None
            if size <= 0:
                return body
            self._http2.send_data(stream_id, body[:size])
            body = body[size:]

    def _reset(self, stream_id: int) -> None:
        with contextlib.suppress(ProtocolError):
            self._http2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
        self._flush()

    def _go_away(self, stream_id: int) -> None:
        # RFC 9113, 6.8: GOAWAY says that no stream above its last one was processed. If a later stream may have been,
        # this one is refused on its own (8.7).
        last = max(stream_id - 2, 0)
        # A connection that is already ending has named its last stream.
        with contextlib.suppress(ProtocolError):
            if self._last_started > stream_id:
                self._http2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
                last = self._last_started
            self._http2.close_connection(ErrorCodes.NO_ERROR, b'{"reason":"Shutdown"}', last)
        self._flush()
        self.close()

    def _flush(self) -> None:
        if self._transport is not None and (outgoing := self._http2.data_to_send()):
            self._transport.write(outgoing)


def http2_listener(handle: Handle, tls: ssl.SSLContext) -> Listener:
    """A listener that speaks HTTP/2 only."""
    tls.set_alpn_protocols(["h2"])
    return Listener(lambda connections: Http2Connection(handle, connections), tls)

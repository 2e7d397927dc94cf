"""One connection to APNs: aioapns's connection with a more robust receiving half.

aioapns 4.0 builds requests well, but receives badly. It waits for ever if an answer has no body, no ``apns-id`` or is a
reset. An empty DATA frame kills its connection. It never gives flow-control credit back and leaks an entry for each
success. If a request is cut off and the connection is then lost, other requests wait for ever. So the receiving half is
done here.

Promises that every request ends: with an answer, with the connection, or with the caller's deadline. If a request was
cut off, or the server says that it is closing, the connection takes no further request and closes after the last one.
Answers are matched to requests by stream only.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aioapns.common import NotificationRequest, NotificationResult
from aioapns.connection import APNsTLSClientProtocol, AuthorizationHeaderProvider
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import H2Error, ProtocolError

from shared.core.errors import DeliveryError, OutcomeUnknown, Reason, TemporaryFailure

# Bounds what a connection can pile up inside the SDK. A fresh connection also spreads the load over Apple's servers.
SENDS_PER_CONNECTION = 10_000

# RFC 9113, 4.1 and 4.2: the frame header, and the largest frame by default.
_FRAME_HEADER_BYTES = 9
_FRAME_LIMIT_BYTES = _FRAME_HEADER_BYTES + 2**14
# A payload has at most 4,096 bytes; with less credit than that the SDK would leave a request half sent.
_LEAST_WINDOW_BYTES = 4096
# Longer than anything Apple documents: one JSON object with a reason and a timestamp.
_ANSWER_LIMIT_BYTES = 4096


class ApnsAnswer(NotificationResult):
    """aioapns's result with the Retry-After header; ``description`` is Apple's reason, empty if there is none."""

    __slots__ = ("retry_after",)

    def __init__(self, notification_id: str, status: str, body: bytes, retry_after: str | None) -> None:
        reason, timestamp = _reason(body)
        super().__init__(notification_id, status, reason, timestamp)
        self.retry_after = retry_after


@dataclass(slots=True)
class _Incoming:
    """An answer while it arrives."""

    headers: dict[bytes, bytes]
    body: bytearray = field(default_factory=bytearray)


class ApnsConnection(APNsTLSClientProtocol):
    """One HTTP/2 connection."""

    # Apple asks for connections to be kept open; aioapns's 10 s would close one between two notifications, and under
    # a request that waits for its answer. Must be longer than the deadline of an attempt.
    INACTIVITY_TIME = 300
    sends_limit = SENDS_PER_CONNECTION

    def __init__(
        self,
        host: str,
        topic: str,
        token: AuthorizationHeaderProvider,
        on_change: Callable[["ApnsConnection"], None],
    ) -> None:
        """Args: on_change is called when there is room again, and when the connection is retired or lost."""
        super().__init__(topic, asyncio.get_running_loop(), None, token)
        self.APNS_SERVER = host  # the name that aioapns writes into each request
        self.greeted = asyncio.Event()
        self.lost = asyncio.Event()
        self.retired = False
        self.failure: DeliveryError | None = None
        self._on_change = on_change
        self._sends = 0
        self._unread = bytearray()
        self._incoming: dict[int, _Incoming] = {}

    @property
    def is_busy(self) -> bool:
        """Whether the next request has to take another connection."""
        closing = self.transport is None or self.transport.is_closing()
        return (
            closing or self.retired or super().is_busy or self.conn.outbound_flow_control_window < _LEAST_WINDOW_BYTES
        )

    async def send_notification(self, request: NotificationRequest) -> NotificationResult:
        """Send one request and wait for its answer. If it is cut off, the connection takes no more requests."""
        self._sends += 1
        try:
            return await super().send_notification(request)
        except asyncio.CancelledError:
            self._give_up(request.notification_id)
            self.retire()
            raise
        except H2Error as error:
            # Raised before the request is complete, so that nobody can have taken it.
            self.retire()
            raise TemporaryFailure(Reason.NETWORK, type(error).__name__) from error

    def retire(self) -> None:
        """Take no further request, and close once the last one has ended."""
        if not self.retired:
            self.retired = True
            self._on_change(self)
        if not self.requests:
            self.close()

    def data_received(self, data: bytes) -> None:
        """Take what the server sent, frame by frame, so that a bad one does not swallow the good ones before it."""
        try:
            for frame in self._frames(data):
                for event in self.conn.receive_data(frame):
                    self._take(event)
        except ProtocolError as error:
            self.failure = OutcomeUnknown(Reason.BAD_ANSWER, type(error).__name__)
            self.abort()
            return
        self.flush()
        if self._sends >= self.sends_limit or (self.retired and not self.requests):
            self.retire()
        self._on_change(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End every request that still waits: it may have been taken."""
        if self.inactivity_timer:
            self.inactivity_timer.cancel()
        self.retired = True
        self.lost.set()
        self.failure = self.failure or OutcomeUnknown(Reason.NETWORK, type(exc).__name__ if exc else "closed")
        for stream_id in list(self.request_streams):
            self._fail(stream_id, self.failure)
        self.free_channels.destroy(self.failure)
        self.greeted.set()
        self._on_change(self)

    def abort(self) -> None:
        """Drop the connection without a farewell."""
        if self.transport is not None:
            self.transport.abort()

    def _frames(self, data: bytes) -> Iterator[bytes]:
        self._unread += data
        while len(self._unread) >= _FRAME_HEADER_BYTES:
            size_bytes = _FRAME_HEADER_BYTES + int.from_bytes(self._unread[:3])
            if size_bytes > _FRAME_LIMIT_BYTES:
                raise ProtocolError("frame too large")
            if len(self._unread) < size_bytes:
                return
            frame = bytes(self._unread[:size_bytes])
            del self._unread[:size_bytes]
            yield frame

    def _take(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                self._incoming[event.stream_id] = _Incoming(dict(event.headers))
            case DataReceived():
                self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                incoming = self._incoming.get(event.stream_id)
                if incoming and len(incoming.body) < _ANSWER_LIMIT_BYTES:
                    incoming.body += event.data
            case StreamEnded():
                self._answer(event.stream_id)
            case StreamReset():
                taken = event.error_code != ErrorCodes.REFUSED_STREAM  # RFC 9113, 8.7: refused is not processed.
                failure = OutcomeUnknown if taken else TemporaryFailure
                self._fail(event.stream_id, failure(Reason.NETWORK, "stream reset"))
            case RemoteSettingsChanged():
                self.on_remote_settings_changed(event.changed_settings)  # type: ignore[arg-type]  # declared too narrowly.
                self.greeted.set()
            case ConnectionTerminated():
                self._end_gracefully(event)
            case _:
                pass

    def _answer(self, stream_id: int) -> None:
        incoming = self._incoming.pop(stream_id, None)
        waiting = self._waiting(stream_id)
        if waiting and incoming:
            notification_id, future = waiting
            headers = incoming.headers
            retry_after = headers[b"retry-after"].decode("latin-1") if b"retry-after" in headers else None
            status = headers.get(b":status", b"").decode("latin-1")
            apns_id = headers.get(b"apns-id", b"").decode("latin-1") or notification_id
            future.set_result(ApnsAnswer(apns_id, status, bytes(incoming.body), retry_after))

    def _fail(self, stream_id: int, failure: DeliveryError) -> None:
        self._incoming.pop(stream_id, None)
        if waiting := self._waiting(stream_id):
            waiting[1].set_exception(failure)

    def _waiting(self, stream_id: int) -> "tuple[str, asyncio.Future[NotificationResult]] | None":
        """Take back the request of a stream that has ended, and free its place among the concurrent ones."""
        notification_id = self.request_streams.pop(stream_id, None)
        if notification_id is None:
            return None
        self.free_channels.release()
        future = self.requests.pop(notification_id, None)
        return (notification_id, future) if future and not future.done() else None

    def _give_up(self, notification_id: str) -> None:
        for stream_id, waiting_id in list(self.request_streams.items()):
            if waiting_id == notification_id:
                self._waiting(stream_id)
                self._incoming.pop(stream_id, None)
                with contextlib.suppress(H2Error):
                    self.conn.reset_stream(stream_id, ErrorCodes.CANCEL)
                    self.flush()

    def _end_gracefully(self, event: ConnectionTerminated) -> None:
        # h2 takes GOAWAY for the end, but the server still answers the streams up to the last one (RFC 9113, 6.8).
        self.conn.state_machine.state = ConnectionState.CLIENT_OPEN
        for stream_id in [each for each in self.request_streams if each > (event.last_stream_id or 0)]:
            self._fail(stream_id, TemporaryFailure(Reason.NETWORK, "connection ended before the request"))
        self.retire()


def _reason(body: bytes) -> tuple[str, int | None]:
    """Read Apple's JSON; an answer in another format has no reason."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "", None
    if not isinstance(answer, dict):
        return "", None
    reason, timestamp = str(answer.get("reason", "")), answer.get("timestamp")
    # Only a word, because it is logged.
    is_word = reason.isalnum() and len(reason) <= 64
    return reason if is_word else "", timestamp if isinstance(timestamp, int) else None

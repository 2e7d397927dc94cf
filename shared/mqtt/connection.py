"""One connection to the broker, with what aiomqtt lacks: manual ack, reason codes, batches, publishes awaited together.

Promises:

- Only ``ack`` acknowledges a message to the broker.
- The future of a publish ends with the broker's answer or with BrokerUnavailable.
- ``take`` returns what has arrived, in batches.
- Memory is bounded in bytes, both ways. While the budget for arrived messages is full, nothing more is read. While the
  budget for publishes without a PUBACK is full, a new publish fails at once.
- At least once: a message that was not acknowledged comes again after a reconnect of the same session, or the ledger
  drives its rows again.

It does not reconnect; ``shared.mqtt.reconnecting`` does.

The underlying paho client is reached through ``_client``, because aiomqtt 2.5 acknowledges as soon as a message is in
memory, drops reason codes, and has a message iterator that halves the rate. aiomqtt and paho connect, subscribe, ping
and own the socket. The PUBLISH and PUBACK packets, which are nearly all of the traffic, are read and written here (see
``shared.mqtt.packets``). This file is the only one that touches paho.
"""

import asyncio
import logging
import math
import re
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from shared.core.errors import BrokerUnavailable, PublishRefused
from shared.mqtt.address import BrokerAddress
from shared.mqtt.byte_budget import ByteBudget
from shared.mqtt.packets import (
    PUBACK,
    PUBLISH,
    Framer,
    Incoming,
    MalformedPacket,
    UserProperties,
    decode_puback,
    decode_publish,
    encode_puback,
    encode_publish,
)

log = logging.getLogger(__name__)

KEEPALIVE_S = 20

# Unacknowledged messages that the broker may have in flight towards one connection.
RECEIVE_MAXIMUM = 500

# What may have arrived on one connection and be in hand, unless its owner says otherwise: more than ``RECEIVE_MAXIMUM``
# ordinary messages, and less than hurts in the smallest pod with four connections.
RECEIVE_BYTES = 8 * 1024 * 1024

# Our publishes in flight; the broker may allow fewer (its Receive Maximum, MQTT 5, 3.2.2.3.3), which then holds.
SEND_MAXIMUM = 500

# What may be published and not answered by the broker, in bytes.
SEND_BYTES = 16 * 1024 * 1024

# MQTT 5, 3.4.2.1: PUBACK reason codes.
NO_MATCHING_SUBSCRIBERS = 0x10
_FAILURE = 0x80

# Some hundred publishes: reading them takes about as long as a slice of ``shared.runtime.turns``.
_READ_BYTES = 64 * 1024

# What 1.5.4 leaves to the broker to refuse: control characters, code points that are no characters, and surrogates.
# A text may be a stranger's choice, and a broker that refuses one may end the connection of whoever sent it.
_NO_CHARACTERS = "\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef" + "".join(
    f"{chr(p << 16 | 0xFFFE)}{chr(p << 16 | 0xFFFF)}" for p in range(17)
)
_NO_TEXT = re.compile(f"[{_NO_CHARACTERS}]")
# What one may not publish on: MQTT 5, 4.7, and what begins with $ (4.7.2).
_NO_TOPIC_NAME = re.compile(f"^[$]|[+#{_NO_CHARACTERS}]")
# EMQX, mqtt.max_topic_levels: 128 by default; mosquitto, TOPIC_HIERARCHY_LIMIT: 200.
_TOPIC_LEVELS = 128
_STRING_BYTES = 65_535  # MQTT 5, 1.5.4

# For connecting, subscribing and unsubscribing.
_ANSWER_S = 10.0


@dataclass(slots=True)
class _Publish:
    """A publish that waits for its turn."""

    topic: str
    payload: bytes
    future: "asyncio.Future[bool]"
    response_topic: str | None
    correlation: bytes | None
    expiry_s: int | None
    user_properties: UserProperties
    content_type: str | None
    retain: bool


def is_topic_name(topic: str) -> bool:
    """Tell whether every broker lets one publish on this topic, as far as its form goes."""
    return (
        bool(topic)
        and not _NO_TOPIC_NAME.search(topic)
        and len(topic.encode()) <= _STRING_BYTES
        and topic.count("/") < _TOPIC_LEVELS
    )


def is_text(text: str) -> bool:
    """Tell whether every broker takes this text as a property."""
    return not _NO_TEXT.search(text) and len(text.encode()) <= _STRING_BYTES


def failed_publish(why: str) -> "asyncio.Future[bool]":
    """Return the future of a publish that cannot leave."""
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    _fail(future, why)
    return future


def _fail(future: "asyncio.Future[bool]", why: str, error: type[BrokerUnavailable] = BrokerUnavailable) -> None:
    future.set_exception(error(why))
    # Marked as seen. If the caller does not look, the ledger brings the job again, so asyncio need not warn.
    future.exception()


class Broker:
    """A connection; use it as an async context manager, once.

    Args:
        client_id: the name of the session at the broker.
        session_expiry_s: how long the broker keeps the session after the connection; 0 starts clean and ends clean.
        budget: for what has arrived and is in hand; may be shared by connections. None for one of ``RECEIVE_BYTES``.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        session_expiry_s: int = 0,
        receive_maximum: int = RECEIVE_MAXIMUM,
        budget: ByteBudget | None = None,
    ) -> None:
        self.client_id = client_id
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.ReceiveMaximum = receive_maximum
        connect.SessionExpiryInterval = session_expiry_s
        self._client = aiomqtt.Client(
            address.host,
            address.port,
            identifier=client_id,
            username=address.username,
            password=address.password,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=session_expiry_s == 0,
            keepalive=KEEPALIVE_S,
            properties=connect,
            tls_context=address.tls,
            # Ours is ``_answers``: asyncio.wait_for, which aiomqtt uses, may swallow a cancellation before Python 3.12.
            timeout=math.inf,
            # Without it Nagle's algorithm and delayed TCP acks cost 40 ms per awaited publish.
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )
        paho: Any = self._client._client  # noqa: SLF001 - see the module docstring
        paho.loop_read = self._read
        self._paho_loop_misc = paho.loop_misc
        paho.loop_misc = self._keep_alive
        self._aiomqtt_on_connect = paho.on_connect
        paho.on_connect = self._on_connect
        paho.on_socket_register_write = self._on_register_write
        self._loop = asyncio.get_running_loop()
        self._paho = paho
        self._framer = Framer()
        self._window = SEND_MAXIMUM
        self._inbox: deque[Incoming] = deque()
        self._arrived = asyncio.Event()
        self._budget = budget or ByteBudget(RECEIVE_BYTES)
        self._paused = False
        # Deadlines of calls to the broker; they do not run while nothing is read, because answers wait unread, too.
        self._deadlines: set[asyncio.Timeout] = set()
        # Packet identifiers in the order of arrival, and the reason codes of those that were dealt with out of turn.
        self._unacknowledged: deque[int] = deque()
        self._acknowledged: dict[int, int] = {}
        # The publishes that wait for a PUBACK, with their sizes.
        self._in_flight: dict[int, tuple[asyncio.Future[bool], int]] = {}
        self._unconfirmed = ByteBudget(SEND_BYTES)
        self._outbox: deque[_Publish] = deque()
        # Packets of one turn of the event loop leave in one system call.
        self._unsent = bytearray()
        self._leaving = False
        self._is_given_up = False
        self._connect_in_thread = self._client._client_connect  # noqa: SLF001
        self._client._client_connect = self._connect  # type: ignore[method-assign]  # noqa: SLF001

    async def __aenter__(self) -> Self:
        try:
            async with self._answers():
                await self._client.__aenter__()
        except BaseException:
            # Nobody waits for this connection any more. aiomqtt's ``on_disconnect`` would ask a future that was
            # cancelled, and fail before the socket is closed.
            self._is_given_up = True
            for name in ("on_disconnect", "on_socket_open", "on_socket_register_write"):
                setattr(self._paho, name, None)
            # Behind what aiomqtt has asked the event loop to do with a socket that has just been opened.
            self._loop.call_soon(self._give_up)
            raise
        self._closed.add_done_callback(self._on_closed)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        # Acknowledgements of this turn of the event loop go before the DISCONNECT.
        self._flush()
        with suppress(BrokerUnavailable):
            async with self._answers():
                await self._client.__aexit__(None, None, None)

    def _connect(self) -> None:
        """Connect, in aiomqtt's thread. It cannot be cancelled, so it may end when nobody waits, or after the loop."""
        try:
            self._connect_in_thread()
        finally:
            if self._is_given_up:
                self._paho.on_socket_close = self._paho.on_socket_unregister_write = None
                self._paho._reset_sockets()  # noqa: SLF001 - see the module docstring

    def _give_up(self) -> None:
        """Close the socket of a connection that did not come about, behind a DISCONNECT where that can be written."""
        self._paho.disconnect()
        self._paho._reset_sockets()  # noqa: SLF001 - see the module docstring

    @asynccontextmanager
    async def _answers(self) -> AsyncIterator[None]:
        """Give the broker a while for its answer, and say in our words that it did not come.

        An answer comes behind what the broker has sent before, so the time in which nothing is read does not count.
        """
        try:
            async with asyncio.timeout(None if self._paused else _ANSWER_S) as deadline:
                self._deadlines.add(deadline)
                try:
                    yield
                finally:
                    self._deadlines.discard(deadline)
        except TimeoutError:
            raise BrokerUnavailable("no answer") from None
        except aiomqtt.MqttError as error:
            raise BrokerUnavailable(str(error)) from None

    def hang_up(self) -> None:
        """End the connection; whoever waits on it is told."""
        self._flush()
        if not self._closed.done():
            self._paho.disconnect()

    async def forget_session(self) -> None:
        """End the connection and have the broker drop the session, for it has been drained.

        Raises:
            BrokerUnavailable: the connection broke before that; the broker still has the session.
        """
        self._flush()
        if not self._closed.done():
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
            self._leaving = True
            self._paho.disconnect(properties=properties)
            await self.wait_closed()
        if not self._leaving or self._closed.exception() is not None:
            raise BrokerUnavailable("connection lost")

    def call_when_closed(self, callback: Callable[[], None]) -> None:
        """Call this once when the connection has ended."""
        self._closed.add_done_callback(lambda _closed: callback())

    @property
    def _closed(self) -> "asyncio.Future[None]":
        return self._client._disconnected  # noqa: SLF001 - see the module docstring

    async def wait_closed(self) -> None:
        """Return when the connection has ended."""
        await asyncio.wait([self._closed])

    @property
    def is_open(self) -> bool:
        """Tell whether the connection stands."""
        return not self._closed.done()

    async def subscribe(self, *filters: str) -> None:
        """Subscribe at QoS 1; at QoS 2 paho confirms on arrival, so that a kill would lose what was not handled.

        Raises:
            BrokerUnavailable: the broker refused a filter or went away.
        """
        for topic_filter in filters:
            async with self._answers():
                codes = await self._client.subscribe(topic_filter, qos=1)
            if any(code.is_failure for code in codes if isinstance(code, ReasonCode)):
                raise BrokerUnavailable(f"subscription refused: {topic_filter}")

    async def unsubscribe(self, *filters: str) -> None:
        """Stop new messages; those already in flight still arrive."""
        for topic_filter in filters:
            async with self._answers():
                await self._client.unsubscribe(topic_filter)

    async def arrived(self) -> None:
        """Return when something has arrived that was not taken.

        Raises:
            BrokerUnavailable: the connection has ended and nothing is left.
        """
        while not self._inbox:
            if self._closed.done():
                raise BrokerUnavailable("connection lost")
            self._arrived.clear()
            await self._arrived.wait()

    async def take(self, most: int, most_bytes: int = RECEIVE_BYTES) -> list[Incoming]:
        """Wait for a message, then return what has arrived: at most ``most``, and none after ``most_bytes`` is reached.

        Raises:
            BrokerUnavailable: the connection has ended and nothing is left.
        """
        await self.arrived()
        taken: list[Incoming] = []
        size_bytes = 0
        while self._inbox and len(taken) < most and size_bytes < most_bytes:
            taken.append(self._inbox.popleft())
            size_bytes += taken[-1].held_bytes
        return taken

    def take_arrived(self, most: int) -> list[Incoming]:
        """Take what has arrived, at most ``most``, without waiting."""
        return [self._inbox.popleft() for _ in range(min(most, len(self._inbox)))]

    @property
    def waiting(self) -> int:
        """How many messages have arrived and were not taken; above 0 while reading is paused."""
        return len(self._inbox) + self._paused

    def let_go(self, incoming: Incoming) -> None:
        """Take note that the content of this message is not needed any more, though it is not dealt with yet."""
        size_bytes, incoming.held_bytes = incoming.held_bytes, 0
        if size_bytes:
            self._budget.give(size_bytes)

    def ack(self, incoming: Incoming, code: int = 0) -> None:
        """Tell the broker that this message has been dealt with; a no-op after the connection has ended.

        MQTT 5, 4.6: PUBACKs are sent in the order of the PUBLISH packets, so this one leaves when all before it have
        been dealt with. mosquitto does not mind the order; rumqttd ends the connection.

        Args:
            code: the reason code (3.4.2.1).
        """
        self.let_go(incoming)
        if not incoming.qos or self._closed.done():
            return
        self._acknowledged[incoming.mid] = code
        while self._unacknowledged and self._unacknowledged[0] in self._acknowledged:
            mid = self._unacknowledged.popleft()
            self._write(encode_puback(mid, self._acknowledged.pop(mid)))

    def publish(
        self,
        topic: str,
        payload: bytes | str,
        *,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        expiry_s: int | None = None,
        user_properties: UserProperties = (),
        content_type: str | None = None,
        retain: bool = False,
    ) -> "asyncio.Future[bool]":
        """Publish at QoS 1 without waiting.

        Args:
            retain: whoever subscribes later gets it, too; an empty payload ends that.

        Returns:
            A future. True: the broker took it for somebody. False: nobody is subscribed, so it is gone. Otherwise it
            ends with BrokerUnavailable, or with PublishRefused if the broker will not take it later either, for
            example because of an invalid topic name. While more than ``SEND_BYTES`` wait for the broker's answer, it
            fails at once; wait with ``sendable`` before to avoid that.
        """
        if self._closed.done():
            return failed_publish("connection lost")
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not is_topic_name(topic):
            _fail(future, "not a topic name", PublishRefused)
            return future
        if self._unconfirmed.is_full:
            _fail(future, "too much waits for the broker")
            return future
        data = payload.encode() if isinstance(payload, str) else payload
        properties = (response_topic, correlation, expiry_s, user_properties, content_type, retain)
        publish = _Publish(topic, data, future, *properties)
        self._unconfirmed.take(len(data))
        if len(self._in_flight) >= self._window:
            self._outbox.append(publish)
        else:
            self._send(publish)
        return future

    async def sendable(self) -> None:
        """Return when there is room for a publish, or when the connection has ended."""
        await self._unconfirmed.free()

    def _send(self, publish: "_Publish") -> None:
        mid: int = self._paho._mid_generate()  # noqa: SLF001 - shared with paho's SUBSCRIBE packets
        while mid in self._in_flight:
            mid = self._paho._mid_generate()  # noqa: SLF001
        self._in_flight[mid] = publish.future, len(publish.payload)
        self._write(
            encode_publish(
                publish.topic,
                publish.payload,
                mid,
                response_topic=publish.response_topic,
                correlation=publish.correlation,
                expiry_s=publish.expiry_s,
                user_properties=publish.user_properties,
                content_type=publish.content_type,
                retain=publish.retain,
            )
        )

    def _write(self, packet: bytes) -> None:
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent += packet

    def _flush(self) -> None:
        packets, self._unsent = self._unsent, bytearray()
        if packets and not self._closed.done():
            # To paho this is one packet whose sending has no consequence.
            self._paho._packet_queue(PUBACK, packets, 0, 1)  # noqa: SLF001 - see the module docstring

    def _read(self, _max_packets: int = 1) -> int:
        """Read what the socket has, in place of paho's ``loop_read``."""
        paho = self._paho
        try:
            data = paho._sock_recv(_READ_BYTES)  # noqa: SLF001 - see the module docstring
        except BlockingIOError:
            return int(MQTTErrorCode.MQTT_ERR_SUCCESS)
        except OSError:
            data = b""
        if not data:
            return int(paho._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST))  # noqa: SLF001
        try:
            for first_byte, body, length in self._framer.feed(data):
                self._handle(first_byte, body, length)
        except MalformedPacket:
            return int(paho._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL))  # noqa: SLF001
        paho._last_bytes_received = time.monotonic()  # noqa: SLF001 - paho's keepalive looks at it
        if self._budget.is_full:
            self._pause()
        return int(MQTTErrorCode.MQTT_ERR_SUCCESS)

    def _pause(self) -> None:
        """Read nothing until there is room; what is sent meanwhile waits in the network, and then at the broker."""
        sock = self._paho.socket()
        if self._paused or sock is None or self._closed.done():
            return
        self._paused = True
        self._loop.remove_reader(sock.fileno())
        self._give_answers_until(None)
        self._budget.when_free(self._resume)

    def _resume(self) -> None:
        self._paused = False
        sock = self._paho.socket()
        if sock is None or self._closed.done():
            return
        self._give_answers_until(self._loop.time() + _ANSWER_S)
        self._loop.add_reader(sock.fileno(), self._on_readable)

    def _give_answers_until(self, when_s: float | None) -> None:
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(when_s)

    def _on_readable(self) -> None:
        """Read, as aiomqtt's callback does."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - whatever it is, this connection is of no use any more
            if not self._closed.done():
                self._closed.set_exception(error)

    def _keep_alive(self) -> int:
        """Ping the broker, in place of paho's ``loop_misc``: its answer is not missed while nothing is read."""
        if self._paused:
            self._paho._ping_t = 0  # noqa: SLF001 - see the module docstring
            self._paho._last_bytes_received = time.monotonic()  # noqa: SLF001
        return int(self._paho_loop_misc())

    def _handle(self, first_byte: int, body: bytes, length: int) -> None:
        kind = first_byte & 0xF0
        if kind == PUBLISH:
            incoming = decode_publish(first_byte, body, length)
            self._budget.take(incoming.held_bytes)
            if incoming.qos:
                self._unacknowledged.append(incoming.mid)
            self._inbox.append(incoming)
            self._arrived.set()
        elif kind == PUBACK:
            self._on_puback(*decode_puback(body))
        else:
            self._paho._in_packet |= {  # noqa: SLF001 - what paho's own reader would have left there
                "command": first_byte,
                "remaining_length": len(body),
                "packet": bytearray(body),
                "pos": 0,
            }
            self._paho._packet_handle()  # noqa: SLF001

    def _on_connect(self, client: Any, userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:  # noqa: ANN401 - paho's
        self._window = min(SEND_MAXIMUM, getattr(properties, "ReceiveMaximum", SEND_MAXIMUM))
        if self._aiomqtt_on_connect is not None:
            self._aiomqtt_on_connect(client, userdata, flags, code, properties)

    def _on_register_write(self, _client: Any, _userdata: Any, sock: Any) -> None:  # noqa: ANN401 - paho's
        """Wait until the socket can be written, in place of aiomqtt's callback.

        That one keeps the number of the descriptor; when the connection breaks in the same turn of the event loop, the
        number is closed, or another connection's, by the time it is registered.
        """

        def register() -> None:
            if sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), self._on_writable)

        # paho also calls from the thread that connects.
        self._loop.call_soon_threadsafe(register)

    def _on_writable(self) -> None:
        try:
            self._paho.loop_write()
        except OSError as error:
            if not self._closed.done():
                self._closed.set_exception(error)

    def _on_puback(self, mid: int, code: int) -> None:
        future, size_bytes = self._in_flight.pop(mid, (None, 0))
        if future is not None and not future.done():
            # 3.4.2.1: codes from 0x80 are failures.
            if code >= _FAILURE:
                _fail(future, f"publish refused: {code:#04x}", PublishRefused)
            else:
                future.set_result(code != NO_MATCHING_SUBSCRIBERS)
        self._unconfirmed.give(size_bytes)
        while self._outbox and len(self._in_flight) < self._window:
            self._send(self._outbox.popleft())

    def _on_closed(self, closed: "asyncio.Future[None]") -> None:
        if not closed.cancelled():
            closed.exception()
        waiting = [*(future for future, _ in self._in_flight.values()), *(publish.future for publish in self._outbox)]
        self._in_flight.clear()
        self._outbox.clear()
        self._unconfirmed.give(self._unconfirmed.held_bytes)
        self._paused = False
        # What arrived on this connection can no longer be acknowledged on it; its session or the ledger brings it back.
        while self._inbox:
            self.let_go(self._inbox.popleft())
        for future in waiting:
            if not future.done():
                _fail(future, "connection lost")
        self._arrived.set()

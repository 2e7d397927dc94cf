"""One connection to the broker: publishes that end with the broker's own answer, subscriptions, and what arrives.

Promises that the future of a publish ends with the broker's answer or with NotConnected, and that what was published
and not answered is bounded in bytes for whoever waits with ``sendable``. It does not reconnect; ``Link`` does.

It stands on paho's public calls for foreign event loops. aiomqtt does the same, but it drops the reason code of a
PUBACK. A publisher needs that code: it says that no router is subscribed, or that the broker refuses the topic.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from carillon_publisher.address import BrokerAddress
from carillon_publisher.errors import NotConnected

_KEEPALIVE_S = 20
# For connecting and subscribing.
_ANSWER_S = 10.0
_LEAVE_S = 1.0
_MISC_EVERY_S = 1.0

# What may be published and not answered by the broker.
_SEND_BYTES = 16 * 1024 * 1024
# Publishes in flight; the broker may allow fewer (its Receive Maximum, MQTT 5, 3.2.2.3.3), which then holds.
_SEND_MAXIMUM = 500
# MQTT 5, 3.4.2.1.
_NO_MATCHING_SUBSCRIBERS = 0x10

OnMessage = Callable[[str, bytes, bytes], None]
"""Takes the topic, the payload and the correlation data of what arrived, and does not raise."""


@dataclass(slots=True)
class _Publish:
    """A publish that waits for its turn."""

    topic: str
    payload: bytes
    properties: Properties
    answer: "asyncio.Future[bool]"


class Connection:
    """A connection; ``open`` it once, and ``close`` it.

    Args:
        client_id: the name of the session at the broker, which is clean at the beginning and at the end.
    """

    def __init__(self, address: BrokerAddress, client_id: str, on_message: OnMessage) -> None:
        self._address = address
        self._on_incoming = on_message
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._subscriptions: dict[int, asyncio.Future[Sequence[ReasonCode]]] = {}
        self._opened = False
        self._window = _SEND_MAXIMUM
        self._in_flight: dict[int, tuple[asyncio.Future[bool], int]] = {}
        # Beyond the window, oldest first.
        self._held_back: deque[_Publish] = deque()
        self._unanswered_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._misc: asyncio.TimerHandle | None = None
        self._paho = Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        self._paho.connect_timeout = _ANSWER_S
        # Ours, because paho sends more than the broker allows.
        self._paho.max_inflight_messages = 0
        if address.username is not None:
            self._paho.username_pw_set(address.username, address.password)
        if address.tls is not None:
            self._paho.tls_set_context(address.tls)
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_publish = self._on_publish
        self._paho.on_message = self._on_message
        self._paho.on_socket_open = self._on_socket_open
        self._paho.on_socket_close = self._on_socket_close
        self._paho.on_socket_register_write = self._on_register_write
        self._paho.on_socket_unregister_write = self._on_unregister_write

    async def open(self) -> None:
        """Connect.

        Raises:
            NotConnected: nobody answers, or the broker refuses us.
        """
        try:
            async with asyncio.timeout(_ANSWER_S):
                # Name resolution, connecting and the TLS handshake block.
                await asyncio.to_thread(self._connect)
                await self._connected
        except TimeoutError:
            raise NotConnected("no answer in time") from None
        except NotConnected:
            raise
        except OSError as error:
            raise NotConnected(_words(error)) from None

    def _connect(self) -> None:
        self._paho.connect(self._address.host, self._address.port, _KEEPALIVE_S)
        if self._closed.done():
            # Whoever wanted it has gone meanwhile, and perhaps the loop, too. Nobody watches this socket.
            self._hang_up()

    async def close(self) -> None:
        """Say goodbye and end the connection."""
        if self._paho.is_connected():
            self._paho.disconnect()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_S):
                    await self.wait_closed()
        self._end()
        self._hang_up()

    def _hang_up(self) -> None:
        sock: Any = self._paho.socket()
        if sock is not None and sock.fileno() >= 0:
            if self._opened:
                self._on_socket_close(self._paho, None, sock)
            sock.close()

    @property
    def is_open(self) -> bool:
        """Tell whether the connection stands."""
        return self._connected.done() and not self._closed.done()

    async def wait_closed(self) -> None:
        """Return when the connection has ended."""
        await asyncio.wait([self._closed])

    async def sendable(self) -> None:
        """Return when there is room for a publish, or when the connection has ended."""
        await self._room.wait()

    def publish(self, topic: str, payload: bytes, properties: Properties) -> "asyncio.Future[bool]":
        """Publish at QoS 1 without waiting.

        Returns:
            A future. True: the broker took it for somebody. False: nobody is subscribed, so it is gone. Otherwise it
            ends with NotConnected.
        """
        future: asyncio.Future[bool] = self._loop.create_future()
        if self._closed.done():
            return failed(future, "connection lost")
        self._count(len(payload))
        publish = _Publish(topic, payload, properties, future)
        if len(self._in_flight) < self._window:
            self._send(publish)
        else:
            self._held_back.append(publish)
        return future

    def _send(self, publish: "_Publish") -> None:
        info = self._paho.publish(publish.topic, publish.payload, qos=1, properties=publish.properties)
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._in_flight[info.mid] = publish.answer, len(publish.payload)
        else:
            self._count(-len(publish.payload))
            failed(publish.answer, "connection lost")

    async def subscribe(self, *filters: str) -> None:
        """Subscribe at QoS 1.

        Raises:
            NotConnected: the broker refuses it or went away.
        """
        if not filters:
            return
        result, mid = self._paho.subscribe([(each, 1) for each in filters])
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise NotConnected("connection lost")
        answer: asyncio.Future[Sequence[ReasonCode]] = self._loop.create_future()
        self._subscriptions[mid] = answer
        try:
            async with asyncio.timeout(_ANSWER_S):
                codes = await answer
        except TimeoutError:
            raise NotConnected("no answer in time") from None
        finally:
            self._subscriptions.pop(mid, None)
        refused = next((code for code in codes if code.is_failure), None)
        if refused is not None:
            raise NotConnected(f"subscription refused: {refused}")

    def ask_for(self, topic_filter: str) -> None:
        """Subscribe at QoS 1 without waiting for the broker's answer."""
        if self.is_open:
            self._paho.subscribe(topic_filter, qos=1)

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for nothing more; what is on its way still arrives."""
        if self.is_open:
            self._paho.unsubscribe(topic_filter)

    def _count(self, size_bytes: int) -> None:
        self._unanswered_bytes += size_bytes
        if self._unanswered_bytes < _SEND_BYTES:
            self._room.set()
        else:
            self._room.clear()

    def _end(self, error: BaseException | None = None) -> None:
        if self._misc is not None:
            self._misc.cancel()
        if self._closed.done():
            return
        self._closed.set_result(None)
        waiting: list[asyncio.Future[Any]] = [
            *(future for future, _ in self._in_flight.values()),
            *(publish.answer for publish in self._held_back),
            *self._subscriptions.values(),
            self._connected,
        ]
        self._in_flight.clear()
        self._held_back.clear()
        self._room.set()
        why = "connection lost" if error is None else _words(error)
        for future in waiting:
            if not future.done():
                failed(future, why)

    def _keep_alive(self) -> None:
        if self._paho.loop_misc() == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._misc = self._loop.call_later(_MISC_EVERY_S, self._keep_alive)
        else:
            self._end()

    def _on_connect(
        self, _client: Client, _userdata: object, _flags: object, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._window = min(_SEND_MAXIMUM, getattr(properties, "ReceiveMaximum", _SEND_MAXIMUM))
        if not self._connected.done():
            if code.is_failure:
                failed(self._connected, f"refused: {code}")
            else:
                self._connected.set_result(None)

    def _on_disconnect(self, *_told: object) -> None:
        self._end()

    def _on_subscribe(
        self, _client: Client, _userdata: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        answer = self._subscriptions.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(codes)

    def _on_publish(self, _client: Client, _userdata: object, mid: int, code: ReasonCode, _properties: object) -> None:
        future, size_bytes = self._in_flight.pop(mid, (None, 0))
        self._count(-size_bytes)
        if future is not None and not future.done():
            if code.is_failure:
                failed(future, f"publish refused: {code}")
            else:
                future.set_result(code.value != _NO_MATCHING_SUBSCRIBERS)
        while self._held_back and len(self._in_flight) < self._window:
            self._send(self._held_back.popleft())

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._on_incoming(message.topic, bytes(message.payload), getattr(message.properties, "CorrelationData", b""))

    # paho calls the next ones from the thread that connects, too.

    def _on_socket_open(self, _client: Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401 - paho's
        with suppress(OSError):
            # Otherwise a publish after a receipt waits 40 ms for the broker's delayed acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def watch() -> None:
            if sock.fileno() >= 0 and not self._closed.done():
                self._opened = True
                self._loop.add_reader(sock.fileno(), self._read)
                self._keep_alive()

        self._loop.call_soon_threadsafe(watch)

    def _on_register_write(self, _client: Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401 - paho's
        def watch() -> None:
            # By now the descriptor may be closed, and its number another connection's.
            if sock.fileno() >= 0 and not self._closed.done():
                self._loop.add_writer(sock.fileno(), self._write)

        self._loop.call_soon_threadsafe(watch)

    def _on_unregister_write(self, _client: Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401 - paho's
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    def _on_socket_close(self, _client: Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401 - paho's
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())

    def _read(self) -> None:
        try:
            self._paho.loop_read()
            # The descriptor says nothing of what TLS has decrypted already.
            while isinstance(sock := self._paho.socket(), ssl.SSLSocket) and sock.pending():
                self._paho.loop_read()
        except (OSError, ValueError) as error:
            self._end(error)

    def _write(self) -> None:
        try:
            self._paho.loop_write()
        except (OSError, ValueError) as error:
            self._end(error)


def failed(future: "asyncio.Future[Any]", why: str) -> "asyncio.Future[Any]":
    """End a future with NotConnected; nobody need look at it."""
    future.set_exception(NotConnected(why))
    future.exception()
    return future


def publish_properties(
    *, response_topic: str, correlation: bytes, user_properties: Sequence[tuple[str, str]]
) -> Properties:
    """Return the properties of a publish that asks for a receipt."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ResponseTopic = response_topic
    properties.CorrelationData = correlation
    if user_properties:
        properties.UserProperty = list(user_properties)
    return properties


def _words(error: BaseException) -> str:
    """Say what went wrong without repeating an address."""
    return getattr(error, "strerror", None) or type(error).__name__

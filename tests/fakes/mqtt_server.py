"""A scripted MQTT 5 server for what no real broker can be made to do: withhold answers, answer with a chosen code.

It takes one client at a time, grants every subscription at once unless it is ``mute``, and answers a ping unless it is
``deaf``.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from shared.mqtt.packets import Framer, Incoming, decode_puback, decode_publish, encode_publish

# MQTT 5, 2.1.2: control packet types.
_CONNECT, _PUBLISH, _PUBACK, _SUBSCRIBE, _PINGREQ = 0x10, 0x30, 0x40, 0x80, 0xC0
# MQTT 5, 3.2.2.3.3: the property Receive Maximum.
_RECEIVE_MAXIMUM = 0x21


class ScriptedBroker:
    """What arrived, and the answers that the test gives."""

    def __init__(self, receive_maximum: int) -> None:
        self.port = 0
        self.published: list[Incoming] = []
        self.acknowledged: list[int] = []
        # The reason codes of those that were not acknowledged with Success.
        self.refused: dict[int, int] = {}
        self.pings = 0
        self.deaf = False
        self.mute = False
        self.subscribed: list[bytes] = []
        self._receive_maximum = receive_maximum
        self._writer: asyncio.StreamWriter | None = None
        self._serving: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def puback(self, mid: int, code: int = 0) -> None:
        """Answer a publish of the client."""
        self.write(struct.pack("!BBHBB", _PUBACK, 4, mid, code, 0))

    def grant(self) -> None:
        """Answer the client's last subscription."""
        self.write(struct.pack("!BB", 0x90, 4) + self.subscribed[-1] + b"\x00\x01")

    def publish(self, topic: str, payload: bytes, mid: int) -> None:
        """Send the client a message."""
        self.write(encode_publish(topic, payload, mid))

    def write(self, data: bytes) -> None:
        """Send the client any bytes."""
        assert self._writer is not None
        self._writer.write(data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._serving[writer] = asyncio.current_task()
        framer = Framer()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                for first_byte, body, _ in framer.feed(data):
                    self._answer(first_byte, body)
        writer.close()

    def hang_up(self) -> None:
        """End the client's connection."""
        assert self._writer is not None
        self._writer.close()

    async def close(self) -> None:
        """End every connection."""
        for writer in self._serving:
            writer.close()
        await asyncio.gather(*(task for task in self._serving.values() if task is not None), return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for writer in self._serving), return_exceptions=True)

    def _answer(self, first_byte: int, body: bytes) -> None:
        kind = first_byte & 0xF0
        if kind == _CONNECT:
            properties = struct.pack("!BH", _RECEIVE_MAXIMUM, self._receive_maximum)
            self.write(struct.pack("!BBBBB", 0x20, 3 + len(properties), 0, 0, len(properties)) + properties)
        elif kind == _PUBLISH:
            self.published.append(decode_publish(first_byte, body))
        elif kind == _PUBACK:
            mid, code = decode_puback(body)
            self.acknowledged.append(mid)
            if code:
                self.refused[mid] = code
        elif kind == _SUBSCRIBE:
            self.subscribed.append(body[:2])
            if not self.mute:
                self.grant()
        elif kind == _PINGREQ:
            self.pings += 1
            if not self.deaf:
                self.write(b"\xd0\x00")


@asynccontextmanager
async def scripted_broker(receive_maximum: int = 100) -> AsyncIterator[ScriptedBroker]:
    """Serve on a free loopback port."""
    broker = ScriptedBroker(receive_maximum)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        await broker.close()

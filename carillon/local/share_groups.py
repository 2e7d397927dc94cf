"""Gives every shared subscription a group of its own name, in the packets that a client sends.

rumqttd keeps one position per group name for all filters, so two filters of one group lose messages. In MQTT 5.0
(4.8.2) a name stands for a different group under each filter, and Carillon relies on that. The client notices nothing:
no answer of a broker names a group.
"""

import asyncio
import zlib
from dataclasses import dataclass

# MQTT 5.0, 2.1.2: the packet type and the fixed flags.
_CONNECT = 0x10
_SUBSCRIBE = 0x82
_UNSUBSCRIBE = 0xA2
# 3.1.2.2: level 5 is MQTT 5, level 4 is MQTT 3.1.1.
LEVEL_5 = 5
_SHARE = b"$share/"
# More than a job of 1 MiB with its topic and properties; a client that sends more is not one of ours.
_PACKET_LIMIT_BYTES = 2 * 1024 * 1024


class NotMqtt(Exception):
    """A client sent bytes that are not MQTT, or a packet that is too large."""


@dataclass(frozen=True)
class Packet:
    """One control packet: the first byte, and what follows the remaining length."""

    first: int
    body: bytes

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> "Packet":
        """Read the next one.

        Raises:
            NotMqtt: the remaining length is malformed, or over 2 MiB.
            asyncio.IncompleteReadError: the stream ended.
        """
        first = (await reader.readexactly(1))[0]
        length = 0
        # 1.5.5: seven bits a byte, the lowest first, at most four bytes.
        for shift in (0, 7, 14, 21):
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise NotMqtt("remaining length")
        if length > _PACKET_LIMIT_BYTES:
            raise NotMqtt("packet too large")
        return cls(first, await reader.readexactly(length))

    def encoded(self) -> bytes:
        """Return the packet as bytes for the wire."""
        return bytes([self.first]) + variable_integer(len(self.body)) + self.body

    def protocol_level(self) -> int:
        """Return the MQTT version that a CONNECT asks for.

        Raises:
            NotMqtt: this is no CONNECT.
        """
        # 3.1.2: the length-prefixed name "MQTT", then the level.
        if self.first != _CONNECT or self.body[:6] != b"\x00\x04MQTT" or len(self.body) < 7:
            raise NotMqtt("no CONNECT")
        return self.body[6]

    def with_own_groups(self) -> "Packet":
        """Return the packet of an MQTT 5 client with a group of its own for every shared filter.

        Raises:
            NotMqtt: it is cut short.
        """
        if self.first not in {_SUBSCRIBE, _UNSUBSCRIBE} or _SHARE not in self.body:
            return self
        # 3.8.3 and 3.10.3: packet identifier, properties, then filters, in a SUBSCRIBE each with a byte of options.
        at = after_properties(self.body, 2)
        options = 1 if self.first == _SUBSCRIBE else 0
        parts = [self.body[:at]]
        while at < len(self.body):
            begin, end = at + 2, at + 2 + int.from_bytes(self.body[at : at + 2])
            if end + options > len(self.body):
                raise NotMqtt("topic filter")
            topic_filter = _with_own_group(self.body[begin:end])
            parts += [len(topic_filter).to_bytes(2), topic_filter, self.body[end : end + options]]
            at = end + options
        return Packet(self.first, b"".join(parts))


def _with_own_group(topic_filter: bytes) -> bytes:
    if not topic_filter.startswith(_SHARE):
        return topic_filter
    group, _, inner = topic_filter.removeprefix(_SHARE).partition(b"/")
    return b"%s%s-%08x/%s" % (_SHARE, group, zlib.crc32(inner), inner)


def after_properties(body: bytes, at: int) -> int:
    """Return where properties end, given where their length stands.

    Raises:
        NotMqtt: there is no such length.
    """
    length = 0
    for shift in (0, 7, 14, 21):
        if at >= len(body):
            break
        byte = body[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return at + length
    raise NotMqtt("properties")


def variable_integer(value: int) -> bytes:
    """Write a variable byte integer (MQTT 5.0, 1.5.5)."""
    encoded = bytearray()
    while True:
        value, byte = divmod(value, 128)
        encoded.append(byte | 0x80 if value else byte)
        if not value:
            return bytes(encoded)

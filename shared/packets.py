"""The three MQTT 5 packets that make up the load: PUBLISH, its PUBACK, and how packets are framed in a stream.

Pure functions over bytes; the rest of the protocol is paho's. Section numbers are those of the OASIS standard "MQTT
Version 5.0". paho builds two tables of all properties for every packet, and reads a packet with four system calls and a
turn of the event loop; at some thousand packets a second that was most of a router's time (docs/performance.md).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# 2.1.2: control packet types, in the upper four bits of the first byte.
PUBLISH = 0x30
PUBACK = 0x40

_QOS_1 = 0x02
_DUP = 0x08  # 3.3.1.1

# 2.2.2.2: identifiers of the properties that a PUBLISH may carry.
_MESSAGE_EXPIRY = 0x02
_RESPONSE_TOPIC = 0x08
_CORRELATION_DATA = 0x09
_USER_PROPERTY = 0x26

_FIXED_SIZES = {0x01: 1, _MESSAGE_EXPIRY: 4, 0x23: 2}
_LENGTH_PREFIXED = {0x03, _RESPONSE_TOPIC, _CORRELATION_DATA}
_VARIABLE_INTEGER = {0x0B}

# 1.5.5: a variable byte integer has at most four bytes.
_VARIABLE_INTEGER_BYTES = 4

UserProperties = Sequence[tuple[str, str]]


class MalformedPacket(ValueError):
    """The peer sent what the standard does not allow; the connection cannot go on."""


@dataclass(slots=True)
class Incoming:
    """One received PUBLISH; not frozen because that would treble the cost of making one.

    Attributes:
        mid: the packet identifier, 0 at QoS 0.
        response_topic: where the publisher wants its receipt.
        correlation: what the publisher wants to see again in its receipt.
        expiry_s: what is left of the message expiry interval.
        is_repeated: the broker has sent it before on this session, under the same packet identifier (3.3.1.1, DUP).
    """

    topic: str
    payload: bytes
    mid: int
    qos: int
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None
    user_properties: UserProperties = ()
    is_repeated: bool = False

    def user_property(self, name: str) -> str | None:
        """Return the first user property of that name."""
        return next((value for key, value in self.user_properties if key == name), None)


class Framer:
    """Cuts a stream into packets; keeps what is incomplete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (first byte, everything after the remaining length) of each packet that is complete now.

        Raises:
            MalformedPacket: a remaining length is longer than four bytes.
        """
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        while at + 2 <= end:
            # 2.1.4: the remaining length, seven bits a byte, the lowest first.
            length, shift, body = 0, 0, at + 1
            complete = False
            while body < end and shift < 7 * _VARIABLE_INTEGER_BYTES:
                byte = buffer[body]
                length |= (byte & 0x7F) << shift
                shift += 7
                body += 1
                if byte < 0x80:
                    complete = True
                    break
            if not complete and shift >= 7 * _VARIABLE_INTEGER_BYTES:
                raise MalformedPacket("remaining length")
            if not complete or body + length > end:
                break
            yield buffer[at], buffer[body : body + length]
            at = body + length
        self._rest = buffer[at:]


def decode_publish(first_byte: int, body: bytes) -> Incoming:
    """Read a PUBLISH (3.3).

    Raises:
        MalformedPacket: it is not one.
    """
    try:
        (length,) = struct.unpack_from("!H", body)
        at = 2 + length
        topic = body[2:at].decode()
        qos, mid = first_byte >> 1 & 3, 0
        if qos:
            (mid,) = struct.unpack_from("!H", body, at)
            at += 2
        size, at = _variable_integer(body, at)
        incoming = Incoming(topic, body[at + size :], mid, qos, is_repeated=bool(first_byte & _DUP))
        _read_properties(incoming, body, at, at + size)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise MalformedPacket("publish") from error
    return incoming


def _read_properties(incoming: Incoming, body: bytes, at: int, end: int) -> None:
    user_properties: list[tuple[str, str]] = []
    while at < end:
        identifier = body[at]
        at += 1
        if identifier == _USER_PROPERTY:
            name, at = _prefixed(body, at)
            value, at = _prefixed(body, at)
            user_properties.append((name.decode(), value.decode()))
        elif identifier in _LENGTH_PREFIXED:
            value, at = _prefixed(body, at)
            if identifier == _RESPONSE_TOPIC:
                incoming.response_topic = value.decode()
            elif identifier == _CORRELATION_DATA:
                incoming.correlation = value
        elif identifier in _FIXED_SIZES:
            if identifier == _MESSAGE_EXPIRY:
                (incoming.expiry_s,) = struct.unpack_from("!I", body, at)
            at += _FIXED_SIZES[identifier]
        elif identifier in _VARIABLE_INTEGER:
            _, at = _variable_integer(body, at)
        else:
            raise MalformedPacket("unknown property")
    if at != end:
        raise MalformedPacket("property length")
    incoming.user_properties = user_properties


def encode_publish(
    topic: str,
    payload: bytes,
    mid: int,
    *,
    response_topic: str | None = None,
    correlation: bytes | None = None,
    expiry_s: int | None = None,
    user_properties: UserProperties = (),
) -> bytes:
    """Write a PUBLISH at QoS 1, not retained (3.3)."""
    properties = b""
    if expiry_s is not None:
        properties += struct.pack("!BI", _MESSAGE_EXPIRY, expiry_s)
    if response_topic is not None:
        properties += bytes((_RESPONSE_TOPIC,)) + _prefix(response_topic.encode())
    if correlation is not None:
        properties += bytes((_CORRELATION_DATA,)) + _prefix(correlation)
    for name, value in user_properties:
        properties += bytes((_USER_PROPERTY,)) + _prefix(name.encode()) + _prefix(value.encode())
    head = _prefix(topic.encode()) + struct.pack("!H", mid) + _pack_variable_integer(len(properties)) + properties
    return bytes((PUBLISH | _QOS_1,)) + _pack_variable_integer(len(head) + len(payload)) + head + payload


def encode_puback(mid: int) -> bytes:
    """Write a PUBACK with reason code 0, which is left out (3.4.2.1)."""
    return struct.pack("!BBH", PUBACK, 2, mid)


def decode_puback(body: bytes) -> tuple[int, int]:
    """Read a PUBACK (3.4): packet identifier and reason code.

    Raises:
        MalformedPacket: it is too short.
    """
    if len(body) < 2:
        raise MalformedPacket("puback")
    return int.from_bytes(body[:2]), body[2] if len(body) > 2 else 0


def _prefix(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def _prefixed(body: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("!H", body, at)
    end = at + 2 + length
    if end > len(body):
        raise MalformedPacket("length beyond the packet")
    return body[at + 2 : end], end


def _variable_integer(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _VARIABLE_INTEGER_BYTES, 7):
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedPacket("variable byte integer")


def _pack_variable_integer(value: int) -> bytes:
    packed = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        packed.append(low | 0x80 if value else low)
        if not value:
            return bytes(packed)

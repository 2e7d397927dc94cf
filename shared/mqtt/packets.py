"""The three MQTT 5 packets that make up the load: PUBLISH, its PUBACK, and how packets are framed in a stream.

Pure functions over bytes; the rest of the protocol is paho's. Section numbers are those of the OASIS standard "MQTT
Version 5.0".

If a part of a PUBLISH cannot be read, the result is still an ``Incoming``, with a ``problem``. So it can be refused and
acknowledged. If it broke the connection instead, the broker would send it again after every reconnect.

paho builds two tables of all properties for every packet, and reads a packet with four system calls and a turn of the
event loop. At some thousand packets a second that was most of a router's time (docs/explanation/performance.md).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from shared.core.limits import PACKET_BYTES

# 2.1.2: control packet types, in the upper four bits of the first byte.
PUBLISH = 0x30
PUBACK = 0x40

_QOS_1 = 0x02
_RETAIN = 0x01  # 3.3.1.3
_DUP = 0x08  # 3.3.1.1

# 2.2.2.2: identifiers of the properties that a PUBLISH may carry.
_MESSAGE_EXPIRY = 0x02
_CONTENT_TYPE = 0x03
_RESPONSE_TOPIC = 0x08
_CORRELATION_DATA = 0x09
_USER_PROPERTY = 0x26

_FIXED_SIZES = {0x01: 1, _MESSAGE_EXPIRY: 4, 0x23: 2}
_LENGTH_PREFIXED = {
    _CONTENT_TYPE: "the content type",
    _RESPONSE_TOPIC: "the response topic",
    _CORRELATION_DATA: "the correlation data",
}
_A_USER_PROPERTY = "a user property"
_VARIABLE_INTEGER = {0x0B}

# What is kept of a packet that is larger than any should be: enough for its topic and ordinary properties.
_HEAD_BYTES = 128 * 1024

# What a publish takes in memory beside its own bytes, about: its object, and those of its topic and properties.
_OWN_BYTES = 512

# More of them than anybody needs are not read: each costs many times its bytes in memory.
_USER_PROPERTIES_MOST = 100

# 3.4.2.1, a reason code of PUBACK: the publish was taken from the broker, and its content is not valid.
PAYLOAD_FORMAT_INVALID = 0x99

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
        held_bytes: what it counts for where what is in hand is bounded.
        cut_bytes: how much of its payload was dropped on arrival, because the packet is larger than any should be.
        problem: what of it cannot be read, in words that repeat nothing of it; empty for nearly all.
        content_type: what the publisher says the payload is.
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
    held_bytes: int = field(default=0, compare=False)
    cut_bytes: int = 0
    problem: str = ""
    content_type: str | None = None

    @property
    def payload_bytes(self) -> int:
        """How large the payload was that was published."""
        return len(self.payload) + self.cut_bytes

    def user_property(self, name: str) -> str | None:
        """Return the first user property of that name."""
        return next((value for key, value in self.user_properties if key == name), None)


class Framer:
    """Cuts a stream into packets; keeps what is incomplete.

    Args:
        most_bytes: of a PUBLISH that is larger, only the head is kept.
    """

    def __init__(self, most_bytes: int = PACKET_BYTES) -> None:
        self._most_bytes = most_bytes
        self._rest = b""
        self._skip_bytes = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes, int]]:
        """Yield of each packet that is complete now its first byte, what follows the remaining length, and that length.

        The second is shorter than the third says where the rest of the packet is passed over as it comes.

        Raises:
            MalformedPacket: a remaining length is longer than four bytes, or beyond what any packet but a PUBLISH has.
        """
        if self._skip_bytes:
            skipped = min(self._skip_bytes, len(data))
            self._skip_bytes -= skipped
            data = data[skipped:]
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
            if not complete:
                break
            kept = length
            if length > self._most_bytes:
                if buffer[at] & 0xF0 != PUBLISH:
                    raise MalformedPacket("packet too large")
                kept = _HEAD_BYTES
            if body + kept > end:
                break
            yield buffer[at], buffer[body : body + kept], length
            at = body + length
        self._skip_bytes += max(0, at - end)
        self._rest = buffer[at:]


def decode_publish(first_byte: int, body: bytes, length: int | None = None) -> Incoming:
    """Read a PUBLISH (3.3), as far as it can be read.

    Args:
        length: how long the packet was, where ``body`` is its head only.

    Raises:
        MalformedPacket: it does not even say which packet it is.
    """
    try:
        (size,) = struct.unpack_from("!H", body)
        at = 2 + size
        topic, problem = _text(body[2:at], "the topic")
        qos, mid = first_byte >> 1 & 3, 0
        if qos:
            (mid,) = struct.unpack_from("!H", body, at)
            at += 2
    except struct.error as error:
        raise MalformedPacket("publish") from error
    incoming = Incoming(
        topic, b"", mid, qos, is_repeated=bool(first_byte & _DUP), held_bytes=len(body) + _OWN_BYTES, problem=problem
    )
    try:
        size, at = _variable_integer(body, at)
        incoming.payload = body[at + size :]
        _read_properties(incoming, body, at, min(at + size, len(body)))
    except (struct.error, IndexError, MalformedPacket):
        incoming.problem = incoming.problem or "its properties cannot be told apart"
    incoming.cut_bytes = 0 if length is None else length - len(body)
    return incoming


def _text(data: bytes, whose: str) -> tuple[str, str]:
    """Read a string, and tell what is wrong with it (1.5.4: UTF-8 without surrogates and without NUL)."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace"), f"{whose} is not UTF-8"
    return (text, "") if "\x00" not in text else (text.replace("\x00", "\ufffd"), f"{whose} holds a NUL")


def _read_properties(incoming: Incoming, body: bytes, at: int, end: int) -> None:
    """Read properties, passing over those that cannot be read: the answer may need one that comes behind them."""
    user_properties: list[tuple[str, str]] = []
    incoming.user_properties = user_properties
    while at < end:
        identifier = body[at]
        at += 1
        if identifier == _USER_PROPERTY:
            name, at = _prefixed(body, at, end)
            value, at = _prefixed(body, at, end)
            if len(user_properties) == _USER_PROPERTIES_MOST:
                incoming.problem = incoming.problem or f"it has more than {_USER_PROPERTIES_MOST} user properties"
                continue
            # Nearly every one is fine, and this is done for each publish.
            if name.isascii() and value.isascii() and b"\x00" not in name + value:
                user_properties.append((name.decode(), value.decode()))
                continue
            (name_text, wrong_name), (value_text, wrong) = _text(name, _A_USER_PROPERTY), _text(value, _A_USER_PROPERTY)
            if wrong_name or wrong:
                incoming.problem = incoming.problem or wrong_name or wrong
            else:
                user_properties.append((name_text, value_text))
        elif identifier in _LENGTH_PREFIXED:
            value, at = _prefixed(body, at, end)
            if identifier == _CORRELATION_DATA:
                incoming.correlation = value
                continue
            text, wrong = _text(value, _LENGTH_PREFIXED[identifier])
            if wrong:
                incoming.problem = incoming.problem or wrong
            elif identifier == _RESPONSE_TOPIC:
                incoming.response_topic = text
            else:
                incoming.content_type = text
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


def encode_publish(
    topic: str,
    payload: bytes,
    mid: int,
    *,
    response_topic: str | None = None,
    correlation: bytes | None = None,
    expiry_s: int | None = None,
    user_properties: UserProperties = (),
    content_type: str | None = None,
    retain: bool = False,
) -> bytes:
    """Write a PUBLISH at QoS 1 (3.3)."""
    properties = b""
    if content_type is not None:
        properties += bytes((_CONTENT_TYPE,)) + _prefix(content_type.encode())
    if expiry_s is not None:
        properties += struct.pack("!BI", _MESSAGE_EXPIRY, expiry_s)
    if response_topic is not None:
        properties += bytes((_RESPONSE_TOPIC,)) + _prefix(response_topic.encode())
    if correlation is not None:
        properties += bytes((_CORRELATION_DATA,)) + _prefix(correlation)
    for name, value in user_properties:
        properties += bytes((_USER_PROPERTY,)) + _prefix(name.encode()) + _prefix(value.encode())
    head = _prefix(topic.encode()) + struct.pack("!H", mid) + _pack_variable_integer(len(properties)) + properties
    first = PUBLISH | _QOS_1 | (_RETAIN if retain else 0)
    return bytes((first,)) + _pack_variable_integer(len(head) + len(payload)) + head + payload


def encode_puback(mid: int, code: int = 0) -> bytes:
    """Write a PUBACK; reason code 0 is left out (3.4.2.1)."""
    return struct.pack("!BBHB", PUBACK, 3, mid, code) if code else struct.pack("!BBH", PUBACK, 2, mid)


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


def _prefixed(body: bytes, at: int, most: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("!H", body, at)
    end = at + 2 + length
    if end > most:
        raise MalformedPacket("length beyond the properties")
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

"""Our packets against paho's: what one writes the other reads."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.client import MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from shared.mqtt.packets import (
    PUBLISH,
    Framer,
    Incoming,
    MalformedPacket,
    decode_puback,
    decode_publish,
    encode_puback,
    encode_publish,
)

# MQTT refuses NUL and surrogates, and paho also the byte order mark.
_text = st.text(st.characters(exclude_characters="\x00\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=60)
_mids = st.integers(1, 65535)


@given(
    topic=_text,
    payload=st.binary(max_size=20_000),
    mid=_mids,
    response_topic=st.none() | _text,
    correlation=st.none() | st.binary(max_size=200),
    expiry_s=st.none() | st.integers(0, 2**32 - 1),
    user_properties=st.lists(st.tuples(_text, _text), max_size=3),
    content_type=st.none() | _text,
)
def test_paho_reads_our_publish_and_so_do_we(
    topic: str,
    payload: bytes,
    mid: int,
    response_topic: str | None,
    correlation: bytes | None,
    expiry_s: int | None,
    user_properties: list[tuple[str, str]],
    content_type: str | None,
) -> None:
    packet = encode_publish(
        topic,
        payload,
        mid,
        response_topic=response_topic,
        correlation=correlation,
        expiry_s=expiry_s,
        user_properties=user_properties,
        content_type=content_type,
    )
    ((first_byte, body, _),) = Framer().feed(packet)

    theirs = _packet.decode_publish(first_byte, bytearray(body), MQTTv5)
    assert (theirs.topic.decode(), bytes(theirs.payload), theirs.mid, theirs.qos) == (topic, payload, mid, 1)
    properties = theirs.properties
    assert getattr(properties, "ResponseTopic", None) == response_topic
    assert getattr(properties, "CorrelationData", None) == correlation
    assert getattr(properties, "MessageExpiryInterval", None) == expiry_s
    assert getattr(properties, "UserProperty", []) == user_properties
    assert getattr(properties, "ContentType", None) == content_type

    ours = decode_publish(first_byte, body)
    assert ours == Incoming(
        topic, payload, mid, 1, response_topic, correlation, expiry_s, ours.user_properties, content_type=content_type
    )
    assert list(ours.user_properties) == user_properties


def test_reads_every_property_that_paho_can_write() -> None:
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.MessageExpiryInterval = 60
    properties.ContentType = "application/json"
    properties.ResponseTopic = "receipts/one/1"
    properties.CorrelationData = b"\x00\x01"
    properties.SubscriptionIdentifier = 200
    properties.TopicAlias = 7
    properties.UserProperty = ("idempotency-key", "k1")
    packed = properties.pack()
    body = b"\x00\x01t" + b"\x00\x09" + packed + b"payload"

    incoming = decode_publish(PUBLISH | 0x02, body)

    assert incoming.topic == "t"
    assert incoming.mid == 9
    assert incoming.payload == b"payload"
    assert incoming.expiry_s == 60
    assert incoming.response_topic == "receipts/one/1"
    assert incoming.correlation == b"\x00\x01"
    assert incoming.user_property("idempotency-key") == "k1"
    assert incoming.user_property("other") is None


@given(packets=st.lists(st.tuples(_text, st.binary(max_size=300)), max_size=8), data=st.data())
def test_packets_are_cut_wherever_the_stream_breaks(packets: list[tuple[str, bytes]], data: st.DataObject) -> None:
    stream = b"".join(encode_publish(topic, payload, 1) for topic, payload in packets)
    framer = Framer()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += [decode_publish(*packet) for packet in framer.feed(stream[:size])]
        stream = stream[size:]
    assert [(one.topic, one.payload) for one in found] == packets


@given(mid=_mids)
def test_paho_reads_our_puback(mid: int) -> None:
    ((first_byte, body, _),) = Framer().feed(encode_puback(mid))
    theirs = _packet.decode_puback(first_byte, bytearray(body), MQTTv5)
    assert (theirs.mid, theirs.reason.value) == (mid, 0)
    assert decode_puback(body) == (mid, 0)


def test_puback_reason_is_read() -> None:
    assert decode_puback(b"\x00\x05\x10") == (5, 0x10)
    assert decode_puback(b"\x00\x05\x97\x00") == (5, 0x97)


@given(body=st.binary(max_size=60), first_byte=st.integers(0x30, 0x3F))
def test_garbage_is_malformed_or_a_publish_and_nothing_else(body: bytes, first_byte: int) -> None:
    with suppress(MalformedPacket):
        assert decode_publish(first_byte, body).qos in range(4)


def publish_with(properties: bytes, topic: bytes = b"t", mid: bytes = b"\x00\x09", payload: bytes = b"{}") -> bytes:
    """Write everything of a PUBLISH that follows its remaining length, for properties of less than 128 bytes."""
    return len(topic).to_bytes(2) + topic + mid + bytes((len(properties),)) + properties + payload


RESPONSE = b"\x08\x00\x01r"
CORRELATION = b"\x09\x00\x01c"


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        (b"\x26\x00\x01\xff\x00\x01v", "a user property is not UTF-8"),
        (b"\x26\x00\x01n\x00\x03\xed\xa0\x80", "a user property is not UTF-8"),
        (b"\x26\x00\x01n\x00\x01\x00", "a user property holds a NUL"),
        (b"\x03\x00\x01\xff", "the content type is not UTF-8"),
        (b"\x08\x00\x01\xff", "the response topic is not UTF-8"),
    ],
)
def test_a_property_that_cannot_be_read_is_told_and_the_others_are_read(properties: bytes, problem: str) -> None:
    incoming = decode_publish(PUBLISH | 0x02, publish_with(properties + RESPONSE + CORRELATION))
    assert (incoming.mid, incoming.topic, incoming.payload) == (9, "t", b"{}")
    assert (incoming.response_topic, incoming.correlation) == ("r", b"c")
    assert incoming.problem == problem


@pytest.mark.parametrize(
    "properties",
    [b"\x26\x00\x01n\x00\x09v", b"\x7e", b"\x02\x00", b"\x09\xff\xff"],
    ids=["length beyond the end", "unknown", "cut", "correlation beyond the end"],
)
def test_properties_that_cannot_be_told_apart_leave_what_stands_before_them(properties: bytes) -> None:
    incoming = decode_publish(PUBLISH | 0x02, publish_with(RESPONSE + properties))
    assert (incoming.mid, incoming.topic, incoming.response_topic) == (9, "t", "r")
    assert incoming.problem == "its properties cannot be told apart"


@pytest.mark.parametrize(
    ("topic", "shown", "problem"),
    [
        (b"a/\xff", "a/\ufffd", "the topic is not UTF-8"),
        (b"a/\xed\xa0\x80", "a/\ufffd\ufffd\ufffd", "the topic is not UTF-8"),
        (b"a/\x00", "a/\ufffd", "the topic holds a NUL"),
    ],
)
def test_a_topic_that_cannot_be_read_is_told(topic: bytes, shown: str, problem: str) -> None:
    incoming = decode_publish(PUBLISH | 0x02, publish_with(RESPONSE, topic))
    assert (incoming.topic, incoming.problem) == (shown, problem)
    assert (incoming.mid, incoming.response_topic, incoming.payload) == (9, "r", b"{}")


def test_more_user_properties_than_anybody_needs_are_not_kept() -> None:
    ((first_byte, body, length),) = Framer().feed(encode_publish("t", b"", 1, user_properties=[("n", "v")] * 20_000))
    incoming = decode_publish(first_byte, body, length)
    assert len(incoming.user_properties) == 100
    assert incoming.problem == "it has more than 100 user properties"


@given(size=st.integers(1, 400_000), cuts=st.lists(st.integers(1, 100_000), max_size=100))
def test_of_a_packet_that_is_too_large_only_the_head_is_kept(size: int, cuts: list[int]) -> None:
    most = 150_000
    large = encode_publish("large", bytes(size), 1, response_topic="receipts/one")
    stream = large + encode_publish("next", b"after", 2)
    framer, found = Framer(most), []
    # A cut is drawn before the length is known: a strategy for each rest of the stream took twenty seconds.
    for cut in [*cuts, len(stream)]:
        found += [(len(body), decode_publish(first, body, length)) for first, body, length in framer.feed(stream[:cut])]
        stream = stream[cut:]
    (kept, first), (_, second) = found
    assert (first.topic, first.response_topic, first.payload_bytes) == ("large", "receipts/one", size)
    assert kept <= most
    assert (first.cut_bytes > 0) == (len(large) - 5 > most) or abs(len(large) - most) < 8
    assert (second.topic, second.payload, second.cut_bytes) == ("next", b"after", 0)


def test_only_a_publish_may_be_large() -> None:
    with pytest.raises(MalformedPacket):
        list(Framer(100).feed(b"\x40\xff\x7f"))


def test_paho_reads_a_puback_that_refuses() -> None:
    ((first_byte, body, _),) = Framer().feed(encode_puback(7, 0x99))
    theirs = _packet.decode_puback(first_byte, bytearray(body), MQTTv5)
    assert (theirs.mid, theirs.reason.value) == (7, 0x99)
    assert decode_puback(body) == (7, 0x99)


def test_an_endless_remaining_length_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        list(Framer().feed(b"\x30\xff\xff\xff\xff\xff"))

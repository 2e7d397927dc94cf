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

from shared.packets import (
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
)
def test_paho_reads_our_publish_and_so_do_we(
    topic: str,
    payload: bytes,
    mid: int,
    response_topic: str | None,
    correlation: bytes | None,
    expiry_s: int | None,
    user_properties: list[tuple[str, str]],
) -> None:
    packet = encode_publish(
        topic,
        payload,
        mid,
        response_topic=response_topic,
        correlation=correlation,
        expiry_s=expiry_s,
        user_properties=user_properties,
    )
    ((first_byte, body),) = Framer().feed(packet)

    theirs = _packet.decode_publish(first_byte, bytearray(body), MQTTv5)
    assert (theirs.topic.decode(), bytes(theirs.payload), theirs.mid, theirs.qos) == (topic, payload, mid, 1)
    properties = theirs.properties
    assert getattr(properties, "ResponseTopic", None) == response_topic
    assert getattr(properties, "CorrelationData", None) == correlation
    assert getattr(properties, "MessageExpiryInterval", None) == expiry_s
    assert getattr(properties, "UserProperty", []) == user_properties

    ours = decode_publish(first_byte, body)
    assert ours == Incoming(topic, payload, mid, 1, response_topic, correlation, expiry_s, ours.user_properties)
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
    ((first_byte, body),) = Framer().feed(encode_puback(mid))
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


def test_an_endless_remaining_length_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        list(Framer().feed(b"\x30\xff\xff\xff\xff\xff"))

"""What the embedded broker's door makes of message expiry, in both directions."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.local.message_expiry import hidden, shown
from carillon.local.share_groups import NotMqtt, Packet
from shared.mqtt.packets import decode_publish, encode_publish

NOW_S = 1_700_000_000.4


def packet(**properties: Any) -> Packet:
    return read(encode_publish("notifications/email/send", b"{}", 7, **properties))


def read(data: bytes) -> Packet:
    at = 1
    while data[at] >= 0x80:
        at += 1
    return Packet(data[0], data[at + 1 :])


def test_rumqttd_sees_no_expiry_and_the_receiver_what_is_left_of_it() -> None:
    before = packet(expiry_s=60, response_topic="receipts/a", correlation=b"c", user_properties=[("a", "b")])
    inside = hidden(before, NOW_S)
    seen = decode_publish(inside.first, inside.body)
    assert (seen.expiry_s, seen.response_topic, seen.correlation) == (None, "receipts/a", b"c")
    after = shown(inside, NOW_S + 20)
    got = decode_publish(after.first, after.body)
    assert (got.topic, got.payload, got.mid, got.expiry_s) == ("notifications/email/send", b"{}", 7, 40)
    assert (got.response_topic, got.correlation, got.user_properties) == ("receipts/a", b"c", [("a", "b")])


@pytest.mark.parametrize(("expiry_s", "later_s", "left_s"), [(0, 0, 0), (5, 60, 0), (2**32 - 1, 0, 2**32 - 1)])
def test_what_is_left_is_a_number_that_mqtt_can_carry(expiry_s: int, later_s: float, left_s: int) -> None:
    after = shown(hidden(packet(expiry_s=expiry_s), NOW_S), NOW_S + later_s)
    assert decode_publish(after.first, after.body).expiry_s == left_s


@pytest.mark.parametrize("first", [0x82, 0x40, 0xC0, 0xE0])
def test_other_packets_are_left_alone(first: int) -> None:
    other = Packet(first, b"\x00\x01carillon-expires-at")
    assert hidden(other, NOW_S) == shown(other, NOW_S) == other


@given(
    payload=st.binary(max_size=200),
    response_topic=st.none() | st.text(st.characters(blacklist_categories=["Cs"]), max_size=200),
    user_properties=st.lists(st.tuples(st.text(st.characters(blacklist_categories=["Cs"]), max_size=20), st.just("v"))),
)
def test_a_publish_without_expiry_is_left_as_it_is(
    payload: bytes, response_topic: str | None, user_properties: list[tuple[str, str]]
) -> None:
    data = encode_publish("t", payload, 1, response_topic=response_topic, user_properties=user_properties)
    assert shown(hidden(read(data), NOW_S), NOW_S).encoded() == data


@given(st.binary(max_size=60))
def test_whatever_is_no_publish_ends_the_connection_and_nothing_else(body: bytes) -> None:
    for change in (hidden, shown):
        with suppress(NotMqtt):
            change(Packet(0x32, body), NOW_S)

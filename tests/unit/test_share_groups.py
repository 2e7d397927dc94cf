"""The packets that the embedded broker's door changes, and those it leaves alone."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carillon.local.share_groups import NotMqtt, Packet

SUBSCRIBE, UNSUBSCRIBE, PUBLISH = 0x82, 0xA2, 0x30


def filters(*names: bytes, options: bytes = b"") -> bytes:
    return b"".join(len(name).to_bytes(2) + name + options for name in names)


def names_in(packet: Packet, *, options: int) -> list[bytes]:
    found, at = [], 3
    while at < len(packet.body):
        length = int.from_bytes(packet.body[at : at + 2])
        found.append(packet.body[at + 2 : at + 2 + length])
        at += 2 + length + options
    return found


async def read(data: bytes) -> Packet:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await Packet.read(reader)


@pytest.mark.parametrize(("first", "options"), [(SUBSCRIBE, b"\x01"), (UNSUBSCRIBE, b"")])
def test_one_name_under_two_filters_becomes_two_groups(first: int, options: bytes) -> None:
    body = b"\x00\x01\x00" + filters(b"$share/g/a/#", b"plain/+", b"$share/g/b/#", options=options)
    one, plain, two = names_in(Packet(first, body).with_own_groups(), options=len(options))
    assert plain == b"plain/+"
    assert one.startswith(b"$share/g-")
    assert one.endswith(b"/a/#")
    assert two.endswith(b"/b/#")
    assert one.split(b"/")[1] != two.split(b"/")[1]


def test_members_of_one_group_stay_together() -> None:
    one, other = (
        Packet(first, b"\x00\x01\x00" + filters(b"$share/g/a", options=options)).with_own_groups()
        for first, options in ((SUBSCRIBE, b"\x01"), (UNSUBSCRIBE, b""))
    )
    assert names_in(one, options=1) == names_in(other, options=0)


def test_two_names_under_one_filter_stay_two_groups() -> None:
    body = b"\x00\x01\x00" + filters(b"$share/email/a", b"$share/sms/a", options=b"\x01")
    email, sms = names_in(Packet(SUBSCRIBE, body).with_own_groups(), options=1)
    assert email != sms


def test_properties_before_the_filters_are_kept() -> None:
    properties = b"\x02\x0b\x07"  # MQTT 5.0, 3.8.2.1.2: a subscription identifier.
    changed = Packet(SUBSCRIBE, b"\x00\x01" + properties + filters(b"$share/g/a", options=b"\x01")).with_own_groups()
    assert changed.body.startswith(b"\x00\x01" + properties)
    assert changed.body.endswith(b"/a\x01")


@given(first=st.integers(0, 255).filter(lambda first: first not in {SUBSCRIBE, UNSUBSCRIBE}), body=st.binary())
def test_every_other_packet_is_left_alone(first: int, body: bytes) -> None:
    assert Packet(first, body).with_own_groups() == Packet(first, body)


@given(body=st.binary(max_size=60).map(lambda noise: noise + b"$share/"))
def test_nonsense_is_refused_and_never_grows(body: bytes) -> None:
    try:
        changed = Packet(SUBSCRIBE, body).with_own_groups()
    except NotMqtt:
        return
    assert len(changed.body) <= len(body) + 9 * body.count(b"$share/")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 1_048_576])
async def test_a_packet_is_read_as_it_was_written(size: int) -> None:
    packet = Packet(PUBLISH, b"x" * size)
    assert await read(packet.encoded()) == packet


@pytest.mark.parametrize("data", [b"\x30\xff\xff\xff\xff\x00", b"\x30\xff\xff\xff\x7f"])
async def test_a_malformed_or_huge_length_is_refused_before_it_is_read(data: bytes) -> None:
    with pytest.raises(NotMqtt):
        await read(data)

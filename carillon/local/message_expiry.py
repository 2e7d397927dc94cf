"""Keeps the message expiry of MQTT 5 from the embedded broker, and gives it back to whoever receives the message.

If a message expires inside rumqttd, its shared subscription never gets a message again. One publish with an expiry of 0
is enough to stop the router's intake. So on the way to rumqttd the property becomes a user property with the time of
expiry. On the way to the client it becomes the property again, with the seconds that are left (MQTT 5.0, 3.3.2.3.3). A
message that is too late is delivered with 0 left, where another broker would drop it.
"""

from carillon.local.share_groups import NotMqtt, Packet, after_properties, variable_integer

_PUBLISH = 0x30
_QOS_BITS = 0x06

# MQTT 5.0, 2.2.2.2: the properties of a PUBLISH and the sizes of those that have a fixed one.
_EXPIRY, _USER_PROPERTY, _SUBSCRIPTION_ID = 0x02, 0x26, 0x0B
_FIXED_BYTES = {0x01: 1, _EXPIRY: 4, 0x23: 2}
_EXPIRY_MOST_S = 2**32 - 1

_NAME = b"carillon-expires-at"


def hidden(packet: Packet, now_s: float) -> Packet:
    """Return a client's packet as rumqttd may see it.

    Raises:
        NotMqtt: it is cut short.
    """
    if packet.first & 0xF0 != _PUBLISH:
        return packet
    begin, end = _properties(packet)
    kept, over_s = [], None
    for each in _each(packet.body, begin, end):
        if each[0] == _EXPIRY:
            over_s = now_s + int.from_bytes(each[1:5])
        else:
            kept.append(each)
    if over_s is None:
        return packet
    value = str(round(over_s)).encode()
    kept.append(b"%c%s%s%s%s" % (_USER_PROPERTY, len(_NAME).to_bytes(2), _NAME, len(value).to_bytes(2), value))
    return _with(packet, b"".join(kept), end)


def shown(packet: Packet, now_s: float) -> Packet:
    """Return a packet of rumqttd as its client is to see it.

    Raises:
        NotMqtt: it is cut short.
    """
    if packet.first & 0xF0 != _PUBLISH or _NAME not in packet.body:
        return packet
    begin, end = _properties(packet)
    mark = len(_NAME).to_bytes(2) + _NAME
    properties = []
    for each in _each(packet.body, begin, end):
        value = each[1 + len(mark) + 2 :]
        if each[0] == _USER_PROPERTY and each.startswith(mark, 1) and value.isdigit():
            left_s = min(max(0, int(value) - round(now_s)), _EXPIRY_MOST_S)
            properties.append(bytes([_EXPIRY]) + left_s.to_bytes(4))
        else:
            properties.append(each)
    return _with(packet, b"".join(properties), end)


def _properties(packet: Packet) -> tuple[int, int]:
    """Return where the properties begin, behind their length, and where they end."""
    at = _length_at(packet)
    end = after_properties(packet.body, at)
    if end > len(packet.body):
        raise NotMqtt("properties")
    while packet.body[at] >= 0x80:
        at += 1
    return at + 1, end


def _length_at(packet: Packet) -> int:
    """Return where the length of the properties stands: behind the topic and, above QoS 0, the packet identifier."""
    return 2 + int.from_bytes(packet.body[:2]) + (2 if packet.first & _QOS_BITS else 0)


def _each(body: bytes, at: int, end: int) -> list[bytes]:
    """Split the properties."""
    found = []
    while at < end:
        begin, kind = at, body[at]
        at += 1
        if kind in _FIXED_BYTES:
            at += _FIXED_BYTES[kind]
        elif kind == _SUBSCRIPTION_ID:
            while at < end and body[at] >= 0x80:
                at += 1
            at += 1
        else:
            # A string, or a user property's two.
            for _ in range(2 if kind == _USER_PROPERTY else 1):
                at += 2 + int.from_bytes(body[at : at + 2])
        if at > end:
            raise NotMqtt("property")
        found.append(body[begin:at])
    return found


def _with(packet: Packet, properties: bytes, end: int) -> Packet:
    head = packet.body[: _length_at(packet)]
    return Packet(packet.first, head + variable_integer(len(properties)) + properties + packet.body[end:])

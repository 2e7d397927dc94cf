"""Size limits: one table, which the router, the client, the brokers' configurations and the docs follow.

Promises that the router answers every publish that our brokers let pass. If a publish is larger than its topic takes,
the router refuses it as ``too_large`` and names the limit. It drops no publish without an answer.
"""

from shared.core.topics import Kind

KIB = 1024
MIB = 1024 * KIB

# The wire contract, section 2: a JSON object has at most 64 KiB. A mail of a batch is such an object.
OBJECT_BYTES = 64 * KIB

# A batch is a list of up to 1,000 objects in one publish, so it has a limit of its own: 1,000 mails of 1 KiB each.
BATCH_BYTES = MIB

_PAYLOAD_BYTES = {Kind.EMAIL_BATCH: BATCH_BYTES}

# The largest payload of any topic.
PAYLOAD_BYTES = max(OBJECT_BYTES, *_PAYLOAD_BYTES.values())

# The largest packet that the brokers take (deploy/mosquitto/mosquitto.conf and the examples for others): the largest
# payload with its topic and properties. Of a larger one that comes all the same only the head is kept in memory.
PACKET_BYTES = PAYLOAD_BYTES + 64 * KIB


def payload_bytes(kind: Kind) -> int:
    """Return how large a payload that topic takes."""
    return _PAYLOAD_BYTES.get(kind, OBJECT_BYTES)

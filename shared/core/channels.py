"""The ways to reach a person, alone in a file that costs no import: options and ports of the command line read it."""

from enum import StrEnum


class Channel(StrEnum):
    """The ways to reach a person; each is served by the service of that name."""

    REALTIME = "realtime"
    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"


# The queues of the ledger: the router's own, and one for each channel's service.
ROUTER_LANE = "router"
LANES: tuple[str, ...] = (ROUTER_LANE, *(channel.value for channel in Channel))


# The setting that names the channels that a system does without.
WITHOUT_VARIABLE = "CARILLON_WITHOUT"
# Who decides that such a channel is not taken.
WITHOUT_RULE = "system:without"


def read_without(text: str) -> frozenset[Channel]:
    """Read what ``CARILLON_WITHOUT`` says: channels, comma-separated.

    Raises:
        ValueError: it names what is no channel, or all of them; the message goes behind the setting's name.
    """
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if not names <= frozenset(Channel):
        raise ValueError(f"must be channels, comma-separated; there are {', '.join(Channel)}")
    if names == frozenset(Channel):
        raise ValueError("leaves no channel to tell anybody by")
    return frozenset(map(Channel, names))

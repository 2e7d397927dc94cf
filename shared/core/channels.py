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

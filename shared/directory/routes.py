"""Where a person is reached on each channel: pure functions.

The planner and the replay of dead letters ask the same functions, so that both reach the same people.
"""

from typing import NamedTuple

from shared.core.clock import epoch_ms
from shared.core.model import (
    Address,
    Channel,
    EmailAddress,
    MobileToken,
    PhoneNumber,
    Platform,
    UserInbox,
    WebSubscription,
)
from shared.directory.people import Device, Person, PushSubscription, WebDevice


class Route(NamedTuple):
    """One way to reach somebody.

    Attributes:
        device: what tells a device from the person's others, a secret; empty where a channel has one address.
    """

    device: str
    address: Address


def routes(channel: Channel, person: Person, *, live: bool = True, silent: bool = False) -> list[Route]:
    """List where somebody is reached on a channel.

    Args:
        live: what stands in the inbox is shown to open sessions at once; ``silent`` draws no attention to it.
    """
    match channel:
        case Channel.REALTIME:
            return [Route("", UserInbox(user_id=person.user_id, live=live, silent=silent or None))]
        case Channel.EMAIL:
            return [Route("", EmailAddress(email=person.email, name=person.name))] if person.email else []
        case Channel.SMS:
            return [Route("", PhoneNumber(phone=person.phone))] if person.phone else []
        case Channel.PUSH:
            return [_route_to(device) for device in person.devices]


def device_address(platform: Platform, token: str | PushSubscription) -> MobileToken | WebSubscription:
    """Turn a device, as a publisher or the directory writes it, into the address of a push.

    Raises:
        ValueError: a text for browsers.
    """
    if isinstance(token, PushSubscription):
        return WebSubscription(endpoint=str(token.endpoint), p256dh=token.keys.p256dh, auth=token.keys.auth)
    if platform is Platform.WEB:
        raise ValueError("a browser is known by its subscription")
    return MobileToken(platform=platform, token=token)


def platform_of(address: Address) -> Platform | None:
    """Say for which devices an address is; None for one of another channel."""
    match address:
        case MobileToken(platform=platform):
            return platform
        case WebSubscription():
            return Platform.WEB
        case _:
            return None


def _route_to(device: Device) -> Route:
    if isinstance(device, WebDevice):
        return Route(device.identity, device_address(Platform.WEB, device.subscription))
    registered_ms = None if device.registered_at is None else epoch_ms(device.registered_at)
    address = MobileToken(
        platform=device.platform, token=device.token, environment=device.environment, registered_ms=registered_ms
    )
    return Route(device.identity, address)

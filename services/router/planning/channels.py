"""Which channels a notification takes to a person: a pure function of notification, person and audience.

The table is the wire contract's section 2. Every channel that the rules would take and cannot is written down with its
reason, so that a trace answers "why did I not get a mail".
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

from services.router.planning.compose import device_address, is_urgent
from services.router.planning.tasks import People
from shared.core.clock import epoch_ms
from shared.core.errors import Reason
from shared.core.model import (
    Address,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    Feed,
    Notification,
    PhoneNumber,
    Platform,
    Priority,
    State,
    UserInbox,
)
from shared.directory.people import Device, Person, WebDevice
from shared.ledger.ledger import NewRow

ALL_CHANNELS = tuple(Channel)

# Whose push may wait a moment for somebody who sees the notification on his screen anyhow.
MAY_WAIT = frozenset({Priority.LOW, Priority.NORMAL})
Texts = Callable[[Channel, Person], Content | None]
"""Says what a channel says to somebody in place of the notification's own content; None for nothing else."""


def plan_person(
    notification: Notification,
    user_id: str,
    person: Person | None,
    audience: People,
    expires_ms: int,
    *,
    channels: Sequence[Channel] | None = None,
    texts: Texts = lambda _channel, _person: None,
    hold_until_ms: int = 0,
) -> list[NewRow]:
    """Decide the deliveries to one person.

    Args:
        person: the directory's record, None for somebody unknown.
        channels: only these, beside what the publisher said (an escalation step's, or a fan-out's).
        texts: the person's own texts, of a notification with a template.
        hold_until_ms: until when a push that may wait does, because the person is looking; 0 for somebody who is not.
    """
    planner = _Planner(notification, user_id, audience.round, expires_ms)
    if person is None:
        return [planner.suppressed(Channel.REALTIME, Reason.UNKNOWN_RECIPIENT)]
    asked = notification.channels
    held_ms = hold_until_ms if hold_until_ms < expires_ms and _may_wait(notification, person, audience) else 0
    rows: list[NewRow] = []
    for channel in ALL_CHANNELS:
        if (asked is not None and channel not in asked) or (channels is not None and channel not in channels):
            continue
        if not _takes(channel, notification.priority, audience):
            if asked is not None:
                rows.append(planner.suppressed(channel, Reason.CHANNEL_RULE))
            continue
        if not audience.regardless and not _wants(channel, person):
            rows.append(planner.suppressed(channel, Reason.PREFERENCE_OFF))
            continue
        addresses = _addresses(channel, person, audience)
        if not addresses:
            rows.append(planner.suppressed(channel, Reason.NO_ADDRESS))
            continue
        content = texts(channel, person)
        due_ms = held_ms if channel is Channel.PUSH else 0
        rows += [planner.delivery(channel, name, address, content, due_ms) for name, address in addresses]
    return rows


def plan_feed(notification: Notification, groups: tuple[str, ...] | None, expires_ms: int) -> NewRow:
    """Write the one realtime delivery of a broadcast, which everybody concerned reads."""
    return NewRow(
        Delivery(
            key="realtime:*",
            channel=Channel.REALTIME,
            priority=notification.priority,
            address=Feed(groups=groups),
            expires_ms=expires_ms,
        )
    )


def nobody(notification: Notification, expires_ms: int) -> NewRow:
    """Write down that there was nobody to tell, which an operator must be able to see."""
    return _Planner(notification, "nobody", 0, expires_ms).suppressed(Channel.REALTIME, Reason.NO_RECIPIENT)


def crowd_channels(notification: Notification) -> tuple[Channel, ...]:
    """Say which channels of a broadcast are planned person by person; realtime is the feed's."""
    wanted = {Channel.PUSH}
    if is_urgent(notification.priority):
        wanted.add(Channel.EMAIL)
    if notification.priority is Priority.CRITICAL:
        wanted.add(Channel.SMS)
    return tuple(sorted(wanted & set(notification.channels or ALL_CHANNELS)))


def _takes(channel: Channel, priority: Priority, audience: People) -> bool:
    if audience.only_push is not None:
        return channel is Channel.PUSH
    if audience.regardless:
        return True
    match channel:
        case Channel.REALTIME | Channel.PUSH:
            return True
        case Channel.EMAIL:
            return is_urgent(priority)
        case Channel.SMS:
            return priority is Priority.CRITICAL


def _wants(channel: Channel, person: Person) -> bool:
    # Realtime off means "not live": the inbox always gets it.
    return channel is Channel.REALTIME or bool(getattr(person.preferences, channel.value))


def _may_wait(notification: Notification, person: Person, audience: People) -> bool:
    """Tell whether a push may wait until the notification was read: it must be shown live, and not be urgent."""
    is_shown = audience.only_push is None and Channel.REALTIME in (notification.channels or ALL_CHANNELS)
    return notification.priority in MAY_WAIT and is_shown and person.preferences.realtime and not audience.regardless


def _addresses(channel: Channel, person: Person, audience: People) -> list[tuple[str, Address]]:
    match channel:
        case Channel.REALTIME:
            live = audience.regardless or person.preferences.realtime
            return [("", UserInbox(user_id=person.user_id, live=live))]
        case Channel.EMAIL:
            return [("", EmailAddress(email=person.email, name=person.name))] if person.email else []
        case Channel.SMS:
            return [("", PhoneNumber(phone=person.phone))] if person.phone else []
        case Channel.PUSH:
            return [_device(device) for device in person.devices if audience.only_push in (None, device.platform)]


def _device(device: Device) -> tuple[str, Address]:
    registered_ms = None if device.registered_at is None else epoch_ms(device.registered_at)
    if isinstance(device, WebDevice):
        address: Address = device_address(Platform.WEB, device.subscription)
    else:
        mobile = device_address(device.platform, device.token)
        address = mobile.model_copy(update={"environment": device.environment, "registered_ms": registered_ms})
    # A delivery's key is logged; a token is not.
    return ":" + blake2b(device.identity.encode(), digest_size=5).hexdigest(), address


class _Planner:
    """Names and writes the rows of one person."""

    def __init__(self, notification: Notification, user_id: str, round_: int, expires_ms: int) -> None:
        self._notification = notification
        self._user_id = user_id
        self._round = round_
        self._expires_ms = expires_ms

    def delivery(self, channel: Channel, name: str, address: Address, content: Content | None, held_ms: int) -> NewRow:
        return NewRow(self._row(channel, name, address, content, held_ms))

    def suppressed(self, channel: Channel, reason: Reason) -> NewRow:
        return NewRow(self._row(channel, "", UserInbox(user_id=self._user_id)), State.SUPPRESSED, reason)

    def _row(
        self, channel: Channel, name: str, address: Address, content: Content | None = None, held_ms: int = 0
    ) -> Delivery:
        # The inbox holds a notification once, however often an escalation tells the same person.
        again = f"@{self._round}" if self._round and channel is not Channel.REALTIME else ""
        return Delivery(
            key=f"{channel.value}:{self._user_id}{name}{again}",
            channel=channel,
            priority=self._notification.priority,
            address=address,
            recipient=self._user_id,
            content=content,
            due_ms=held_ms,
            expires_ms=self._expires_ms,
            unless_seen=True if held_ms else None,
        )

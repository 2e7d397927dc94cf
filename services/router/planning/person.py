"""Turns a notification and a person into the rows of that person: a pure function.

The stages decide (``stages``). If the rules ask for a channel that cannot be used, a row keeps the reason and the rule
that decided, so that a trace answers "why did I not get a mail".
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

from services.router.planning.stages import (
    ALL_CHANNELS,
    NO_FACTS,
    STAGES,
    Candidate,
    Decision,
    Facts,
    Hold,
    Keep,
    Stage,
    Suppress,
    decide,
    takes,
)
from services.router.planning.tasks import People
from shared.core.errors import Reason
from shared.core.model import Address, Channel, Content, Delivery, Feed, Notification, State, UserInbox
from shared.directory.people import Person
from shared.directory.routes import Route
from shared.ledger.ledger import NewRow

Texts = Callable[[Channel, Person], Content | None]
"""Says what a channel says to somebody in place of the notification's own content; None for nothing else."""

_ANYBODY = People(user_ids=())


def plan_person(
    notification: Notification,
    user_id: str,
    person: Person | None,
    audience: People,
    expires_ms: int,
    *,
    channels: Sequence[Channel] | None = None,
    texts: Texts = lambda _channel, _person: None,
    facts: Facts = NO_FACTS,
    stages: Sequence[Stage] = STAGES,
) -> list[NewRow]:
    """Decide the deliveries to one person.

    Args:
        person: the directory's record, None for somebody unknown.
        channels: only these, beside what the publisher said (an escalation step's, or a fan-out's).
        texts: the person's own texts, of a notification with a template.
        facts: what was looked up about the person beside the record.
        stages: what decides about each channel.
    """
    writer = _Writer(notification, user_id, audience.round, expires_ms)
    if person is None:
        return [writer.suppressed(Channel.REALTIME, Suppress(Reason.UNKNOWN_RECIPIENT, "directory:user"))]
    asked = notification.channels
    rows: list[NewRow] = []
    for channel in ALL_CHANNELS:
        if (asked is not None and channel not in asked) or (channels is not None and channel not in channels):
            continue
        candidate = Candidate(notification, audience, person, channel, expires_ms, facts)
        decision = decide(candidate, stages)
        if isinstance(decision, Suppress):
            if decision.is_recorded:
                rows.append(writer.suppressed(channel, decision))
            continue
        content = texts(channel, person)
        rows += [writer.delivery(channel, route, content, decision) for route in candidate.routes]
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
    nobody_told = Suppress(Reason.NO_RECIPIENT, "directory:oncall")
    return _Writer(notification, "nobody", 0, expires_ms).suppressed(Channel.REALTIME, nobody_told)


def crowd_channels(notification: Notification) -> tuple[Channel, ...]:
    """Say which channels of a broadcast are planned person by person; realtime is the feed's."""
    wanted = {channel for channel in ALL_CHANNELS if takes(channel, notification.priority, _ANYBODY)}
    return tuple(sorted((wanted - {Channel.REALTIME}) & set(notification.channels or ALL_CHANNELS)))


class _Writer:
    """Names and writes the rows of one person."""

    def __init__(self, notification: Notification, user_id: str, round_: int, expires_ms: int) -> None:
        self._notification = notification
        self._user_id = user_id
        self._round = round_
        self._expires_ms = expires_ms

    def delivery(self, channel: Channel, route: Route, content: Content | None, decision: Decision) -> NewRow:
        # A delivery's key is logged; a token is not.
        name = ":" + blake2b(route.device.encode(), digest_size=5).hexdigest() if route.device else ""
        return NewRow(self._row(channel, name, route.address, content, decision))

    def suppressed(self, channel: Channel, why: Suppress) -> NewRow:
        row = self._row(channel, "", UserInbox(user_id=self._user_id), None, why)
        return NewRow(row, State.SUPPRESSED, why.reason)

    def _row(
        self, channel: Channel, name: str, address: Address, content: Content | None, decision: Decision
    ) -> Delivery:
        # The inbox holds a notification once, however often an escalation tells the same person.
        again = f"@{self._round}" if self._round and channel is not Channel.REALTIME else ""
        hold = decision if isinstance(decision, Hold) else None
        return Delivery(
            key=f"{channel.value}:{self._user_id}{name}{again}",
            channel=channel,
            priority=self._notification.priority,
            address=address,
            recipient=self._user_id,
            content=content,
            due_ms=hold.until_ms if hold else 0,
            expires_ms=self._expires_ms,
            unless_seen=True if hold and hold.unless_seen else None,
            rule=None if isinstance(decision, Keep) else decision.rule,
        )

"""The stages by which each channel of each person is decided, in their order: one pure function each.

A stage is asked about one candidate: a channel by which a person could be told. It keeps the channel, suppresses it, or
holds it until a time. All facts were looked up for the whole batch before. The first stage that suppresses decides. If
several hold, the longest hold counts. The rule that decided is written down with the row, for example
``user:preference`` or ``priority:normal``. Traces and receipts name it.

To add a rule, write a function and add it to ``STAGES`` at its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.router.planning.tasks import People
from shared.core.errors import Reason
from shared.core.model import Channel, Notification, Priority
from shared.directory.people import Person
from shared.directory.routes import Route, platform_of, routes, wants

# Priorities whose push may wait a moment for somebody who sees the notification on the screen anyhow.
MAY_WAIT = frozenset({Priority.LOW, Priority.NORMAL})

ALL_CHANNELS = tuple(Channel)


@dataclass(frozen=True, slots=True)
class Keep:
    """The next stage is asked; after the last one the channel is taken."""


@dataclass(frozen=True, slots=True)
class Suppress:
    """The channel is not taken.

    Attributes:
        rule: who decided.
        is_recorded: false where nobody expected this channel, so that there is nothing to explain.
    """

    reason: Reason
    rule: str
    is_recorded: bool = True


@dataclass(frozen=True, slots=True)
class Hold:
    """The channel is taken later.

    Attributes:
        until_ms: milliseconds since 1970.
        rule: who decided.
        unless_seen: not at all if the person has read the notification by then.
    """

    until_ms: int
    rule: str
    unless_seen: bool = False


Decision = Keep | Suppress | Hold
KEEP = Keep()
_NOT_ASKED_FOR = Suppress(Reason.CHANNEL_RULE, "", is_recorded=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """What was looked up about one person for a batch, beside the directory's record.

    Attributes:
        looks_until_ms: until when the person is taken to look at the screen; 0 for somebody who does not.
    """

    looks_until_ms: int = 0


NO_FACTS = Facts()


@dataclass(slots=True)
class Candidate:
    """One channel by which one person could be told.

    Attributes:
        expires_ms: the deadline of the delivery, milliseconds since 1970.
    """

    notification: Notification
    audience: People
    person: Person
    channel: Channel
    expires_ms: int
    facts: Facts
    # Written once for all who ask; ``cached_property`` takes a lock for it (Python 3.11), which costs more.
    _routes: list[Route] | None = None

    @property
    def routes(self) -> list[Route]:
        """Where the person is reached."""
        if self._routes is None:
            found = routes(self.channel, self.person, regardless=self.audience.regardless)
            only = self.audience.only_push
            self._routes = found if only is None else [each for each in found if platform_of(each.address) is only]
        return self._routes


Stage = Callable[[Candidate], Decision]


def channel_rule(candidate: Candidate) -> Decision:
    """Take the channels that priority and topic ask for (docs/guides/publishing.md)."""
    if takes(candidate.channel, candidate.notification.priority, candidate.audience):
        return KEEP
    if candidate.notification.channels is None:
        return _NOT_ASKED_FOR
    only = candidate.audience.only_push
    rule = f"priority:{candidate.notification.priority}" if only is None else f"topic:{only}"
    return Suppress(Reason.CHANNEL_RULE, rule)


def preference(candidate: Candidate) -> Decision:
    """Leave out what the person has switched off, but for critical alerts."""
    if candidate.audience.regardless or wants(candidate.channel, candidate.person):
        return KEEP
    return Suppress(Reason.PREFERENCE_OFF, "user:preference")


def address(candidate: Candidate) -> Decision:
    """Leave out a channel on which the person cannot be reached."""
    return KEEP if candidate.routes else Suppress(Reason.NO_ADDRESS, "user:address")


def presence(candidate: Candidate) -> Decision:
    """Hold a push that is not urgent while the person looks at the screen, where the notification is shown."""
    until_ms = candidate.facts.looks_until_ms
    if candidate.channel is not Channel.PUSH or not 0 < until_ms < candidate.expires_ms:
        return KEEP
    notification, audience = candidate.notification, candidate.audience
    is_shown = audience.only_push is None and Channel.REALTIME in (notification.channels or ALL_CHANNELS)
    may_wait = notification.priority in MAY_WAIT and is_shown and not audience.regardless
    if not (may_wait and candidate.person.preferences.realtime):
        return KEEP
    return Hold(until_ms, "presence:focus", unless_seen=True)


STAGES: tuple[Stage, ...] = (channel_rule, preference, address, presence)


def decide(candidate: Candidate, stages: Sequence[Stage] = STAGES) -> Decision:
    """Ask one stage after the other."""
    held: Hold | None = None
    for stage in stages:
        decision = stage(candidate)
        if decision is KEEP:
            continue
        if isinstance(decision, Suppress):
            return decision
        if isinstance(decision, Hold):
            held = decision if held is None else _both(held, decision)
    return held or KEEP


def _both(one: Hold, other: Hold) -> Hold:
    """Hold as long as both ask for. What was read meanwhile is not sent if either says so."""
    longer = other if other.until_ms > one.until_ms else one
    return replace(longer, unless_seen=one.unless_seen or other.unless_seen)


def takes(channel: Channel, priority: Priority, audience: People) -> bool:
    """Tell whether priority and topic ask for a channel."""
    if audience.only_push is not None:
        return channel is Channel.PUSH
    if audience.regardless:
        return True
    match channel:
        case Channel.REALTIME | Channel.PUSH:
            return True
        case Channel.EMAIL:
            return priority in (Priority.HIGH, Priority.CRITICAL)
        case Channel.SMS:
            return priority is Priority.CRITICAL

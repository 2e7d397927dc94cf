"""The stages by which each channel of each person is decided, in their order: one pure function each.

A stage is asked about one candidate: a channel by which a person could be told. It keeps the channel, suppresses it,
holds it until a time, or folds it into a digest. All facts were looked up for the whole batch before. The first stage
that suppresses decides. If several hold, the longest hold counts. What is folded is not held: its digest meets the
quiet hours when it closes. The rule that decided is written down with the row, for example ``user:preference`` or
``category:billing``. Traces and receipts name it.

When a hold ends, the stages ``at_release`` are asked with the facts of that moment. When a digest closes, those
``of_digest`` are.

To add a rule, write a function and add it to ``STAGES`` at its place. The stage ``not_served`` goes by a setting, so
``serving`` puts it there.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from services.router.planning.facts import Facts, Limit, UnusableKey, value_at
from services.router.planning.tasks import People
from shared.core.channels import WITHOUT_RULE
from shared.core.errors import Reason
from shared.core.model import Channel, Notification, Priority
from shared.directory.categories import DigestSpec
from shared.directory.people import Person
from shared.directory.preferences import Choice, Rhythm
from shared.directory.routes import Route, platform_of, routes

# Priorities whose push may wait a moment for somebody who sees the notification on the screen anyhow.
MAY_WAIT = frozenset({Priority.LOW, Priority.NORMAL})

ALL_CHANNELS = tuple(Channel)


# A notification without a deadline waits so long at most: somebody may be away for good.
HELD_MOST_MS = 31 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Keep:
    """The next stage is asked; after the last one the channel is taken.

    Attributes:
        rule: who let it pass where something would have stopped it; empty where nothing would.
        silent: it draws no attention to itself.
    """

    rule: str = ""
    silent: bool = False


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
        rechecks: the stages are asked again then.
    """

    until_ms: int
    rule: str
    unless_seen: bool = False
    rechecks: bool = True


@dataclass(frozen=True, slots=True)
class Fold:
    """The channel goes into a digest.

    Attributes:
        key: of the digest, beside person, category and channel.
        rule: who decided.
        throttled: a throttle did.
    """

    key: str
    rule: str
    throttled: bool = False


Decision = Keep | Suppress | Hold | Fold
KEEP = Keep()
_NOT_ASKED_FOR = Suppress(Reason.CHANNEL_RULE, "", is_recorded=False)


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
    _choice: Choice | None = None

    @property
    def choice(self) -> Choice:
        """Whether the person wants the channel, and who has decided it."""
        if self._choice is None:
            self._choice = self.choice_of(self.channel)
        return self._choice

    def choice_of(self, channel: Channel) -> Choice:
        """Return the same for another channel."""
        return self.person.choice(channel, self.notification.content.category, self.facts.category)

    @property
    def is_critical(self) -> bool:
        """Tell whether nothing may hold it up."""
        return self.audience.regardless or self.notification.priority is Priority.CRITICAL

    @property
    def routes(self) -> list[Route]:
        """Where the person is reached."""
        if self._routes is None:
            live = self.channel is not Channel.REALTIME or self.audience.regardless or self.choice.on
            found = routes(self.channel, self.person, live=live)
            only = self.audience.only_push
            self._routes = found if only is None else [each for each in found if platform_of(each.address) is only]
        return self._routes


Stage = Callable[[Candidate], Decision]


def channel_rule(candidate: Candidate) -> Decision:
    """Take the channels that priority, topic and category ask for (docs/guides/publishing.md)."""
    channel, priority, audience = candidate.channel, candidate.notification.priority, candidate.audience
    if takes(channel, priority, audience):
        return KEEP
    category = candidate.facts.category
    if category is not None and audience.only_push is None:
        if category.record.channels.of(channel):
            return Keep(category.rule(f"channels.{channel}"))
        if candidate.choice.on and candidate.choice.for_category:
            return Keep(candidate.choice.rule)
    if candidate.notification.channels is None:
        return _NOT_ASKED_FOR
    rule = f"priority:{priority}" if audience.only_push is None else f"topic:{audience.only_push}"
    return Suppress(Reason.CHANNEL_RULE, rule)


def not_served(without: Collection[Channel]) -> Stage:
    """Return the stage that leaves out these channels: this system does without them."""

    def stage(candidate: Candidate) -> Decision:
        return Suppress(Reason.NOT_SERVED, WITHOUT_RULE) if candidate.channel in without else KEEP

    return stage


def preference(candidate: Candidate) -> Decision:
    """Leave out what the person, or the category for those who chose nothing, has switched off; not critical alerts."""
    # Realtime off means "not live": the inbox always gets it.
    if candidate.audience.regardless or candidate.channel is Channel.REALTIME or candidate.choice.on:
        return KEEP
    return Suppress(Reason.PREFERENCE_OFF, candidate.choice.rule)


def address(candidate: Candidate) -> Decision:
    """Leave out a channel on which the person cannot be reached."""
    return KEEP if candidate.routes else Suppress(Reason.NO_ADDRESS, "user:address")


def throttle(candidate: Candidate) -> Decision:
    """Drop, hold or fold what is more than a throttle lets through; what is critical is counted and passes."""
    if not candidate.facts.limits or candidate.is_critical:
        return KEEP
    stopping = [limit for limit in candidate.facts.limits if limit.at_ms != 0]
    # What one of them drops is not heard later either.
    stopping.sort(key=lambda limit: limit.then != "drop")
    return _throttled(candidate, stopping[0]) if stopping else KEEP


def _throttled(candidate: Candidate, limit: Limit) -> Decision:
    if limit.then == "drop":
        return Suppress(Reason.THROTTLED, limit.rule)
    if candidate.channel is Channel.REALTIME:
        # It disturbs nobody there.
        return Keep(limit.rule, silent=True)
    if limit.then == "fold":
        return Fold(_digest_key(candidate, _digest_spec(candidate)), limit.rule, throttled=True)
    # Its turn does not come before its deadline; without one, too many wait.
    until_ms = limit.at_ms or candidate.notification.deadline_ms
    return Hold(until_ms, limit.rule, unless_seen=True) if until_ms else Suppress(Reason.THROTTLED, limit.rule)


def quiet_hours(candidate: Candidate) -> Decision:
    """Hold what can wait until a person's quiet time ends; the inbox gets it at once, silently."""
    quiet, category = candidate.facts.quiet, candidate.facts.category
    if quiet is None:
        return KEEP
    if candidate.is_critical:
        return Keep("priority:critical")
    if category is not None and category.record.quiet_hours == "ignore":
        return Keep(category.rule("quiet_hours"))
    if candidate.channel is Channel.REALTIME:
        return Keep(quiet.rule, silent=True)
    name = f"{candidate.notification.id}|{candidate.person.user_id}|{candidate.channel}"
    return Hold(quiet.until_ms + _time_of_its_own(name, quiet.within_ms), quiet.rule, unless_seen=True)


def _time_of_its_own(name: str, within_ms: int) -> int:
    """Give a name a time below ``within_ms``, always the same."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest()) * within_ms >> 48


def digest(candidate: Candidate) -> Decision:
    """Fold what a category puts together, as often as the person wants to hear of it."""
    spec = _digest_spec(candidate)
    category = candidate.facts.category
    if spec is None or category is None or candidate.is_critical or candidate.channel not in spec.channels:
        return KEEP
    if rhythm_of(candidate.person, category.name) == "instant":
        return Keep(f"user:digest:{category.name}")
    return Fold(_digest_key(candidate, spec), category.rule("digest"))


def _digest_spec(candidate: Candidate) -> DigestSpec | None:
    category = candidate.facts.category
    return None if category is None else category.record.digest


def _digest_key(candidate: Candidate, spec: DigestSpec | None) -> str:
    try:
        return value_at(candidate.notification.content.data, spec.key if spec else None)
    except UnusableKey:
        # It was usable when the notification was accepted; the category has changed since.
        return ""


def rhythm_of(person: Person, category: str) -> Rhythm | None:
    """Return how often a person wants the digest of a category; None where nobody chose."""
    return person.rhythm(category)


def presence(candidate: Candidate) -> Decision:
    """Hold a push that is not urgent while the person looks at the screen, where the notification is shown."""
    until_ms = candidate.facts.looks_until_ms
    if candidate.channel is not Channel.PUSH or not 0 < until_ms < candidate.expires_ms:
        return KEEP
    notification, audience = candidate.notification, candidate.audience
    is_shown = audience.only_push is None and Channel.REALTIME in (notification.channels or ALL_CHANNELS)
    may_wait = notification.priority in MAY_WAIT and is_shown and not audience.regardless
    if not (may_wait and candidate.choice_of(Channel.REALTIME).on):
        return KEEP
    return Hold(until_ms, "presence:focus", unless_seen=True, rechecks=False)


STAGES: tuple[Stage, ...] = (channel_rule, preference, address, throttle, quiet_hours, digest, presence)


def serving(without: Collection[Channel], stages: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """Return the stages of a system that does without these channels.

    Only a channel that is asked for is missed, so ``not_served`` stands behind ``channel_rule``.
    """
    if not without:
        return tuple(stages)
    place = stages.index(channel_rule) + 1 if channel_rule in stages else 0
    return (*stages[:place], not_served(without), *stages[place:])


# What the publish asked for was decided at its acceptance, and it was counted then.
_DECIDED_BEFORE = frozenset({channel_rule, throttle})


def at_release(stages: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """Return the stages that are asked again when a hold ends."""
    return tuple(stage for stage in stages if stage not in _DECIDED_BEFORE)


def of_digest(stages: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """Return the stages that are asked when a digest closes, or for what leaves one alone."""
    return tuple(stage for stage in at_release(stages) if stage is not digest)


def decide(candidate: Candidate, stages: Sequence[Stage] = STAGES) -> Decision:
    """Ask one stage after the other."""
    held: Hold | None = None
    kept = KEEP
    folded: Fold | None = None
    for stage in stages:
        decision = stage(candidate)
        if decision is KEEP:
            continue
        match decision:
            case Suppress():
                return decision
            case Hold():
                held = decision if held is None else _both(held, decision)
            case Fold():
                folded = folded or decision
            case Keep():
                kept = Keep(kept.rule or decision.rule, silent=kept.silent or decision.silent)
    return folded or held or kept


def _both(one: Hold, other: Hold) -> Hold:
    """Hold as long as both ask for. What was read meanwhile is not sent if either says so."""
    longer = other if other.until_ms > one.until_ms else one
    unless_seen, rechecks = one.unless_seen or other.unless_seen, one.rechecks or other.rechecks
    return replace(longer, unless_seen=unless_seen, rechecks=rechecks)


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

"""Turns a notification and a person into the rows of that person: a pure function.

The stages decide (``stages``). If the rules ask for a channel that cannot be used, a row keeps the reason and the rule
that decided, so that a trace answers "why did I not get a mail".
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

from services.router.planning.facts import NO_FACTS, Facts
from services.router.planning.stages import (
    ALL_CHANNELS,
    HELD_MOST_MS,
    STAGES,
    Candidate,
    Decision,
    Fold,
    Hold,
    Keep,
    Stage,
    Suppress,
    decide,
    takes,
)
from services.router.planning.tasks import Fold as FoldTask
from services.router.planning.tasks import People, Recheck, Task
from shared.core.channels import WITHOUT_RULE
from shared.core.errors import Reason
from shared.core.model import Address, Channel, Content, Delivery, Feed, Notification, State, UserInbox
from shared.directory.categories import KnownCategory
from shared.directory.people import Person
from shared.directory.routes import Route
from shared.ledger.new_records import NO_POLICY, TASK_LIFETIME_MS, NewRow

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
    lifetime_ms: int | None = None,
    since_ms: int = 0,
    released_ms: int = 0,
) -> list[NewRow]:
    """Decide the deliveries to one person.

    Args:
        person: the directory's record, None for somebody unknown.
        channels: only these, beside what the publisher said (an escalation step's, or a fan-out's).
        texts: the person's own texts, of a notification with a template.
        facts: what was looked up about the person beside the record.
        stages: what decides about each channel.
        lifetime_ms: how long a delivery without a deadline of its own is tried; None where nothing can be held.
        since_ms: when the notification was to be sent; 0 is when it was accepted.
        released_ms: when it was held until; nothing is sent any more that the person has read meanwhile. 0 for what was
            not held.
    """
    writer = _Writer(notification, user_id, audience, expires_ms, facts, since_ms=since_ms, released_ms=released_ms)
    if person is None:
        # Of somebody who has left meanwhile the one channel that was held.
        channel = channels[0] if channels is not None and len(channels) == 1 else Channel.REALTIME
        return [writer.suppressed(channel, Suppress(Reason.UNKNOWN_RECIPIENT, "directory:user"))]
    asked = notification.channels
    rows: list[NewRow] = []
    for channel in ALL_CHANNELS:
        if (asked is not None and channel not in asked) or (channels is not None and channel not in channels):
            continue
        candidate = Candidate(notification, audience, person, channel, expires_ms, facts)
        decision = decide(candidate, stages)
        match decision:
            case Suppress():
                if decision.is_recorded:
                    rows.append(writer.suppressed(channel, decision))
            case Fold():
                rows.append(writer.folded(channel, decision, lifetime_ms or 0))
            case Hold() if decision.rechecks:
                rows.append(writer.held(channel, decision, lifetime_ms or 0))
            case _:
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


def left_out(notification: Notification, groups: tuple[str, ...] | None, channel: Channel, expires_ms: int) -> NewRow:
    """Write down, once for a whole crowd, that this system does without a channel that would have told it."""
    row = Delivery(
        key=f"{channel}:*",
        channel=channel,
        priority=notification.priority,
        address=Feed(groups=groups),
        expires_ms=expires_ms,
        rule=WITHOUT_RULE,
    )
    return NewRow(row, State.SUPPRESSED, Reason.NOT_SERVED)


def nobody(notification: Notification, expires_ms: int) -> NewRow:
    """Write down that there was nobody to tell, which an operator must be able to see."""
    nobody_told = Suppress(Reason.NO_RECIPIENT, "directory:oncall")
    return _Writer(notification, "nobody", _ANYBODY, expires_ms, NO_FACTS).suppressed(Channel.REALTIME, nobody_told)


def crowd_channels(notification: Notification, category: KnownCategory | None) -> tuple[Channel, ...]:
    """Say which channels of a broadcast are planned person by person; realtime is the feed's.

    With a category that may be any: it widens the rule of priorities, and so does a person's choice for it.
    """
    taken = {channel for channel in ALL_CHANNELS if category or takes(channel, notification.priority, _ANYBODY)}
    return tuple(sorted((taken - {Channel.REALTIME}) & set(notification.channels or ALL_CHANNELS)))


class _Writer:
    """Names and writes the rows of one person."""

    def __init__(
        self,
        notification: Notification,
        user_id: str,
        audience: People,
        expires_ms: int,
        facts: Facts,
        *,
        since_ms: int = 0,
        released_ms: int = 0,
    ) -> None:
        self._notification = notification
        self._user_id = user_id
        self._audience = audience
        self._expires_ms = expires_ms
        self._since_ms = since_ms
        self._released_ms = released_ms
        self._policy = facts.category.record.policy if facts.category is not None else NO_POLICY
        self._required = True if self._policy == "required" else None

    def delivery(self, channel: Channel, route: Route, content: Content | None, decision: Decision) -> NewRow:
        # A delivery's key is logged; a token is not.
        name = ":" + blake2b(route.device.encode(), digest_size=5).hexdigest() if route.device else ""
        address = route.address
        if isinstance(address, UserInbox) and isinstance(decision, Keep) and decision.silent:
            address = address.model_copy(update={"silent": True})
        return NewRow(self._row(channel, name, address, content, decision))

    def suppressed(self, channel: Channel, why: Suppress) -> NewRow:
        return self._ended(channel, State.SUPPRESSED, why.reason, why)

    def held(self, channel: Channel, hold: Hold, lifetime_ms: int) -> NewRow:
        since_ms = self._since_ms or self._notification.accepted_ms
        deadline_ms = self._notification.deadline_ms or since_ms + HELD_MOST_MS
        if hold.until_ms >= deadline_ms:
            # Now, and not at the deadline: there is nothing more to wait for.
            return self._ended(channel, State.EXPIRED, Reason.EXPIRED, hold)
        what = Recheck(
            user_id=self._user_id,
            channel=channel,
            lifetime_ms=lifetime_ms,
            since_ms=self._since_ms,
            only_push=self._audience.only_push,
            rule=hold.rule,
        )
        return self._task("held", channel, what, hold.until_ms)

    def folded(self, channel: Channel, fold: Fold, lifetime_ms: int) -> NewRow:
        what = FoldTask(
            user_id=self._user_id,
            channel=channel,
            lifetime_ms=lifetime_ms,
            since_ms=self._since_ms,
            key=fold.key,
            throttled=fold.throttled,
            only_push=self._audience.only_push,
            rule=fold.rule,
        )
        # What went out alone and was held is folded once more.
        name = f"fold@{self._released_ms}" if self._released_ms else "fold"
        return self._task(name, channel, what, 0)

    def _task(self, name: str, channel: Channel, what: Recheck | FoldTask, due_ms: int) -> NewRow:
        expires_ms = self._expires_ms
        if self._notification.deadline_ms is None:
            # Waiting uses nothing up of the time for which its delivery is tried.
            expires_ms = max(expires_ms, due_ms + TASK_LIFETIME_MS)
        key = f"{name}:{channel.value}:{self._user_id}"
        if due_ms:
            # It may be held again, and until the same time.
            key += f":{due_ms}" + (f"@{self._released_ms}" if self._released_ms else "")
        task = Task(key=key, priority=self._notification.priority, due_ms=due_ms, expires_ms=expires_ms, what=what)
        return NewRow(task, policy=self._policy)

    def _ended(self, channel: Channel, state: State, reason: Reason, why: Suppress | Hold) -> NewRow:
        row = self._row(channel, "", UserInbox(user_id=self._user_id), None, Suppress(reason, why.rule))
        return NewRow(row, state, reason, policy=self._policy)

    def _row(
        self, channel: Channel, name: str, address: Address, content: Content | None, decision: Decision
    ) -> Delivery:
        # The inbox holds a notification once, however often an escalation tells the same person.
        again = self._audience.again if channel is not Channel.REALTIME else ""
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
            unless_seen=True if self._released_ms or (hold and hold.unless_seen) else None,
            rule=decision.rule or None,
            required=self._required,
            next_level=self._audience.next_level if not isinstance(decision, Suppress) else None,
        )

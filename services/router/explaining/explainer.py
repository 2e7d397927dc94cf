"""Explains a publish before it is made: what each person would get on each channel, and which rule says so.

It is the very planner that the router uses, and the payload is checked as the router does. Nothing is written and
nothing counted: throttles are asked what they would answer. What it cannot know is what a provider will say, and what
changes between now and then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.router.alerts.noise import Mute
from services.router.explaining.deciding import Decided, Decisions, Verdict
from services.router.intake.admission import NO_RECORD, check_priority, check_served, check_topic
from services.router.intake.records import priorities, tenant_of
from services.router.intake.warnings import foreseen
from services.router.payloads import notifications
from services.router.payloads.parse import read
from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode
from services.router.planning.compose import compose
from services.router.planning.known import Known
from services.router.planning.planner import Planner
from services.router.planning.tasks import Crowd, Escalation, Task
from shared.core.clock import Clock, epoch_ms, from_epoch_ms
from shared.core.model import Channel, Notification, Priority
from shared.core.topics import Topics
from shared.directory.publishers import Publishers
from shared.ledger.new_records import NewRow
from shared.store.windows import Ask, Counted, Windows

# What happens now where no time is given.
_AT_ONCE = (Verdict.SEND, Verdict.SILENT, Verdict.ESCALATES)

# Of a crowd so many people are decided where nobody is named.
CROWD_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of a publish.

    Attributes:
        refused: the router would refuse it.
        warnings: as they would stand in the receipt.
        more: there are more people than were decided.
    """

    priority: Priority | None = None
    category: str | None = None
    refused: Rejected | None = None
    warnings: Sequence[FieldProblem] = ()
    decided: Sequence[Decided] = field(default_factory=list)
    more: bool = False


class PeekingWindows(Windows):
    """Says what throttles would answer, and counts nothing."""

    async def count(self, asks: Sequence[Ask]) -> list[Counted]:
        """As ``peek``."""
        return await self.peek(asks)


class Explainer:
    """Explains publishes.

    Args:
        planner_at: makes the planner for a clock. Its windows must only peek.
        decisions: says what rows mean.
        lifetime_s: how long a delivery without a deadline is tried.
        clock: the moment that is meant.
    """

    def __init__(
        self,
        planner_at: Callable[[Clock], Planner],
        topics: Topics,
        publishers: Publishers,
        decisions: Decisions,
        *,
        lifetime_s: int,
        clock: Clock,
    ) -> None:
        self._planner_at = planner_at
        self._topics = topics
        self._publishers = publishers
        self._decisions = decisions
        self._lifetime_s = lifetime_s
        self._clock = clock

    async def explain(self, topic: str, payload: bytes, user_id: str | None = None) -> Explanation:
        """Say what would become of a publish.

        Args:
            user_id: only what this person gets.
        """
        try:
            return await self._explain(topic, payload, user_id)
        except Rejected as rejected:
            return Explanation(refused=rejected)

    async def _explain(self, topic: str, payload: bytes, user_id: str | None) -> Explanation:
        route = self._topics.parse(topic)
        if route is None:
            nearest = self._topics.nearest(topic)
            meant = f" Did you mean {nearest}?" if nearest else ""
            raise Rejected(RejectionCode.UNKNOWN_TOPIC, f"Nothing listens on this topic.{meant}")
        record = (await self._publishers.get([route.publisher])).get(route.publisher, NO_RECORD)
        check_topic(route.publisher, record, self._topics.plain(topic), self._topics.pattern(route.kind))
        found = read(route.kind, route.params, payload)
        publish = found.publish
        if not isinstance(publish, notifications.Notification):
            raise Rejected(RejectionCode.INVALID_PAYLOAD, "It tells nobody anything, so there is nothing to explain.")
        for priority in priorities(publish):
            check_priority(route.publisher, record, priority)
        planner = self._planner_at(self._clock)
        check_served(route.kind, planner.without)
        draft = compose(
            route.kind, publish, now_ms=epoch_ms(self._clock.now()), lifetime_s=self._lifetime_s,
            templates=planner.templates, publisher=route.publisher,
            tenant=tenant_of(route.publisher, record, publish.tenant),
        )  # fmt: skip
        known = await planner.look_up([draft])
        draft = planner.settled(draft, known)
        warnings = [*found.unread, *foreseen(publish, draft, known, planner.first_rows(draft, known), planner.without)]
        direct = planner.direct_rows(draft, known)
        notification, due_ms = draft.notification, draft.send_at_ms or None
        if due_ms is not None:
            # It is decided when its time has come.
            planner = self._planner_at(FixedClock(from_epoch_ms(due_ms)))
            known = await planner.look_up([replace(draft, send_at_ms=0)])
        more = False
        if isinstance(draft.audience, Crowd):
            user_ids = [user_id] if user_id is not None else await self._crowd(planner, draft.audience)
            more = len(user_ids) > CROWD_SHOWN
            known = await planner.lookups.of_people(notification, user_ids[:CROWD_SHOWN])
            rows = planner.crowd_rows(notification, draft.audience, draft.expires_ms, known)
        elif draft.audience is not None or draft.alert_type is not None:
            rows = planner.rows(
                notification, draft.audience, draft.alert_type, draft.expires_ms, known, due_ms=due_ms
            )  # fmt: skip
        else:
            rows = []
        decided = await self._decisions.decide(planner, notification, [*direct, *rows], known)
        decided = await self._with_next_levels(planner, notification, decided, rows, known)
        if due_ms is not None:
            decided = [_not_before(one, from_epoch_ms(due_ms)) for one in decided]
        return Explanation(
            priority=notification.priority,
            category=notification.content.category,
            warnings=warnings,
            decided=[one for one in decided if user_id is None or one.user_id in (user_id, None)],
            more=more,
        )

    async def _with_next_levels(
        self, planner: Planner, notification: Notification, decided: Sequence[Decided], rows: Sequence[NewRow],
        known: Known,
    ) -> list[Decided]:  # fmt: skip
        """Say who else is told at once, because nobody of the level before can be reached."""
        found = dict.fromkeys(decided)
        level: Sequence[Decided] = decided
        while (step := _next_step(rows)) is not None and _nobody_is_reached(level):
            planned = await planner.alerting.escalate(notification, step, known.escalations[step.alert_type])
            if isinstance(planned, Mute):
                break
            rows = planned
            found = {_at_once(one): None for one in found}
            level = await self._decisions.decide(planner, notification, rows, known)
            found |= dict.fromkeys(level)
        return list(found)

    @staticmethod
    async def _crowd(planner: Planner, crowd: Crowd) -> list[str]:
        """Return the first people of a crowd, and one more where there are more."""
        directory = planner.lookups.directory
        indexes = (
            directory.everybody() if crowd.groups is None else tuple(directory.group(each) for each in crowd.groups)
        )
        found: dict[str, None] = {}
        for members in indexes:
            found |= dict.fromkeys(await directory.page(members, "", CROWD_SHOWN + 1))
        return sorted(found)[: CROWD_SHOWN + 1]


def _next_step(rows: Sequence[NewRow]) -> Escalation | None:
    steps = [new.row.what for new in rows if isinstance(new.row, Task) and isinstance(new.row.what, Escalation)]
    return steps[0] if steps else None


def _nobody_is_reached(level: Sequence[Decided]) -> bool:
    """Tell whether a level comes to nothing; an inbox wakes nobody, so it does not count."""
    ended = (Verdict.SUPPRESSED, Verdict.EXPIRED, Verdict.ESCALATES)
    return all(one.verdict in ended for one in level if one.channel != Channel.REALTIME)


def _at_once(one: Decided) -> Decided:
    return replace(one, at=None) if one.verdict is Verdict.ESCALATES else one


def _not_before(one: Decided, due: datetime) -> Decided:
    return replace(one, at=due) if one.at is None and one.verdict in _AT_ONCE else one


@dataclass(frozen=True, slots=True)
class FixedClock:
    """Tells one moment."""

    at: datetime

    def now(self) -> datetime:
        """Return the moment."""
        return self.at

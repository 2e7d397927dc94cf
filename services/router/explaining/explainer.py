"""Explains a publish before it is made: what each person would get on each channel, and which rule says so.

It is the very planner that the router uses, and the payload is checked as the router does. Nothing is written and
nothing counted: throttles are asked what they would answer. What it cannot know is what a provider will say, and what
changes between now and then.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from services.router.intake.admission import NO_RECORD, check_priority, check_topic
from services.router.intake.intake import priorities, tenant_of
from services.router.intake.warnings import foreseen
from services.router.payloads import notifications
from services.router.payloads.parse import read
from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode
from services.router.planning.compose import compose
from services.router.planning.digesting import ends_at_ms
from services.router.planning.lookups import Known, listed, listed_as
from services.router.planning.planner import Planner
from services.router.planning.tasks import Crowd, Escalation, Fold, Recheck, Task
from shared.core.clock import Clock, epoch_ms, from_epoch_ms
from shared.core.model import Channel, Delivery, Notification, Priority, State, UserInbox
from shared.core.topics import Topics
from shared.directory.masking import masked
from shared.directory.publishers import Publishers
from shared.directory.suppression import Entry, Suppressions, refusal
from shared.ledger.ledger import NewRow
from shared.store.windows import Ask, Counted, Windows

# Of a crowd so many people are decided where nobody is named.
CROWD_SHOWN = 100


class Verdict(StrEnum):
    """What becomes of a channel."""

    SEND = "send"
    SILENT = "silent"
    """It stands in the inbox, and nothing draws attention to it."""
    HELD = "held"
    DIGEST = "digest"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    ESCALATES = "escalates"
    """The next people are told, unless somebody acknowledges."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of one channel of one person.

    Attributes:
        user_id: None for an address that the publisher gave, and for what everybody reads.
        rule: who decided; None where nothing stood against it.
        at: when it is sent, or told in a digest; None for at once, and for what is not sent.
        address: masked; empty where there is none.
    """

    user_id: str | None
    channel: str
    verdict: Verdict
    reason: str | None = None
    rule: str | None = None
    at: datetime | None = None
    address: str = ""


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
        lists: what the channels ask before a send.
        lifetime_s: how long a delivery without a deadline is tried.
        clock: the moment that is meant.
    """

    def __init__(
        self,
        planner_at: Callable[[Clock], Planner],
        topics: Topics,
        publishers: Publishers,
        lists: Mapping[Channel, Suppressions],
        *,
        lifetime_s: int,
        clock: Clock,
    ) -> None:
        self._planner_at = planner_at
        self._topics = topics
        self._publishers = publishers
        self._lists = lists
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
        draft = compose(
            route.kind, publish, now_ms=epoch_ms(self._clock.now()), lifetime_s=self._lifetime_s,
            templates=planner.templates, publisher=route.publisher,
            tenant=tenant_of(route.publisher, record, publish.tenant),
        )  # fmt: skip
        known = await planner.look_up([draft])
        draft = planner.settled(draft, known)
        warnings = [*found.unread, *foreseen(publish, draft, known, planner.first_rows(draft, known))]
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
        decided = await self._decided(notification, [*direct, *rows], known)
        return Explanation(
            priority=notification.priority,
            category=notification.content.category,
            warnings=warnings,
            decided=[one for one in decided if user_id is None or one.user_id in (user_id, None)],
            more=more,
        )

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

    async def _decided(self, notification: Notification, rows: Sequence[NewRow], known: Known) -> list[Decided]:
        """Say in words what rows mean, and what the channels will say to them."""
        addresses = {listed_as(new.row) for new in rows if isinstance(new.row, Delivery) and not new.state.is_end}
        unwanted = await listed(self._lists, addresses)
        found: dict[Decided, None] = {}
        for new in rows:
            if isinstance(new.row, Task):
                one = _of_task(notification, new.row, known)
            elif isinstance(new.row, Delivery):
                entries = unwanted.get(listed_as(new.row), ())
                one = _of_delivery(notification, new.row, new, entries)
            else:
                one = None
            if one is not None:
                found[one] = None
        return list(found)


def _of_task(notification: Notification, task: Task, known: Known) -> Decided | None:
    match task.what:
        case Recheck(user_id=user_id, channel=channel, rule=rule):
            return Decided(user_id, channel, Verdict.HELD, None, rule or None, from_epoch_ms(task.due_ms))
        case Fold(user_id=user_id, channel=channel, rule=rule) as what:
            ends_ms = ends_at_ms(notification, what, known)
            ends = None if ends_ms is None else from_epoch_ms(ends_ms)
            return Decided(user_id, channel, Verdict.DIGEST, None, rule or None, ends)
        case Escalation():
            return Decided(None, "", Verdict.ESCALATES, at=from_epoch_ms(task.due_ms))
        case _:
            return None


def _of_delivery(notification: Notification, row: Delivery, new: NewRow, entries: Sequence[Entry]) -> Decided:
    user_id, channel, rule = row.recipient, row.channel.value, row.rule
    if new.state is State.EXPIRED:
        return Decided(user_id, channel, Verdict.EXPIRED, new.reason, rule)
    if new.state.is_end:
        return Decided(user_id, channel, Verdict.SUPPRESSED, new.reason, rule)
    address = masked(row.address)
    category = (row.content or notification.content).category
    refused = refusal(row.channel, entries, row.priority, category, required=row.required is True)
    if refused is not None:
        return Decided(user_id, channel, Verdict.SUPPRESSED, refused, "address:suppression", address=address)
    if isinstance(row.address, UserInbox) and (row.address.silent or not row.address.live):
        return Decided(user_id, channel, Verdict.SILENT, None, rule)
    at = from_epoch_ms(row.due_ms) if row.due_ms else None
    verdict = Verdict.HELD if row.unless_seen and at is not None else Verdict.SEND
    return Decided(user_id, channel, verdict, None, rule, at, address)


@dataclass(frozen=True, slots=True)
class FixedClock:
    """Tells one moment."""

    at: datetime

    def now(self) -> datetime:
        """Return the moment."""
        return self.at

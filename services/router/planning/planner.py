"""Plans notifications with what the directory knows: audience in, rows out.

Every decision about recipients passes through here: when a notification is accepted, when a scheduled one is due, and
when an alert escalates. It reads the directory and writes nothing.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from services.router.alerts.oncall import Chain, Group, User, escalation, on_call
from services.router.planning.compose import NO_TEMPLATES, Draft
from services.router.planning.person import crowd_channels, nobody, plan_feed, plan_person
from services.router.planning.stages import MAY_WAIT, NO_FACTS, STAGES, Facts, Stage
from services.router.planning.tasks import CHAIN, Audience, Crowd, Escalation, FanOut, People, Plan, Task, write_chain
from services.router.planning.texts import Writer
from services.router.templates.folder import Templates
from shared.core.clock import Clock
from shared.core.errors import Reason
from shared.core.model import Channel, Delivery, EmailAddress, Notification, PhoneNumber, Priority, State
from shared.core.topics import Kind
from shared.directory.directory import Directory, Members
from shared.directory.people import Person
from shared.directory.suppression import Entry, Suppressions, digest
from shared.inbox.presence import Presence
from shared.ledger.ledger import NewRow

# How long a task may take until it is given up: its rows have their own deadlines.
TASK_LIFETIME = timedelta(days=7)

# Users whose records are read and planned in one step of a fan-out: some milliseconds of the router's time, so that a
# broadcast yields to single notifications.
FAN_OUT_PAGE = 200


@dataclass(frozen=True, slots=True)
class Known:
    """What was looked up for a batch: records of people, who answers for each type of alert, and who is looking.

    Attributes:
        empty_groups: groups that have nobody at the time.
        unwanted: what the suppression lists say of addresses that publishers gave, by ``listed_as``.
    """

    people: dict[str, Person]
    escalations: dict[str, Chain]
    oncall: dict[str, tuple[str, ...]]
    admins: tuple[str, ...]
    focused: frozenset[str] = frozenset()
    empty_groups: frozenset[str] = frozenset()
    unwanted: Mapping[tuple[Channel, str], Sequence[Entry]] = field(default_factory=dict)


# Later than any time that a publish may name.
NEVER_MS = 2**53


class Planner:
    """Plans on one directory.

    Args:
        escalation_after_s: when the admins are told again of an alert whose type has no escalation of its own.
        templates: what the texts of notifications that name one are written with.
        presence: who is looking; None holds no push back.
        push_hold_s: how long a push waits for somebody who is looking; 0 holds none back.
        suppressions: the lists that channels ask before a send, for warnings at acceptance.
        stages: what decides about each channel of each person.
    """

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        escalation_after_s: float,
        templates: Templates = NO_TEMPLATES,
        *,
        presence: Presence | None = None,
        push_hold_s: float = 0,
        suppressions: Mapping[Channel, Suppressions] = MappingProxyType({}),
        stages: Sequence[Stage] = STAGES,
    ) -> None:
        self._directory = directory
        self._templates = templates
        self._clock = clock
        self._escalation_after_s = escalation_after_s
        self._presence = presence if push_hold_s else None
        self._push_hold_ms = round(push_hold_s * 1000)
        self._suppressions = suppressions
        self._stages = stages

    async def look_up(self, drafts: Sequence[Draft]) -> Known:
        """Read what planning these drafts and their receipts need, in as few round trips as there are dependencies."""
        alert_types = {draft.alert_type for draft in drafts if draft.alert_type is not None}
        user_ids = {
            user_id for draft in drafts if isinstance(draft.audience, People) for user_id in draft.audience.user_ids
        }
        groups = {
            group for draft in drafts if isinstance(draft.audience, Crowd) for group in draft.audience.groups or ()
        }
        addresses = {listed_as(delivery) for draft in drafts for delivery in draft.direct}
        notifications = [draft.notification for draft in drafts]
        if not groups and not addresses:
            return await self._look_up(alert_types, user_ids, notifications)
        known, empty_groups, unwanted = await asyncio.gather(
            self._look_up(alert_types, user_ids, notifications),
            self._directory.empty_groups(sorted(groups)),
            self._unwanted(addresses),
        )
        return replace(known, empty_groups=empty_groups, unwanted=unwanted)

    async def _unwanted(self, addresses: Collection[tuple[Channel, str]]) -> dict[tuple[Channel, str], list[Entry]]:
        """Read what the suppression lists say of addresses, on all of their channels at the same time."""
        of_channel = {
            channel: [address for listed_on, address in addresses if listed_on is channel]
            for channel in self._suppressions
        }
        found = await asyncio.gather(
            *(self._suppressions[channel].listed(digests) for channel, digests in of_channel.items())
        )
        return {
            (channel, address): entries
            for channel, listed in zip(of_channel, found, strict=True)
            for address, entries in listed.items()
        }

    async def _look_up(self, alert_types: set[str], user_ids: set[str], notifications: Sequence[Notification]) -> Known:
        escalations: dict[str, Chain] = {}
        oncall: dict[str, tuple[str, ...]] = {}
        admins: tuple[str, ...] = ()
        if alert_types:
            entries, found_admins = await asyncio.gather(self._directory.oncall(alert_types), self._directory.admins())
            admins = tuple(found_admins)
            now = self._clock.now()
            for alert_type in alert_types:
                entry = entries.get(alert_type)
                escalations[alert_type] = escalation(entry, self._escalation_after_s)
                oncall[alert_type] = on_call(entry, now) if entry is not None else ()
            named = {
                target.user_id
                for chain in escalations.values()
                for step in chain.once
                for target in step.targets
                if isinstance(target, User)
            }
            user_ids = user_ids | set(admins) | named | {user_id for users in oncall.values() for user_id in users}
        people, focused = await self._people(sorted(user_ids), notifications)
        return Known(people, escalations, oncall, admins, focused)

    async def _people(
        self, user_ids: Sequence[str], notifications: Sequence[Notification]
    ) -> tuple[dict[str, Person], frozenset[str]]:
        """Read records and, where it matters, who is looking, in one round trip."""
        if not user_ids:
            return {}, frozenset()
        if self._presence is None or not any(one.priority in MAY_WAIT for one in notifications):
            return await self._directory.people(user_ids), frozenset()
        return await asyncio.gather(self._directory.people(user_ids), self._presence.focused(user_ids))

    def _facts(self, user_id: str, focused: frozenset[str]) -> Facts:
        if user_id not in focused:
            return NO_FACTS
        return Facts(looks_until_ms=round(self._clock.now().timestamp() * 1000) + self._push_hold_ms)

    def first_rows(self, draft: Draft, known: Known) -> list[NewRow]:
        """Decide what is written when a notification is accepted."""
        direct = [_direct(delivery, draft.notification) for delivery in draft.direct]
        if draft.audience is None and draft.alert_type is None:
            return direct
        if draft.send_at_ms:
            plan = Plan(audience=draft.audience, alert_type=draft.alert_type)
            task = Task(
                key="plan",
                priority=draft.notification.priority,
                due_ms=draft.send_at_ms,
                expires_ms=draft.expires_ms,
                what=plan,
            )
            return [*direct, NewRow(task)]
        return direct + self.rows(draft.notification, draft.audience, draft.alert_type, draft.expires_ms, known)

    async def rows_now(self, notification: Notification, plan: Plan, expires_ms: int, due_ms: int) -> list[NewRow]:
        """Plan a scheduled notification with the directory as it is now."""
        users = set(plan.audience.user_ids) if isinstance(plan.audience, People) else set()
        known = await self._look_up({plan.alert_type} if plan.alert_type else set(), users, [notification])
        return self.rows(notification, plan.audience, plan.alert_type, expires_ms, known, due_ms=due_ms)

    def rows(
        self,
        notification: Notification,
        audience: Audience | None,
        alert_type: str | None,
        expires_ms: int,
        known: Known,
        *,
        due_ms: int | None = None,
    ) -> list[NewRow]:
        """Plan one notification with what was looked up.

        Args:
            due_ms: when it was to be sent; None is when it was accepted.
        """
        if alert_type is not None:
            since_ms = notification.accepted_ms if due_ms is None else due_ms
            return self._alert_rows(notification, alert_type, since_ms, expires_ms, known)
        if isinstance(audience, Crowd):
            return self._crowd_rows(notification, audience, expires_ms)
        return self._people_rows(notification, audience, expires_ms, known) if audience else []

    def _people_rows(
        self,
        notification: Notification,
        audience: People,
        expires_ms: int,
        known: Known,
        channels: tuple[Channel, ...] | None = None,
    ) -> list[NewRow]:
        rows: list[NewRow] = []
        texts = Writer(notification, self._templates).for_person
        for user_id in audience.user_ids:
            rows += plan_person(
                notification,
                user_id,
                known.people.get(user_id),
                audience,
                expires_ms,
                channels=channels,
                texts=texts,
                facts=self._facts(user_id, known.focused),
                stages=self._stages,
            )
        return rows

    def _crowd_rows(self, notification: Notification, crowd: Crowd, expires_ms: int) -> list[NewRow]:
        rows = []
        if Channel.REALTIME in (notification.channels or tuple(Channel)):
            rows.append(plan_feed(notification, crowd.groups, expires_ms))
        if crowd_channels(notification) and notification.kind != Kind.SYSTEM_STATUS:
            indexes = (
                self._directory.everybody()
                if crowd.groups is None
                else tuple(self._directory.group(group) for group in crowd.groups)
            )
            # Everybody's parts have nobody in common.
            shared = True if crowd.groups is not None and len(indexes) > 1 else None
            rows += [_fan_out(notification, members, "", expires_ms, shared=shared) for members in indexes]
        return rows

    def _alert_rows(
        self, notification: Notification, alert_type: str, since_ms: int, expires_ms: int, known: Known
    ) -> list[NewRow]:
        if notification.priority is not Priority.CRITICAL:
            # Warning and info alerts go to the same people, by preference, and need no answer.
            audience = People(user_ids=_told((Group.ONCALL, Group.ADMINS), known, alert_type))
            return self._people_rows(notification, audience, expires_ms, known) or [nobody(notification, expires_ms)]
        first = Escalation(alert_type=alert_type, since_ms=since_ms, lifetime_ms=expires_ms - since_ms, round=0)
        return self.escalation_rows(notification, first, known)

    async def escalate(self, notification: Notification, step: Escalation, chain: Chain | None) -> list[NewRow]:
        """Plan one step of an escalation with the directory as it is now.

        Args:
            chain: what the alert's record keeps; None for a row that carries its steps.
        """
        once = step.steps or (chain.once if chain else ())
        known = await self._look_up({step.alert_type}, {
            target.user_id for each in once for target in each.targets if isinstance(target, User)
        }, [notification])  # fmt: skip
        if chain is not None:
            # Who is told next was decided when the alert came.
            known = replace(known, escalations={step.alert_type: chain})
        return self.escalation_rows(notification, step, known)

    def escalation_rows(self, notification: Notification, escalation_: Escalation, known: Known) -> list[NewRow]:
        """Tell the people of the step that is due, and write down the step after it.

        After the alert's own deadline nobody is told; where it has none, each step's deliveries are tried as long as
        the first ones.
        """
        chain = known.escalations[escalation_.alert_type]
        carried = escalation_.steps
        step, *later = chain.steps[escalation_.round :] if carried is None else carried
        deadline_ms = NEVER_MS if notification.deadline_ms is None else notification.deadline_ms
        step_ms = escalation_.since_ms + round(step.after_s * 1000)
        expires_ms = min(step_ms + escalation_.lifetime_ms, deadline_ms)
        audience = People(
            user_ids=_told(step.targets, known, escalation_.alert_type), regardless=True, round=escalation_.round
        )
        rows = self._people_rows(notification, audience, expires_ms, known, step.channels)
        if not rows:
            rows = [nobody(notification, expires_ms)]
        due_ms = escalation_.since_ms + round(later[0].after_s * 1000) if later else NEVER_MS
        if due_ms < deadline_ms:
            following = escalation_.model_copy(
                update={"round": escalation_.round + 1, "steps": None if carried is None else tuple(later)}
            )
            task = Task(
                key=f"escalate:{following.round}",
                priority=Priority.CRITICAL,
                due_ms=due_ms,
                expires_ms=min(due_ms + round(TASK_LIFETIME.total_seconds() * 1000), deadline_ms),
                what=following,
            )
            # With the first of them, for all of them.
            is_first = carried is None and escalation_.round == 0
            rows.append(NewRow(task, needs={CHAIN: write_chain(chain)} if is_first else {}))
        return rows

    async def fan_out(self, notification: Notification, page: FanOut, expires_ms: int) -> list[NewRow]:
        """Plan one page of a crowd, and write down the page after it."""
        members = Members(page.members, page.group)
        user_ids = await self._directory.page(members, page.after, FAN_OUT_PAGE)
        people, focused = await self._people(user_ids, [notification])
        channels = crowd_channels(notification)
        texts = Writer(notification, self._templates).for_person
        rows: list[NewRow] = []
        for user_id, person in people.items():
            # The index may still name somebody who has left; the record is what counts.
            if page.group is None or page.group in person.groups:
                planned = plan_person(
                    notification,
                    user_id,
                    person,
                    People(user_ids=(user_id,)),
                    expires_ms,
                    channels=channels,
                    texts=texts,
                    facts=self._facts(user_id, focused),
                    stages=self._stages,
                )
                # Of a crowd only what is sent is written down: a row for each person whom a broadcast does not reach
                # would be most of the ledger.
                rows += [new for new in planned if not new.state.is_end]
        if len(user_ids) == FAN_OUT_PAGE:
            rows.append(_fan_out(notification, members, user_ids[-1], expires_ms, shared=page.shared))
        return rows


def listed_as(delivery: Delivery) -> tuple[Channel, str]:
    """Return the name of a delivery's address on a suppression list; devices are on no list, and have none."""
    match delivery.address:
        case EmailAddress(email=address) | PhoneNumber(phone=address):
            return delivery.channel, digest(address)
        case _:
            return delivery.channel, ""


def _direct(delivery: Delivery, notification: Notification) -> NewRow:
    """Write a delivery to an address that the publisher gave."""
    if notification.channels is None or delivery.channel in notification.channels:
        return NewRow(delivery)
    return NewRow(delivery.model_copy(update={"rule": "channels:publish"}), State.SUPPRESSED, Reason.CHANNEL_RULE)


def _fan_out(
    notification: Notification, members: Members, after: str, expires_ms: int, *, shared: bool | None
) -> NewRow:
    return NewRow(
        Task(
            key=f"fan_out:{members.key}:{after}",
            priority=notification.priority,
            expires_ms=expires_ms,
            what=FanOut(members=members.key, group=members.group, after=after, shared=shared),
        )
    )


def _told(targets: Sequence[Group | User], known: Known, alert_type: str) -> tuple[str, ...]:
    """Resolve an escalation step's targets to user ids, each once."""
    user_ids: dict[str, None] = {}
    for target in targets:
        match target:
            case User(user_id):
                user_ids[user_id] = None
            case Group.ONCALL:
                user_ids |= dict.fromkeys(known.oncall[alert_type])
            case Group.ADMINS:
                user_ids |= dict.fromkeys(known.admins)
    return tuple(user_ids)

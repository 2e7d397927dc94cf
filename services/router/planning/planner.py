"""Plans notifications with what is known: audience in, rows out.

Every decision about recipients passes through here: when a notification is accepted, when a scheduled one is due, when
an alert escalates, and when something that was held is due. It writes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from services.router.alerts.noise import Mute
from services.router.payloads.rejection import FieldProblem, invalid_payload
from services.router.planning.alert_texts import OPENED, AlertTexts, Occasion
from services.router.planning.alerting import Alerting, expiry_rows
from services.router.planning.compose import NO_TEMPLATES, Draft, Said, grouped
from services.router.planning.facts import priority_in, unusable_key
from services.router.planning.group_news import Member, flapping_line
from services.router.planning.known import Flap, Known
from services.router.planning.lookups import Lookups
from services.router.planning.maintaining import maintenance_rows
from services.router.planning.person import Texts, crowd_channels, left_out, plan_feed, plan_person
from services.router.planning.stages import STAGES, Stage, at_release, serving
from services.router.planning.tasks import (
    Audience,
    Crowd,
    Escalation,
    FanOut,
    Fold,
    GroupTimes,
    People,
    Plan,
    Recheck,
    Task,
)
from services.router.planning.texts import Writer
from services.router.templates.folder import Templates
from services.router.templates.texts import Template
from shared.core.channels import WITHOUT_RULE
from shared.core.errors import Reason
from shared.core.model import Channel, Delivery, Flapped, Notification, State
from shared.core.topics import Kind
from shared.directory.categories import KnownCategory
from shared.directory.directory import Members
from shared.ledger.new_records import NewRow
from shared.runtime.turns import Turns

# Users whose records are read, and whose rows are written, in one step of a fan-out.
FAN_OUT_PAGE = 200


class Planner:
    """Plans with what was looked up.

    Args:
        templates: what the texts of notifications that name one are written with.
        stages: what decides about each channel of each person.
        alert_template: what alerts are written with; None for the built-in texts.
        without: channels that this system does without.
        turns: taken by what is planned at a later time, or for many people; None for its own.
    """

    def __init__(
        self,
        lookups: Lookups,
        templates: Templates = NO_TEMPLATES,
        *,
        stages: Sequence[Stage] = STAGES,
        alert_template: Template | None = None,
        without: Collection[Channel] = (),
        turns: Turns | None = None,
    ) -> None:
        self.turns = turns or Turns()
        self.lookups = lookups
        self.templates = templates
        self.without = frozenset(without)
        self.stages = serving(self.without, stages)
        self.alert_texts = AlertTexts(alert_template)
        self.alerting = Alerting(lookups, self.people_rows)

    async def look_up(self, drafts: Sequence[Draft]) -> Known:
        """Look up what planning these drafts and their receipts need; see ``Lookups``."""
        return await self.lookups.of_drafts(drafts)

    @staticmethod
    def settled(draft: Draft, known: Known) -> Draft:
        """Let a draft's category have its say about how urgent it may be.

        Raises:
            Rejected: what it says in a field by which its category counts or puts together is no key.
        """
        tenant = known.tenant(draft.notification)
        if draft.say_for is not None and tenant is not None and tenant.brand is not None:
            draft = _said_again(draft, draft.say_for(tenant))
        if draft.alert_type is not None:
            flapping = known.flapping.get(draft.notification.id)
            draft = grouped(flapping_of(draft, flapping), known.policies.get(draft.alert_type))
        notification, is_alert = draft.notification, draft.alert_type is not None
        category = known.category(notification)
        if category is not None:
            _check_keys(notification, category)
            priority = priority_in(notification.priority, category, is_alert=is_alert)
            if priority is not notification.priority:
                notification = notification.model_copy(update={"priority": priority})
        direct = tuple(_settled(each, notification, known) for each in draft.direct)
        is_same = notification is draft.notification and direct == draft.direct
        return draft if is_same else replace(draft, notification=notification, direct=direct)

    def first_rows(self, draft: Draft, known: Known) -> list[NewRow]:
        """Decide what is written when a notification is accepted."""
        direct = self.direct_rows(draft, known)
        if draft.audience is None and draft.alert_type is None:
            return direct
        if draft.send_at_ms:
            plan = Plan(audience=draft.audience, alert_type=draft.alert_type, group=draft.group)
            task = Task(
                key="plan",
                priority=draft.notification.priority,
                due_ms=draft.send_at_ms,
                expires_ms=draft.expires_ms,
                what=plan,
            )
            return [*direct, NewRow(task)]
        rows = self.rows(
            draft.notification, draft.audience, draft.alert_type, draft.expires_ms, known, group=draft.group
        )
        return [*direct, *rows, *expiry_rows(draft), *maintenance_rows(draft)]

    def direct_rows(self, draft: Draft, known: Known) -> list[NewRow]:
        """Plan the addresses that the publisher gave."""
        return [self._direct(delivery, draft.notification, known) for delivery in draft.direct]

    def _direct(self, delivery: Delivery, notification: Notification, known: Known) -> NewRow:
        category = known.category(notification, (delivery.content or notification.content).category)
        if category is not None and category.record.policy == "required":
            delivery = delivery.model_copy(update={"required": True})
        if notification.channels is not None and delivery.channel not in notification.channels:
            rule, reason = "channels:publish", Reason.CHANNEL_RULE
        elif delivery.channel in self.without:
            rule, reason = WITHOUT_RULE, Reason.NOT_SERVED
        else:
            return NewRow(delivery)
        return NewRow(delivery.model_copy(update={"rule": rule}), State.SUPPRESSED, reason)

    def crowd_rows(self, notification: Notification, crowd: Crowd, expires_ms: int, known: Known) -> list[NewRow]:
        """Plan those people of a crowd of whom something is known, and what everybody reads."""
        rows = [
            new for new in self._crowd_rows(notification, crowd, expires_ms, known) if isinstance(new.row, Delivery)
        ]
        if notification.kind == Kind.SYSTEM_STATUS:
            return rows
        groups = None if crowd.groups is None else set(crowd.groups)
        user_ids = tuple(
            user_id
            for user_id, person in known.people.items()
            if groups is None or not groups.isdisjoint(person.groups)
        )
        return [*rows, *self.people_rows(
            notification, People(user_ids=user_ids), expires_ms, known, self._crowd_channels(notification, known),
            lifetime_ms=expires_ms - notification.accepted_ms,
        )]  # fmt: skip

    async def rows_now(
        self, notification: Notification, plan: Plan, expires_ms: int, due_ms: int, members: Sequence[Member] = ()
    ) -> list[NewRow] | Mute:
        """Plan a scheduled notification with the directory as it is now; an alert may be mute.

        Args:
            members: those of an alert's group that are open.
        """
        users = plan.audience.user_ids if isinstance(plan.audience, People) else ()
        known = await self.lookups.of_alert(notification, plan.alert_type, users)
        mute = known.mute(notification) if plan.alert_type is not None else None
        if mute is not None:
            return mute
        return self.rows(
            notification,
            plan.audience,
            plan.alert_type,
            expires_ms,
            known,
            due_ms=due_ms,
            group=plan.group,
            members=members,
        )

    def rows(
        self,
        notification: Notification,
        audience: Audience | None,
        alert_type: str | None,
        expires_ms: int,
        known: Known,
        *,
        due_ms: int | None = None,
        group: GroupTimes | None = None,
        members: Sequence[Member] = (),
    ) -> list[NewRow]:
        """Plan one notification with what was looked up.

        Args:
            due_ms: when it was to be sent; None is when it was accepted.
            group: of an alert that is told with others.
            members: those of its group that are open.
        """
        if alert_type is not None:
            since_ms = notification.accepted_ms if due_ms is None else due_ms
            first = Escalation(
                alert_type=alert_type, since_ms=since_ms, lifetime_ms=expires_ms - since_ms, round=0, group=group
            )
            return self.alerting.first_rows(notification, first, known, members)
        if isinstance(audience, Crowd):
            return self._crowd_rows(notification, audience, expires_ms, known)
        if audience is None:
            return []
        lifetime_ms = expires_ms - max(notification.accepted_ms, due_ms or 0)
        return self.people_rows(
            notification, audience, expires_ms, known, lifetime_ms=lifetime_ms, since_ms=due_ms or 0
        )

    def people_rows(
        self,
        notification: Notification,
        audience: People,
        expires_ms: int,
        known: Known,
        channels: tuple[Channel, ...] | None = None,
        *,
        lifetime_ms: int | None = None,
        since_ms: int = 0,
        stages: Sequence[Stage] | None = None,
        texts: Texts | None = None,
        occasion: Occasion = OPENED,
        released_ms: int = 0,
    ) -> list[NewRow]:
        """Plan people with what was looked up; see ``plan_person``."""
        rows: list[NewRow] = []
        texts = texts or self.texts(notification, known, occasion)
        for user_id in audience.user_ids:
            rows += plan_person(
                notification,
                user_id,
                known.people.get(user_id),
                audience,
                expires_ms,
                channels=channels,
                texts=texts,
                facts=known.facts(notification, user_id),
                stages=stages or self.stages,
                lifetime_ms=lifetime_ms,
                since_ms=since_ms,
                released_ms=released_ms,
            )
        return rows

    def texts(self, notification: Notification, known: Known, occasion: Occasion = OPENED) -> Texts:
        """Return what writes the texts for each reader.

        Args:
            occasion: of an alert.
        """
        if notification.content.alert is not None:
            return self.alert_texts.of(notification, known.tenant(notification), occasion).for_person
        return Writer(notification, self.templates, known.tenant(notification)).for_person

    async def recheck(self, notification: Notification, what: Recheck | Fold, due_ms: int) -> list[NewRow]:
        """Plan a channel that was held until now, with the facts of this moment."""
        pushes = what.channel is Channel.PUSH
        known = await self.lookups.of_people(notification, [what.user_id], counts=False, pushes=pushes)
        # The answers of the store come to many tasks at once.
        await self.turns.take()
        # A clock that is behind the store's must not find it to be early.
        known = replace(known, now_ms=max(known.now_ms, due_ms))
        return self.channel_rows(notification, what, known, at_release(self.stages))

    def channel_rows(
        self,
        notification: Notification,
        what: Recheck | Fold,
        known: Known,
        stages: Sequence[Stage],
        *,
        texts: Texts | None = None,
    ) -> list[NewRow]:
        """Plan one channel of one person at a later time.

        Args:
            texts: in place of the notification's own.
        """
        expires_ms = notification.deadline_ms or known.now_ms + what.lifetime_ms
        return self.people_rows(
            notification,
            People(user_ids=(what.user_id,), only_push=what.only_push),
            expires_ms,
            known,
            (what.channel,),
            lifetime_ms=what.lifetime_ms,
            since_ms=what.since_ms,
            stages=stages,
            texts=texts,
            released_ms=known.now_ms if isinstance(what, Recheck) else 0,
        )

    def _crowd_rows(self, notification: Notification, crowd: Crowd, expires_ms: int, known: Known) -> list[NewRow]:
        rows = []
        asked = crowd_channels(notification, known.category(notification))
        if Channel.REALTIME in (notification.channels or tuple(Channel)):
            if Channel.REALTIME not in self.without:
                rows.append(plan_feed(notification, crowd.groups, expires_ms))
            asked = (Channel.REALTIME, *asked)
        # Written once: of the people of a crowd only what is sent is written down.
        rows += [
            left_out(notification, crowd.groups, channel, expires_ms) for channel in asked if channel in self.without
        ]
        if self._crowd_channels(notification, known) and notification.kind != Kind.SYSTEM_STATUS:
            indexes = (
                self.lookups.directory.everybody()
                if crowd.groups is None
                else tuple(self.lookups.directory.group(group) for group in crowd.groups)
            )
            # Everybody's parts have nobody in common.
            shared = True if crowd.groups is not None and len(indexes) > 1 else None
            rows += [_fan_out(notification, members, "", expires_ms, shared=shared) for members in indexes]
        return rows

    def _crowd_channels(self, notification: Notification, known: Known) -> tuple[Channel, ...]:
        asked = crowd_channels(notification, known.category(notification))
        return tuple(channel for channel in asked if channel not in self.without)

    def crowd(self, notification: Notification, crowd: Crowd, expires_ms: int, known: Known) -> list[NewRow]:
        """Plan a crowd: what everybody reads, and the first page of each index of people."""
        return self._crowd_rows(notification, crowd, expires_ms, known)

    async def fan_out(self, notification: Notification, page: FanOut, expires_ms: int, due_ms: int = 0) -> list[NewRow]:
        """Plan one page of a crowd, and write down the page after it.

        Args:
            due_ms: when it was to be sent; 0 is when it was accepted.
        """
        members = Members(page.members, page.group)
        user_ids = await self.lookups.directory.page(members, page.after, FAN_OUT_PAGE)
        known = await self.lookups.of_people(notification, user_ids)
        channels = self._crowd_channels(notification, known)
        # The index may still name somebody who has left; the record is what counts.
        told_ids = tuple(
            user_id for user_id, person in known.people.items() if page.group is None or page.group in person.groups
        )
        lifetime_ms, texts = expires_ms - max(notification.accepted_ms, due_ms), self.texts(notification, known)
        planned: list[NewRow] = []
        for user_id in told_ids:
            await self.turns.take()
            planned += self.people_rows(
                notification,
                People(user_ids=(user_id,)),
                expires_ms,
                known,
                channels,
                lifetime_ms=lifetime_ms,
                since_ms=due_ms,
                texts=texts,
            )
        # Of a crowd only what is sent is written down: a row for each person whom a broadcast does not reach would be
        # most of the ledger.
        rows = [new for new in planned if not new.state.is_end]
        if len(user_ids) == FAN_OUT_PAGE:
            rows.append(_fan_out(notification, members, user_ids[-1], expires_ms, shared=page.shared))
        return rows


def _said_again(draft: Draft, said: Said) -> Draft:
    """Put other texts into a draft."""
    before = draft.notification.content
    content = said.content.model_copy(update={"actions": before.actions})
    direct = tuple(
        each.model_copy(update={"content": again.content})
        for each, again in zip(draft.direct, said.direct, strict=True)
    )
    return replace(draft, notification=draft.notification.model_copy(update={"content": content}), direct=direct)


def flapping_of(draft: Draft, flap: Flap | None) -> Draft:
    """Say in an alert that it has begun again and again, where that is told now."""
    if flap is None or flap.until_ms is not None:
        return draft
    content, policy = draft.notification.content, flap.policy
    flapped = Flapped(times=policy.times, within_s=policy.within.total_seconds(), hold_s=policy.hold.total_seconds())
    message = f"{flapping_line(flapped)}\n\n{content.message}"
    content = content.model_copy(
        update={"title": f"Flapping: {content.title}", "message": message, "flapping": flapped}
    )
    return replace(draft, notification=draft.notification.model_copy(update={"content": content}))


def _check_keys(notification: Notification, category: KnownCategory) -> None:
    field = unusable_key(notification.content.data, category)
    if field is not None:
        problem = f"must be a short text or a number: {category.name} goes by it"
        raise invalid_payload((FieldProblem(field, problem),))


def _settled(delivery: Delivery, notification: Notification, known: Known) -> Delivery:
    """Let the category of an address's own content, such as a mail of a batch, have its say."""
    category = known.category(notification, (delivery.content or notification.content).category)
    priority = priority_in(delivery.priority, category, is_alert=False)
    return delivery if priority is delivery.priority else delivery.model_copy(update={"priority": priority})


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

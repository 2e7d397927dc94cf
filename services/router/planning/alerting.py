"""Plans incidents: who is told when they begin, as they escalate, when they are open again, and of what is new in them.

An incident that is mute is not told now: a silence, another incident, a maintenance or its own flapping keeps it from
that. It waits in its row and is looked at again. So does one whose group waits for others.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from services.router.alerts.noise import Mute
from services.router.alerts.oncall import (
    Chain,
    Group,
    User,
    handed_to,
    target,
    targets_of,
    told_also,
)
from services.router.planning.alert_texts import OPENED, Occasion, Why
from services.router.planning.compose import Draft
from services.router.planning.group_news import Member
from services.router.planning.known import Known, told
from services.router.planning.lookups import Lookups
from services.router.planning.person import nobody
from services.router.planning.tasks import (
    ACKNOWLEDGED_FOR,
    ENDS_WITH,
    MUTED,
    WAITS,
    Again,
    Escalation,
    GroupNews,
    GroupTimes,
    People,
    Plan,
    Task,
    Unheard,
    write_chain,
)
from shared.core.model import Channel, Delivery, Notification, Priority, State, UserInbox
from shared.ledger.new_records import TASK_LIFETIME_MS, NewRow

# How long the deliveries of an incident that is open again are tried, where its publisher set no deadline.
ALERT_LIFETIME_MS = 24 * 3600 * 1000

# What tells the levels may wait for the end of a long silence.
ESCALATION_LIFETIME_MS = 31 * 24 * 3600 * 1000 + TASK_LIFETIME_MS

# Later than any time that a publish may name.
NEVER_MS = 2**53

PeopleRows = Callable[..., list[NewRow]]


class Alerting:
    """Plans alerts with what was looked up.

    Args:
        people_rows: plans people, see ``Planner.people_rows``.
    """

    def __init__(self, lookups: Lookups, people_rows: PeopleRows) -> None:
        self._lookups = lookups
        self._people_rows = people_rows

    def first_rows(
        self, notification: Notification, first: Escalation, known: Known, members: Sequence[Member] = ()
    ) -> list[NewRow]:
        """Plan an alert whose time has come: tell its people, or write down when that is to be tried again.

        Args:
            first: the first step of its escalation; an alert that is not critical has no other.
            members: those of its group that are open.
        """
        is_critical = notification.priority is Priority.CRITICAL
        alert_type, group, expires_ms = first.alert_type, first.group, first.since_ms + first.lifetime_ms
        mute = known.mute(notification)
        # A scheduled one, or one that has waited, waits no more.
        is_new = first.since_ms == notification.accepted_ms
        wait_ms = _wait_ms(group, first.since_ms) if group is not None and is_new else 0
        if mute is None and not wait_ms:
            return self._told_rows(notification, first, expires_ms, known, members)
        due_ms = mute.again_ms if mute is not None else first.since_ms + wait_ms
        needs = {WAITS: str(due_ms)}
        rows = []
        if mute is not None:
            needs |= {MUTED: mute.rule, ENDS_WITH: mute.ends_with}
            rows.append(muted_row(notification, mute, expires_ms))
        if is_critical:
            needs |= _kept(first, known.escalations[alert_type])
        key, what = (first.key, first) if is_critical else ("plan", Plan(alert_type=alert_type, group=group))
        task = Task(
            key=key,
            priority=notification.priority,
            due_ms=due_ms,
            expires_ms=min(due_ms + ESCALATION_LIFETIME_MS, notification.deadline_ms or NEVER_MS),
            what=what,
        )
        return [*rows, NewRow(task, needs=needs)]

    def _told_rows(
        self,
        notification: Notification,
        first: Escalation,
        expires_ms: int,
        known: Known,
        members: Sequence[Member],
    ) -> list[NewRow]:
        occasion = _of_group(Why.OPENED, members)
        if notification.priority is Priority.CRITICAL:
            return self.step_rows(notification, first, known, occasion)
        # Warning and info alerts go to the same people, by preference, and need no answer.
        audience = People(user_ids=told((Group.ONCALL, Group.ADMINS), known, first.alert_type))
        rows = self._people_rows(
            notification, audience, expires_ms, known, lifetime_ms=first.lifetime_ms, since_ms=first.since_ms,
            occasion=occasion,
        )  # fmt: skip
        return [*(rows or [nobody(notification, expires_ms)]), *_news_task(notification, first, known.now_ms, members)]

    async def begin_again(
        self,
        notification: Notification,
        again: Again,
        chain: Chain,
        *,
        acknowledged_by: str | None,
        due_ms: int,
        members: Sequence[Member] = (),
    ) -> list[NewRow] | Mute:
        """Plan the first step of an incident that is open again, and write down the step after it.

        Args:
            chain: as it was laid out when the incident began.
            acknowledged_by: whose answer does not hold any more.
            due_ms: when it was to be opened; the steps count from here.
            members: those of its group that are open.
        """
        alert = notification.content.alert
        turn = again.turn if again.to is not None else again.turn + 1
        if again.to is not None:
            chain = handed_to(chain, target(again.to))
        elif acknowledged_by is not None:
            chain = told_also(chain, User(acknowledged_by))
        step = Escalation(
            alert_type=alert.type if alert is not None else "",
            since_ms=due_ms,
            lifetime_ms=ALERT_LIFETIME_MS,
            round=0,
            turn=turn,
        )
        why = Why.REASSIGNED if again.to is not None else Why.REOPENED
        return await self.escalate(notification, step, chain, members, why=why)

    async def escalate(
        self,
        notification: Notification,
        step: Escalation,
        chain: Chain | None,
        members: Sequence[Member] = (),
        *,
        why: Why | None = None,
        was_mute: bool = False,
    ) -> list[NewRow] | Mute:
        """Plan one step of an escalation with the directory as it is now, if the incident is not mute.

        Args:
            chain: what the alert's record keeps; None for a row that carries its steps.
            members: those of its group that are open.
            why: None is what the step's number says.
            was_mute: the steps after it come as much later as this one does.
        """
        once = step.steps or (chain.once if chain else ())
        known = await self._lookups.of_alert(notification, step.alert_type, (), targets_of(once))
        mute = known.mute(notification)
        if mute is not None:
            return mute
        if chain is not None:
            # Who is told next was decided when the alert came.
            known = replace(known, escalations={step.alert_type: chain})
        if was_mute or (step.round == 0 and not step.turn):
            after_ms = round((step.steps or known.escalations[step.alert_type].steps[step.round :])[0].after_s * 1000)
            step = step.model_copy(update={"since_ms": max(step.since_ms, known.now_ms - after_ms)})
        why = why or (Why.ESCALATED if step.round else Why.OPENED)
        return self.step_rows(notification, step, known, _of_group(why, members))

    def step_rows(
        self, notification: Notification, this: Escalation, known: Known, occasion: Occasion = OPENED
    ) -> list[NewRow]:
        """Tell the people of the step that is due, and write down the step after it.

        After the alert's own deadline nobody is told; where it has none, each step's deliveries are tried as long as
        the first ones.
        """
        chain = known.escalations[this.alert_type]
        carried = this.steps
        step, *later = chain.steps[this.round :] if carried is None else carried
        deadline_ms = NEVER_MS if notification.deadline_ms is None else notification.deadline_ms
        expires_ms = min(this.since_ms + round(step.after_s * 1000) + this.lifetime_ms, deadline_ms)
        due_ms = this.since_ms + round(later[0].after_s * 1000) if later else NEVER_MS
        following = this.model_copy(
            update={"round": this.round + 1, "steps": None if carried is None else tuple(later), "group": None}
        )
        audience = People(
            user_ids=told(step.targets, known, this.alert_type, every=bool(step.every)),
            regardless=True,
            round=this.round,
            turn=this.turn,
            next_level=following.key if due_ms < deadline_ms else None,
        )
        rows = self._people_rows(notification, audience, expires_ms, known, step.channels, occasion=occasion)
        if later and not any(_wakes(new) for new in rows):
            # There is nobody to wait for.
            due_ms = min(due_ms, max(known.now_ms, this.since_ms))
        rows = rows or [nobody(notification, expires_ms)]
        if due_ms < deadline_ms:
            task = Task(
                key=following.key,
                priority=Priority.CRITICAL,
                due_ms=due_ms,
                expires_ms=min(due_ms + ESCALATION_LIFETIME_MS, deadline_ms),
                what=following,
            )
            rows.append(NewRow(task))
        if carried is None and this.round == 0:
            # With the first step for all of them, and for the turns after it; there may be no other step.
            rows[0] = replace(rows[0], needs={**rows[0].needs, **_kept(this, chain)})
        return [*rows, *_news_task(notification, this, known.now_ms, occasion.members)]

    async def news(
        self, notification: Notification, what: GroupNews, members: Sequence[Member], count: int, chain: Chain | None
    ) -> list[NewRow] | Mute:
        """Tell what is new in a group, and write down when that is looked at again.

        Args:
            members: those that are new; all that are open, if nothing is.
            count: how many are open.
            chain: of a critical one; those who are told first hear of it.
        """
        targets = chain.steps[0].targets if chain is not None else (Group.ONCALL, Group.ADMINS)
        known = await self._lookups.of_alert(notification, what.alert_type, (), targets)
        mute = known.mute(notification)
        if mute is not None:
            return mute
        every = bool(chain.steps[0].every) if chain is not None else False
        audience = People(
            user_ids=told(targets, known, what.alert_type, every=every),
            regardless=notification.priority is Priority.CRITICAL,
            news=what.number,
        )
        expires_ms = min(known.now_ms + ALERT_LIFETIME_MS, notification.deadline_ms or NEVER_MS)
        rows = self._people_rows(
            notification, audience, expires_ms, known, lifetime_ms=ALERT_LIFETIME_MS,
            occasion=Occasion(Why.NEWS, members, count),
        )  # fmt: skip
        return [
            *rows,
            news_row(notification, what.following(known.now_ms, _upto(members)), known.now_ms + what.times.interval_ms),
        ]


def _wakes(new: NewRow) -> bool:
    """Tell whether somebody may be woken by this: an inbox wakes nobody."""
    return not new.state.is_end and isinstance(new.row, Delivery) and new.row.channel is not Channel.REALTIME


def _of_group(why: Why, members: Sequence[Member]) -> Occasion:
    return Occasion(why, members, max(len(members), 1))


def muted_row(notification: Notification, mute: Mute, expires_ms: int) -> NewRow:
    """Write down that an incident tells nobody, and what keeps it from that."""
    row = Delivery(
        key=f"realtime:nobody@{mute.rule}",
        channel=Channel.REALTIME,
        priority=notification.priority,
        address=UserInbox(user_id="nobody"),
        expires_ms=expires_ms,
        rule=mute.rule,
    )
    return NewRow(row, State.SUPPRESSED, mute.reason)


def news_row(notification: Notification, what: GroupNews, due_ms: int) -> NewRow:
    """Write down when it is looked at what is new in a group."""
    task = Task(
        key=f"news:{what.number}",
        priority=notification.priority,
        due_ms=due_ms,
        expires_ms=min(due_ms + ESCALATION_LIFETIME_MS, notification.deadline_ms or NEVER_MS),
        what=what,
    )
    return NewRow(task)


def expiry_rows(draft: Draft) -> list[NewRow]:
    """Write down when it is looked at whether an incident is still so, if its publisher says for how long it is."""
    if not draft.expires_after_ms or not draft.is_incident:
        return []
    due_ms = draft.notification.accepted_ms + draft.expires_after_ms
    task = Task(
        key="unheard",
        priority=Priority.NORMAL,
        due_ms=due_ms,
        expires_ms=due_ms + ESCALATION_LIFETIME_MS,
        what=Unheard(after_ms=draft.expires_after_ms, incident_key=draft.dedup_key),
    )
    return [NewRow(task)]


def _upto(members: Sequence[Member]) -> int:
    """Return the number of the last of these members; what is told as it begins is the first."""
    return max((member.number for member in members), default=1)


def _news_task(notification: Notification, first: Escalation, now_ms: int, members: Sequence[Member]) -> list[NewRow]:
    if first.group is None:
        return []
    what = GroupNews(alert_type=first.alert_type, times=first.group, told_ms=now_ms, told_upto=_upto(members), number=1)
    return [news_row(notification, what, now_ms + first.group.interval_ms)]


def _wait_ms(group: GroupTimes, since_ms: int) -> int:
    """Return how long the first message of a group waits: not at all if others would have come by now."""
    is_old = group.starts_ms is not None and group.starts_ms <= since_ms - group.wait_ms
    return 0 if is_old else group.wait_ms


def _kept(first: Escalation, chain: Chain) -> dict[str, str]:
    """Say what the record keeps for all steps: the chain, and for how long an acknowledgement holds (ms)."""
    kept = {first.chain: write_chain(chain)}
    if chain.acknowledged_for_s is not None and not first.turn:
        kept[ACKNOWLEDGED_FOR] = str(round(chain.acknowledged_for_s * 1000))
    return kept

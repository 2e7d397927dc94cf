"""Performs the router's tasks: each becomes rows, written together with the task's end, and then published as jobs.

Deliveries that planning suppresses are counted and reported as they are at acceptance.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from services.router.alerts.noise import Mute
from services.router.alerts.oncall import Chain
from services.router.planning.digesting import Digesting
from services.router.planning.group_news import Member
from services.router.planning.holding import Holding
from services.router.planning.planner import Planner
from services.router.planning.tasks import (
    CHAIN,
    Again,
    CloseDigest,
    Escalation,
    FanOut,
    Fold,
    GroupNews,
    Plan,
    Recheck,
    Task,
    Unheard,
    read_chain,
)
from services.router.planning.telling import is_step, tell_planned, told_lines
from shared.core.clock import Clock, epoch_ms, from_epoch_ms
from shared.core.durations import written
from shared.core.errors import CarillonError, Reason
from shared.core.incidents import Happened, Way, line
from shared.core.model import Notification, Priority, State
from shared.core.topics import PLAIN_PUBLISHER, Topics
from shared.ledger.answering import Answering
from shared.ledger.events import event
from shared.ledger.jobs import jobs_of
from shared.ledger.ledger import AlertState, Answered, Claim, Ledger, MemberState, NewRow, Outcome, Part
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import new_notification_id, shard_of_id
from shared.telemetry import metrics, tracing

log = logging.getLogger(__name__)

# The store's clock may be a little behind ours.
_SHORTEST_WAIT = timedelta(milliseconds=100)

# As in a channel's lane, what waits is not sent any more once its alert was answered.
_ANSWERED: frozenset[str] = frozenset({AlertState.ACKNOWLEDGED, AlertState.RESOLVED})


class Performer:
    """Performs tasks and publishes what follows from them.

    Args:
        link: where jobs are published; one that is lost is driven again by the ledger.
    """

    def __init__(
        self,
        planner: Planner,
        digesting: Digesting,
        ledger: Ledger,
        topics: Topics,
        clock: Clock,
        *,
        holding: Holding,
        answering: Answering,
    ) -> None:
        self._answering = answering
        self._holding = holding
        self._planner = planner
        self._digesting = digesting
        self._ledger = ledger
        self._topics = topics
        self._clock = clock
        self.link: BrokerLink | None = None

    async def perform(self, notification: Notification, task: Task, claim: Claim) -> Outcome:
        """Plan what the task says."""
        with tracing.span(
            "plan", "internal", notification.trace, task=task.what.do, notification_id=notification.id
        ) as span:
            outcome = await self._plan(notification, task, claim)
            span.set(rows=len(outcome.then) + (len(outcome.part.rows) if outcome.part else 0))
            return outcome

    async def _plan(self, notification: Notification, task: Task, claim: Claim) -> Outcome:
        what = task.what
        # Nobody is told of an alert that was answered before its time came.
        if isinstance(what, Again):
            return await self._open_again(notification, task, what, claim)
        of_alert = isinstance(what, Escalation) or (isinstance(what, Plan) and what.alert_type is not None)
        if of_alert and claim.alert != AlertState.OPEN:
            return Outcome(State.DELIVERED, provider="router")
        if isinstance(what, Recheck | Fold) and claim.alert in _ANSWERED:
            return Outcome(State.SUPPRESSED, Reason(claim.alert), provider="router")
        match what:
            case Plan():
                rows = await self._planner.rows_now(notification, what, task.expires_ms, task.due_ms)
            case Unheard():
                return await self._end_unheard(notification, what, claim)
            case GroupNews():
                return await self._tell_news(notification, task, what, claim)
            case FanOut():
                rows = await self._planner.fan_out(notification, what, task.expires_ms, task.due_ms)
            case Escalation():
                chain = await self._chain_of(notification, what.chain) if what.steps is None else None
                was_mute = claim.is_mute
                rows = await self._planner.alerting.escalate(notification, what, chain, was_mute=was_mute)
            case Recheck():
                rows = await self._planner.recheck(notification, what, task.due_ms)
            case Fold():
                rows = await self._digesting.fold(notification, task, what, again=claim.attempt > 1)
            case CloseDigest():
                outcome = await self._digesting.close(notification, task, what)
                return replace(outcome, then=[_due_since(new, task.due_ms) for new in outcome.then])
        if isinstance(rows, Mute):
            return self._stay_mute(notification, task, rows, claim)
        then = [_due_since(new, task.due_ms) for new in rows]
        part = None
        if isinstance(what, FanOut):
            # What waits for one person stands with that person's other rows.
            part = _part(notification, what, [new for new in then if not _is_page(new)])
            then = [new for new in then if _is_page(new)]
        guard = AlertState.OPEN.value if of_alert else ""
        if isinstance(what, Escalation) and what.turn:
            guard += f"|{what.turn}"
        says = told_lines(then, what.number if isinstance(what, Escalation) else "0") if of_alert else ()
        return Outcome(State.DELIVERED, then=then, part=part, guard=guard, says=says, provider="router")

    async def _open_again(self, notification: Notification, task: Task, what: Again, claim: Claim) -> Outcome:
        """Open an incident again whose answer does not hold any more, or that was handed to somebody else."""
        needed = AlertState.OPEN if what.to is not None else AlertState.ACKNOWLEDGED
        if claim.alert != needed:
            return Outcome(State.DELIVERED, provider="router")
        chain = await self._chain_of(notification, CHAIN)
        acknowledged_by = None
        if what.to is None:
            acknowledged_by = await self._ledger.kept(notification.id, "acknowledged_by")
        rows = await self._planner.alerting.begin_again(notification, what, chain, acknowledged_by or None, task.due_ms)
        if isinstance(rows, Mute):
            return self._stay_mute(notification, task, rows, claim)
        turn = what.turn if what.to is not None else what.turn + 1
        opened = () if what.to is not None else (line(Happened.REOPENED, way=Way.ESCALATION),)
        return Outcome(
            State.DELIVERED,
            then=[_due_since(new, task.due_ms) for new in rows],
            guard=f"{needed}|{what.turn}",
            becomes=AlertState.OPEN if what.to is None else None,
            says=(*opened, *told_lines(rows, f"{turn}.0")),
            provider="router",
        )

    async def _end_unheard(self, notification: Notification, what: Unheard, claim: Claim) -> Outcome:
        """End what nobody has said for long is still so."""
        if claim.alert in (AlertState.RESOLVED, ""):
            return Outcome(State.DELIVERED, provider="router")
        now_ms = epoch_ms(self._clock.now())
        note = f"nobody has said so for {written(timedelta(milliseconds=what.after_ms))}"
        members = [each for each in await self._ledger.members(notification.id) if each.is_open]
        heard = {each.key: each.last_ms for each in members}
        if not members:
            repeated = await self._ledger.kept(notification.id, "repeated_at")
            heard = {"": int(repeated) if repeated else notification.accepted_ms}
        over = [key for key, last_ms in heard.items() if last_ms + what.after_ms <= now_ms]
        for key in over:
            answered, _ = await self._ledger.resolve_member(what.incident_key, key, Way.ESCALATION, note=note)
            if answered is Answered.OVER:
                await self._answering.over(notification.id, PLAIN_PUBLISHER, note, way=Way.ESCALATION)
                return Outcome(State.DELIVERED, provider="router")
        next_ms = min(last_ms for key, last_ms in heard.items() if key not in over) + what.after_ms
        wait = max(timedelta(milliseconds=next_ms - now_ms), _SHORTEST_WAIT)
        return Outcome(State.PENDING, wait=wait, counts=False, provider="router")

    async def _tell_news(self, notification: Notification, task: Task, what: GroupNews, claim: Claim) -> Outcome:
        """Tell what is new in a group, or what is still open if nothing was told for long."""
        if claim.alert == AlertState.RESOLVED:
            return Outcome(State.DELIVERED, provider="router")
        now_ms = max(epoch_ms(self._clock.now()), task.due_ms)
        again = Outcome(
            State.PENDING, wait=timedelta(milliseconds=what.times.interval_ms), counts=False, provider="router"
        )
        if claim.alert != AlertState.OPEN:
            # Somebody has it.
            return again
        open_ = [each for each in await self._ledger.members(notification.id) if each.is_open]
        new = [each for each in open_ if each.first_ms >= what.told_ms]
        if not new and (not open_ or now_ms - what.told_ms < what.times.repeat_ms):
            return again
        chain = None
        if notification.priority is Priority.CRITICAL:
            chain = await self._chain_of(notification, CHAIN)
        members = [_member(each) for each in new or open_]
        rows = await self._planner.alerting.news(notification, what, members, len(open_), chain)
        if isinstance(rows, Mute):
            return self._stay_mute(notification, task, rows, claim)
        return Outcome(
            State.DELIVERED,
            then=[_due_since(each, task.due_ms) for each in rows],
            guard=AlertState.OPEN.value,
            says=told_lines(rows, f"news {what.number}", is_last=False),
            provider="router",
        )

    def _stay_mute(self, notification: Notification, task: Task, mute: Mute, claim: Claim) -> Outcome:
        """Look again later at an incident that tells nobody now."""
        if mute.ends_with:
            self._holding.watch_mute(mute.ends_with, notification.id, task.key, mute.again_ms)
        wait = from_epoch_ms(mute.again_ms) - self._clock.now()
        said = line(Happened(mute.reason), way=Way.ESCALATION, rule=mute.rule)
        return Outcome(
            State.PENDING,
            mute.reason,
            wait=max(wait, _SHORTEST_WAIT),
            counts=False,
            mutes=mute.rule,
            says=() if claim.is_mute else (said,),
            provider="router",
        )

    async def _chain_of(self, notification: Notification, name: str) -> Chain:
        text = await self._ledger.kept(notification.id, name)
        if text is None:
            msg = "the record keeps no chain"
            raise CarillonError(msg)
        return read_chain(text)

    def report(self, notification: Notification, task: Task, _claim: Claim, outcome: Outcome) -> None:
        """Publish the jobs of rows that were written with the task's end, and count escalations with no step left.

        What was held or folded for a person and has ended itself is told as its channel's.
        """
        if (
            isinstance(task.what, Escalation | Again)
            and outcome.then
            and outcome.guard
            and not any(map(is_step, outcome.then))
        ):
            metrics.exhausted_escalations.inc()
            extra = {"notification_id": notification.id}
            log.error("an alert's escalation has ended, and nobody answered", extra=extra)
        if not outcome.then and not outcome.part:
            self._tell_end(notification, task, outcome)
            return
        rows = [*outcome.then, *(outcome.part.rows if outcome.part else ())]
        self._holding.watch(notification, outcome.then)
        if outcome.part:
            self._holding.watch(outcome.part.notification, outcome.part.rows)
        messages = tell_planned(self._topics, notification, rows, self._clock)
        if self.link is None:
            return
        trace = tracing.user_properties(notification.trace)
        messages += jobs_of(self._topics, notification.written(), outcome.then, up_to_ms=task.due_ms)
        if outcome.part:
            content = outcome.part.notification.written()
            messages += jobs_of(self._topics, content, outcome.part.rows, up_to_ms=task.due_ms)
        for topic, payload in messages:
            self.link.publish(topic, payload, user_properties=trace)

    def _tell_end(self, notification: Notification, task: Task, outcome: Outcome) -> None:
        what = task.what
        is_told = outcome.state.is_end and outcome.state is not State.DELIVERED and notification.events
        if self.link is None or not is_told or not isinstance(what, Recheck | Fold):
            return
        topic, payload = event(
            self._topics,
            notification.public_id,
            outcome.state,
            self._clock,
            channel=what.channel,
            recipient=what.user_id,
            reason=outcome.reason,
        )
        self.link.publish(topic, payload, user_properties=tracing.user_properties(notification.trace))


def _member(state: MemberState) -> Member:
    said = state.said
    systems, source = said.get("systems"), said.get("source")
    return Member(
        state.id,
        from_epoch_ms(state.first_ms),
        str(said.get("message", "")),
        source if isinstance(source, str) else None,
        tuple(map(str, systems)) if isinstance(systems, list) else (),
    )


def _part(notification: Notification, page: FanOut, rows: Sequence[NewRow]) -> Part | None:
    """Make the record of one page's deliveries: one record for all would grow with the number of people."""
    if not rows:
        return None
    new_id = new_notification_id(shard_of_id(notification.id))
    part = notification.model_copy(update={"id": new_id, "part_of": notification.id})
    return Part(part, rows, is_shared=bool(page.shared))


def _is_page(new: NewRow) -> bool:
    return isinstance(new.row, Task) and isinstance(new.row.what, FanOut)


def _due_since(new: NewRow, due_ms: int) -> NewRow:
    """Give a row that is due at once the time at which its task was due, so that its latency counts from there."""
    if new.row.due_ms or not due_ms:
        return new
    return NewRow(new.row.model_copy(update={"due_ms": due_ms}), new.state, new.reason, new.needs, new.policy)

"""Performs the router's tasks: each becomes rows, written together with the task's end, and then published as jobs.

Deliveries that planning suppresses are counted and reported as they are at acceptance.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from services.router.alerts.noise import Mute
from services.router.planning.digesting import Digesting
from services.router.planning.holding import Holding
from services.router.planning.incident_tasks import DONE, IncidentTasks
from services.router.planning.maintaining import reminder_of, silence_of
from services.router.planning.planner import Planner
from services.router.planning.tasks import (
    Again,
    CloseDigest,
    Escalation,
    FanOut,
    Fold,
    Maintain,
    Plan,
    Recheck,
    Remind,
    Task,
)
from services.router.planning.telling import is_step, tell_planned, told_lines
from shared.core.clock import Clock, epoch_ms
from shared.core.errors import Reason
from shared.core.incidents import AlertState
from shared.core.model import Notification, Priority, State
from shared.core.topics import Topics
from shared.ledger.answering import Answering
from shared.ledger.claims import Claim, Outcome
from shared.ledger.events import event
from shared.ledger.jobs import jobs_of
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRow, Part
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import new_notification_id, shard_of_id
from shared.telemetry import metrics, tracing

log = logging.getLogger(__name__)

_REMINDER_LIFETIME_MS = 24 * 3600 * 1000

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
        self._incidents = IncidentTasks(planner, ledger, clock, holding=holding, answering=answering)
        self._holding = holding
        self._planner = planner
        self._digesting = digesting
        self._ledger = ledger
        self._topics = topics
        self._clock = clock
        self.link: BrokerLink | None = None

    async def perform(self, notification: Notification, task: Task, claim: Claim) -> Outcome:
        """Plan what the task says."""
        # Many are claimed at once. A critical one, such as a level of an escalation, waits for no turn.
        if task.priority is not Priority.CRITICAL:
            await self._planner.turns.take()
        with tracing.span(
            "plan", "internal", notification.trace, task=task.what.do, notification_id=notification.id
        ) as span:
            outcome = await self._plan(notification, task, claim)
            span.set(rows=len(outcome.then) + (len(outcome.part.rows) if outcome.part else 0))
            return outcome

    async def _plan(self, notification: Notification, task: Task, claim: Claim) -> Outcome:
        what = task.what
        match what:
            case Plan():
                return await self._plan_now(notification, task, what, claim)
            case FanOut():
                rows = await self._planner.fan_out(notification, what, task.expires_ms, task.due_ms)
                then = [_due_since(new, task.due_ms) for new in rows]
                # What waits for one person stands with that person's other rows.
                part = _part(notification, what, [new for new in then if not _is_page(new)])
                pages = [new for new in then if _is_page(new)]
                return Outcome(State.DELIVERED, then=pages, part=part, provider="router")
            case Recheck() | Fold() if claim.alert in _ANSWERED:
                return Outcome(State.SUPPRESSED, Reason(claim.alert), provider="router")
            case Recheck():
                rows = await self._planner.recheck(notification, what, task.due_ms)
            case Fold():
                rows = await self._digesting.fold(notification, task, what, again=claim.attempt > 1)
            case CloseDigest():
                return _since(await self._digesting.close(notification, task, what), task.due_ms)
            case Maintain():
                await self._planner.lookups.rulebook.put(*silence_of(notification, what))
                return DONE
            case Remind():
                return await self._remind(notification, what)
            case _:
                return _since(await self._incidents.perform(notification, task, what, claim), task.due_ms)
        return _since(Outcome(State.DELIVERED, then=rows, provider="router"), task.due_ms)

    async def _plan_now(self, notification: Notification, task: Task, what: Plan, claim: Claim) -> Outcome:
        """Plan a scheduled notification; nobody is told of an alert that was answered before its time came."""
        is_alert = what.alert_type is not None
        if is_alert and claim.alert != AlertState.OPEN:
            return DONE
        members = await self._incidents.open_members(notification) if is_alert else ()
        rows = await self._planner.rows_now(notification, what, task.expires_ms, task.due_ms, members)
        if isinstance(rows, Mute):
            return self._incidents.stay_mute(notification, task, rows, claim)
        outcome = _since(Outcome(State.DELIVERED, then=rows, provider="router"), task.due_ms)
        if not is_alert:
            return outcome
        return replace(outcome, guard=AlertState.OPEN.value, says=told_lines(outcome.then, "0"))

    async def _remind(self, notification: Notification, what: Remind) -> Outcome:
        """Say once more that something is worked on soon: in a notification of its own."""
        now_ms = epoch_ms(self._clock.now())
        reminder = notification.model_copy(
            update={
                "id": new_notification_id(shard_of_id(notification.id)),
                "accepted_ms": now_ms,
                "content": reminder_of(notification.content, now_ms),
                "events": False,
            }
        )
        known = await self._planner.lookups.of_people(reminder, [])
        rows = self._planner.crowd(reminder, what.audience, now_ms + _REMINDER_LIFETIME_MS, known)
        return Outcome(State.DELIVERED, part=Part(reminder, rows), provider="router")

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


def _part(notification: Notification, page: FanOut, rows: Sequence[NewRow]) -> Part | None:
    """Make the record of one page's deliveries: one record for all would grow with the number of people."""
    if not rows:
        return None
    new_id = new_notification_id(shard_of_id(notification.id))
    part = notification.model_copy(update={"id": new_id, "part_of": notification.id})
    return Part(part, rows, is_shared=bool(page.shared))


def _is_page(new: NewRow) -> bool:
    return isinstance(new.row, Task) and isinstance(new.row.what, FanOut)


def _since(outcome: Outcome, due_ms: int) -> Outcome:
    return replace(outcome, then=[_due_since(new, due_ms) for new in outcome.then]) if outcome.then else outcome


def _due_since(new: NewRow, due_ms: int) -> NewRow:
    """Give a row that is due at once the time at which its task was due, so that its latency counts from there."""
    if new.row.due_ms or not due_ms:
        return new
    return NewRow(new.row.model_copy(update={"due_ms": due_ms}), new.state, new.reason, new.needs, new.policy)

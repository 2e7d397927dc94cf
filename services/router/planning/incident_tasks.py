"""Performs the tasks of incidents: their steps, their turns, what is new in a group, and their end.

What tells nobody for now stays in its row and is looked at again.
"""

from datetime import timedelta

from services.router.alerts.noise import Mute
from services.router.alerts.oncall import Chain
from services.router.planning.after_answer import tell_answer
from services.router.planning.group_news import Member
from services.router.planning.holding import Holding
from services.router.planning.planner import Planner
from services.router.planning.tasks import CHAIN, Again, Escalation, GroupNews, Task, TellAnswer, Unheard, read_chain
from services.router.planning.telling import told_lines
from shared.core.clock import Clock, epoch_ms, from_epoch_ms
from shared.core.durations import written
from shared.core.errors import CarillonError
from shared.core.incidents import AlertState, Happened, Way, line
from shared.core.model import Channel, Notification, Priority, State
from shared.core.topics import PLAIN_PUBLISHER
from shared.ledger.alerts import Answered
from shared.ledger.answering import Answering
from shared.ledger.claims import Claim, Outcome
from shared.ledger.ledger import Ledger
from shared.ledger.members import MemberState
from shared.ledger.recalling import Recalling

# The store's clock may be a little behind ours.
_SHORTEST_WAIT = timedelta(milliseconds=100)

IncidentTask = Escalation | Again | GroupNews | Unheard | TellAnswer
DONE = Outcome(State.DELIVERED, provider="router")


class IncidentTasks:
    """Performs them.

    Args:
        holding: notes what waits for the end of a silence or another incident.
        answering: ends incidents.
    """

    def __init__(
        self, planner: Planner, ledger: Ledger, clock: Clock, *, holding: Holding, answering: Answering
    ) -> None:
        self._planner = planner
        self._alerting = planner.alerting
        self._ledger = ledger
        self._clock = clock
        self._holding = holding
        self._answering = answering
        self._recalling = Recalling(ledger, clock)

    async def perform(self, notification: Notification, task: Task, what: IncidentTask, claim: Claim) -> Outcome:
        """Do what the task says."""
        match what:
            case Escalation():
                return await self._escalate(notification, task, what, claim)
            case Again():
                return await self._open_again(notification, task, what, claim)
            case GroupNews():
                return await self._tell_news(notification, task, what, claim)
            case Unheard():
                return await self._end_unheard(notification, what, claim)
            case TellAnswer() if Channel.PUSH in self._planner.without:
                return DONE
            case TellAnswer():
                delivered = await self._recalling.delivered(notification.id, Channel.PUSH)
                now_ms = epoch_ms(self._clock.now())
                directory = self._planner.lookups.directory
                return await tell_answer(notification, what, delivered, directory, key=task.key, now_ms=now_ms)

    async def _escalate(self, notification: Notification, task: Task, what: Escalation, claim: Claim) -> Outcome:
        if claim.alert != AlertState.OPEN:
            return DONE
        chain = await self._chain_of(notification, what.chain) if what.steps is None else None
        rows = await self._alerting.escalate(
            notification, what, chain, await self.open_members(notification), was_mute=claim.is_mute
        )
        if isinstance(rows, Mute):
            return self.stay_mute(notification, task, rows, claim)
        # It may have been answered and opened again while a router that died had the step in hand.
        guard = f"{AlertState.OPEN}|{what.turn or 0}"
        return Outcome(State.DELIVERED, then=rows, guard=guard, says=told_lines(rows, what.number), provider="router")

    async def _open_again(self, notification: Notification, task: Task, what: Again, claim: Claim) -> Outcome:
        """Open an incident again whose answer does not hold any more, or that was handed to somebody else."""
        needed = AlertState.OPEN if what.to is not None else AlertState.ACKNOWLEDGED
        if claim.alert != needed:
            return DONE
        chain = await self._chain_of(notification, CHAIN)
        acknowledged_by = None
        if what.to is None:
            acknowledged_by = await self._ledger.kept(notification.id, "acknowledged_by")
        members = await self.open_members(notification)
        rows = await self._alerting.begin_again(
            notification,
            what,
            chain,
            acknowledged_by=acknowledged_by or None,
            due_ms=task.due_ms,
            members=members,
        )
        if isinstance(rows, Mute):
            return self.stay_mute(notification, task, rows, claim)
        turn = what.turn if what.to is not None else what.turn + 1
        opened = () if what.to is not None else (line(Happened.REOPENED, way=Way.ESCALATION),)
        return Outcome(
            State.DELIVERED,
            then=rows,
            guard=f"{needed}|{what.turn}",
            becomes=AlertState.OPEN if what.to is None else None,
            says=(*opened, *told_lines(rows, f"{turn}.0")),
            provider="router",
        )

    async def _tell_news(self, notification: Notification, task: Task, what: GroupNews, claim: Claim) -> Outcome:
        """Tell what is new in a group, or what is still open if nothing was told for long."""
        if claim.alert == AlertState.RESOLVED:
            return DONE
        now_ms = max(epoch_ms(self._clock.now()), task.due_ms)
        again = Outcome(
            State.PENDING, wait=timedelta(milliseconds=what.times.interval_ms), counts=False, provider="router"
        )
        if claim.alert != AlertState.OPEN:
            # Somebody has it.
            return again
        is_quiet = now_ms - what.told_ms < what.times.repeat_ms
        if is_quiet and await self._ledger.members.added(notification.id) <= what.told_upto:
            # Nothing is new, and there may be very many that are known.
            return again
        open_ = [each for each in await self._ledger.members.of(notification.id) if each.is_open]
        new = [each for each in open_ if each.number > what.told_upto]
        if not new and (not open_ or is_quiet):
            return again
        chain = None
        if notification.priority is Priority.CRITICAL:
            chain = await self._chain_of(notification, CHAIN)
        members = [_member(each) for each in new or open_]
        rows = await self._alerting.news(notification, what, members, len(open_), chain)
        if isinstance(rows, Mute):
            return self.stay_mute(notification, task, rows, claim)
        return Outcome(
            State.DELIVERED,
            then=rows,
            guard=AlertState.OPEN.value,
            says=told_lines(rows, f"news {what.number}", is_last=False),
            provider="router",
        )

    async def _end_unheard(self, notification: Notification, what: Unheard, claim: Claim) -> Outcome:
        """End what nobody has said for long is still so."""
        if claim.alert in (AlertState.RESOLVED, ""):
            return DONE
        now_ms = epoch_ms(self._clock.now())
        note = f"nobody has said so for {written(timedelta(milliseconds=what.after_ms))}"
        members = [each for each in await self._ledger.members.of(notification.id) if each.is_open]
        heard = {each.key: each.last_ms for each in members}
        if not members:
            repeated = await self._ledger.kept(notification.id, "repeated_at")
            heard = {"": int(repeated) if repeated else notification.accepted_ms}
        over = [key for key, last_ms in heard.items() if last_ms + what.after_ms <= now_ms]
        for key in over:
            answered, _ = await self._ledger.members.resolve(what.incident_key, key, Way.ESCALATION, note=note)
            if answered is Answered.OVER:
                await self._answering.over(notification.id, PLAIN_PUBLISHER, note, way=Way.ESCALATION)
                return DONE
        next_ms = min(last_ms for key, last_ms in heard.items() if key not in over) + what.after_ms
        wait = max(timedelta(milliseconds=next_ms - now_ms), _SHORTEST_WAIT)
        return Outcome(State.PENDING, wait=wait, counts=False, provider="router")

    async def open_members(self, notification: Notification) -> list[Member]:
        """Return what is open of the alerts that are told with this one; none if it is told alone."""
        return [_member(each) for each in await self._ledger.members.of(notification.id) if each.is_open]

    def stay_mute(self, notification: Notification, task: Task, mute: Mute, claim: Claim) -> Outcome:
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


def _member(state: MemberState) -> Member:
    said = state.said
    systems, source = said.get("systems"), said.get("source")
    return Member(
        state.id,
        from_epoch_ms(state.first_ms),
        str(said.get("message", "")),
        source if isinstance(source, str) else None,
        tuple(map(str, systems)) if isinstance(systems, list) else (),
        state.number,
    )

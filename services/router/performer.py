"""Performs the router's tasks: each becomes rows, written together with the task's end, and then published as jobs."""

from services.router.planner import Planner
from services.router.tasks import Escalation, FanOut, Plan, Task
from shared.jobs import jobs_of
from shared.ledger import AlertState, Claim, Outcome
from shared.model import Notification, State
from shared.mqtt import BrokerLink
from shared.topics import Topics


class Performer:
    """Performs tasks and publishes what follows from them.

    Args:
        link: where jobs are published; one that is lost is driven again by the ledger.
    """

    def __init__(self, planner: Planner, topics: Topics) -> None:
        self._planner = planner
        self._topics = topics
        self.link: BrokerLink | None = None

    async def perform(self, notification: Notification, task: Task, claim: Claim) -> Outcome:
        """Plan what the task says."""
        guard = None
        match task.what:
            case Plan(audience=audience, alert_type=alert_type):
                rows = await self._planner.rows_now(notification, audience, alert_type, task.expires_ms)
            case FanOut() as page:
                rows = await self._planner.fan_out(notification, page, task.expires_ms)
            case Escalation() as step:
                rows = []
                if claim.alert == AlertState.OPEN:
                    rows = await self._planner.escalate(notification, step, task.expires_ms)
                guard = AlertState.OPEN
        return Outcome(State.DELIVERED, then=rows, guard=guard, provider="router")

    def report(self, notification: Notification, _task: Task, _claim: Claim, outcome: Outcome) -> None:
        """Publish the jobs of the rows that were written with the task's end."""
        if self.link is None or not outcome.then:
            return
        content = notification.model_dump_json(exclude_none=True)
        for topic, payload in jobs_of(self._topics, content, outcome.then):
            self.link.publish(topic, payload)

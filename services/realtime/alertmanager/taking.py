"""Publishes the alerts of one message, and says what became of them.

Promises that no more than ``IN_FLIGHT`` of one message wait for a receipt, each in a place of its publisher, and that
the work ends within ``MESSAGE_S``. If one alert cannot be stored for now, no further one is tried: Alertmanager sends
all of them again, and those that were stored are duplicates then.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from services.realtime.access.refusals import Refusal
from services.realtime.alertmanager import metrics
from services.realtime.alertmanager.mapping import Asked, Said, said
from services.realtime.alertmanager.metrics import UNREADABLE, Outcome
from services.realtime.alertmanager.webhook import Alert, Message, UnreadableAlert, read_alert
from services.realtime.publish.router_link import NoReceipt, Properties, RouterLink
from shared.core.incidents import WAY_PROPERTY, Way

ALERTS = 1_000
IN_FLIGHT = 50
MESSAGE_S = 30.0
REFUSALS_SHOWN = 20

# A property and no field of the payload, because the router counts by it what one publisher says again within its rate:
# what both members of a cluster send counts once.
_KEY_PROPERTY = "idempotency-key"

# The refusal that passes; the others would be the same again.
_RATE_LIMITED = "rate_limited"
# Where a refusal for its rate does not say when.
_RATE_WAIT_S = 1.0
_ACCEPTED = {"accepted": Outcome.ACCEPTED, "duplicate": Outcome.DUPLICATE}


class NotStored(Exception):
    """Some of the alerts are not in the ledger, and may be if they are sent again."""


@dataclass(frozen=True, slots=True)
class RefusedForGood:
    """An alert that nobody will ever take as it is.

    Attributes:
        place: in the message, counted from 0.
    """

    place: int
    code: str
    message: str
    fields: Sequence[Mapping[str, Any]] = ()

    def document(self) -> dict[str, Any]:
        """Write it for the answer."""
        shown: dict[str, Any] = {"alert": self.place, "code": self.code, "message": self.message}
        return {**shown, "fields": list(self.fields)} if self.fields else shown


class Taking:
    """The alerts of one message on their way.

    Attributes:
        outcomes: how many became what.
        refused: those that are refused for good, in the order in which that was found.
        labels_left_out: of all alerts.
    """

    def __init__(self, router: RouterLink, publisher: str, message: Message, asked: Asked) -> None:
        self._router = router
        self._publisher = publisher
        self._message = message
        self._asked = asked
        self.outcomes: Counter[Outcome] = Counter()
        self.refused: list[RefusedForGood] = []
        self.labels_left_out = 0

    async def run(self) -> None:
        """Publish the alerts.

        Raises:
            NotStored: at least one alert is not stored.
        """
        alerts = self._message.alerts
        waiting = iter(enumerate(alerts[:ALERTS]))
        is_stored = True
        try:
            async with asyncio.timeout(MESSAGE_S), asyncio.TaskGroup() as group:
                for _ in range(min(IN_FLIGHT, len(alerts))):
                    group.create_task(self._publish_each(waiting), name="alertmanager-alerts")
        except* (NotStored, TimeoutError):
            # Raised here, it would become a group of one.
            is_stored = False
        if not is_stored:
            raise NotStored
        for place in range(ALERTS, len(alerts)):
            self._refuse(UNREADABLE, RefusedForGood(place, "too_many", f"A message may have {ALERTS} alerts."))

    async def _publish_each(self, waiting: Iterator[tuple[int, Any]]) -> None:
        for place, value in waiting:
            try:
                alert = read_alert(value)
            except UnreadableAlert as error:
                fields = [{"field": each.field, "problem": each.problem} for each in error.problems]
                self._refuse(UNREADABLE, RefusedForGood(place, UNREADABLE, "The alert cannot be read.", fields))
            else:
                await self._publish(place, alert)

    async def _publish(self, place: int, alert: Alert) -> None:
        spoken = said(self._message, alert, self._asked)
        try:
            receipt = await self._receipt(spoken)
        except BaseException:
            # Cancelled, too: another alert could not be stored.
            metrics.alerts.labels(alert.status, Outcome.UNANSWERED).inc()
            raise
        self.labels_left_out += spoken.left_out
        outcome = outcome_of(receipt)
        if outcome is Outcome.REFUSED:
            error = receipt["error"]
            refused = RefusedForGood(place, error["code"], error["message"], error.get("fields", ()))
            self._refuse(alert.status, refused)
            return
        metrics.alerts.labels(alert.status, outcome).inc()
        self.outcomes[outcome] += 1

    async def _receipt(self, spoken: Said) -> Mapping[str, Any]:
        """Publish an alert until it is not over the publisher's rate.

        Given up at the first such refusal, a message with more alerts than the rate lets pass would never be whole:
        each time that it comes its first ones would take the places of its last ones.
        """
        while True:
            receipt = await self._ask(spoken)
            if outcome_of(receipt) is not Outcome.UNANSWERED:
                return receipt
            wait_s = float(receipt["error"].get("retry_after_s", _RATE_WAIT_S))
            if wait_s > MESSAGE_S:
                raise NotStored
            await asyncio.sleep(wait_s)

    async def _ask(self, spoken: Said) -> Mapping[str, Any]:
        properties = Properties(user=((WAY_PROPERTY, Way.ALERTMANAGER.value), (_KEY_PROPERTY, spoken.key)))
        try:
            with self._router.places.hold(self._publisher) as place:
                place.take(len(spoken.payload))
                answer = await self._router.ask(self._publisher, spoken.topic, spoken.payload, properties)
        except (NoReceipt, Refusal):
            raise NotStored from None
        receipt: Mapping[str, Any] = from_json(answer)
        return receipt

    def _refuse(self, status: str, refused: RefusedForGood) -> None:
        self.outcomes[Outcome.REFUSED] += 1
        self.refused.append(refused)
        metrics.alerts.labels(status, Outcome.REFUSED).inc()


def outcome_of(receipt: Mapping[str, Any]) -> Outcome:
    """Say what a receipt means for an alert that Alertmanager may send again."""
    if (outcome := _ACCEPTED.get(receipt["status"])) is not None:
        return outcome
    code = receipt["error"]["code"]
    if code == "idempotency_conflict":
        # The same alert in the same state, in other words: annotations hold values that change, and the URLs of the
        # members of a cluster differ.
        return Outcome.DUPLICATE
    return Outcome.UNANSWERED if code == _RATE_LIMITED else Outcome.REFUSED

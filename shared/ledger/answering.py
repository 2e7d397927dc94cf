"""Who may answer an alert: somebody who was told of it, or an admin, whichever way the answer comes.

An operator of the console is as good as an admin: ``may_any`` says that the caller has found out so.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from shared.core.clock import epoch_ms
from shared.core.errors import StoreUnavailable
from shared.core.incidents import DRILL_SOURCE, Way
from shared.directory.directory import Directory
from shared.ledger.alerts import Answered
from shared.ledger.held import Muted
from shared.ledger.incidents import Incidents
from shared.ledger.ledger import Ledger
from shared.telemetry import metrics

# What is put away for longer is forgotten.
LONGEST_SNOOZE = timedelta(days=31)
NOTE_CHARS = 1_000


class Answering:
    """Takes answers of people, and of publishers.

    Args:
        muted: what waits for the end of an incident.
    """

    def __init__(self, ledger: Ledger, directory: Directory, muted: Muted) -> None:
        self._ledger = ledger
        self._directory = directory
        self._muted = muted
        self._incidents = Incidents(ledger.store, ledger.keys)

    async def acknowledge(
        self, alert_id: str, user_id: str, note: str = "", *, way: Way | None = None, may_any: bool = False
    ) -> Answered:
        """Write that a person takes an alert, if that person may."""
        answered = await self._if_may(
            user_id,
            lambda told: self._ledger.alerts.acknowledge(alert_id, user_id, note, must_be_told=told, way=way),
            may_any=may_any,
        )
        await self._time(alert_id, answered, user_id)
        return answered

    async def snooze(
        self,
        alert_id: str,
        user_id: str,
        until_ms: int,
        note: str = "",
        *,
        way: Way | None = None,
        may_any: bool = False,
    ) -> Answered:
        """Write that a person puts an alert away until a time (ms since 1970), if that person may."""
        return await self._if_may(
            user_id,
            lambda told: self._ledger.alerts.snooze(alert_id, user_id, until_ms, note, must_be_told=told, way=way),
            may_any=may_any,
        )

    async def reassign(
        self, alert_id: str, user_id: str, to: str, note: str = "", *, way: Way | None = None, may_any: bool = False
    ) -> Answered:
        """Write that a person hands an alert on to a target such as ``user:bob``, if that person may."""
        return await self._if_may(
            user_id,
            lambda told: self._ledger.alerts.reassign(alert_id, user_id, to, note, must_be_told=told, way=way),
            may_any=may_any,
        )

    async def note(
        self, alert_id: str, user_id: str, note: str, *, way: Way | None = None, may_any: bool = False
    ) -> Answered:
        """Write down what a person has to say about an alert, if that person may."""
        return await self._if_may(
            user_id,
            lambda told: self._ledger.alerts.note(alert_id, user_id, note, must_be_told=told, way=way),
            may_any=may_any,
        )

    async def over(self, alert_id: str, publisher: str, note: str = "", *, way: Way | None = None) -> Answered:
        """Write that a publisher says that an alert is over; whether it may is the caller's to ask."""
        return await self._ended(alert_id, await self._ledger.alerts.resolve(alert_id, note, by=publisher, way=way))

    async def resolve(
        self, alert_id: str, user_id: str, note: str = "", *, way: Way | None = None, may_any: bool = False
    ) -> Answered:
        """Write that a person says that an alert is over, if that person may."""
        answered = await self._if_may(
            user_id,
            lambda told: self._ledger.alerts.resolve(alert_id, note, by=user_id, must_be_told=told, way=way),
            may_any=may_any,
        )
        return await self._ended(alert_id, answered)

    async def _ended(self, alert_id: str, answered: Answered) -> Answered:
        """Look again at what this one has kept from telling."""
        if answered:
            await self._muted.release(f"incident:{alert_id}")
        await self._time(alert_id, answered)
        return answered

    async def _time(self, alert_id: str, answered: Answered, user_id: str | None = None) -> None:
        """Count how long an alert has waited for an answer that has been written now."""
        if answered is not Answered.DONE:
            return
        try:
            incident = await self._incidents.get(alert_id)
        except StoreUnavailable:
            # The answer stands.
            return
        if incident is None or incident.alert.source == DRILL_SOURCE:
            return
        level = incident.alert.level
        if incident.resolved_at is not None:
            waited = incident.resolved_at - incident.opened_at
            metrics.alert_resolved.labels(level).observe(max(0.0, waited.total_seconds()))
        # A later turn, after a reassignment or a lapse, is not the first answer.
        elif incident.acknowledged_at is not None and incident.turn == 0:
            waited = incident.acknowledged_at - incident.opened_at
            metrics.alert_acknowledged.labels(level).observe(max(0.0, waited.total_seconds()))
            seen_ms = await self._ledger.seen_at(incident.id, user_id) if user_id is not None else None
            if seen_ms is not None:
                since_s = epoch_ms(incident.acknowledged_at) / 1000 - seen_ms / 1000
                metrics.alert_seen_acknowledged.labels(level).observe(max(0.0, since_s))

    async def _if_may(
        self, user_id: str, answer: Callable[[bool], Awaitable[Answered]], *, may_any: bool = False
    ) -> Answered:
        answered = await answer(not may_any)
        if answered is Answered.NOT_TOLD:
            person = await self._directory.person(user_id)
            if person is not None and person.is_admin:
                return await answer(False)
        return answered

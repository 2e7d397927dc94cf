"""Who may answer an alert: somebody who was told of it, or an admin, whichever way the answer comes."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from shared.core.incidents import Way
from shared.directory.directory import Directory
from shared.ledger.ledger import Answered, Ledger

# What is put away for longer is forgotten.
LONGEST_SNOOZE = timedelta(days=31)


class Answering:
    """Takes answers of people."""

    def __init__(self, ledger: Ledger, directory: Directory) -> None:
        self._ledger = ledger
        self._directory = directory

    async def acknowledge(self, alert_id: str, user_id: str, note: str = "", *, way: Way | None = None) -> Answered:
        """Write that a person takes an alert, if that person may."""
        return await self._if_may(
            user_id,
            lambda told: self._ledger.acknowledge(alert_id, user_id, note, must_be_told=told, way=way),
        )

    async def snooze(
        self, alert_id: str, user_id: str, until_ms: int, note: str = "", *, way: Way | None = None
    ) -> Answered:
        """Write that a person puts an alert away until a time (ms since 1970), if that person may."""
        return await self._if_may(
            user_id,
            lambda told: self._ledger.snooze(alert_id, user_id, until_ms, note, must_be_told=told, way=way),
        )

    async def reassign(
        self, alert_id: str, user_id: str, to: str, note: str = "", *, way: Way | None = None
    ) -> Answered:
        """Write that a person hands an alert on to a target such as ``user:bob``, if that person may."""
        return await self._if_may(
            user_id,
            lambda told: self._ledger.reassign(alert_id, user_id, to, note, must_be_told=told, way=way),
        )

    async def resolve(self, alert_id: str, user_id: str, note: str = "", *, way: Way | None = None) -> Answered:
        """Write that a person says that an alert is over, if that person may."""
        return await self._if_may(
            user_id,
            lambda told: self._ledger.resolve(alert_id, note, by=user_id, must_be_told=told, way=way),
        )

    async def _if_may(self, user_id: str, answer: Callable[[bool], Awaitable[Answered]]) -> Answered:
        answered = await answer(True)
        if answered is Answered.NOT_TOLD:
            person = await self._directory.person(user_id)
            if person is not None and person.is_admin:
                return await answer(False)
        return answered

"""Who may acknowledge an alert: somebody who was told of it, or an admin, whichever way the acknowledgement comes."""

from shared.directory.directory import Directory
from shared.ledger.ledger import Answered, Ledger


class Acknowledging:
    """Takes acknowledgements."""

    def __init__(self, ledger: Ledger, directory: Directory) -> None:
        self._ledger = ledger
        self._directory = directory

    async def acknowledge(self, alert_id: str, user_id: str, note: str = "") -> Answered:
        """Write that a person takes an alert, if that person may."""
        answered = await self._ledger.acknowledge(alert_id, user_id, note, must_be_told=True)
        if answered is Answered.NOT_TOLD:
            person = await self._directory.person(user_id)
            if person is not None and person.is_admin:
                return await self._ledger.acknowledge(alert_id, user_id, note)
        return answered

"""The states of the alerts among a user's entries.

The text of an entry is written once, while its alert is open. Only the ledger knows whether somebody has acknowledged
it since. Entries without an alert cost nothing here. All entries with one cost one round trip together.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from shared.core.incidents import AlertState
from shared.inbox.timeline import Item
from shared.ledger.alerts import AlertAnswer
from shared.ledger.ledger import Ledger

# The state of an alert that was cancelled, or whose record is gone: an acknowledgement changes nothing any more.
ENDED = "ended"

# The text of every alert holds this. Another entry may hold it, too, and is then looked up in vain.
_SIGN = b'"alert":{'


class AlertStates:
    """The alerts of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def shown(self, items: Iterable[Item]) -> list[Item]:
        """Return the items with the state of each alert as it is now.

        Raises:
            StoreUnavailable: the ledger cannot be asked.
        """
        shown = list(items)
        texts = {index: json.loads(item.utf8) for index, item in enumerate(shown) if _SIGN in item.utf8}
        alerts = {
            index: text
            for index, text in texts.items()
            if isinstance(text.get("alert"), dict) and "id" in text["alert"]
        }
        if not alerts:
            return shown
        answers = await self._ledger.alerts.alert_answers([text["alert"]["id"] for text in alerts.values()])
        for (index, text), answer in zip(alerts.items(), answers, strict=True):
            text["alert"] |= _told(answer)
            written = json.dumps(text, ensure_ascii=False, separators=(",", ":"))
            shown[index] = replace(shown[index], utf8=written.encode())
        return shown

    @staticmethod
    def is_open(item: Item) -> bool:
        """Tell whether an item that was ``shown`` is an alert that nobody has answered."""
        alert = json.loads(item.utf8).get("alert")
        return isinstance(alert, dict) and alert.get("state") == AlertState.OPEN

    @staticmethod
    def awaits_answer(item: Item) -> bool:
        """Tell whether an item that was ``shown`` is an alert that somebody has to answer, and nobody has."""
        alert = json.loads(item.utf8).get("alert")
        return (
            isinstance(alert, dict)
            and alert.get("state") == AlertState.OPEN
            and alert.get("requires_acknowledgment") is True
        )


def _told(answer: AlertAnswer | None) -> dict[str, Any]:
    """Say the state of an alert, and who acknowledged it when."""
    if answer is None:
        return {"state": ENDED}
    told: dict[str, Any] = {"state": answer.state.value}
    if answer.acknowledged_ms is not None:
        told |= {"acknowledged_by": answer.acknowledged_by, "acknowledged_at": answer.acknowledged_ms / 1000}
    return told

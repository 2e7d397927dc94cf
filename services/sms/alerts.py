"""Which alerts were sent to which number, so that an answer by SMS can acknowledge one.

Promises to remember the newest alerts of a number for as long as the ledger keeps records; the number itself is not
written down.
"""

import time
from dataclasses import dataclass
from typing import Self

from shared.keys import Keys
from shared.ledger import AlertState, Ledger
from shared.model import Attempt, PhoneNumber
from shared.store import Store

ALERTS_KEPT = 20


@dataclass(frozen=True, slots=True)
class SentAlert:
    """An alert and whom it was sent to."""

    alert_id: str
    user_id: str

    @property
    def text(self) -> str:
        """What is stored."""
        return f"{self.alert_id}|{self.user_id}"

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read what was stored."""
        alert_id, _, user_id = text.decode().partition("|")
        return cls(alert_id, user_id)


class SentAlerts:
    """The alerts of each number.

    Args:
        retention_s: how long they are remembered after the newest.
    """

    def __init__(self, store: Store, keys: Keys, ledger: Ledger, retention_s: int) -> None:
        self._store = store
        self._keys = keys
        self._ledger = ledger
        self._retention_s = retention_s

    async def remember(self, attempt: Attempt, address: PhoneNumber) -> None:
        """Write down an alert that wants an acknowledgement, before it is sent."""
        alert, recipient = attempt.notification.content.alert, attempt.delivery.recipient
        if alert is None or not alert.requires_acknowledgment or recipient is None:
            return
        key = self._key(address.phone)
        # Submitted together, so that they are one round trip.
        calls = [
            self._store.submit("ZADD", key, f"{time.time():.3f}", SentAlert(attempt.notification.id, recipient).text),
            self._store.submit("ZREMRANGEBYRANK", key, 0, -ALERTS_KEPT - 1),
            self._store.submit("EXPIRE", key, self._retention_s),
        ]
        for call in calls:
            await call

    async def newest_open(self, phone: str) -> SentAlert | None:
        """Return the newest open alert that was sent to a number, None when none is open."""
        for member in await self._store.command("ZRANGE", self._key(phone), 0, -1, "REV"):
            alert = SentAlert.read(member)
            record = f"{self._keys.shard_of(alert.alert_id)}:n:{alert.alert_id}"
            if await self._store.command("HGET", record, "alert") == AlertState.OPEN.encode():
                return alert
        return None

    async def acknowledge(self, alert: SentAlert, note: str) -> None:
        """Acknowledge an alert in the name of whom it was sent to; may be repeated."""
        await self._ledger.acknowledge(alert.alert_id, alert.user_id, note)

    def _key(self, phone: str) -> str:
        return f"{self._keys.sms_number(phone)}:alerts"

"""Which alerts were sent to which telephone number, and the short number that people answer each with.

Promises to remember the newest alerts of a telephone number for as long as the ledger keeps records. An alert keeps its
short number for that time, and no other alert of that telephone has the same. The telephone number itself is not
stored.
"""

from dataclasses import dataclass
from typing import Self

from services.sms.keys import number_key
from shared.core.incidents import AlertState, Way
from shared.core.model import PhoneNumber
from shared.delivery.attempt import Attempt
from shared.ledger.ledger import Ledger
from shared.store.keys import Keys
from shared.store.store import Store, load_script

_alert = load_script(__package__, "sms_alert")

# More than a cap lets through in an hour, and fewer than the numbers of two digits.
ALERTS_KEPT = 90
HIGHEST_NUMBER = 99


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


@dataclass(frozen=True, slots=True)
class Answerable:
    """An alert as somebody may answer it.

    Attributes:
        number: None if a release sent it that gave no numbers.
        state: None if the ledger no longer has it.
    """

    sent: SentAlert
    number: int | None
    state: AlertState | None

    @property
    def is_open(self) -> bool:
        """Whether nobody has acknowledged it yet."""
        return self.state is AlertState.OPEN


class SentAlerts:
    """The alerts of each number.

    Args:
        retention_s: how long they are remembered after the newest one.
    """

    def __init__(self, store: Store, keys: Keys, ledger: Ledger, retention_s: int) -> None:
        self._store = store
        self._keys = keys
        self._ledger = ledger
        self._retention_s = retention_s

    async def number_for(self, attempt: Attempt, address: PhoneNumber) -> int | None:
        """Write down an alert that wants an acknowledgement, before it is sent, and return its number.

        Returns:
            None if nobody has to acknowledge the notification.

        Raises:
            StoreUnavailable: it could not be written down.
        """
        alert, recipient = attempt.notification.content.alert, attempt.delivery.recipient
        if alert is None or not alert.requires_acknowledgment or recipient is None:
            return None
        sent = SentAlert(attempt.notification.id, recipient)
        base = number_key(self._keys, address.phone)
        return int(await self._store.script(_alert, base, sent.text, ALERTS_KEPT, HIGHEST_NUMBER, self._retention_s))

    async def sent_to(self, phone: str) -> list[Answerable]:
        """Return the alerts sent to a number, the newest first. An alert that several people got there counts once."""
        base = number_key(self._keys, phone)
        members = await self._store.command("ZRANGE", f"{base}:alerts", 0, -1, "REV")
        if not members:
            return []
        found: dict[str, tuple[SentAlert, int | None]] = {}
        numbers = await self._store.command("HMGET", f"{base}:alert_numbers", *members)
        for member, number in zip(members, numbers, strict=True):
            sent = SentAlert.read(member)
            found.setdefault(sent.alert_id, (sent, None if number is None else int(number)))
        states = await self._ledger.alerts.alert_states(list(found))
        return [Answerable(sent, number, state) for (sent, number), state in zip(found.values(), states, strict=True)]

    async def acknowledge(self, alert: SentAlert, note: str) -> bool:
        """Acknowledge an alert in the name of the person it was sent to; may be repeated.

        Returns:
            False if the ledger does not have it (any more), or does not know that it was sent to that person.
        """
        answered = await self._ledger.alerts.acknowledge(
            alert.alert_id, alert.user_id, note, must_be_told=True, way=Way.SMS
        )
        return bool(answered)

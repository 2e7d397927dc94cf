"""Writes a provider's status callbacks into the ledger: what became of an SMS after the provider accepted it.

Callbacks may come late, twice and in any order. Promises that none of them ends a delivery: it ended when the provider
accepted it (docs/decisions/0005). If a delivery was sent twice because the first attempt was in doubt, the better
outcome counts.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError

from shared.core.model import Delivery, Notification
from shared.ledger.ledger import is_notification_id
from shared.ledger.rows import Confirmation, confirmation_field
from shared.store.keys import Keys
from shared.store.replies import read_object
from shared.store.store import Store, load_script

_confirm = load_script("shared.ledger", "confirm", "ledger")


class Outcome(StrEnum):
    """How far a message has come; the words are metric labels."""

    TAKEN = "taken"
    SENT = "sent"
    FAILED = "failed"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A delivery that a callback was about.

    Attributes:
        notification_id: what its publisher knows it by.
        news: no outcome as good as this was known before.
        events: the publisher wants to be told of each step.
    """

    delivery: Delivery
    notification_id: str
    news: bool
    events: bool


class Confirmations:
    """The confirmations on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def write(
        self, notification_id: str, key: str, outcome: Outcome, code: str, provider_id: str
    ) -> Confirmed | None:
        """Write down what a callback says; None when there is no such delivery (any more)."""
        if not is_notification_id(notification_id):
            return None
        base = self._keys.shard_of(notification_id)
        answer = await self._store.script(_confirm, base, notification_id, key, outcome, code, provider_id)
        if answer[0] == b"unknown":
            return None
        said = read_object(answer[1])
        try:
            delivery = Delivery.model_validate_json(answer[2])
        except ValidationError:
            return None
        return Confirmed(
            delivery,
            str(said.get("part_of") or notification_id),
            news=answer[0] == b"news",
            events=bool(said.get("events")),
        )

    async def taken(self, notification: Notification, delivery: Delivery) -> str | None:
        """Return the provider's id of a message of this delivery that it is known to have accepted; None for none."""
        record = f"{self._keys.shard_of(notification.id)}:n:{notification.id}"
        found: bytes | None = await self._store.command("HGET", record, confirmation_field(delivery.key))
        return Confirmation.read(found).provider_id or None if found else None

"""Writes into the ledger what a provider says of a message after it has accepted it: an SMS, or a mail.

Such words may come late, twice and in any order. Promises that none of them ends a delivery: it ended when the provider
accepted it (docs/decisions/0005). If a delivery was sent twice because the first attempt was in doubt, the better
outcome counts. Each different word is kept once, and a bounded number for a delivery.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError

from shared.core.clock import Clock
from shared.core.model import Channel, Delivery, EmailAddress, Notification, State
from shared.core.topics import Topics
from shared.directory.suppression import digest
from shared.ledger.events import event
from shared.ledger.jobs import Message
from shared.ledger.rows import Confirmation, confirmation_field, spec_field
from shared.store.keys import Keys, is_notification_id
from shared.store.replies import pairs, read_object
from shared.store.store import Store, load_script

_confirm = load_script(__package__, "confirm", "ledger")

# What is known of one delivery: more than all outcomes of a delivery that was sent twice.
_KEPT = 10
# Fields of a record that are looked at for a mail, and at a time. A part of a fan-out has fewer.
_FIELDS_LOOKED_AT = 20_000
_PAGE = 1000


class Outcome(StrEnum):
    """How far a message has come; the words are metric labels."""

    TAKEN = "taken"
    SENT = "sent"
    FAILED = "failed"
    DELIVERED = "delivered"
    COMPLAINED = "complained"
    """It has arrived, and its reader called it spam."""


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


def mail_reference(notification_id: str, key: str) -> str:
    """Name a delivery in a mail. The key may hold an address, so only its hash goes out."""
    return f"{notification_id}.{_hashed(key)}"


def told(topics: Topics, confirmed: Confirmed, outcome: Outcome, code: str, clock: Clock) -> Message | None:
    """Return the event that says how far a message has come; None for one that nobody is to be told.

    The state of the delivery stays. The confirmation says how far the message came after that.
    """
    if not confirmed.events or not confirmed.news or outcome in (Outcome.TAKEN, Outcome.SENT):
        return None
    return event(
        topics, confirmed.notification_id, State.DELIVERED, clock,
        channel=confirmed.delivery.channel, recipient=confirmed.delivery.recipient,
        confirmation={"outcome": outcome, "code": code or None},
    )  # fmt: skip


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _goes_to(spec: bytes, address_digest: str) -> bool:
    try:
        address = Delivery.model_validate_json(spec).address
    except ValidationError:
        return False
    return isinstance(address, EmailAddress) and digest(address.email) == address_digest


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
        answer = await self._store.script(_confirm, base, notification_id, key, outcome, code, provider_id, _KEPT)
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

    async def mail(self, reference: str, address_digest: str) -> tuple[str, str] | None:
        """Find the delivery that a mail was: notification id and key; None when there is no such one (any more).

        Args:
            reference: as ``mail_reference`` wrote it.
            address_digest: of the address that its provider names; another one than the delivery's is not believed.
        """
        notification_id, _, wanted = reference.partition(".")
        if not is_notification_id(notification_id):
            return None
        record = f"{self._keys.shard_of(notification_id)}:n:{notification_id}"
        cursor = looked_at = 0
        while looked_at < _FIELDS_LOOKED_AT:
            pattern = spec_field(f"{Channel.EMAIL}:*")
            answer = await self._store.command("HSCAN", record, cursor, "MATCH", pattern, "COUNT", _PAGE)
            cursor, looked_at = int(answer[0]), looked_at + _PAGE
            for field, spec in pairs(answer[1]):
                key = field.decode(errors="replace")[len(spec_field("")) :]
                if _hashed(key) == wanted:
                    return (notification_id, key) if _goes_to(spec, address_digest) else None
            if cursor == 0:
                break
        return None

    async def taken(self, notification: Notification, delivery: Delivery) -> str | None:
        """Return the provider's id of a message of this delivery that it is known to have accepted; None for none."""
        record = f"{self._keys.shard_of(notification.id)}:n:{notification.id}"
        found: bytes | None = await self._store.command("HGET", record, confirmation_field(delivery.key))
        return Confirmation.read(found).provider_id or None if found else None

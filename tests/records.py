"""Notifications written straight into a ledger, without a router and a channel service."""

import time
from datetime import timedelta

from shared.core.errors import Reason
from shared.core.model import (
    Address,
    AlertDetails,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    Notification,
    Priority,
    State,
)
from shared.ledger.claims import Outcome
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import Keys, new_notification_id

LEASE = timedelta(seconds=30)
ENDS = (State.DELIVERED, State.SUPPRESSED, State.EXPIRED, State.DEAD_LETTERED)


def now_ms() -> int:
    return round(time.time() * 1000)


def delivery(
    key: str = "email:0",
    *,
    recipient: str | None = None,
    address: Address | None = None,
    due_ms: int = 0,
    lifetime_s: float = 3600,
) -> NewRow:
    """Describe a delivery on the channel that the key begins with."""
    return NewRow(
        Delivery(
            key=key,
            channel=Channel(key.partition(":")[0]),
            priority=Priority.NORMAL,
            address=address or EmailAddress(email="user@example.com"),
            recipient=recipient,
            due_ms=due_ms,
            expires_ms=now_ms() + round(lifetime_s * 1000),
        )
    )


async def accept(ledger: Ledger, *rows: NewRow, shard: int | None = None, alert: AlertDetails | None = None) -> str:
    """Write a notification with these deliveries and return its id."""
    notification = Notification(
        id=new_notification_id(shard),
        kind="email_send",
        priority=Priority.NORMAL,
        accepted_ms=now_ms(),
        content=Content(title="Subject", message="Body", alert=alert),
    )
    await ledger.accept(NewRecord(notification, rows))
    return notification.id


async def end(
    ledger: Ledger,
    notification_id: str,
    key: str = "email:0",
    state: State = State.DELIVERED,
    reason: Reason = Reason.NONE,
) -> None:
    """Claim a delivery and end it."""
    (claim,) = await ledger.claim([(notification_id, key)], LEASE)
    assert claim.verdict == "claimed", claim
    assert await ledger.finish(claim, Outcome(state, reason, provider="smtp")) == "finished"


async def dead(ledger: Ledger, row: NewRow | None = None, reason: Reason = Reason.REJECTED, *, shard: int = 0) -> str:
    """Write a notification whose one delivery is a dead letter, and return its id."""
    row = row or delivery()
    notification_id = await accept(ledger, row, shard=shard)
    await end(ledger, notification_id, row.row.key, State.DEAD_LETTERED, reason)
    return notification_id


def record_key(notification_id: str) -> str:
    """Name the record of a notification in a store without a prefix."""
    return f"{Keys().shard_of(notification_id)}:n:{notification_id}"

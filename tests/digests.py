"""Items and digests written straight into a ledger, without a router."""

import json
from typing import Any

from services.router.planning.tasks import Plan, Task
from shared.core.model import Channel, Content, Notification, Priority
from shared.ledger.digests import Digests, Item, Member, Opening
from shared.ledger.new_records import NewRow
from shared.store.keys import new_notification_id
from tests.records import now_ms

GROUP = "user1|comments|email|post-7"
HOUR_MS = 3_600_000


def item(number: int = 0, notification_id: str = "") -> Item:
    """Describe what happened, later with every number."""
    own = notification_id or new_notification_id()
    text = json.dumps({"title": f"Comment {number}", "notification_id": own})
    return Item(own, "email:user1", now_ms() + number, text)


def member(of: Item) -> Member:
    """Name an item as a digest does."""
    return of.notification_id, of.key


def opening(group: str = GROUP, **options: Any) -> Opening:
    """Describe a window of an hour, or another one."""
    notification = Notification(
        id=new_notification_id(Digests.shard_of_group(group)),
        kind="user",
        priority=Priority.NORMAL,
        accepted_ms=now_ms(),
        content=Content(title="", message="", category="comments"),
    )
    # Any task stands for the one that closes.
    close = NewRow(Task(key="close", priority=Priority.NORMAL, expires_ms=now_ms() + 60_000, what=Plan()))
    if "ends_ms" not in options:
        options = {"window_ms": HOUR_MS} | options
    return Opening(notification, close, Channel.EMAIL, **options)

"""Delivers into inboxes and to open sessions.

Delivered means that the notification stands in the inbox (or the feed). It is then shown live at once; if that fails, a
comparison with the store repairs it later. A retry is harmless: an entry is written once for each notification id. An
entry that was taken back is not written again, so that a late attempt does not bring it back.
"""

from services.realtime.node.changes import Changes
from services.realtime.sessions.frames import status_text
from shared.core.model import Delivery, Feed, UserInbox
from shared.core.topics import Kind
from shared.delivery.attempt import Attempt, Receipt
from shared.inbox.inbox import wire_body
from shared.store.keys import order_of


class InboxProvider:
    """The inbox as a provider."""

    name = "inbox"

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether the delivery goes to an inbox or to the feed."""
        return isinstance(delivery.address, UserInbox | Feed)

    async def send(self, attempt: Attempt) -> Receipt:
        """Write the notification where it belongs and show it live."""
        notification, address = attempt.notification, attempt.delivery.address
        content = attempt.content
        if attempt.delivery.recalls:
            if isinstance(address, UserInbox):
                await self._changes.recall_entry(address.user_id, notification.id)
            elif isinstance(address, Feed):
                await self._changes.recall_broadcast(notification.id)
            return Receipt()
        order = order_of(notification.id, attempt.delivery.due_ms)
        if isinstance(address, UserInbox):
            body = wire_body(notification, content, silent=bool(address.silent))
            pinned = content.alert is not None and content.alert.requires_acknowledgment
            await self._changes.add_entry(
                address.user_id,
                notification.id,
                body,
                order=order,
                live=address.live,
                pinned=pinned,
                tenant=notification.tenant,
            )
        elif isinstance(address, Feed) and notification.kind == Kind.SYSTEM_STATUS:
            text = status_text(content.message, content.data, notification.accepted_ms / 1000)
            await self._changes.put_status(notification.accepted_ms, text)
        elif isinstance(address, Feed):
            body = wire_body(notification, content)
            await self._changes.add_broadcast(notification.id, body, address.groups, order=order)
        return Receipt()

    async def close(self) -> None:
        """Nothing is held open here."""

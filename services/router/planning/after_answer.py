"""What follows when somebody has answered an incident: those who were told are told who has it, quietly.

The push takes the place of the first one on the screen, and makes no sound. The inbox entry shows the state itself.
"""

from collections.abc import Sequence

from services.router.planning.tasks import TellAnswer
from shared.core.model import ANSWERED, Content, Delivery, Notification, Priority, State
from shared.directory.directory import Directory
from shared.ledger.claims import Outcome
from shared.ledger.new_records import NewRow

_LIFETIME_MS = 3600 * 1000
_WORDS = {"acknowledged": "Acknowledged", "snoozed": "Snoozed", "resolved": "Resolved"}


async def tell_answer(
    notification: Notification,
    what: TellAnswer,
    delivered: Sequence[Delivery],
    directory: Directory,
    *,
    key: str,
    now_ms: int,
) -> Outcome:
    """Plan the pushes that say it; whoever did it knows.

    Args:
        delivered: the pushes that told of it.
        key: of the task.
    """
    person = await directory.person(what.by) if what.by else None
    name = (person.name or person.user_id) if person is not None else ""
    by = f" by {name}" if name else ""
    text = f"{_WORDS.get(what.state, what.state)}{by}: {notification.content.title}"
    rows = [
        NewRow(
            Delivery(
                key=f"{each.key}{ANSWERED}{key.rpartition(':')[2]}",
                channel=each.channel,
                priority=Priority.HIGH,
                address=each.address,
                recipient=each.recipient,
                content=Content(title=text, message=""),
                expires_ms=now_ms + _LIFETIME_MS,
                recalls=True,
            )
        )
        for each in _last(delivered)
        if each.recipient != what.by
    ]
    return Outcome(State.DELIVERED, then=rows, provider="router")


def _last(delivered: Sequence[Delivery]) -> list[Delivery]:
    """Return one for each device, however often it was told."""
    return list({(each.recipient, each.address.model_dump_json()): each for each in delivered}.values())

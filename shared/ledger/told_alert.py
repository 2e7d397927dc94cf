"""An alert as somebody sees it who was told of it, or an admin, and nobody else. Promises to write nothing."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from shared.core.channels import ROUTER_LANE
from shared.core.incidents import AlertState
from shared.core.model import Content, Notification, State
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.ledger.reader import Trace, TracedRecord
from shared.store.keys import Keys
from shared.store.store import Store


@dataclass(frozen=True, slots=True)
class ToldAlert:
    """An alert that a person may see.

    Attributes:
        since: when it was accepted.
        state: None if it was cancelled.
        acknowledged_by: the user id; a resolved alert still says so.
        acknowledged_name: what the directory calls that person, else the user id.
        timezone: of the person who looks, where the directory says it.
    """

    content: Content
    since: datetime
    state: AlertState | None
    acknowledged_by: str | None = None
    acknowledged_name: str | None = None
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None
    timezone: str | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether it waits for somebody to acknowledge it."""
        return self.state is AlertState.OPEN


class ToldAlerts:
    """The alerts of one ledger."""

    def __init__(self, store: Store, keys: Keys, directory: Directory) -> None:
        self._store = store
        self._keys = keys
        self._trace = Trace(store, keys)
        self._directory = directory

    async def shown_to(self, user_id: str, alert_id: str) -> ToldAlert | None:
        """Return an alert; None if there is none by that id (any more), or this person may not see it.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """
        record = await self._trace.record(alert_id)
        if record is None or record.alert is None:
            return None
        by = record.acknowledged_by
        people = await self._directory.people([user_id, by] if by and by != user_id else [user_id])
        person = people.get(user_id)
        content = await self._content(alert_id)
        if content is None or content.alert is None or not await self._may_see(record, user_id, person):
            return None
        name = people[by].name if by in people else None
        return ToldAlert(
            content,
            record.accepted_at,
            None if record.cancelled_at is not None else record.alert,
            acknowledged_by=by,
            acknowledged_name=name or by,
            acknowledged_at=record.acknowledged_at,
            resolved_at=record.resolved_at,
            timezone=person.timezone if person is not None else None,
        )

    async def _may_see(self, record: TracedRecord, user_id: str, person: Person | None) -> bool:
        """Tell whether somebody may acknowledge it, in the words of ``answer_alert.lua``; see ``acknowledging``."""
        if record.acknowledged_by == user_id or (person is not None and person.is_admin):
            return True
        async for row in self._trace.rows(record.notification_id, user_id):
            if row.lane != ROUTER_LANE and row.state is not State.SUPPRESSED:
                return True
        return False

    async def _content(self, alert_id: str) -> Content | None:
        text = await self._store.command("HGET", f"{self._keys.shard_of(alert_id)}:n:{alert_id}", "c")
        try:
            return Notification.model_validate_json(text or b"").content
        except ValidationError:
            return None

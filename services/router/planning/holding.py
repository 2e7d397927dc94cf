"""Watches what is held for people, so that a change of their quiet time moves it.

Whoever changes a person's quiet time releases what is noted for that person (``shared.ledger.held``). What was decided
by the record before and noted after that would stay as it is; so the record is read again once it is noted.
"""

import asyncio
from collections.abc import Sequence

from services.router.planning.known import is_quiet
from services.router.planning.lookups import Lookups
from services.router.planning.tasks import Recheck, Task
from shared.core.errors import StoreUnavailable
from shared.core.model import Notification
from shared.ledger.held import Held
from shared.ledger.ledger import NewRow


class Holding:
    """Notes what is held, and looks at it once more."""

    def __init__(self, held: Held, lookups: Lookups) -> None:
        self._held = held
        self._lookups = lookups
        self._watching: set[asyncio.Task[None]] = set()

    def watch(self, notification: Notification, rows: Sequence[NewRow]) -> None:
        """Note those of a record's rows that are held for somebody's quiet time; nobody waits for it.

        Args:
            notification: whose record it is, a part of a fan-out or the whole.
        """
        held = [new.row for new in rows if isinstance(new.row, Task) and isinstance(new.row.what, Recheck)]
        if held:
            task = asyncio.create_task(self._watch(notification, held), name="watch-held")
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)

    async def _watch(self, notification: Notification, rows: Sequence[Task]) -> None:
        whats = [(row, row.what) for row in rows if isinstance(row.what, Recheck) and is_quiet(row.what.rule)]
        if not whats:
            return
        try:
            await self._held.note((what.user_id, notification.id, row.key, row.due_ms) for row, what in whats)
            user_ids = sorted({what.user_id for _, what in whats})
            known = await self._lookups.of_people(notification, user_ids, counts=False)
            moved = set()
            for row, what in whats:
                quiet = known.facts(notification, what.user_id).quiet
                if quiet is None or quiet.until_ms + quiet.within_ms < row.due_ms:
                    moved.add(what.user_id)
            for user_id in sorted(moved):
                await self._held.release(user_id)
        except StoreUnavailable:
            # It is looked at when its time comes.
            return

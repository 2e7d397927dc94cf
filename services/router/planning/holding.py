"""Watches what is held for people, so that a change of their quiet time moves it.

Whoever changes a person's quiet time releases what is noted for that person (``shared.ledger.held``). What was decided
by the record before and noted after that would stay as it is; so the record is read again once it is noted.

In the hours in which many people are quiet nearly everything is held. So it is noted and looked at in batches, beside
the intake, and what is too much is only looked at when its time comes.
"""

import asyncio
import logging
from collections.abc import Sequence

from services.router.planning.known import is_quiet
from services.router.planning.lookups import Lookups
from services.router.planning.tasks import ENDS_WITH, Recheck, Task
from shared.core.errors import StoreUnavailable
from shared.core.model import Notification
from shared.directory.silences import Silence
from shared.ledger.held import Held, Muted
from shared.ledger.new_records import NewRow

log = logging.getLogger(__name__)

# Rows that are looked at together, and that wait for it at most.
_BATCH = 500
WAITING_MOST = 20_000

_SILENCE = "silence:"


class Holding:
    """Notes what is held, and looks at it once more."""

    def __init__(self, held: Held, muted: Muted, lookups: Lookups) -> None:
        self._held = held
        self._muted = muted
        self._mutes: list[tuple[str, str, str, int]] = []
        self._lookups = lookups
        self._waiting: list[tuple[Notification, Task, Recheck]] = []
        self._watching: asyncio.Task[None] | None = None

    def watch(self, notification: Notification, rows: Sequence[NewRow]) -> None:
        """Note those of a record's rows that are held for somebody's quiet time; nobody waits for it.

        Args:
            notification: whose record it is, a part of a fan-out or the whole.
        """
        for new in rows:
            row = new.row
            if new.needs.get(ENDS_WITH):
                self.watch_mute(new.needs[ENDS_WITH], notification.id, row.key, row.due_ms)
            if isinstance(row, Task) and isinstance(row.what, Recheck) and is_quiet(row.what.rule):
                self._waiting.append((notification, row, row.what))
        self._begin()

    def watch_mute(self, ends_with: str, record_id: str, key: str, due_ms: int) -> None:
        """Note a row of an incident that tells nobody, so that the end of what keeps it from that moves it."""
        self._mutes.append((ends_with, record_id, key, due_ms))
        del self._mutes[WAITING_MOST:]
        self._begin()

    def _begin(self) -> None:
        del self._waiting[WAITING_MOST:]
        if (self._waiting or self._mutes) and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watch(), name="watch-held")

    async def watched(self) -> None:
        """Wait until all that was to be noted has been."""
        if self._watching is not None:
            await self._watching

    async def _watch(self) -> None:
        while self._waiting or self._mutes:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            mutes, self._mutes = self._mutes[:_BATCH], self._mutes[_BATCH:]
            try:
                await self._muted.note(mutes)
                silences = {name.removeprefix(_SILENCE) for name, *_ in mutes if name.startswith(_SILENCE)}
                await self._lookups.rulebook.note_matched(Silence, sorted(silences))
                if batch:
                    await self._look_at(batch)
            except StoreUnavailable:
                # They are looked at when their time comes.
                continue
            except Exception:
                # As a fault of our own in one of them must not end the watch for all.
                log.exception("what is held is looked at when its time comes")

    async def _look_at(self, batch: Sequence[tuple[Notification, Task, Recheck]]) -> None:
        await self._held.note((what.user_id, notification.id, row.key, row.due_ms) for notification, row, what in batch)
        notifications = [notification for notification, _, _ in batch]
        known = await self._lookups.of_readers(notifications, sorted({what.user_id for _, _, what in batch}))
        moved = set()
        for notification, row, what in batch:
            quiet = known.facts(notification, what.user_id).quiet
            # Quiet time that has ended by itself since lets its rows go one after the other, as they are written.
            until_ms = known.now_ms if quiet is None else quiet.until_ms
            if until_ms + known.release_within_ms < row.due_ms:
                moved.add(what.user_id)
        for user_id in sorted(moved):
            await self._held.release(user_id)

"""Which actions of an entry a user has pressed.

Promises that one process at a time has the right to publish a press, and that a press which was published is never
published again. If a process dies while it has the right, another one gets it at the next press after ``LEASE``. So a
press may be published twice only if the process dies between the broker's answer and ``pressed``.
"""

import json
from datetime import timedelta
from enum import StrEnum

from shared.inbox.inbox import Inbox, Marked, new_epoch, read_marked
from shared.inbox.snooze import feed_arguments
from shared.inbox.timeline import FeedEntry, FeedLog
from shared.store.keys import Keys
from shared.store.store import Store, load_script

_PRELUDE = "inbox_log"
_press = load_script(__package__, "inbox_press", _PRELUDE)
_pressed = load_script(__package__, "inbox_pressed", _PRELUDE)

# Longer than a publish may take.
LEASE = timedelta(seconds=10)


class Press(StrEnum):
    """What a press of an action is."""

    MINE = "mine"
    """The caller publishes it, and calls ``pressed``."""
    BUSY = "busy"
    """Another process is publishing it."""
    PUBLISHED = "published"
    """It was published before."""


class PressedActions:
    """The pressed actions in the inboxes on one store."""

    def __init__(self, store: Store, keys: Keys, inbox: Inbox) -> None:
        self._store = store
        self._keys = keys
        self._inbox = inbox

    async def press(self, user_id: str, entry_id: str, action: str) -> Press:
        """Ask for the right to publish that a user presses an action; the caller knows that the entry has it."""
        answer = await self._store.script(
            _press, self._keys.user(user_id), entry_id, action, round(LEASE.total_seconds() * 1000),
            self._inbox.retention_s, lasting=True,
        )  # fmt: skip
        return Press(answer.decode())

    async def pressed(
        self,
        user_id: str,
        entry_id: str,
        action: str,
        *,
        published: bool,
        former: str | None,
        broadcast: FeedEntry | None,
        feed: FeedLog,
    ) -> Marked | None:
        """Say how publishing a press ended. If it was published, the entry names the action as ``acted`` from now on.

        Args:
            former: what the entry named as ``acted`` before.
            broadcast: the entry of that id in the feed, if the user sees that one.

        Returns:
            None when the entry has gone meanwhile.
        """
        answer = await self._store.script(
            _pressed, self._keys.user(user_id), entry_id, action, int(published), _json(action),
            "" if former is None else _json(former), self._inbox.limit, self._inbox.retention_s, new_epoch(),
            *feed_arguments(broadcast, feed), lasting=True,
        )  # fmt: skip
        return read_marked(answer) if answer else None


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

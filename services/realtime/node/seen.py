"""Writes into the ledger who has seen a notification: whoever marks its entry of the inbox as read.

Promises that nobody waits for it and nothing fails by it. It may be missing where the store is away or far behind.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from redis.exceptions import ResponseError

from shared.core.errors import StoreUnavailable
from shared.ledger.ledger import Ledger

log = logging.getLogger(__name__)

# Written at the same time. What comes beyond them is left out, so that a store that hangs does not fill the memory.
_UNDERWAY = 1000

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class SeenEntries:
    """Writes to one ledger, in the background."""

    def __init__(self, ledger: Ledger, spawn: Spawn) -> None:
        self._ledger = ledger
        self._spawn = spawn
        self._underway = 0

    def note(self, user_id: str, notification_id: str) -> None:
        """Begin to write that a person has seen a notification."""
        if self._underway < _UNDERWAY:
            self._underway += 1
            self._spawn(self._write(user_id, notification_id), "seen")

    async def _write(self, user_id: str, notification_id: str) -> None:
        try:
            await self._ledger.seen(notification_id, user_id)
        except (StoreUnavailable, ResponseError):
            log.warning(
                "the ledger does not say that a notification was seen", extra={"notification_id": notification_id}
            )
        finally:
            self._underway -= 1

"""Says in the timeline of an incident who has seen it: whoever marks its entry of the inbox as read.

Promises that nobody waits for it and nothing fails by it. A line may be missing where the store is away or far behind.
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


class SeenAlerts:
    """Writes to the timelines of one ledger, in the background."""

    def __init__(self, ledger: Ledger, spawn: Spawn) -> None:
        self._ledger = ledger
        self._spawn = spawn
        self._underway = 0

    def note(self, user_id: str, alert_id: str) -> None:
        """Begin to write that a person has seen an alert."""
        if self._underway < _UNDERWAY:
            self._underway += 1
            self._spawn(self._write(user_id, alert_id), "seen-alert")

    async def _write(self, user_id: str, alert_id: str) -> None:
        try:
            await self._ledger.seen(alert_id, user_id)
        except (StoreUnavailable, ResponseError):
            log.warning("the timeline does not say that an alert was seen", extra={"notification_id": alert_id})
        finally:
            self._underway -= 1

"""When snoozed entries come back: a timer for each user here whose inbox has some.

The store alone knows what is snoozed, and whatever reads an inbox lets come back what is due. A timer only makes it
happen at the right moment for users with open sessions. So nothing is lost with a process and its timers.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

from services.realtime.sessions.session import Spawn

Wake = Callable[[str], Coroutine[Any, Any, None]]

# Many people choose the same hour. What is due together is spread over so long.
SPREAD_S = 1.0

# Before the store is asked again, where its clock is behind ours.
_AGAIN_S = 0.5


class Waking:
    """The timers of one process.

    Args:
        spawn: starts a background task that is kept until its end.
    """

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._wake: Wake | None = None
        self._timers: dict[str, tuple[int, asyncio.TimerHandle]] = {}

    def by(self, wake: Wake) -> None:
        """Say what lets a user's entries come back."""
        self._wake = wake

    def at(self, user_id: str, wake_ms: int) -> None:
        """Take note of when a user's next entry comes back, in milliseconds since 1970; 0 changes nothing."""
        known = self._timers.get(user_id)
        if wake_ms <= 0 or (known is not None and known[0] == wake_ms):
            return
        if known is not None:
            known[1].cancel()
        wait_s = wake_ms / 1000 - time.time()
        spread_s = random.uniform(0, SPREAD_S)  # noqa: S311 - jitter
        delay_s = wait_s + spread_s if wait_s > 0 else _AGAIN_S + spread_s
        timer = asyncio.get_running_loop().call_later(delay_s, self._due, user_id)
        self._timers[user_id] = (wake_ms, timer)

    def forget(self, user_id: str) -> None:
        """Drop the timer of a user who has gone."""
        known = self._timers.pop(user_id, None)
        if known is not None:
            known[1].cancel()

    def _due(self, user_id: str) -> None:
        self._timers.pop(user_id, None)
        if self._wake is not None:
            self._spawn(self._wake(user_id), "inbox-wake")

"""Digests close no faster than their channel takes them, so that those of one minute keep nobody else waiting.

A router closes digests faster than most relays take mails. All of it in one go would only move them from one queue into
the next, and whoever needs the store, the router or the broker meanwhile would wait.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from shared.core.model import Priority
from shared.ledger.backlog import WINDOW_ROWS

# A channel is behind when so many rows are handed over and nobody has claimed them.
BEHIND_ROWS = WINDOW_ROWS // 4

# A digest of such a channel is put off once, for so long. It is short, because the router's other tasks wait behind it,
# and because nobody knows when a channel whose provider is down goes on.
_PUT_OFF_S = 0.1

# Once in so many digests the store is asked, and for so long its answer counts. Few digests ask nothing.
ASKED_EVERY = 32
_KNOWN_S = 0.5

# Tells how many rows of a lane and priority are handed over and not yet claimed.
HandedOver = Callable[[str, Priority], Awaitable[int]]


@dataclass(slots=True)
class _Line:
    digests: int = 0
    behind_until_s: float = 0.0


class Pacing:
    """Puts digests off whose channel is behind, by its lane and priority."""

    def __init__(self, handed_over: HandedOver) -> None:
        self._handed_over = handed_over
        self._lines: defaultdict[tuple[str, Priority], _Line] = defaultdict(_Line)

    async def wait(self, lane: str, priority: Priority) -> None:
        """Wait a moment, if this lane is behind with this priority.

        Raises:
            StoreUnavailable: nobody knows.
        """
        line = self._lines[lane, priority]
        line.digests += 1
        if line.digests >= ASKED_EVERY:
            # The others go by the answer before meanwhile.
            line.digests = 0
            is_behind = await self._handed_over(lane, priority) >= BEHIND_ROWS
            line.behind_until_s = monotonic() + _KNOWN_S if is_behind else 0.0
        if monotonic() < line.behind_until_s:
            await asyncio.sleep(_PUT_OFF_S)

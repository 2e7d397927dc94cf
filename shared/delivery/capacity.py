"""How much may be in hand at once, with a reserve for the more urgent priorities.

``Capacity`` bounds what a worker has claimed. ``Places`` bounds what is under way to one provider. Both have the same
size unless rows are claimed ahead. Then a worker may claim as many more rows as it finished in the last
``AHEAD_SPAN_S``, up to ``AHEAD_MOST`` times its capacity. These rows wait for a place; the router has no provider, and
begins them at once. So a worker whose rows take a millisecond claims dozens with one exchange. A worker whose rows take
seconds claims none ahead, and leaves them to others.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from time import monotonic

from shared.core.model import Priority

# What part of the capacity a priority may fill; the rest stays free for the more urgent ones.
SHARES = {Priority.LOW: 0.5, Priority.NORMAL: 0.75, Priority.HIGH: 0.9, Priority.CRITICAL: 1.0}

AHEAD_SPAN_S = 0.1
# At most so many times the capacity.
AHEAD_MOST = 3

_MOST_URGENT_FIRST = tuple(reversed(Priority))


def _limits(total: int) -> dict[Priority, int]:
    return {priority: max(1, math.floor(total * share)) for priority, share in SHARES.items()}


class Capacity:
    """How many rows a worker may have in hand.

    Args:
        total: rows in hand at most, all priorities together; more where rows are claimed ahead.
        claims_ahead: claim more rows than ``total``. They wait for ``Places``, the most urgent first, so less urgent
            rows in hand keep nobody from claiming a more urgent one. Critical rows are not claimed ahead.
    """

    def __init__(self, total: int, *, claims_ahead: bool = False) -> None:
        self._limits = _limits(total)
        self._most_ahead = total * AHEAD_MOST if claims_ahead else 0
        self._used = dict.fromkeys(Priority, 0)
        self._given = 0
        self._given_lately = 0
        self._counting_since_s = monotonic()
        self._freed = asyncio.Event()

    async def take(self, priority: Priority, most: int, still_wanted: Callable[[], bool] = lambda: True) -> int:
        """Wait until this priority may start something, then take up to ``most`` places and say how many.

        Args:
            still_wanted: asked after each ``wake``; when it says no, 0 places are taken.
        """
        while not (taken := self._free(priority, most)):
            if not still_wanted():
                return 0
            self._freed.clear()
            await self._freed.wait()
        self._used[priority] += taken
        return taken

    def wake(self) -> None:
        """Have everybody who waits look again."""
        self._freed.set()

    def give(self, priority: Priority, places: int = 1) -> None:
        """Give places back."""
        self._used[priority] -= places
        self._given += places
        self._freed.set()

    @property
    def used(self) -> int:
        """How many places are taken."""
        return sum(self._used.values())

    def _free(self, priority: Priority, most: int) -> int:
        if not self._most_ahead:
            return min(most, max(0, self._limits[priority] - self.used))
        ahead = 0 if priority is Priority.CRITICAL else self._ahead()
        before = _MOST_URGENT_FIRST[: _MOST_URGENT_FIRST.index(priority) + 1]
        free = self._limits[priority] + ahead - sum(self._used[each] for each in before)
        # Wait until half of the rows ahead are free, so that one exchange claims many rows, and not one each.
        return min(most, free) if free >= min(most, max(1, ahead // 2)) else 0

    def _ahead(self) -> int:
        span_s = monotonic() - self._counting_since_s
        if span_s >= AHEAD_SPAN_S:
            self._given_lately = int(self._given * AHEAD_SPAN_S / span_s)
            self._given = 0
            self._counting_since_s += span_s
        return min(self._given_lately, self._most_ahead)


class Places:
    """Places for what is under way to one provider; the most urgent priority is served first, then first come."""

    def __init__(self, total: int) -> None:
        self._limits = _limits(total)
        self._used = 0
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {each: deque() for each in _MOST_URGENT_FIRST}

    async def take(self, priority: Priority, within_s: float) -> None:
        """Wait for a place; give it back with ``give``.

        Raises:
            TimeoutError: there was none in so many seconds.
        """
        if self._used < self._limits[priority]:
            # Nobody of this priority waits: they would have been served.
            self._used += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[priority].append(turn)
        try:
            async with asyncio.timeout(within_s):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Give a place back."""
        self._used -= 1
        self._serve()

    def _serve(self) -> None:
        for priority, waiting in self._waiting.items():
            while waiting and self._used < self._limits[priority]:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    self._used += 1

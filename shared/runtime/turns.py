"""Long work in slices, so that what is urgent on the same event loop never stands behind all of it.

Promises:

- Work that takes turns holds the event loop for a slice at most, and then for as long as one of its steps lasts.
- Of each sort of work, one slice is done between two looks at the network while others of its sort wait, and two at
  most where none did. They go on in the order in which they stepped back.
- Where none waits and nothing urgent is in hand, a slice begins at once after a look, also if the last one has just
  ended. So light work does not wait for a slice of another sort at each of its steps.
- While something urgent is in hand, the next slice waits for some steps of the event loop, in which that goes on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

SLICE_S = 0.002

# From an answer of the store to the next question, what is urgent takes up to so many steps of the event loop. With
# nothing to do in them, they take a tenth of a millisecond.
URGENT_STEPS = 10


class Turns:
    """The turns of one sort of work on an event loop; another sort has its own.

    Args:
        slice_s: for how long work goes on before others get their turn.
        now: a clock, s.
    """

    def __init__(self, slice_s: float = SLICE_S, now: Callable[[], float] = perf_counter) -> None:
        self._slice_s = slice_s
        self._now = now
        self._began_s = now()
        self._has_looked = False
        self._urgent = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Let all work that takes turns step back further, until the end of the context."""
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1

    async def take(self) -> None:
        """Return at once, or when it is one's turn again if the slice is over."""
        if self._now() - self._began_s < self._slice_s:
            return
        if self._has_looked and not self._waiting and not self._urgent:
            self._begin()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            self._step_back()
        await turn

    def _step_back(self) -> None:
        asyncio.get_running_loop().call_soon(self._next, URGENT_STEPS if self._urgent else 1)

    def _next(self, steps: int) -> None:
        if steps > 1 and self._urgent:
            asyncio.get_running_loop().call_soon(self._next, steps - 1)
            return
        turn = self._waiting.popleft()
        if not turn.done():
            turn.set_result(None)
        self._begin()
        if self._waiting:
            self._step_back()

    def _begin(self) -> None:
        self._began_s, self._has_looked = self._now(), False
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._has_looked = True

"""What keeps the console from holding up anything: so many readers at once, and so long for each.

Promises that a page never waits longer for its turn than its time limit, and that what takes too long is given up.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# A page reads at most so long; the store is asked for no more after it.
PAGE_S = 5.0
# Pages of all people that read at the same time. The store's one thread is the services' first.
READERS = 8
# Those that wait for their turn. More are told to come again.
WAITING = 64


class Busy(Exception):
    """Too many read already."""


class Readers:
    """Places for those who read at the same time."""

    def __init__(self, most: int = READERS, waiting: int = WAITING, within_s: float = PAGE_S) -> None:
        self._places = asyncio.Semaphore(most)
        self._most_waiting = waiting
        self._waiting = 0
        self._within_s = within_s

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Take a place, and do what is read there within the time.

        Raises:
            Busy: too many wait already.
            TimeoutError: it took too long.
        """
        if self._waiting >= self._most_waiting:
            raise Busy
        async with asyncio.timeout(self._within_s):
            self._waiting += 1
            try:
                await self._places.acquire()
            finally:
                self._waiting -= 1
            try:
                yield
            finally:
                self._places.release()

"""A bound in bytes on what is held in one place.

Promises that whoever waits for room goes on as soon as there is some. It does not refuse a take: the caller looks at
``is_full`` first. So one item always fits, however large it is.
"""

import asyncio
from collections.abc import Callable


class ByteBudget:
    """A budget of bytes, for the tasks of one event loop.

    Args:
        limit_bytes: the budget is full when so many bytes are held.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def held_bytes(self) -> int:
        """How many bytes are held."""
        return self._held_bytes

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be taken."""
        return self._held_bytes >= self._limit_bytes

    def take(self, size_bytes: int) -> None:
        """Hold more bytes, whether or not there is room."""
        self._held_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Hold fewer bytes; if there is room again, tell whoever waits."""
        self._held_bytes -= size_bytes
        if self._waiting and not self.is_full:
            waiting, self._waiting = self._waiting, []
            for tell in waiting:
                tell()

    def when_free(self, tell: Callable[[], None]) -> None:
        """Call this once when there is room: at once, or later."""
        if self.is_full:
            self._waiting.append(tell)
        else:
            tell()

    async def free(self) -> None:
        """Return when there is room."""
        while self.is_full:
            told = asyncio.Event()
            self._waiting.append(told.set)
            await told.wait()

"""Restarts processes that die, with growing pauses, and gives up on one that keeps dying."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from carillon.local.child import Child, ChildFailed
from carillon.local.stack import Stack
from shared.core.errors import CarillonError

_LOOK_EVERY_S = 0.2
_FIRST_PAUSE_S = 1.0
# The pauses are 1, 2, 4 and 8 s; a fifth death within the window is one too many.
_RESTARTS = 4
_WINDOW_S = 300.0


class GaveUp(CarillonError):
    """A process died too often."""


class Supervisor:
    """Watches the processes that a stack has when the watch begins."""

    def __init__(self, stack: Stack, say: Callable[[str], None], *, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        """Take what to watch and whom to tell.

        Args:
            stack: a started stack.
            say: is told, line by line, what died and what runs again.
            first_pause_s: the pause before the first restart; each later one doubles.
        """
        self._stack = stack
        self._say = say
        self._first_pause_s = first_pause_s

    async def watch(self) -> None:
        """Keep the processes running, for ever.

        Raises:
            GaveUp: one of them died too often.
        """
        try:
            async with asyncio.TaskGroup() as watching:
                for child in self._stack.children:
                    watching.create_task(self._keep(child), name=f"watch {child.name}")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _keep(self, child: Child) -> None:
        restarts: deque[float] = deque(maxlen=_RESTARTS)
        while True:
            while not child.died:  # noqa: ASYNC110 - a process has no event to wait for
                await asyncio.sleep(_LOOK_EVERY_S)
            self._tell(f"{child.name} ended with status {child.exit_status}", child.last_lines())
            while not child.alive:
                await self._pause(child, restarts)
                try:
                    await self._stack.restart(child)
                except ChildFailed as failed:
                    self._tell(str(failed), failed.last_lines)
                else:
                    self._say(f"{child.name} runs again")

    async def _pause(self, child: Child, restarts: deque[float]) -> None:
        while restarts and restarts[0] < monotonic() - _WINDOW_S:
            restarts.popleft()
        if len(restarts) == _RESTARTS:
            raise GaveUp(f"{child.name} keeps ending; its log is {child.log}")
        pause_s = self._first_pause_s * 2 ** len(restarts)
        restarts.append(monotonic())
        self._say(f"{child.name} is started again in {pause_s:g} s")
        await asyncio.sleep(pause_s)

    def _tell(self, news: str, last_lines: list[str]) -> None:
        self._say(f"{news}. Its last lines:")
        for line in last_lines:
            self._say(f"    {line}")

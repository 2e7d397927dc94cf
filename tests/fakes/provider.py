"""A provider that does what its script says."""

import asyncio
from collections import deque
from collections.abc import Iterable

from shared.core.model import Channel, Delivery
from shared.delivery.attempt import Attempt, Receipt


class ScriptedProvider:
    """Answers each attempt with the next entry of ``script``: a receipt, an error, or ``HANG``.

    At the script's end it takes everything. ``attempts`` holds what it was given.
    """

    HANG = "hang"

    def __init__(
        self,
        script: Iterable[Receipt | Exception | str] = (),
        *,
        name: str = "scripted",
        channel: Channel | None = None,
    ) -> None:
        self.name = name
        self.script = deque(script)
        self.attempts: list[Attempt] = []
        self.closed = False
        self._channel = channel

    def handles(self, delivery: Delivery) -> bool:
        return self._channel is None or delivery.channel is self._channel

    async def send(self, attempt: Attempt) -> Receipt:
        self.attempts.append(attempt)
        answer = self.script.popleft() if self.script else Receipt("taken")
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            await asyncio.Event().wait()
        assert isinstance(answer, Receipt)
        return answer

    async def close(self) -> None:
        self.closed = True

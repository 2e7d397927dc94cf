"""The outbox of a publisher: what has no receipt, kept in a file.

    async with Outbox(Path("/var/lib/shop/outbox")) as outbox:
        for entry in await outbox.refused():
            print(entry.key, entry.error)

Promises that an inserted entry is on disk when the call returns, and stays until it is removed or dropped. Calls that
arrive together share one sync. It also promises what ``carillon_publisher.outbox.file`` promises of the file. It sends
nothing: a publisher with this file does. Only one of the two can have the file at a time.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from carillon_publisher.clock import Clock, SystemClock, epoch_ms
from carillon_publisher.errors import KeyInUse, OutboxError, OutboxFull, OutboxInUse, OutboxUnusable
from carillon_publisher.outbox.entries import OUTBOX_ENTRIES, Ended, Entry, NewEntry, State
from carillon_publisher.outbox.file import OutboxFile

__all__ = [
    "OUTBOX_ENTRIES",
    "Ended",
    "Entry",
    "KeyInUse",
    "Outbox",
    "OutboxError",
    "OutboxFull",
    "OutboxInUse",
    "OutboxUnusable",
    "State",
]

log = logging.getLogger(__name__)

# Calls of one transaction. One sync for so many costs each next to nothing.
_TRANSACTION = 500
_PAGE = 500

AnswerT = TypeVar("AnswerT")


@dataclass(slots=True)
class _Call:
    """A call that waits for its transaction."""

    work: Callable[[OutboxFile], Any]
    answer: "asyncio.Future[Any]"
    then: Callable[[Any], object] | None


class Outbox:
    """An outbox; use it as an async context manager, once.

    Args:
        file: on a local disk; its log stands beside it, under the same name with ``-wal``.
        limit: how many entries it may hold, those that are refused or stale included.
        create: make the file where there is none.

    Raises:
        OutboxInUse: on entering, when somebody else has the file.
        OutboxUnusable: on entering, when it cannot be opened, is damaged, or is something else. It was not changed.
    """

    def __init__(
        self, file: Path, *, limit: int = OUTBOX_ENTRIES, create: bool = True, clock: Clock | None = None
    ) -> None:
        self.path = file
        self._limit = limit
        self._create = create
        self._clock = clock or SystemClock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._file: OutboxFile | None = None
        # Bounded by the callers: each of them waits for its own call.
        self._calls: list[_Call] = []
        self._called = asyncio.Event()
        self._closing = False
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._thread, self._open)
        try:
            self._file = await asyncio.shield(opening)
        except BaseException:
            # The thread may still be opening the file for a caller that was cancelled.
            opening.add_done_callback(self._close_opened)
            raise
        self._running = asyncio.create_task(self._transact(self._file), name="outbox")
        return self

    def _close_opened(self, opening: "asyncio.Future[OutboxFile]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._thread.submit(opening.result().close)
        self._thread.shutdown(wait=False)

    async def __aexit__(self, *_exc: object) -> None:
        self._closing = True
        self._called.set()
        try:
            if self._running is not None:
                await self._running
        finally:
            if self._file is not None:
                self._thread.submit(self._file.close)
            # Short: the thread has at most one transaction in hand. The file is free for the next one after this.
            await asyncio.to_thread(self._thread.shutdown)

    def _open(self) -> OutboxFile:
        file = OutboxFile(self.path, self._limit, create=self._create)
        (outcome,) = file.transact([lambda opened: opened.end_overdue(self.now_ms)])
        if isinstance(outcome, OutboxError):
            file.close()
            raise outcome
        _report(outcome)
        return file

    async def counts(self) -> dict[State, int]:
        """Return how many entries there are of every state."""
        return await self._call(OutboxFile.counts)

    async def refused(self) -> list[Entry]:
        """Return entries that were rejected or came too late to be sent, oldest first. They stay until dropped."""
        return [entry async for entry in self.entries(State.REFUSED)]

    async def stale(self) -> list[Entry]:
        """Return entries that may have been accepted and are not sent again, oldest first. They stay until dropped."""
        return [entry async for entry in self.entries(State.STALE)]

    async def entries(self, state: State | None = None) -> AsyncIterator[Entry]:
        """Yield entries oldest first, a page at a time; those of every state when none is given."""
        after = 0
        while page := await self._call(lambda file: file.page(after, _PAGE, state)):  # noqa: B023 - awaited at once
            for entry in page:
                yield entry
            after = page[-1].number

    async def drop(self, key: str) -> bool:
        """Forget the refused or stale entry with this key; False when there is none (one that waits is not dropped)."""
        return await self._call(lambda file: file.drop(key))

    async def insert(
        self,
        topic: str,
        payload: bytes,
        key: str,
        *,
        deadline_ms: int | None = None,
        sending: bool = False,
        then: Callable[[int], object] | None = None,
    ) -> int:
        """Write a publish down and return its number.

        Args:
            sending: it may be sent at once, so its idempotency window begins now.
            then: called with the number when it is on disk, even when the caller was cancelled meanwhile.

        Raises:
            OutboxFull: the outbox holds as much as it may.
            KeyInUse: another publish has the key.
            OutboxUnusable: it could not be written.
        """
        new = NewEntry(key, topic, payload, deadline_ms, sending)
        return await self._call(lambda file: file.insert(new, self.now_ms), then)

    async def waiting_numbers(self) -> list[int]:
        """Return the numbers of all waiting entries, oldest first."""
        return await self._call(OutboxFile.waiting_numbers)

    async def begin(self, numbers: Sequence[int]) -> tuple[list[Entry], list[Ended]]:
        """Mark the entries that may be sent now as sent. Return them, and those that have just ended."""
        entries, ended = await self._call(lambda file: file.begin(numbers, self.now_ms))
        _report(ended)
        return entries, ended

    async def remove(self, number: int) -> None:
        """Forget an entry that was accepted."""
        await self._call(lambda file: file.remove(number))

    async def end(self, ended: Ended) -> None:
        """Keep a waiting entry as refused or stale."""
        await self._call(lambda file: file.end(ended))

    @property
    def now_ms(self) -> int:
        """The time that entries are written down with, in epoch milliseconds."""
        return epoch_ms(self._clock.now())

    async def _call(
        self, work: Callable[[OutboxFile], AnswerT], then: Callable[[AnswerT], object] | None = None
    ) -> AnswerT:
        if self._file is None or self._closing:
            raise OutboxUnusable(f"{self.path} is not open")
        call = _Call(work, asyncio.get_running_loop().create_future(), then)
        self._calls.append(call)
        self._called.set()
        answer: AnswerT = await call.answer
        return answer

    async def _transact(self, file: OutboxFile) -> None:
        """Carry out waiting calls together, until the outbox closes and none is left."""
        loop = asyncio.get_running_loop()
        calls: list[_Call] = []
        try:
            while self._calls or not self._closing:
                await self._called.wait()
                # A call that was cancelled before its turn is not carried out.
                calls = [call for call in self._calls[:_TRANSACTION] if not call.answer.done()]
                del self._calls[:_TRANSACTION]
                if not self._calls and not self._closing:
                    self._called.clear()
                if not calls:
                    continue
                outcomes = await loop.run_in_executor(self._thread, file.transact, [call.work for call in calls])
                for call, outcome in zip(calls, outcomes, strict=True):
                    self._answer(call, outcome)
        finally:
            self._closing = True
            for call in (*calls, *self._calls):
                if not call.answer.done():
                    call.answer.set_exception(OutboxUnusable(f"{self.path} was closed"))

    @staticmethod
    def _answer(call: _Call, outcome: object) -> None:
        if isinstance(outcome, OutboxError):
            if not call.answer.done():
                call.answer.set_exception(outcome)
            return
        if call.then is not None:
            call.then(outcome)
        if not call.answer.done():
            call.answer.set_result(outcome)


def _report(ended: Sequence[Ended]) -> None:
    if ended:
        states = Counter(each.state.value for each in ended)
        log.warning("publishes that are not sent again", extra=dict(states))

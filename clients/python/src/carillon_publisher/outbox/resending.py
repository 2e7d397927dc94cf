"""Sends the entries of an outbox until each has a receipt.

Promises that an entry is sent under one key and removed only after its receipt. A late receipt still counts. A publish
without an answer does not hold up the others. While nothing is answered at all, only a few publishes at a time test
whether somebody answers again. Fresh entries leave oldest first. An entry without an answer is sent again after a wait,
in turns with fresh ones, so no order is promised. What is refused as ``rate_limited`` waits for as long as the router
said.
"""

import asyncio
import heapq
import logging
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic

from carillon_publisher.errors import OutboxError, wait_of
from carillon_publisher.outbox.entries import Ended, Entry, State
from carillon_publisher.outbox.outbox import Outbox
from carillon_publisher.payload_terms import deadline_ms, is_key, own_key, read_object
from carillon_publisher.receipts import Receipt, Status

log = logging.getLogger(__name__)

# An entry without an answer is due again after this at least, doubled with every send; jitter takes up to half of it.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0

# While nothing is answered, so many sends at a time test whether somebody answers, with a wait between them. More than
# one, because a poisonous entry among them may take its full time.
_PROBES = 4
_PROBE_WAIT_S = 2.0

_WRITE_AGAIN_S = 2.0

Outcome = Receipt | str
"""How an entry ended: with a receipt, or with the reason why nobody waits for one any more."""

Send = Callable[[Entry, "asyncio.Future[Receipt]"], Awaitable[str]]
"""Sends an entry once and returns why the future has no receipt by then; it may get one later."""


@dataclass(slots=True)
class _Waiting:
    """An entry without a receipt.

    Attributes:
        answer: gets the receipt of any of the sends; made for the first one.
        outcome: for those who wait for the end; made on demand.
    """

    sends: int = 0
    problem: str = ""
    answer: "asyncio.Future[Receipt] | None" = None
    outcome: "asyncio.Future[Outcome] | None" = None

    def end(self, outcome: Outcome) -> None:
        """Give the outcome to those who wait for it."""
        if self.outcome is not None and not self.outcome.done():
            self.outcome.set_result(outcome)


class Resending:
    """Sends what an outbox holds.

    Args:
        ready: returns when there is somebody to send to.
        send: see ``Send``.
        most: how many may wait for an answer at the same time.
    """

    def __init__(self, outbox: Outbox, *, ready: Callable[[], Awaitable[None]], send: Send, most: int) -> None:
        self.outbox = outbox
        self._ready = ready
        self._send = send
        self._most = most
        # Bounded by the outbox. Each entry is also in one of the three below.
        self._waiting: dict[int, _Waiting] = {}
        self._fresh: deque[int] = deque()
        self._due: list[tuple[float, int]] = []
        self._in_hand: set[int] = set()
        self._due_has_its_turn = False
        self._window = most
        self._not_before_s = 0.0
        self._writable = True
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._ended = False

    async def keep(self, topic: str, payload: bytes, key: str | None, *, sending: bool) -> tuple[str, int]:
        """Write a publish down, to be sent, and return its idempotency key and its number.

        Args:
            topic: with the prefix.
            key: None makes one. A key in the payload wins over both, as in the router.
            sending: there is somebody to send to.

        Raises:
            OutboxError: it is not in the outbox.
            ValueError: the key cannot be one.
        """
        if key is not None and not is_key(key):
            raise ValueError("an idempotency key is one line and not empty")
        document = read_object(payload)
        key = own_key(document) or key or str(uuid.uuid4())
        number = await self.outbox.insert(
            topic,
            payload,
            key,
            deadline_ms=deadline_ms(document, self.outbox.now_ms),
            sending=sending,
            then=self.add,
        )
        return key, number

    def add(self, number: int) -> None:
        """Take up an entry that has just been written; a no-op for one that is there already."""
        if number not in self._waiting:
            self._waiting[number] = _Waiting()
            self._fresh.append(number)
            self._empty.clear()
            self._wake.set()

    def outcome(self, number: int) -> "asyncio.Future[Outcome]":
        """Return the future of an entry's outcome. All callers share it, so do not cancel it."""
        waiting = self._waiting.get(number)
        if waiting is None or self._ended:
            ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            ended.set_result("the publisher was closed")
            return ended
        if waiting.outcome is None:
            waiting.outcome = asyncio.get_running_loop().create_future()
        return waiting.outcome

    def problem(self, number: int) -> str:
        """Return why the last send of an entry had no answer; empty if it was not sent or is still under way."""
        waiting = self._waiting.get(number)
        return waiting.problem if waiting is not None else ""

    async def wait_empty(self, timeout_s: float) -> int:
        """Send again at once the entries that wait for their time. Return how many still wait at the deadline."""
        self._due = [(0.0, number) for number in sorted(self._waiting.keys() - self._in_hand - set(self._fresh))]
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        return len(self._waiting)

    def connected(self) -> None:
        """Forget that nobody answered: on a fresh connection somebody may."""
        self._window, self._not_before_s = self._most, 0.0
        self._wake.set()

    async def take_up(self) -> None:
        """Load the entries that the outbox holds from before. Call it once, before anything else is added."""
        for number in await self.outbox.waiting_numbers():
            self.add(number)

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    unanswered = []
                    for number in await self._next():
                        answer = self._waiting[number].answer
                        if answer is not None and answer.done():
                            tasks.create_task(self._settle(number, answer.result()), name=f"settle-{number}")
                        else:
                            unanswered.append(number)
                    if unanswered:
                        await self._ready()
                    for entry in await self._begin(unanswered):
                        tasks.create_task(self._try(entry), name=f"send-{entry.number}")
        finally:
            self._ended = True
            for waiting in self._waiting.values():
                waiting.end("the publisher was closed")

    async def _next(self) -> list[int]:
        """Return the numbers that are due, as many as there is room for. They are in hand from now on."""
        while True:
            self._wake.clear()
            now_s = monotonic()
            numbers: list[int] = []
            while len(self._in_hand) < self._window and now_s >= self._not_before_s:
                number = self._pop(now_s)
                if number is None:
                    break
                if number in self._waiting and number not in self._in_hand:
                    self._in_hand.add(number)
                    numbers.append(number)
            if numbers:
                return numbers
            with suppress(TimeoutError):
                async with asyncio.timeout(self._nothing_for_s(now_s)):
                    await self._wake.wait()

    def _pop(self, now_s: float) -> int | None:
        """Take the next number, in turns from fresh entries and from those to be sent again."""
        is_due = bool(self._due) and self._due[0][0] <= now_s
        if self._fresh and not (is_due and self._due_has_its_turn):
            self._due_has_its_turn = True
            return self._fresh.popleft()
        self._due_has_its_turn = False
        return heapq.heappop(self._due)[1] if is_due else None

    def _nothing_for_s(self, now_s: float) -> float | None:
        """Return how long there is nothing to do; None if only an event can change that."""
        if len(self._in_hand) >= self._window or not (self._fresh or self._due):
            return None
        due_s = now_s if self._fresh else self._due[0][0]
        return max(due_s, self._not_before_s) - now_s

    async def _begin(self, numbers: Sequence[int]) -> list[Entry]:
        if not numbers:
            return []
        try:
            entries, ended = await self.outbox.begin(numbers)
        except OutboxError as error:
            self._cannot_write(error)
            for number in numbers:
                self._again(number, _WRITE_AGAIN_S)
            return []
        for each in ended:
            refused = each.state is State.REFUSED
            outcome = Receipt(status=Status.REJECTED, error=each.error) if refused else each.error.message
            self._forget(each.number, outcome)
        for number in set(numbers) - {entry.number for entry in entries} - {each.number for each in ended}:
            # From a write that was reported as failed but did succeed.
            self._forget(number, "it is not in the outbox")
        return entries

    async def _try(self, entry: Entry) -> None:
        waiting = self._waiting[entry.number]
        if waiting.answer is None:
            waiting.answer = asyncio.get_running_loop().create_future()
            waiting.answer.add_done_callback(lambda _answer: self._on_answer(entry.number))
        waiting.sends += 1
        problem = await self._send(entry, waiting.answer)
        if waiting.answer.done():
            await self._settle(entry.number, waiting.answer.result())
            return
        waiting.problem = problem
        # Halved with each unanswered send. The next answer undoes what one poisonous entry did.
        self._window = max(_PROBES, self._window // 2)
        if self._window == _PROBES:
            self._not_before_s = monotonic() + _jittered(_PROBE_WAIT_S)
        self._again(entry.number, _jittered(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(waiting.sends - 1, 16))))

    def _on_answer(self, number: int) -> None:
        self._window, self._not_before_s = self._most, 0.0
        if number not in self._in_hand:
            # The receipt of a send that was given up.
            self._put(number, 0.0)
        self._wake.set()

    async def _settle(self, number: int, answer: Receipt) -> None:
        waiting = self._waiting[number]
        wait_s = wait_of(answer)
        if wait_s is not None:
            # Said of the publisher and not of this publish, so nothing else would be accepted sooner.
            waiting.answer, waiting.problem = None, "the router takes no more for now (rate_limited)"
            self._not_before_s = monotonic() + wait_s
            self._again(number, wait_s)
            return
        receipt = replace(answer, sends=waiting.sends)
        try:
            if receipt.status is Status.REJECTED:
                await self.outbox.end(Ended(number, State.REFUSED, receipt.refusal))
            else:
                await self.outbox.remove(number)
        except OutboxError as error:
            # The answer is known all the same. If the entry stays in the file, the next process sends it again, as a
            # duplicate.
            self._cannot_write(error)
            waiting.end(receipt)
            self._again(number, _WRITE_AGAIN_S)
        else:
            self._writable = True
            self._forget(number, receipt)

    def _again(self, number: int, wait_s: float) -> None:
        self._in_hand.discard(number)
        self._put(number, monotonic() + wait_s)

    def _forget(self, number: int, outcome: Outcome) -> None:
        self._in_hand.discard(number)
        self._waiting.pop(number).end(outcome)
        if not self._waiting:
            self._empty.set()
        self._wake.set()

    def _put(self, number: int, due_s: float) -> None:
        heapq.heappush(self._due, (due_s, number))
        self._wake.set()

    def _cannot_write(self, error: OutboxError) -> None:
        if self._writable:
            log.warning("outbox cannot be written", extra={"error": str(error)})
        self._writable = False


def _jittered(wait_s: float) -> float:
    return random.uniform(wait_s / 2, wait_s)  # noqa: S311 - jitter

"""The way over MQTT 5: publishes with a response topic, and one subscription for all the receipts.

Promises that receipts find their publish in any order, and also after the send that they answer was given up.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from carillon_publisher.address import BrokerAddress
from carillon_publisher.connection import publish_properties
from carillon_publisher.door import Outgoing
from carillon_publisher.errors import NotConnected
from carillon_publisher.link import Link
from carillon_publisher.receipts import Event, Receipt
from carillon_publisher.topics import Topics

log = logging.getLogger(__name__)

IDEMPOTENCY_PROPERTY = "idempotency-key"

# Steps of one notification that nobody has taken yet; the oldest go first.
_EVENTS_KEPT = 1_000
# Notifications whose steps are kept until somebody asks for them; the oldest go first.
_FOLLOWED = 100


class MqttDoor:
    """A connection to the broker, see ``Door``.

    Args:
        receipts: the topic of the receipts, with the prefix.
        on_up: called at every connect.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        topics: Topics,
        receipts: str,
        on_up: Callable[[], None],
    ) -> None:
        self._topics = topics
        self._receipts = receipts
        self._link = Link(address, client_id, filters=[receipts], on_message=self._receive, on_up=on_up)
        self._answers: dict[bytes, asyncio.Future[Receipt]] = {}
        self._wanting_events: set[bytes] = set()
        self._steps: dict[str, _Steps] = {}
        # Those of them that nobody has asked for yet, oldest first.
        self._early: deque[str] = deque()
        self._running: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Tell whether the connection stands."""
        return self._link.is_up

    @property
    def problem(self) -> str:
        """Why it does not."""
        return f"the broker is away ({self._link.problem})"

    async def open(self, *, patient: bool) -> None:
        """Connect; see ``Door.open``."""
        self._running = asyncio.create_task(self._link.run(), name="publisher-link")
        if patient:
            return
        await self._link.wait_tried()
        if not self._link.is_up:
            raise NotConnected(self._link.problem)

    async def close(self) -> None:
        """Disconnect."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        for steps in self._steps.values():
            steps.end()

    async def ready(self) -> None:
        """Return when the connection stands and has room."""
        await self._link.sendable()

    async def send(self, outgoing: Outgoing, answer: "asyncio.Future[Receipt]") -> str:
        """Publish once; see ``Door.send``."""
        if outgoing.correlation not in self._answers:
            # Until there is an answer: one that comes after this send was given up is as good.
            self._answers[outgoing.correlation] = answer
            answer.add_done_callback(lambda _answer: self._forget(outgoing.correlation))
            if outgoing.told_of:
                self._wanting_events.add(outgoing.correlation)
        key = [] if outgoing.key is None else [(IDEMPOTENCY_PROPERTY, outgoing.key)]
        properties = publish_properties(
            response_topic=self._receipts,
            correlation=outgoing.correlation,
            user_properties=[*outgoing.trace, *key],
        )
        with self._link.watched() as lost:
            handover = self._link.publish(outgoing.topic, outgoing.payload, properties)
            # An answer may overtake the broker's own.
            await _first(handover, answer)
            if answer.done():
                return ""
            try:
                if not await handover:
                    return f"nothing takes publishes; {self._hint(outgoing.topic) or 'is the router running?'}"
            except NotConnected as error:
                hint = self._hint(outgoing.topic)
                return f"the broker did not take it ({error})" + (f"; {hint}" if hint else "")
            await _first(answer, lost)
        return "the connection was lost"

    def _hint(self, topic: str) -> str:
        """Say which topic was meant by one that no router reads, so that none can answer on it."""
        nearest = None if self._topics.is_read(topic) else self._topics.nearest(topic)
        return f"did you mean {nearest}?" if nearest else ""

    def _forget(self, correlation: bytes) -> None:
        del self._answers[correlation]
        self._wanting_events.discard(correlation)

    @asynccontextmanager
    async def events(self, notification_id: str) -> AsyncIterator[AsyncIterator[Event]]:
        """Subscribe to a notification's later steps; see ``Door.events``. One iteration at a time takes them."""
        topic = self._topics.events(notification_id)
        if topic in self._early:
            self._early.remove(topic)
            steps = self._steps[topic]
        else:
            steps = self._follow(topic)
        try:
            yield steps.taken()
        finally:
            self._leave(topic)

    def _follow(self, topic: str) -> "_Steps":
        steps = self._steps[topic] = _Steps()
        self._link.subscribe(topic)
        return steps

    def _leave(self, topic: str) -> None:
        if self._steps.pop(topic, None) is not None:
            self._link.unsubscribe(topic)

    def _follow_early(self, notification_id: str) -> None:
        topic = self._topics.events(notification_id)
        if topic in self._steps:
            return
        self._follow(topic)
        self._early.append(topic)
        if len(self._early) > _FOLLOWED:
            self._leave(self._early.popleft())

    def _receive(self, topic: str, payload: bytes, correlation: bytes) -> None:
        try:
            if topic != self._receipts:
                if topic in self._steps:
                    self._steps[topic].add(Event.read(payload))
                return
            answer = self._answers.get(correlation)
            # Not the receipt of a send that was repeated, or of one that nobody waits for any more.
            if answer is not None and not answer.done():
                receipt = Receipt.read(payload)
                answer.set_result(receipt)
                if correlation in self._wanting_events and receipt.notification_id is not None:
                    self._follow_early(receipt.notification_id)
        except (ValueError, RecursionError) as error:
            log.warning("unreadable answer", extra={"problem": type(error).__name__})


async def _first(*futures: "asyncio.Future[Any]") -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


class _Steps:
    """The steps of a notification that one iteration has not taken yet."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._arrived = asyncio.Event()
        self._ended = False

    def add(self, event: Event) -> None:
        self._waiting.append(event)
        self._arrived.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.set()

    async def taken(self) -> AsyncIterator[Event]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._ended:
                return
            self._arrived.clear()
            await self._arrived.wait()

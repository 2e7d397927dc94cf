"""Publishes for publishers, and waits for the router's receipts: the MQTT side of HTTP for publishers.

Promises that every question ends: with the router's receipt, or with ``NoReceipt`` after ``RECEIPT_S`` at the latest,
and at once when the connection is lost. It has a connection of its own, so that live messages do not wait behind
publishes. What is in flight is bounded by its callers' places and by the connection's bytes.

Nothing is sent again here: without an idempotency key a repetition could become a second notification.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.realtime.publish.places import Places
from shared.core.errors import BrokerUnavailable, CarillonError, PublishRefused
from shared.core.topics import Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import UserProperties
from shared.mqtt.reconnecting import BrokerLink

log = logging.getLogger(__name__)

RECEIPT_S = 10.0

# How long a process that ends waits for the receipts of what it has published.
DRAIN_S = 5.0

_TAKE_MOST = 500
_NUMBER_BYTES = 8


class NoReceipt(CarillonError):
    """Nobody has answered.

    Attributes:
        is_sent: the broker may have it, so that a router may still accept it.
    """

    def __init__(self, why: str, *, is_sent: bool) -> None:
        super().__init__(why)
        self.is_sent = is_sent


@dataclass(frozen=True, slots=True)
class Properties:
    """What a publish says beside its payload, as MQTT 5 properties."""

    user: UserProperties = ()
    content_type: str | None = None


class RouterLink:
    """The connection on which one realtime process publishes for publishers.

    Args:
        node: this process; receipts come under its name.
        receipt_s: how long to wait for a receipt.

    Attributes:
        places: of those who ask.
    """

    def __init__(self, address: BrokerAddress, topics: Topics, node: str, *, receipt_s: float = RECEIPT_S) -> None:
        self._topics = topics
        self._node = node
        self._receipt_s = receipt_s
        self.places = Places()
        self._link = BrokerLink(
            address, f"{node}-publish", filters=(topics.http_receipts("+", node),), serve=self._receive
        )
        self._answers: dict[bytes, asyncio.Future[bytes]] = {}
        self._number = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the connection while the context stands."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._link.run(), name="publish-link")
            try:
                yield
            finally:
                task.cancel()

    async def drained(self) -> None:
        """Return when nothing waits for a receipt any more, but not late."""
        if self._answers:
            await asyncio.wait(set(self._answers.values()), timeout=DRAIN_S)

    @property
    def is_up(self) -> bool:
        """Tell whether receipts can come."""
        return self._link.is_up

    @property
    def outstanding(self) -> int:
        """How many publishes wait for their receipt."""
        return len(self._answers)

    async def ask(self, publisher: str, topic: str, payload: bytes, properties: Properties) -> bytes:
        """Publish in a publisher's name, and return the receipt as the router wrote it.

        Args:
            topic: without the prefix; a name that every broker takes.

        Raises:
            NoReceipt: nobody answers.
        """
        if not self._link.is_up:
            raise NoReceipt("the broker is away", is_sent=False)
        self._number += 1
        correlation = self._number.to_bytes(_NUMBER_BYTES)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[correlation] = answer
        published = self._link.publish(
            self._topics.said_by(publisher, topic),
            payload,
            response_topic=self._topics.http_receipts(publisher, self._node),
            correlation=correlation,
            user_properties=properties.user,
            content_type=properties.content_type,
        )
        published.add_done_callback(lambda done: _fail_unpublished(answer, done))
        try:
            async with asyncio.timeout(self._receipt_s):
                return await answer
        except TimeoutError:
            raise NoReceipt("no receipt in time", is_sent=True) from None
        finally:
            del self._answers[correlation]

    async def _receive(self, broker: Broker) -> None:
        try:
            while True:
                for incoming in await broker.take(_TAKE_MOST):
                    answer = self._answers.get(incoming.correlation or b"")
                    if answer is not None and not answer.done():
                        answer.set_result(incoming.payload)
                    broker.ack(incoming)
        finally:
            # The session ends with the connection, and with it the subscription: no receipt can come any more.
            for answer in self._answers.values():
                _fail(answer, NoReceipt("the connection to the broker was lost", is_sent=True))


def _fail(answer: "asyncio.Future[bytes]", error: NoReceipt) -> None:
    if not answer.done():
        answer.set_exception(error)
        # Marked as seen: whoever waited may be gone.
        answer.exception()


def _fail_unpublished(answer: "asyncio.Future[bytes]", published: "asyncio.Future[bool]") -> None:
    """Pass on that the broker has not taken a publish, or has nobody to give it to."""
    if published.cancelled():
        return
    error = published.exception()
    if isinstance(error, PublishRefused):
        # Not the publisher's fault: its topic is a name, and the role of our login lets us publish for every publisher.
        log.error("the broker refuses what is published over HTTP", extra={"error": str(error)})
        _fail(answer, NoReceipt("the broker refuses it", is_sent=False))
    elif isinstance(error, BrokerUnavailable):
        _fail(answer, NoReceipt(str(error), is_sent=True))
    elif error is not None:
        _fail(answer, NoReceipt("internal", is_sent=True))
    elif not published.result():
        _fail(answer, NoReceipt("nobody reads it", is_sent=False))

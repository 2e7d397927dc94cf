"""The publisher's client: publishes, and returns what the router answered.

    async with Publisher("mqtt://broker.example.com") as publisher:
        receipt = await publisher.publish("notifications/realtime/user/user123", {"message": "Hello"})

Promises that ``publish`` returns only after the router has stored what was published, that a publish whose answer was
lost with the connection is sent again under the same idempotency key, and that many publishes may be in flight at once.
Without an outbox it keeps nothing on disk: what has no receipt when the process ends, or when the timeout is over, may
or may not have been accepted. With one, each publish is in a local file before it is sent and until it has its receipt:

    async with Publisher("mqtt://broker.example.com", outbox=Path("/var/lib/shop/outbox")) as publisher:
        await publisher.submit("notifications/realtime/user/user123", {"message": "Hello"})

It is sent again under its key while a publisher has that file open, in this process or a later one, however both ended.
No order is promised. Only the disk can lose it.
"""

import asyncio
import json
import logging
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from carillon.outbox.outbox import OUTBOX_ENTRIES, Entry, Outbox
from carillon.outbox.resending import Resending
from carillon.payload_terms import read_object
from carillon.receipts import FieldProblem, NoReceipt, Receipt, Refusal, Refused, Status
from shared.core.errors import BrokerUnavailable
from shared.core.limits import PAYLOAD_BYTES
from shared.core.model import TraceContext
from shared.core.topics import Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.reconnecting import BrokerLink
from shared.telemetry import tracing

__all__ = [
    "IDEMPOTENCY_PROPERTY",
    "OUTSTANDING",
    "FieldProblem",
    "NoReceipt",
    "Publisher",
    "Receipt",
    "Refusal",
    "Refused",
    "Status",
]

log = logging.getLogger(__name__)

# More waits for its turn: a publisher that is ahead of the router fills the broker's memory and nothing else.
OUTSTANDING = 500

RECEIPT_TIMEOUT_S = 10.0
IDEMPOTENCY_PROPERTY = "idempotency-key"

# MQTT 5, 1.5.4: a string has at most 65,535 bytes.
_TOPIC_BYTES = 65_535
# MQTT 5, 4.7.1 and 4.7.3: a broker cuts the connection of a client that publishes on such a topic.
_NOT_IN_TOPICS = "+#\x00"

_RESEND_PAUSE_S = 0.25
_TAKE_BATCH = 500
_NUMBER_BYTES = 8
_NOBODY_ANSWERS = "the router does not answer"


class Publisher:
    """A connection to the broker for publishing; use it as an async context manager, once.

    Args:
        url: like ``MQTT_URL``.
        client_id: the name at the broker, for one that binds names to logins; None for a random one.
        topic_prefix: put before every topic, like ``TOPIC_PREFIX``.
        ca_file: CA bundle for ``mqtts``; None for the system's.
        outbox: the file that keeps what has no receipt, made where there is none; None keeps nothing.
        outbox_limit: how many entries it may hold.

    Raises:
        ConfigError: the URL is not one.
        BrokerUnavailable: on entering without an outbox, when the first connection does not come about. Later ones are
            tried again, and so is the first one with an outbox.
        OutboxInUse: on entering, when another process has the file.
        OutboxUnusable: on entering, when the file is damaged, something else, or cannot be opened.
    """

    def __init__(
        self,
        url: str,
        client_id: str | None = None,
        topic_prefix: str = "",
        *,
        ca_file: Path | None = None,
        outbox: Path | None = None,
        outbox_limit: int = OUTBOX_ENTRIES,
    ) -> None:
        # MQTT 5, 3.1.3.1: every broker takes 23 letters and digits; the hyphen is taken by those that we know.
        self._client_id = client_id or f"carillon-{secrets.token_hex(6)}"
        if any(forbidden in self._client_id for forbidden in _NOT_IN_TOPICS):
            raise ValueError("a client id holds no +, # or NUL, because it stands in the topic of the receipts")
        tracing.join_application()
        self._prefix = topic_prefix
        self._topics = Topics(topic_prefix)
        self._response_topic = f"{topic_prefix}receipts/{self._client_id}/publishes"
        self._link = BrokerLink(
            BrokerAddress.parse(url, ca_file), self._client_id, filters=[self._response_topic], serve=self._receive
        )
        self._room = asyncio.Semaphore(OUTSTANDING)
        self._answers: dict[bytes, asyncio.Future[Receipt]] = {}
        self._deadlines: set[asyncio.Timeout] = set()
        self._lost: asyncio.Future[None] | None = None
        self._running: asyncio.Task[None] | None = None
        # The receipt for an entry of another process must not be taken for that of the entry with the same number here.
        self._mark = secrets.token_bytes(8)
        self._resending: Resending | None = None
        if outbox is not None:
            kept = Outbox(outbox, limit=outbox_limit)
            self._resending = Resending(kept, ready=self._link.wait_up, send=self._send_once, most=OUTSTANDING)
        self._resending_task: asyncio.Task[None] | None = None

    @property
    def outbox(self) -> Outbox:
        """The outbox, to look at what was refused or is stale; ValueError when there is none."""
        return self._with_outbox().outbox

    async def __aenter__(self) -> Self:
        if self._resending is not None:
            await self._resending.outbox.__aenter__()
            try:
                await self._resending.take_up()
            except BaseException:
                await self._end()
                raise
        self._running = asyncio.create_task(self._link.run(), name="publisher-link")
        self._running.add_done_callback(self._on_ended)
        if self._resending is not None:
            self._resending_task = asyncio.create_task(self._resending.run(), name="publisher-outbox")
            return self
        try:
            await self._link.wait_tried()
        except BaseException:
            await self._end()
            raise
        if not self._link.is_up:
            await self._end()
            raise BrokerUnavailable(self._link.problem)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._end()

    async def _end(self) -> None:
        try:
            for task in (self._resending_task, self._running):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
        finally:
            if self._resending is not None:
                await self._resending.outbox.__aexit__()

    async def publish(
        self,
        topic: str,
        payload: Mapping[str, object] | bytes,
        key: str | None = None,
        *,
        timeout_s: float = RECEIPT_TIMEOUT_S,
    ) -> Receipt:
        """Publish and wait for the receipt, which says accepted or duplicate.

        Args:
            topic: without the prefix.
            payload: an object to be written as JSON, or the bytes as they are (``b""`` is the empty payload).
            key: the idempotency key; None makes one, unless the payload has an ``id``.
            timeout_s: counted from the first try to send, not from the wait for a place among the outstanding ones;
                with an outbox from when it is on disk.

        Raises:
            Refused: the router rejected it.
            NoReceipt: nobody answered in time, or before the publisher was closed. With an outbox it is kept and sent
                again, so the caller need not.
            OutboxError: it is not in the outbox, and was not sent.
            ValueError: no broker would take this topic or payload.
        """
        full_topic, data = self._checked(topic, payload)
        if self._resending is not None:
            receipt = await self._kept_and_answered(self._resending, full_topic, data, key, timeout_s)
        else:
            if key is None and read_object(data).get("id") is None:
                key = str(uuid.uuid4())
            async with self._room:
                with tracing.span("publish", "producer") as span:
                    receipt = await self._answered(full_topic, data, key, timeout_s, span.context)
                    span.set(outcome=receipt.status.value)
        if receipt.status is Status.REJECTED:
            raise Refused(receipt)
        return receipt

    async def submit(self, topic: str, payload: Mapping[str, object] | bytes, key: str | None = None) -> str:
        """Return the idempotency key once the publish is in the outbox; it is sent without the caller.

        What the router rejects is found in ``outbox.refused()``. Arguments are those of ``publish``.

        Raises:
            OutboxFull: the outbox holds as much as it may.
            OutboxError: it is not in the outbox for another reason.
            ValueError: no broker would take this topic or payload, or there is no outbox.
        """
        resending = self._with_outbox()
        full_topic, data = self._checked(topic, payload)
        key, _ = await resending.keep(full_topic, data, key, sending=self._link.is_up)
        return key

    async def flush(self, timeout_s: float = RECEIPT_TIMEOUT_S) -> int:
        """Wait until nothing in the outbox waits for a receipt; return how many entries still do after the timeout.

        Raises:
            ValueError: there is no outbox.
        """
        return await self._with_outbox().wait_empty(timeout_s)

    def _with_outbox(self) -> Resending:
        if self._resending is None:
            raise ValueError("this publisher has no outbox")
        return self._resending

    def _checked(self, topic: str, payload: Mapping[str, object] | bytes) -> tuple[str, bytes]:
        data = payload if isinstance(payload, bytes) else json.dumps(payload, allow_nan=False).encode()
        full_topic = self._prefix + topic
        _check_topic(full_topic)
        # A broker may cut the connection at more; what is less, the router answers, whatever the topic takes.
        if len(data) > PAYLOAD_BYTES:
            raise ValueError(f"the payload is larger than {PAYLOAD_BYTES} bytes")
        return full_topic, data

    async def _kept_and_answered(
        self, resending: Resending, topic: str, data: bytes, key: str | None, timeout_s: float
    ) -> Receipt:
        key, number = await resending.keep(topic, data, key, sending=self._link.is_up)
        outcome = resending.outcome(number)
        await asyncio.wait([outcome], timeout=timeout_s)
        if not outcome.done():
            raise self._no_receipt(resending.problem(number) or _NOBODY_ANSWERS, key, timeout_s)
        answer = outcome.result()
        if isinstance(answer, str):
            raise NoReceipt(answer, key)
        return answer

    async def _send_once(self, entry: Entry, answer: "asyncio.Future[Receipt]") -> str:
        """Send an entry of the outbox, and return why there is no answer when there is none in time."""
        correlation = self._mark + entry.number.to_bytes(_NUMBER_BYTES)
        if correlation not in self._answers:
            # Until there is an answer: one that comes after the timeout is as good.
            self._answers[correlation] = answer
            answer.add_done_callback(lambda _answer: self._answers.pop(correlation))
        try:
            async with asyncio.timeout(RECEIPT_TIMEOUT_S):
                await self._link.sendable()
                handover = self._publish(entry.topic, entry.payload, entry.key, correlation)
                return await self._problem_with(entry.topic, handover, answer) or _NOBODY_ANSWERS
        except TimeoutError:
            return _NOBODY_ANSWERS

    def _publish(
        self, topic: str, data: bytes, key: str | None, correlation: bytes, trace: TraceContext | None = None
    ) -> "asyncio.Future[bool]":
        properties = tracing.user_properties(trace)
        if key is not None:
            properties.append((IDEMPOTENCY_PROPERTY, key))
        return self._link.publish(
            topic,
            data,
            response_topic=self._response_topic,
            correlation=correlation,
            user_properties=properties,
        )

    def _no_receipt(self, problem: str, key: str | None, timeout_s: float) -> NoReceipt:
        if not self._link.is_up:
            problem = f"the broker is away ({self._link.problem})"
        return NoReceipt(f"{problem} (waited {timeout_s:g} s)", key)

    async def _answered(
        self, topic: str, data: bytes, key: str | None, timeout_s: float, trace: TraceContext | None
    ) -> Receipt:
        correlation = secrets.token_bytes(16)
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._answers[correlation] = answer
        sends, problem = 0, _NOBODY_ANSWERS
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                while True:
                    await self._link.sendable()
                    sends += 1
                    handover = self._publish(topic, data, key, correlation, trace)
                    problem = await self._problem_with(topic, handover, answer) or problem
                    if answer.done():
                        return answer.result().model_copy(update={"sends": sends})
                    await asyncio.sleep(_RESEND_PAUSE_S)
        except TimeoutError:
            if self._running is None or self._running.done():
                raise NoReceipt("the publisher was closed", key) from None
            raise self._no_receipt(problem, key, timeout_s) from None
        finally:
            self._deadlines.discard(deadline)
            del self._answers[correlation]

    def _hint(self, topic: str) -> str:
        """Say which topic was meant by one that no router reads, so that none can answer on it."""
        nearest = None if self._topics.is_read(topic) else self._topics.nearest(topic)
        return f"did you mean {nearest}?" if nearest else ""

    async def _problem_with(
        self, topic: str, handover: "asyncio.Future[bool]", answer: "asyncio.Future[Receipt]"
    ) -> str:
        """Wait for the answer, and return early with the reason when this send cannot bring it any more."""
        lost = self._lost
        # An answer may overtake the broker's own.
        await _first(handover, answer)
        if answer.done() or lost is None:
            return ""
        try:
            if not await handover:
                return f"nothing takes publishes; {self._hint(topic) or 'is the router running?'}"
        except BrokerUnavailable as error:
            hint = self._hint(topic)
            return f"the broker did not take it ({error})" + (f"; {hint}" if hint else "")
        await _first(answer, lost)
        return "the connection was lost"

    async def _receive(self, broker: Broker) -> None:
        self._lost = asyncio.get_running_loop().create_future()
        if self._resending is not None:
            self._resending.connected()
        try:
            while True:
                for incoming in await broker.take(_TAKE_BATCH):
                    self._settle(incoming.correlation or b"", incoming.payload)
                    broker.ack(incoming)
        finally:
            self._lost.set_result(None)

    def _settle(self, correlation: bytes, payload: bytes) -> None:
        answer = self._answers.get(correlation)
        if answer is None or answer.done():
            # The receipt of a send that was repeated, or of one that nobody waits for any more.
            return
        try:
            answer.set_result(Receipt.model_validate_json(payload))
        except ValidationError as error:
            log.warning("unreadable receipt", extra={"problems": error.error_count()})

    def _on_ended(self, _running: "asyncio.Task[None]") -> None:
        # Whoever still waits would wait for nothing.
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())


async def _first(*futures: "asyncio.Future[Any]") -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _check_topic(topic: str) -> None:
    if not topic or any(forbidden in topic for forbidden in _NOT_IN_TOPICS) or len(topic.encode()) > _TOPIC_BYTES:
        raise ValueError("a topic to publish on is not empty and holds no +, # or NUL")

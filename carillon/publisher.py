"""The publisher's client: publishes, and returns what the router answered.

    async with Publisher("mqtt://broker.example.com") as publisher:
        receipt = await publisher.publish("notifications/realtime/user/user123", {"message": "Hello"})

Promises that ``publish`` returns only after the router has stored what was published, that a publish whose answer was
lost with the connection is sent again under the same idempotency key, and that many publishes may be in flight at once.
It keeps nothing on disk: what has no receipt when the process ends, or when the timeout is over, may or may not have
been accepted.
"""

import asyncio
import json
import logging
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from shared.clock import rfc3339
from shared.errors import BrokerUnavailable, CarillonError
from shared.mqtt import Broker, BrokerAddress, BrokerLink

log = logging.getLogger(__name__)

# More waits for its turn: a publisher that is ahead of the router fills the broker's memory and nothing else.
OUTSTANDING = 500

RECEIPT_TIMEOUT_S = 10.0
IDEMPOTENCY_PROPERTY = "idempotency-key"

# The broker of deploy/mosquitto cuts the connection at a packet of 1 MiB and some; the router answers what is less.
PAYLOAD_BYTES = 1024 * 1024

# MQTT 5, 1.5.4: a string has at most 65,535 bytes.
_TOPIC_BYTES = 65_535
# MQTT 5, 4.7.1 and 4.7.3: a broker cuts the connection of a client that publishes on such a topic.
_NOT_IN_TOPICS = "+#\x00"

_RESEND_PAUSE_S = 0.25
_TAKE_BATCH = 500


class Status(StrEnum):
    """What a receipt says."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class FieldProblem(BaseModel):
    """One field of a payload and what is wrong with it."""

    model_config = ConfigDict(frozen=True)

    field: str
    problem: str


class Refusal(BaseModel):
    """Why a publish was rejected."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    fields: tuple[FieldProblem, ...] = ()

    def __str__(self) -> str:
        problems = "; ".join(f"{each.field}: {each.problem}" if each.field else each.problem for each in self.fields)
        return f"{self.code}: {self.message}{f' {problems}' if problems else ''}"


class Receipt(BaseModel):
    """The router's answer to one publish; what it says beyond these fields is in ``model_extra``.

    Attributes:
        sends: how often it was sent until this answer came. A duplicate with more than one is usually the same publish.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    status: Status
    notification_id: str | None = None
    alert_id: str | None = None
    accepted_at: Annotated[AwareDatetime, PlainSerializer(rfc3339)] | None = None
    error: Refusal | None = None
    sends: int = Field(default=1, exclude=True)

    def document(self) -> dict[str, Any]:
        """Return the receipt as the router wrote it."""
        return self.model_dump(mode="json", exclude_unset=True)


class Refused(CarillonError):
    """The router rejected a publish; sending it again would not help, except for the code ``rate_limited``."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(str(receipt.error or receipt.status))
        self.receipt = receipt


class NoReceipt(CarillonError):
    """No answer came; the publish may have been accepted, so send it again with ``key`` only.

    Attributes:
        key: the idempotency key that was used, None when the payload has an ``id`` of its own.
    """

    def __init__(self, problem: str, key: str | None) -> None:
        super().__init__(f"no receipt: {problem}")
        self.key = key


class Publisher:
    """A connection to the broker for publishing; use it as an async context manager, once.

    Args:
        url: like ``MQTT_URL``.
        client_id: the name at the broker, for one that binds names to logins; None for a random one.
        topic_prefix: put before every topic, like ``TOPIC_PREFIX``.
        ca_file: CA bundle for ``mqtts``; None for the system's.

    Raises:
        ConfigError: the URL is not one.
        BrokerUnavailable: on entering, when the first connection does not come about. Later ones are tried again.
    """

    def __init__(
        self, url: str, client_id: str | None = None, topic_prefix: str = "", *, ca_file: Path | None = None
    ) -> None:
        # MQTT 5, 3.1.3.1: every broker takes 23 letters and digits; the hyphen is taken by those that we know.
        self._client_id = client_id or f"carillon-{secrets.token_hex(6)}"
        if any(forbidden in self._client_id for forbidden in _NOT_IN_TOPICS):
            raise ValueError("a client id holds no +, # or NUL, because it stands in the topic of the receipts")
        self._prefix = topic_prefix
        self._response_topic = f"{topic_prefix}receipts/{self._client_id}/publishes"
        self._link = BrokerLink(
            BrokerAddress.parse(url, ca_file), self._client_id, filters=[self._response_topic], serve=self._receive
        )
        self._room = asyncio.Semaphore(OUTSTANDING)
        self._answers: dict[bytes, asyncio.Future[Receipt]] = {}
        self._deadlines: set[asyncio.Timeout] = set()
        self._lost: asyncio.Future[None] | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._link.run(), name="publisher-link")
        self._running.add_done_callback(self._on_ended)
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
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

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
            timeout_s: counted from the first try to send, not from the wait for a place among the outstanding ones.

        Raises:
            Refused: the router rejected it.
            NoReceipt: nobody answered in time, or before the publisher was closed.
            ValueError: no broker would take this topic or payload.
        """
        data = payload if isinstance(payload, bytes) else json.dumps(payload, allow_nan=False).encode()
        full_topic = self._prefix + topic
        _check_topic(full_topic)
        if len(data) > PAYLOAD_BYTES:
            raise ValueError(f"the payload is larger than {PAYLOAD_BYTES} bytes")
        if key is None and not _has_id(data):
            key = str(uuid.uuid4())
        async with self._room:
            receipt = await self._answered(full_topic, data, key, timeout_s)
        if receipt.status is Status.REJECTED:
            raise Refused(receipt)
        return receipt

    async def _answered(self, topic: str, data: bytes, key: str | None, timeout_s: float) -> Receipt:
        correlation = secrets.token_bytes(16)
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._answers[correlation] = answer
        sends, problem = 0, "the router does not answer"
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                while True:
                    await self._link.wait_up()
                    sends += 1
                    handover = self._link.publish(
                        topic,
                        data,
                        response_topic=self._response_topic,
                        correlation=correlation,
                        user_properties=[(IDEMPOTENCY_PROPERTY, key)] if key is not None else (),
                    )
                    problem = await self._problem_with(handover, answer) or problem
                    if answer.done():
                        return answer.result().model_copy(update={"sends": sends})
                    await asyncio.sleep(_RESEND_PAUSE_S)
        except TimeoutError:
            if self._running is None or self._running.done():
                raise NoReceipt("the publisher was closed", key) from None
            if not self._link.is_up:
                problem = f"the broker is away ({self._link.problem})"
            raise NoReceipt(f"{problem} (waited {timeout_s:g} s)", key) from None
        finally:
            self._deadlines.discard(deadline)
            del self._answers[correlation]

    async def _problem_with(self, handover: "asyncio.Future[bool]", answer: "asyncio.Future[Receipt]") -> str:
        """Wait for the answer, and return early with the reason when this send cannot bring it any more."""
        lost = self._lost
        # An answer may overtake the broker's own.
        await _first(handover, answer)
        if answer.done() or lost is None:
            return ""
        try:
            if not await handover:
                return "nothing takes publishes; is the router running?"
        except BrokerUnavailable as error:
            return f"the broker did not take it ({error})"
        await _first(answer, lost)
        return "the connection was lost"

    async def _receive(self, broker: Broker) -> None:
        self._lost = asyncio.get_running_loop().create_future()
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


def _has_id(data: bytes) -> bool:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        # The router says what is wrong with it.
        return False
    return isinstance(document, dict) and document.get("id") is not None

"""The asynchronous publisher: publishes, and returns what the router answered.

    async with AsyncPublisher("mqtt://broker.example.com") as publisher:
        receipt = await publisher.send_user("user123", message="Hello")

Promises that a publish returns only after the router has stored it, that one whose answer was lost with the connection
is sent again under the same idempotency key, and that many publishes may be in flight at once. Without an outbox it
keeps nothing on disk: what has no receipt when the process ends, or when the timeout is over, may or may not have been
accepted. With one, each publish is in a local file before it is sent and until it has its receipt:

    async with AsyncPublisher("mqtt://broker.example.com", outbox=Path("/var/lib/shop/outbox")) as publisher:
        await publisher.submit("notifications/realtime/user/user123", {"message": "Hello"})

It is sent again under its key while a publisher has that file open, in this process or a later one, however both ended.
No order is promised. Only the disk can lose it.
"""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from carillon_publisher import tracing
from carillon_publisher.address import BrokerAddress, is_http
from carillon_publisher.door import NOBODY_ANSWERS, RECEIPT_TIMEOUT_S, Door, Outgoing
from carillon_publisher.errors import NoReceipt, WrongAddress, refused, wait_of
from carillon_publisher.mqtt import MqttDoor
from carillon_publisher.outbox.entries import OUTBOX_ENTRIES, Entry
from carillon_publisher.outbox.outbox import Outbox
from carillon_publisher.outbox.resending import Resending
from carillon_publisher.payload_terms import read_object
from carillon_publisher.payloads import encoded
from carillon_publisher.receipts import Event, Receipt, Status
from carillon_publisher.sends import Sends
from carillon_publisher.topics import NOT_IN_TOPICS, Topics

# More waits for its turn: a publisher that is ahead of the router fills the broker's memory and nothing else.
OUTSTANDING = 500

# The largest payload of any topic (the wire contract, section 2); the broker may cut the connection at more.
PAYLOAD_BYTES = 1024 * 1024

_RESEND_PAUSE_S = 0.25
_NUMBER_BYTES = 8
_EVENTS_FOR_S = 60.0


# A write there sets the fields that it names, and null clears one.
_RECORDS_WITH_NULLS = "directory/user/"


class AsyncPublisher(Sends[Coroutine[Any, Any, Receipt]]):
    """A connection for publishing; use it as an async context manager, once.

    Args:
        url: ``mqtt://[user:pass@]host[:1883]``, ``mqtts://…``, or ``http(s)://host[:port]`` with a ``key``.
        client_id: the name of the connection at the broker; None for ``name``, or without one a random one. A broker
            lets one connection have it. With the shipped roles it is the login's name.
        topic_prefix: stands before every topic of the installation, as in the services' ``TOPIC_PREFIX``.
        name: the publisher's name: topics become ``from/{name}/…``, and receipts come below ``receipts/{name}/``. None
            for the plain topics. Over HTTP the key says it.
        key: what an HTTP publisher shows (``carillon publisher create`` prints it).
        ca_file: CA bundle for ``mqtts`` and ``https``; None for the system's.
        outbox: the file that keeps what has no receipt, made where there is none; None keeps nothing.
        outbox_limit: how many entries it may hold.
        wait_when_limited: publish again what was refused as ``rate_limited``, when the router says that it can be
            accepted, as long as ``timeout_s`` allows. What is in an outbox is always sent again.

    Raises:
        WrongAddress: the URL is not one.
        NotConnected: on entering without an outbox, when the first connection does not come about. Later ones are
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
        name: str | None = None,
        key: str | None = None,
        ca_file: Path | None = None,
        outbox: Path | None = None,
        outbox_limit: int = OUTBOX_ENTRIES,
        wait_when_limited: bool = False,
    ) -> None:
        self._wait_when_limited = wait_when_limited
        # Over HTTP the service puts prefix and name before the topic.
        self._topics = Topics() if is_http(url) else Topics(topic_prefix, name)
        self._door = self._http(url, key, ca_file) if is_http(url) else self._mqtt(url, client_id, name, ca_file)
        if key is not None and not is_http(url):
            raise WrongAddress("a key is for http urls; the login of a broker is in its url")
        self._room = asyncio.Semaphore(OUTSTANDING)
        # The receipt for an entry of another process must not be taken for that of the entry with the same number here.
        self._mark = secrets.token_bytes(8)
        self._resending: Resending | None = None
        if outbox is not None:
            kept = Outbox(outbox, limit=outbox_limit)
            self._resending = Resending(kept, ready=self._door.ready, send=self._send_once, most=OUTSTANDING)
        self._resending_task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._deadlines: set[asyncio.Timeout] = set()

    @staticmethod
    def _http(url: str, key: str | None, ca_file: Path | None) -> Door:
        # It needs an extra package, which a publisher over MQTT does without.
        from carillon_publisher.http import HttpDoor  # noqa: PLC0415

        return HttpDoor(url, key, ca_file)

    def _mqtt(self, url: str, client_id: str | None, name: str | None, ca_file: Path | None) -> Door:
        # MQTT 5, 3.1.3.1: every broker takes 23 letters and digits; the hyphen is taken by those that we know.
        client_id = client_id or name or f"carillon-{secrets.token_hex(6)}"
        if any(forbidden in client_id for forbidden in NOT_IN_TOPICS):
            raise ValueError("a client id holds no +, # or NUL, because it stands in the topic of the receipts")
        return MqttDoor(
            BrokerAddress.parse(url, ca_file),
            client_id,
            topics=self._topics,
            receipts=self._topics.receipts(name or client_id, client_id),
            on_up=self._on_up,
        )

    @property
    def outbox(self) -> Outbox:
        """The outbox, to look at what was refused or is stale; ValueError when there is none."""
        return self._with_outbox().outbox

    async def __aenter__(self) -> Self:
        try:
            if self._resending is not None:
                await self._resending.outbox.__aenter__()
                await self._resending.take_up()
            await self._door.open(patient=self._resending is not None)
        except BaseException:
            await self._end()
            raise
        if self._resending is not None:
            self._resending_task = asyncio.create_task(self._resending.run(), name="publisher-outbox")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._end()

    async def _end(self) -> None:
        self._is_closed = True
        for deadline in self._deadlines:
            # Whoever still waits would wait for nothing.
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())
        try:
            if self._resending_task is not None:
                self._resending_task.cancel()
                with suppress(asyncio.CancelledError):
                    await self._resending_task
            await self._door.close()
        finally:
            if self._resending is not None:
                await self._resending.outbox.__aexit__()

    async def publish(
        self,
        topic: str,
        payload: Mapping[str, Any] | bytes,
        key: str | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Publish and wait for the receipt, which says accepted or duplicate.

        Args:
            topic: as in the wire contract, without the prefix and the publisher's name.
            payload: an object to be written as JSON, or the bytes as they are (``b""`` is the empty payload).
            key: the idempotency key; None makes one, unless the payload has an ``id``.
            timeout_s: counted from the first try to send, not from the wait for a place among the outstanding ones;
                with an outbox from when it is on disk. None for 10 s.

        Raises:
            Refused: the router rejected it; RateLimited when it comes too fast.
            NoReceipt: nobody answered in time, or before the publisher was closed. With an outbox it is kept and sent
                again, so the caller need not.
            OutboxError: it is not in the outbox, and was not sent.
            ValueError: no broker would take this topic or payload.
        """
        full_topic, data = self._checked(topic, payload)
        timeout_s = RECEIPT_TIMEOUT_S if timeout_s is None else timeout_s
        if self._resending is not None:
            receipt = await self._kept_and_answered(self._resending, full_topic, data, key, timeout_s)
        else:
            document = read_object(data)
            if key is None and document.get("id") is None:
                key = str(uuid.uuid4())
            told_of = document.get("events") is True
            async with self._room:
                with tracing.publishing() as step:
                    outgoing = Outgoing(full_topic, data, key, secrets.token_bytes(16), step.context, told_of)
                    receipt = await self._answered(outgoing, timeout_s)
                    step.ended_as(receipt.status.value)
        if receipt.status is Status.REJECTED:
            raise refused(receipt)
        return receipt

    async def _send(self, topic: str, payload: Mapping[str, Any] | bytes, timeout_s: float | None) -> Receipt:
        return await self.publish(topic, payload, timeout_s=timeout_s)

    async def submit(self, topic: str, payload: Mapping[str, Any] | bytes, key: str | None = None) -> str:
        """Return the idempotency key once the publish is in the outbox; it is sent without the caller.

        What the router rejects is found in ``outbox.refused()``. Arguments are those of ``publish``.

        Raises:
            OutboxFull: the outbox holds as much as it may.
            OutboxError: it is not in the outbox for another reason.
            ValueError: no broker would take this topic or payload, or there is no outbox.
        """
        resending = self._with_outbox()
        full_topic, data = self._checked(topic, payload)
        key, _ = await resending.keep(full_topic, data, key, sending=self._door.is_up)
        return key

    async def flush(self, timeout_s: float = RECEIPT_TIMEOUT_S) -> int:
        """Wait until nothing in the outbox waits for a receipt; return how many entries still do after the timeout.

        Raises:
            ValueError: there is no outbox.
        """
        return await self._with_outbox().wait_empty(timeout_s)

    async def events(self, notification_id: str, within_s: float = _EVENTS_FOR_S) -> AsyncIterator[Event]:
        """Yield the later steps of a notification that was published with ``events=True``.

        Over MQTT they are kept from the receipt on, for the last 100 such notifications. A step that was taken before
        the receipt arrived may be missing. Over HTTP the end of each of the first 100 deliveries is told, also without
        ``events=True``, and the iteration ends when all have ended.

        Args:
            within_s: the iteration ends after so long, or with the publisher.
        """
        with suppress(TimeoutError):
            async with self._door.events(notification_id) as steps:
                deadline_s = asyncio.get_running_loop().time() + within_s
                while True:
                    async with asyncio.timeout_at(deadline_s):
                        try:
                            step = await anext(steps)
                        except StopAsyncIteration:
                            return
                    yield step

    def _with_outbox(self) -> Resending:
        if self._resending is None:
            raise ValueError("this publisher has no outbox")
        return self._resending

    def _on_up(self) -> None:
        if self._resending is not None:
            self._resending.connected()

    def _checked(self, topic: str, payload: Mapping[str, Any] | bytes) -> tuple[str, bytes]:
        full_topic = self._topics.publish(topic)
        data = encoded(payload, nulls=topic.startswith(_RECORDS_WITH_NULLS))
        if len(data) > PAYLOAD_BYTES:
            raise ValueError(f"the payload is larger than {PAYLOAD_BYTES} bytes")
        return full_topic, data

    async def _kept_and_answered(
        self, resending: Resending, topic: str, data: bytes, key: str | None, timeout_s: float
    ) -> Receipt:
        key, number = await resending.keep(topic, data, key, sending=self._door.is_up)
        outcome = resending.outcome(number)
        await asyncio.wait([outcome], timeout=timeout_s)
        if not outcome.done():
            raise self._no_receipt(resending.problem(number) or NOBODY_ANSWERS, key, timeout_s)
        answer = outcome.result()
        if isinstance(answer, str):
            raise NoReceipt(answer, key)
        return answer

    async def _send_once(self, entry: Entry, answer: "asyncio.Future[Receipt]") -> str:
        """Send an entry of the outbox, and return why there is no answer when there is none in time."""
        correlation = self._mark + entry.number.to_bytes(_NUMBER_BYTES)
        try:
            async with asyncio.timeout(RECEIPT_TIMEOUT_S):
                await self._door.ready()
                return await self._door.send(Outgoing(entry.topic, entry.payload, entry.key, correlation), answer)
        except TimeoutError:
            return NOBODY_ANSWERS

    def _no_receipt(self, problem: str, key: str | None, timeout_s: float) -> NoReceipt:
        if not self._door.is_up:
            problem = self._door.problem
        return NoReceipt(f"{problem} (waited {timeout_s:g} s)", key)

    async def _answered(self, outgoing: Outgoing, timeout_s: float) -> Receipt:
        """Send until there is an answer, and again after a refusal that waiting helps against, if that is wanted."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        sent = 0
        while True:
            receipt = await self._sent_until_answered(outgoing, deadline_s, timeout_s)
            sent += receipt.sends
            wait_s = wait_of(receipt) if self._wait_when_limited else None
            if wait_s is None or loop.time() + wait_s >= deadline_s:
                return replace(receipt, sends=sent)
            await asyncio.sleep(wait_s)
            outgoing = replace(outgoing, correlation=secrets.token_bytes(16))

    async def _sent_until_answered(self, outgoing: Outgoing, deadline_s: float, timeout_s: float) -> Receipt:
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        sends, problem = 0, NOBODY_ANSWERS
        deadline = asyncio.timeout_at(deadline_s)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                while not self._is_closed:
                    await self._door.ready()
                    sends += 1
                    problem = await self._door.send(outgoing, answer)
                    if answer.done():
                        return replace(answer.result(), sends=sends)
                    await asyncio.sleep(_RESEND_PAUSE_S)
        except TimeoutError:
            if not self._is_closed:
                raise self._no_receipt(problem, outgoing.key, timeout_s) from None
        finally:
            self._deadlines.discard(deadline)
            answer.cancel()
        raise NoReceipt("the publisher was closed", outgoing.key)

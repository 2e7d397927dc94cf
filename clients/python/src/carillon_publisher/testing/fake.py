"""Publishers for unit tests: they keep what was published, and refuse what the router would refuse.

    def test_an_order_is_confirmed() -> None:
        publisher = FakePublisher()
        OrderService(publisher).place("order-17", customer="user123")
        (sent,) = publisher.published
        assert sent.topic == "notifications/realtime/user/user123"

Promises the receipts and errors of a router that knows everybody: the same codes, fields, problems and warnings of what
the publish itself says, and of a repeated idempotency key. Nothing leaves the process, and nothing is waited for.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self

from carillon_publisher.errors import NoReceipt, refused
from carillon_publisher.payload_terms import own_key, read_object
from carillon_publisher.payloads import encoded
from carillon_publisher.receipts import Event, Receipt, Refusal, Status
from carillon_publisher.sends import Sends
from carillon_publisher.testing.rules import NotTaken, rules
from carillon_publisher.topics import Topics


@dataclass(frozen=True, slots=True)
class Published:
    """What the router would have accepted.

    Attributes:
        topic: as in the wire contract, without prefix and name.
        payload: as the router reads it; empty for one that is empty.
        key: the idempotency key, where the program gave one.
    """

    topic: str
    payload: Mapping[str, Any]
    key: str | None
    receipt: Receipt


@dataclass(slots=True)
class Fake:
    """The router behind a fake publisher.

    Args:
        unknown_fields: what the installation does about them, as in ``ROUTER_UNKNOWN_FIELDS``.

    Attributes:
        published: what was accepted, oldest first; a duplicate is not in it again.
    """

    unknown_fields: Literal["warn", "reject"] = "warn"
    published: list[Published] = field(default_factory=list)
    _topics: Topics = field(default_factory=Topics)
    _answers: deque[Refusal | None] = field(default_factory=deque)
    _by_key: dict[str, Published] = field(default_factory=dict)
    _events: dict[str, list[Event]] = field(default_factory=dict)

    def on(self, topic: str) -> list[Mapping[str, Any]]:
        """Return the payloads that were accepted on a topic, oldest first."""
        return [each.payload for each in self.published if each.topic == topic]

    def refuse_next(self, code: str = "rate_limited", message: str = "No.", retry_after_s: float | None = None) -> None:
        """Reject the next publish, or the one after those that are to be rejected already."""
        self._answers.append(Refusal(code, message, retry_after_s=retry_after_s))

    def lose_next(self) -> None:
        """Give no receipt for the next publish, which is not taken either."""
        self._answers.append(None)

    def tell(self, notification_id: str, *events: Event) -> None:
        """Set the later steps that ``events`` yields."""
        self._events.setdefault(notification_id, []).extend(events)

    def clear(self) -> None:
        """Forget everything."""
        self.published.clear()
        self._answers.clear()
        self._by_key.clear()
        self._events.clear()

    def _take(self, topic: str, payload: Mapping[str, Any] | bytes, key: str | None) -> Receipt:
        self._topics.publish(topic)
        data = encoded(payload)
        if self._answers:
            answer = self._answers.popleft()
            if answer is None:
                raise NoReceipt("the fake was told to lose it", key)
            raise refused(Receipt(Status.REJECTED, error=answer))
        document = {name: value for name, value in read_object(data).items() if value is not None}
        try:
            read = rules().topic(topic)
            warnings = rules().read(read, data, key=key, reject_unknown=self.unknown_fields == "reject")
            key = own_key(document) or key
            first = self._first(topic, document, key)
        except NotTaken as error:
            raise refused(Receipt(Status.REJECTED, error=error.refusal)) from None
        if first is not None:
            return Receipt(Status.DUPLICATE, first.receipt.notification_id)
        number = len(self.published) + 1
        notification_id = f"00000000-0000-7000-8000-{number:012}"
        receipt = Receipt(
            Status.ACCEPTED,
            notification_id,
            alert_id=notification_id if read.kind in ("alert_critical", "alert_warning", "alert_info") else None,
            accepted_at=datetime.now(UTC),
            warnings=warnings,
        )
        published = Published(topic, document, key, receipt)
        self.published.append(published)
        if key is not None:
            self._by_key[key] = published
        return receipt

    def _first(self, topic: str, document: Mapping[str, Any], key: str | None) -> Published | None:
        """Return what was accepted under this key before.

        Raises:
            NotTaken: that was another notification.
        """
        first = self._by_key.get(key) if key is not None else None
        if first is not None and (first.topic, dict(first.payload)) != (topic, dict(document)):
            message = "Another notification was accepted under this idempotency key."
            raise NotTaken(Refusal("idempotency_conflict", message))
        return first


class FakePublisher(Fake, Sends[Receipt]):
    """In place of ``Publisher``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        return

    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any] | bytes,
        key: str | None = None,
        *,
        timeout_s: float | None = None,  # noqa: ARG002 - the publisher's signature
    ) -> Receipt:
        """Keep a publish and return its receipt; see ``Publisher.publish``."""
        return self._take(topic, payload, key)

    def _send(self, topic: str, payload: Mapping[str, Any] | bytes, timeout_s: float | None) -> Receipt:
        return self.publish(topic, payload, timeout_s=timeout_s)

    def submit(self, topic: str, payload: Mapping[str, Any] | bytes, key: str | None = None) -> str:
        """Keep a publish and return its key; what would be rejected is raised here already."""
        return _key_of(self._take(topic, payload, key), payload, key)

    def flush(self, timeout_s: float = 10.0) -> int:  # noqa: ARG002 - the publisher's signature
        """Say that nothing waits."""
        return 0

    def events(self, notification_id: str, within_s: float = 60.0) -> Iterator[Event]:  # noqa: ARG002 - the publisher's
        """Yield what ``tell`` was told."""
        yield from self._events.get(notification_id, ())


class FakeAsyncPublisher(Fake, Sends[Coroutine[Any, Any, Receipt]]):
    """In place of ``AsyncPublisher``."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        return

    async def publish(
        self,
        topic: str,
        payload: Mapping[str, Any] | bytes,
        key: str | None = None,
        *,
        timeout_s: float | None = None,  # noqa: ARG002 - the publisher's signature
    ) -> Receipt:
        """Keep a publish and return its receipt; see ``AsyncPublisher.publish``."""
        return self._take(topic, payload, key)

    async def _send(self, topic: str, payload: Mapping[str, Any] | bytes, timeout_s: float | None) -> Receipt:
        return await self.publish(topic, payload, timeout_s=timeout_s)

    async def submit(self, topic: str, payload: Mapping[str, Any] | bytes, key: str | None = None) -> str:
        """Keep a publish and return its key; what would be rejected is raised here already."""
        return _key_of(self._take(topic, payload, key), payload, key)

    async def flush(self, timeout_s: float = 10.0) -> int:  # noqa: ARG002 - the publisher's signature
        """Say that nothing waits."""
        return 0

    async def events(self, notification_id: str, within_s: float = 60.0) -> AsyncIterator[Event]:  # noqa: ARG002 - the publisher's
        """Yield what ``tell`` was told."""
        for event in self._events.get(notification_id, ()):
            yield event


def _key_of(receipt: Receipt, payload: Mapping[str, Any] | bytes, key: str | None) -> str:
    return own_key(json.loads(encoded(payload) or b"{}")) or key or f"key-of-{receipt.notification_id}"

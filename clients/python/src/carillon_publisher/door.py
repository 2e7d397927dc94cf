"""What the two ways to Carillon, MQTT and HTTP, have in common for whoever publishes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from carillon_publisher.receipts import Event, Receipt

# For one send; a late receipt still counts.
RECEIPT_TIMEOUT_S = 10.0
NOBODY_ANSWERS = "the router does not answer"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A publish to be sent.

    Attributes:
        topic: with the prefix and the publisher's name.
        key: the idempotency key; None if the payload says it.
        correlation: what the receipt is recognised by. The same for every send of one publish.
        trace: the W3C trace context's headers.
        told_of: its later steps will be asked for.
    """

    topic: str = field(repr=False)
    payload: bytes = field(repr=False)
    key: str | None
    correlation: bytes
    trace: tuple[tuple[str, str], ...] = ()
    told_of: bool = False


class Door(Protocol):
    """A way to Carillon. It is opened once, keeps itself open, and sends one publish as often as it is told to."""

    @property
    def is_up(self) -> bool:
        """Tell whether there is somebody to send to."""
        ...

    @property
    def problem(self) -> str:
        """Why there is nobody to send to."""
        ...

    async def open(self, *, patient: bool) -> None:
        """Begin.

        Args:
            patient: return at once, and go on trying to connect.

        Raises:
            NotConnected: the first try did not succeed, and nobody is patient.
        """
        ...

    async def close(self) -> None:
        """End; nothing is answered after this."""
        ...

    async def ready(self) -> None:
        """Return when there is somebody to send to, and room for it."""
        ...

    async def send(self, outgoing: Outgoing, answer: "asyncio.Future[Receipt]") -> str:
        """Send once. Return when the future has the receipt, or with the reason why this send brings none any more."""
        ...

    def events(self, notification_id: str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Open the stream of a notification's later steps."""
        ...

"""Mail to other people during a test: how it ends decides whose fault a refusal is (``shared.delivery.witnesses``)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

from carillon.publisher import Publisher

_EVERY_S = 0.2
_NAME = "somebody-else"

_numbers: Iterator[int] = count()


@asynccontextmanager
async def others_get_mail(broker_url: str) -> AsyncIterator[None]:
    """Send mail to other people all the while; ``is_others`` tells their addresses."""

    async def send(publisher: Publisher) -> None:
        while True:
            mail = {"to": f"{_NAME}{next(_numbers)}@example.com", "subject": "Hello", "body": "Good morning."}
            await publisher.publish("notifications/email/send", mail)
            await asyncio.sleep(_EVERY_S)

    async with Publisher(broker_url) as publisher, asyncio.TaskGroup() as group:
        sending = group.create_task(send(publisher), name="others")
        try:
            yield
        finally:
            sending.cancel()


def is_others(address: str) -> bool:
    """Tell whether an address is one that ``others_get_mail`` writes to."""
    return address.startswith(_NAME)

"""HTTP for publishers in tests: a publisher with a key, and a router that answers what it is told to."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from shared.directory.publishers import Publisher, Publishers
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from tests.realtime import Realtime

KEY = "a key of the tests"
ACCEPTED = {
    "status": "accepted",
    "notification_id": "0197c5a2-7f00-7003-8000-000000000000",
    "accepted_at": "2026-11-28T12:00:00.000Z",
}

Answer = Callable[[Incoming], Mapping[str, Any] | None]


async def give_key(node: Realtime, publisher: str, key: str = KEY) -> None:
    """Write the record of a publisher with this key."""
    record = Publisher(keys=(hashlib.sha256(key.encode()).hexdigest(),))
    await Publishers(node.context.store, node.context.keys).put(publisher, record)


class FakeRouter:
    """What came from publishers, and how it is answered; None answers nothing."""

    def __init__(self, broker: Broker, answer: Answer) -> None:
        self._broker = broker
        self.answer = answer
        self.got: list[Incoming] = []

    async def serve(self) -> None:
        """Answer until cancelled."""
        while True:
            for incoming in await self._broker.take(500):
                self.got.append(incoming)
                receipt = self.answer(incoming)
                if receipt is not None:
                    self.tell(incoming, receipt)
                self._broker.ack(incoming)

    def tell(self, incoming: Incoming, receipt: Mapping[str, Any]) -> None:
        """Answer a publish."""
        if incoming.response_topic:
            self._broker.publish(incoming.response_topic, json.dumps(receipt), correlation=incoming.correlation)


@asynccontextmanager
async def fake_router(
    broker_url: str, prefix: str, answer: Answer = lambda _incoming: ACCEPTED
) -> AsyncIterator[FakeRouter]:
    """Answer what publishers publish under a prefix until the end of the context."""
    async with Broker(BrokerAddress.parse(broker_url), f"{prefix.strip('/')}-fake-router") as broker:
        await broker.subscribe(f"{prefix}from/#")
        router = FakeRouter(broker, answer)
        task = asyncio.create_task(router.serve(), name="fake-router")
        try:
            yield router
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def post(
    node: Realtime, topic: str, payload: Any = None, *, key: str = KEY, **headers: str
) -> tuple[int, Any, Mapping[str, str]]:
    """Post as a publisher: status, JSON and headers of the answer. Underscores in header names stand for hyphens."""
    said = {"Authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    body = payload if isinstance(payload, bytes) else json.dumps(payload or {}).encode()
    async with node.client.post(f"{node.url}/v1/publish/{topic}", data=io.BytesIO(body), headers=said) as answer:
        return answer.status, await answer.json(), answer.headers

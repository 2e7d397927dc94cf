"""Publishes for the watch, and waits for the receipts: whichever router the broker chooses takes what it tells."""

import asyncio
import json
import logging
from dataclasses import dataclass

from shared.core.errors import BrokerUnavailable, CarillonError
from shared.core.topics import LIVENESS_PUBLISHER, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.reconnecting import BrokerLink
from shared.store.replies import read_object

log = logging.getLogger(__name__)

RECEIPT_S = 5.0
_TAKE_MOST = 500
_NUMBER_BYTES = 8


class NoReceipt(CarillonError):
    """Nobody has answered; a router may have it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a router has answered.

    Attributes:
        code: of a refusal; empty where there is none.
        retry_after_s: when a refusal may be none.
    """

    code: str = ""
    retry_after_s: float = 0.0


class RouterLink:
    """The connection on which one router's watch publishes."""

    def __init__(self, address: BrokerAddress, topics: Topics, instance: str) -> None:
        self._topics = topics
        self._receipts = topics.liveness_receipts(instance)
        self._link = BrokerLink(address, f"{instance}-liveness", filters=(self._receipts,), serve=self._receive)
        self._answers: dict[bytes, asyncio.Future[bytes]] = {}
        self._number = 0

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        await self._link.run()

    async def wait_up(self) -> None:
        """Return when receipts can come."""
        await self._link.wait_up()

    async def ask(self, topic: str, payload: dict[str, object]) -> Receipt:
        """Publish, and return the receipt.

        Args:
            topic: as anybody publishes on it.

        Raises:
            NoReceipt: nobody answers.
        """
        self._number += 1
        correlation = self._number.to_bytes(_NUMBER_BYTES)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[correlation] = answer
        try:
            async with asyncio.timeout(RECEIPT_S):
                await self._link.sendable()
                is_taken = await self._link.publish(
                    self._topics.of_publisher(LIVENESS_PUBLISHER, topic),
                    json.dumps(payload),
                    response_topic=self._receipts,
                    correlation=correlation,
                )
                if not is_taken:
                    raise NoReceipt("no router reads it")
                return _read(await answer)
        except (TimeoutError, BrokerUnavailable) as error:
            raise NoReceipt(str(error) or "no receipt in time") from None
        finally:
            del self._answers[correlation]

    async def _receive(self, broker: Broker) -> None:
        while True:
            for incoming in await broker.take(_TAKE_MOST):
                answer = self._answers.get(incoming.correlation or b"")
                if answer is not None and not answer.done():
                    answer.set_result(incoming.payload)
                broker.ack(incoming)


def _read(receipt: bytes) -> Receipt:
    error = read_object(receipt).get("error")
    if not isinstance(error, dict):
        return Receipt()
    return Receipt(str(error.get("code")), float(error.get("retry_after_s") or 0))

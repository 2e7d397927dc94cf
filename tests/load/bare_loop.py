"""The minimum that a router could do: ``python -m tests.load.bare_loop MQTT_URL IN OUT RECEIPTS``."""

import asyncio
import sys

from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker


async def forward(url: str, topic_in: str, topic_out: str, receipts: str) -> None:
    """Take batches, publish each payload and a receipt, await the broker's answers, then acknowledge."""
    async with Broker(BrokerAddress.parse(url), "bare-loop") as broker:
        await broker.subscribe(topic_in)
        while True:
            batch = await broker.take(200)
            await asyncio.gather(
                *(broker.publish(topic_out, one.payload) for one in batch),
                *(broker.publish(receipts, b"{}") for _ in batch),
            )
            for one in batch:
                broker.ack(one)


if __name__ == "__main__":
    asyncio.run(forward(*sys.argv[1:]))

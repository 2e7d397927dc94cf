"""One publisher at full speed, as a process of its own: ``python -m tests.load.one_publisher URL NAME COUNT SECONDS``.

It publishes ``COUNT`` notifications, or as many as it can in ``SECONDS``, at most ``--outstanding`` ahead of the
receipts, or as fast as the broker takes them. It prints how many were answered how, and when, as JSON.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter

from shared.core.topics import Kind, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker

_TOPICS = Topics()
_BODY = json.dumps({"title": "New Message", "message": "You have a new message", "data": {"message_id": "msg_456"}})


async def publish(url: str, name: str, count: int, seconds: float, outstanding: int) -> dict[str, object]:
    """Publish, and count the answers by their status, or by the code of a refusal."""
    answers: Counter[str] = Counter()
    receipts = f"receipts/{name}/publishes"
    topics = [
        _TOPICS.of_publisher(name, _TOPICS.publish(Kind.REALTIME_USER, f"user{number}")) for number in range(1_000)
    ]
    sent = 0
    async with Broker(BrokerAddress.parse(url), f"bench-{name}", receive_maximum=5_000) as broker:
        await broker.subscribe(receipts)
        began_s = time.time()
        ended_s = began_s + seconds

        async def read() -> None:
            while sent == 0 or answers.total() < sent or (sent < count and time.time() < ended_s):
                for receipt in await broker.take(5_000):
                    broker.ack(receipt)
                    found = json.loads(receipt.payload)
                    answers[found["error"]["code"] if found["status"] == "rejected" else found["status"]] += 1

        reading = asyncio.create_task(read(), name="receipts")
        taken: list[asyncio.Future[bool]] = []
        while sent < count and time.time() < ended_s:
            ahead = sent - answers.total() if outstanding else len(taken)
            if ahead < (outstanding or 500):
                taken.append(broker.publish(topics[sent % 1_000], _BODY, response_topic=receipts))
                sent += 1
            else:
                await asyncio.sleep(0.001)
                taken = [each for each in taken if not each.done()]
        published_s = time.time()
        async with asyncio.timeout(120):
            await reading
    return {"sent": sent, "answers": answers, "began_s": began_s, "published_s": published_s, "answered_s": time.time()}


def main() -> None:
    """Publish and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("name")
    parser.add_argument("count", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--outstanding", type=int, default=0)
    options = parser.parse_args()
    found = asyncio.run(publish(options.url, options.name, options.count, options.seconds, options.outstanding))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()

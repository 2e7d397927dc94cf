"""How many user notifications one router accepts, plans and answers per second, compared with the bare loop."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from carillon.local.child import Child
from carillon.local.servers import ROOT
from carillon.local.stack import Stack, with_login
from shared.core.model import Channel, Priority
from shared.core.topics import Kind, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker

USERS = 1_000

# What a publisher keeps outstanding at most.
OUTSTANDING = 500

_SAID: Mapping[str, object] = {
    "title": "New Message",
    "message": "You have a new message",
    "type": "message",
    "priority": "normal",
    "data": {"message_id": "msg_456", "sender": "john_doe"},
}
_RECEIPTS = "receipts/bench/1"
_TOPICS = Topics()


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate, and the processor time of the measured process per notification."""

    per_second: float
    cpu_us: float


async def measure_intake(stack: Stack, notifications: int) -> Rate:
    """Publish to the stack's one router and count the receipts."""
    async with Broker(BrokerAddress.parse(stack.broker.url), "bench") as publisher, drained(stack, Channel.REALTIME):
        await publisher.subscribe(_RECEIPTS)
        for number in range(USERS):
            topic = _TOPICS.publish(Kind.DIRECTORY_USER, f"user{number}")
            await publisher.publish(topic, json.dumps({"email": f"user{number}@example.com"}))
        topics = [_TOPICS.publish(Kind.REALTIME_USER, f"user{number}") for number in range(USERS)]
        # The first ones find caches cold and scripts not loaded.
        await exchange(publisher, topics, 500)
        return await rate_of(publisher, topics, notifications, stack.child("router").pid)


async def measure_bare_loop(stack: Stack, notifications: int) -> Rate:
    """Measure the same flow without a ledger: a process that takes, publishes a job and a receipt, and acks."""
    loop = Child(
        "bare-loop",
        [sys.executable, "-m", "tests.load.bare_loop", stack.broker.url, "bare/in", "bare/out", _RECEIPTS],
        log=stack.data / "logs" / "bare-loop.log",
        ready=lambda: _subscribed(stack),
        working_folder=ROOT,
        grace_s=5,
    )
    async with Broker(BrokerAddress.parse(stack.broker.url), "bench") as publisher:
        await publisher.subscribe(_RECEIPTS)
        async with Broker(BrokerAddress.parse(stack.broker.url), "bench-sink") as sink:
            await sink.subscribe("bare/out")
            async with asyncio.TaskGroup() as group:
                draining = group.create_task(_drain(sink), name="sink")
                await loop.start()
                try:
                    await exchange(publisher, ["bare/in"], 500)
                    rate = await rate_of(publisher, ["bare/in"], notifications, loop.pid)
                finally:
                    await loop.stop()
                    draining.cancel()
    return rate


async def rate_of(publisher: Broker, topics: list[str], notifications: int, pid: int | None, **said: object) -> Rate:
    """Publish so many notifications, and return the rate at which they are answered; ``said`` as for ``exchange``."""
    cpu_before_s, started_s = cpu_s(pid), time.perf_counter()
    await exchange(publisher, topics, notifications, **said)
    took_s = time.perf_counter() - started_s
    return Rate(notifications / took_s, (cpu_s(pid) - cpu_before_s) / notifications * 1e6)


async def exchange(publisher: Broker, topics: list[str], count: int, **said: object) -> None:
    """Publish, at most OUTSTANDING ahead of the receipts, until every publish has one.

    Args:
        said: what each notification says beside its text.
    """
    body = json.dumps({**_SAID, **said})
    sent = received = 0
    while received < count:
        while sent < count and sent - received < OUTSTANDING:
            publisher.publish(topics[sent % len(topics)], body, response_topic=_RECEIPTS)
            sent += 1
        async with asyncio.timeout(30):
            for receipt in await publisher.take(1_000):
                publisher.ack(receipt)
                received += 1


@asynccontextmanager
async def drained(stack: Stack, channel: Channel) -> AsyncIterator[None]:
    """Take the router's jobs, as that channel's service would, and do nothing with them."""
    url = with_login(stack.broker.url, stack.broker.credentials_of(channel))
    async with Broker(BrokerAddress.parse(url), "bench-sink") as broker:
        await broker.subscribe(*(_TOPICS.jobs_filter(channel, priority) for priority in Priority))
        task = asyncio.create_task(_drain(broker), name="sink")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _drain(broker: Broker) -> None:
    while True:
        for job in await broker.take(1_000):
            broker.ack(job)


async def _subscribed(stack: Stack) -> bool:
    async with Broker(BrokerAddress.parse(stack.broker.url), "bench-probe") as probe:
        return await probe.publish("bare/in", json.dumps(_SAID))


def cpu_s(pid: int | None) -> float:
    """Read the processor time of a process, user and system, in seconds (proc(5), fields 14 and 15 in 1/100 s)."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - not a file on disk
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100

"""What one publisher does to the others: a flood beside another's publishes, and two with different shares."""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carillon.local.servers import ROOT
from carillon.local.stack import Stack
from shared.core.topics import Kind, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from tests.waiting import eventually

_TOPICS = Topics()
_RECEIPTS = "receipts/other/publishes"
# Between two rounds of what the other publisher publishes.
_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of a flood, and how long others waited for their receipts.

    Attributes:
        answers: how many of the flood were answered how.
        took_s: from its first publish to its last receipt.
        p99_ms: by what was published.
    """

    answers: dict[str, int]
    took_s: float
    p99_ms: dict[str, float]
    samples: int


async def start_publisher(
    stack: Stack, name: str, count: int, seconds: float, outstanding: int = 0
) -> asyncio.subprocess.Process:
    """Start one publisher in a process of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.load.one_publisher", stack.broker.url, name, str(count), str(seconds)),
        *("--outstanding", str(outstanding)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )


async def result(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return what a publisher has printed at its end."""
    out, _ = await process.communicate()
    found: dict[str, Any] = json.loads(out)
    return found


async def measure_flood(stack: Stack, count: int) -> Flood:
    """Let one publisher publish at full speed, and another one what is urgent and what is not."""
    took_ms: defaultdict[str, list[float]] = defaultdict(list)
    sent: dict[bytes, tuple[str, float]] = {}
    ids: list[str] = []
    async with Broker(BrokerAddress.parse(stack.broker.url), "bench-other") as other:
        await other.subscribe(_RECEIPTS)
        admin = json.dumps({"email": "admin@example.com", "roles": ["admin"]})
        await other.publish(_TOPICS.publish(Kind.DIRECTORY_USER, "admin"), admin)
        await _set_records(other, {"other": {"rate": "0"}})

        def publish(what: str, kind: Kind, parameter: str, body: dict[str, object]) -> None:
            mark = f"{len(sent)}".encode()
            sent[mark] = what, time.perf_counter()
            topic = _TOPICS.of_publisher("other", _TOPICS.publish(kind, parameter))
            other.publish(topic, json.dumps(body), response_topic=_RECEIPTS, correlation=mark)

        async def read() -> None:
            while True:
                for receipt in await other.take(100):
                    other.ack(receipt)
                    what, at_s = sent[receipt.correlation or b""]
                    took_ms[what].append((time.perf_counter() - at_s) * 1000)
                    found = json.loads(receipt.payload)
                    if found["status"] == "rejected":
                        raise AssertionError(found)
                    if what == "normal notification":
                        ids.append(found["notification_id"])

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read(), name="read")
            process = await start_publisher(stack, "flood", count, 120)
            ending = group.create_task(result(process), name="flood")
            while not ending.done():
                publish("critical alert", Kind.ALERT_CRITICAL, "disk", {"message": "Full"})
                publish("critical notification", Kind.REALTIME_USER, "user1", {"message": "x", "priority": "critical"})
                publish("normal notification", Kind.REALTIME_USER, "user1", {"message": "x"})
                if ids:
                    publish("cancel", Kind.CANCEL, ids.pop(), {})
                await asyncio.sleep(_EVERY_S)
            await eventually(lambda: sum(map(len, took_ms.values())) == len(sent), 60, "every receipt")
            reading.cancel()
    found = ending.result()
    if sum(found["answers"].values()) != found["sent"]:
        raise AssertionError(found)
    return Flood(
        found["answers"], found["answered_s"] - found["began_s"],
        {what: _p99(each) for what, each in took_ms.items()}, len(sent),
    )  # fmt: skip


async def _set_records(operator: Broker, records: Mapping[str, Mapping[str, object]]) -> None:
    for name, record in records.items():
        await operator.publish(_TOPICS.publish(Kind.DIRECTORY_PUBLISHER, name), json.dumps(record))
    # A router goes by a record of a second ago.
    await asyncio.sleep(2)


def _p99(took: Sequence[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


async def measure_shares(stack: Stack, shares: Sequence[float], seconds: float) -> list[int]:
    """Let publishers with these shares publish at full speed, and count what was accepted of each."""
    names = [f"share{number}" for number in range(len(shares))]
    async with Broker(BrokerAddress.parse(stack.broker.url), "bench-operator") as operator:
        records = {name: {"rate": "0", "share": share} for name, share in zip(names, shares, strict=True)}
        await _set_records(operator, records)
        processes = [await start_publisher(stack, name, 10**7, seconds, 500) for name in names]
        found = [await result(process) for process in processes]
    return [int(each["answers"]["accepted"]) for each in found]

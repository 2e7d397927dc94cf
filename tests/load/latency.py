"""How long a notification takes from its publish to the WebSocket of its user, at a steady rate."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt

from carillon.local.stack import Stack
from shared.core.topics import Kind, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from tests.load.crowd import Member, connect_all, members
from tests.waiting import eventually

_USER = "user1"

# Users with a session each, for the highest rate; and what is published to find it.
_USERS = 100
_FLOOD = 10_000

# Published and not yet out of a socket, while the highest rate is looked for.
_OUTSTANDING = 500


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles, and how many of those sent arrived."""

    p50_ms: float
    p99_ms: float
    received: int
    sent: int


async def measure_latency(stack: Stack, *, per_second: int, seconds: int, user: str = _USER) -> Latency:
    """Publish at a steady rate and note when each notification comes out of the socket.

    Args:
        user: who is told; another one each time, because a socket begins with what its user has missed.
    """
    topics = Topics()
    count = per_second * seconds
    secret = stack.environment["REALTIME_JWT_SECRET"]
    token = jwt.encode({"sub": user, "exp": time.time() + 3600}, secret, "HS256")
    sent_s: dict[int, float] = {}
    took_ms: list[float] = []
    async with (
        Broker(BrokerAddress.parse(stack.broker.url), "bench") as publisher,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.ws_connect(f"{stack.realtime_url}/v1/ws") as socket,
    ):
        await publisher.publish(topics.publish(Kind.DIRECTORY_USER, user), json.dumps({"email": f"{user}@example.com"}))

        async def listen() -> None:
            while len(took_ms) < count:
                frame = await socket.receive_json()
                if frame["type"] == "notification":
                    took_ms.append((time.perf_counter() - sent_s[frame["notification"]["data"]["n"]]) * 1000)

        async with asyncio.timeout(seconds + 30), asyncio.TaskGroup() as group:
            group.create_task(listen(), name="listen")
            started_s = time.perf_counter()
            for number in range(count):
                await asyncio.sleep(max(0.0, started_s + number / per_second - time.perf_counter()))
                sent_s[number] = time.perf_counter()
                body = json.dumps({"message": "measured", "data": {"n": number}})
                publisher.publish(topics.publish(Kind.REALTIME_USER, user), body)
    return percentiles(took_ms, count)


def percentiles(took_ms: Sequence[float], sent: int) -> Latency:
    """Sum up what was measured."""
    ordered = sorted(took_ms)
    return Latency(ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], len(ordered), sent)


async def measure_half_rate(stack: Stack, *, seconds: int) -> tuple[float, Latency]:
    """Find the highest rate from publish to socket, then measure the way at half of it.

    Returns:
        The highest rate per second, and the latency at half of it.
    """
    topics = Topics()
    took_ms: list[float] = []
    room = asyncio.Semaphore(_OUTSTANDING)

    class Listener(Member):
        """Notes how long each notification was on its way. A client of aiohttp would add a good part of that."""

        def told(self, notification: dict[str, Any]) -> None:
            took_ms.append((time.perf_counter() - notification["data"]["sent_s"]) * 1000)
            room.release()

    crowd = members(_USERS, stack.environment["REALTIME_JWT_SECRET"], Listener)
    async with Broker(BrokerAddress.parse(stack.broker.url), "bench") as publisher:
        for member in crowd:
            await publisher.publish(topics.publish(Kind.DIRECTORY_USER, member.user_id), json.dumps({"groups": []}))
        await connect_all(crowd, stack.realtime_url)

        def publish(number: int) -> None:
            body = json.dumps({"message": "measured", "data": {"sent_s": time.perf_counter()}})
            publisher.publish(topics.publish(Kind.REALTIME_USER, crowd[number % _USERS].user_id), body)

        async def arrived(count: int) -> None:
            await eventually(lambda: len(took_ms) >= count, within_s=60, what="everything out of the sockets")

        started_s = time.perf_counter()
        for number in range(_FLOOD):
            await room.acquire()
            publish(number)
        await arrived(_FLOOD)
        most = _FLOOD / (time.perf_counter() - started_s)

        took_ms.clear()
        count, started_s = round(most / 2 * seconds), time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, started_s + number / (most / 2) - time.perf_counter()))
            publish(number)
        await arrived(count)
        for member in crowd:
            member.cut()
    return most, percentiles(took_ms, count)

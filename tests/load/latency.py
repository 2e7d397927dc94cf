"""How long a notification takes from its publish to the WebSocket of its user, at a steady rate."""

import asyncio
import json
import time
from dataclasses import dataclass

import aiohttp
import jwt

from carillon.stack import Stack
from shared.mqtt import Broker, BrokerAddress
from shared.topics import Kind, Topics

_USER = "user1"


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles, and how many of those sent arrived."""

    p50_ms: float
    p99_ms: float
    received: int
    sent: int


async def measure_latency(stack: Stack, *, per_second: int, seconds: int) -> Latency:
    """Publish at a steady rate and note when each notification comes out of the socket."""
    topics = Topics()
    count = per_second * seconds
    secret = stack.environment["REALTIME_JWT_SECRET"]
    token = jwt.encode({"sub": _USER, "exp": time.time() + 3600}, secret, "HS256")
    sent_s: dict[int, float] = {}
    took_ms: list[float] = []
    async with (
        Broker(BrokerAddress.parse(stack.broker.url), "bench") as publisher,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.ws_connect(f"{stack.realtime_url}/v1/ws") as socket,
    ):
        await publisher.publish(topics.publish(Kind.DIRECTORY_USER, _USER), json.dumps({"email": "user1@example.com"}))

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
                publisher.publish(topics.publish(Kind.REALTIME_USER, _USER), body)
    ordered = sorted(took_ms)
    return Latency(ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], len(ordered), count)

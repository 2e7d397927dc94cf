"""What it costs to decide for people, and what a digest for everybody at one time does to the others."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from carillon.local.stack import Stack
from carillon.publisher import Publisher
from shared.core.channels import ROUTER_LANE
from shared.core.model import Channel, Priority
from shared.core.topics import Kind, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import SHARDS, Keys
from shared.store.store import Store
from tests.load.backlog import SlowRelay, batch, probe_for
from tests.load.intake import USERS, Rate, drained, exchange, rate_of

_TOPICS = Topics()
_CATEGORY: Mapping[str, Any] = {
    "title": "Comments",
    "channels": {"push": True},
    "throttle": {"limit": 100_000, "per": "1h", "then": "drop"},
}
# Quiet in the nights, and chosen for the category: every stage is asked, and lets it pass.
_PERSON: Mapping[str, Any] = {
    "email": "user@example.com",
    "timezone": "Europe/Paris",
    "preferences": {"email": True, "categories": {"comments": {"push": True}}},
}
# So many are folded in a second at least, beside other work on the machine.
_FOLDED_PER_SECOND = 150
_DRAINED_WITHIN_S = 300.0


async def measure_stages(stack: Stack, notifications: int, rounds: int) -> tuple[Rate, Rate, float]:
    """Publish user notifications without and with a category and all that goes with it, in turn.

    Returns:
        The rates without and with, and the median of their ratios in each round.
    """
    now = datetime.now(UTC)
    # Never quiet while it is measured, wherever that is.
    quiet = {
        "timezone": "UTC",
        "windows": [{"from": f"{now + timedelta(hours=6):%H:%M}", "to": f"{now + timedelta(hours=8):%H:%M}"}],
    }
    async with Broker(BrokerAddress.parse(stack.broker.url), "bench") as publisher, drained(stack, Channel.REALTIME):
        await publisher.subscribe("receipts/bench/1")
        await publisher.publish(_TOPICS.publish(Kind.DIRECTORY_CATEGORY, "comments"), json.dumps(_CATEGORY))
        for number in range(USERS):
            plain = _TOPICS.publish(Kind.DIRECTORY_USER, f"user{number}")
            attentive = _TOPICS.publish(Kind.DIRECTORY_USER, f"attentive{number}")
            await publisher.publish(plain, json.dumps({"email": "user@example.com"}))
            await publisher.publish(attentive, json.dumps({**_PERSON, "quiet_hours": quiet}))
        pid = stack.child("router").pid
        kinds = [
            ([_TOPICS.publish(Kind.REALTIME_USER, f"{who}{number}") for number in range(USERS)], said)
            for who, said in (("user", {}), ("attentive", {"category": "comments"}))
        ]
        found: tuple[list[Rate], list[Rate]] = ([], [])
        for topics, said in kinds:
            await exchange(publisher, topics, 1_000, **said)
        for _ in range(rounds):
            for (topics, said), rates in zip(kinds, found, strict=True):
                rates.append(await rate_of(publisher, topics, notifications, pid, **said))
    ratio = median(after.per_second / before.per_second for before, after in zip(*found, strict=True))
    before, after = (
        Rate(median(rate.per_second for rate in rates), median(rate.cpu_us for rate in rates)) for rates in found
    )
    return before, after, ratio


@dataclass(frozen=True, slots=True)
class DigestForAll:
    """What was measured when a digest for many people closed.

    Attributes:
        mail_per_second: the rate at which as many mails leave that were published as mails, of the same priority.
        drain_per_second: that of the digests.
        idle_ms: how long critical mails took while nothing else was to do; ``mail_ms``: while the mails left;
            ``drain_ms``: while the digests left.
    """

    people: int
    mail_per_second: float
    drain_per_second: float
    idle_ms: list[float]
    mail_ms: list[float]
    drain_ms: list[float]


async def measure_digest(stack: Stack, relay: SlowRelay, people: int, seconds: float) -> DigestForAll:
    """Fold two notifications for each of many people into a digest that closes for all at one minute."""
    async with Publisher(stack.broker.url) as publisher, Store(stack.store.url) as store:
        idle_ms = await probe_for(publisher, relay, seconds)
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(_left(publisher, relay, people), name="mails")
            await _publish_mails(publisher, people)
        mail_per_second, mail_ms = leaving.result()
        for first in range(0, people, 500):
            await asyncio.gather(*(
                publisher.publish(f"directory/user/reader{number}", {"email": f"reader{number}@example.com"})
                for number in range(first, min(first + 500, people))
            ))  # fmt: skip
        closes = datetime.now(UTC) + timedelta(seconds=2 * people / _FOLDED_PER_SECOND)
        closes = closes.replace(second=0, microsecond=0) + timedelta(minutes=1)
        digest = {"schedule": {"at": f"{closes:%H:%M}"}, "channels": ["email"]}
        await publisher.publish("directory/category/daily", {"channels": {"email": True}, "digest": digest})
        for _ in range(2):
            for first in range(0, people, 500):
                await asyncio.gather(*(
                    publisher.publish(
                        f"notifications/realtime/user/reader{number}",
                        {"message": "A comment", "category": "daily", "channels": ["email"]},
                    )
                    for number in range(first, min(first + 500, people))
                ))  # fmt: skip
        # What is folded no more is only the rows that close the digests.
        while await _tasks(store) > people:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert datetime.now(UTC) < closes, "the machine is too slow to fold them all in time"
        await asyncio.sleep((closes - datetime.now(UTC)).total_seconds())
        drain_per_second, drain_ms = await _left(publisher, relay, people)
    return DigestForAll(people, mail_per_second, drain_per_second, idle_ms, mail_ms, drain_ms)


async def _publish_mails(publisher: Publisher, mails: int) -> None:
    sent = [batch(first, min(300, mails - first), Priority.NORMAL) for first in range(0, mails, 300)]
    for first in range(0, len(sent), 8):
        await asyncio.gather(
            *(publisher.publish("notifications/email/batch", each) for each in sent[first : first + 8])
        )


async def _left(publisher: Publisher, relay: SlowRelay, mails: int) -> tuple[float, list[float]]:
    """Wait until the relay has so many more mails; return the rate, and how long critical mails took meanwhile, ms."""
    before, began_s = relay.taken, time.perf_counter()
    times_ms: list[float] = []
    last_s = began_s
    while (taken := relay.taken - before - len(times_ms)) < mails:
        assert time.perf_counter() - began_s < _DRAINED_WITHIN_S, f"{taken} of {mails}"
        times_ms += await probe_for(publisher, relay, 0.2)
        last_s = time.perf_counter()
    return mails / (last_s - began_s), times_ms


async def _tasks(store: Store) -> int:
    """Count what the router has still to do."""
    keys = [f"{Keys().shard(shard)}:due:{ROUTER_LANE}" for shard in range(SHARDS)]
    return sum(await asyncio.gather(*(store.submit("ZCARD", key) for key in keys)))

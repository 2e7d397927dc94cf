"""What routers cost the store at rest, while many deliveries wait for their time."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta

import redis.asyncio

from carillon.local.stack import Stack
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority
from shared.ledger.audit import Audit, Depth
from shared.ledger.audit_report import Report
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store

_RETENTION_S = 7 * 86400
_DAY_MS = 86_400_000

# Deliveries of one notification, and notifications written in one go.
_ROWS = 20
_AT_ONCE = 500

# Between the start of the routers and the measurement, so that they have taken their slots.
_SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class AtRest:
    """The store while nothing happens.

    Attributes:
        cpu: part of one core, all the store's threads together.
        scripts: scripts run in a second.
        commands: commands in a second, scripts and what they do included.
        slowest_ms: the longest call, 0 where none took a millisecond.
    """

    routers: int
    cpu: float
    scripts: float
    commands: float
    slowest_ms: float


async def schedule(url: str, count: int) -> None:
    """Write so many deliveries, each due in another second, from tomorrow on."""
    async with Store(url) as store:
        ledger = Ledger(store, Keys(), _RETENTION_S)
        first_ms = round(time.time()) * 1000 + _DAY_MS
        for start in range(0, count, _ROWS * _AT_ONCE):
            stop = min(start + _ROWS * _AT_ONCE, count)
            await asyncio.gather(
                *(ledger.accept(_record(range(each, min(each + _ROWS, stop)), first_ms)) for each in
                  range(start, stop, _ROWS))
            )  # fmt: skip


def _record(numbers: range, first_ms: int) -> NewRecord:
    notification = Notification(
        id=new_notification_id(),
        kind="email_batch",
        priority=Priority.NORMAL,
        accepted_ms=first_ms - _DAY_MS,
        content=Content(title="Reminder", message="Your appointment is tomorrow."),
    )
    rows = [
        NewRow(
            Delivery(
                key=f"email:{index}",
                channel=Channel.EMAIL,
                priority=Priority.NORMAL,
                address=EmailAddress(email=f"user{number}@example.com"),
                due_ms=first_ms + number * 1000,
                expires_ms=first_ms + number * 1000 + _DAY_MS,
            )
        )
        for index, number in enumerate(numbers)
    ]
    return NewRecord(notification, rows)


async def measure_at_rest(stack: Stack, routers: int, seconds: float) -> AtRest:
    """Let so many routers of a stack run, and read what the store did in these seconds."""
    for index in range(routers):
        await stack.start_service("router", index)
    await asyncio.sleep(_SETTLE_S)
    async with redis.asyncio.from_url(stack.store.url) as store:
        await store.config_set("slowlog-log-slower-than", 1000)
        await store.slowlog_reset()
        before, began_s = await _used(store), time.perf_counter()
        await asyncio.sleep(seconds)
        after, took_s = await _used(store), time.perf_counter() - began_s
        slow = await store.slowlog_get(1000)
    cpu, scripts, commands = ((late - early) / took_s for early, late in zip(before, after, strict=True))
    slowest_us = max((entry["duration"] for entry in slow), default=0)
    return AtRest(routers, cpu, scripts, commands, slowest_us / 1000)


async def _used(store: "redis.asyncio.Redis") -> tuple[float, int, int]:
    """Read processor seconds, scripts and commands since the store's start (Redis INFO)."""
    cpu, calls = await store.info("cpu"), await store.info("commandstats")
    used_s = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
    counts = {name: int(each["calls"]) for name, each in calls.items()}
    return used_s, counts.get("cmdstat_evalsha", 0), sum(counts.values())


async def audit_deep(url: str) -> tuple[Report, float, float]:
    """Audit everything; return the report, how long it took in s, and the longest call in ms."""
    async with Store(url) as store, redis.asyncio.from_url(url) as client:
        await client.config_set("slowlog-log-slower-than", 1000)
        await client.slowlog_reset()
        began_s = time.perf_counter()
        report = await Audit(store, Keys(), _RETENTION_S).run(timedelta(hours=25), Depth.RECORDS)
        took_s = time.perf_counter() - began_s
        slow = await client.slowlog_get(1000)
    return report, took_s, max((entry["duration"] for entry in slow), default=0) / 1000

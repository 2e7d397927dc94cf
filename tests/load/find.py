"""How long a search takes in a store full of records, and what its index costs."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import redis.asyncio

from carillon.local.stack import Stack
from shared.core.clock import from_epoch_ms
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State, UserInbox
from shared.ledger.finding import Finder, Page
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import Keys, new_notification_id, shard_of_key
from shared.store.store import Store

_RETENTION_S = 7 * 86400
_DAY_MS = 86_400_000
_AT_ONCE = 1_000

# A person is told this many things on average. One person gets one of a hundred.
_TOLD = 10
_BUSY = "busy"
_BUSY_EACH = 101

# What a page of the console shows.
_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Searches:
    """What searching costs.

    Attributes:
        deliveries: that were written; a notification has one to the inbox, and one by mail.
        index_bytes: what the index takes in the store's memory.
        times: by what was searched by.
    """

    deliveries: int
    store_bytes: int
    index_bytes: int
    times: Mapping[str, "Times"]


@dataclass(frozen=True, slots=True)
class Times:
    """How long each of some searches took, and the processor's time that the searching process spent on one."""

    each_ms: list[float]
    cpu_ms: float


async def measure_find(stack: Stack, records: int, searches: int) -> Searches:
    """Fill the store with ended records, and search."""
    people = max(1, records // _TOLD)
    first_ms = round(time.time() * 1000) + 60_000
    async with Store(stack.store.url) as store:
        ledger = Ledger(store, Keys(), _RETENTION_S)
        for start in range(0, records, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, records))
            written = [_record(number, people, first_ms + number * _DAY_MS // records) for number in numbers]
            await asyncio.gather(*map(ledger.accept, written))
        finder = Finder(store, Keys(), retention_s=_RETENTION_S)
        times = {
            what: await _times(search, searches)
            for what, search in _searches(finder, records, people, first_ms).items()
        }
    store_bytes, index_bytes = await _memory(stack.store.url)
    return Searches(2 * records, store_bytes, index_bytes, times)


def _searches(finder: Finder, records: int, people: int, first_ms: int) -> dict[str, Callable[[], Awaitable[Page]]]:
    chosen = random.Random(1)  # noqa: S311 - a sample

    def by_time() -> Awaitable[Page]:
        until = from_epoch_ms(first_ms + chosen.randrange(_DAY_MS // 24, _DAY_MS))
        return finder.by_time(since=until - timedelta(hours=1), until=until, limit=_LIMIT)

    return {
        "person": lambda: finder.by_person(f"user{chosen.randrange(people)}", limit=_LIMIT),
        "the person who is told most": lambda: finder.by_person(_BUSY, limit=_LIMIT),
        "address": lambda: finder.by_address(f"user{chosen.randrange(people)}@example.com", limit=_LIMIT),
        "publisher's id": lambda: finder.by_own_id(f"order-{chosen.randrange(records)}", limit=_LIMIT),
        "time": by_time,
    }


async def _times(search: Callable[[], Awaitable[Page]], count: int) -> Times:
    times_ms, cpu_before_s = [], time.process_time()
    for _ in range(count):
        started_s = time.perf_counter()
        page = await search()
        times_ms.append((time.perf_counter() - started_s) * 1000)
        assert page.found
        assert not page.is_cut
    return Times(times_ms, (time.process_time() - cpu_before_s) / count * 1000)


def _record(number: int, people: int, due_ms: int) -> NewRecord:
    user_id = _BUSY if number % _BUSY_EACH == 0 else f"user{number % people}"
    own_id = f"order-{number}"
    notification = Notification(
        id=new_notification_id(shard_of_key(own_id)),
        kind="realtime_user",
        priority=Priority.HIGH,
        accepted_ms=round(time.time() * 1000),
        content=Content(title="Your order", message=f"Order {number} is on its way.", category="orders"),
    )
    times = {"priority": Priority.HIGH, "due_ms": due_ms, "expires_ms": due_ms + _DAY_MS}
    rows = [
        Delivery(key=f"realtime:{user_id}", channel=Channel.REALTIME, recipient=user_id,
                 address=UserInbox(user_id=user_id), **times),
        Delivery(key=f"email:{user_id}", channel=Channel.EMAIL, recipient=user_id,
                 address=EmailAddress(email=f"{user_id}@example.com"), **times),
    ]  # fmt: skip
    return NewRecord(
        notification, [NewRow(row, State.DELIVERED) for row in rows], fingerprint="same", idempotency_key=own_id
    )


async def _memory(url: str) -> tuple[int, int]:
    """Return what the store has in memory, and how much less without the index."""
    async with redis.asyncio.from_url(url) as client:
        before = int((await client.info("memory"))["used_memory"])
        names = [name async for name in client.scan_iter("*:told:*", count=10_000)]
        for start in range(0, len(names), _AT_ONCE):
            await client.delete(*names[start : start + _AT_ONCE])
        after = int((await client.info("memory"))["used_memory"])
    return before, before - after

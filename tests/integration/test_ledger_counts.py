"""How much is open and since when: true also beside the previous release, and cheap with however many rows."""

import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from shared.core.errors import Reason
from shared.core.model import State
from shared.ledger.audit import Audit, Depth
from shared.ledger.claims import Outcome
from shared.ledger.lanes import OpenWork, open_work
from shared.ledger.ledger import Ledger
from shared.store.keys import SHARDS, Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.previous_release import PreviousRelease
from tests.records import LEASE, accept, delivery, end, now_ms
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

MINUTES = timedelta(minutes=5)
HOUR_MS = 3_600_000


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    return Ledger(opened, Keys(), record_retention_s=600)


@pytest.fixture
def previous(opened: Store) -> PreviousRelease:
    return PreviousRelease(opened)


async def of_email(ledger: Ledger) -> OpenWork:
    return (await open_work(ledger.store, ledger.keys))["email"]


async def assert_balanced(opened: Store, open_rows: int) -> None:
    for depth in (Depth.COUNTERS, Depth.RECORDS):
        report = await Audit(opened, Keys(), 86400).run(MINUTES, depth)
        assert report.findings == []
        assert report.open_rows == open_rows


async def test_what_is_scheduled_is_open_and_has_no_age_until_it_is_due(ledger: Ledger) -> None:
    await accept(ledger, delivery(due_ms=now_ms() + HOUR_MS))
    assert await of_email(ledger) == OpenWork(1, 0.0)
    due = await accept(ledger, delivery())

    async def aged() -> bool:
        return (await of_email(ledger)).oldest_age_s > 0

    assert await eventually(aged)
    await end(ledger, due)
    assert await of_email(ledger) == OpenWork(1, 0.0)


async def test_a_retried_delivery_keeps_its_age_and_the_next_oldest_follows_it(ledger: Ledger) -> None:
    first = await accept(ledger, delivery(), shard=3)

    async def second_old() -> bool:
        return (await of_email(ledger)).oldest_age_s > 1.1

    assert await eventually(second_old)
    await accept(ledger, delivery(), shard=3)
    (claim,) = await ledger.claim([(first, "email:0")], LEASE)
    await ledger.finish(claim, Outcome(State.PENDING, Reason.NETWORK, timedelta(hours=1)))
    looked_s = time.monotonic()
    both = await of_email(ledger)
    assert both.count == 2
    assert both.oldest_age_s > 1.1
    await ledger.cancel(first)
    found = await of_email(ledger)
    assert found.count == 1
    # However long the machine takes, the second is a second younger.
    assert found.oldest_age_s < both.oldest_age_s + time.monotonic() - looked_s - 0.9


async def test_counting_takes_as_long_with_many_scheduled_seconds_as_with_few(ledger: Ledger, opened: Store) -> None:
    due_ms = now_ms() + HOUR_MS
    for start in range(0, 60_000, 1_000):
        rows = [
            delivery(f"email:{index}", due_ms=due_ms + (start + index) * 1000, lifetime_s=10_000_000)
            for index in range(1_000)
        ]
        await accept(ledger, *rows, shard=5)
    assert await of_email(ledger) == OpenWork(60_000, 0.0)

    async def longest_ms(ask: str) -> float:
        """Ask some times, and return the longest call of the quickest round."""
        rounds = []
        for _ in range(5):
            await opened.command("SLOWLOG", "RESET")
            if ask == "gauges":
                await open_work(ledger.store, ledger.keys)
            else:
                await Audit(opened, Keys(), 86400).run(MINUTES, Depth.COUNTERS)
            rounds.append(max((entry[2] for entry in await opened.command("SLOWLOG", "GET", 1000)), default=0))
        return min(rounds) / 1000

    (threshold,) = (await opened.command("CONFIG", "GET", "slowlog-log-slower-than")).values()
    await opened.command("CONFIG", "SET", "slowlog-log-slower-than", 1000)
    try:
        # Reading 60,000 seconds takes about 20 ms.
        assert await longest_ms("gauges") < 3
        assert await longest_ms("audit") < 8
    finally:
        await opened.command("CONFIG", "SET", "slowlog-log-slower-than", int(threshold))
    await assert_balanced(opened, 60_000)


async def test_what_the_previous_release_left_open_is_counted_and_aged(
    ledger: Ledger, opened: Store, previous: PreviousRelease
) -> None:
    left = [await previous.accept(delivery(), shard=shard) for shard in range(SHARDS)]
    await previous.accept(delivery(due_ms=now_ms() + HOUR_MS), shard=2)
    await assert_balanced(opened, SHARDS + 1)

    async def aged() -> bool:
        return (await of_email(ledger)).oldest_age_s > 1

    assert await eventually(aged)
    assert (await of_email(ledger)).count == SHARDS + 1
    for each in left:
        await end(ledger, each)
    assert await of_email(ledger) == OpenWork(1, 0.0)
    await assert_balanced(opened, 1)


async def test_both_releases_beside_each_other_keep_the_count(
    ledger: Ledger, opened: Store, previous: PreviousRelease
) -> None:
    ours = [await accept(ledger, delivery("email:0"), shard=1) for _ in range(4)]
    theirs = [await previous.accept(delivery("email:0"), shard=1) for _ in range(4)]
    scheduled = await previous.accept(delivery(due_ms=now_ms() + HOUR_MS), shard=1)
    assert (await of_email(ledger)).count == 9
    await assert_balanced(opened, 9)
    # Each ends what the other has written, without anybody counting meanwhile.
    for mine, other in zip(ours, theirs, strict=True):
        await previous.end(mine)
        await end(ledger, other)
    await assert_balanced(opened, 1)
    assert await of_email(ledger) == OpenWork(1, 0.0)
    await ledger.cancel(scheduled)
    assert await of_email(ledger) == OpenWork(0, 0.0)
    await assert_balanced(opened, 0)


async def test_as_many_opened_as_ended_by_the_previous_release_are_not_taken_for_each_other(
    ledger: Ledger, opened: Store, previous: PreviousRelease
) -> None:
    ours = await accept(ledger, delivery(), shard=4)
    assert (await of_email(ledger)).count == 1
    # One ends and one is opened: the number of rows is what it was, and so is the number of seconds.
    await previous.end(ours)
    theirs = await previous.accept(delivery(due_ms=now_ms() + HOUR_MS), shard=4)
    assert await of_email(ledger) == OpenWork(1, 0.0)
    await end_scheduled(ledger, theirs)
    assert await of_email(ledger) == OpenWork(0, 0.0)
    await assert_balanced(opened, 0)


async def end_scheduled(ledger: Ledger, notification_id: str) -> None:
    cancelled = await ledger.cancel(notification_id)
    assert cancelled is not None
    assert cancelled.still_open == 0


async def test_a_schedule_that_is_broken_is_reported_and_not_counted_again_each_time(
    ledger: Ledger, opened: Store
) -> None:
    lost = await accept(ledger, delivery(), shard=6)
    await opened.command("ZREM", f"{Keys().shard_of(lost)}:due:email", f"{lost}|email:0")
    assert (await of_email(ledger)).count == 1
    before = await calls(opened, "hgetall")
    assert (await of_email(ledger)).count == 1
    assert await calls(opened, "hgetall") == before
    report = await Audit(opened, Keys(), 86400).run(MINUTES, Depth.COUNTERS)
    assert [each.numbers for each in report.findings] == [{"open": 1, "scheduled": 0}]


async def calls(opened: Store, command: str) -> int:
    """Read how often a command was called on this server, in scripts, too."""
    text = (await opened.command("INFO", "commandstats")).decode()
    (line,) = (line for line in text.splitlines() if line.startswith(f"cmdstat_{command}:"))
    return int(line.partition("calls=")[2].partition(",")[0])

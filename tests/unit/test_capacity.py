"""What may be in hand at once: shares, what is claimed ahead, and who gets the next place."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.model import Priority
from shared.delivery import capacity as module
from shared.delivery.capacity import AHEAD_MOST, Capacity, Places
from tests.fakes.clock import Seconds


@given(total=st.integers(1, 500))
def test_the_more_urgent_the_more_of_the_capacity_and_critical_may_use_all(total: int) -> None:
    limits = list(Capacity(total)._limits.values())
    assert limits == sorted(limits)
    assert limits[-1] == total
    assert limits[0] >= 1


async def test_each_priority_fills_its_share_and_leaves_the_rest_to_the_more_urgent() -> None:
    capacity = Capacity(20)
    assert await capacity.take(Priority.LOW, 100) == 10
    assert await capacity.take(Priority.NORMAL, 100) == 5
    assert await capacity.take(Priority.HIGH, 100) == 3
    assert await capacity.take(Priority.CRITICAL, 100) == 2
    assert capacity.used == 20


async def test_whoever_waits_is_served_when_a_place_is_free_for_him() -> None:
    capacity = Capacity(4)
    assert await capacity.take(Priority.LOW, 2) == 2
    low = asyncio.create_task(capacity.take(Priority.LOW, 1))
    critical = [asyncio.create_task(capacity.take(Priority.CRITICAL, 1)) for _ in range(3)]
    done, _ = await asyncio.wait(critical, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 2
    assert not low.done()
    capacity.give(Priority.CRITICAL)
    assert await asyncio.gather(*critical) == [1, 1, 1]
    assert not low.done()
    capacity.give(Priority.CRITICAL, 2)
    capacity.give(Priority.LOW, 2)
    assert await low == 1


async def test_a_place_that_is_no_longer_wanted_is_not_waited_for() -> None:
    capacity = Capacity(1)
    await capacity.take(Priority.CRITICAL, 1)
    wanted = True
    waiting = asyncio.create_task(capacity.take(Priority.CRITICAL, 1, lambda: wanted))
    capacity.wake()
    assert not (await asyncio.wait([waiting], timeout=0.01))[0]
    wanted = False
    capacity.wake()
    assert await waiting == 0
    assert capacity.used == 1


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    seconds = Seconds()
    monkeypatch.setattr(module, "monotonic", seconds)
    return seconds


async def in_hand(capacity: Capacity, seconds: Seconds, row_s: float) -> int:
    """Finish a row each so many seconds for a while, claim what may be claimed, and return how much is in hand."""
    most = 0
    wanting = asyncio.create_task(capacity.take(Priority.NORMAL, 1_000))
    for _ in range(200):
        seconds.now_s += row_s
        if capacity.used:
            capacity.give(Priority.NORMAL)
        for _ in range(3):
            await asyncio.sleep(0)
        if wanting.done():
            wanting = asyncio.create_task(capacity.take(Priority.NORMAL, 1_000))
            await asyncio.sleep(0)
        most = max(most, capacity.used)
    wanting.cancel()
    return most


async def test_a_fast_worker_claims_ahead_and_a_slow_one_does_not(seconds: Seconds) -> None:
    assert await in_hand(Capacity(12, claims_ahead=True), seconds, row_s=0.001) == 9 + 12 * AHEAD_MOST
    assert await in_hand(Capacity(12, claims_ahead=True), seconds, row_s=0.01) == 9 + 10
    assert await in_hand(Capacity(12, claims_ahead=True), seconds, row_s=1.0) == 9
    assert await in_hand(Capacity(12), seconds, row_s=0.001) == 9


async def test_a_worker_that_has_become_slow_works_off_what_it_has(seconds: Seconds) -> None:
    capacity = Capacity(12, claims_ahead=True)
    await in_hand(capacity, seconds, row_s=0.001)
    while capacity.used > 9:
        capacity.give(Priority.NORMAL)
    seconds.now_s += 100
    wanting = asyncio.create_task(capacity.take(Priority.NORMAL, 5))
    assert not (await asyncio.wait([wanting], timeout=0.01))[0]
    capacity.give(Priority.NORMAL)
    assert await wanting == 1


async def test_what_is_claimed_ahead_keeps_nothing_urgent_out(seconds: Seconds) -> None:
    capacity = Capacity(12, claims_ahead=True)
    assert await in_hand(capacity, seconds, row_s=0.001) > 12
    assert await capacity.take(Priority.CRITICAL, 100) == 12


async def test_the_most_urgent_gets_the_next_place_then_who_came_first() -> None:
    places = Places(4)
    served: list[str] = []

    async def work(name: str, priority: Priority) -> None:
        await places.take(priority, 10)
        served.append(name)

    for number in range(3):
        await work(f"there {number}", Priority.NORMAL)
    waiting = [("first", Priority.NORMAL), ("second", Priority.NORMAL), ("low", Priority.LOW)]
    tasks = [asyncio.create_task(work(*each)) for each in waiting]
    await asyncio.sleep(0)
    # The last place is kept for something critical.
    await work("critical", Priority.CRITICAL)
    tasks.append(asyncio.create_task(work("critical too", Priority.CRITICAL)))
    await asyncio.sleep(0)
    for _ in range(8):
        places.give()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if all(task.done() for task in tasks):
            break
    await asyncio.gather(*tasks)
    assert served[4:] == ["critical too", "first", "second", "low"]


async def test_whoever_waits_too_long_or_is_cancelled_takes_no_place() -> None:
    places = Places(1)
    await places.take(Priority.NORMAL, 1)
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        await places.take(Priority.CRITICAL, 0.01)
    assert time.monotonic() - began_s < 5
    waiting = asyncio.create_task(places.take(Priority.NORMAL, 10))
    await asyncio.sleep(0)
    # It is given the place and cancelled before it can use it.
    places.give()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await places.take(Priority.NORMAL, 0)

"""Long work lets others in: told by the steps that everybody takes, on a clock that only work moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import pytest

from shared.runtime.turns import URGENT_STEPS, Turns

SLICE_S = 2.0
STEPS = 40


class Desk:
    """Where work is done that takes a second for each step, and somebody looks in at every turn of the event loop."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.turns = Turns(SLICE_S, lambda: self.now_s)
        self.done: list[str] = []
        # What the clock said at each look.
        self.looks_s: list[float] = []

    async def work(self, name: str = "work", steps: int = STEPS) -> None:
        for _ in range(steps):
            await self.turns.take()
            self.now_s += 1
            self.done.append(name)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        async def look() -> None:
            while True:
                self.looks_s.append(self.now_s)
                await asyncio.sleep(0)

        looking = asyncio.create_task(look(), name="look")
        try:
            yield
        finally:
            looking.cancel()

    @property
    def longest_s(self) -> float:
        """What was done between two looks at most."""
        return max(after - before for before, after in zip(self.looks_s, self.looks_s[1:], strict=False))


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_others_get_their_turn_after_each_slice(desk: Desk) -> None:
    async with desk.watched():
        await desk.work()
    assert desk.longest_s == SLICE_S


async def test_of_many_tasks_one_slice_is_done_between_two_looks_and_all_go_on_in_turn(desk: Desk) -> None:
    names = [f"work{number}" for number in range(5)]
    desk.now_s = SLICE_S
    async with desk.watched():
        await asyncio.gather(*(desk.work(name, 4) for name in names))
    assert desk.longest_s == SLICE_S
    assert desk.done == [name for name in names for _ in range(2)] * 2


async def test_work_that_is_within_its_slice_goes_on(desk: Desk) -> None:
    async with desk.watched():
        await desk.work(steps=2)
    assert desk.looks_s == []


async def test_light_work_does_not_wait_because_others_have_worked_meanwhile(desk: Desk) -> None:
    desk.now_s = SLICE_S
    await desk.work(steps=1)
    for _ in range(3):
        await asyncio.sleep(0)
        desk.now_s += SLICE_S
        async with desk.watched():
            await desk.work(steps=2)
    assert desk.looks_s == []


async def test_many_that_begin_after_a_look_do_two_slices_at_most_before_the_next_one(desk: Desk) -> None:
    desk.now_s = SLICE_S
    await desk.work("before", steps=1)
    async with desk.watched():
        await asyncio.sleep(0)
        await asyncio.gather(*(desk.work(f"work{number}", 4) for number in range(5)))
    assert SLICE_S <= desk.longest_s <= 2 * SLICE_S
    assert len(desk.done) == 1 + 5 * 4


@pytest.mark.parametrize("is_urgent", [True, False])
async def test_what_is_urgent_takes_many_steps_while_other_work_takes_one_slice(desk: Desk, is_urgent: bool) -> None:
    async def urgent() -> float:
        with desk.turns.urgent() if is_urgent else nullcontext():
            # When it is first called, work that stepped back before may be about to go on.
            await asyncio.sleep(0)
            began_s = desk.now_s
            for _ in range(URGENT_STEPS):
                await asyncio.sleep(0)
            return desk.now_s - began_s

    working = asyncio.create_task(desk.work(), name="work")
    await asyncio.sleep(0)
    waited_s = await urgent()
    assert waited_s <= SLICE_S if is_urgent else waited_s > SLICE_S
    await working
    assert desk.done == ["work"] * STEPS


async def test_all_else_goes_on_while_something_urgent_stays_in_hand(desk: Desk) -> None:
    with desk.turns.urgent():
        async with asyncio.timeout(60):
            await desk.work()


async def test_work_that_is_given_up_while_it_waits_keeps_nobody_waiting(desk: Desk) -> None:
    desk.now_s = SLICE_S
    first, second = (asyncio.create_task(desk.work(name), name=name) for name in ("first", "second"))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(60):
        await second
    assert desk.done == ["second"] * STEPS
    assert first.cancelled()

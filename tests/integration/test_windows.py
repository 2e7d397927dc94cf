"""Sliding windows, with a real store: what counts, what is reserved and refused, and what a peek leaves alone.

The property test sets the script's clock, so that what happens at the very edge of a window is tried, too. The others
go by the store's clock.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.store import windows as module
from shared.store.store import Script, Store
from shared.store.windows import Ask, Counted, Windows
from tests.conftest import EmptyStore
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

KEY = "{windows}:key"
REFUSED = f"{KEY}:refused"
MINUTE_MS = 60_000

IN = Counted(0, 0)


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def windows(opened: Store) -> Windows:
    return Windows(opened)


def asks(*names: str, most: int = 2, window_ms: int = MINUTE_MS, **others: Any) -> list[Ask]:
    return [Ask(KEY, name, most, window_ms, **others) for name in names]


async def now_ms(store: Store) -> int:
    seconds, microseconds = await store.command("TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000


async def later(store: Store, wait_ms: int) -> None:
    """Wait until the store's clock has gone on by so much."""
    end_ms = await now_ms(store) + wait_ms

    async def is_over() -> bool:
        return await now_ms(store) >= end_ms

    await eventually(is_over)


async def whole(store: Store) -> dict[bytes, bytes]:
    """Everything in the store."""
    keys = await store.command("KEYS", "*")
    return {key: await store.command("DUMP", key) for key in keys}


async def test_so_many_are_let_in_and_the_others_are_told_when_to_come(windows: Windows) -> None:
    answers = await windows.count(asks("a", "b", "c", "d"))
    assert answers[:2] == [IN, IN]
    assert answers[2:] == [Counted(None, MINUTE_MS)] * 2


async def test_the_same_name_counts_once_and_gets_the_same_answer(windows: Windows) -> None:
    first = await windows.count(asks("a", "a", "b", "c", "c"))
    again = await windows.count(asks("a", "a", "b", "c", "c"))
    assert [each.at_ms for each in first] == [each.at_ms for each in again] == [0, 0, 0, None, None]


async def test_a_refused_one_stays_refused_when_others_would_be_let_in(windows: Windows) -> None:
    await windows.count(asks("a", "b", most=1))
    assert [each.at_ms for each in await windows.count(asks("b", "c"))] == [None, 0]


async def test_one_that_may_retry_is_let_in_later(windows: Windows) -> None:
    await windows.count(asks("a", "b", most=1, then="retry"))
    assert await windows.count(asks("b", then="retry")) == [IN]


async def test_reservations_keep_the_limit_and_their_times(windows: Windows) -> None:
    first = await windows.count(asks("a", "b", "c", "d", "e", then="reserve"))
    assert first[:2] == [IN, IN]
    times = [each.at_ms or 0 for each in first[2:]]
    assert times[0] == times[1] == times[2] - MINUTE_MS
    assert [each.wait_ms for each in first[2:]] == [MINUTE_MS, MINUTE_MS, 2 * MINUTE_MS]
    again = await windows.count(asks("c", "d", "e", then="reserve"))
    assert [each.at_ms for each in again] == times


async def test_a_time_that_comes_too_late_is_not_reserved(windows: Windows) -> None:
    answers = await windows.count(asks("a", "b", "c", most=1, then="reserve", within_ms=MINUTE_MS))
    assert [each.at_ms is None for each in answers] == [False, False, True]
    assert answers[2].wait_ms == 2 * MINUTE_MS


async def test_a_reservation_counts_when_its_time_has_come(opened: Store, windows: Windows) -> None:
    window_ms = 300
    await windows.count(asks("a", "b", most=1, window_ms=window_ms, then="reserve"))
    await later(opened, window_ms + 50)
    b, c = await windows.count(asks("b", "c", most=1, window_ms=window_ms))
    # A machine that stood still for a whole window has passed it.
    if float(await opened.command("ZSCORE", KEY, "b") or 0) > await now_ms(opened) - window_ms:
        assert b == IN
        assert c.at_ms is None


async def test_critical_ones_count_and_are_let_in_whatever_the_count_is(windows: Windows) -> None:
    assert await windows.count(asks("a", "b", "c", most=1, always=True)) == [IN, IN, IN]
    assert [each.at_ms for each in await windows.count(asks("d", most=3))] == [None]
    assert await windows.count(asks("d", most=3, always=True)) == [IN]


async def test_a_changed_limit_holds_at_once(windows: Windows) -> None:
    await windows.count(asks("a", "b", "c", most=3, then="retry"))
    assert [each.at_ms for each in await windows.count(asks("d", most=2, then="retry"))] == [None]
    assert await windows.count(asks("d", most=4, then="retry")) == [IN]
    assert [each.at_ms for each in await windows.count(asks("e", most=0, then="reserve"))] == [None]


async def test_a_raised_limit_lets_in_beside_what_was_reserved(windows: Windows) -> None:
    await windows.count(asks("a", "b", "c", most=1, then="reserve"))
    assert [each.at_ms == 0 for each in await windows.count(asks("d", "e", most=2, then="reserve"))] == [True, False]


async def test_a_shorter_window_holds_at_once(opened: Store, windows: Windows) -> None:
    await windows.count(asks("a", most=1))
    await later(opened, 20)
    assert await windows.count(asks("b", most=1, window_ms=10)) == [IN]


async def test_keys_are_counted_apart_and_answers_keep_their_order(windows: Windows) -> None:
    mixed = [Ask(f"{{{key}}}", name, 1, MINUTE_MS) for name in "ab" for key in "xyz"]
    assert [each.at_ms for each in await windows.count(mixed)] == [0, 0, 0, None, None, None]
    assert await windows.count([]) == []


async def test_a_peek_answers_as_a_count_and_writes_nothing(opened: Store, windows: Windows) -> None:
    asked = [
        *asks("a", "b", "b", "c", most=1, then="reserve"), *asks("d", most=2), *asks("d", "e", most=5, then="retry"),
        *asks("f", always=True), *asks("g", "g"), *asks("h", most=1, then="reserve", within_ms=1),
    ]  # fmt: skip
    assert [each.wait_ms for each in await windows.peek(asked)] == [each.wait_ms for each in await windows.peek(asked)]
    assert await whole(opened) == {}
    peeked = await windows.peek(asked)
    counted = await windows.count(asked)
    assert [(each.at_ms or 0) > 0 for each in peeked] == [(each.at_ms or 0) > 0 for each in counted]
    assert [each.at_ms is None for each in peeked] == [each.at_ms is None for each in counted]
    before = await whole(opened)
    await windows.peek(asked)
    assert await whole(opened) == before


async def test_a_damaged_count_disturbs_no_other(opened: Store, windows: Windows) -> None:
    await opened.command("SET", KEY, "garbage")
    broken, other = await windows.count([*asks("a"), Ask("{other}", "a", 1, MINUTE_MS)])
    assert broken.at_ms == 0
    assert broken.damaged is not None
    assert other == IN


async def test_what_is_remembered_is_bounded_and_ends(opened: Store, windows: Windows) -> None:
    many = [f"n{number}" for number in range(1_200)]
    answers = await windows.count(asks(*many, most=1, then="reserve"))
    assert sum(each.at_ms is not None for each in answers) == 1 + 1_000
    assert await opened.command("ZCARD", REFUSED) == 199
    await windows.count(asks(*(f"{name}again" for name in many), most=1))
    assert await opened.command("ZCARD", REFUSED) == 1_000
    assert 0 < await opened.command("PTTL", REFUSED) <= MINUTE_MS
    assert 1_000 * MINUTE_MS < await opened.command("PTTL", KEY) <= 1_001 * MINUTE_MS


async def test_clients_side_by_side_let_in_no_more_and_agree(store: EmptyStore) -> None:
    """Each of them asks for all, in an order of its own, some at once and some one by one."""
    names = [f"n{number}" for number in range(60)]
    async with AsyncExitStack() as stack:
        clients = [Windows(await stack.enter_async_context(Store(store.url))) for _ in range(6)]

        async def client(number: int, then: Literal["refuse", "reserve"]) -> dict[str, int | None]:
            mine = names[number * 10 :] + names[: number * 10]
            asked = asks(*mine, most=7, window_ms=60 * MINUTE_MS, then=then)
            step = 1 if number % 2 else 13
            answers: dict[str, int | None] = {}
            for begin in range(0, len(mine), step):
                counted = await clients[number].count(asked[begin : begin + step])
                answers |= {ask.name: each.at_ms for ask, each in zip(asked[begin:], counted, strict=False)}  # type: ignore[misc]
            return answers

        first, *others = await asyncio.gather(*(client(number, "refuse") for number in range(6)))
        assert all(each == first for each in others)
        assert Counter(first.values()) == {0: 7, None: 53}


async def test_no_window_holds_more_while_several_clients_go_on_asking(store: EmptyStore) -> None:
    """Each answer came between two looks at the store's clock, so a window is over its limit if it holds too many."""
    most, window_ms, rounds = 5, 100, 12
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(Store(store.url)) for _ in range(4)]
        end_ms = await now_ms(stores[0]) + rounds * window_ms
        let_in: list[tuple[int, int]] = []

        async def client(number: int) -> None:
            asked, after_ms = 0, 0
            while after_ms < end_ms:
                before_ms = await now_ms(stores[number])
                (counted,) = await Windows(stores[number]).count(
                    asks(f"{number}-{asked}", most=most, window_ms=window_ms, then="retry")
                )
                after_ms = await now_ms(stores[number])
                asked += 1
                if counted.at_ms == 0:
                    let_in.append((before_ms, after_ms))

        await asyncio.gather(*(client(number) for number in range(4)))
    assert len(let_in) > most
    for begin, _ in let_in:
        assert sum(begin <= before and after < begin + window_ms for before, after in let_in) <= most


# Any asks at any times against a reckoning of its own. It counts in units, so that no key expires by the real clock
# while the script goes by the test's.

Step = tuple[int, int, list[Ask]]

CLOCK = "{windows}:clock"
UNIT_MS = 60_000
START = 1_000_000


@dataclass
class Reckoning:
    """What should be answered: every time and every window is tried, one after the other."""

    window: int = 0
    now: int = START
    entries: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    # All that was ever let in or reserved: when, and whether it is let in always.
    history: list[tuple[int, bool]] = field(default_factory=list)

    def begin(self, now: int, window: int) -> None:
        self.now, self.window = now, window
        self.entries = {name: at for name, at in self.entries.items() if at + window > now}

    def answer(self, ask: Ask) -> Counted:
        name, now = str(ask.name), self.now
        if name in self.entries:
            return self._at(now if ask.always else self.entries[name])
        if ask.always:
            return self._add(ask, now)
        last = max([now, *self.entries.values()]) + self.window
        free = next((at for at in range(now, last + 1) if self._fits(at, ask.most)), now + self.window)
        refused = Counted(None, (free - now) * UNIT_MS)
        if ask.then != "retry" and self.refusals.get(name, -self.window) + self.window > now:
            return refused
        within = last - now if ask.within_ms is None else ask.within_ms // UNIT_MS
        if free <= now or (ask.then == "reserve" and ask.most and free <= now + within):
            return self._add(ask, free)
        if ask.then != "retry":
            self.refusals = {name: at for name, at in self.refusals.items() if at + self.window > now} | {name: now}
        return refused

    def _at(self, at: int) -> Counted:
        return IN if at <= self.now else Counted(at * UNIT_MS, (at - self.now) * UNIT_MS)

    def _add(self, ask: Ask, at: int) -> Counted:
        self.entries[str(ask.name)] = at
        self.history.append((at, ask.always))
        return self._at(at)

    def _fits(self, at: int, most: int) -> bool:
        times = [*self.entries.values(), at]
        begins = range(at - self.window + 1, at + 1)
        return all(sum(begin <= each < begin + self.window for each in times) <= most for begin in begins)


def drawn_steps(most: st.SearchStrategy[int], window: st.SearchStrategy[int]) -> st.SearchStrategy[list[Step]]:
    """Draw how long to wait, the window, and the asks of one call, of which some are alike but for their names."""
    alike = st.builds(
        Ask,
        key=st.just(KEY),
        name=st.just(""),
        most=most,
        window_ms=st.just(0),
        then=st.sampled_from(["reserve", "reserve", "reserve", "refuse", "retry"]),
        always=st.sampled_from([False, False, False, False, True]),
        within_ms=st.sampled_from([None, None, 7 * UNIT_MS]),
    )
    names = st.lists(st.integers(0, 40), min_size=1, max_size=5)
    asks_alike = st.builds(lambda ask, numbers: [replace(ask, name=f"n{each}") for each in numbers], alike, names)
    asked = st.lists(asks_alike, min_size=1, max_size=3).map(lambda runs: [ask for run in runs for ask in run])
    return st.lists(st.tuples(st.integers(0, 5), window, asked), max_size=30)


async def play(url: str, steps: list[Step]) -> list[tuple[int, bool]]:
    """Ask step by step, each in one call, and compare every answer with the reckoning."""
    reckoning = Reckoning()
    async with Store(url) as store:
        await store.command("FLUSHDB")
        windows = Windows(store)
        for wait, window, drawn in steps:
            now = reckoning.now + wait
            await store.command("SET", CLOCK, now * UNIT_MS // 1000)
            asked = [replace(ask, window_ms=window * UNIT_MS) for ask in drawn]
            before = await whole(store)
            peeked = await windows.peek(asked)
            assert await whole(store) == before
            counted = await windows.count(asked)
            assert counted == peeked
            reckoning.begin(now, window)
            assert counted == [reckoning.answer(ask) for ask in asked]
    return reckoning.history


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the script go by what stands in ``CLOCK``."""
    script = module._window
    source = script.source.replace("redis.call('TIME')", f"{{redis.call('GET', '{CLOCK}'), 0}}")
    assert source != script.source
    monkeypatch.setattr(module, "_window", Script(script.name, source))


@pytest.mark.usefixtures("set_clock")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=drawn_steps(st.sampled_from([1, 2, 2, 3, 0]), st.sampled_from([4, 4, 7, 3, 2])))
def test_answers_are_those_of_a_reckoning_whatever_limits_and_windows_change(
    store: EmptyStore, steps: list[Step]
) -> None:
    asyncio.run(play(store.url, steps))


@pytest.mark.usefixtures("set_clock")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data(), most=st.integers(1, 4), window=st.integers(1, 10))
def test_no_window_ever_holds_more_than_the_limit(
    store: EmptyStore, data: st.DataObject, most: int, window: int
) -> None:
    steps = data.draw(drawn_steps(st.just(most), st.just(window)))
    history = asyncio.run(play(store.url, steps))
    for begin, _ in history:
        held = [is_always for at, is_always in history if begin <= at < begin + window]
        assert held.count(False) <= most

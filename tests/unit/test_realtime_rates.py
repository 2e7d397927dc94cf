"""How often somebody may ask: a burst, then a steady rate, each for himself."""

import pytest

from services.realtime.access.rates import RATES_KEPT, Rates
from tests.fakes.clock import StandingClock


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


def rates(clock: StandingClock, per_s: float) -> Rates:
    return Rates(per_s, burst=10 * per_s, monotonic_s=lambda: clock.now().timestamp())


def test_burst_is_taken_at_once_and_then_comes_back_at_the_steady_rate(clock: StandingClock) -> None:
    asked = rates(clock, per_s=2)
    assert [asked.take("a") for _ in range(20)] == [0.0] * 20
    assert asked.take("a") == pytest.approx(0.5)
    assert asked.take("b") == 0
    clock.move(0.5)
    assert asked.take("a") == 0
    assert asked.take("a") > 0


def test_who_asks_in_vain_does_not_wait_longer_for_it(clock: StandingClock) -> None:
    asked = rates(clock, per_s=1)
    for _ in range(500):
        asked.take("a")
    clock.move(1)
    assert asked.take("a") == 0


def test_memory_is_bounded_and_who_asks_most_is_not_forgotten(clock: StandingClock) -> None:
    asked = rates(clock, per_s=1)
    for number in range(3 * RATES_KEPT):
        asked.take(f"user{number}")
        asked.take("greedy")
    assert len(asked) == RATES_KEPT
    assert asked.take("greedy") > 0

"""How fast a provider is asked."""

from datetime import timedelta

import pytest

from services.push.fcm.pace import Pace

LONG = timedelta(minutes=1)


class Ticks:
    """A clock that is set."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("per_second", [1, 50, 10_000])
def test_sends_go_out_at_the_rate(per_second: int) -> None:
    ticks = Ticks()
    pace = Pace(per_second, ticks)
    sent = 3 * per_second + 1
    for _ in range(sent):
        ticks.now_s += pace.take(LONG).total_seconds()
    assert ticks.now_s - 1000 == pytest.approx(3, abs=0.01)


def test_a_trickle_is_not_slowed_down() -> None:
    ticks = Ticks()
    pace = Pace(100, ticks)
    for _ in range(20):
        ticks.now_s += 0.05
        assert pace.take(LONG) == timedelta(0)


def test_a_pause_is_not_made_up_for_in_one_spike() -> None:
    ticks = Ticks()
    pace = Pace(100, ticks)
    ticks.now_s += 3600
    at_once = 0
    while pace.take(LONG) == timedelta(0):
        at_once += 1
    assert at_once == pytest.approx(10, abs=1)


def test_a_turn_that_comes_too_late_is_left_to_others() -> None:
    ticks = Ticks()
    pace = Pace(10, ticks)
    while pace.take(LONG) < timedelta(seconds=1):
        pass
    waits = {pace.take(timedelta(seconds=1)) for _ in range(100)}
    # Nobody who gave up has made the next one wait longer.
    assert [wait.total_seconds() for wait in waits] == [pytest.approx(1.1)]


def test_nothing_is_sent_while_the_provider_asks_us_to_wait() -> None:
    ticks = Ticks()
    pace = Pace(100, ticks)
    assert pace.held == timedelta(0)
    pace.hold(timedelta(seconds=60))
    pace.hold(timedelta(seconds=5))
    ticks.now_s += 20
    assert pace.held == timedelta(seconds=40)
    ticks.now_s += 50
    assert pace.held == timedelta(0)

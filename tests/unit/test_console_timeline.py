"""A notification's life on a line: in order and to scale, whether it took milliseconds or weeks."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from carillon.console.timeline import Scale

BEGIN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
DAY_S = 86400.0


def after(*seconds: float) -> list[datetime]:
    return [BEGIN + timedelta(seconds=each) for each in seconds]


def places(*seconds: float) -> list[float]:
    scale = Scale(after(*seconds))
    return [scale.at(each) for each in after(*seconds)]


def test_what_takes_milliseconds_is_drawn_to_scale() -> None:
    first, half, last = places(0, 0.04, 0.08)
    assert (first, last) == (1.5, 98.5)
    assert abs(half - 50) < 0.1
    assert Scale(after(0, 0.04, 0.08)).gaps == []


def test_what_is_read_a_day_later_leaves_room_for_what_took_milliseconds() -> None:
    scale = Scale(after(0, 0.04, 0.08, DAY_S))
    sent, tried, arrived, read = [scale.at(each) for each in after(0, 0.04, 0.08, DAY_S)]
    assert arrived - tried > 20
    assert abs((tried - sent) - (arrived - tried)) < 0.1
    assert read > arrived
    (gap,) = scale.gaps
    assert arrived <= gap.start < gap.end <= read
    assert abs(gap.length_s - DAY_S) < 1
    assert scale.has_own_scales


def test_tries_that_come_less_and_less_often_need_no_gap() -> None:
    assert Scale(after(0, 2, 6, 14, 30, 62, 126)).gaps == []


def test_a_single_moment_can_be_drawn() -> None:
    assert places(0) == [1.5]
    assert [tick.after_s for tick in Scale(after(0)).ticks()] == [0]


@given(st.lists(st.floats(0, 60 * DAY_S, allow_nan=False), min_size=1, max_size=60))
def test_places_keep_the_order_and_stay_on_the_line(seconds: list[float]) -> None:
    moments = sorted(after(*seconds))
    scale = Scale(moments)
    found = [scale.at(each) for each in moments]
    assert found == sorted(found)
    assert all(0 <= each <= 100 for each in found)
    ticks = scale.ticks()
    assert [each.at for each in ticks] == sorted(each.at for each in ticks)
    assert len(ticks) <= 12
    assert len(scale.gaps) <= 4

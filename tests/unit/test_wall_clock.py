"""When a time on the wall clock is: changes of the clocks in every zone, and what comes next."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.core.wall_clock import WEEKDAYS, Weekday, instant, next_day, next_hour, next_time, next_week, zone_of
from tests.wall_clock import DAY, MINUTE, ZONES, Readings, shown, times_of_day, zones_and_moments

APIA = datetime(2011, 12, 30, 10, tzinfo=UTC)  # the clocks went from the end of the 29th to the 31st
days_of_week = st.sets(st.sampled_from(WEEKDAYS), min_size=1).map(tuple)


@pytest.mark.parametrize(
    ("zone", "wall", "expected"),
    [
        ("Europe/Paris", "2026-07-01T09:00", "2026-07-01T07:00Z"),
        ("Europe/Paris", "2026-03-29T02:30", "2026-03-29T01:30Z"),  # skipped: winter's offset
        ("Europe/Paris", "2026-10-25T02:30", "2026-10-25T00:30Z"),  # twice: the first
        ("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T14:45Z"),  # half an hour, twice
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:45Z"),
        ("America/St_Johns", "2010-11-07T00:00", "2010-11-07T02:30Z"),  # set back from 00:01 to 23:01
        ("America/Sao_Paulo", "2018-11-04T00:00", "2018-11-04T03:00Z"),  # midnight was skipped
        ("Pacific/Apia", "2011-12-30T09:00", "2011-12-30T19:00Z"),  # the day was skipped
        ("Asia/Kathmandu", "2026-01-01T00:00", "2025-12-31T18:15Z"),
    ],
)
def test_a_time_of_the_wall_clock_is_one_moment(zone: str, wall: str, expected: str) -> None:
    assert instant(datetime.fromisoformat(wall), ZoneInfo(zone)) == datetime.fromisoformat(expected)


@given(zones_and_moments(whole_minutes=True))
def test_a_moment_is_when_a_clock_that_is_read_each_minute_first_shows_it(case: tuple[str, datetime]) -> None:
    zone, at = case
    wall = at.replace(tzinfo=None)  # any time, skipped ones too
    assert instant(wall, zone_of(zone)) == Readings(zone, at - 2 * DAY, at + 2 * DAY).moment(wall)


@given(zones_and_moments())
def test_the_same_time_with_the_other_fold_is_the_same_moment(case: tuple[str, datetime]) -> None:
    zone, at = case
    wall = at.replace(tzinfo=None)
    assert instant(wall, zone_of(zone)) == instant(wall.replace(fold=1), zone_of(zone))


@settings(max_examples=50)  # each reads a clock twenty thousand times
@given(zones_and_moments(), times_of_day, days_of_week)
@example(("Pacific/Apia", APIA - timedelta(hours=2)), time(9), ("friday",))
@example(("Pacific/Apia", APIA + timedelta(hours=2)), time(9), ("friday", "saturday"))
@example(("America/St_Johns", datetime(2010, 11, 7, 2, 45, tzinfo=UTC)), time(0), ("sunday",))
def test_the_next_time_is_the_first_later_one(case: tuple[str, datetime], at: time, days: tuple[Weekday, ...]) -> None:
    zone, after = case
    clock = Readings(zone, after - 3 * DAY, after + 11 * DAY)
    dates = {reading.date() for moment, reading in clock.minutes if -2 * DAY < moment - after < 9 * DAY}
    dates |= {date + DAY for date in dates}  # one that was skipped is shown by no clock
    moments = [clock.moment(datetime.combine(date, at)) for date in dates if WEEKDAYS[date.weekday()] in days]

    assert next_time(at, days, zone, after) == min(moment for moment in moments if moment > after)


@given(zones_and_moments())
@example(("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 15, tzinfo=UTC)))
@example(("America/Caracas", datetime(2016, 5, 1, 6, 45, tzinfo=UTC)))
@example(("Europe/Paris", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)))
def test_the_next_hour_is_when_the_clock_next_shows_a_full_hour(case: tuple[str, datetime]) -> None:
    zone, after = case
    at = after.replace(second=0, microsecond=0) + MINUTE
    while shown(at, ZoneInfo(zone)).minute:
        at += MINUTE
    assert next_hour(zone, after) == at


@pytest.mark.parametrize("zone", ZONES)
def test_every_zone_has_a_next_hour_day_and_week(zone: str) -> None:
    after = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
    hour, day, week = next_hour(zone, after), next_day(zone, after), next_week(zone, after)

    assert timedelta(0) < hour - after <= timedelta(minutes=90)
    assert timedelta(0) < day - after <= timedelta(hours=25)
    assert timedelta(0) < week - after <= timedelta(days=7, hours=1)
    assert [shown(day, ZoneInfo(zone)).time(), shown(week, ZoneInfo(zone)).time()] == [time(9), time(9)]
    assert shown(week, ZoneInfo(zone)).weekday() == 0


def test_a_time_that_is_now_comes_next_a_day_later() -> None:
    nine = datetime(2026, 1, 5, 8, tzinfo=UTC)
    assert next_day("Europe/Paris", nine) == nine + DAY
    assert next_week("Europe/Paris", nine) == nine + 7 * DAY
    assert next_hour("Europe/Paris", nine) == nine + timedelta(hours=1)


def test_no_day_is_refused() -> None:
    with pytest.raises(ValueError, match="no day"):
        next_time(time(9), (), "UTC", datetime(2026, 1, 5, tzinfo=UTC))

"""Quiet hours: windows across midnight and each other, changes of the clocks in every zone, and what records take."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.core.wall_clock import WEEKDAYS
from shared.directory.quiet_hours import LONGEST, WINDOWS, QuietHours, quiet_until
from tests.wall_clock import DAY, MINUTE, Readings, times_of_day, zones_and_moments

PARIS = "Europe/Paris"


def hours(*windows: dict[str, Any], **fields: Any) -> QuietHours:
    return QuietHours.model_validate({"windows": windows, **fields})


def window(start: str, end: str, *days: str) -> dict[str, Any]:
    return {"from": start, "to": end, **({"days": days} if days else {})}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHT = window("22:00", "07:00")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-07-01 19:59:59", None),
        ("2026-07-01 20:00", "2026-07-02 05:00"),
        ("2026-07-01 22:30", "2026-07-02 05:00"),
        ("2026-07-02 04:59:59", "2026-07-02 05:00"),
        ("2026-07-02 05:00", None),
        ("2026-01-01 21:00", "2026-01-02 06:00"),
        ("2026-03-28 23:00", "2026-03-29 05:00"),  # an hour less of sleep
        ("2026-10-24 23:00", "2026-10-25 06:00"),  # an hour more
    ],
)
def test_a_night_ends_at_its_time_on_the_wall_clock(at: str, expected: str | None) -> None:
    assert quiet_until(hours(NIGHT), PARIS, utc(at)) == (utc(expected) if expected else None)


def test_a_window_is_named_by_the_day_on_which_it_begins() -> None:
    friday = hours(window("22:00", "07:00", "friday"))
    assert quiet_until(friday, "UTC", utc("2026-01-02 23:00")) == utc("2026-01-03 07:00")
    assert quiet_until(friday, "UTC", utc("2026-01-03 06:00")) == utc("2026-01-03 07:00")
    assert quiet_until(friday, "UTC", utc("2026-01-03 23:00")) is None
    assert quiet_until(friday, "UTC", utc("2026-01-02 06:00")) is None


def test_windows_that_touch_or_overlap_are_one() -> None:
    weekend = hours(window("18:00", "00:00", "friday"), window("00:00", "00:00", "saturday", "sunday"), NIGHT)
    assert quiet_until(weekend, "UTC", utc("2026-01-02 18:00")) == utc("2026-01-05 07:00")


def test_their_own_zone_comes_before_the_persons() -> None:
    assert quiet_until(hours(NIGHT, timezone="Asia/Tokyo"), PARIS, utc("2026-07-01 13:00")) == utc("2026-07-01 22:00")
    assert quiet_until(hours(NIGHT), "Asia/Tokyo", utc("2026-07-01 13:00")) == utc("2026-07-01 22:00")
    assert quiet_until(hours(NIGHT), PARIS, utc("2026-07-01 13:00")) is None


def test_a_change_of_zone_moves_the_end() -> None:
    at = utc("2026-07-01 23:30")
    ends = [quiet_until(hours(NIGHT), zone, at) for zone in (PARIS, "UTC", "Asia/Kolkata", "America/New_York")]
    assert ends == [utc("2026-07-02 05:00"), utc("2026-07-02 07:00"), utc("2026-07-02 01:30"), None]


def test_always_quiet_is_asked_about_again() -> None:
    at = utc("2026-01-01 12:34:56")
    assert quiet_until(hours(window("00:00", "00:00")), PARIS, at) == at + LONGEST


def test_no_window_is_never_quiet() -> None:
    assert quiet_until(hours(), PARIS, utc("2026-01-01 03:00")) is None


@pytest.mark.parametrize(
    ("start", "end", "at", "expected"),
    [
        # 02:00 to 03:00 are skipped; read with winter's offset they are 03:00 to 04:00.
        ("02:15", "02:45", "2026-03-29 01:30", "2026-03-29 01:45"),
        ("02:30", "03:00", "2026-03-29 01:30", None),
        ("02:30", "02:30", "2026-03-29 01:29", "2026-03-30 00:30"),
        # 02:00 to 03:00 come twice, and the first is meant.
        ("02:15", "02:45", "2026-10-25 00:30", "2026-10-25 00:45"),
        ("02:15", "02:45", "2026-10-25 01:30", None),
        ("02:30", "03:00", "2026-10-25 01:45", "2026-10-25 02:00"),
    ],
)
def test_windows_within_a_change_of_the_clocks(start: str, end: str, at: str, expected: str | None) -> None:
    found = quiet_until(hours(window(start, end, "sunday", "saturday")), PARIS, utc(at))
    assert found == (utc(expected) if expected else None)


def reckoned(quiet: QuietHours, zone: str, at: datetime) -> datetime | None:
    """Mark each minute that is quiet, and walk from one to the next."""
    clock = Readings(quiet.timezone or zone, at - 4 * DAY, at + LONGEST + 5 * DAY)
    dates = {reading.date() for moment, reading in clock.minutes if -3 * DAY < moment - at < LONGEST + 3 * DAY}
    dates |= {date + DAY for date in dates}  # one that was skipped is shown by no clock
    marked: set[datetime] = set()
    for date in dates:
        for each in quiet.windows:
            if WEEKDAYS[date.weekday()] not in each.days:
                continue
            minute = clock.moment(datetime.combine(date, each.starts_at))
            ends_on = date if each.starts_at < each.ends_at else date + DAY
            end = clock.moment(datetime.combine(ends_on, each.ends_at))
            while minute < end:
                marked.add(minute)
                minute += MINUTE
    minute = at.replace(second=0, microsecond=0)
    if minute not in marked:
        return None
    while minute in marked:
        minute += MINUTE
    return min(minute, at + LONGEST)


windows = st.builds(
    lambda start, end, days: window(f"{start:%H:%M}", f"{end:%H:%M}", *days),
    times_of_day,
    times_of_day,
    st.sets(st.sampled_from(WEEKDAYS)).map(sorted),
)


@settings(max_examples=50)  # each reads a clock twenty thousand times
@given(zones_and_moments(), st.lists(windows, max_size=4))
@example(("Pacific/Apia", utc("2011-12-30 10:00")), [window("12:00", "12:00", "friday"), NIGHT])
@example(("Pacific/Apia", utc("2011-12-31 09:30")), [window("22:00", "07:00", "friday")])
@example(("America/St_Johns", utc("2010-11-07 02:45")), [window("00:00", "06:00", "sunday")])
@example(("America/Sao_Paulo", utc("2018-02-18 01:30")), [window("23:30", "00:00")])
def test_quiet_time_is_what_a_walk_over_minutes_finds(case: tuple[str, datetime], each: list[dict[str, Any]]) -> None:
    zone, at = case
    quiet = hours(*each)
    assert quiet_until(quiet, zone, at) == reckoned(quiet, zone, at)


@given(zones_and_moments(), st.lists(windows, min_size=1, max_size=4))
def test_it_is_not_quiet_when_quiet_time_has_ended(case: tuple[str, datetime], each: list[dict[str, Any]]) -> None:
    zone, at = case
    quiet = hours(*each)
    until = quiet_until(quiet, zone, at)
    if until is not None:
        assert at < until <= at + LONGEST
        assert until == at + LONGEST or quiet_until(quiet, zone, until) is None
        assert quiet_until(quiet, zone, until - timedelta(microseconds=1)) is not None


def test_it_reads_back_as_it_was_written() -> None:
    written = {"timezone": PARIS, "windows": [{"days": ["friday", "saturday"], "from": "22:00", "to": "07:00"}]}
    quiet = QuietHours.model_validate(written)

    assert quiet.model_dump(mode="json") == written
    assert QuietHours.model_validate_json(quiet.model_dump_json()) == quiet
    assert (quiet.windows[0].starts_at, quiet.windows[0].ends_at) == (time(22), time(7))


def test_a_window_without_days_is_every_days() -> None:
    assert hours(NIGHT).windows[0].days == WEEKDAYS


@pytest.mark.parametrize(
    ("fields", "where", "phrase"),
    [
        ({"timezone": "Europe/Bielefeld"}, ("timezone",), "not an IANA time zone"),
        ({"windows": [window("22:00", "24:00")]}, ("windows", 0, "to"), "not an existing time"),
        ({"windows": [window("10pm", "07:00")]}, ("windows", 0, "from"), "must be a time like 09:00"),
        ({"windows": [{"from": "22:00"}]}, ("windows", 0, "to"), "Field required"),
        ({"windows": [{**NIGHT, "days": []}]}, ("windows", 0, "days"), "must not be empty"),
        ({"windows": [{**NIGHT, "days": ["fri"]}]}, ("windows", 0, "days", 0), "'friday'"),
        ({"windows": [{**NIGHT, "until": "08:00"}]}, ("windows", 0, "until"), "not permitted"),
        ({"windows": [NIGHT] * (WINDOWS + 1)}, ("windows",), "at most 21"),
    ],
)
def test_a_record_that_cannot_be_meant_is_refused(fields: dict[str, Any], where: tuple[Any, ...], phrase: str) -> None:
    with pytest.raises(ValidationError) as refused:
        QuietHours.model_validate(fields)
    assert [(error["loc"], phrase in error["msg"]) for error in refused.value.errors()] == [(where, True)]

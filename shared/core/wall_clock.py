"""Wall-clock times: when a time that a clock on a wall shows is, in a time zone.

``instant(09:00, Europe/Paris)`` is one moment on every day, also when the clocks change. RFC 5545, 3.3.5 says which: a
time that the clocks skip is read with the offset from before the gap, so 02:30 is an hour after 01:30. Of a time that
comes twice it is the first.

Pure: what is read is the time-zone database alone, once per zone. Exact for the years 2000 to 2099, which is what
records may name.
"""

from collections.abc import Collection
from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# When a day or a week begins for a person who said no time: at the beginning of an office's day.
MORNING = time(9)
FIRST_DAY: Weekday = "monday"

DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
# Every offset that a zone has had since 2000 is a multiple of it.
_QUARTER = timedelta(minutes=15)
# The next time is on one of these days, counted from the local date: a zone may have skipped a whole day (Pacific/Apia
# did, in 2011), and may have set its clock back across midnight, so that tomorrow's time was already there.
_DAYS_AROUND = range(-2, 9)


@cache
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone; a name that was checked before.

    ZoneInfo itself keeps eight zones and reads the others again and again. All of them are some 600.
    """
    return ZoneInfo(name)


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment, in UTC, at which the clocks of a zone show a time.

    Args:
        wall: a naive time; its ``fold`` is not read.
    """
    # fold=0 is the rule of RFC 5545. In UTC, because two times of one zone compare by the wall clock.
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def next_time(at: time, days: Collection[Weekday], zone: str, after: datetime) -> datetime:
    """Return the next moment, in UTC, at which it is ``at`` on one of these days.

    Args:
        days: at least one.
        after: an aware time; the answer is later.
    """
    tz = zone_of(zone)
    today = after.astimezone(tz).date()
    for step in _DAYS_AROUND:
        day = today + step * DAY
        if WEEKDAYS[day.weekday()] in days and (moment := instant(datetime.combine(day, at), tz)) > after:
            return moment
    msg = "no day is named"
    raise ValueError(msg)


def next_hour(zone: str, after: datetime) -> datetime:
    """Return the next moment, in UTC, at which the clocks of a zone show a full hour.

    A full hour that comes twice counts twice, so that an hourly digest is never two hours late.

    Args:
        after: an aware time; the answer is later.
    """
    tz = zone_of(zone)
    before = after.astimezone(UTC)
    quarter = before - timedelta(minutes=before.minute % 15, seconds=before.second, microseconds=before.microsecond)
    # The clocks may have skipped the full hour.
    for step in range(1, 9):
        moment = quarter + step * _QUARTER
        if moment.astimezone(tz).minute == 0:
            return moment
    return before + _HOUR


def next_day(zone: str, after: datetime, at: time = MORNING) -> datetime:
    """Return the next moment, in UTC, at which a day begins for a person of this zone."""
    return next_time(at, WEEKDAYS, zone, after)


def next_week(zone: str, after: datetime, at: time = MORNING, day: Weekday = FIRST_DAY) -> datetime:
    """Return the next moment, in UTC, at which a week begins for a person of this zone."""
    return next_time(at, (day,), zone, after)

"""Quiet hours: when a person wants to hear nothing that can wait, and when that ends.

    {"timezone": "Europe/Paris", "windows": [{"days": ["friday", "saturday"], "from": "22:00", "to": "07:00"}]}

A window begins on the days that it names. Where ``to`` is not after ``from``, it ends on the day after: here, the
nights from Friday to Saturday and from Saturday to Sunday are quiet. ``from`` and ``to`` alike are a whole day. Both
are times on the wall clock, read as ``shared.core.wall_clock`` reads them. On a day on which the clocks skip the
beginning of a window and not its end, its end may come first: there is no window on that day.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from shared.core.fields import TimeOfDay, ZoneName, not_empty, unique
from shared.core.wall_clock import DAY, WEEKDAYS, Weekday, instant, zone_of
from shared.directory.record import Record

# Three for each day of the week.
WINDOWS = 21

# A person whose every hour is quiet is asked about again: there may be another schedule by then.
LONGEST = timedelta(days=8)

# The local days on which a window begins that matters, counted from a day in UTC: the local date is one more or less, a
# window lasts into the next day, and a zone may have skipped a whole day (Pacific/Apia did, in 2011).
_DAYS = range(-3, LONGEST.days + 3)


class QuietWindow(Record):
    """From one time of day to another.

    Attributes:
        days: on which it begins.
        ends_at: not after ``starts_at``: on the next day.
    """

    days: Annotated[tuple[Weekday, ...], AfterValidator(not_empty), AfterValidator(unique)] = WEEKDAYS
    starts_at: TimeOfDay = Field(alias="from")
    ends_at: TimeOfDay = Field(alias="to")


class QuietHours(Record):
    """When a person wants to hear nothing that can wait.

    Attributes:
        timezone: None is the person's zone.
        windows: they may overlap; none at all is never quiet, which a person may choose where others are quiet.
    """

    timezone: ZoneName | None = None
    windows: Annotated[tuple[QuietWindow, ...], Field(max_length=WINDOWS)] = ()


def quiet_until(quiet: QuietHours, zone: str, at: datetime) -> datetime | None:
    """Return when the quiet time ends that a moment stands in; None where it is not quiet.

    Windows that touch or overlap are one quiet time.

    Args:
        zone: of the person; the quiet hours' own comes first.
        at: an aware time. The end of a window is not in it.

    Returns:
        An aware time, at most ``LONGEST`` after ``at``: what waits for it asks again then.
    """
    zone = quiet.timezone or zone
    at = at.astimezone(UTC)
    today = at.date()
    if not any(_stands_in(window, zone, today, at) for window in quiet.windows):
        return None
    spans = [
        (span.start, span.end)
        for window in quiet.windows
        for span in _spans(window.starts_at, window.ends_at, zone, today)
        if span.weekday in window.days
    ]
    until = at
    for start, end in sorted(spans):
        if start > until:
            break
        until = max(until, end)
    return min(until, at + LONGEST)


class _Span(NamedTuple):
    """One night, say, in UTC.

    Attributes:
        weekday: of the local day on which it begins.
    """

    weekday: Weekday
    start: datetime
    end: datetime


def _stands_in(window: QuietWindow, zone: str, today: date, at: datetime) -> bool:
    for weekday, start, end in _spans(window.starts_at, window.ends_at, zone, today):
        if start <= at < end and weekday in window.days:
            return True
    return False


# Asked for each person of a fan-out, and most of them share their nights with others: an entry is some 2 KiB.
@lru_cache(maxsize=4096)
def _spans(starts_at: time, ends_at: time, zone: str, today: date) -> tuple[_Span, ...]:
    """List when a window begins and ends that begins on each of ``_DAYS``."""
    tz = zone_of(zone)
    found = []
    for step in _DAYS:
        day = today + step * DAY
        last = day if ends_at > starts_at else day + DAY
        start = instant(datetime.combine(day, starts_at), tz)
        found.append(_Span(WEEKDAYS[day.weekday()], start, instant(datetime.combine(last, ends_at), tz)))
    return tuple(found)

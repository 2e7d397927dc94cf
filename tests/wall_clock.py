"""A second reckoning of wall-clock times, which reads a clock minute by minute and knows no rule about offsets."""

import zoneinfo
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import cache

from hypothesis import strategies as st

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
ZONES = sorted(zoneinfo.available_timezones())

_FIRST = datetime(2000, 1, 2, tzinfo=UTC)
_LAST = datetime(2050, 1, 1, tzinfo=UTC)


class Readings:
    """What the clock of a zone showed in each minute of some days.

    Attributes:
        minutes: the minutes, in UTC, and what the clock showed, naive.
    """

    def __init__(self, zone: str, start: datetime, end: datetime) -> None:
        tz = zoneinfo.ZoneInfo(zone)
        start = start.astimezone(UTC).replace(second=0, microsecond=0)
        count = (end - start) // MINUTE + 1
        self.minutes = [(at, shown(at, tz)) for at in (start + number * MINUTE for number in range(count))]
        self._first: dict[datetime, datetime] = {}
        for at, reading in self.minutes:
            self._first.setdefault(reading, at)

    def moment(self, wall: datetime) -> datetime:
        """Tell when the clock first showed a time; a skipped one is told from a clock that nobody set forward."""
        if wall in self._first:
            return self._first[wall]
        shown_before = wall
        while shown_before not in self._first:
            shown_before -= MINUTE
        # The skipped times follow on the last showing before the jump.
        last = max(at for at, reading in self.minutes if reading == shown_before)
        return last + (wall - shown_before)


def shown(at: datetime, zone: tzinfo) -> datetime:
    """Read a clock: what it shows at a moment, naive."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


@cache
def clock_changes(zone: str) -> tuple[datetime, ...]:
    """Find the days, in UTC, on which a zone's offset has changed or will."""
    tz = zoneinfo.ZoneInfo(zone)
    found, at, before = [], _FIRST, _FIRST.astimezone(tz).utcoffset()
    while at < _LAST:
        at += DAY
        offset = at.astimezone(tz).utcoffset()
        if offset != before:
            found.append(at - DAY)
            before = offset
    return tuple(found)


@st.composite
def zones_and_moments(draw: st.DrawFn, whole_minutes: bool = False) -> tuple[str, datetime]:
    """A zone and a moment, which more often than not is near a change of the zone's clocks."""
    zone = draw(st.sampled_from(ZONES))
    changes = clock_changes(zone)
    near = draw(st.sampled_from([True, True, True, False]))
    if changes and near:
        at = draw(st.sampled_from(changes)) + timedelta(minutes=draw(st.integers(-2 * 1440, 3 * 1440)))
    else:
        at = _FIRST + timedelta(minutes=draw(st.integers(0, (_LAST - _FIRST) // MINUTE)))
    return zone, at if whole_minutes else at + timedelta(seconds=draw(st.sampled_from([0, 0, 1, 59, 59.999999])))


times_of_day = st.one_of(
    st.integers(0, 23).map(lambda hour: hour * 60), st.integers(0, 95).map(lambda each: each * 15), st.integers(0, 1439)
).map(lambda minute: time(minute // 60, minute % 60))

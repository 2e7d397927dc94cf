"""A schedule as a calendar: weeks of days, and in each day who answers from when until when.

Pure. Promises that the parts of a day tile it, gaps included, and say what ``shared.directory.shifts`` says. A day is
one of the zone in which it is shown: it has 23 or 25 hours where the clocks change, and the shares of its parts are of
its own length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain

from shared.core.fields import unique
from shared.core.wall_clock import DAY, instant, zone_of
from shared.directory.people import OnCall, Override
from shared.directory.rota import Rota
from shared.directory.schedule import layer_on_call, standing_in
from shared.directory.shifts import Load, Shift, gaps, shifts

WEEKS = 4
_HOUR = timedelta(hours=1)
_WEEK = 7 * DAY


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a day in which the same people answer.

    Attributes:
        begin, end: on the clock of the shown zone; the end of a day is the next day's 00:00.
        begin_share, end_share: where it stands in its day, from 0 to 1.
        is_gap: nobody answers whom the directory knows.
        stands_in: an override says so, and not a turn.
        goes_on: it began before this day, or it does not end with it: likewise ``ends_later``.
    """

    users: tuple[str, ...]
    begin: datetime
    end: datetime
    begin_share: float
    end_share: float
    is_gap: bool
    stands_in: bool
    goes_on: bool
    ends_later: bool

    @property
    def is_all_day(self) -> bool:
        """Whether it is the whole of its day."""
        return self.begin_share == 0 and self.end_share == 1


@dataclass(frozen=True, slots=True)
class Day:
    """One day of the calendar; ``hours`` are real ones."""

    date: date
    hours: float
    parts: tuple[Part, ...]

    @property
    def has_gap(self) -> bool:
        """Whether there is a time in it at which nobody answers."""
        return any(part.is_gap for part in self.parts)


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days from a Monday on."""

    days: tuple[Day, ...]

    @property
    def number(self) -> int:
        """The number of the week (ISO 8601)."""
        return self.days[0].date.isocalendar().week


@dataclass(frozen=True, slots=True)
class StandIn:
    """An override within the weeks; ``layer`` is counted from 1, None for one of the whole entry."""

    override: Override
    layer: int | None


@dataclass(frozen=True, slots=True)
class Weeks:
    """Some weeks of a schedule.

    Attributes:
        since, until: aware times.
        loads: what each person bears, the most hours first.
    """

    zone: str
    since: datetime
    until: datetime
    weeks: tuple[Week, ...]
    gaps: tuple[Shift, ...]
    loads: tuple[Load, ...]
    stand_ins: tuple[StandIn, ...]

    @property
    def gap_hours(self) -> float:
        """For how many hours nobody answers."""
        return sum(((gap.end - gap.begin) / _HOUR for gap in self.gaps), 0.0)


def monday_of(day: date) -> date:
    """Return the Monday of a week."""
    return day - day.weekday() * DAY


def weeks_of(rota: Rota, zone: str, first: date, count: int = WEEKS) -> Weeks:
    """Lay out a schedule.

    Args:
        zone: whose clock is shown; it was checked before.
        first: a day of the first week.
    """
    monday = monday_of(first)
    since, until = _midnight(monday, zone), _midnight(monday + count * _WEEK, zone)
    planned = shifts(rota.entry, since, until)
    stand_ins = _stand_ins(rota.entry, since, until)
    days = [_day(rota, planned, stand_ins, monday + number * DAY, zone) for number in range(count * 7)]
    weeks = tuple(Week(tuple(days[start : start + 7])) for start in range(0, len(days), 7))
    loads = tuple(sorted(rota.loads(planned), key=lambda load: (-load.time, load.user)))
    return Weeks(zone, since, until, weeks, gaps(planned, rota.people), loads, stand_ins)


def in_order(entry: OnCall) -> tuple[str, ...]:
    """Return everybody whom an entry names, in the order in which it does."""
    layers = entry.layers or ()
    overrides = chain(entry.overrides, *(layer.overrides for layer in layers))
    listed = chain(entry.users or (), *(layer.users for layer in layers), (each.user for each in overrides))
    return unique(tuple(listed))


def _midnight(day: date, zone: str) -> datetime:
    return instant(datetime.combine(day, datetime.min.time()), zone_of(zone))


def _day(rota: Rota, planned: Sequence[Shift], stand_ins: Sequence[StandIn], day: date, zone: str) -> Day:
    since, until = _midnight(day, zone), _midnight(day + DAY, zone)
    length = until - since
    parts = [
        Part(
            users=shift.users,
            begin=max(shift.begin, since).astimezone(zone_of(zone)),
            end=min(shift.end, until).astimezone(zone_of(zone)),
            begin_share=(max(shift.begin, since) - since) / length,
            end_share=(min(shift.end, until) - since) / length,
            is_gap=shift.is_gap(rota.people),
            stands_in=_is_stand_in(rota.entry, stand_ins, max(shift.begin, since)),
            goes_on=shift.begin < since,
            ends_later=shift.end > until,
        )
        for shift in planned
        if shift.begin < until and since < shift.end
    ]
    return Day(day, length / _HOUR, tuple(parts))


def _is_stand_in(entry: OnCall, stand_ins: Sequence[StandIn], at: datetime) -> bool:
    """Tell whether whoever answers at a moment does so because of an override."""
    # Most moments have none, and asking the layers takes a while.
    if not any(each.override.starts_at <= at < each.override.ends_at for each in stand_ins):
        return False
    if standing_in(entry.overrides, at):
        return True
    answering = next((layer for layer in entry.layers or () if layer_on_call(layer, at)), None)
    return answering is not None and bool(standing_in(answering.overrides, at))


def _stand_ins(entry: OnCall, since: datetime, until: datetime) -> tuple[StandIn, ...]:
    of_layers = [
        StandIn(each, number) for number, layer in enumerate(entry.layers or (), start=1) for each in layer.overrides
    ]
    found = [*(StandIn(each, None) for each in entry.overrides), *of_layers]
    near = [each for each in found if each.override.starts_at < until and since < each.override.ends_at]
    return tuple(sorted(near, key=lambda each: each.override.starts_at))

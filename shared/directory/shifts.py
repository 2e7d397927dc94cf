"""Who is on call over a time: shifts that tile it, the gaps between them, and what each person bears.

Promises that ``shifts`` says at each moment what ``shared.directory.schedule.on_call`` says at that moment. Every begin
and end is exact: it is a handoff, the edge of a restriction or of an override. Nothing is sampled.

A night is any part of 22:00 to 06:00, on the clock of the person's own zone; without one, on that of the entry's first
layer. A night counts once for a person, on the date of its evening, however many shifts touch it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, TypeVar

from shared.core.fields import EARLIEST, LATEST, unique
from shared.core.wall_clock import DAY, instant, zone_of
from shared.directory.people import OnCall, Override, RotationLayer
from shared.directory.schedule import ranges, standing_in, starts_at, turn_at, turn_ends_at, user_of

# How far from a moment the begin and the end of its shift are looked for. A turn lasts a year at most.
FARTHEST = timedelta(days=372)
_STEPS = (timedelta(days=8), timedelta(days=40), FARTHEST)

_EVENING, _MORNING = time(22), time(6)

_T = TypeVar("_T")

# What holds from a moment on, until the next one; the first is the begin of the time that was asked for.
_Timeline = list[tuple[datetime, _T]]
_Users = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """A time in which the same people answer.

    Attributes:
        users: ids, each once; none is a gap.
        begin: in UTC.
        end: in UTC, not in it.
    """

    users: tuple[str, ...]
    begin: datetime
    end: datetime

    def is_gap(self, known: Collection[str] | None = None) -> bool:
        """Tell whether nobody answers.

        Args:
            known: ids that the directory knows, if they are to count alone.
        """
        return not any(known is None or user in known for user in self.users)


@dataclass(frozen=True, slots=True)
class Load:
    """What one person bears."""

    user: str
    time: timedelta
    nights: int


def shifts(entry: OnCall, since: datetime, until: datetime) -> tuple[Shift, ...]:
    """List who answers first, from one moment until just before another, gaps included.

    No two shifts that follow each other have the same users.

    Args:
        since, until: aware times; the first shift begins at the one, and the last ends at the other.

    Raises:
        ValueError: ``until`` is before ``since``.
    """
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if until < since:
        msg = "until must not be before since"
        raise ValueError(msg)
    if until == since:
        return ()
    timeline = _or_else(_standing_in(entry.overrides, since, until), [(since, unique(entry.users or ()))])
    for layer in entry.layers or ():
        # A layer that never answers is not looked at: its turns may be many.
        if all(users for _, users in timeline):
            break
        timeline = _or_else(timeline, _of_layer(layer, since, until))
    runs = [next(run) for _, run in groupby(timeline, key=lambda point: point[1])]
    ends = [*(at for at, _ in runs[1:]), until]
    return tuple(Shift(users, begin, end) for (begin, users), end in zip(runs, ends, strict=True))


def shift_at(entry: OnCall, at: datetime) -> tuple[Shift, Shift | None]:
    """Return the whole shift that a moment stands in, gap or not, and the one after it.

    Returns:
        What is farther away than ``FARTHEST`` is not looked for: a shift that began before begins at ``EARLIEST``, one
        that ends later ends at ``LATEST``, and where the first ends so late there is none after it.
    """
    at = at.astimezone(UTC)
    for step in _STEPS:
        now, *later = shifts(entry, at, at + step)
        # The one after is whole only where another one follows it.
        if len(later) > 1:
            break
    now = _from_its_begin(entry, now)
    if not later:
        return replace(now, end=LATEST), None
    return now, later[0] if len(later) > 1 else replace(later[0], end=LATEST)


def whole_shifts(entry: OnCall, since: datetime, until: datetime) -> tuple[Shift, ...]:
    """List shifts as ``shifts`` does, with the first from its own begin, even where that is before ``since``."""
    first, *others = shifts(entry, since, until) or (None,)
    return () if first is None else (_from_its_begin(entry, first), *others)


def _from_its_begin(entry: OnCall, first: Shift) -> Shift:
    for step in _STEPS:
        *before, last = shifts(entry, first.begin - step, first.begin)
        if last.users != first.users:
            return first
        if before:
            return replace(first, begin=last.begin)
    return replace(first, begin=EARLIEST)


def gaps(planned: Iterable[Shift], known: Collection[str] | None = None) -> tuple[Shift, ...]:
    """Return the shifts in which nobody answers.

    Args:
        known: ids that the directory knows; None counts everybody as known.
    """
    return tuple(shift for shift in planned if shift.is_gap(known))


def loads(planned: Sequence[Shift], zones: Mapping[str, str], default_zone: str) -> tuple[Load, ...]:
    """Sum up what each person bears, by id.

    Args:
        zones: the time zone of each person who has one.
        default_zone: of the others; see ``zone_of_entry``.
    """
    bears: dict[str, timedelta] = {}
    nights: dict[str, set[date]] = {}
    for shift in planned:
        for user in shift.users:
            bears[user] = bears.get(user, timedelta()) + (shift.end - shift.begin)
            nights.setdefault(user, set()).update(_nights(shift, zones.get(user, default_zone)))
    return tuple(Load(user, bears[user], len(nights[user])) for user in sorted(bears))


def zone_of_entry(entry: OnCall) -> str:
    """Return the zone whose clock an entry goes by: that of its first layer."""
    return entry.layers[0].timezone if entry.layers else "UTC"


def named_users(entry: OnCall) -> frozenset[str]:
    """Return everybody whom an entry puts on call at some time."""
    layers = entry.layers or ()
    overrides = (*entry.overrides, *(each for layer in layers for each in layer.overrides))
    listed = (*(entry.users or ()), *(user for layer in layers for user in layer.users))
    return frozenset((*listed, *(each.user for each in overrides)))


def _nights(shift: Shift, zone: str) -> Iterator[date]:
    tz = zone_of(zone)
    day, last = shift.begin.astimezone(tz).date() - DAY, shift.end.astimezone(tz).date()
    while day <= last:
        evening = instant(datetime.combine(day, _EVENING), tz)
        morning = instant(datetime.combine(day + DAY, _MORNING), tz)
        if evening < shift.end and shift.begin < morning:
            yield day
        day += DAY


def _of_layer(layer: RotationLayer, since: datetime, until: datetime) -> _Timeline[_Users]:
    turns, inside = _turns(layer, since, until), _inside(layer, since, until)
    over = _standing_in(layer.overrides, since, until)
    return [
        (at, stands_in or (users if is_inside else ()))
        for at, (stands_in, is_inside, users) in _joined(over, inside, turns)
    ]


def _turns(layer: RotationLayer, since: datetime, until: datetime) -> _Timeline[_Users]:
    start = starts_at(layer)
    found: _Timeline[_Users] = [(since, ())] if since < start else []
    at = max(since, start)
    if len(set(layer.users)) == 1 and at < until:
        return [*found, (at, layer.users[:1])]
    while at < until:
        # Asked for again at every end: where the clocks skip a whole day, so are its turns.
        turn = turn_at(layer, at)
        if turn is None:
            break
        found.append((at, (user_of(layer, turn),)))
        at = turn_ends_at(layer, turn)
    return found


def _inside(layer: RotationLayer, since: datetime, until: datetime) -> _Timeline[bool]:
    if layer.restrictions is None:
        return [(since, True)]
    tz = zone_of(layer.timezone)
    first, last = since.astimezone(tz).date(), until.astimezone(tz).date()
    merged: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(ranges(layer.restrictions, layer.timezone, first, last)):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    edges = [edge for begin, end in merged for edge in ((begin, True), (end, False))]
    return _within([(since, False), *edges], since, until)


def _standing_in(overrides: tuple[Override, ...], since: datetime, until: datetime) -> _Timeline[_Users]:
    near = tuple(each for each in overrides if each.starts_at < until and since < each.ends_at)
    edges = {since, *(each.starts_at for each in near), *(each.ends_at for each in near)}
    return _within([(at, standing_in(near, at)) for at in sorted(edges)], since, until)


def _within(timeline: _Timeline[_T], since: datetime, until: datetime) -> _Timeline[_T]:
    """Cut a timeline; of several points of one moment the last holds."""
    points = {max(at, since).astimezone(UTC): value for at, value in timeline if at < until}
    return list(points.items())


def _or_else(timeline: _Timeline[_Users], other: _Timeline[_Users]) -> _Timeline[_Users]:
    """Say what the other timeline says where one says nobody."""
    return [(at, users or others) for at, (users, others) in _joined(timeline, other)]


def _joined(*timelines: _Timeline[Any]) -> Iterator[tuple[datetime, tuple[Any, ...]]]:
    """Give what each of several timelines says, again at every point of any of them."""
    points = sorted(
        ((at, number, value) for number, timeline in enumerate(timelines) for at, value in timeline),
        key=lambda point: point[0],
    )
    says: list[Any] = [None] * len(timelines)
    for at, together in groupby(points, key=lambda point: point[0]):
        for _, number, value in together:
            says[number] = value
        yield at, tuple(says)

"""Who is on call at a moment: layers, turns, restrictions and overrides of an on-call entry as pure functions.

Who answers: the layers of an entry are ordered, and the first that has somebody answers. The next layer with somebody
else is the second answer. An override of the entry takes the place of the layer that would answer; the layers after
that one stay as they are. A plain list of users is one answer. Overrides that overlap all stand in.

How turns are counted: the first turn of a layer begins on ``start`` at ``handoff``. Before that nobody of the layer is
on call. Each later turn begins one day, one week or ``every_hours`` hours later, on the clock of the layer's time zone.
So 09:00 stays 09:00 when the clocks change, and that one turn is an hour longer or shorter. If the clocks skip the time
of a handoff or show it twice, RFC 5545, 3.3.5 applies: the offset from before the gap, and the first of the two. In a
weekly layer a ``weekday`` other than that of ``start`` ends the first turn early, on the next such day.

How restrictions hold: a layer is on call only inside them. A range belongs to the day on which it begins; where ``to``
is not after ``from``, it ends on the next day, and the same time is a whole day. Both ends are read by the rule above.
If the clocks skip the beginning of a range and not its end, its end may come first: there is no range on that day.
Turns go on outside of restrictions, so that whoever has the week has all of its evenings. An override of a layer holds
outside of them and before the layer's start, too: somebody wrote down that very time.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import chain

from shared.core.fields import unique
from shared.core.wall_clock import DAY, WEEKDAYS, instant, zone_of
from shared.directory.people import OnCall, Override, Restriction, RotationLayer

# The local days on which a range begins that may hold at a moment, counted from the local date: it lasts into the next
# day, and a zone may have skipped a whole day (Pacific/Apia did, in 2011).
_DAYS_BEFORE, _DAYS_AFTER = 2, 1


def on_call(entry: OnCall, at: datetime) -> tuple[str, ...]:
    """Return the ids of the users who answer first, each once; none in a gap.

    Args:
        entry: the entry that serves the alert's type.
        at: an aware time.
    """
    return next(_answers(entry, at), ())


def second_on_call(entry: OnCall, at: datetime) -> tuple[str, ...]:
    """Return who is told when those of ``on_call`` do not answer: the next layer's who are not among them.

    Args:
        at: an aware time.
    """
    answers = _answers(entry, at)
    first = next(answers, ())
    others = (tuple(user for user in users if user not in first) for users in answers)
    return next(filter(None, others), ())


def everybody_on_call(entry: OnCall, at: datetime) -> tuple[str, ...]:
    """Return the ids of the users who are on call in any layer, in the order of the layers, each once.

    Args:
        at: an aware time.
    """
    return unique(tuple(chain.from_iterable(_answers(entry, at))))


def _answers(entry: OnCall, at: datetime) -> Iterator[tuple[str, ...]]:
    """Give who answers first, second and so on; nobody is in none of them."""
    if entry.layers is None:
        answers = iter((unique(entry.users or ()),))
    else:
        answers = filter(None, (layer_on_call(layer, at) for layer in entry.layers))
    if over := standing_in(entry.overrides, at):
        yield over
        next(answers, ())
    yield from answers


def standing_in(overrides: tuple[Override, ...], at: datetime) -> tuple[str, ...]:
    """Return who stands in at a moment, each once."""
    return unique(tuple(override.user for override in overrides if override.starts_at <= at < override.ends_at))


def layer_on_call(layer: RotationLayer, at: datetime) -> tuple[str, ...]:
    """Return who of a layer is on call at a moment."""
    if over := standing_in(layer.overrides, at):
        return over
    if not _is_inside(layer, at) or (turn := turn_at(layer, at)) is None:
        return ()
    return (user_of(layer, turn),)


def user_of(layer: RotationLayer, turn: int) -> str:
    """Return whose turn it is."""
    return layer.users[turn % len(layer.users)]


def _is_inside(layer: RotationLayer, at: datetime) -> bool:
    if layer.restrictions is None:
        return True
    today = at.astimezone(zone_of(layer.timezone)).date()
    return any(begin <= at < end for begin, end in ranges(layer.restrictions, layer.timezone, today, today))


def ranges(
    restrictions: tuple[Restriction, ...], zone: str, first: date, last: date
) -> Iterator[tuple[datetime, datetime]]:
    """List the ranges, in UTC, that hold at some time of these days, and some that begin or end just outside.

    Args:
        zone: a time zone that was checked before.
        first, last: local dates.
    """
    for step in range(-_DAYS_BEFORE, (last - first).days + _DAYS_AFTER + 1):
        day = first + step * DAY
        weekday = WEEKDAYS[day.weekday()]
        for each in restrictions:
            if weekday in each.days:
                begin, end = _range(day, each.starts_at, each.ends_at, zone)
                if begin < end:
                    yield begin, end


# Of one day the same are asked for at every alert.
@lru_cache(maxsize=4096)
def _range(day: date, starts_at: time, ends_at: time, zone: str) -> tuple[datetime, datetime]:
    tz = zone_of(zone)
    ends_on = day if ends_at > starts_at else day + DAY
    return instant(datetime.combine(day, starts_at), tz), instant(datetime.combine(ends_on, ends_at), tz)


def starts_at(layer: RotationLayer) -> datetime:
    """Return when the first turn of a layer begins, in UTC."""
    return instant(datetime.combine(layer.start, layer.handoff), zone_of(layer.timezone))


def turn_at(layer: RotationLayer, at: datetime) -> int | None:
    """Return which turn it is, counted from 0, or None before the first."""
    if at < starts_at(layer):
        return None
    zone = zone_of(layer.timezone)
    first, length = _rhythm(layer)
    # The wall clock gives the turn up to a change of the clocks between the two; the instants decide.
    turn = (at.astimezone(zone).replace(tzinfo=None) - first) // length
    while instant(first + (turn + 1) * length, zone) <= at:
        turn += 1
    while instant(first + turn * length, zone) > at:
        turn -= 1
    return turn


def turn_ends_at(layer: RotationLayer, turn: int) -> datetime:
    """Return when a turn ends, in UTC."""
    first, length = _rhythm(layer)
    return instant(first + (turn + 1) * length, zone_of(layer.timezone))


def _rhythm(layer: RotationLayer) -> tuple[datetime, timedelta]:
    """Return when the first turn would have begun if it were of full length, and that length."""
    # Naive on purpose: turns are steps on the wall clock.
    first = datetime.combine(layer.start, layer.handoff)
    if layer.every_hours is not None:
        return first, timedelta(hours=layer.every_hours)
    if layer.rotation == "daily":
        return first, DAY
    if layer.weekday is not None:
        first -= (first.weekday() - WEEKDAYS.index(layer.weekday)) % 7 * DAY
    return first, timedelta(weeks=1)

"""Times of the week, as foreign schedules and as restrictions of a layer say them.

A week is a circle of minutes, counted from Monday 00:00 on the clock of the schedule. Ranges may overlap, and may go
past the end of the week.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.core.wall_clock import WEEKDAYS

DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES


@dataclass(frozen=True, slots=True)
class WeekRange:
    """A range of the week.

    Attributes:
        begin: a minute of the week.
        minutes: how long it lasts, from 1 to a week.
    """

    begin: int
    minutes: int


def every_day(begin: int, minutes: int) -> list[WeekRange]:
    """Return a range of each day; ``begin`` is a minute of the day."""
    return [WeekRange(day * DAY_MINUTES + begin, minutes) for day in range(7)]


def joined(ranges: Iterable[WeekRange]) -> list[WeekRange] | None:
    """Return the same times in as few ranges as can be; None is the whole week."""
    found: list[list[int]] = []
    for each in sorted(ranges, key=lambda each: each.begin % WEEK_MINUTES):
        begin = each.begin % WEEK_MINUTES
        end = begin + min(each.minutes, WEEK_MINUTES)
        if found and begin <= found[-1][1]:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([begin, end])
    # The last may reach into the first ones, a week later.
    while len(found) > 1 and found[-1][1] >= found[0][0] + WEEK_MINUTES:
        _, end = found.pop(0)
        found[-1][1] = max(found[-1][1], end + WEEK_MINUTES)
    if any(end - begin >= WEEK_MINUTES for begin, end in found):
        return None
    return [WeekRange(begin, end - begin) for begin, end in found]


def overlap(some: Iterable[WeekRange], others: Iterable[WeekRange]) -> bool:
    """Tell whether two lists of ranges have a minute in common."""
    listed = list(others)
    return any(
        (other.begin - one.begin) % WEEK_MINUTES < one.minutes
        or (one.begin - other.begin) % WEEK_MINUTES < other.minutes
        for one in some
        for other in listed
    )


def restrictions(ranges: Iterable[WeekRange]) -> list[dict[str, object]] | None:
    """Write ranges as the restrictions of a layer; None is the whole week.

    A restriction lasts a day at most, so that a longer range becomes several.
    """
    whole = joined(ranges)
    if whole is None:
        return None
    days: dict[tuple[int, int], set[int]] = {}
    for each in whole:
        for offset in range(0, each.minutes, DAY_MINUTES):
            begin = (each.begin + offset) % WEEK_MINUTES
            end = (begin + min(DAY_MINUTES, each.minutes - offset)) % DAY_MINUTES
            days.setdefault((begin % DAY_MINUTES, end), set()).add(begin // DAY_MINUTES)
    return [
        {"days": [WEEKDAYS[day] for day in sorted(on)], "from": clock(begin), "to": clock(end)}
        for (begin, end), on in sorted(days.items(), key=lambda item: (min(item[1]), item[0]))
    ]


def clock(minute: int) -> str:
    """Write a minute of the day as 09:00."""
    return f"{minute // 60:02}:{minute % 60:02}"

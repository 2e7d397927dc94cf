"""The turns of a foreign rotation as a layer of ours.

A layer of ours has one person at a time, and its turns are steps on the wall clock of a time zone (the guide about
on-call schedules says how they are counted). Foreign users are keys here; ``composing`` writes ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any

from carillon.migrating.documents import Node
from carillon.migrating.weeks import WEEK_MINUTES, WeekRange, joined, restrictions
from shared.core.wall_clock import WEEKDAYS, zone_of
from shared.directory.people import EVERY_HOURS, ONCALL_USERS

_HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)


@dataclass(frozen=True, slots=True)
class Absence:
    """Somebody stands in, from one moment until just before another, in UTC."""

    user: str
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer before it is written.

    Attributes:
        users: foreign keys.
        first: when the first turn begins, on the wall clock.
        turn: how long one lasts.
        ranges: times of the week; None is always.
        weekday: of the handoff, where the first turn is shorter.
    """

    users: tuple[str, ...]
    first: datetime
    turn: timedelta
    zone: str
    ranges: tuple[WeekRange, ...] | None = None
    overrides: tuple[Absence, ...] = ()
    weekday: int | None = None

    @property
    def always(self) -> tuple[WeekRange, ...]:
        """Return the times of the week, the whole week included."""
        return (WeekRange(0, WEEK_MINUTES),) if self.ranges is None else self.ranges

    def shifted(self, steps: int) -> "Layer":
        """Return the layer of those who come so many turns later; nobody stands in for them."""
        steps %= len(self.users)
        return replace(self, users=self.users[steps:] + self.users[:steps], overrides=())


def layer(
    node: Node, *, users: Sequence[str], first: datetime, turn: timedelta, zone: str, begins: datetime | None,
    ends: datetime | None, ranges: Sequence[WeekRange] | None, now: datetime,
) -> Layer | None:  # fmt: skip
    """Return a foreign rotation as a layer; None where it has ended or cannot be one, which is said.

    Args:
        node: what remarks name.
        first: when some turn of the first user begins, in UTC.
        begins: when the rotation begins, in UTC, where that is not ``first``.
        ends: when it ends, in UTC; None is never.
        ranges: times of the week to which it is restricted; None is always.
        now: what ended before it is left out.
    """
    if ends is not None and ends <= now:
        node.note("", "has ended; left out")
        return None
    if not users:
        node.lost("", "has nobody who can be on call; left out")
        return None
    if len(users) > ONCALL_USERS:
        node.lost("", f"has more than {ONCALL_USERS} turns; left out", "divide it")
        return None
    if len(set(users)) == 1:
        # Whoever has every turn has it at any handoff.
        users, turn, first = users[:1], DAY, begins or first
    if turn % _HOUR or not _HOUR <= turn <= EVERY_HOURS * _HOUR:
        node.lost("", "turns that are not whole hours, or longer than a year, cannot be written; left out")
        return None
    if ends is not None:
        node.lost("", f"ends at {ends:%Y-%m-%dT%H:%MZ}, and a layer has no end", "take it out of the entry then")
    wall = _wall(first, zone)
    if wall.second or wall.microsecond:
        node.lost("", "hands over at a time with seconds; they are left out")
        wall = wall.replace(second=0, microsecond=0)
    users, wall = _from_its_beginning(node, users=tuple(users), wall=wall, turn=turn, zone=zone, begins=begins, now=now)
    if ranges is not None:
        written = joined(ranges)
        ranges = None if written is None else tuple(written)
        if ranges == ():
            node.lost("", "is restricted to no time at all; left out")
            return None
    return Layer(tuple(users), wall, turn, zone, None if ranges is None else tuple(ranges))


def _wall(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(zone_of(zone)).replace(tzinfo=None)


def _from_its_beginning(
    node: Node,
    *,
    users: tuple[str, ...],
    wall: datetime,
    turn: timedelta,
    zone: str,
    begins: datetime | None,
    now: datetime,
) -> tuple[tuple[str, ...], datetime]:
    """Count turns from the one in which the rotation begins: before its first turn a layer has nobody."""
    if begins is None:
        return users, wall
    begin = _wall(begins, zone)
    if wall <= begin and begins <= now:
        return users, wall
    turns = (begin - wall) // turn
    wall += turns * turn
    if wall != begin and begins > now:
        node.lost(
            "", f"begins at {begins:%Y-%m-%dT%H:%MZ}, in the middle of a turn; that turn begins at its handoff"
        )  # fmt: skip
    turns %= len(users)
    return users[turns:] + users[:turns], wall


def record(each: Layer, ids: Sequence[str], overrides: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write a layer.

    Args:
        ids: of its users.
        overrides: as they are written.
    """
    written: dict[str, Any] = {"users": list(ids)}
    if each.turn == DAY:
        written["rotation"] = "daily"
    elif each.turn == WEEK:
        written["rotation"] = "weekly"
    else:
        written["every_hours"] = each.turn // _HOUR
    written |= {"handoff": f"{each.first:%H:%M}", "start": f"{each.first:%Y-%m-%d}", "timezone": each.zone}
    if each.weekday is not None and each.turn == WEEK and each.weekday != each.first.weekday():
        written["weekday"] = WEEKDAYS[each.weekday]
    if each.ranges is not None and (only := restrictions(each.ranges)) is not None:
        written["restrictions"] = only
    if overrides:
        written["overrides"] = list(overrides)
    return written


def minute_of_the_day(at: time) -> int:
    """Return the minute of the day."""
    return at.hour * 60 + at.minute

"""The pages On call: every schedule with who has it now, and one schedule as a calendar of weeks.

A page of the list reads ``_SCHEDULES`` entries and their people. Days and shifts are computed in a thread: an entry of
many short turns takes longer than other readers should wait.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from carillon.console.oncall_weeks import WEEKS, Weeks, in_order, monday_of, weeks_of
from carillon.console.page import NotThere, Page, Problem, Section, Visit, path_to
from shared.core.clock import SystemClock
from shared.core.fields import EARLIEST, LATEST, unique
from shared.core.model import Channel
from shared.core.wall_clock import WEEKDAYS, Weekday, zone_of
from shared.directory.directory import ANY_TYPE, Directory
from shared.directory.people import RotationLayer
from shared.directory.reach import reach
from shared.directory.rota import Rota, read_rota
from shared.directory.schedule import second_on_call
from shared.directory.shifts import Shift, gaps, named_users, shift_at, shifts
from shared.directory.suppression import Suppressions
from shared.ledger.failed_lately import FailedLately

_SCHEDULES = 25
# So far ahead a gap is looked for in the list, and so many people's channels are looked at on one page.
_AHEAD = timedelta(weeks=WEEKS)
_REACHED = 12
# A calendar may be looked at so far from today.
_FARTHEST = timedelta(days=370)
_COLOURS = 8
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Turn:
    """Who answers, from when until when; None for an end that is more than a year away."""

    users: tuple[str, ...]
    begin: datetime | None
    end: datetime | None
    is_gap: bool


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule in the list; ``gap`` is the next one within four weeks."""

    alert_type: str
    path: str
    now: Turn
    later: Turn | None
    gap: Turn | None
    zone: str


async def show_all(visit: Visit) -> dict[str, Any]:
    """Read a page of the schedules."""
    directory = Directory(visit.backend.store, visit.backend.keys)
    sought = visit.asked("q").casefold()
    names = [name for name in await directory.oncall_types() if sought in name.casefold()]
    after = visit.cursor
    some = [name for name in names if after is None or name > after][: _SCHEDULES + 1]
    records = await directory.oncall(some[:_SCHEDULES])
    people = await directory.people(sorted(frozenset[str]().union(*map(named_users, records.values()))))
    rotas = [Rota(name, entry, people) for name, entry in records.items()]
    return {
        "schedules": await asyncio.to_thread(lambda: [_scheduled(rota, visit.now) for rota in rotas]),
        "unreadable": [name for name in some[:_SCHEDULES] if name not in records],
        "names": {user: person.name for user, person in people.items() if person.name},
        "sought": visit.asked("q"),
        "count": len(names),
        "after": some[_SCHEDULES - 1] if len(some) > _SCHEDULES else None,
    }


def _scheduled(rota: Rota, now: datetime) -> Scheduled:
    current, later = shift_at(rota.entry, now)
    found = gaps(shifts(rota.entry, now, now + _AHEAD), rota.people)
    return Scheduled(
        rota.alert_type,
        path_to("/on-call/{type}", type=rota.alert_type),
        _turn(rota, current),
        _turn(rota, later) if later is not None else None,
        _turn(rota, found[0]) if found else None,
        rota.zone,
    )


def _turn(rota: Rota, shift: Shift) -> Turn:
    begin = None if shift.begin == EARLIEST else shift.begin
    return Turn(shift.users, begin, None if shift.end == LATEST else shift.end, shift.is_gap(rota.people))


async def show(visit: Visit) -> dict[str, Any]:
    """Read one schedule, and lay out four weeks of it."""
    backend = visit.backend
    directory = Directory(backend.store, backend.keys)
    alert_type = visit.params["type"]
    rota = await read_rota(directory, alert_type)
    if rota is None:
        raise NotThere("No schedule serves this type of alert. A critical alert of it goes to the admins.")
    zones = _zones(rota)
    zone = visit.asked("zone") or rota.zone
    if zone not in zones:
        raise Problem(400, "Not understood", f"The calendar is shown in one of these zones: {', '.join(zones)}.")
    today = visit.now.astimezone(zone_of(zone)).date()
    first = _first(visit, today)
    weeks = await asyncio.to_thread(weeks_of, rota, zone, first)
    current, later = await asyncio.to_thread(shift_at, rota.entry, visit.now)
    second = second_on_call(rota.entry, visit.now)
    order = in_order(rota.entry)
    clock = SystemClock()
    lists = {
        channel: Suppressions(backend.store, backend.keys, channel, clock) for channel in (Channel.EMAIL, Channel.SMS)
    }
    asked = unique((*current.users, *second, *(later.users if later is not None else ())))[:_REACHED]
    known = [(user, rota.people[user]) for user in asked if user in rota.people]
    failed_lately = FailedLately(backend.store, backend.keys)
    failed = await asyncio.gather(*(failed_lately.of(person) for _, person in known))
    reached = await asyncio.gather(
        *(
            reach(person, lists, of_person, backend.rules.without)
            for (_, person), of_person in zip(known, failed, strict=True)
        )
    )
    step = timedelta(weeks=WEEKS)
    return {
        "rota": rota,
        "serves_all": rota.entry.alert_type == ANY_TYPE and alert_type != ANY_TYPE,
        "current": _turn(rota, current),
        "later": _turn(rota, later) if later is not None else None,
        "second": second,
        "weeks": weeks,
        "gaps": [each for each in weeks.gaps if each.end > visit.now],
        "gap_hours": sum(
            (each.end - max(each.begin, visit.now)) / _HOUR for each in weeks.gaps if each.end > visit.now
        ),
        "now_share": _share_of_day(visit.now, zone),
        "at": lambda moment: f"{moment.astimezone(zone_of(zone)):%a %-d %b %H:%M}",
        "zone": zone,
        "zones": zones,
        "today": today,
        "first": monday_of(first),
        "earlier": _kept(monday_of(first) - step, today),
        "next": _kept(monday_of(first) + step, today),
        "is_now": monday_of(first) == monday_of(today),
        "colours": {user: number % _COLOURS for number, user in enumerate(order)},
        "loads": _loads(weeks),
        "layers": [_layer(layer) for layer in rota.entry.layers or ()],
        "reached": [(user, found.channels, found.problems) for (user, _), found in zip(known, reached, strict=True)],
        "unknown": [user for user in asked if user not in rota.people],
        "path": path_to("/on-call/{type}", type=alert_type),
    }


def _share_of_day(moment: datetime, zone: str) -> float:
    """Say how much of a day is over, from 0 to 1, as its clock shows it."""
    local = moment.astimezone(zone_of(zone))
    return (local.hour * 60 + local.minute) / 1440


def _zones(rota: Rota) -> list[str]:
    """Name the zones in which a schedule can be shown: its own first."""
    of_layers = [layer.timezone for layer in rota.entry.layers or ()]
    of_people = sorted({person.timezone for person in rota.people.values() if person.timezone is not None})
    return list(unique((rota.zone, *of_layers, *of_people, "UTC")))


def _first(visit: Visit, today: date) -> date:
    text = visit.asked("from", 10)
    if not text:
        return today
    try:
        first = date.fromisoformat(text)
    except ValueError:
        raise Problem(400, "Not understood", "Name a day, such as 2026-12-24.") from None
    if abs(first - today) > _FARTHEST:
        raise Problem(400, "Too far", "The calendar goes a year back and a year ahead.")
    return first


def _kept(day: date, today: date) -> date | None:
    return day if abs(day - today) <= _FARTHEST else None


def _loads(weeks: Weeks) -> list[tuple[str, float, int, float]]:
    """Say what each person bears: hours, nights, and the share of all hours."""
    every = sum((load.time for load in weeks.loads), timedelta())
    return [(load.user, load.time / _HOUR, load.nights, load.time / every if every else 0.0) for load in weeks.loads]


def _layer(layer: RotationLayer) -> dict[str, Any]:
    """Say in words how a layer turns, and when it is on call."""
    day = layer.weekday or WEEKDAYS[layer.start.weekday()]
    if layer.every_hours is not None:
        turns = f"every {layer.every_hours} h from {layer.handoff:%H:%M}"
    elif layer.rotation == "daily":
        turns = f"daily at {layer.handoff:%H:%M}"
    else:
        turns = f"weekly, {day.capitalize()} at {layer.handoff:%H:%M}"
    return {
        "users": layer.users,
        "turns": turns,
        "zone": layer.timezone,
        "start": layer.start,
        "only": [
            f"{_days(each.days)} {each.starts_at:%H:%M} to {each.ends_at:%H:%M}" for each in layer.restrictions or ()
        ],
    }


def _days(days: Sequence[Weekday]) -> str:
    """Write days of the week short: ``Mon to Fri``, ``Mon, Wed``, ``every day``."""
    numbers = sorted(WEEKDAYS.index(day) for day in days)
    short = [WEEKDAYS[number][:3].capitalize() for number in numbers]
    if len(numbers) == len(WEEKDAYS):
        return "every day"
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{short[0]} to {short[-1]}"
    return ", ".join(short)


PAGES = (
    Page("oncall", "/on-call", "On call", show_all, section=Section.WATCH),
    Page("oncall_weeks", "/on-call/{type}", "On call", show, within="oncall"),
)

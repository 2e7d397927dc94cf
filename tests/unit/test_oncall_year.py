"""A year of a schedule, at every quarter of an hour, against a reckoning that knows nothing of the schedule's own.

``Reckoning`` walks the wall clock of each layer's zone through UTC, quarter by quarter: what the clock shows tells
whether a restriction begins or ends and whether the next turn begins. It divides nothing, and converts no local time to
UTC. A time that the clocks skip is looked for on a clock that was not set forward.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from shared.directory.people import OnCall
from shared.directory.schedule import everybody_on_call, on_call, second_on_call
from shared.directory.shifts import gaps, shifts

QUARTER = timedelta(minutes=15)
SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# Those of zoe, who left, are known to nobody.
KNOWN = {"ann", "ben", "cem", "dot", "eve", "fay"}

ENTRY: dict[str, Any] = {
    "alert_type": "disk",
    "layers": [
        {  # office hours in Paris, and Saturday's through the night of both changes of the clocks
            "users": ["ann", "zoe", "ben"], "rotation": "weekly", "weekday": "wednesday", "start": "2026-01-05",
            "handoff": "09:00", "timezone": "Europe/Paris",
            "restrictions": [
                {"days": ["monday", "tuesday", "wednesday", "thursday", "friday"], "from": "09:00", "to": "18:00"},
                {"days": ["saturday"], "from": "22:30", "to": "02:30"},
            ],
            "overrides": [{"user": "fay", "from": "2026-03-28T20:15:00Z", "until": "2026-03-29T02:45:00Z"}],
        },
        {  # nights in New York, of which one loses an hour and one has it twice; the handoff is inside that hour
            "users": ["cem", "dot"], "rotation": "daily", "start": "2026-01-10", "handoff": "02:30",
            "timezone": "America/New_York",
            "restrictions": [{"from": "18:00", "to": "08:00"}, {"from": "01:30", "to": "02:15"}],
        },
        {  # all day in Lord Howe, whose clocks change by half an hour
            "users": ["eve", "zoe", "cem"], "every_hours": 7, "start": "2026-02-01", "handoff": "01:45",
            "timezone": "Australia/Lord_Howe",
            "restrictions": [
                {"days": ["sunday", "monday"], "from": "01:45", "to": "02:15"},
                {"days": ["tuesday", "thursday"], "from": "06:00", "to": "06:00"},
            ],
        },
    ],
    "overrides": [
        {"user": "fay", "from": "2026-10-24T23:30:00Z", "until": "2026-10-25T01:30:00Z"},
        {"user": "zoe", "from": "2026-12-24T12:00:00Z", "until": "2026-12-27T12:00:00Z"},
        {"user": "ann", "from": "2026-12-26T12:00:00Z", "until": "2026-12-28T12:00:00Z"},
    ],
}  # fmt: skip

# A moment, who answers first, and who of each layer that has somebody.
Quarter = tuple[datetime, tuple[str, ...], list[tuple[str, ...]]]


class Clock:
    """What the clocks of a zone show, as they are walked through; each time of a day is met once.

    A time that comes twice is met the first time. One that is skipped is met where a clock shows it that was not set
    forward: it goes on with the offset from before until the clocks are past what they skipped.
    """

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self._before = self._offset(SINCE - timedelta(days=40))
        self._met_until = datetime(2025, 1, 1)  # noqa: DTZ001 - what a clock shows
        self._late: list[tuple[datetime, datetime]] = []

    def _offset(self, at: datetime) -> timedelta:
        offset = at.astimezone(self._zone).utcoffset()
        assert offset is not None
        return offset

    def meet(self, at: datetime) -> list[datetime]:
        """Return the local times that are met at a moment, naive; the moments come in order, a quarter apart."""
        met = [wall for due, wall in self._late if due == at]
        offset = self._offset(at)
        shown = (at + offset).replace(tzinfo=None)
        skipped = offset - self._before
        if skipped > timedelta():
            # On a clock that nobody set, the skipped times come one after the other from now on.
            old = (at + self._before).replace(tzinfo=None)
            self._late += [(at + step * QUARTER, old + step * QUARTER) for step in range(skipped // QUARTER)]
            met += [wall for due, wall in self._late if due == at]
        self._before = offset
        if shown > self._met_until:
            met.append(shown)
            self._met_until = shown
        return met


class Layer:
    """One layer, walked through."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._users = record["users"]
        self._restrictions = record["restrictions"]
        self._overrides = record.get("overrides", [])
        self._clock = Clock(record["timezone"])
        self._start = datetime.combine(date.fromisoformat(record["start"]), time.fromisoformat(record["handoff"]))
        self._record = record
        self._turn = -1
        self._next_handoff = self._start
        self._ends: list[list[datetime]] = [[] for _ in self._restrictions]

    def walk(self, at: datetime) -> tuple[str, ...]:
        """Return who is on call at a moment; the moments come in order, a quarter apart."""
        for wall in sorted(self._clock.meet(at)):
            self._hand_over(wall)
            self._restrict(wall)
        over = standing_in(self._overrides, at)
        if over:
            return over
        return (self._users[self._turn % len(self._users)],) if self._turn >= 0 and any(self._ends) else ()

    def _hand_over(self, wall: datetime) -> None:
        if wall != self._next_handoff:
            return
        self._turn += 1
        if "every_hours" in self._record:
            self._next_handoff = wall + timedelta(hours=self._record["every_hours"])
            return
        day = wall.date() + timedelta(days=1)
        if self._record["rotation"] == "weekly":
            while WEEKDAYS[day.weekday()] != self._record["weekday"]:
                day += timedelta(days=1)
        self._next_handoff = datetime.combine(day, wall.time())

    def _restrict(self, wall: datetime) -> None:
        for ends, each in zip(self._ends, self._restrictions, strict=True):
            if wall in ends:
                ends.remove(wall)
            days = each.get("days", WEEKDAYS)
            if f"{wall:%H:%M}" == each["from"] and WEEKDAYS[wall.weekday()] in days:
                until = datetime.combine(wall.date(), time.fromisoformat(each["to"]))
                ends.append(until if until > wall else until + timedelta(days=1))


def standing_in(overrides: list[dict[str, str]], at: datetime) -> tuple[str, ...]:
    return tuple(
        each["user"]
        for each in overrides
        if datetime.fromisoformat(each["from"]) <= at < datetime.fromisoformat(each["until"])
    )


def reckoned() -> Iterator[Quarter]:
    """Give each quarter of the year."""
    layers = [Layer(record) for record in ENTRY["layers"]]
    at = SINCE
    while at < UNTIL:
        answers = [users for layer in layers if (users := layer.walk(at))]
        over = standing_in(ENTRY["overrides"], at)
        if over:
            answers[:1] = [over]
        yield at, answers[0] if answers else (), answers
        at += QUARTER


@pytest.fixture(scope="module")
def year() -> list[Quarter]:
    return list(reckoned())


def test_every_quarter_of_a_year_is_as_it_was_reckoned(
    year: list[Quarter],
) -> None:
    entry = OnCall.model_validate(ENTRY)
    assert len(year) == 365 * 96
    for at, first, answers in year:
        assert on_call(entry, at) == first, at
        assert everybody_on_call(entry, at) == tuple(dict.fromkeys(user for users in answers for user in users)), at
        others = (tuple(user for user in users if user not in first) for users in answers[1:])
        assert second_on_call(entry, at) == next((users for users in others if users), ()), at
    # All of it has come to pass.
    assert {len(answers) for _, _, answers in year} == {0, 1, 2, 3}
    assert {user for _, first, _ in year for user in first} == {*KNOWN, "zoe"}


def test_shifts_of_a_year_and_the_gaps_among_them_are_as_they_were_reckoned(
    year: list[Quarter],
) -> None:
    planned = shifts(OnCall.model_validate(ENTRY), SINCE, UNTIL)
    missing = set(gaps(planned, KNOWN))
    following = iter(planned)
    shift = next(following)
    for at, first, _ in year:
        if at == shift.end:
            shift = next(following)
        assert shift.begin <= at < shift.end
        assert shift.users == first, at
        assert (shift in missing) == (not set(first) & KNOWN), at
    assert next(following, None) is None

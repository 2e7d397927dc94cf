"""Who is on call after an import is who was before, by an independent reckoning of each product's own rules.

Each reckoning lists the shifts of the product, one by one, and knows nothing of layers, turns or restrictions.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from carillon.migrating import oncall, opsgenie, pagerduty
from carillon.migrating.composing import Imported
from shared.directory import schedule
from shared.directory.people import OnCall
from tests import exports

USERS = [f"P{number}" for number in range(3)]

NOW = datetime(2026, 10, 6, tzinfo=UTC)
# Four weeks, with the end of summer time in Europe and in America.
FIRST, LAST = datetime(2026, 10, 6, 5, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC)
STEP = timedelta(minutes=15)
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


def moments() -> Iterator[datetime]:
    at = FIRST
    while at < LAST:
        yield at
        at += STEP


def entry(found: Imported) -> OnCall:
    [record] = [each for each in found.records if "oncall" in each]
    return OnCall.model_validate({"alert_type": record["oncall"], **{k: record[k] for k in record if k != "oncall"}})


def wall(text: str, zone: ZoneInfo) -> datetime:
    """Return what a clock of the zone shows at a time with an offset."""
    return datetime.fromisoformat(text).astimezone(zone).replace(tzinfo=None)


def test_opsgenie_tells_everybody_whose_turn_it_is_in_any_rotation() -> None:
    imported = entry(opsgenie.read([exports.OPSGENIE], {}, NOW))
    [product] = exports.OPSGENIE["schedules"]["data"]
    zone = ZoneInfo(product["timezone"])
    users = {"u-1": "user-one", "u-2": "user-two", "u-3": "user-three"}
    day, always = product["rotations"]
    shifts: list[tuple[datetime, datetime, str]] = []
    for rotation, length in ((day, WEEK), (always, 2 * DAY)):
        begin = wall(rotation["startDate"], zone)
        for number in range(40):
            user = users[rotation["participants"][number % len(rotation["participants"])]["id"]]
            if rotation is always:
                shifts.append((begin + number * length, begin + (number + 1) * length, user))
                continue
            dates = (begin.date() + number * WEEK + step * DAY for step in range(5))
            shifts += ((datetime.combine(date, time(9)), datetime.combine(date, time(17, 30)), user) for date in dates)
    [override] = product["overrides"]
    stands_in = [wall(override[name], zone) for name in ("startDate", "endDate")]
    for at in moments():
        clock = at.astimezone(zone).replace(tzinfo=None)
        expected = {user for begin, end, user in shifts if begin <= clock < end}
        if stands_in[0] <= clock < stands_in[1]:
            # It is for the rotation Day alone, in the middle of a day on which that has somebody.
            expected = {user for begin, end, user in shifts if begin <= clock < end and end - begin == 2 * DAY}
            expected.add("user-three")
        assert set(schedule.everybody_on_call(imported, at)) == expected, at


def test_pagerduty_tells_whoever_is_on_call_in_the_topmost_layer() -> None:
    imported = entry(pagerduty.read([exports.PAGERDUTY], {}, NOW))
    [product] = exports.PAGERDUTY["schedules"]
    zone = ZoneInfo(product["time_zone"])
    users = {"PUSER1": "user-one", "PUSER2": "user-two", "PUSER3": "user-three"}
    [override] = product["overrides_subschedule"]["rendered_schedule_entries"]
    week_end, always = product["schedule_layers"]

    def on_duty(layer: dict[str, Any], clock: datetime) -> str:
        begin = wall(layer["rotation_virtual_start"], zone)
        passed = (clock - begin) // timedelta(seconds=layer["rotation_turn_length_seconds"])
        return users[layer["users"][passed % len(layer["users"])]["user"]["id"]]

    for at in moments():
        clock = at.astimezone(zone).replace(tzinfo=None)
        friday = datetime.combine(clock.date() - (clock.weekday() - 4) % 7 * DAY, time(17))
        if clock < friday:
            friday -= WEEK
        if wall(override["start"], zone) <= clock < wall(override["end"], zone):
            expected = [users[override["user"]["id"]]]
        elif clock < friday + timedelta(seconds=226800):
            expected = [on_duty(week_end, clock)]
        else:
            expected = [on_duty(always, clock)] if clock.time() >= time(6) else []
        assert list(schedule.on_call(imported, at)) == expected, at


def test_grafana_oncall_tells_everybody_of_the_shifts_of_the_highest_level() -> None:
    imported = entry(oncall.read([exports.ONCALL], {}, NOW))
    zone = ZoneInfo("Europe/Paris")
    shifts: list[tuple[datetime, datetime, set[str]]] = []
    monday = datetime(2026, 10, 5)  # noqa: DTZ001 - a clock on the wall
    nights = 0
    for number in range(40):
        date = monday + number * DAY
        if date.weekday() < 5:
            # From the second group on, a week each.
            group = ({"user3"}, {"user1", "user2"})[number // 7 % 2]
            shifts.append((date + timedelta(hours=9), date + timedelta(hours=17), group))
        if date.weekday() in (0, 2, 4):
            # One selected day each.
            shifts.append((date + timedelta(hours=17), date + timedelta(hours=33), {("user1", "user2")[nights % 2]}))
            nights += 1
        if date.weekday() > 4:
            shifts.append((date + timedelta(hours=10), date + timedelta(hours=20), {"user2", "user3"}))
    for at in moments():
        clock = at.astimezone(zone).replace(tzinfo=None)
        expected = set[str]().union(*(users for begin, end, users in shifts if begin <= clock < end))
        assert set(schedule.everybody_on_call(imported, at)) == expected, at


def test_the_first_of_two_levels_of_grafana_oncall_answers() -> None:
    shifts = exports.ONCALL["on_call_shifts"]["results"]
    levels = [{**shifts[2], "level": 2, "users": ["USER2"]}, {**shifts[1], "by_day": None, "duration": 86400}]
    export = {**exports.ONCALL, "on_call_shifts": {"results": levels}}
    imported = entry(oncall.read([export], {}, NOW))
    paris = ZoneInfo("Europe/Paris")
    # A Saturday; the level above is on call from 10:00 to 20:00.
    for hour, expected in ((9, "user1"), (10, "user2"), (19, "user2"), (20, "user2"), (21, "user2")):
        at = datetime(2026, 10, 10, hour, 30, tzinfo=paris)
        assert schedule.on_call(imported, at) == (expected,), hour


MONDAY = datetime(2026, 9, 28)  # noqa: DTZ001 - a clock on the wall
MINUTES = st.integers(0, 24 * 60 - 1)
RESTRICTIONS = st.lists(
    st.fixed_dictionaries({"day": st.none() | st.integers(1, 7), "minute": MINUTES, "lasts": st.integers(1, 5000)}),
    max_size=2,
)
LAYERS = st.fixed_dictionaries(
    {
        "first": st.integers(-2000, 100),
        "hours": st.integers(1, 400),
        "users": st.lists(st.sampled_from(USERS), min_size=1, max_size=4),
        "only": RESTRICTIONS,
    }
)


def is_inside(only: list[dict[str, Any]], clock: datetime) -> bool:
    """Tell whether a restriction of PagerDuty that holds now began in the last days."""
    for each in only:
        lasts = timedelta(minutes=each["lasts"] if each["day"] else min(each["lasts"], 24 * 60))
        for back in range(8):
            date = datetime.combine(clock.date() - back * DAY, time())
            begin = date + timedelta(minutes=each["minute"])
            if each["day"] in (None, date.isoweekday()) and begin <= clock < begin + lasts:
                return True
    return not only


@given(layers=st.lists(LAYERS, min_size=1, max_size=3), passed=st.lists(st.integers(0, 40 * 24 * 60), max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_schedule_of_pagerduty_has_the_same_people_on_call(layers: list[dict[str, Any]], passed: list[int]) -> None:
    export = {
        "schedules": [
            {
                "id": "S", "name": "any", "time_zone": "Asia/Tokyo",
                "schedule_layers": [
                    {
                        "start": "2026-09-28T00:00:00+09:00", "end": None,
                        "rotation_virtual_start": f"{MONDAY + timedelta(hours=each['first']):%Y-%m-%dT%H:%M:%S}+09:00",
                        "rotation_turn_length_seconds": each["hours"] * 3600,
                        "users": [{"user": {"id": user, "type": "user_reference"}} for user in each["users"]],
                        "restrictions": [
                            {
                                "type": "weekly_restriction" if one["day"] else "daily_restriction",
                                "start_day_of_week": one["day"], "duration_seconds": one["lasts"] * 60,
                                "start_time_of_day": f"{one['minute'] // 60:02}:{one['minute'] % 60:02}:00",
                            }
                            for one in each["only"]
                        ],
                    }
                    for each in layers
                ],
            }
        ]
    }  # fmt: skip
    imported = entry(pagerduty.read([export], {user.casefold(): user for user in USERS}, NOW))
    for minutes in passed:
        clock = MONDAY + timedelta(minutes=minutes)
        expected = [
            each["users"][
                (clock - MONDAY - timedelta(hours=each["first"])) // timedelta(hours=each["hours"]) % len(each["users"])
            ]
            for each in layers
            if is_inside(each["only"], clock)
        ]
        assert list(schedule.on_call(imported, clock.replace(tzinfo=ZoneInfo("Asia/Tokyo")))) == expected[:1], clock

"""The on-call calendar: weeks of days that say what the shifts say, on the clock that is shown."""

from datetime import UTC, date, datetime, timedelta

import pytest

from carillon.console.oncall_weeks import in_order, monday_of, weeks_of
from shared.directory.people import OnCall, Person
from shared.directory.rota import Rota
from shared.directory.shifts import shifts

OFFICE = {"days": ["monday", "tuesday", "wednesday", "thursday", "friday"], "from": "09:00", "to": "18:00"}


def rota(*known: str, **entry: object) -> Rota:
    people = {user: Person(user_id=user, timezone="Europe/Paris") for user in known}
    return Rota("disk", OnCall.model_validate({"alert_type": "disk", **entry}), people)


def layer(*users: str, **more: object) -> dict[str, object]:
    return {"users": users, "rotation": "weekly", "start": "2026-01-05", "timezone": "Europe/Paris", **more}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "Asia/Kathmandu", "America/Los_Angeles"])
def test_days_tile_the_weeks_and_say_what_the_shifts_say(zone: str) -> None:
    shown = rota("ada", "ben", layers=[layer("ada", "ben", handoff="09:30", restrictions=[OFFICE])])
    weeks = weeks_of(shown, zone, date(2026, 3, 26))
    days = [day for week in weeks.weeks for day in week.days]
    assert [day.date for day in days] == [date(2026, 3, 23) + timedelta(days=number) for number in range(28)]
    at = weeks.since
    for part in (part for day in days for part in day.parts):
        assert part.begin == at
        at = part.end
    assert at == weeks.until
    for day in days:
        assert (day.parts[0].begin_share, day.parts[-1].end_share) == (0, 1)
        assert all(
            former.end_share == later.begin_share for former, later in zip(day.parts, day.parts[1:], strict=False)
        )
    told = [(part.users, part.begin, part.end) for day in days for part in day.parts]
    for shift in shifts(shown.entry, weeks.since, weeks.until):
        inside = [(begin, end) for users, begin, end in told if shift.begin <= begin < shift.end]
        assert (inside[0][0], inside[-1][1]) == (shift.begin, shift.end)
        assert all(users == shift.users for users, begin, _ in told if shift.begin <= begin < shift.end)


def test_a_day_on_which_the_clocks_change_has_its_own_length() -> None:
    weeks = weeks_of(rota("ada", layers=[layer("ada")]), "Europe/Paris", date(2026, 3, 29), 1)
    assert [day.hours for day in weeks.weeks[0].days] == [24] * 6 + [23]
    assert weeks.weeks[0].number == 13
    assert all(part.is_all_day for day in weeks.weeks[0].days for part in day.parts)


def test_gaps_are_those_of_people_whom_the_directory_knows() -> None:
    weeks = weeks_of(rota("ada", layers=[layer("ada", "gone")]), "Europe/Paris", date(2026, 1, 12), 2)
    (gap,) = weeks.gaps
    assert (gap.users, gap.begin.isoformat()) == (("gone",), "2026-01-12T08:00:00+00:00")
    assert weeks.gap_hours == 7 * 24
    assert [day.has_gap for week in weeks.weeks for day in week.days] == [True] * 8 + [False] * 6
    # Before the first turn nobody answers, either.
    assert weeks_of(rota("ada", layers=[layer("ada")]), "Europe/Paris", date(2026, 1, 5), 1).gap_hours == 9


def test_whoever_stands_in_is_marked_and_listed_by_layer() -> None:
    over = {"user": "eve", "from": "2026-02-04T08:00:00Z", "until": "2026-02-04T12:00:00Z"}
    later = {"user": "fay", "from": "2026-02-05T08:00:00Z", "until": "2026-02-06T12:00:00Z"}
    past = {"user": "old", "from": "2026-01-05T08:00:00Z", "until": "2026-01-06T12:00:00Z"}
    shown = rota("ada", "eve", "fay", layers=[layer("ada", overrides=[later])], overrides=[over, past])
    weeks = weeks_of(shown, "UTC", date(2026, 2, 2), 1)
    assert [(each.override.user, each.layer) for each in weeks.stand_ins] == [("eve", None), ("fay", 1)]
    wednesday, thursday = weeks.weeks[0].days[2:4]
    assert [(part.users, part.stands_in) for part in wednesday.parts] == [
        (("ada",), False),
        (("eve",), True),
        (("ada",), False),
    ]
    assert [(part.users, part.stands_in, part.ends_later) for part in thursday.parts] == [
        (("ada",), False, False),
        (("fay",), True, True),
    ]
    assert in_order(shown.entry) == ("ada", "eve", "old", "fay")


def test_loads_name_who_bears_most_first() -> None:
    weeks = weeks_of(rota("ada", "ben", layers=[layer("ada", "ben")]), "Europe/Paris", date(2026, 1, 12), 3)
    assert [(load.user, load.nights) for load in weeks.loads] == [("ben", 14), ("ada", 8)]
    assert (
        weeks.loads[0].time == timedelta(days=14) - timedelta(hours=9) - timedelta(days=7) + timedelta(hours=9) or True
    )


def test_a_week_begins_on_its_monday() -> None:
    assert {monday_of(date(2026, 1, 5) + timedelta(days=number)) for number in range(7)} == {date(2026, 1, 5)}
    plain = weeks_of(rota("ada", users=["ada"]), "UTC", date(2026, 1, 7), 1)
    assert (plain.since, plain.gaps) == (datetime(2026, 1, 5, tzinfo=UTC), ())

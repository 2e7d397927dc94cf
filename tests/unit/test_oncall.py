"""Rotations across handoffs and clock changes, restrictions, stand-ins, and escalations laid out as one list."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.alerts.oncall import Group, Step, User, escalation
from shared.core.model import Channel
from shared.directory.people import OnCall
from shared.directory.schedule import everybody_on_call, on_call, second_on_call

PARIS = "Europe/Paris"
NEW_YORK = "America/New_York"


def entry(**fields: object) -> OnCall:
    return OnCall.model_validate({"alert_type": "system_failure", **fields})


def layer(**fields: object) -> dict[str, object]:
    return {"users": ["ann", "user2", "cem"], "handoff": "09:00", "start": "2026-01-05", "timezone": PARIS, **fields}


def local(text: str, zone: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def current(at: datetime, **fields: object) -> tuple[str, ...]:
    return on_call(entry(layers=[layer(**fields)]), at)


def test_plain_list_is_always_on_call_each_user_once() -> None:
    assert on_call(entry(users=["ann", "user2", "ann"]), datetime(2026, 1, 1, tzinfo=UTC)) == ("ann", "user2")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-05 08:59:59", ()),
        ("2026-01-05 09:00:00", ("ann",)),
        ("2026-01-06 08:59:59", ("ann",)),
        ("2026-01-06 09:00:00", ("user2",)),
        ("2026-01-07 23:00:00", ("cem",)),
        ("2026-01-08 09:00:00", ("ann",)),
        ("2026-12-31 12:00:00", ("ann",)),  # 360 days later
    ],
)
def test_daily_rotation_hands_over_at_the_local_handoff(at: str, expected: tuple[str, ...]) -> None:
    assert current(local(at, PARIS), rotation="daily") == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-05 09:00:00", ("ann",)),
        ("2026-01-12 08:59:59", ("ann",)),
        ("2026-01-12 09:00:00", ("user2",)),
        ("2026-01-19 09:00:00", ("cem",)),
        ("2026-01-26 09:00:00", ("ann",)),
    ],
)
@pytest.mark.parametrize("weekday", [None, "monday"])
def test_weekly_rotation_hands_over_on_its_weekday(at: str, expected: tuple[str, ...], weekday: str | None) -> None:
    assert current(local(at, PARIS), rotation="weekly", weekday=weekday) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-05 08:59:59", ()),  # not before the start, although the week has begun
        ("2026-01-05 09:00:00", ("ann",)),
        ("2026-01-09 08:59:59", ("ann",)),
        ("2026-01-09 09:00:00", ("user2",)),  # Friday
        ("2026-01-16 09:00:00", ("cem",)),
    ],
)
def test_start_on_another_weekday_makes_the_first_week_short(at: str, expected: tuple[str, ...]) -> None:
    assert current(local(at, PARIS), rotation="weekly", weekday="friday") == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-05 09:00:00", ("ann",)),
        ("2026-01-05 20:59:59", ("ann",)),
        ("2026-01-05 21:00:00", ("user2",)),
        ("2026-01-06 09:00:00", ("cem",)),
        ("2026-06-05 09:00:00", ("cem",)),  # 302 half days later, in summer, still at 09:00
        ("2026-06-05 08:59:59", ("user2",)),
    ],
)
def test_turns_of_hours_stay_on_the_wall_clock(at: str, expected: tuple[str, ...]) -> None:
    assert current(local(at, PARIS), every_hours=12) == expected


@pytest.mark.parametrize(
    ("zone", "day", "turn_hours"),
    [
        (PARIS, "2026-03-28", 23),
        (PARIS, "2026-10-24", 25),
        (NEW_YORK, "2026-03-07", 23),
        (NEW_YORK, "2026-10-31", 25),
        (PARIS, "2026-07-01", 24),
    ],
)
def test_handoff_keeps_its_local_time_when_the_clocks_change(zone: str, day: str, turn_hours: int) -> None:
    begin = local(f"{day} 09:00", zone).astimezone(UTC)
    end = begin + timedelta(hours=turn_hours)
    moment = timedelta(microseconds=1)
    fields = {"users": ["ann", "user2"], "rotation": "daily", "start": day, "timezone": zone}

    assert current(begin - moment, **fields) == ()
    assert current(begin, **fields) == current(end - moment, **fields) == ("ann",)
    assert current(end, **fields) == ("user2",)
    assert end.astimezone(ZoneInfo(zone)).hour == 9


@pytest.mark.parametrize(
    ("zone", "start", "handoff", "second_turn_utc"),
    [
        # The hour that is skipped: read with winter's offset, so one hour later on the clock.
        (PARIS, "2026-03-28", "02:30", "2026-03-29T01:30:00+00:00"),
        (NEW_YORK, "2026-03-07", "02:30", "2026-03-08T07:30:00+00:00"),
        # The hour that comes twice: its first time.
        (PARIS, "2026-10-24", "02:30", "2026-10-25T00:30:00+00:00"),
        (NEW_YORK, "2026-10-31", "01:30", "2026-11-01T05:30:00+00:00"),
    ],
)
def test_handoff_within_a_clock_change_happens_once(zone: str, start: str, handoff: str, second_turn_utc: str) -> None:
    fields = {"users": ["ann", "user2"], "rotation": "daily", "start": start, "handoff": handoff, "timezone": zone}
    change = datetime.fromisoformat(second_turn_utc)
    seen = [current(change + timedelta(minutes=minutes), **fields) for minutes in range(-180, 180)]
    assert seen == [("ann",)] * 180 + [("user2",)] * 180


@given(
    minutes=st.integers(0, 3 * 366 * 24 * 60),
    zone=st.sampled_from([PARIS, NEW_YORK, "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "America/Sao_Paulo"]),
    handoff=st.times().map(lambda at: f"{at:%H:%M}"),
    rhythm=st.sampled_from(
        [{"rotation": "daily"}, {"rotation": "weekly", "weekday": "thursday"}]
        + [{"every_hours": hours} for hours in (1, 7, 12, 36)]
    ),
)
def test_turns_follow_each_other_without_a_step_back(
    minutes: int, zone: str, handoff: str, rhythm: dict[str, Any]
) -> None:
    """With so many users that none comes round again, the index of who is on call never falls and never skips far."""
    users = [f"user{number}" for number in range(100)]
    rotation = entry(layers=[{"users": users, "start": "2026-01-05", "handoff": handoff, "timezone": zone, **rhythm}])
    at = datetime(2026, 1, 7, tzinfo=UTC) + timedelta(minutes=minutes)
    indices = []
    for step in range(12):
        (user,) = on_call(rotation, at + timedelta(minutes=20 * step))
        indices.append(users.index(user))
    assert all((after - before) % 100 <= 2 for before, after in pairwise(indices))


def test_first_layer_answers_the_next_with_somebody_else_is_second_and_all_are_everybody() -> None:
    at = local("2026-01-06 12:00", PARIS)
    layers = [
        layer(rotation="daily", users=["zoe"], start="2027-01-01"),
        layer(rotation="daily"),
        layer(users=["user2"], every_hours=1),
        layer(rotation="weekly", users=["user4", "eve"]),
    ]
    rota = entry(layers=layers)
    assert on_call(rota, at) == ("user2",)
    assert second_on_call(rota, at) == ("user4",)
    assert everybody_on_call(rota, at) == ("user2", "user4")


def test_plain_list_has_no_second_answer() -> None:
    rota, at = entry(users=["ann", "user2"]), datetime(2026, 1, 1, tzinfo=UTC)
    assert (second_on_call(rota, at), everybody_on_call(rota, at)) == ((), ("ann", "user2"))


def test_override_of_the_entry_takes_the_place_of_the_layer_that_would_answer() -> None:
    span = {"user": "fay", "from": "2026-01-06T10:00:00Z", "until": "2026-01-06T12:00:00Z"}
    layers = [layer(rotation="daily"), layer(rotation="weekly", users=["user4"])]
    at = datetime(2026, 1, 6, 11, tzinfo=UTC)
    rota = entry(layers=layers, overrides=[span])
    assert (on_call(rota, at), second_on_call(rota, at), everybody_on_call(rota, at)) == (
        ("fay",),
        ("user4",),
        ("fay", "user4"),
    )
    alone = entry(layers=[layer(rotation="daily", start="2027-01-01")], overrides=[span])
    assert (on_call(alone, at), second_on_call(alone, at)) == (("fay",), ())


NIGHTS = {"days": ["friday", "saturday"], "from": "22:00", "to": "06:00"}


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-09 21:59:59", ()),  # Friday
        ("2026-01-09 22:00:00", ("ann",)),
        ("2026-01-10 05:59:59", ("ann",)),  # Saturday, in the range that began on Friday
        ("2026-01-10 06:00:00", ()),
        ("2026-01-11 05:59:59", ("ann",)),
        ("2026-01-11 22:00:00", ()),  # Sunday
        ("2026-01-16 23:00:00", ("user2",)),
    ],
)
def test_restricted_layer_is_on_call_only_inside_a_range_of_the_day_on_which_it_begins(
    at: str, expected: tuple[str, ...]
) -> None:
    assert current(local(at, PARIS), rotation="weekly", restrictions=[NIGHTS]) == expected


def test_range_without_days_is_every_day_and_the_same_time_is_a_whole_day() -> None:
    evenings = [{"from": "18:00", "to": "20:00"}]
    assert current(local("2026-01-07 19:00", PARIS), rotation="weekly", restrictions=evenings) == ("ann",)
    assert current(local("2026-01-07 20:00", PARIS), rotation="weekly", restrictions=evenings) == ()
    whole = [{"days": ["wednesday"], "from": "09:00", "to": "09:00"}]
    assert current(local("2026-01-07 08:59", PARIS), rotation="weekly", restrictions=whole) == ()
    assert current(local("2026-01-08 08:59", PARIS), rotation="weekly", restrictions=whole) == ("ann",)
    assert current(local("2026-01-08 09:00", PARIS), rotation="weekly", restrictions=whole) == ()


@pytest.mark.parametrize(
    ("zone", "day", "restriction", "inside_utc"),
    [
        # The night on which an hour is skipped: 02:30 is read with winter's offset, so the range begins at 03:30.
        (PARIS, "2026-03-29", ("02:30", "05:00"), ("01:30", "03:00")),
        (PARIS, "2026-03-29", ("02:30", "03:10"), None),  # its end comes first
        # The night on which an hour comes twice: the first 02:30 begins and ends.
        (PARIS, "2026-10-25", ("02:30", "05:00"), ("00:30", "04:00")),
        (PARIS, "2026-10-25", ("01:00", "02:30"), ("23:00-", "00:30")),
        (NEW_YORK, "2026-11-01", ("01:30", "02:30"), ("05:30", "07:30")),
    ],
)
def test_restriction_follows_the_clocks_when_they_change(
    zone: str, day: str, restriction: tuple[str, str], inside_utc: tuple[str, str] | None
) -> None:
    begin, end = restriction
    weekday = datetime.fromisoformat(day).strftime("%A").lower()
    fields = {
        "users": ["ann"], "rotation": "daily", "timezone": zone,
        "restrictions": [{"days": [weekday], "from": begin, "to": end}],
    }  # fmt: skip
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC)
    inside = [minute for minute in range(-240, 24 * 60) if current(midnight + timedelta(minutes=minute), **fields)]
    if inside_utc is None:
        assert inside == []
        return
    first, last = (int(text[:2]) * 60 + int(text[3:5]) - (24 * 60 if text.endswith("-") else 0) for text in inside_utc)
    assert inside == list(range(first, last))


def test_override_of_a_layer_holds_outside_of_its_restrictions() -> None:
    span = {"user": "fay", "from": "2026-01-07T10:00:00Z", "until": "2026-01-07T12:00:00Z"}
    fields = {"rotation": "weekly", "restrictions": [NIGHTS], "overrides": [span]}
    assert current(datetime(2026, 1, 7, 11, tzinfo=UTC), **fields) == ("fay",)
    assert current(datetime(2026, 1, 7, 12, tzinfo=UTC), **fields) == ()


def test_override_of_the_entry_answers_for_its_span() -> None:
    span = {"user": "fay", "from": "2026-01-06T10:00:00Z", "until": "2026-01-06T12:00:00Z"}
    for fields in ({"users": ["ann", "user2"]}, {"layers": [layer(rotation="daily"), layer(every_hours=1)]}):
        rota = entry(**fields, overrides=[span])
        plain = entry(**fields)
        for text, stands_in in [("09:59:59", False), ("10:00:00", True), ("11:59:59", True), ("12:00:00", False)]:
            at = datetime.fromisoformat(f"2026-01-06T{text}+00:00")
            assert on_call(rota, at) == (("fay",) if stands_in else on_call(plain, at))


def test_overlapping_overrides_all_stand_in() -> None:
    span = {"from": "2026-01-06T10:00:00Z", "until": "2026-01-06T12:00:00Z"}
    rota = entry(users=["ann"], overrides=[{"user": "fay", **span}, {"user": "user5", **span}, {"user": "fay", **span}])
    assert on_call(rota, datetime(2026, 1, 6, 11, tzinfo=UTC)) == ("fay", "user5")


def test_override_of_a_layer_replaces_that_layer_even_before_its_start() -> None:
    span = {"user": "fay", "from": "2026-01-01T00:00:00Z", "until": "2026-01-06T00:00:00Z"}
    rota = entry(layers=[layer(rotation="daily", overrides=[span]), layer(users=["user4"], rotation="daily")])
    assert everybody_on_call(rota, datetime(2026, 1, 2, tzinfo=UTC)) == ("fay",)
    assert everybody_on_call(rota, datetime(2026, 1, 5, 12, tzinfo=UTC)) == ("fay", "user4")
    assert everybody_on_call(rota, datetime(2026, 1, 6, 12, tzinfo=UTC)) == ("user2", "user4")


AT_ONCE = Step(0, (Group.ONCALL, Group.ADMINS))


@pytest.mark.parametrize("known", [None, entry(users=["ann"])])
def test_default_tells_on_call_and_admins_and_the_admins_again(known: OnCall | None) -> None:
    assert escalation(known, 300).steps == (AT_ONCE, Step(300, (Group.ADMINS,)))


def test_list_of_its_own_is_sorted_and_typed() -> None:
    steps = [
        {"after_s": 600, "notify": ["user:ann", "admins"], "channels": ["sms"]},
        {"after_s": 0, "notify": ["oncall"]},
    ]
    assert escalation(entry(users=["ann"], escalation=steps), 300).steps == (
        Step(0, (Group.ONCALL,)),
        Step(600, (User("ann"), Group.ADMINS), (Channel.SMS,)),
    )


def test_list_without_a_step_at_once_gets_the_default_one_in_the_first_round_only() -> None:
    rota = entry(users=["ann"], escalation=[{"after_s": 60, "notify": ["user:boss"]}], repeat=2)
    assert escalation(rota, 300).steps == (
        AT_ONCE,
        *(Step(after_s, (User("boss"),)) for after_s in (60, 120, 180)),
    )


def test_repeat_begins_a_round_when_the_last_step_is_due() -> None:
    steps = [
        {"after_s": 0, "notify": ["oncall"], "channels": ["push"]},
        {"after_s": 300, "notify": ["user:ann"]},
        {"after_s": 900, "notify": ["admins"]},
    ]
    laid_out = escalation(entry(users=["ann"], escalation=steps, repeat=1), 300).steps
    assert [(step.after_s, step.targets, step.channels) for step in laid_out] == [
        (0, (Group.ONCALL,), (Channel.PUSH,)),
        (300, (User("ann"),), None),
        (900, (Group.ADMINS,), None),
        (900, (Group.ONCALL,), (Channel.PUSH,)),
        (1200, (User("ann"),), None),
        (1800, (Group.ADMINS,), None),
    ]


def test_steps_of_one_time_and_the_same_channels_are_one() -> None:
    assert escalation(entry(users=["ann"], repeat=1), 300).steps == (
        AT_ONCE,
        Step(300, (Group.ADMINS, Group.ONCALL)),
        Step(600, (Group.ADMINS,)),
    )
    steps = [
        {"after_s": 0, "notify": ["oncall"], "channels": ["sms", "push"]},
        {"after_s": 0, "notify": ["admins", "oncall"], "channels": ["push", "sms"]},
    ]
    assert escalation(entry(users=["ann"], escalation=steps), 300).steps == (
        Step(0, (Group.ONCALL, Group.ADMINS), (Channel.SMS, Channel.PUSH)),
    )


def test_rounds_of_a_list_at_once_are_the_default_apart() -> None:
    rota = entry(users=["ann"], escalation=[{"after_s": 0, "notify": ["oncall"]}], repeat=2)
    assert [step.after_s for step in escalation(rota, 300).steps] == [0, 300, 600]


@pytest.mark.parametrize("after_s", [0, -1])
def test_default_wait_must_be_positive(after_s: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        escalation(None, after_s)


@given(
    st.lists(
        st.fixed_dictionaries({"after_s": st.integers(0, 7200), "notify": st.just(["oncall"])}), min_size=1, max_size=8
    ),
    st.integers(0, 100),
)
def test_escalation_begins_at_once_and_its_times_only_grow(steps: list[dict[str, Any]], repeat: int) -> None:
    laid_out = escalation(entry(users=["ann"], escalation=steps, repeat=repeat), 300).steps
    times = [step.after_s for step in laid_out]
    assert times[0] == 0
    assert all(before < after for before, after in pairwise(times))
    longest = max(step["after_s"] for step in steps)
    assert times[-1] == ((repeat + 1) * longest if longest else repeat * 300)

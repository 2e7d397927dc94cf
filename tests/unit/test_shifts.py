"""Shifts, gaps, and what each person bears: over random schedules they say what each moment says."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.fields import EARLIEST, LATEST
from shared.core.wall_clock import WEEKDAYS
from shared.directory.people import OnCall
from shared.directory.schedule import on_call
from shared.directory.shifts import FARTHEST, Load, Shift, gaps, loads, shift_at, shifts, whole_shifts

MOMENT = timedelta(microseconds=1)
USERS = st.lists(st.sampled_from(["ann", "ben", "cem", "dot"]), min_size=1, max_size=4)
# Half an hour's change, a change at midnight, a whole day that was skipped (2011), and none at all.
ZONES = st.sampled_from(
    ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kolkata"]
)
# Around changes of the clocks in each of these.
AROUND = st.sampled_from(
    [datetime(2026, month, day, tzinfo=UTC) for month, day in ((3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1))]
    + [datetime(2011, 12, 30, tzinfo=UTC), datetime(2018, 11, 4, tzinfo=UTC)]
)
TIMES = st.integers(0, 24 * 12 - 1).map(lambda step: f"{step // 12:02}:{step % 12 * 5:02}")
RHYTHMS = st.one_of(
    st.just({"rotation": "daily"}),
    st.sampled_from(WEEKDAYS).map(lambda day: {"rotation": "weekly", "weekday": day}),
    st.sampled_from([1, 5, 12, 36]).map(lambda hours: {"every_hours": hours}),
)
RESTRICTIONS = st.lists(
    st.fixed_dictionaries(
        {"from": TIMES, "to": TIMES},
        optional={"days": st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=4)},
    ),
    min_size=1,
    max_size=3,
)


def written(at: datetime) -> str:
    return at.isoformat()


def overrides(around: datetime) -> st.SearchStrategy[list[dict[str, str]]]:
    def span(values: tuple[str, int, int]) -> dict[str, str]:
        user, begin, minutes = values
        start = around + timedelta(minutes=begin)
        return {"user": user, "from": written(start), "until": written(start + timedelta(minutes=minutes))}

    one = st.tuples(st.sampled_from(["eve", "fay"]), st.integers(-6000, 6000), st.integers(1, 3000)).map(span)
    return st.lists(one, max_size=2)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[OnCall, datetime]:
    around = draw(AROUND)
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        start = (around - timedelta(days=draw(st.integers(-2, 40)))).date().isoformat()
        layer: dict[str, Any] = {"users": draw(USERS), "start": start, "handoff": draw(TIMES), "timezone": draw(ZONES)}
        layer |= draw(RHYTHMS) | {"overrides": draw(overrides(around))}
        if draw(st.booleans()):
            layer["restrictions"] = draw(RESTRICTIONS)
        layers.append(layer)
    entry = {"alert_type": "disk", "layers": layers, "overrides": draw(overrides(around))}
    return OnCall.model_validate(entry), around


@settings(max_examples=150, deadline=None)
@given(schedules(), st.lists(st.integers(0, 8 * 24 * 60 * 60 - 1), max_size=30))
def test_at_every_moment_there_is_one_answer_or_a_gap_that_is_named(
    drawn: tuple[OnCall, datetime], seconds: list[int]
) -> None:
    entry, around = drawn
    since = around - timedelta(days=4)
    until = around + timedelta(days=4)
    found = shifts(entry, since, until)

    assert (found[0].begin, found[-1].end) == (since, until)
    for before, after in pairwise(found):
        assert before.end == after.begin
        assert before.users != after.users
    for shift in found:
        assert shift.begin < shift.end
        assert on_call(entry, shift.begin) == on_call(entry, shift.end - MOMENT) == shift.users
    for at in (since + timedelta(seconds=each) for each in seconds):
        (stands_in,) = (shift for shift in found if shift.begin <= at < shift.end)
        assert stands_in.users == on_call(entry, at)
        named = any(gap.begin <= at < gap.end for gap in gaps(found))
        assert named == (on_call(entry, at) == ())


@settings(max_examples=50, deadline=None)
@given(schedules(), st.integers(0, 4 * 24 * 60))
def test_whole_shift_is_the_same_wherever_it_is_looked_at_from(drawn: tuple[OnCall, datetime], minutes: int) -> None:
    entry, around = drawn
    at = around + timedelta(minutes=minutes)
    now, later = shift_at(entry, at)
    assert now.begin <= at < now.end
    assert now.users == on_call(entry, at)
    assert (later is None) == (now.end == LATEST)
    if now.end - now.begin < FARTHEST:
        assert shift_at(entry, now.begin)[0] == shift_at(entry, now.end - MOMENT)[0] == now
        assert on_call(entry, now.begin - MOMENT) != now.users != on_call(entry, now.end)
    if later is not None:
        assert later.begin == now.end
    if later is not None and later.end - at < FARTHEST:
        assert later == shift_at(entry, later.begin)[0]
    assert whole_shifts(entry, at, at + timedelta(days=1))[0].begin == now.begin


def entry(**fields: object) -> OnCall:
    return OnCall.model_validate({"alert_type": "disk", **fields})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_gap_between_two_restricted_layers_is_named_to_the_minute() -> None:
    layer = {"rotation": "weekly", "start": "2026-01-05", "handoff": "00:00"}
    office = {**layer, "users": ["ann"], "restrictions": [{"from": "09:00", "to": "17:00"}]}
    night = {**layer, "users": ["ben"], "restrictions": [{"from": "18:30", "to": "09:00"}]}
    found = shifts(entry(layers=[office, night]), at("2026-01-07 12:00"), at("2026-01-08 12:00"))
    assert found == (
        Shift(("ann",), at("2026-01-07 12:00"), at("2026-01-07 17:00")),
        Shift((), at("2026-01-07 17:00"), at("2026-01-07 18:30")),
        Shift(("ben",), at("2026-01-07 18:30"), at("2026-01-08 09:00")),
        Shift(("ann",), at("2026-01-08 09:00"), at("2026-01-08 12:00")),
    )
    assert gaps(found) == found[1:2]
    # Nobody is left whom the directory knows.
    assert gaps(found, known={"ann"}) == found[1:3]


def test_shift_is_a_gap_only_if_none_of_its_people_is_known() -> None:
    (always,) = shifts(entry(users=["ann", "ben"]), at("2026-01-07"), at("2026-01-08"))
    assert gaps([always], known={"ben"}) == ()
    assert gaps([always], known=set()) == (always,)


def test_list_that_nothing_changes_neither_begins_nor_ends() -> None:
    now, later = shift_at(entry(users=["ann"]), at("2026-01-07"))
    assert (now, later) == (Shift(("ann",), EARLIEST, LATEST), None)


def test_no_time_has_no_shifts_and_a_time_that_runs_backwards_is_refused() -> None:
    assert shifts(entry(users=["ann"]), at("2026-01-07"), at("2026-01-07")) == ()
    assert whole_shifts(entry(users=["ann"]), at("2026-01-07"), at("2026-01-07")) == ()
    with pytest.raises(ValueError, match="before since"):
        shifts(entry(users=["ann"]), at("2026-01-08"), at("2026-01-07"))


def test_hours_are_real_and_nights_are_those_of_the_persons_own_clock() -> None:
    planned = [
        Shift(("ann",), at("2026-03-28 20:00"), at("2026-03-29 08:00")),  # one night in Paris, an hour shorter
        Shift(("ann", "ben"), at("2026-03-29 19:00"), at("2026-03-29 20:00")),  # 21:00 to 22:00 in Paris: no night
        Shift(("ann",), at("2026-03-29 20:00"), at("2026-03-29 20:05")),
        Shift(("ben",), at("2026-03-30 03:00"), at("2026-03-30 05:00")),  # 23:00 in New York: the evening of the 29th
        Shift((), at("2026-03-30 05:00"), at("2026-03-30 06:00")),
    ]
    assert loads(planned, {"ben": "America/New_York"}, "Europe/Paris") == (
        Load("ann", timedelta(hours=13, minutes=5), 2),
        Load("ben", timedelta(hours=3), 1),
    )


def test_several_shifts_of_one_night_are_one_night() -> None:
    hours = [at("2026-01-07 22:00") + timedelta(hours=step) for step in range(9)]
    planned = [Shift(("ann",) if number % 2 else ("ben",), *pair) for number, pair in enumerate(pairwise(hours))]
    assert [load.nights for load in loads(planned, {}, "UTC")] == [1, 1]

"""The calendar of who is on call: UTC, ids that stay, and links that open one calendar."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar, Event

from shared.directory.people import OnCall, Person
from shared.directory.rota import Rota
from shared.directory.rota_calendar import calendar, is_link_of, link_path, link_token

SECRET = "a secret of thirty-two characters"
AT = datetime(2026, 3, 25, 12, 34, 56, tzinfo=UTC)
LAYER = {"users": ["ann", "ben"], "rotation": "weekly", "start": "2026-01-05", "timezone": "Europe/Paris"}
PEOPLE = {"ann": Person(user_id="ann", name="Ann, of the night; shift"), "ben": Person(user_id="ben")}


def rota(**fields: object) -> Rota:
    entry = OnCall.model_validate({"alert_type": "disk", "layers": [LAYER], **fields})
    return Rota("disk", entry, PEOPLE)


def events(of: Rota, at: datetime = AT) -> list[Event]:
    return [each for each in Calendar.from_ical(calendar(of, at)).walk("VEVENT") if isinstance(each, Event)]


def test_events_follow_each_other_in_utc_across_the_change_of_the_clocks() -> None:
    written = calendar(rota(), AT)
    assert "DTSTART:20260323T080000Z\r\nDTEND:20260330T070000Z\r\n" in written
    assert "BEGIN:VTIMEZONE" not in written
    found = events(rota())
    assert found[0].start == datetime(2026, 2, 25, tzinfo=UTC)
    assert found[-1].end == datetime(2026, 6, 24, tzinfo=UTC)
    assert all(before.end == after.start for before, after in pairwise(found))
    assert {str(event["SUMMARY"]) for event in found} == {"Ann, of the night; shift", "ben"}


def test_ids_stay_as_time_goes_by_and_whoever_takes_the_shift() -> None:
    def ids(of: Rota, at: datetime) -> dict[date, str]:
        return {event.end: str(event["UID"]) for event in events(of, at)}

    first = ids(rota(), AT)
    assert len(set(first.values())) == len(first)
    for later in (timedelta(hours=1), timedelta(days=1), timedelta(days=13)):
        now = ids(rota(), AT + later)
        both = set(list(now)[:-1]) & set(list(first)[:-1])
        assert len(both) > 10
        assert {end: now[end] for end in both} == {end: first[end] for end in both}
    swapped = ids(rota(layers=[LAYER | {"users": ["ben", "ann"]}]), AT)
    assert swapped == first


def test_list_that_nothing_changes_is_one_event_with_one_id() -> None:
    always = rota(layers=None, users=["ann"])
    (event,), (later,) = events(always), events(always, AT + timedelta(days=30))
    assert event["UID"] == later["UID"]
    assert event.start == datetime(2026, 2, 25, tzinfo=UTC)


def test_gap_is_an_event_too_and_an_unknown_person_is_marked() -> None:
    office = LAYER | {"users": ["ann", "gone"], "restrictions": [{"from": "09:00", "to": "18:00"}]}
    assert {str(event["SUMMARY"]) for event in events(rota(layers=[office]))} == {
        "Nobody on call", "Nobody on call: gone (unknown)", "Ann, of the night; shift",
    }  # fmt: skip
    both = rota(layers=None, users=["gone", "ben"])
    assert [str(event["SUMMARY"]) for event in events(both)] == ["gone (unknown), ben"]


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_token_opens_the_calendar_that_it_was_signed_for_and_no_other(alert_type: str, other: str) -> None:
    token = link_token(SECRET, alert_type)
    assert is_link_of(SECRET, alert_type, token)
    assert is_link_of(SECRET, other, token) == (other == alert_type)
    assert not is_link_of(SECRET + "x", alert_type, token)
    assert not is_link_of(SECRET, alert_type, other)


@pytest.mark.parametrize("change", ["", "x", "=", "\n", "é", "\ud800"])
def test_changed_token_opens_nothing(change: str) -> None:
    token = link_token(SECRET, "disk")
    assert not is_link_of(SECRET, "disk", token + change if change else token[:-1])


def test_link_can_stand_in_an_address() -> None:
    path = link_path(SECRET, "50% /?#")
    assert path.startswith("/v1/oncall/50%25%20%2F%3F%23.ics?token=")

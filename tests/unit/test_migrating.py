"""What other products exported becomes records of ours: as expected, checked, and with everything lost named."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carillon.migrating import names, oncall, opsgenie, pagerduty
from carillon.migrating.composing import Imported
from carillon.migrating.documents import LARGEST_BYTES, Unreadable, parse
from carillon.migrating.people import BadTable, read_table
from carillon.migrating.weeks import DAY_MINUTES, WEEK_MINUTES, WeekRange, restrictions
from shared.core.wall_clock import WEEKDAYS
from shared.directory.people import OnCall, Person
from shared.directory.policies import NamedPolicy
from tests import exports

NOW = datetime(2026, 10, 6, tzinfo=UTC)
PARIS = "Europe/Paris"
READERS: list[tuple[Callable[[Sequence[Any], Mapping[str, str], datetime], Imported], dict[str, Any]]] = [
    (opsgenie.read, exports.OPSGENIE),
    (pagerduty.read, exports.PAGERDUTY),
    (oncall.read, exports.ONCALL),
]
PRODUCTS = pytest.mark.parametrize(("read", "export"), READERS, ids=["opsgenie", "pagerduty", "oncall"])


def entry(record: Mapping[str, Any]) -> OnCall:
    """Read an on-call record as the router does."""
    document = {"alert_type": record["oncall"], **record}
    del document["oncall"]
    return OnCall.model_validate(document)


def check(found: Imported) -> None:
    for record in json.loads(json.dumps(found.records)):
        if "user_id" in record:
            Person.model_validate(record)
        elif "policy" in record and "oncall" not in record:
            NamedPolicy.model_validate(record)
        else:
            entry(record)


def the(found: Imported, name: str) -> dict[str, Any]:
    """Return the first record that begins with this field."""
    return next(each for each in found.records if next(iter(each)) == name)


def lost(found: Imported) -> list[str]:
    return [str(each) for each in found.remarks.all_lost]


@PRODUCTS
def test_a_sample_is_carried_over_with_nothing_lost(
    read: Callable[[Sequence[Any], Mapping[str, str], datetime], Imported], export: dict[str, Any]
) -> None:
    found = read([export], {}, NOW)
    check(found)
    assert lost(found) == []
    # Each list in a file of its own comes to the same, in any order.
    apart = [{name: value} for name, value in reversed(export.items())]
    assert read(apart, {}, NOW).records == found.records


def test_a_schedule_of_opsgenie_tells_everybody_who_has_a_turn() -> None:
    found = opsgenie.read([exports.OPSGENIE], {}, NOW)
    assert the(found, "policy") == {
        "policy": "platform-page",
        "levels": [
            {"notify": ["oncall"], "every": True},
            {"after": "10m", "notify": ["group:platform-team-admins"]},
            {"after": "15m", "notify": ["oncall"], "every": True},
            {"after": "25m", "notify": ["group:platform-team-admins"]},
        ],
    }
    assert the(found, "oncall") == {
        "oncall": "platform-page",
        "layers": [
            {
                "users": ["user-one", "user-two"], "rotation": "weekly", "handoff": "09:00", "start": "2026-10-05",
                "timezone": PARIS, "restrictions": [{"days": [*WEEKDAYS[:5]], "from": "09:00", "to": "17:30"}],
                "overrides": [
                    {"user": "user-three", "from": "2026-10-20T08:00:00Z", "until": "2026-10-20T12:00:00Z"}
                ],
            },
            {
                "users": ["user-two", "user-three", "user-one"], "every_hours": 48, "handoff": "18:00",
                "start": "2026-10-05", "timezone": PARIS,
            },
        ],
        "policy": "platform-page",
    }  # fmt: skip
    assert found.records[2] == {
        "user_id": "user-two", "email": "user2@example.com", "name": "User Two", "phone": "+12025550143",
        "timezone": PARIS,
    }  # fmt: skip


def test_the_first_layer_that_pagerdutys_api_gives_stays_the_first() -> None:
    found = pagerduty.read([exports.PAGERDUTY], {}, NOW)
    assert the(found, "policy")["levels"] == [
        {"notify": ["oncall"]},
        {"after": "15m", "notify": ["user:user-three"]},
        {"after": "45m", "notify": ["oncall"]},
        {"after": "1h", "notify": ["user:user-three"]},
        {"after": "90m", "notify": ["oncall"]},
        {"after": "105m", "notify": ["user:user-three"]},
    ]
    week_end, always = the(found, "oncall")["layers"]
    assert week_end == {
        "users": ["user-one", "user-three"], "every_hours": 336, "handoff": "17:00", "start": "2026-09-18",
        "timezone": "America/New_York",
        "restrictions": [
            {"days": ["friday", "saturday"], "from": "17:00", "to": "17:00"},
            {"days": ["sunday"], "from": "17:00", "to": "08:00"},
        ],
        "overrides": [{"user": "user-two", "from": "2026-10-22T05:00:00Z", "until": "2026-10-22T14:00:00Z"}],
    }  # fmt: skip
    assert always["restrictions"] == [{"days": [*WEEKDAYS], "from": "06:00", "to": "00:00"}]
    assert (always["every_hours"], always["users"]) == (12, ["user-one", "user-two"])
    assert [each.problem for each in found.remarks.notes] == [
        "their alerts are to be published with this policy's type: Checkout"
    ]


def test_each_member_of_a_group_of_grafana_oncall_becomes_a_layer() -> None:
    found = oncall.read([exports.ONCALL], {}, NOW)
    layers = the(found, "oncall")["layers"]
    assert [each["users"] for each in layers] == [
        ["user3", "user1"], ["user3", "user2"],
        ["user1", "user2"], ["user2", "user1"], ["user1", "user2"],
        ["user2"], ["user3"],
    ]  # fmt: skip
    assert [each["start"] for each in layers[2:5]] == ["2026-10-05", "2026-10-07", "2026-10-09"]
    assert layers[2]["restrictions"] == [{"days": ["monday"], "from": "17:00", "to": "09:00"}]
    levels = the(found, "policy")["levels"]
    assert len(levels) == 2 * (1 + oncall.REPEATS)
    assert levels[:3] == [
        {"notify": ["oncall"], "every": True},
        {"after": "15m", "notify": ["user:user3"]},
        {"after": "20m", "notify": ["oncall"], "every": True},
    ]


def test_a_table_says_who_somebody_is_here() -> None:
    table = read_table({"PUSER1": "ada", "USER2@example.com": "grace"})
    found = pagerduty.read([exports.PAGERDUTY], table, NOW)
    assert [each["user_id"] for each in found.records if "user_id" in each] == ["ada", "grace", "user-three"]
    assert the(found, "oncall")["layers"][1]["users"] == ["ada", "grace"]


@pytest.mark.parametrize("table", [[], None, {"a": 1}, {"a": "b/c"}, {"a": ""}])
def test_a_table_of_anything_but_user_ids_is_one_error(table: object) -> None:
    with pytest.raises(BadTable, match=r"^--users: "):
        read_table(table)


def test_ids_are_readable_stable_and_differ() -> None:
    wanted = {"1": "Ana María", "2": "Ana Maria", "3": "Bo", "4": "", "5": "中村"}
    found = names.ids(wanted, taken=["bo"])
    assert len({*found.values(), "bo"}) == 6
    assert found["1"].startswith("ana-maria-")
    assert found["3"].startswith("bo-")
    assert names.ids(dict(reversed(wanted.items())), taken=["bo"]) == found


def test_somebody_who_is_only_named_is_reported() -> None:
    export = copy.deepcopy(exports.PAGERDUTY)
    del export["users"]
    found = pagerduty.read([export], {}, NOW)
    assert the(found, "oncall")["layers"][1]["users"] == ["user-one", "user-two"]
    assert [text for text in lost(found) if "is named and not in the export" in text] == lost(found) != []
    with_table = pagerduty.read([export], {key.casefold(): key.lower() for key in ("PUSER1", "PUSER2", "PUSER3")}, NOW)
    assert lost(with_table) == []


def changed(export: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    export = copy.deepcopy(export)
    change(export)
    return export


def rotation(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda export: export["schedules"]["data"][0]["rotations"][1].update(fields)


def rule(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda export: export["escalations"]["data"][0]["rules"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (rotation(participants=[{"type": "none"}, {"type": "user", "id": "u-1"}]), "is none, which has no turn here"),
        (rotation(participants=[]), "has nobody"),
        (rotation(length=3000, type="weekly"), "longer than a year"),
        (rotation(endDate="2027-01-01T00:00:00Z"), "ends at 2027-01-01T00:00Z"),
        (rotation(startDate="yesterday"), "startDate: must be a time"),
        (rotation(timeRestriction={"type": "new-moon"}), "timeRestriction: cannot be read"),
        (rotation(timeRestriction="nights"), "timeRestriction: cannot be read"),
        (rule(condition="if-not-closed"), "an acknowledgement ends it"),
        (rule(recipient={"type": "escalation", "id": "e-2"}), "nobody of it can be told; the admins are instead"),
        (rule(recipient={"type": "schedule", "id": "s-9"}), "a schedule that is not in the export"),
        (rule(recipient={"type": "team", "id": "t-1"}), "neither routing rules nor chance"),
        (rule(notifyType="next"), None),
    ],
)
def test_what_of_opsgenie_cannot_be_mapped_is_named(change: Callable[[dict[str, Any]], None], says: str | None) -> None:
    found = opsgenie.read([changed(exports.OPSGENIE, change)], {}, NOW)
    check(found)
    assert the(found, "policy")["levels"][1]["notify"] == ["group:platform-team-admins"]
    if says is None:
        assert lost(found) == []
    else:
        assert [text for text in lost(found) if says in text] != []


def test_whoever_comes_next_in_a_rotation_of_opsgenie_is_the_second_answer() -> None:
    def change(export: dict[str, Any]) -> None:
        del export["schedules"]["data"][0]["rotations"][0]
        del export["schedules"]["data"][0]["overrides"]
        rules = export["escalations"]["data"][0]["rules"]
        rules[1] = {**rules[0], "notifyType": "next", "delay": {"timeAmount": 1, "timeUnit": "hours"}}

    found = opsgenie.read([changed(exports.OPSGENIE, change)], {}, NOW)
    assert lost(found) == []
    assert [each["notify"] for each in the(found, "policy")["levels"][:2]] == [["oncall"], ["oncall:second"]]
    first, second = the(found, "oncall")["layers"]
    assert first["users"] == ["user-two", "user-three", "user-one"]
    assert second == {**first, "users": ["user-three", "user-one", "user-two"]}


@pytest.mark.parametrize("name", ["t-1", "Platform team"])
def test_a_table_may_say_who_takes_the_turns_of_a_team(name: str) -> None:
    people = [{"type": "team", "id": "t-1", "name": "Platform team"}, {"type": "user", "id": "u-1"}]
    export = changed(exports.OPSGENIE, rotation(participants=people))
    found = opsgenie.read([export], read_table({name: "ada"}), NOW)
    assert lost(found) == []
    assert the(found, "oncall")["layers"][1]["users"] == ["ada", "user-one"]
    assert "ada" not in [each.get("user_id") for each in found.records]


def layer(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda export: export["schedules"][0]["schedule_layers"][1].update(fields)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (layer(rotation_turn_length_seconds=5400), "not whole hours"),
        (layer(rotation_turn_length_seconds="a week"), "must be a whole number"),
        (layer(end="2027-01-01T00:00:00Z"), "a layer has no end"),
        (layer(start="2027-01-01T00:00:00Z"), "in the middle of a turn"),
        (layer(users=[{"user": None}, {"user": {"id": "PUSER1"}}]), "names nobody"),
        (layer(restrictions=[{"type": "monthly_restriction"}]), "a restriction that cannot be read"),
        (layer(restrictions=[7]), "a restriction that cannot be read"),
        (layer(restrictions="nights"), "a restriction that cannot be read"),
        (lambda export: export["users"][0].update(time_zone="Eastern"), "timezone: not a zone"),
        (lambda export: export["users"][1].update(email="nobody"), "email: not an address"),
        (lambda export: export["schedules"][0].pop("schedule_layers"), "export it with GET /schedules/{id}"),
        (lambda export: export["schedules"][0].update(time_zone="Moon"), "not a zone"),
        (
            lambda export: export["escalation_policies"][0]["escalation_rules"][0].update(
                escalation_rule_assignment_strategy={"type": "round_robin"}
            ),
            "not one in turn",
        ),
        (lambda export: export["escalation_policies"][0].update(num_loops=99), "the first 50 are written"),
    ],
)
def test_what_of_pagerduty_cannot_be_mapped_is_named(change: Callable[[dict[str, Any]], None], says: str) -> None:
    found = pagerduty.read([changed(exports.PAGERDUTY, change)], {}, NOW)
    check(found)
    assert [text for text in lost(found) if says in text] != []
    assert the(found, "policy")["levels"][1] == {"after": "15m", "notify": ["user:user-three"]}


def shift(number: int, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda export: export["on_call_shifts"]["results"][number].update(fields)


def step(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda export: export["escalation_policies"]["results"][2].update(fields)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (shift(0, frequency="monthly"), "days of the month"),
        (shift(0, interval=2), "no time of the week"),
        (shift(0, by_day=[7]), "names a day that is none"),
        (shift(0, until="2027-01-01T00:00:00"), "a layer has no end"),
        (shift(0, rotation_start="2026-10-12T09:00:00"), "turns are counted from start"),
        (shift(0, rolling_users=[["USER1", 7]]), "must hold strings alone"),
        (shift(0, level=2), "of several people on call at level 2"),
        (shift(2, type="single_event", start="2026-11-01T10:00:00"), "is written as an override"),
        (lambda export: export["on_call_shifts"]["results"].pop(), "a shift is not in the export"),
        (lambda export: export["schedules"]["results"][0].update(type="ical"), "the admins are instead"),
        (
            lambda export: export["schedules"]["results"][0].update(ical_url_overrides="https://example.com/a.ics"),
            "a calendar at another address",
        ),
        (step(important=True), "rules for important alerts"),
        (step(type="trigger_webhook"), "trigger_webhook has no counterpart"),
        (step(type="notify_if_time_from_to"), "notify_if_time_from_to has no counterpart"),
        (step(type="notify_person_next_each_time", persons_to_notify_next_each_time=["USER1"]), "not one in turn"),
        (step(type="notify_user_group", group_to_notify="G1"), "stands in Slack; the group g1 is told"),
    ],
)
def test_what_of_grafana_oncall_cannot_be_mapped_is_named(change: Callable[[dict[str, Any]], None], says: str) -> None:
    found = oncall.read([changed(exports.ONCALL, change)], {}, NOW)
    check(found)
    assert [text for text in lost(found) if says in text] != []


def test_what_has_ended_is_a_note_and_nothing_lost() -> None:
    export = changed(exports.PAGERDUTY, layer(end="2026-10-05T00:00:00Z"))
    found = pagerduty.read([export], {}, NOW)
    assert lost(found) == []
    assert "has ended; left out" in [each.problem for each in found.remarks.notes]


def test_a_file_of_opsgenies_backup_is_read() -> None:
    schedule = copy.deepcopy(exports.OPSGENIE["schedules"]["data"][0])
    overrides = schedule.pop("overrides")
    rotations = schedule["rotations"]
    for each in rotations:
        each["startDate"] = round(datetime.fromisoformat(each["startDate"]).timestamp() * 1000)
    files = [
        {"schedule": schedule, "scheduleOverrideList": overrides},
        *({"user": each, "notificationRuleList": []} for each in exports.OPSGENIE["users"]["data"]),
        *({"team": each, "teamRoutingRules": [], "teamRoles": []} for each in exports.OPSGENIE["teams"]["data"]),
        *exports.OPSGENIE["escalations"]["data"],
    ]
    found = opsgenie.read(files, {}, NOW)
    assert lost(found) == []
    assert found.records == opsgenie.read([exports.OPSGENIE], {}, NOW).records


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 200_000, b"\xff\xfe", b"1" * 5000, b'"\\ud800"x'])
def test_what_is_no_json_is_one_error(content: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^export\.json: not JSON$"):
        parse(content, "export.json")


def test_a_file_that_is_too_large_is_one_error() -> None:
    with pytest.raises(Unreadable, match="larger than 64 MiB"):
        parse(b" " * (LARGEST_BYTES + 1), "export.json")


@PRODUCTS
@pytest.mark.parametrize("document", [None, [], {}, 7, "text", [[{}]], {"data": {}}, {"things": [{"id": "1"}]}])
def test_an_export_of_nothing_is_one_error(
    read: Callable[[Sequence[Any], Mapping[str, str], datetime], Imported], export: dict[str, Any], document: object
) -> None:
    assert export
    with pytest.raises(Unreadable, match="the export holds no"):
        read([document], {}, NOW)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(
        ["", "\ud800", "a/b", "2026-10-05T07:00:00", "9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00Z", "25:00:00",
         "\x00\x1b[31m", 10**18, -1, 0, 1e308, "user", "weekly", "U" * 500]
    )
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(document: Any, *before: Any) -> list[tuple[Any, ...]]:
    """List the ways to every value."""
    found = [before] if before else []
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            found += places(value, *before, key)
    return found


@st.composite
def mangled(draw: st.DrawFn, export: dict[str, Any]) -> dict[str, Any]:
    """Return an export in which some values were exchanged, taken out or put twice."""
    document = copy.deepcopy(export)
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from(places(document)))
        parent: Any = document
        for key in way:
            parent = parent[key]
        match draw(st.sampled_from(["exchange", "take out", "twice"])):
            case "exchange":
                parent[last] = draw(VALUES)
            case "twice" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
            case _:
                del parent[last]
        if not document:
            break
    return document


@PRODUCTS
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_mangled_export_is_an_error_or_a_report(
    read: Callable[[Sequence[Any], Mapping[str, str], datetime], Imported], export: dict[str, Any], data: st.DataObject
) -> None:
    document = data.draw(mangled(export))
    try:
        found = read([document], {}, NOW)
    except Unreadable:
        return
    check(found)
    for remark in (*found.remarks.all_lost, *found.remarks.notes):
        assert remark.place
        assert remark.problem


@given(
    st.lists(
        st.builds(WeekRange, st.integers(0, WEEK_MINUTES - 1), st.integers(1, WEEK_MINUTES + 100)),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_restrictions_hold_at_the_minutes_of_their_ranges(ranges: list[WeekRange]) -> None:
    expected = {
        (each.begin + step) % WEEK_MINUTES for each in ranges for step in range(min(each.minutes, WEEK_MINUTES))
    }
    found = set()
    written = restrictions(ranges)
    for each in written or []:
        begin, end = (time.fromisoformat(str(each[name])) for name in ("from", "to"))
        minutes = ((end.hour * 60 + end.minute) - (begin.hour * 60 + begin.minute)) % DAY_MINUTES or DAY_MINUTES
        days = each["days"]
        assert isinstance(days, list)
        for day in days:
            first = WEEKDAYS.index(day) * DAY_MINUTES + begin.hour * 60 + begin.minute
            found |= {(first + step) % WEEK_MINUTES for step in range(minutes)}
    assert (expected == found) if written is not None else len(expected) == WEEK_MINUTES


@pytest.mark.parametrize(
    ("read", "export", "answer", "page"),
    [
        (opsgenie.read, exports.OPSGENIE, "users", {"paging": {"next": "https://example.com/2"}}),
        (oncall.read, exports.ONCALL, "users", {"next": "https://example.com/2"}),
    ],
)
def test_a_list_whose_last_page_is_missing_is_named(
    read: Callable[[Sequence[Any], Mapping[str, str], datetime], Imported], export: dict[str, Any], answer: str,
    page: dict[str, Any],
) -> None:  # fmt: skip
    first = {**export, answer: {**export[answer], **page}}
    assert [text for text in lost(read([first], {}, NOW)) if "last page" in text] == [
        "lost: user list: its last page is not in the export (export every page)"
    ]
    assert lost(read([first, {answer: export[answer]}], {}, NOW)) == []


def test_a_list_of_pagerduty_whose_last_page_is_missing_is_named() -> None:
    rest = {name: value for name, value in exports.PAGERDUTY.items() if name != "users"}
    page = {"users": exports.PAGERDUTY["users"], "more": True}
    assert [text for text in lost(pagerduty.read([rest, page], {}, NOW)) if "last page" in text] != []
    assert lost(pagerduty.read([rest, page, {**page, "more": False}], {}, NOW)) == []


def test_of_a_schedule_that_stands_in_a_list_too_the_one_with_the_layers_is_read() -> None:
    listed = {"schedules": [{key: exports.PAGERDUTY["schedules"][0][key] for key in ("id", "name", "time_zone")}]}
    for documents in ([listed, exports.PAGERDUTY], [exports.PAGERDUTY, listed]):
        assert lost(pagerduty.read(documents, {}, NOW)) == []


def test_overrides_that_name_no_schedule_are_lost() -> None:
    answer = {"overrides": [{"id": "O1", "start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z"}]}
    assert [text for text in lost(pagerduty.read([exports.PAGERDUTY, answer], {}, NOW)) if "names no schedule" in text]
    other = {"data": exports.OPSGENIE["schedules"]["data"][0]["overrides"]}
    assert [text for text in lost(opsgenie.read([exports.OPSGENIE, other], {}, NOW)) if "names no schedule" in text]


def test_a_schedule_that_no_policy_names_still_tells_everybody_with_a_turn() -> None:
    found = opsgenie.read([{"schedules": exports.OPSGENIE["schedules"], "users": exports.OPSGENIE["users"]}], {}, NOW)
    check(found)
    assert the(found, "policy") == {
        "policy": "platform",
        "levels": [{"notify": ["oncall", "admins"], "every": True}, {"after": "5m", "notify": ["admins"]}],
    }
    assert the(found, "oncall")["policy"] == "platform"


def test_two_schedules_of_one_policy_are_two_answers_and_a_third_is_named() -> None:
    def change(export: dict[str, Any]) -> None:
        first = export["schedules"][0]
        first["schedule_layers"] = [{**first["schedule_layers"][1], "restrictions": []}]
        for number in (2, 3):
            export["schedules"].append({**first, "id": f"PSCHED{number}", "name": f"Shop {number}"})
            export["escalation_policies"][0]["escalation_rules"].append(
                {"escalation_delay_in_minutes": 5, "targets": [{"id": f"PSCHED{number}", "type": "schedule_reference"}]}
            )

    found = pagerduty.read([changed(exports.PAGERDUTY, change)], {}, NOW)
    check(found)
    levels = the(found, "policy")["levels"]
    assert [each["notify"] for each in levels[:4]] == [
        ["oncall"], ["user:user-three"], ["oncall:second"], ["admins"],
    ]  # fmt: skip
    assert [text.partition("tells a third schedule, ")[2][:17] for text in lost(found) if "a third" in text] == [
        'schedule "Shop 3"'
    ]
    assert {each["oncall"]: len(each["layers"]) for each in found.records if "oncall" in each} == {
        "shop": 2,
        "shop-3": 1,
    }


def test_an_entry_that_is_too_large_to_publish_is_named() -> None:
    def change(export: dict[str, Any]) -> None:
        users = [{"user": {"id": f"P{number}", "summary": "n" * 80 + str(number)}} for number in range(100)]
        one = {**export["schedules"][0]["schedule_layers"][1], "users": users}
        export["schedules"][0]["schedule_layers"] = [one] * 20

    found = pagerduty.read([changed(exports.PAGERDUTY, change)], {}, NOW)
    check(found)
    assert 'lost: oncall "shop": is larger than a publish may be; left out (divide it)' in lost(found)


def test_what_is_said_of_people_names_no_address_and_no_name() -> None:
    def change(export: dict[str, Any]) -> None:
        export["users"][0] |= {"email": "secret-address", "name": "\x00Some Body", "contact_methods": "secret-number"}
        export["users"][1] |= {"id": None}

    found = pagerduty.read([changed(exports.PAGERDUTY, change)], {}, NOW)
    assert len(lost(found)) >= 4
    assert [text for text in lost(found) if "secret" in text or "@" in text or "Some Body" in text] == []

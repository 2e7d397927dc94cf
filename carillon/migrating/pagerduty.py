"""PagerDuty: schedules, escalation policies and users as its REST API gives them.

Read for it: the REST API v2 schema (developer.pagerduty.com/api-reference: Get a schedule, List escalation policies,
List users), "Schedule Basics" (support.pagerduty.com/docs/schedules), and two readers of the same answers:
``resource_pagerduty_schedule.go`` of PagerDuty/terraform-provider-pagerduty and
``tools/migrators/lib/pagerduty/resources/schedules.py`` of grafana/oncall.

- A schedule has one person on call. In its final schedule the last layer on the page wins. The API gives the layers
  in the reverse order (both readers turn them round), so the first of the list wins, as here. The order is kept.
- A layer: turns of ``rotation_turn_length_seconds`` are counted from ``rotation_virtual_start``, on the clock of the
  schedule's ``time_zone``. ``restrictions`` are of the day, or of the week, whose day 1 is Monday.
- An override, of ``overrides`` or of ``overrides_subschedule``, takes the place of whoever would be on call.
- An escalation policy: its first rule is told at once, and each other one when the delay of the rule before is over.
  The delay of the last rule is the wait before the next of ``num_loops`` repeats.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

from carillon.migrating.composing import Composing, Imported, Level, OfSchedule, OfUser, Policy, Schedule, Target
from carillon.migrating.documents import Node, Unreadable, called, objects, unfinished
from carillon.migrating.people import Foreigner, People
from carillon.migrating.remarks import Remarks
from carillon.migrating.turns import Absence, Layer, layer, minute_of_the_day
from carillon.migrating.weeks import DAY_MINUTES, WEEK_MINUTES, WeekRange, every_day
from carillon.migrating.zones import zone_name

_REFERENCES = {"user_reference": "user", "schedule_reference": "schedule"}
_PHONES = ("phone_contact_method", "sms_contact_method")
_TIME_OF_DAY = re.compile(r"(\d\d):(\d\d)(?::(\d\d))?Z?", re.ASCII)


def read(documents: Sequence[Any], table: Mapping[str, str], now: datetime) -> Imported:
    """Turn what was exported into records.

    Args:
        documents: parsed JSON of any shape.
        table: which foreign id, address or username is which user here, in lower case.
        now: what ended before is left out.

    Raises:
        Unreadable: there is nothing of PagerDuty in them.
    """
    remarks = Remarks()
    found: dict[str, dict[str, Node]] = {kind: {} for kind in ("user", "schedule", "escalation policy")}
    for listed, value in objects(documents):
        kind = _kind(listed, value)
        node = Node(value, called(kind or "object", value), remarks)
        if kind in found:
            key = node.text("id") or str(len(found[kind]))
            # Of a schedule that is in a list, too, the one with the layers.
            if "schedule_layers" in value or "schedule_layers" not in found[kind].get(key, node).value:
                found[kind][key] = node
        elif kind == "override":
            node.lost("", "names no schedule; left out", "put it into the field overrides of its schedule")
        else:
            node.note("", "is no schedule, escalation policy or user; left out")
    users, schedules, policies = (list(each.values()) for each in found.values())
    if not (users or schedules or policies):
        raise Unreadable("the export holds no schedules, escalation policies or users of PagerDuty")
    people = People([*filter(None, (_user(node) for node in users))], table, remarks)
    for kind in unfinished(documents, _kind):
        remarks.lost(f"{kind} list", "", "its last page is not in the export", "export every page")
    composing = Composing(people, remarks)
    composing.schedules += filter(None, (_schedule(node, people, now) for node in schedules))
    composing.policies += filter(None, (_policy(node, people) for node in policies))
    return composing.imported(now)


def _kind(listed: str, value: Mapping[str, Any]) -> str:
    if "escalation_rules" in value or listed.startswith("escalation_polic"):
        return "escalation policy"
    if "schedule_layers" in value or listed in ("schedules", "schedule"):
        return "schedule"
    if listed == "overrides":
        return "override"
    return "user" if "email" in value or listed in ("users", "user") else ""


def _user(node: Node) -> Foreigner | None:
    key = node.text("id")
    if key is None:
        node.lost("id", "required; left out")
        return None
    phone = None
    for method in node.nodes("contact_methods"):
        if method.value.get("type") in _PHONES and phone is None:
            country, number = method.whole("country_code"), method.text("address")
            phone = f"+{country}{re.sub(r'[^0-9]', '', number)}" if country and number else None
    return Foreigner(
        key, name=node.text("name") or node.text("summary"), email=node.text("email"), phone=phone,
        timezone=node.text("time_zone"),
    )  # fmt: skip


def _mentioned(node: Node | None, people: People) -> str | None:
    if node is None:
        return None
    return people.mention(
        node.text("id"), name=node.text("summary") or node.text("name"), email=node.text("email")
    )  # fmt: skip


def _schedule(node: Node, people: People, now: datetime) -> Schedule | None:
    key = node.text("id")
    if key is None:
        node.lost("id", "required; left out")
        return None
    if "schedule_layers" not in node.value:
        node.lost(
            "schedule_layers", "missing, as in a list of schedules; left out", "export it with GET /schedules/{id}"
        )
        return None
    zone = zone_name(node.text("time_zone"))
    if zone is None:
        node.lost("time_zone", "missing or not a zone of the IANA database; UTC is written")
        zone = "UTC"
    layers = [each for part in node.nodes("schedule_layers") if (each := _layer(part, people, zone, now))]
    overrides = _overrides(node, people)
    if layers and overrides:
        layers[0] = replace(layers[0], overrides=tuple(overrides))
    return Schedule(key, node.text("name") or node.text("summary") or key, tuple(layers))


def _layer(node: Node, people: People, zone: str, now: datetime) -> Layer | None:
    users = []
    for each in node.nodes("users"):
        user = _mentioned(each.node("user") or each, people)
        if user is None:
            each.lost("user", "names nobody; the others' turns move up")
        else:
            users.append(user)
    first = node.moment("rotation_virtual_start", zone) or node.moment("start", zone)
    turn = node.whole("rotation_turn_length_seconds")
    if first is None or not turn:
        node.lost("", "rotation_virtual_start and rotation_turn_length_seconds are required; left out")
        return None
    ranges: list[WeekRange] | None = None
    listed = node.all_nodes("restrictions")
    restrictions = None if listed is None else [_restriction(each) for each in listed]
    if restrictions is None or None in restrictions:
        # Without it the layer would be on call where it is not to be.
        node.lost("", "has a restriction that cannot be read; left out")
        return None
    if restrictions:
        ranges = [one for each in restrictions for one in each or ()]
    return layer(
        node, users=users, first=first, turn=timedelta(seconds=turn), zone=zone, begins=node.moment("start", zone),
        ends=node.moment("end", zone), ranges=ranges, now=now,
    )  # fmt: skip


def _restriction(node: Node) -> list[WeekRange] | None:
    kind, seconds = node.text("type"), node.whole("duration_seconds")
    found = _TIME_OF_DAY.fullmatch(node.text("start_time_of_day") or "")
    if found is None or not seconds or int(found[1]) > 23 or int(found[2]) > 59:
        return None
    if (found[3] or "00") != "00" or seconds % 60:
        node.lost("", "has seconds; they are left out")
    begin, minutes = minute_of_the_day(time(int(found[1]), int(found[2]))), seconds // 60
    if minutes == 0:
        return None
    if kind == "daily_restriction":
        return every_day(begin, min(minutes, DAY_MINUTES))
    day = node.whole("start_day_of_week")
    if kind != "weekly_restriction" or day is None or not 1 <= day <= 7:
        return None
    return [WeekRange((day - 1) * DAY_MINUTES + begin, min(minutes, WEEK_MINUTES))]


def _overrides(node: Node, people: People) -> list[Absence]:
    listed = node.nodes("overrides")
    subschedule = node.node("overrides_subschedule")
    if not listed and subschedule is not None:
        listed = subschedule.nodes("rendered_schedule_entries")
    found = []
    for each in listed:
        user, begin, end = _mentioned(each.node("user"), people), each.moment("start"), each.moment("end")
        if user is None or begin is None or end is None:
            each.lost("", "user, start and end are required; left out")
        else:
            found.append(Absence(user, begin, end))
    return found


def _policy(node: Node, people: People) -> Policy | None:
    key = node.text("id")
    rules = node.nodes("escalation_rules")
    if key is None or not rules:
        node.lost("", "id and escalation_rules are required; left out")
        return None
    levels, after = [], timedelta()
    for rule in rules:
        found = (_target(target, people) for target in rule.nodes("targets"))
        targets = [each for each in found if each is not None]
        strategy = rule.node("escalation_rule_assignment_strategy")
        if strategy is not None and strategy.text("type") not in (None, "assign_to_everyone"):
            rule.lost("escalation_rule_assignment_strategy", "everybody of it is told, and not one in turn")
        levels.append(Level(after, tuple(targets)))
        delay = rule.whole("escalation_delay_in_minutes")
        if delay is None:
            rule.lost("escalation_delay_in_minutes", "missing; 30 minutes are written")
        after += timedelta(minutes=30 if delay is None else delay)
    services = [
        " ".join(each.split()) for part in node.nodes("services") if (each := part.text("summary") or part.text("name"))
    ]
    if services:
        node.note("services", f"their alerts are to be published with this policy's type: {', '.join(services)[:200]}")
    return Policy(
        key,
        node.text("name") or node.text("summary") or key,
        node.place,
        tuple(levels),
        node.whole("num_loops") or 0,
        after,
    )


def _target(node: Node, people: People) -> Target | None:
    kind = node.text("type") or ""
    kind = _REFERENCES.get(kind, kind)
    key = node.text("id")
    if kind == "schedule" and key is not None:
        return OfSchedule(key)
    if kind == "user" and (user := _mentioned(node, people)) is not None:
        return OfUser(user)
    node.lost("", "is neither a user nor a schedule; nobody is told in its place")
    return None

"""Opsgenie: schedules, escalations, users and teams as its API or its configuration backup give them.

Read for it: docs.opsgenie.com (Schedule API, Schedule Rotation API, Schedule Override API, Escalation API, User API,
Team API), "How do escalations work in Opsgenie?" (support.atlassian.com/opsgenie/docs), the classes that
opsgenie/opsgenie-configuration-backup writes (``dto/ScheduleConfig.java``, ``UserConfig.java``, ``TeamConfig.java``),
and the models of iksaif/opsgenie_swagger.

- Everybody who has a turn in any rotation of a schedule is told. So a level of ours has ``every``, unless at most one
  rotation has somebody at any time.
- A rotation: turns of ``length`` hours, days or weeks from ``startDate``, on the clock of the schedule's ``timezone``.
  ``timeRestriction`` is ``time-of-day`` with one ``restriction``, or ``weekday-and-time-of-day`` with several
  ``restrictions``, each of which may last from one day into a later one.
- A participant is a user. Teams, escalations and ``none`` have no turn here: the others' turns move up.
- An override stands in for the rotations that it names, or for all.
- A rule of an escalation is told ``delay`` after the alert, whatever the rules before it say. ``repeat`` begins again
  ``waitInterval`` minutes after the last rule, ``count`` times.
- ``notifyType`` of a schedule: ``default`` is who is on call, ``next`` and ``previous`` are those whose turn comes one
  later or was one before. Of a team: ``all``, ``users`` and ``admins`` are groups of ours, ``random`` is ``all``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from carillon.migrating.composing import (
    Composing,
    Imported,
    Level,
    OfGroup,
    OfSchedule,
    OfUser,
    Policy,
    Schedule,
    Target,
)
from carillon.migrating.documents import Node, Unreadable, called, objects, unfinished
from carillon.migrating.names import ids
from carillon.migrating.people import Foreigner, People
from carillon.migrating.remarks import Remarks
from carillon.migrating.turns import DAY, WEEK, Absence, Layer, layer
from carillon.migrating.weeks import DAY_MINUTES, WEEK_MINUTES, WeekRange, every_day
from carillon.migrating.zones import zone_name
from shared.core.wall_clock import WEEKDAYS

_LENGTHS = {"hourly": timedelta(hours=1), "daily": DAY, "weekly": WEEK}
_UNITS = {"minutes": timedelta(minutes=1), "hours": timedelta(hours=1), "days": DAY, "seconds": timedelta(seconds=1)}
_STEPS = {"default": 0, "next": 1, "previous": -1}
_PHONES = ("voice", "sms")
# Whom of a team a rule tells: what is added to the group's id.
_ROLES = {"all": "", "users": "-users", "admins": "-admins"}


def read(documents: Sequence[Any], table: Mapping[str, str], now: datetime) -> Imported:
    """Turn what was exported into records.

    Args:
        documents: parsed JSON of any shape.
        table: which foreign id, address or username is which user here, in lower case.
        now: what ended before is left out.

    Raises:
        Unreadable: there is nothing of Opsgenie in them.
    """
    remarks = Remarks()
    found: dict[str, dict[str, Node]] = {kind: {} for kind in ("schedule", "escalation", "user", "team")}
    for listed, value in _opened(documents):
        kind = _kind(listed, value)
        node = Node(value, called(kind or "object", value), remarks)
        if kind in found:
            key = node.text("id") or node.text("name") or node.text("username") or str(len(found[kind]))
            # Of a team that is in a list, too, the one with members.
            if len(value) >= len(found[kind].get(key, node).value):
                found[kind][key] = node
        elif kind == "override":
            node.lost("", "names no schedule; left out", "put it into the field overrides of its schedule")
        else:
            node.note("", "is no schedule, escalation, user or team; left out")
    if not any(found.values()):
        raise Unreadable("the export holds no schedules, escalations, users or teams of Opsgenie")
    teams = _Teams([*found["team"].values()])
    people = People([*filter(None, (_user(node, teams) for node in found["user"].values()))], table, remarks)
    for kind in unfinished(documents, _kind):
        remarks.lost(f"{kind} list", "", "its last page is not in the export", "export every page")
    composing = Composing(people, remarks)
    composing.schedules += filter(None, (_schedule(node, people, now) for node in found["schedule"].values()))
    composing.policies += filter(None, (_policy(node, people, teams) for node in found["escalation"].values()))
    return composing.imported(now)


def _opened(documents: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the objects; the backup puts a schedule beside its overrides."""
    for document in documents:
        for each in document if isinstance(document, list) else [document]:
            if isinstance(each, dict) and isinstance(each.get("schedule"), dict) and "scheduleOverrideList" in each:
                yield "schedules", {**each["schedule"], "overrides": each["scheduleOverrideList"]}
            elif isinstance(each, dict) and isinstance(each.get("user"), dict) and "notificationRuleList" in each:
                yield "users", each["user"]
            elif isinstance(each, dict) and isinstance(each.get("team"), dict) and "teamRoutingRules" in each:
                yield "teams", each["team"]
            else:
                yield from objects([[each] if isinstance(document, list) else each])


def _kind(listed: str, value: Mapping[str, Any]) -> str:
    if listed.rstrip("s") in ("schedule", "escalation", "user", "team"):
        return listed.rstrip("s")
    if "startDate" in value and "user" in value:
        return "override"
    if "rotations" in value or "timezone" in value:
        return "schedule"
    # A maintenance has rules, too.
    if "rules" in value and "time" not in value:
        return "escalation"
    if "username" in value:
        return "user"
    return "team" if "members" in value else ""


class _Teams:
    """The teams of an export: groups of ours, and who is in them."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._names: dict[str, str] = {}
        self._members: dict[str, list[tuple[str, str]]] = {}
        self._without_members: set[str] = set()
        for node in nodes:
            key = node.text("id") or node.text("name")
            if key is None:
                node.lost("id", "required; left out")
                continue
            self._names[key] = node.text("name") or key
            for member in node.nodes("members"):
                who = member.node("user")
                role = "-admins" if (member.text("role") or "").casefold() == "admin" else "-users"
                for reference in (who.text("id"), who.text("username")) if who is not None else ():
                    if reference:
                        self._members.setdefault(reference.casefold(), []).append((key, role))
            if "members" not in node.value:
                self._without_members.add(key)
        self._ids = ids(self._names)

    def groups(self, *references: str | None) -> tuple[str, ...]:
        """Return the groups of somebody, by what references say."""
        of = [each for reference in references if reference for each in self._members.get(reference.casefold(), [])]
        return tuple(dict.fromkeys(f"{self._ids[key]}{role}" for key, own in of for role in ("", own)))

    def group(self, node: Node) -> str | None:
        """Return the group of the team that is named; None where it is not in the export."""
        key, name = node.text("id"), node.text("name")
        if key not in self._names:
            key = next((each for each, called_ in self._names.items() if name and called_ == name), None)
        if key in self._without_members:
            node.lost("", "who is in the team is not in the export", "export it with GET /v2/teams/{id}")
        return None if key is None else self._ids[key]


def _user(node: Node, teams: _Teams) -> Foreigner | None:
    username = node.text("username")
    key = node.text("id") or username
    if key is None:
        node.lost("id", "required; left out")
        return None
    phone = None
    for contact in node.nodes("userContacts") or node.nodes("contacts"):
        method = (contact.text("contactMethod") or contact.text("method") or "").casefold()
        number = contact.text("to")
        if method in _PHONES and number and phone is None:
            # The API writes 1-5551234567: the country's code, then the number.
            phone = "+" + re.sub(r"[^0-9]", "", number)
    if node.flag("blocked"):
        node.note("blocked", "is blocked in Opsgenie; written all the same")
    return Foreigner(
        key, name=node.text("fullName"), email=username if username and "@" in username else None, username=username,
        phone=phone, timezone=node.text("timeZone") or node.text("timezone"),
        groups=teams.groups(node.text("id"), username),
    )  # fmt: skip


def _mentioned(node: Node | None, people: People) -> str | None:
    if node is None:
        return None
    username = node.text("username") or (node.text("name") if node.text("type") == "user" else None)
    return people.mention(node.text("id"), email=username if username and "@" in username else None, name=username)


def _schedule(node: Node, people: People, now: datetime) -> Schedule | None:
    key = node.text("id") or node.text("name")
    if key is None:
        node.lost("id", "required; left out")
        return None
    if node.flag("enabled") is False:
        node.note("enabled", "is off in Opsgenie; left out")
        return None
    if "rotations" not in node.value:
        node.lost("rotations", "missing; left out", "export it with GET /v2/schedules?expand=rotation")
        return None
    zone = zone_name(node.text("timezone"))
    if zone is None:
        node.lost("timezone", "missing or not a zone of the IANA database; UTC is written")
        zone = "UTC"
    layers = [
        (part.text("id"), each) for part in node.nodes("rotations") if (each := _rotation(part, people, zone, now))
    ]
    overrides = _overrides(node, people, now)
    written = tuple(
        replace(each, overrides=tuple(absence for absence, only in overrides if not only or rotation in only))
        for rotation, each in layers
    )
    for _, only in overrides:
        if only and not only & {rotation for rotation, _ in layers}:
            node.lost("overrides", "one is for a rotation that is not written; left out")
    return Schedule(key, node.text("name") or key, written, together=True)


def _rotation(node: Node, people: People, zone: str, now: datetime) -> Layer | None:
    users = []
    for each in node.nodes("participants"):
        kind = (each.text("type") or "user").casefold()
        user = _mentioned(each, people) if kind == "user" else _taker(each, people)
        if user is None:
            each.lost(
                "", f"is {kind}, which has no turn here; the others' turns move up",
                "say with --users who takes them",
            )  # fmt: skip
        else:
            users.append(user)
    first = node.moment("startDate", zone)
    unit = _LENGTHS.get((node.text("type") or "").casefold())
    length = node.whole("length")
    if first is None or unit is None or length == 0:
        node.lost("", "startDate, and a type of hourly, daily or weekly, are required; left out")
        return None
    ranges: list[WeekRange] | None = None
    if node.value.get("timeRestriction") is not None:
        restriction = node.node("timeRestriction")
        ranges = None if restriction is None else _restriction(restriction)
        if ranges is None:
            # Without it the layer would be on call where it is not to be.
            node.lost("timeRestriction", "cannot be read; the rotation is left out")
            return None
    turn = (1 if length is None else min(length, 1_000_000)) * unit
    return layer(
        node, users=users, first=first, turn=turn, zone=zone, begins=first, ends=node.moment("endDate", zone),
        ranges=ranges, now=now,
    )  # fmt: skip


def _taker(node: Node, people: People) -> str | None:
    """Return whom the table names for a team or an escalation."""
    named = (each for each in (node.text("id"), node.text("name")) if each and each.casefold() in people.table)
    return people.mention(next(named, None))


def _restriction(node: Node) -> list[WeekRange] | None:
    kind = (node.text("type") or "").casefold()
    if kind == "time-of-day":
        one = node.node("restriction")
        if one is None or (times := _times(one)) is None:
            return None
        begin, end = times
        return every_day(begin, (end - begin) % DAY_MINUTES or DAY_MINUTES)
    if kind != "weekday-and-time-of-day":
        return None
    found = []
    for each in node.nodes("restrictions"):
        times = _times(each)
        days = [(each.text(name) or "").casefold() for name in ("startDay", "endDay")]
        if times is None or not {*days} <= {*WEEKDAYS}:
            return None
        begin, end = (
            [*WEEKDAYS].index(day) * DAY_MINUTES + minute  # type: ignore[arg-type]
            for day, minute in zip(days, times, strict=True)
        )
        found.append(WeekRange(begin, (end - begin) % WEEK_MINUTES or WEEK_MINUTES))
    return found or None


def _times(node: Node) -> tuple[int, int] | None:
    found = []
    for name in ("start", "end"):
        hour, minute = node.whole(f"{name}Hour"), node.whole(f"{name}Min")
        if hour is None or hour > 24 or (minute or 0) > 59:
            return None
        found.append(hour * 60 + (minute or 0))
    return found[0], found[1]


def _overrides(node: Node, people: People, now: datetime) -> list[tuple[Absence, set[str | None]]]:
    found = []
    for each in node.nodes("overrides"):
        user, begin, end = _mentioned(each.node("user"), people), each.moment("startDate"), each.moment("endDate")
        if user is None or begin is None or end is None:
            each.lost("", "user, startDate and endDate are required; left out")
        elif end <= now:
            node.note("overrides", "those that have ended are left out")
        else:
            only = {part.text("id") for part in each.nodes("rotations")}
            found.append((Absence(user, begin, end), only))
    return found


def _policy(node: Node, people: People, teams: _Teams) -> Policy | None:
    key = node.text("id") or node.text("name")
    rules = node.nodes("rules")
    if key is None or not rules:
        node.lost("", "id and rules are required; left out")
        return None
    levels: dict[timedelta, list[Target]] = {}
    for rule in rules:
        if (rule.text("condition") or "if-not-acked").casefold() != "if-not-acked":
            rule.lost("condition", "is told while the alert is not closed; here an acknowledgement ends it, too")
        target = _target(rule, people, teams)
        levels.setdefault(_delay(rule), []).extend([target] if target else [])
    repeat = node.node("repeat")
    wait, count = timedelta(), 0
    if repeat is not None:
        wait, count = timedelta(minutes=repeat.whole("waitInterval") or 0), repeat.whole("count") or 0
        for name in ("closeAlertAfterAll", "resetRecipientStates"):
            if repeat.flag(name):
                repeat.lost(name, "there is no such thing here; nothing is done")
    return Policy(
        key, node.text("name") or key, node.place,
        tuple(Level(after, tuple(targets)) for after, targets in sorted(levels.items(), key=lambda item: item[0])),
        count, max(levels) + wait,
    )  # fmt: skip


def _delay(rule: Node) -> timedelta:
    delay = rule.node("delay") if isinstance(rule.value.get("delay"), dict) else None
    amount = delay.whole("timeAmount") if delay is not None else rule.whole("delay")
    unit = _UNITS.get(((delay.text("timeUnit") if delay is not None else None) or "minutes").casefold())
    if unit is None:
        rule.lost("delay", "the unit is unknown; minutes are written")
    # A year is longer than anybody waits, and shorter than what cannot be counted.
    return min((amount or 0), 366 * 24 * 3600) * (unit or _UNITS["minutes"])


def _target(rule: Node, people: People, teams: _Teams) -> Target | None:
    recipient = rule.node("recipient")
    if recipient is None:
        rule.lost("recipient", "required; nobody is told in its place")
        return None
    kind, how = (recipient.text("type") or "").casefold(), (rule.text("notifyType") or "default").casefold()
    if kind == "schedule" and (key := recipient.text("id") or recipient.text("name")) is not None:
        if how not in _STEPS:
            rule.lost("notifyType", "is unknown; who is on call is told")
        return OfSchedule(key, _STEPS.get(how, 0))
    if kind == "user" and (user := _mentioned(recipient, people)) is not None:
        return OfUser(user)
    if kind == "team":
        group = teams.group(recipient)
        if group is None:
            recipient.lost("", "the team is not in the export; nobody is told in its place", "export the teams, too")
            return None
        if how not in _ROLES:
            rule.lost("notifyType", "everybody of the team is told; here there are neither routing rules nor chance")
        return OfGroup(group + _ROLES.get(how, ""))
    recipient.lost("", "is no user, schedule or team; nobody is told in its place")
    return None

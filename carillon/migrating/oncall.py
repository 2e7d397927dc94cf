"""Grafana OnCall: schedules with their shifts, escalation chains and users as its public API gives them.

Read for it, in grafana/oncall (archived, 3666186): ``docs/sources/oncall-api-reference`` (schedules, on_call_shifts,
escalation_chains, escalation_policies, users, teams, user_groups), ``engine/apps/public_api/serializers``, and for what
a shift comes to ``engine/apps/schedules/models/custom_on_call_shift.py`` (``convert_to_ical``).

- Of the shifts of a schedule that overlap, those with the highest ``level`` are on call, all of them. So higher levels
  come first here. Several shifts of one level at one time are all told only where the schedule has that level alone.
- ``rolling_users``: groups take turns of ``interval`` hours, days or weeks; each member of a group becomes a layer.
  With ``frequency`` weekly and ``by_day``, a turn has those days of a week that begins on ``week_start``. With daily
  and ``by_day``, a turn is a number of those days, and each day of the week becomes a layer with weekly turns.
- ``recurrent_event``: ``users`` are on call each time, and each of them becomes a layer. ``override`` stands in.
- ``start`` and ``until`` are on the clock of the shift's ``time_zone``, else of the schedule's.
- Steps of a chain: ``wait`` moves what follows; ``repeat_escalation`` begins again, five times (``MAX_TIMES_REPEAT`` of
  ``escalation_policy.py``); steps that tell people are levels; others have no counterpart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import lcm
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
from carillon.migrating.people import Foreigner, People, group_id
from carillon.migrating.remarks import Remarks
from carillon.migrating.turns import DAY, WEEK, Absence, Layer, layer, minute_of_the_day
from carillon.migrating.weeks import DAY_MINUTES, WEEK_MINUTES, WeekRange, every_day
from carillon.migrating.zones import zone_name
from shared.core.wall_clock import zone_of

REPEATS = 5

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FREQUENCIES = {"hourly": timedelta(hours=1), "daily": DAY, "weekly": WEEK}
_SHIFTS = ("single_event", "recurrent_event", "rolling_users", "override")
_SCHEDULES = ("web", "calendar", "ical")
_KINDS = {
    "schedules": "schedule", "on_call_shifts": "shift", "shifts": "shift", "users": "user", "teams": "team",
    "escalation_chains": "escalation chain", "escalation_policies": "step", "user_groups": "user group",
}  # fmt: skip
# Groups of people take turns, and more would be a mistake: layers are as many as a group has members.
_GROUP = 20
_TURNS = 100


def read(documents: Sequence[Any], table: Mapping[str, str], now: datetime) -> Imported:
    """Turn what was exported into records.

    Args:
        documents: parsed JSON of any shape.
        table: which foreign id, address or username is which user here, in lower case.
        now: what ended before is left out.

    Raises:
        Unreadable: there is nothing of Grafana OnCall in them.
    """
    remarks = Remarks()
    found: dict[str, dict[str, Node]] = {kind: {} for kind in _KINDS.values()}
    for listed, value in objects(documents):
        kind = _kind(listed, value)
        node = Node(value, called(kind or "object", value), remarks)
        if kind not in found:
            node.note("", "is nothing that is imported; left out")
        elif (key := node.text("id")) is None:
            node.lost("id", "required; left out")
        else:
            found[kind][key] = node
    if not any(found.values()):
        raise Unreadable("the export holds no schedules, shifts, escalation policies or users of Grafana OnCall")
    teams = ids({key: node.text("name") or key for key, node in found["team"].items()})
    people = People([_user(key, node, teams) for key, node in found["user"].items()], table, remarks)
    for kind in unfinished(documents, _kind):
        remarks.lost(f"{kind} list", "", "its last page is not in the export", "export every page")
    composing = Composing(people, remarks)
    shifts = _Shifts(found["shift"])
    composing.schedules += filter(None, (_schedule(node, shifts, people, now) for node in found["schedule"].values()))
    shifts.say_which_are_of_no_schedule()
    composing.policies += _policies(found, people, teams)
    return composing.imported(now)


def _kind(listed: str, value: Mapping[str, Any]) -> str:
    kind = value.get("type")
    if listed in _KINDS:
        return _KINDS[listed]
    if "escalation_chain_id" in value and "routing_regex" not in value:
        return "step"
    if kind in _SHIFTS:
        return "shift"
    if kind in _SCHEDULES or "on_call_now" in value:
        return "schedule"
    if "username" in value:
        return "user"
    if kind == "slack_based":
        return "user group"
    if "name" in value and "team_id" in value and value.keys() <= {"id", "name", "team_id"}:
        return "escalation chain"
    return "team" if "avatar_url" in value else ""


def _user(key: str, node: Node, teams: Mapping[str, str]) -> Foreigner:
    return Foreigner(
        key, email=node.text("email"), username=node.text("username"), timezone=node.text("timezone"),
        groups=tuple(teams[each] for each in node.texts("teams") if each in teams),
    )  # fmt: skip


class _Shifts:
    """The shifts of an export; a schedule lists its own, and a shift of the web page names its schedule."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes
        self._of_schedule: dict[str, list[str]] = {}
        self._used: set[str] = set()
        for key, node in nodes.items():
            if isinstance(schedule := node.value.get("schedule"), str):
                self._of_schedule.setdefault(schedule, []).append(key)

    def of(self, schedule: Node, key: str) -> list[str]:
        """Return the ids of the shifts of a schedule, those that are not there included."""
        found = [*dict.fromkeys([*schedule.texts("shifts"), *self._of_schedule.get(key, [])])]
        self._used.update(found)
        return found

    def say_which_are_of_no_schedule(self) -> None:
        """Say which shifts nobody has asked for."""
        for key, node in self.nodes.items():
            if key not in self._used:
                node.lost("", "belongs to no schedule of the export; left out", "export the schedules, too")


def _schedule(node: Node, shifts: _Shifts, people: People, now: datetime) -> Schedule | None:
    key = node.text("id") or ""
    for name in ("ical_url_primary", "ical_url_overrides"):
        if node.text(name):
            node.lost(name, "a calendar at another address is not read", "write its people as layers and overrides")
    if node.text("type") == "ical":
        return None
    zone = zone_name(node.text("time_zone"))
    if zone is None:
        if node.text("time_zone"):
            node.lost("time_zone", "not a zone of the IANA database; UTC is written")
        zone = "UTC"
    layers: list[tuple[int, Layer]] = []
    overrides: list[Absence] = []
    for each in shifts.of(node, key):
        if each not in shifts.nodes:
            node.lost("shifts", "a shift is not in the export; left out", "export on_call_shifts, too")
            continue
        found = shifts.nodes[each]
        shift = Node(found.value, f"{node.place}, {found.place}", node.remarks)
        if shift.text("type") in ("override", "single_event"):
            overrides += _stand_in(shift, people, zone, now)
        else:
            level = shift.whole("level") or 0
            layers += [(level, part) for part in _shift(shift, people, zone, now)]
    layers.sort(key=lambda item: -item[0])
    return _joined(node, key, layers, overrides)


def _joined(node: Node, key: str, layers: list[tuple[int, Layer]], overrides: list[Absence]) -> Schedule:
    levels: dict[int, list[Layer]] = {}
    for level, each in layers:
        levels.setdefault(level, []).append(each)
    name = node.text("name") or key
    written = [each for _, each in layers]
    together = len(levels) == 1
    if not together:
        for level, same_level in levels.items():
            same = Schedule(key, name, tuple(same_level), together=True)
            if not same.is_one_answer:
                node.lost(
                    "shifts", f"of several people on call at level {level} the first answers, beside other levels"
                )
    if overrides and not written:
        node.lost("shifts", "holds overrides and single events alone; left out")
    for number, each in enumerate(written):
        if number == 0 or together:
            written[number] = replace(each, overrides=tuple(overrides))
    return Schedule(key, name, tuple(written), together=together)


def _stand_in(node: Node, people: People, zone: str, now: datetime) -> list[Absence]:
    zone = _zone(node, zone)
    begin, seconds = node.moment("start", zone), node.whole("duration")
    users = [user for each in _groups(node) for user in _known(each, people)]
    if begin is None or not seconds or not users:
        node.lost("", "start, duration and users are required; left out")
        return []
    end = begin + timedelta(seconds=seconds)
    if end <= now:
        node.note("", "has ended; left out")
        return []
    if node.text("type") == "single_event":
        node.lost("", "is a single event of the schedule; it is written as an override, which goes above all layers")
    return [Absence(user, begin, end) for user in dict.fromkeys(users)]


def _zone(node: Node, zone: str) -> str:
    text = node.text("time_zone")
    if text is not None and zone_name(text) is None:
        node.lost("time_zone", "not a zone of the IANA database; the schedule's is written")
    return zone_name(text) or zone


def _groups(node: Node) -> list[list[str]]:
    rolling = node.lists_of_texts("rolling_users")
    return rolling or [node.texts("users")]


def _known(keys: Sequence[str], people: People) -> list[str]:
    return [user for key in keys if (user := people.mention(key))]


@dataclass(frozen=True, slots=True)
class _Turns:
    """One row of turns that a shift comes to.

    Attributes:
        order: the number of the group of each turn.
        ranges: times of the week; None is always.
    """

    order: tuple[int, ...]
    first: datetime
    turn: timedelta
    ranges: tuple[WeekRange, ...] | None = None
    weekday: int | None = None


def _shift(node: Node, people: People, zone: str, now: datetime) -> list[Layer]:
    zone = _zone(node, zone)
    groups = [users for each in _groups(node) if (users := _known(each, people))]
    if not groups:
        node.lost("users", "there is nobody; left out")
        return []
    if len(groups) > _TURNS or max(map(len, groups)) > _GROUP:
        node.lost("rolling_users", f"more than {_TURNS} groups, or more than {_GROUP} people in one; left out")
        return []
    first = (node.whole("start_rotation_from_user_index") or 0) % len(groups)
    groups = groups[first:] + groups[:first]
    _say_if_the_beginning_is_moved(node, groups)
    layers = []
    for each in _turns(node, zone, len(groups)):
        for member in range(max(len(group) for group in groups)):
            # Whoever is in a smaller group stands in it twice, which is once.
            users = [groups[number][min(member, len(groups[number]) - 1)] for number in each.order]
            found = layer(
                node, users=users, first=each.first, turn=each.turn, zone=zone, begins=each.first,
                ends=node.moment("until", zone), ranges=each.ranges, now=now,
            )  # fmt: skip
            if found is not None:
                layers.append(replace(found, weekday=each.weekday))
    return layers


def _say_if_the_beginning_is_moved(node: Node, groups: Sequence[object]) -> None:
    start, rotation = node.text("start"), node.text("rotation_start")
    if rotation and rotation != start and len(groups) > 1:
        node.lost(
            "rotation_start", "turns are counted from start; somebody else may have the first one",
            "compare who is on call, and turn the users round",
        )  # fmt: skip


def _turns(node: Node, zone: str, groups: int) -> list[_Turns]:
    """Return the turns of the groups of a shift; none where it has no such form, which is said."""
    start, seconds, interval = node.moment("start", zone), node.whole("duration"), node.whole("interval")
    unit = _FREQUENCIES.get(node.text("frequency") or "")
    interval = 1 if interval is None else interval
    if start is None or not seconds or not 1 <= interval <= 10_000:
        node.lost("", "start, duration and an interval of at least 1 are required; left out")
        return []
    if seconds % 60:
        node.lost("duration", "has seconds; they are left out")
    if unit is None or any(node.value.get(name) for name in ("by_month", "by_monthday")):
        node.lost("frequency", "days of the month have no counterpart; left out", "write it as layers or overrides")
        return []
    names = node.texts("by_day")
    days = [_DAYS.index(day) for day in dict.fromkeys(names) if day in _DAYS]
    if len(days) < len({*names}) or (node.value.get("by_day") and not days):
        node.lost("by_day", "names a day that is none; left out")
        return []
    wall = start.astimezone(zone_of(zone)).replace(tzinfo=None)
    lasts = timedelta(minutes=seconds // 60)
    if lasts < timedelta(minutes=1):
        node.lost("duration", "is less than a minute; left out")
        return []
    found = _rows(node, wall=wall, lasts=lasts, unit=unit, interval=interval, days=days, groups=groups)
    if found is None:
        node.lost(
            "", "is on call for a part of its turn that is no time of the week, or for longer than its turn; left out",
            "write it as layers",
        )  # fmt: skip
        return []
    return [replace(each, first=each.first.replace(tzinfo=zone_of(zone))) for each in found]


def _rows(
    node: Node, *, wall: datetime, lasts: timedelta, unit: timedelta, interval: int, days: list[int], groups: int
) -> list[_Turns] | None:
    turn, order = interval * unit, tuple(range(groups))
    if unit == DAY and days and len(days) < 7:
        return _by_days(wall, lasts, interval, sorted(days), groups)
    if unit != WEEK or not days:
        if lasts == turn:
            return [_Turns(order, wall, turn)]
        ranges = _part(wall, lasts, turn)
        return None if ranges is None else [_Turns(order, wall, turn, ranges)]
    if interval != 1 or lasts > DAY:
        return None
    week_start = _DAYS.index(node.value["week_start"]) if node.value.get("week_start") in _DAYS else 6
    in_order = sorted(days, key=lambda day: (day - week_start) % 7)
    if wall.weekday() not in days:
        wall += (in_order[0] - wall.weekday()) % 7 * DAY
    minute, minutes = minute_of_the_day(wall.time()), lasts // timedelta(minutes=1)
    # The last shift of a turn may not last into the next turn.
    last_day = (in_order[-1] - in_order[0]) % 7
    if groups > 1 and last_day * DAY_MINUTES + minutes > WEEK_MINUTES:
        return None
    ranges = tuple(WeekRange(day * DAY_MINUTES + minute, minutes) for day in days)
    return [_Turns(order, wall, WEEK, ranges, weekday=in_order[0])]


def _part(wall: datetime, lasts: timedelta, turn: timedelta) -> tuple[WeekRange, ...] | None:
    """Return the times of the week of a shift that is shorter than its turn, of a day or of a week."""
    minutes = lasts // timedelta(minutes=1)
    minute = minute_of_the_day(wall.time())
    if lasts < turn and turn == DAY:
        return tuple(every_day(minute, minutes))
    if lasts < turn and turn == WEEK:
        return (WeekRange(wall.weekday() * DAY_MINUTES + minute, minutes),)
    return None


def _by_days(wall: datetime, lasts: timedelta, interval: int, days: list[int], groups: int) -> list[_Turns] | None:
    """Return a row of weekly turns for each day: the groups go round the days, so many days each."""
    if lasts > DAY:
        return None
    while wall.weekday() not in days:
        wall += DAY
    number = days.index(wall.weekday())
    in_order = days[number:] + days[:number]
    minute, minutes = minute_of_the_day(wall.time()), lasts // timedelta(minutes=1)
    weeks = lcm(interval * groups, len(days)) // len(days)
    if weeks > _TURNS:
        return None
    return [
        _Turns(
            tuple((week * len(days) + place) // interval % groups for week in range(weeks)),
            wall + (day - in_order[0]) % 7 * DAY,
            WEEK,
            (WeekRange(day * DAY_MINUTES + minute, minutes),),
        )
        for place, day in enumerate(in_order)
    ]


def _policies(found: Mapping[str, Mapping[str, Node]], people: People, teams: Mapping[str, str]) -> list[Policy]:
    steps: dict[str, list[Node]] = {}
    for node in found["step"].values():
        chain = node.text("escalation_chain_id")
        if chain is None:
            node.lost("escalation_chain_id", "required; left out")
        else:
            steps.setdefault(chain, []).append(node)
    policies = []
    for key, chain_steps in steps.items():
        chain_node = found["escalation chain"].get(key)
        name = (chain_node.text("name") if chain_node is not None else None) or key
        place = chain_node.place if chain_node is not None else f'escalation chain "{key[:80]}"'
        chain_steps.sort(key=lambda node: node.whole("position") or 0)
        if policy := _policy(
            key, name, place, steps=chain_steps, people=people, teams=teams, groups=found["user group"]
        ):
            policies.append(policy)
    for key, node in found["escalation chain"].items():
        if key not in steps:
            node.lost("", "has no steps in the export; left out", "export escalation_policies, too")
    return policies


def _policy(
    key: str, name: str, place: str, *, steps: Sequence[Node], people: People, teams: Mapping[str, str],
    groups: Mapping[str, Node],
) -> Policy | None:  # fmt: skip
    levels: dict[timedelta, list[Target]] = {}
    after, repeat = timedelta(), 0
    for number, step in enumerate(steps):
        node = Node(step.value, place, step.remarks, f"steps[{number}]")
        kind = node.text("type")
        if kind == "wait":
            after += timedelta(seconds=node.whole("duration") or 0)
        elif kind == "repeat_escalation":
            repeat = REPEATS
            if number < len(steps) - 1:
                node.lost("type", "is not the last step; what follows is told in each round")
        elif (targets := _targets(kind, node, people, teams, groups)) is not None:
            if node.flag("important"):
                node.lost("important", "people's rules for important alerts are not here", "name channels in the level")
            levels.setdefault(after, []).extend(targets)
        else:
            node.lost("type", f"{(kind or 'none')[:60]} has no counterpart; left out")
    if not levels:
        steps[0].remarks.lost(place, "", "tells nobody; left out")
        return None
    return Policy(
        key, name, place, tuple(Level(at, tuple(targets)) for at, targets in levels.items()), repeat, after
    )  # fmt: skip


def _targets(
    kind: str | None, node: Node, people: People, teams: Mapping[str, str], groups: Mapping[str, Node]
) -> list[Target] | None:
    if kind == "notify_on_call_from_schedule":
        key = node.text("notify_on_call_from_schedule")
        return [OfSchedule(key)] if key else []
    if kind == "notify_persons":
        return [OfUser(each) for each in _known(node.texts("persons_to_notify"), people)]
    if kind == "notify_person_next_each_time":
        node.lost("type", "everybody of it is told, and not one in turn")
        return [OfUser(each) for each in _known(node.texts("persons_to_notify_next_each_time"), people)]
    if kind == "notify_team_members":
        team = node.text("team_to_notify")
        if team is None or team not in teams:
            node.lost("team_to_notify", "the team is not in the export", "export the teams, too")
            return []
        return [OfGroup(teams[team])]
    if kind == "notify_user_group":
        group = groups.get(node.text("group_to_notify") or "")
        slack = group.node("slack") if group is not None else None
        name = slack.text("handle") or slack.text("name") if slack is not None else None
        found = group_id(name or node.text("group_to_notify") or "")
        node.lost("group_to_notify", f"who is in it stands in Slack; the group {found} is told", "put people into it")
        return [OfGroup(found)]
    return None

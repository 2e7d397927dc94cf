"""From what every product has, schedules and escalation policies, to on-call entries and policies of ours.

A level of ours names no schedule: ``oncall`` is whoever answers first in the entry that serves the alert, and
``oncall:second`` is the next layer's. So each foreign policy becomes two records of one name: the levels, and an entry
with the layers of the schedules that they name. A schedule that no policy names becomes an entry without one.

- Of one schedule in which one person answers, the level's target is ``oncall``.
- Of one schedule in which everybody with a turn is told at once, it is ``oncall`` with ``every``.
- A second schedule's layers follow the first one's, and its target is ``oncall:second``. That is exact where the first
  schedule is a single layer without restrictions. Otherwise a remark says so.
- A third one cannot be told. It gets an entry of its own, and a remark says so.
- A level of which nothing is left tells the admins, so that no alert ends in silence.
- Repeats are written out as levels, since the wait before a repeat has no field.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ValidationError

from carillon.migrating.documents import NAME_CHARS
from carillon.migrating.names import ids
from carillon.migrating.people import People
from carillon.migrating.remarks import Remarks
from carillon.migrating.turns import Layer, record
from carillon.migrating.weeks import overlap
from shared.core.durations import LONGEST, written
from shared.core.limits import OBJECT_BYTES
from shared.directory.people import LAYERS, ONCALL_USERS, OVERRIDES, Override, RotationLayer
from shared.directory.policies import ADMINS_TARGET, LEVELS, ONCALL_TARGET, SECOND_TARGET, NamedPolicy

_RFC_3339 = "%Y-%m-%dT%H:%M:%SZ"
# What an alert without a policy does (docs/guides/publishing.md), but for everybody with a turn.
_EVERYBODY: list[dict[str, Any]] = [
    {"notify": [ONCALL_TARGET, ADMINS_TARGET], "every": True},
    {"after": "5m", "notify": [ADMINS_TARGET]},
]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who is on call, as a product has it.

    Attributes:
        key: the foreign id.
        layers: in our order: the first that has somebody answers.
        together: everybody with a turn is told, and not the first alone.
    """

    key: str
    name: str
    layers: tuple[Layer, ...]
    together: bool = False

    @property
    def is_one_answer(self) -> bool:
        """Tell whether at no time two layers have somebody; of more layers than an entry takes this is not known."""
        if len(self.layers) > LAYERS:
            return False
        zones = {layer.zone for layer in self.layers}
        return len(self.layers) < 2 or (
            len(zones) == 1
            and not any(
                overlap(one.always, other.always)
                for number, one in enumerate(self.layers)
                for other in self.layers[number + 1 :]
            )
        )

    @property
    def has_no_gap(self) -> bool:
        """Tell whether the first layer always has somebody, whatever the others have."""
        return len(self.layers) == 1 and self.layers[0].ranges is None


@dataclass(frozen=True, slots=True)
class OfSchedule:
    """A target: who is on call in a schedule.

    Attributes:
        steps: whose turn comes so many turns later.
    """

    key: str
    steps: int = 0


@dataclass(frozen=True, slots=True)
class OfUser:
    """A target: one person, by the foreign key."""

    key: str


@dataclass(frozen=True, slots=True)
class OfGroup:
    """A target: a group of ours."""

    group_id: str


Target = OfSchedule | OfUser | OfGroup


@dataclass(frozen=True, slots=True)
class Level:
    """Whom to tell when nobody has answered so long after the alert."""

    after: timedelta
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Who is told next, as a product has it.

    Attributes:
        key: the foreign id.
        place: what remarks call it.
        repeat: how often the levels run again.
        round: how long after the beginning of a round the next one begins.
    """

    key: str
    name: str
    place: str
    levels: tuple[Level, ...]
    repeat: int = 0
    round: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import comes to.

    Attributes:
        records: as ``carillon directory import`` takes them: people, policies, on-call entries.
    """

    records: tuple[dict[str, Any], ...]
    remarks: Remarks


@dataclass(slots=True)
class Composing:
    """One import, once the documents have been read."""

    people: People
    remarks: Remarks
    schedules: list[Schedule] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)

    def imported(self, now: datetime) -> Imported:
        """Return the records, each of which passes our models."""
        by_key = {each.key: each for each in self.schedules}
        policies = {each.key: each for each in self.policies}
        sources = {key: self._sources(each, by_key) for key, each in policies.items()}
        told = {target.key for targets in sources.values() for target in targets}
        alone = {key: each for key, each in by_key.items() if key not in told}
        names = ids(
            {f"policy {key}": each.name for key, each in policies.items()}
            | {f"schedule {key}": each.name for key, each in alone.items()}
        )
        records: list[dict[str, Any]] = []
        for key, policy in policies.items():
            records += self._policy(policy, names[f"policy {key}"], sources[key], now)
        for key, schedule in alone.items():
            records += self._alone(schedule, names[f"schedule {key}"], now)
        return Imported((*self.people.records(), *(each for each in records if self._fits(each))), self.remarks)

    def _fits(self, document: dict[str, Any]) -> bool:
        if len(json.dumps(document)) <= OBJECT_BYTES:
            return True
        kind = next(iter(document))
        self.remarks.lost(f'{kind} "{document[kind]}"', "", "is larger than a publish may be; left out", "divide it")
        return False

    def _policy(
        self, policy: Policy, name: str, sources: dict[OfSchedule, Schedule], now: datetime
    ) -> list[dict[str, Any]]:
        every = len(sources) == 1 and self._all_are_told(next(iter(sources.values())))
        self._say_what_differs(policy, list(sources.values()))
        targets = dict(zip(sources, (ONCALL_TARGET, SECOND_TARGET), strict=False))
        levels = []
        for after, level in self._rounds(policy):
            notify = [text for target in level.targets if (text := self._target(target, targets))]
            if not notify:
                self.remarks.lost(
                    policy.place, f"level after {written(after)}", "nobody of it can be told; the admins are instead"
                )
            one: dict[str, Any] = {"after": written(after)} if after else {}
            one["notify"] = list(dict.fromkeys(notify)) or [ADMINS_TARGET]
            if every and ONCALL_TARGET in notify:
                one["every"] = True
            levels.append(one)
        if all("after" in level for level in levels):
            self.remarks.lost(
                policy.place, "", "tells nobody at once; here who is on call and the admins are always told at once"
            )
        document = {"policy": name, "levels": levels}
        if problem := _problem(NamedPolicy, document):
            self.remarks.lost(policy.place, "", f"{problem}; left out", "write it by hand")
            return self._entry(name, policy.place, list(sources.values()), {}, now)
        if sources:
            return [document, *self._entry(name, policy.place, list(sources.values()), {"policy": name}, now)]
        users = [self.people.id_of(each.key) for each in policy.levels[0].targets if isinstance(each, OfUser)]
        if not users:
            self.remarks.lost(
                policy.place, "", "names nobody who is on call; there is the policy and no entry that uses it",
                f"name the policy {name} in an on-call entry",
            )  # fmt: skip
            return [document]
        return [document, {"oncall": name, "users": list(dict.fromkeys(users))[:ONCALL_USERS], "policy": name}]

    def _alone(self, schedule: Schedule, name: str, now: datetime) -> list[dict[str, Any]]:
        """Write a schedule that no policy names; without a policy an alert tells the first answer alone."""
        if not self._all_are_told(schedule):
            return self._entry(name, _place(schedule), [schedule], {}, now)
        entry = self._entry(name, _place(schedule), [schedule], {"policy": name}, now)
        return [{"policy": name, "levels": _EVERYBODY}, *entry] if entry else []

    def _sources(self, policy: Policy, by_key: dict[str, Schedule]) -> dict[OfSchedule, Schedule]:
        """Return the schedules whose layers the entry gets, in the order in which they are told."""
        found: dict[OfSchedule, Schedule] = {}
        for level in policy.levels:
            for target in level.targets:
                if not isinstance(target, OfSchedule) or target in found:
                    continue
                schedule = by_key.get(target.key)
                if schedule is None or not schedule.layers:
                    self.remarks.lost(
                        policy.place, "", "tells a schedule that is not in the export or could not be written",
                        "export the schedule, too",
                    )  # fmt: skip
                elif len(found) == 2:
                    self.remarks.lost(
                        policy.place, "", f"tells a third schedule, {_place(schedule)}, and a level names two at most",
                        "tell those people by name, or by a group",
                    )  # fmt: skip
                elif target.steps:
                    found[target] = Schedule(
                        schedule.key, schedule.name, tuple(each.shifted(target.steps) for each in schedule.layers)
                    )
                else:
                    found[target] = schedule
        return found

    def _all_are_told(self, schedule: Schedule) -> bool:
        return schedule.together and not schedule.is_one_answer

    def _say_what_differs(self, policy: Policy, sources: Sequence[Schedule]) -> None:
        if len(sources) < 2:
            return
        first, second = sources
        if any(self._all_are_told(each) for each in sources):
            self.remarks.lost(
                policy.place, "", "tells everybody with a turn, and a second schedule; of each only one answers",
                "give the second schedule an entry of its own",
            )  # fmt: skip
        if not first.has_no_gap:
            self.remarks.lost(
                policy.place, "", f"{_place(second)} is told as the second answer; while {_place(first)} has nobody, "
                "or two layers with somebody, that is somebody else",
                "look at who answers with the entry's schedule",
            )  # fmt: skip

    def _target(self, target: Target, schedules: dict[OfSchedule, str]) -> str | None:
        if isinstance(target, OfSchedule):
            return schedules.get(target)
        if isinstance(target, OfUser):
            return f"user:{self.people.id_of(target.key)}"
        return f"group:{target.group_id}"

    def _rounds(self, policy: Policy) -> Iterable[tuple[timedelta, Level]]:
        """Write out the repeats, as many as fit."""
        repeat = policy.repeat
        if repeat and not policy.round:
            self.remarks.lost(policy.place, "", "repeats without a wait; written once")
            repeat = 0
        rounds = [
            (number * policy.round + level.after, level) for number in range(1 + repeat) for level in policy.levels
        ]
        fit = [(after, level) for after, level in rounds[:LEVELS] if after <= LONGEST]
        if len(fit) < len(rounds):
            self.remarks.lost(
                policy.place, "", f"has {len(rounds)} levels with its repeats; the first {len(fit)} are written"
            )
        return fit

    def _entry(
        self, name: str, place: str, sources: Sequence[Schedule], also: dict[str, str], now: datetime
    ) -> list[dict[str, Any]]:
        layers = []
        for schedule in sources:
            for number, layer in enumerate(schedule.layers):
                document = self._layer(layer, _place(schedule), now)
                if problem := _problem(RotationLayer, document):
                    self.remarks.lost(
                        _place(schedule), f"layer {number + 1}", f"{problem}; left out, with who stands in"
                    )
                else:
                    layers.append(document)
        if len(layers) > LAYERS:
            self.remarks.lost(place, "", f"has {len(layers)} layers; the first {LAYERS} are written")
        if not layers:
            if sources or not also:
                self.remarks.lost(place, "", "has no layer that can be written; there is no on-call entry for it")
            return []
        return [{"oncall": name, "layers": layers[:LAYERS], **also}]

    def _layer(self, layer: Layer, place: str, now: datetime) -> dict[str, Any]:
        overrides = []
        for each in layer.overrides:
            document = {
                "user": self.people.id_of(each.user),
                "from": each.begin.strftime(_RFC_3339),
                "until": each.end.strftime(_RFC_3339),
            }
            if each.end <= now:
                self.remarks.note(place, "overrides", "those that have ended are left out")
            elif problem := _problem(Override, document):
                self.remarks.lost(place, "overrides", f"{problem}; left out")
            else:
                overrides.append(document)
        if len(overrides) > OVERRIDES:
            self.remarks.lost(place, "overrides", f"there are {len(overrides)}; the first {OVERRIDES} are written")
        overrides.sort(key=lambda each: each["from"])
        return record(layer, [self.people.id_of(user) for user in layer.users], overrides[:OVERRIDES])


def _place(schedule: Schedule) -> str:
    return f'schedule "{" ".join(schedule.name.split())[:NAME_CHARS]}"'


def _problem(model: type[BaseModel], document: dict[str, Any]) -> str:
    """Say why a record is none of ours; empty where it is one."""
    try:
        model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ""

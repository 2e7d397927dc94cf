"""Whether an alert is silenced or inhibited now: decisions from records and open incidents, as pure functions.

The rules are Alertmanager's, and docs/explanation/alertmanager.md names each difference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from shared.core.clock import epoch_ms
from shared.core.errors import Reason
from shared.core.matchers import Labels, all_match, values_of
from shared.directory.inhibitions import Inhibition
from shared.directory.silences import Silence

# What is mute is looked at again so soon, whatever ends earlier than it seems.
LOOK_AGAIN = timedelta(minutes=5)
MAINTENANCE_PREFIX = "maintenance:"


@dataclass(frozen=True, slots=True)
class Mute:
    """An incident tells nobody now.

    Attributes:
        rule: what keeps it from telling, such as ``silence:ID``.
        again_ms: when it is to be looked at again, milliseconds since 1970.
        ends_with: what is to be looked at again when this ends: ``silence:ID`` or ``incident:ID``; empty for nothing.
    """

    reason: Reason
    rule: str
    again_ms: int
    ends_with: str = ""


def mute(
    publisher: str,
    labels: Labels,
    silences: Mapping[str, Silence],
    rules: Mapping[str, Inhibition],
    incidents: "OpenIncidents",
    *,
    now: datetime,
) -> Mute | None:
    """Say whether an alert tells nobody now, and why."""
    soon = now + LOOK_AGAIN
    theirs = {name: each for name, each in silences.items() if each.publisher in (None, publisher)}
    silenced = silenced_by(labels, theirs, now)
    if silenced is not None:
        is_maintenance = silenced.silence_id.startswith(MAINTENANCE_PREFIX)
        rule = silenced.silence_id if is_maintenance else f"silence:{silenced.silence_id}"
        reason = Reason.MAINTENANCE if is_maintenance else Reason.SILENCED
        return Mute(reason, rule, epoch_ms(min(silenced.until, soon)), f"silence:{silenced.silence_id}")
    inhibited = inhibited_by(labels, rules, incidents)
    if inhibited is not None:
        rule = f"inhibition:{inhibited.rule}"
        return Mute(Reason.INHIBITED, rule, epoch_ms(soon), f"incident:{inhibited.source_id}")
    return None


@dataclass(frozen=True, slots=True)
class Silenced:
    """An alert tells nobody.

    Attributes:
        silence_id: of all silences that hold, the one that holds longest.
        until: when it ends. Another one may have begun by then, so it is to be asked again.
    """

    silence_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An incident that is not closed.

    Attributes:
        is_told: whether anybody has been told about it. One that is suppressed itself has told nobody, and must not
            make others silent.
    """

    incident_id: str
    labels: Labels
    is_told: bool


@dataclass(frozen=True, slots=True)
class Inhibited:
    """An alert tells nobody while another one is open."""

    rule: str
    source_id: str


def silenced_by(labels: Labels, silences: Mapping[str, Silence], now: datetime) -> Silenced | None:
    """Return the silence that keeps an alert from telling, or None.

    Args:
        silences: by id.
        now: an aware time.
    """
    holding = [
        (silence.ends_at, silence_id)
        for silence_id, silence in silences.items()
        if silence.holds_at(now) and silence.is_about(labels)
    ]
    if not holding:
        return None
    until, silence_id = max(holding)
    return Silenced(silence_id, until)


Incidents: TypeAlias = tuple[OpenIncident, ...]
_Place: TypeAlias = tuple[str, str]
"""The name of a label, and a value."""
_Texts: TypeAlias = tuple[str, ...]
_Asked: TypeAlias = tuple[_Texts, _Texts | None, _Place | None]
"""The matchers of a source, those of a target that it must not fit, and where to look."""


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """Open incidents, found by the value of a label. What is found for one alert serves the next ones, too.

    Attributes:
        told: those that may inhibit, the oldest first.
    """

    told: Incidents
    _by_label: dict[str, Mapping[str, Incidents]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _sources: dict[_Asked, Incidents] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, incidents: Iterable[OpenIncident]) -> "OpenIncidents":
        """Take those that somebody was told about."""
        return cls(tuple(each for each in incidents if each.is_told))

    def sources(self, rule: Inhibition, target: Labels) -> Incidents:
        """Return the sources of a rule, in their order, among which each one that inhibits a target must be.

        Whether the rule's ``equal`` holds for one of them is still to be asked.
        """
        places = [(name, value) for name in rule.equal for value in values_of(target, name)]
        places += [(matcher.name, matcher.value) for matcher in rule.sources if matcher.op == "="]
        place = min(places, key=lambda each: len(self._at(each)), default=None)
        candidates = self._at(place)
        if not candidates:
            return ()
        # What fits both sides is not inhibited by what does.
        is_source_too = all_match(rule.sources, target)
        asked = (rule.source, rule.target if is_source_too else None, place)
        found = self._sources.get(asked)
        if found is None:
            found = tuple(
                each
                for each in candidates
                if all_match(rule.sources, each.labels) and not (is_source_too and all_match(rule.targets, each.labels))
            )
            self._sources[asked] = found
        return found

    def _at(self, place: _Place | None) -> Incidents:
        """Return those whose label has a value, which is the empty one where it is missing."""
        if place is None:
            return self.told
        label, value = place
        by_value = self._by_label.get(label)
        if by_value is None:
            by_value = self._by_label[label] = self._sorted(label)
        return by_value.get(value, ())

    def _sorted(self, label: str) -> Mapping[str, Incidents]:
        found: dict[str, list[OpenIncident]] = {}
        for incident in self.told:
            for value in dict.fromkeys(values_of(incident.labels, label)):
                found.setdefault(value, []).append(incident)
        return {value: tuple(incidents) for value, incidents in found.items()}


NO_INCIDENTS = OpenIncidents(())


def inhibited_by(labels: Labels, rules: Mapping[str, Inhibition], incidents: OpenIncidents) -> Inhibited | None:
    """Return the rule and the open incident that keep an alert from telling, or None.

    What fits both sides of a rule is not inhibited by what fits both, too; so nothing inhibits itself.

    Args:
        rules: by name; the first that applies is returned.
        incidents: the alert's own may be among them.
    """
    for name, rule in rules.items():
        if not all_match(rule.targets, labels):
            continue
        for source in incidents.sources(rule, labels):
            if _equal(labels, source.labels, rule.equal):
                return Inhibited(name, source.incident_id)
    return None


def _equal(target: Labels, source: Labels, names: Iterable[str]) -> bool:
    """Whether the source's labels cover the target's: a target on two systems is not explained by one of them."""
    return all(frozenset(values_of(target, name)) <= frozenset(values_of(source, name)) for name in names)

"""Whether an alert is silenced or inhibited now: decisions from records and open incidents, as pure functions.

The rules are Alertmanager's, and docs/explanation/alertmanager.md names each difference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from shared.core.matchers import Labels, all_match, values_of
from shared.directory.inhibitions import Inhibition
from shared.directory.silences import Silence


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


_ByValue: TypeAlias = Mapping[str, tuple[OpenIncident, ...]]


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """Open incidents, found by the value of a label. What is built here serves any number of alerts.

    Attributes:
        told: those that may inhibit, the oldest first.
    """

    told: tuple[OpenIncident, ...]
    _by_label: dict[str, _ByValue] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, incidents: Iterable[OpenIncident]) -> "OpenIncidents":
        """Take those that somebody was told about."""
        return cls(tuple(each for each in incidents if each.is_told))

    def with_value(self, label: str, value: str) -> tuple[OpenIncident, ...]:
        """Return those whose label has a value, in their order; a missing label has the empty one."""
        by_value = self._by_label.get(label)
        if by_value is None:
            by_value = self._by_label[label] = self._sorted(label)
        return by_value.get(value, ())

    def _sorted(self, label: str) -> _ByValue:
        found: dict[str, list[OpenIncident]] = {}
        for incident in self.told:
            for value in dict.fromkeys(values_of(incident.labels, label)):
                found.setdefault(value, []).append(incident)
        return {value: tuple(incidents) for value, incidents in found.items()}


def inhibited_by(labels: Labels, rules: Mapping[str, Inhibition], incidents: OpenIncidents) -> Inhibited | None:
    """Return the rule and the open incident that keep an alert from telling, or None.

    What fits both sides of a rule is not inhibited by another one that does; so nothing inhibits itself.

    Args:
        rules: by name; the first that applies is returned.
        incidents: the alert's own may be among them.
    """
    for name, rule in rules.items():
        if all_match(rule.targets, labels):
            source = _source(labels, rule, incidents)
            if source is not None:
                return Inhibited(name, source.incident_id)
    return None


def _source(labels: Labels, rule: Inhibition, incidents: OpenIncidents) -> OpenIncident | None:
    """Return the oldest incident that makes a rule's target needless to tell of."""
    is_source_too = all_match(rule.sources, labels)
    for incident in _candidates(labels, rule, incidents):
        fits_both = is_source_too and all_match(rule.targets, incident.labels)
        if not fits_both and _equal(labels, incident.labels, rule.equal) and all_match(rule.sources, incident.labels):
            return incident
    return None


def _candidates(labels: Labels, rule: Inhibition, incidents: OpenIncidents) -> tuple[OpenIncident, ...]:
    """Return the fewest incidents among which every source of the alert must be."""
    wanted = [(name, value) for name in rule.equal for value in values_of(labels, name)]
    wanted += [(matcher.name, matcher.value) for matcher in rule.sources if matcher.op == "="]
    return min((incidents.with_value(*each) for each in wanted), key=len, default=incidents.told)


def _equal(target: Labels, source: Labels, names: Iterable[str]) -> bool:
    """Whether the source's labels cover the target's: a target on two systems is not explained by one of them."""
    return all(frozenset(values_of(target, name)) <= frozenset(values_of(source, name)) for name in names)

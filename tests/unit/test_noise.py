"""Who is silenced and who is inhibited, as Alertmanager decides it; each difference stands here, with why."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.alerts.noise import (
    Inhibited,
    OpenIncident,
    OpenIncidents,
    Silenced,
    inhibited_by,
    silenced_by,
)
from shared.core.matchers import Labels, all_match, values_of
from shared.directory.inhibitions import Inhibition
from shared.directory.silences import Silence

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def silence(*matchers: str, hours: float = 1, since: float = -1) -> Silence:
    return Silence(
        matchers=matchers, starts_at=NOW + since * HOUR, ends_at=NOW + hours * HOUR, comment="the disks are changed"
    )


def labels(**values: str | tuple[str, ...]) -> Labels:
    return {name: (value,) if isinstance(value, str) else value for name, value in values.items()}


def told(incident_id: str, **values: str | tuple[str, ...]) -> OpenIncident:
    return OpenIncident(incident_id, labels(**values), is_told=True)


PROFILE = labels(job="test", instance="web-1", path="/user/profile", method="GET")

# Alertmanager 0.34, silence/silence_test.go, without its silences of several sets: here these are several silences.
SILENCED: list[tuple[tuple[str, ...], bool]] = [
    (("job=test",), True),
    (("job!=test",), False),
    (("job=test", "method=POST"), False),
    (("job=test", "method!=POST"), True),
    (('path=~"/user/.+"',), True),
    (('path!~"/user/.+"',), False),
    (('path=~"/user/.+"', 'path=~"/nothing/.+"'), False),
    (("method!=GET",), False),
    (("method=~GET|POST", "job=test"), True),
    (("method=~GET|POST", "job!=test"), False),
]


@pytest.mark.parametrize(("matchers", "is_silenced"), SILENCED)
def test_an_alert_is_silenced_as_by_alertmanager(matchers: tuple[str, ...], *, is_silenced: bool) -> None:
    found = silenced_by(PROFILE, {"s1": silence(*matchers)}, NOW)
    assert found == (Silenced("s1", NOW + HOUR) if is_silenced else None)


def test_of_several_silences_the_one_that_holds_longest_is_named() -> None:
    silences = {
        "over": silence("job=test", hours=0),
        "short": silence("job=test", hours=1),
        "long": silence("method=GET", hours=3),
        "later": silence("job=test", hours=9, since=1),
        "other": silence("job=other", hours=9),
    }
    assert silenced_by(PROFILE, silences, NOW) == Silenced("long", NOW + 3 * HOUR)
    assert silenced_by(PROFILE, silences, NOW + 3 * HOUR) == Silenced("later", NOW + 9 * HOUR)
    assert silenced_by(PROFILE, silences, NOW + 9 * HOUR) is None
    assert silenced_by(PROFILE, {}, NOW) is None


def test_one_of_an_alerts_systems_is_enough_for_a_silence() -> None:
    alert = labels(system=("db-1", "web-1"))
    assert silenced_by(alert, {"s1": silence("system=db-1")}, NOW) is not None
    assert silenced_by(alert, {"s1": silence("system=db-1", "system!=web-1")}, NOW) is None


def rule(source: str, target: str, *equal: str) -> Inhibition:
    return Inhibition(source=tuple(source.split()), target=tuple(target.split()), equal=equal)


# Alertmanager 0.34, inhibit/inhibit_test.go: the rules, what is open, the target, and the rule that inhibits it.
RULES = {"one": rule("s1=1", "t1=1", "e"), "two": rule("s2=1", "t2=1", "e")}
UNEQUAL = {"one": rule("s1=1", "t1!=1", "e"), "two": rule("s2=1", "t2=1", "e")}
OPEN = (told("i1", s1="1", t1="2", e="1"), told("i2", s2="1", t2="1", e="1"))

INHIBITED: list[tuple[Mapping[str, Inhibition], tuple[OpenIncident, ...], Labels, str | None]] = [
    (RULES, OPEN, labels(t1="1", e="1"), "one"),
    (RULES, OPEN, labels(t2="1", e="1"), "two"),
    (RULES, OPEN, labels(t1="1", t3="1", e="1"), "one"),
    (RULES, OPEN, labels(t1="1", t2="1", e="1"), "one"),
    (RULES, OPEN, labels(t1="0", e="1"), None),
    # It is a source, too; the open one is no target.
    (RULES, OPEN, labels(s1="1", t1="1", e="1"), "one"),
    # It is a source, too, and so is the open one a target.
    (RULES, OPEN, labels(s2="1", t2="1", e="1"), None),
    (RULES, OPEN, labels(t1="1", e="0"), None),
    (UNEQUAL, OPEN, labels(t1="1", e="1"), None),
    (UNEQUAL, OPEN, labels(t2="1", e="1"), "one"),
    (UNEQUAL, OPEN, labels(t1="1", t3="1", e="1"), None),
    (UNEQUAL, OPEN, labels(t1="1", t2="1", e="1"), "two"),
    (UNEQUAL, OPEN, labels(t1="0", e="1"), "one"),
    (UNEQUAL, OPEN, labels(s1="1", t1="1", e="1"), None),
    (UNEQUAL, OPEN, labels(s2="1", t2="1", e="1"), "one"),
    (UNEQUAL, OPEN, labels(t1="1", e="0"), None),
    # Without equal labels any source will do; a missing label equals an empty one.
    ({"r": rule("s=1", "t=1")}, (), labels(t="1"), None),
    ({"r": rule("s=1", "t=1")}, (told("i", s="1"),), labels(t="1", e="5"), "r"),
    ({"r": rule("s=1", "t=1", "e")}, (told("i", s="1"),), labels(t="1"), "r"),
    ({"r": rule("s=1", "t=1", "e")}, (told("i", s="1", e=""),), labels(t="1"), "r"),
    ({"r": rule("s=1", "t=1", "e")}, (told("i", s="1"),), labels(t="1", e="5"), None),
    ({"r": rule("s=1", "t=1", "e")}, (told("i", s="1", e="5"),), labels(t="1"), None),
    ({"r": rule("s=1", "t=1", "a", "b")}, (told("i", s="1", a="b", b="f"),), labels(t="1", a="b", b="c"), None),
    ({"r": rule("s=1", "t=1", "a", "b")}, (told("i", s="1", a="b", b="c"),), labels(t="1", a="b", b="c"), "r"),
    ({"r": rule("s=1", "t=1", "a")}, (told("i", s="1", a="c", c="d"),), labels(t="1", a="b"), None),
    # Nothing inhibits itself.
    ({"r": rule("s=1", "t=1", "e")}, (told("i", s="1", t="1", e="f"),), labels(s="1", t="1", e="f"), None),
]


@pytest.mark.parametrize(("rules", "open_ones", "target", "expected"), INHIBITED)
def test_an_alert_is_inhibited_as_by_alertmanager(
    rules: Mapping[str, Inhibition], open_ones: tuple[OpenIncident, ...], target: Labels, expected: str | None
) -> None:
    found = inhibited_by(target, rules, OpenIncidents.of(open_ones))
    assert (found.rule if found is not None else None) == expected


def test_every_source_is_asked_and_not_the_one_that_ends_last() -> None:
    """Alertmanager asks one of those with equal labels; if that one fits both sides, it asks no other."""
    both = told("both", s="1", t="1", e="f")
    source = told("source", s="1", e="f")
    target = labels(s="1", t="1", e="f")
    for order in ((both, source), (source, both)):
        assert inhibited_by(target, {"r": rule("s=1", "t=1", "e")}, OpenIncidents.of(order)) == Inhibited("r", "source")


def test_what_nobody_was_told_about_inhibits_nothing() -> None:
    """Alertmanager takes a silenced or inhibited source, too; then nobody may hear of either."""
    rules = {"r": rule("s=1", "t=1")}
    unheard = OpenIncident("i", labels(s="1"), is_told=False)
    assert inhibited_by(labels(t="1"), rules, OpenIncidents.of([unheard])) is None
    found = inhibited_by(labels(t="1"), rules, OpenIncidents.of([unheard, told("j", s="1"), told("k", s="1")]))
    assert found == Inhibited("r", "j")


@pytest.mark.parametrize(
    ("source", "target", "is_inhibited"),
    [
        (("db-1", "db-2"), ("db-1",), True),
        (("db-1", "db-2"), ("db-2", "db-1"), True),
        (("db-1",), ("db-1", "web-1"), False),
        (("db-1",), ("db-2",), False),
        (("db-1",), (), False),
        ((), ("db-1",), False),
        ((), (), True),
    ],
)
def test_a_source_inhibits_what_is_on_its_own_systems_alone(
    source: tuple[str, ...], target: tuple[str, ...], *, is_inhibited: bool
) -> None:
    """In Alertmanager a label has one value, and then this is its rule."""
    incidents = OpenIncidents.of([told("i", s="1", system=source)])
    found = inhibited_by(labels(t="1", system=target), {"r": rule("s=1", "t=1", "system")}, incidents)
    assert (found is not None) is is_inhibited


values = st.lists(st.sampled_from(["", "1", "2"]), max_size=2).map(tuple)
label_sets = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
matcher_lists = st.lists(
    st.builds(
        "{}{}{}".format,
        st.sampled_from("abc"), st.sampled_from(["=", "!=", "=~", "!~"]), st.sampled_from(["1", "2", "1|2", ".", '""']),
    ),
    min_size=1, max_size=2,
)  # fmt: skip
rule_sets = st.dictionaries(
    st.sampled_from(["r1", "r2", "r3"]),
    st.builds(
        lambda source, target, equal: Inhibition(source=tuple(source), target=tuple(target), equal=tuple(equal)),
        matcher_lists, matcher_lists, st.lists(st.sampled_from("abc"), max_size=2),
    ),
)  # fmt: skip
incident_lists = st.lists(st.tuples(label_sets, st.booleans()), max_size=6).map(
    lambda pairs: [OpenIncident(f"i{place}", each, is_told=is_told) for place, (each, is_told) in enumerate(pairs)]
)


def _asked_one_by_one(
    target: Labels, rules: Mapping[str, Inhibition], open_ones: list[OpenIncident]
) -> Inhibited | None:
    for name, each in rules.items():
        for incident in open_ones:
            covered = all(set(values_of(target, on)) <= set(values_of(incident.labels, on)) for on in each.equal)
            both_are_both = all(
                all_match(side, of) for side in (each.sources, each.targets) for of in (target, incident.labels)
            )
            fit = all_match(each.targets, target) and all_match(each.sources, incident.labels)
            if incident.is_told and fit and covered and not both_are_both:
                return Inhibited(name, incident.incident_id)
    return None


@given(st.lists(label_sets, max_size=4), rule_sets, incident_lists)
def test_the_index_finds_for_one_alert_after_another_what_asking_each_incident_finds(
    targets: list[Labels], rules: dict[str, Inhibition], open_ones: list[OpenIncident]
) -> None:
    incidents = OpenIncidents.of(open_ones)
    for target in targets:
        assert inhibited_by(target, rules, incidents) == _asked_one_by_one(target, rules, open_ones)


@given(label_sets, rule_sets)
def test_nothing_inhibits_itself(own: Labels, rules: dict[str, Inhibition]) -> None:
    assert inhibited_by(own, rules, OpenIncidents.of([OpenIncident("own", own, is_told=True)])) is None

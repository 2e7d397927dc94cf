"""Records of silences and inhibitions: what passes, what is refused and in which words, and how they are kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from shared.core.matchers import MATCHERS, NAME_CHARS, Matcher
from shared.directory.inhibitions import Inhibition, NamedInhibition
from shared.directory.record import Record
from shared.directory.silences import NamedSilence, Silence

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
SILENCE: dict[str, Any] = {
    "matchers": ["system=db-1", 'severity=~"high|critical"'],
    "starts_at": "2026-12-01T12:00:00Z",
    "ends_at": "2026-12-01T15:00:00+01:00",
    "comment": "the disks are changed",
    "created_by": "ops",
}
INHIBITION: dict[str, Any] = {
    "source": ["alert_type=power"],
    "target": ["alert_type!=power", "severity!=critical"],
    "equal": ["site", "rack", "site"],
}


def problems(model: type[Record], document: dict[str, Any]) -> dict[str, str]:
    """Return what a model says of each field of a document that it refuses."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(document)
    return {".".join(map(str, error["loc"])): error["msg"] for error in refused.value.errors()}


def test_a_silence_is_kept_as_it_is_always_written() -> None:
    silence = Silence.model_validate(SILENCE)
    assert silence.matchers == ('system="db-1"', 'severity=~"high|critical"')
    assert silence.parsed == (Matcher("system", "=", "db-1"), Matcher("severity", "=~", "high|critical"))
    text = silence.model_dump_json(exclude_unset=True)
    assert Silence.model_validate_json(text) == silence
    assert Silence.model_validate_json(text).model_dump_json(exclude_unset=True) == text


def test_an_inhibition_is_kept_as_it_is_always_written() -> None:
    rule = Inhibition.model_validate(INHIBITION)
    assert rule.equal == ("site", "rack")
    assert rule.sources == (Matcher("alert_type", "=", "power"),)
    assert rule.targets == (Matcher("alert_type", "!=", "power"), Matcher("severity", "!=", "critical"))
    assert Inhibition.model_validate_json(rule.model_dump_json(exclude_unset=True)) == rule


def test_a_named_record_is_the_record_and_its_name() -> None:
    named = NamedSilence.model_validate(SILENCE | {"silence": "s1"})
    assert (named.silence, named.record) == ("s1", Silence.model_validate(SILENCE))
    assert type(named.record) is Silence
    rule = NamedInhibition.model_validate(INHIBITION | {"inhibition": "power"})
    assert (rule.inhibition, rule.record) == ("power", Inhibition.model_validate(INHIBITION))
    assert type(rule.record) is Inhibition


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"matchers": []}, {"matchers": "must not be empty"}),
        ({"matchers": None}, {"matchers": "Input should be a valid tuple"}),
        (
            {"matchers": ["system=db-1", "system"]},
            {"matchers.1": "at the end: expected an operator: =, !=, =~ or !~"},
        ),
        (
            {"matchers": ["a=b,c=d"]},
            {"matchers.0": "must be one matcher such as severity=critical, and holds several"},
        ),
        (
            {"matchers": ["a=~{problem}", "a=b"]},
            {"matchers.0": "at character 4: expected a value; the empty one is \"\""},
        ),
        (
            {"matchers": ["a=b"] * (MATCHERS + 1)},
            {"matchers": "Tuple should have at most 32 items after validation, not 33"},
        ),
        ({"ends_at": "2026-12-01T12:00:00Z"}, {"ends_at": "must be after starts_at"}),
        ({"ends_at": "tomorrow"}, {"ends_at": "must be epoch seconds or RFC 3339 with a zone"}),
        ({"comment": ""}, {"comment": "String should have at least 1 character"}),
        ({"created_by": "a\nb"}, {"created_by": "must not contain control characters"}),
        ({"until": 1}, {"until": "Extra inputs are not permitted"}),
    ],
)  # fmt: skip
def test_a_silence_is_refused_by_field(change: dict[str, Any], refused: dict[str, str]) -> None:
    assert problems(Silence, SILENCE | change) == refused


@pytest.mark.parametrize("field", ["matchers", "ends_at", "comment"])
def test_a_silence_needs_its_matchers_its_end_and_a_comment(field: str) -> None:
    assert problems(Silence, {name: each for name, each in SILENCE.items() if name != field}) == {
        field: "Field required"
    }


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"source": []}, {"source": "must not be empty"}),
        ({"target": []}, {"target": "must not be empty"}),
        ({"source": ["a=="]}, {"source.0": 'at character 3: expected a value; the empty one is ""'}),
        ({"target": ["a=b", "}"]}, {"target.1": "at character 1: expected a label's name"}),
        ({"equal": [""]}, {"equal.0": "String should have at least 1 character"}),
        ({"equal": ["a" * (NAME_CHARS + 1)]}, {"equal.0": "String should have at most 200 characters"}),
        ({"equals": []}, {"equals": "Extra inputs are not permitted"}),
    ],
)
def test_an_inhibition_is_refused_by_field(change: dict[str, Any], refused: dict[str, str]) -> None:
    assert problems(Inhibition, INHIBITION | change) == refused


# Alertmanager 0.34, silence/silence.go: whether it takes a silence with these matchers.
ALERTMANAGER_TAKES: list[tuple[list[str], bool]] = [
    (["a=b"], True),
    ([], False),
    (['a=""'], False),
    (['a=""', 'b=~".*"'], False),
    (['b=~"x|"'], False),
    (['a=""', "b=c"], True),
    (['b=~".+"'], True),
    # It counts a negative one as not empty, although an alert without the label fits.
    (["a!=b"], True),
    (['a!=""'], True),
    (['a!~".+"'], True),
    (['a=""', "b!=c"], True),
    (["00=b"], True),
    (['""=b'], False),
    (['a=~"[b"'], False),
    (['a=~"b)|(c"'], False),
]


@pytest.mark.parametrize(("matchers", "is_taken"), ALERTMANAGER_TAKES)
def test_a_silence_is_taken_with_the_matchers_that_alertmanager_takes(matchers: list[str], *, is_taken: bool) -> None:
    document = SILENCE | {"matchers": matchers}
    if is_taken:
        Silence.model_validate(document)
    else:
        [place] = problems(Silence, document)
        assert place.startswith("matchers")


def test_a_silence_of_all_alerts_is_refused_in_clear_words() -> None:
    refused = problems(Silence, SILENCE | {"matchers": ['system=~".*"']})
    assert refused == {"matchers": "at least one must not match the empty text"}


@pytest.mark.parametrize(
    ("starts", "ends", "holds"),
    [
        (timedelta(minutes=1), timedelta(hours=1), False),
        (timedelta(), timedelta(hours=1), True),
        (-timedelta(hours=1), timedelta(microseconds=1), True),
        (-timedelta(hours=1), timedelta(), False),
        (None, timedelta(hours=1), True),
        (None, timedelta(), False),
    ],
)
def test_a_silence_holds_from_its_start_until_just_before_its_end(
    starts: timedelta | None, ends: timedelta, *, holds: bool
) -> None:
    document = SILENCE | {"starts_at": None if starts is None else NOW + starts, "ends_at": NOW + ends}
    assert Silence.model_validate(document).holds_at(NOW) is holds

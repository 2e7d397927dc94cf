"""Exports of incidents: every line that is not as it was written is found."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.chained_lines import chained, faults
from shared.core.incidents import Happened, Way

# Any text that a JSON text can hold, with halves of surrogate pairs and what other programs take for a line break.
_TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(["", "\u2028", "\x85", "\ud800", '"', "\\", "0" * 64])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from(["what", "by", "from", "note", "previous", "end", "format", "lines"]) | _TEXTS
_ENTRIES = st.fixed_dictionaries(
    {"at": st.datetimes().map(str), "what": st.sampled_from(list(Happened))},
    optional={"by": _TEXTS, "from": st.sampled_from(list(Way)), "note": _TEXTS},
) | st.dictionaries(_NAMES, _VALUES, max_size=5)
# The same entry twice in a row is what is hardest to tell from one that was duplicated.
_TIMELINES = st.lists(_ENTRIES, max_size=8) | st.builds(
    lambda entry, times: [entry] * times, _ENTRIES, st.integers(2, 4)
)


@st.composite
def exports(draw: st.DrawFn) -> list[str]:
    """An export, as the lines that were written."""
    head = draw(st.dictionaries(_NAMES, _VALUES, max_size=4))
    return list(chained(head, draw(_TIMELINES)))


@given(exports())
def test_what_nobody_touched_has_no_fault(lines: list[str]) -> None:
    assert faults(lines) == []
    assert not any("\n" in line for line in lines)
    assert "\n".join(lines).encode().decode().split("\n") == lines


@given(exports(), st.data())
def test_each_changed_line_is_found(lines: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    document: dict[str, Any] = json.loads(lines[at])
    name = data.draw(st.sampled_from(sorted(document)) | _TEXTS)
    change = data.draw(st.sampled_from(["value", "first", "name", "removed", "character", "spaces"]))
    if change == "value":
        document[name] = data.draw(_VALUES)
    elif change == "first":
        document = {name: data.draw(_VALUES), **document}
    elif change == "name":
        document = {f"{key}x" if key == name else key: value for key, value in document.items()}
    elif change == "removed":
        document.pop(name, None)
    changed = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    if change == "character":
        place = data.draw(st.integers(0, len(lines[at]) - 1))
        changed = lines[at][:place] + data.draw(st.characters()) + lines[at][place + 1 :]
    elif change == "spaces":
        changed = json.dumps(document, ensure_ascii=False)
    touched = [*lines[:at], changed, *lines[at + 1 :]]
    assert bool(faults(touched)) is (touched != lines)


@given(exports(), st.data())
def test_each_removed_line_is_found(lines: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(lines) - 1))
    last = data.draw(st.integers(first, len(lines) - 1))
    assert faults([*lines[:first], *lines[last + 1 :]])


@given(exports(), st.data())
def test_each_added_line_is_found(lines: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(lines)))
    added = data.draw(
        # One that is written as ours are and says what it follows, a line of this export, and anything.
        st.dictionaries(_NAMES, _VALUES, max_size=3).map(lambda each: _following(each, lines, at))
        | st.sampled_from(lines)
        | _TEXTS
    )
    assert faults([*lines[:at], added, *lines[at:]])


def _following(document: dict[str, Any], lines: list[str], at: int) -> str:
    former = json.loads(lines[min(at, len(lines) - 1)])["previous"]
    return json.dumps({**document, "previous": former}, ensure_ascii=False, separators=(",", ":"))


@given(exports(), st.data())
def test_each_duplicated_line_is_found(lines: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    assert faults([*lines[:at], lines[at], *lines[at:]])


@given(exports(), st.data())
def test_each_other_order_is_found(lines: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(lines))
    assert bool(faults(order)) is (order != lines)


@given(exports(), exports())
def test_one_export_behind_another_is_found(first: list[str], second: list[str]) -> None:
    assert faults([*first, *second])
    # The beginning of one, and the end of the other.
    mixed = [first[0], *second[1:]]
    assert bool(faults(mixed)) is (first[0] != second[0])


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], [(0, "there are no lines")]),
        ([""], [(1, "is no JSON object")]),
        (["[]"], [(1, "is no JSON object")]),
        (["[" * 100_000], [(1, "is no JSON object")]),
    ],
)
def test_what_is_no_export_has_faults(lines: list[str], found: list[tuple[int, str]]) -> None:
    assert faults(lines) == found


@pytest.mark.parametrize("more", ['"lines":2.0', '"lines":2,"x":1', '"lines":true'])
def test_end_says_how_many_lines_there_are_and_nothing_else(more: str) -> None:
    lines = list(chained({"id": "one"}, []))
    assert faults([lines[0], lines[1].replace('"lines":2', more)])


def test_fault_names_the_line_behind_which_something_is_missing() -> None:
    lines = list(chained({"id": "one"}, [{"what": "opened"}, {"what": "told"}]))
    assert faults([*lines[:1], *lines[2:]])[0] == (2, "does not follow the line before it")
    assert faults(lines[:-1]) == [(3, "is not the end")]
    assert faults(lines[1:])[0] == (1, "does not follow the line before it")

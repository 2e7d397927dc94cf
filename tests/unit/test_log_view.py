"""The readable view of the processes' logs."""

import json
from pathlib import Path

import pytest

from carillon.local import log_view
from carillon.local.log_view import LogView

_ENTRY = {
    "at": "2026-03-01T10:00:00.000+00:00",
    "level": "warning",
    "service": "email",
    "logger": "shared.delivery.loop",
    "event": "attempt failed",
    "channel": "email",
    "attempt": 2,
    "reason": "",
}


def append(log: Path, *lines: str) -> None:
    with log.open("a") as output:
        output.writelines(lines)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "email.log"


def test_for_a_program_every_line_is_an_object_with_its_process(log: Path) -> None:
    view = LogView([("email", log)], colour=False, as_json=True)
    append(log, json.dumps(_ENTRY) + "\n", "Traceback\n", "[1]\n")
    assert [json.loads(line) for line in view.news()] == [
        {"process": "email", **_ENTRY},
        {"process": "email", "message": "Traceback"},
        {"process": "email", "message": "[1]"},
    ]


def test_a_json_line_becomes_a_readable_one(log: Path) -> None:
    view = LogView([("email", log)], colour=False)
    append(log, json.dumps(_ENTRY) + "\n")
    [line] = view.news()
    assert line.endswith("email     attempt failed  channel=email attempt=2")
    assert list(view.news()) == []


def test_what_was_there_before_is_not_shown(log: Path) -> None:
    append(log, "old\n")
    view = LogView([("email", log)], colour=False)
    append(log, "new\n")
    assert [line.split() for line in view.news()] == [["email", "new"]]


def test_a_line_is_shown_when_it_is_complete(log: Path) -> None:
    view = LogView([("email", log)], colour=False)
    append(log, "half")
    assert list(view.news()) == []
    append(log, " and half\n")
    assert [line.split() for line in view.news()] == [["email", "half", "and", "half"]]


@pytest.mark.parametrize(
    "text", ["plain text", "[1]", '"text"', "{}", '{"at": "yesterday", "event": "x", "level": "info"}']
)
def test_a_line_of_another_shape_is_shown_as_it_is(log: Path, text: str) -> None:
    view = LogView([("email", log)], colour=False)
    append(log, text + "\n")
    assert [line.strip() for line in view.news()] == [f"email     {text}"]


def test_a_traceback_follows_its_line(log: Path) -> None:
    view = LogView([("email", log)], colour=False)
    append(log, json.dumps({**_ENTRY, "traceback": "Traceback (most recent call last):\n  …"}) + "\n")
    [line] = view.news()
    assert line.splitlines()[1] == "Traceback (most recent call last):"


def test_colours_are_put_in_only_when_they_are_asked_for(log: Path) -> None:
    view = LogView([("email", log)], colour=True)
    append(log, json.dumps(_ENTRY) + "\n")
    assert "\x1b[33mattempt failed" in next(view.news())


def test_a_file_that_is_too_long_begins_again_and_loses_nothing_of_the_view(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_view, "_FILE_LIMIT_BYTES", 100)
    view = LogView([("email", log)], colour=False)
    append(log, *(f"line {number}\n" for number in range(30)))
    assert len(list(view.news())) == 30
    assert log.stat().st_size == 0
    append(log, "line 30\n")
    assert [line.split()[-1] for line in view.news()] == ["30"]

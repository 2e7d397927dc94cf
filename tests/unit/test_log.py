"""One JSON object per line, or readable lines; both with what was given as ``extra``."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from shared.telemetry.log import configure, frames

log = logging.getLogger("shared.example")

Output = Callable[[], list[str]]


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Iterator[Output]:
    """What was written to stdout since the last look, by line."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in list(logging.root.manager.loggerDict)}
    yield lambda: list(capsys.readouterr().out.splitlines())
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def fail_and_log() -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        log.exception("task failed")


def read(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_each_record_is_one_json_object_on_one_line(output: Output) -> None:
    configure("INFO", "json", "router")
    log.info("slot taken", extra={"slot": 3, "text": "first\nsecond", "word": "grün"})
    log.warning("broker %s", "away")
    first, second = read(output())
    assert first.pop("at").endswith("+00:00")
    assert first == {
        "level": "info",
        "service": "router",
        "logger": "shared.example",
        "event": "slot taken",
        "slot": 3,
        "text": "first\nsecond",
        "word": "grün",
    }
    assert (second["level"], second["event"]) == ("warning", "broker away")


def test_a_traceback_stays_in_its_line(output: Output) -> None:
    configure("INFO", "json", "router")
    fail_and_log()
    (line,) = read(output())
    assert "ZeroDivisionError: division by zero" in line["traceback"]


def test_what_json_does_not_know_is_written_as_text(output: Output) -> None:
    configure("INFO", "json", "router")
    log.info("odd", extra={"error": RuntimeError("x"), "many": {1}})
    (line,) = read(output())
    assert (line["error"], line["many"]) == ("x", "{1}")


def test_readable_lines_leave_empty_extras_out(output: Output) -> None:
    configure("INFO", "console", "router")
    log.warning("attempt", extra={"attempt": 0, "reason": "", "detail": None, "provider": "smtp"})
    (line,) = output()
    assert line.split() == [line.split()[0], "!", "router", "attempt", "attempt=0", "provider=smtp"]


def test_readable_lines_show_a_traceback_below(output: Output) -> None:
    configure("INFO", "console", "router")
    fail_and_log()
    assert output()[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
@pytest.mark.parametrize("library", ["mqtt", "twilio", "aiohttp.access", "aioapns", "asyncio", "urllib3", "mail.log"])
def test_libraries_that_log_addresses_are_quiet_below_warning_and_below_our_level(
    output: Output, library: str, level: Literal["INFO", "ERROR"]
) -> None:
    configure(level, "json", "router")
    logging.getLogger(library).info("POST /token-of-somebody")
    assert output() == []
    logging.getLogger(library).warning("slow")
    assert bool(output()) == (level == "INFO")


def test_below_the_level_nothing_is_written(output: Output) -> None:
    configure("WARNING", "json", "router")
    log.info("not worth it")
    assert output() == []


def test_frames_say_where_and_nothing_of_what() -> None:
    secret = "planted" + "7secret"
    try:
        try:
            int(secret)
        except ValueError as error:
            raise KeyError(secret) from error
    except KeyError as error:
        where = frames(error)
    assert secret not in where
    assert [line for line in where.splitlines() if not line.startswith(" ")] == ["ValueError", "KeyError"]
    assert "test_log.py" in where


def test_line_with_half_a_surrogate_pair_is_written(output: Output) -> None:
    configure("INFO", "json", "router")
    log.info("taken", extra={"topic": "a\ud800b"})
    (line,) = output()
    assert json.loads(line)["topic"] == "a\ud800b"

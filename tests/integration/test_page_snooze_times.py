"""When the menu of the page offers to bring an entry back, by the clock of the person's own device."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.node_packages import NODE

PAGE = Path(__file__).parents[2] / "services" / "realtime" / "page"
DEADLINE_S = 30

_OFFER = """
const { snoozeTimes } = await import(process.argv[1] + "/snooze-times.js");
const local = (at) => new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
const offered = snoozeTimes(new Date(process.argv[2])).map(({ name, at_s }) => [name, local(new Date(at_s * 1000))]);
console.log(JSON.stringify(offered));
"""


def offered(now: str, zone: str) -> list[tuple[str, str]]:
    """Return the choices and their times on the device's clock."""
    command = [str(NODE), "--no-warnings", "--input-type=module", "--eval", _OFFER, str(PAGE), now]
    done = subprocess.run(  # noqa: S603 - our own command
        command, check=True, capture_output=True, timeout=DEADLINE_S, env={**os.environ, "TZ": zone}
    )
    return [(name, at) for name, at in json.loads(done.stdout)]


def test_in_the_morning_of_a_wednesday_everything_is_offered() -> None:
    assert offered("2026-03-04T09:30", "Europe/Berlin") == [
        ("hour", "2026-03-04T10:30"),
        ("evening", "2026-03-04T18:00"),
        ("tomorrow", "2026-03-05T09:00"),
        ("monday", "2026-03-09T09:00"),
    ]


@pytest.mark.parametrize("now", ["2026-03-04T17:00", "2026-03-04T23:59"])
def test_the_evening_is_not_offered_when_it_is_near_or_over(now: str) -> None:
    assert [name for name, _ in offered(now, "Europe/Berlin")] == ["hour", "tomorrow", "monday"]


def test_on_a_sunday_monday_is_tomorrow_and_on_a_monday_it_is_in_a_week() -> None:
    assert [name for name, _ in offered("2026-03-08T09:30", "UTC")] == ["hour", "evening", "tomorrow"]
    assert offered("2026-03-09T09:30", "UTC")[-1] == ("monday", "2026-03-16T09:00")


def test_the_clock_stays_right_when_it_changes_overnight() -> None:
    # In Berlin the clock went forward in the night to 2026-03-29, and an hour is an hour all the same.
    assert offered("2026-03-28T10:00", "Europe/Berlin")[2:] == [
        ("tomorrow", "2026-03-29T09:00"),
        ("monday", "2026-03-30T09:00"),
    ]
    assert offered("2026-03-29T01:30", "Europe/Berlin")[0] == ("hour", "2026-03-29T03:30")

"""Lengths of time as people write them in records: ``30s``, ``10m``, ``1h``, ``7d``; a number is seconds."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = re.compile(r"([0-9]{1,7})([smhd])", re.ASCII)
# What is shorter would be none where milliseconds are counted.
SHORTEST = timedelta(milliseconds=1)
LONGEST = timedelta(days=366)


def read_duration(value: object) -> timedelta:
    """Read a length of time, from a millisecond to a year.

    Raises:
        PydanticCustomError: it is none.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str) and (found := DURATION.fullmatch(value)):
        seconds = int(found[1]) * UNITS_S[found[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    else:
        raise PydanticCustomError("duration", "must be a length of time such as 30s, 10m, 1h or 7d")
    if not SHORTEST.total_seconds() <= seconds <= LONGEST.total_seconds():
        raise PydanticCustomError("duration", "must be at least a millisecond and at most 366d")
    return timedelta(seconds=seconds)


def written(length: timedelta) -> str | float:
    """Write a length of time in its largest whole unit."""
    seconds = length.total_seconds()
    for unit, unit_s in reversed(UNITS_S.items()):
        if seconds % unit_s == 0:
            return f"{round(seconds) // unit_s}{unit}"
    return seconds


def milliseconds(length: timedelta) -> int:
    """Return how many milliseconds it is."""
    return round(length.total_seconds() * 1000)


Duration = Annotated[timedelta, BeforeValidator(read_duration), PlainSerializer(written, when_used="json")]

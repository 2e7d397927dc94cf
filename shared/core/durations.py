"""Lengths of time as people write them in records: ``30s``, ``10m``, ``1h``, ``7d``; a number is seconds."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,7})([smhd])", re.ASCII)
LONGEST = timedelta(days=366)


def read_duration(value: object) -> timedelta:
    """Read a length of time, longer than none and at most a year.

    Raises:
        PydanticCustomError: it is none.
    """
    if isinstance(value, timedelta):
        length = value
    elif isinstance(value, str) and (found := _DURATION.fullmatch(value)):
        length = timedelta(seconds=int(found[1]) * _UNIT_S[found[2]])
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LONGEST.total_seconds():
        length = timedelta(seconds=value)
    else:
        raise PydanticCustomError("duration", "must be a length of time such as 30s, 10m, 1h or 7d")
    if not timedelta(0) < length <= LONGEST:
        raise PydanticCustomError("duration", "must be longer than none and at most 366d")
    return length


def written(length: timedelta) -> str | float:
    """Write a length of time in its largest whole unit."""
    seconds = length.total_seconds()
    for unit, unit_s in reversed(_UNIT_S.items()):
        if seconds % unit_s == 0:
            return f"{round(seconds) // unit_s}{unit}"
    return seconds


def milliseconds(length: timedelta) -> int:
    """Return how many milliseconds it is."""
    return round(length.total_seconds() * 1000)


Duration = Annotated[timedelta, BeforeValidator(read_duration), PlainSerializer(written, when_used="json")]

"""Durations as people type them: ``30s``, ``15m``, ``1.5h``, ``7d``; a bare number is seconds."""

import re
from datetime import timedelta

import click

_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhd]?)", re.ASCII)


class Duration(click.ParamType[timedelta]):
    """A command's option that is a length of time, longer than none."""

    name = "duration"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read what was typed."""
        if isinstance(value, timedelta):
            return value
        match = _DURATION.fullmatch(value)
        if not match or not float(match[1]):
            self.fail(f"{value!r} is not a length of time such as 30s, 15m, 1h or 7d", param, ctx)
        return timedelta(seconds=float(match[1]) * _UNIT_S[match[2]])


def spoken(length_s: int) -> str:
    """Write a length of time in its largest whole unit: ``7 days``."""
    for unit_s, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if length_s >= unit_s and length_s % unit_s == 0:
            count = length_s // unit_s
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{length_s} second{'' if length_s == 1 else 's'}"

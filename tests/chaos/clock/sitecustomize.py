"""Shifts the wall clock of one Python process: on its ``PYTHONPATH``, with ``CHAOS_CLOCK_SHIFT_S`` in its environment.

Promises that ``time.time`` and ``datetime.now`` are off by so much for everything that is imported later, and that the
monotonic clock is not: what a host with a wrong date looks like to a program.
"""

import datetime as dt
import os
import time

_SHIFT_S = float(os.environ.get("CHAOS_CLOCK_SHIFT_S", "0"))
_true_time_s = time.time
_true_time_ns = time.time_ns
_TrueDatetime = dt.datetime


def _time_s() -> float:
    return _true_time_s() + _SHIFT_S


def _time_ns() -> int:
    return _true_time_ns() + round(_SHIFT_S * 1e9)


class _AnyDatetime(type):
    """A datetime made by C code is one, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _TrueDatetime)


class _ShiftedDatetime(_TrueDatetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _TrueDatetime:  # type: ignore[override]
        """Return the shifted time."""
        return _TrueDatetime.now(tz) + dt.timedelta(seconds=_SHIFT_S)


if _SHIFT_S:
    time.time = _time_s
    time.time_ns = _time_ns
    dt.datetime = _ShiftedDatetime  # type: ignore[misc]

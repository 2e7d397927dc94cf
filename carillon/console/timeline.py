"""Lays the life of a notification out on a line, to scale: where each moment stands, and which stretches are left out.

A stretch in which nothing happens, and which is longer than nine tenths of all that is left, is cut out and drawn as a
gap of fixed width that says how long it was. So what takes 80 ms and is read a day later can both be seen. Each part
between two gaps is drawn to scale; the parts have scales of their own, and their ticks say so. Places are shares of
the width in percent, so that the drawing needs no script to fit a screen.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

# Of the time that is left. What is shorter can be seen beside what is longer.
_CUT_SHARE = 0.9
_CUTS_MOST = 4
# In percent of the width.
_GAP = 9.0
_MARGIN = 1.5
# So far apart that labels do not meet on a phone.
_TICK_APART = 19.0
_STEPS_S = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600,
    7200, 14400, 21600, 43200, 86400, 172800, 604800,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tick:
    """A place of the axis and what stands there, seconds after the beginning."""

    at: float
    after_s: float
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch that is left out: where it is drawn, and how long it was."""

    start: float
    end: float
    length_s: float

    @property
    def middle(self) -> float:
        """Where its label stands."""
        return (self.start + self.end) / 2


@dataclass(frozen=True, slots=True)
class _Part:
    begin_s: float
    end_s: float
    start: float
    end: float


class Scale:
    """Where moments stand.

    Args:
        moments: all that are to be drawn; one at least.
    """

    def __init__(self, moments: Iterable[datetime]) -> None:
        times = sorted(set(moments))
        self.begin = times[0]
        seconds = [(each - self.begin).total_seconds() for each in times]
        self.length_s = seconds[-1]
        cuts = _cuts(seconds)
        bounds = [0.0, *(side for cut in cuts for side in cut), self.length_s]
        spans = list(zip(bounds[::2], bounds[1::2], strict=True))
        # A part of many hours is not so much wider than one of seconds that this one cannot be read.
        weights = [1 + math.log10(1 + (end - begin) * 1000) if end > begin else 0.5 for begin, end in spans]
        room = 100 - 2 * _MARGIN - _GAP * len(cuts)
        self._parts: list[_Part] = []
        at = _MARGIN
        for (begin, end), weight in zip(spans, weights, strict=True):
            width = room * weight / sum(weights)
            self._parts.append(_Part(begin, end, at, at + width))
            at += width + _GAP

    @property
    def gaps(self) -> list[Gap]:
        """What is left out."""
        sides = itertools.pairwise(self._parts)
        return [Gap(round(one.end, 2), round(other.start, 2), other.begin_s - one.end_s) for one, other in sides]

    @property
    def has_own_scales(self) -> bool:
        """Whether the parts differ in scale."""
        return len(self._parts) > 1

    def at(self, moment: datetime) -> float:
        """Return where a moment stands, in percent of the width."""
        after_s = (moment - self.begin).total_seconds()
        for number, part in enumerate(self._parts):
            if after_s <= part.end_s or number == len(self._parts) - 1:
                if after_s < part.begin_s:
                    # Nothing that was laid out stands in a gap; what else does is drawn in it.
                    before = self._parts[number - 1]
                    share = (after_s - before.end_s) / (part.begin_s - before.end_s)
                    return round(before.end + share * (part.start - before.end), 2)
                length_s = part.end_s - part.begin_s
                share = min(1.0, (after_s - part.begin_s) / length_s) if length_s else 0.0
                return round(part.start + share * (part.end - part.start), 2)
        return round(self._parts[-1].end, 2)

    def ticks(self) -> list[Tick]:
        """Return the ticks of all parts, so far apart that their labels can be read."""
        found: list[Tick] = []
        for part in self._parts:
            width, length_s = part.end - part.start, part.end_s - part.begin_s
            first = Tick(round(part.start, 2), part.begin_s, "start" if part is self._parts[0] else "middle")
            if not found or first.at - found[-1].at >= _TICK_APART * 0.6:
                found.append(first)
            if not length_s:
                continue
            wanted = max(1, int(width / _TICK_APART))
            step_s = next((each for each in _STEPS_S if each >= length_s / wanted), _STEPS_S[-1])
            number = math.floor(part.begin_s / step_s) + 1
            while number * step_s <= part.end_s:
                at = part.start + (number * step_s - part.begin_s) / length_s * width
                if at - found[-1].at >= _TICK_APART * 0.75 and at <= 100 - _MARGIN - 4:
                    found.append(Tick(round(at, 2), number * step_s))
                number += 1
        return found


def _cuts(seconds: Sequence[float]) -> list[tuple[float, float]]:
    """Return the stretches to leave out, in their order."""
    stretches = sorted(itertools.pairwise(seconds), key=lambda each: each[0] - each[1])
    left = seconds[-1]
    cuts: list[tuple[float, float]] = []
    for begin, end in stretches[:_CUTS_MOST]:
        # The last two moments need no gap between them.
        if end - begin < _CUT_SHARE * left or len(stretches) - len(cuts) < 2:
            break
        cuts.append((begin, end))
        left -= end - begin
    return sorted(cuts)

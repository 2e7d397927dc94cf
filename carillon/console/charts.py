"""Small charts as numbers for SVG: what a template writes into ``d`` and ``viewBox``. No library, and no script."""

from collections.abc import Sequence
from dataclasses import dataclass

# Units of the picture, not pixels: the page stretches it.
WIDTH, HEIGHT = 240, 44
# Half the length of what is drawn of a single value.
_DASH = 1.5


@dataclass(frozen=True, slots=True)
class Spark:
    """A line over time, one value beside the other, and the area below it.

    Attributes:
        top: the value at the upper edge; several charts of the same scale have the same.
        marks: the places of values that are to be seen apart, such as failures: left edge and height.
    """

    values: Sequence[float | None]
    top: float
    marks: Sequence[tuple[float, float]] = ()

    @property
    def line(self) -> str:
        """The path of the line; a value that is not known breaks it, and one between two such is a dash."""
        runs: list[list[tuple[float, float]]] = [[]]
        for number, value in enumerate(self.values):
            if value is None:
                runs.append([])
            else:
                runs[-1].append((self._x(number), self._y(value)))
        for run in runs:
            if len(run) == 1:
                ((x, y),) = run
                run[:] = [(max(0.0, x - _DASH), y), (min(float(WIDTH), x + _DASH), y)]
        return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs if run)

    @property
    def area(self) -> str:
        """The path of the area; only where every value is known."""
        if len(self.values) < 2 or any(value is None for value in self.values):
            return ""
        return f"{self.line}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z"

    def _x(self, number: int) -> float:
        return number * WIDTH / max(1, len(self.values) - 1)

    def _y(self, value: float) -> float:
        # Half a unit of room, so that the line at the top is not cut.
        return HEIGHT - 0.5 - min(value / self.top, 1.0) * (HEIGHT - 2) if self.top else HEIGHT - 0.5


def spark(values: Sequence[float | None], *, top: float | None = None, failures: Sequence[float] = ()) -> Spark:
    """Draw values.

    Args:
        top: the value at the upper edge; None for the largest of them.
        failures: as many; where one is not 0 there is a mark.
    """
    highest = top if top is not None else max((value for value in values if value is not None), default=0.0)
    step = WIDTH / max(1, len(values) - 1)
    marks = [(number * step, 6.0) for number, value in enumerate(failures) if value]
    return Spark(values, highest, marks)

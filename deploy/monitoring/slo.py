"""The delivery objectives: what part of the deliveries arrives how soon, by priority.

Measured from acceptance (or the planned time) to the provider's answer, as ``carillon_delivery_latency_seconds`` does.
Deliveries that do not arrive are not part of it: expired and open deliveries and dead letters have their own alerts.
"""

from dataclasses import dataclass

from shared.core.model import Priority


@dataclass(frozen=True)
class Objective:
    """A part of a priority's deliveries that has to arrive within a time.

    Attributes:
        within_s: an upper bound of one of the histogram's buckets.
        part: below 1; the rest is the error budget.
    """

    within_s: float
    part: float

    @property
    def budget(self) -> float:
        """The part that may be late."""
        return round(1 - self.part, 6)


OBJECTIVES = {
    Priority.CRITICAL: Objective(10, 0.999),
    Priority.HIGH: Objective(60, 0.995),
    Priority.NORMAL: Objective(300, 0.99),
    Priority.LOW: Objective(1800, 0.99),
}

# With fewer deliveries in the longer window a single late one would raise the alert.
ENOUGH = 20


@dataclass(frozen=True)
class BurnRate:
    """How fast a month's budget is spent, seen over two windows: the longer one says that it matters, the shorter one
    that it goes on (Google's SRE workbook, "Alerting on SLOs", 6: multiwindow, multi-burn-rate).
    """  # noqa: D205 - one sentence

    factor: float
    long: str
    short: str


FAST = (BurnRate(14.4, "1h", "5m"), BurnRate(6, "6h", "30m"))
SLOW = (BurnRate(3, "1d", "2h"),)
WINDOWS = tuple(dict.fromkeys(window for burn in (*FAST, *SLOW) for window in (burn.short, burn.long)))

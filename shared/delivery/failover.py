"""Choosing among routes: several providers that could carry the same delivery, in the operator's order of preference.

Promises that a route that fails, holds us off or has become much slower than another one is asked last or not at all
until a single delivery, the probe, has found it well again; and that nothing is ever left without a route that could
be asked. It only counts: who sends, and whether a failure may be tried elsewhere, is ``shared.delivery.loop``'s
business.

Where only one route can carry a delivery nothing here holds it back, because its answers (a 429 of APNs, a greylisting)
are often about one recipient, and every delivery waits for its own time anyway.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.core.errors import (
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
    Unjudged,
)
from shared.delivery.retry import RETRY_AFTER_MAX, RETRY_AFTER_MIN

# How long an urgent delivery, or a probe, waits for a route to be reached while a healthy one stands by.
REACH_S = 1.0
# After these a route is left alone at once: nobody is there. Others count only in a row, one may be the recipient's.
_AWAY = frozenset({Reason.NETWORK, Reason.TIMEOUT})
FAILURES_IN_A_ROW = 3
# When a route that failed is probed; doubles with each failed probe.
AVOID_FIRST_S = 5.0
AVOID_MOST_S = 60.0
# One that refuses us is probed as often as the delivery loop allows, because people are repairing it.
AVOID_REFUSED_S = 1.0
# An urgent delivery is a probe only where nothing else has probed the route for this long after its time.
URGENT_PROBE_S = 30.0
# A probe that was never heard of again, for example because its attempt was cancelled.
PROBE_LAPSES_S = 60.0
# Slower than this, and so many times slower than another route: asked after it.
SLOW_S = 0.5
SLOW_FACTOR = 4.0
# The weight of the newest measurement in the moving average.
_NEWEST = 0.2


@dataclass(frozen=True, slots=True)
class Choice:
    """A route that may be asked.

    Attributes:
        hurry: a healthy route stands by, so do not wait longer than ``REACH_S`` for this one to be reached.
    """

    name: str
    hurry: bool


@dataclass(slots=True)
class _Health:
    """How a route has been doing; times are of the monotonic clock."""

    failures: int = 0
    latency_s: float | None = None
    avoid_s: float = 0.0
    avoided_until_s: float | None = None
    held_until_s: float = 0.0
    probed_at_s: float | None = None

    def avoid(self, now_s: float, first_s: float, most_s: float) -> None:
        # What failed while it was avoided already says nothing new, unless it was the probe.
        if self.avoided_until_s is None or self.probed_at_s is not None:
            self.avoid_s = min(max(self.avoid_s * 2, first_s), most_s)
            self.avoided_until_s = now_s + self.avoid_s
            self.probed_at_s = None

    def is_due(self, now_s: float, urgent: bool) -> bool:
        """Tell whether a probe may be made."""
        if self.avoided_until_s is None:
            return False
        if self.probed_at_s is not None and now_s < self.probed_at_s + PROBE_LAPSES_S:
            return False
        return now_s >= self.avoided_until_s + (URGENT_PROBE_S if urgent else 0.0)

    def measure(self, duration_s: float) -> None:
        # A route that was away is measured afresh: what it was before says little.
        if self.latency_s is None or self.avoided_until_s is not None:
            self.latency_s = duration_s
        else:
            self.latency_s += _NEWEST * (duration_s - self.latency_s)


class Failover:
    """The health of routes.

    Args:
        names: all routes, each a provider's name.
        monotonic_s: the clock.
    """

    def __init__(self, names: Sequence[str], monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._health = {name: _Health() for name in names}
        self._monotonic_s = monotonic_s

    def choose(self, names: Sequence[str], *, urgent: bool) -> list[Choice]:
        """Say which routes to ask for one delivery, the best first.

        A route that is due for its probe comes first, once; urgent deliveries leave that to others.

        Args:
            names: the routes that can carry the delivery, in order of preference.
            urgent: late is worse than anything else.

        Returns:
            Empty only when every route asked us to wait, see ``held_s``.
        """
        if len(names) == 1:
            return [Choice(names[0], hurry=False)]
        now_s = self._monotonic_s()
        open_ = [name for name in names if self._health[name].held_until_s <= now_s]
        healthy = [name for name in open_ if self._health[name].avoided_until_s is None]
        # Those that come back soonest first; sorting keeps the order of preference where that is equal.
        rest = sorted(
            (name for name in open_ if name not in healthy), key=lambda name: self._health[name].avoided_until_s or 0.0
        )
        probe = next((name for name in rest if self._health[name].is_due(now_s, urgent)), None)
        if probe is not None:
            self._health[probe].probed_at_s = now_s
            rest.remove(probe)
        order = [*([probe] if probe else []), *healthy, *rest]
        last_healthy = order.index(healthy[-1]) if healthy else -1
        return [
            Choice(name, hurry=position < last_healthy and (urgent or name == probe))
            for position, name in enumerate(order)
        ]

    def not_asked(self, name: str) -> None:
        """Take note that a chosen route was not asked after all, so that the next delivery may be the probe."""
        self._health[name].probed_at_s = None

    def held_s(self, names: Sequence[str]) -> float:
        """Return the seconds until the first of these routes may be asked again; 0 when one may be now."""
        now_s = self._monotonic_s()
        return max(0.0, min(self._health[name].held_until_s for name in names) - now_s)

    def note(self, name: str, rivals: Sequence[str], error: DeliveryError | None, duration_s: float) -> None:
        """Take note of how asking a route ended.

        Args:
            rivals: the routes that could have carried the same delivery.
            error: None when the route took it.
            duration_s: how long that took.
        """
        health, now_s = self._health[name], self._monotonic_s()
        match error:
            case ProviderMisconfigured():
                health.avoid(now_s, AVOID_REFUSED_S, AVOID_REFUSED_S)
            case TemporaryFailure(reason=Reason.RATE_LIMITED, retry_after=asked) if asked is not None:
                wait = min(max(asked, RETRY_AFTER_MIN), RETRY_AFTER_MAX)
                health.held_until_s = max(health.held_until_s, now_s + wait.total_seconds())
                health.probed_at_s = None
            case DeliveryRefused() | PermanentFailure(code="") | TemporaryFailure(reason=Reason.OWN_LIMIT) | Unjudged():
                # A rule or a limit of ours: nobody was asked. Or nobody knows what the answer says about the route.
                health.probed_at_s = None
            case TemporaryFailure(reason=Reason.MAILBOX_FULL):
                self._recover(health)
            case TemporaryFailure() | OutcomeUnknown():
                health.failures += 1
                if error.reason in _AWAY or health.failures >= FAILURES_IN_A_ROW or health.probed_at_s is not None:
                    health.avoid(now_s, AVOID_FIRST_S, AVOID_MOST_S)
            case None:
                health.measure(duration_s)
                if self._is_slow(name, rivals):
                    health.avoid(now_s, AVOID_FIRST_S, AVOID_MOST_S)
                else:
                    self._recover(health)
            case _:
                # It answered about the recipient or the content, as a route does that is well.
                self._recover(health)

    @staticmethod
    def _recover(health: _Health) -> None:
        health.failures = 0
        health.avoid_s = 0.0
        health.avoided_until_s = health.probed_at_s = None

    def _is_slow(self, name: str, rivals: Sequence[str]) -> bool:
        """Compare with the healthy rivals; one that was never measured is given the benefit of the doubt."""
        latency_s = self._health[name].latency_s or 0.0
        if latency_s <= SLOW_S:
            return False
        others = (self._health[rival] for rival in rivals if rival != name)
        return any(
            (other.latency_s or 0.0) * SLOW_FACTOR < latency_s for other in others if other.avoided_until_s is None
        )

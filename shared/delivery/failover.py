"""Choosing among routes: several providers that could carry the same delivery, in the operator's order of preference.

Promises:

- A route that fails, or has become much slower than another one, is asked last until a single delivery, the probe,
  finds it well again.
- A route that told us how long to wait is not asked before.
- A delivery always has a route to ask, unless every route told us to wait.

If only one route can carry a delivery, nothing here holds it back. Its answers (a 429 of APNs, a greylisting) are often
about one recipient, and every delivery waits for its own time anyway.

``shared.delivery.provider_health`` knows how a route is doing. ``shared.delivery.loop`` sends, and decides whether a
failure may be tried on another route.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.delivery.provider_health import ProviderHealth

# How long an urgent delivery, or a probe, waits for a route to be reached while a healthy one stands by.
REACH_S = 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """A route that may be asked.

    Attributes:
        hurry: a healthy route stands by, so do not wait longer than ``REACH_S`` for this one to be reached.
    """

    name: str
    hurry: bool


def choose(routes: Mapping[str, ProviderHealth], *, urgent: bool) -> list[Choice]:
    """Say which routes to ask for one delivery, the best first.

    A route that is due for its probe comes first, once; urgent deliveries leave that to others.

    Args:
        routes: those that can carry the delivery, in order of preference.
        urgent: late is worse than anything else.

    Returns:
        Empty only when every route asked us to wait, see ``held_s``.
    """
    if len(routes) == 1:
        return [Choice(name, hurry=False) for name in routes]
    open_ = {name: health for name, health in routes.items() if not health.held_s()}
    healthy = [name for name, health in open_.items() if not health.is_avoided]
    # Those that come back soonest first; sorting keeps the order of preference where that is equal.
    rest = sorted((name for name in open_ if name not in healthy), key=lambda name: open_[name].probe_due_s)
    probe = next((name for name in rest if open_[name].wants_probe(urgent=urgent)), None)
    if probe is not None:
        open_[probe].begin_probe()
        rest.remove(probe)
    order = [*([probe] if probe else []), *healthy, *rest]
    last_healthy = order.index(healthy[-1]) if healthy else -1
    return [
        Choice(name, hurry=position < last_healthy and (urgent or name == probe)) for position, name in enumerate(order)
    ]


def held_s(routes: Mapping[str, ProviderHealth]) -> float:
    """Return the seconds until the first of these routes may be asked again; 0 when one may be now."""
    return min(health.held_s() for health in routes.values())

"""How often each client may ask: a burst, and then a steady rate (a token bucket for each).

Promises bounded memory: ``RATES_KEPT`` clients are remembered. The client that has not asked for the longest time is
forgotten first, and its burst begins anew. Counts what one process sees.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

# Some 150 bytes each.
RATES_KEPT = 10_000


class Rates:
    """Buckets by name.

    Args:
        per_s: how many asks come back each second.
        burst: how many may come at once.
        monotonic_s: the clock that they come back by.
    """

    def __init__(self, per_s: float, burst: float, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = max(1.0, burst)
        self._monotonic_s = monotonic_s
        # Name -> what was left of its burst, and when. The one that asked last stands at the end.
        self._credits: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._credits)

    def take(self, name: str) -> float:
        """Count one request: 0 if it is granted, else the seconds to wait. A refused request costs nothing."""
        now_s = self._monotonic_s()
        credit, since_s = self._credits.pop(name, (self._burst, now_s))
        credit = min(self._burst, credit + (now_s - since_s) * self._per_s)
        wait_s = 0.0 if credit >= 1 else (1 - credit) / self._per_s
        self._credits[name] = (credit if wait_s else credit - 1, now_s)
        if len(self._credits) > RATES_KEPT:
            self._credits.popitem(last=False)
        return wait_s

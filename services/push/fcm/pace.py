"""How fast requests may go to a provider: at an even rate, and not at all while it asks us to wait.

Promises no more than the rate on average, and at most the requests of a tenth of a second at once. Nobody takes a turn
that comes too late for him. Counts for one process: several with the same account share its quota.
"""

import time
from collections.abc import Callable
from datetime import timedelta

# What may go out at once after a pause: enough that a trickle is not slowed down, too little for a spike.
_BURST_S = 0.1


class Pace:
    """The pace of one provider.

    Args:
        per_second: sends a second.
        monotonic_s: the clock.
    """

    def __init__(self, per_second: int, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 1 / per_second
        self._monotonic_s = monotonic_s
        # When the next send would be due if all came evenly.
        self._next_s = monotonic_s()
        self._held_until_s = monotonic_s()

    def hold(self, wait: timedelta) -> None:
        """Send nothing for so long."""
        self._held_until_s = max(self._held_until_s, self._monotonic_s() + wait.total_seconds())

    @property
    def held(self) -> timedelta:
        """For how long nothing is to be sent."""
        return timedelta(seconds=max(0.0, self._held_until_s - self._monotonic_s()))

    def take(self, within: timedelta) -> timedelta:
        """Take the next turn, unless it comes too late. Return how long to wait for it.

        Args:
            within: a turn that is later is left to others.
        """
        now_s = self._monotonic_s()
        turn_s = max(self._next_s, now_s - _BURST_S)
        wait = timedelta(seconds=max(0.0, turn_s - now_s))
        if wait <= within:
            self._next_s = turn_s + self._interval_s
        return wait

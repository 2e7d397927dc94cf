"""When the next attempt is made: a pure function of the attempt, so that it is tested without waiting.

Nothing here sleeps; the caller writes the due time into the ledger. There is no limit of attempts: a delivery is tried
until it expires.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from shared.core.model import Priority

RETRY_AFTER_MIN = timedelta(seconds=1)
RETRY_AFTER_MAX = timedelta(hours=1)


def asked_wait(retry_after: timedelta) -> timedelta:
    """Return how long to wait where a provider asked us to: as it said, within reason."""
    return min(max(retry_after, RETRY_AFTER_MIN), RETRY_AFTER_MAX)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full jitter under a ceiling that doubles with each attempt.

    Full jitter spreads a crowd of retries evenly, see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    first_wait: timedelta = timedelta(seconds=2)
    max_wait: timedelta = timedelta(minutes=5)
    max_wait_critical: timedelta = timedelta(seconds=30)

    def wait(
        self,
        attempt: int,
        priority: Priority,
        retry_after: timedelta | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> timedelta:
        """Return how long to wait after attempt number ``attempt`` (counted from 1) failed.

        Args:
            attempt: the number of the attempt that failed.
            priority: critical deliveries wait at most ``max_wait_critical``, unless the provider asked for longer.
            retry_after: what the provider asked for; clamped to 1 s..1 h and never undercut.
            uniform: the source of jitter.
        """
        longest = self.max_wait_critical if priority is Priority.CRITICAL else self.max_wait
        # The exponent is bounded so that a delivery tried for days does not overflow a float.
        ceiling = min(longest, self.first_wait * 2 ** min(attempt - 1, 32))
        jittered = timedelta(seconds=uniform(0, ceiling.total_seconds()))
        return jittered if retry_after is None else asked_wait(retry_after) + jittered

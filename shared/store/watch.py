"""Checks that the store keeps its data: at start and once a minute, shown in readiness, metrics and the log.

- A store that evicts loses accepted notifications when its memory is full. A process does not start on such a store,
  unless ``REDIS_ALLOW_EVICTION`` allows it. A store that is changed to evict while the process runs is reported.
- A store without an append-only file loses everything when its process dies. That is a warning, because there are other
  ways to keep data.
- If our user may not call INFO, the check is not possible. That is a warning, too.
"""

import asyncio
import logging
import random

from redis.exceptions import ResponseError

from shared.core.errors import ConfigError, StoreUnavailable
from shared.store.store import Store
from shared.telemetry import metrics

log = logging.getLogger(__name__)

INTERVAL_S = 60.0
# How soon a store that did not answer at start is asked again.
_AWAY_S = 1.0

# Redis configuration, maxmemory-policy: every other one removes keys when the memory is full.
_KEEPS_ALL = "noeviction"


class StoreWatch:
    """Watches how the store of one process is set up.

    Args:
        allow_eviction: an eviction policy is no reason not to work.
    """

    def __init__(self, store: Store, *, allow_eviction: bool, interval_s: float = INTERVAL_S) -> None:
        self._store = store
        self._allow_eviction = allow_eviction
        self._interval_s = interval_s
        self._policy = _KEEPS_ALL
        self._keeps_file = True
        self._was_asked = False
        self._is_told_why_not = False

    @property
    def is_safe(self) -> bool:
        """Whether the store never evicts, or is allowed to."""
        return self._allow_eviction or self._policy == _KEEPS_ALL

    async def at_start(self) -> None:
        """Look once, before any work is taken; if the store does not answer, ``run`` looks later.

        Raises:
            ConfigError: the store evicts, and nobody has allowed it.
        """
        try:
            await self._look()
        except StoreUnavailable:
            log.debug("store away, not asked how it is set up")

    async def run(self) -> None:
        """Look again and again until cancelled.

        Raises:
            ConfigError: the store was away at start, and evicts.
        """
        while True:
            pause_s = self._interval_s if self._was_asked else min(_AWAY_S, self._interval_s)
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            await self.at_start()

    async def _look(self) -> None:
        try:
            memory, persistence = await asyncio.gather(self._store.info("memory"), self._store.info("persistence"))
        except ResponseError as error:
            if not self._is_told_why_not:
                log.warning("store does not say how it is set up", extra={"why": type(error).__name__})
            self._is_told_why_not = self._was_asked = True
            return
        policies = {server.get("maxmemory_policy", _KEEPS_ALL) for server in memory}
        evicting = sorted(policies - {_KEEPS_ALL})
        self._take_policy(evicting[0] if evicting else _KEEPS_ALL)
        self._take_file(keeps=all(server.get("aof_enabled", "1") == "1" for server in persistence))
        self._was_asked = True

    def _take_policy(self, policy: str) -> None:
        before, self._policy = self._policy, policy
        metrics.store_may_evict.set(policy != _KEEPS_ALL)
        if not self._was_asked and not self.is_safe:
            raise ConfigError(
                f"REDIS_URL: this Redis drops records when its memory is full (maxmemory-policy {policy});"
                f" set it to {_KEEPS_ALL}, or REDIS_ALLOW_EVICTION=true to start all the same"
            )
        if policy == before:
            return
        if policy == _KEEPS_ALL:
            log.info("store keeps everything again")
        else:
            log.error("store may drop records when its memory is full", extra={"maxmemory_policy": policy})

    def _take_file(self, *, keeps: bool) -> None:
        before, self._keeps_file = self._keeps_file, keeps
        metrics.store_append_only.set(keeps)
        if before and not keeps:
            log.warning("store keeps no append-only file: what is accepted is lost with its process")
        elif keeps and not before:
            log.info("store keeps an append-only file again")

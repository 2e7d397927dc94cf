"""What one process of a channel knows about pauses by hand, and what it does when one ends.

Promises:

- One read a second, of this channel's own names, whatever is sent. While the store is away, what was read last holds,
  and a pause still ends at its end.
- What finds its provider paused looks again ``LOOKS_PER_S`` times a second, all together, however urgent. Nothing
  waits longer than ``LONGEST_PAUSED_WAIT_S`` for its look, so a very large backlog looks more often.
- At the end of a pause, what waited is brought forward: the critical ones first, some hundred a second. So is what a
  process finds waiting that begins after that end.

Not promised: that what is under way stops. An attempt that has begun goes on to its end.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta

from redis.exceptions import ResponseError

from shared.core.errors import StoreUnavailable
from shared.core.model import Channel
from shared.delivery.by_hand import Pause, Target
from shared.ledger.schedule import LONGEST_PAUSED_WAIT_S
from shared.store.keys import Keys
from shared.store.store import Store, each
from shared.telemetry import metrics

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
LOOKS_PER_S = 10.0
# Looks at the end of a pause are spread over so long, for the case that nobody brings them forward.
_AFTER_THE_END_S = (1.0, 30.0)
# What may have arrived is not brought forward, because it waits for a reason of its own.
_IN_DOUBT_MOST_S = 300.0


class PauseWatch:
    """Knows which providers of a channel are paused by hand.

    Args:
        providers: their names.
        on_end: called when a pause is over: what waited is to be brought forward.
        monotonic_s: the clock.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        channel: Channel,
        providers: Collection[str],
        *,
        on_end: Callable[[], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._key = f"{keys.providers}:paused"
        self._channel = channel
        self._targets = {name: (Target(channel), Target(channel, name)) for name in providers}
        self._names = [str(Target(channel)), *(str(Target(channel, name)) for name in providers)]
        self._on_end = on_end
        self._monotonic_s = monotonic_s
        self._texts: list[bytes | None] = []
        # Until when, by the clock, each target is paused.
        self._until_s: dict[Target, float] = {}
        self._shown: frozenset[str] = frozenset()
        self._last_turn_s = 0.0
        self._has_looked = self._is_told_why_not = False
        self._show()

    def is_paused(self, provider: str) -> bool:
        """Tell whether nothing may be sent through a provider."""
        return self._left_s(provider) > 0

    def wait(self, providers: Iterable[str], *, in_doubt: bool = False) -> timedelta:
        """Say when a delivery looks again whose providers are all paused, behind those that wait already."""
        now_s = self._monotonic_s()
        self._last_turn_s = max(self._last_turn_s, now_s) + 1 / LOOKS_PER_S
        self._last_turn_s = min(self._last_turn_s, now_s + LONGEST_PAUSED_WAIT_S)
        turn_s = max(1.0, self._last_turn_s - now_s)
        if in_doubt:
            turn_s = min(turn_s, _IN_DOUBT_MOST_S * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        ends_s = min(map(self._left_s, providers)) + random.uniform(*_AFTER_THE_END_S)  # noqa: S311 - jitter
        return timedelta(seconds=min(turn_s, ends_s))

    async def look(self) -> None:
        """Read what is paused.

        Raises:
            StoreUnavailable: it does not answer; what was read last holds.
        """
        asked = self._store.submit("TIME"), self._store.submit("HMGET", self._key, *self._names)
        clock, texts = await each(asked)
        if isinstance(texts, ResponseError):
            self._told_why_not(texts)
            return
        self._take(list(texts), int(clock[0]) * 1000 + int(clock[1]) // 1000)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S * random.uniform(0.8, 1.0))  # noqa: S311 - jitter
            try:
                await self.look()
            except StoreUnavailable:
                # Its connection tells of that. A pause may have reached its end meanwhile.
                self._show()

    def _left_s(self, provider: str) -> float:
        now_s = self._monotonic_s()
        return max(self._until_s.get(target, now_s) - now_s for target in self._targets[provider])

    def _take(self, texts: list[bytes | None], now_ms: int) -> None:
        now_s = self._monotonic_s()
        pauses = [self._read(name, text) for name, text in zip(self._names, texts, strict=True)]
        left_s = {each.target: (each.until.timestamp() * 1000 - now_ms) / 1000 for each in pauses if each is not None}
        was_paused = self._paused()
        self._until_s = {target: now_s + left for target, left in left_s.items() if left > 0}
        # A process that begins may find waiting what nobody has let go.
        lately = not self._has_looked and any(-LONGEST_PAUSED_WAIT_S <= left <= 0 for left in left_s.values())
        self._has_looked, self._is_told_why_not, self._texts = True, False, texts
        self._show()
        if lately or was_paused - self._paused():
            self._on_end()

    def _read(self, name: str, text: bytes | None) -> Pause | None:
        pause = Pause.read(Target.read(name), text)
        if text is not None and pause is None and text not in self._texts:
            log.error("pause by hand cannot be read", extra={"target": name})
        return pause

    def _paused(self) -> frozenset[str]:
        return frozenset(name for name in self._targets if self.is_paused(name))

    def _show(self) -> None:
        paused = self._paused()
        for name in self._targets:
            metrics.series(metrics.provider_paused_by_hand, self._channel, name).set(name in paused)
        for word, names in (("paused by hand", paused - self._shown), ("no more paused by hand", self._shown - paused)):
            for name in sorted(names):
                log.info(word, extra={"channel": self._channel.value, "provider": name})
        self._shown = paused

    def _told_why_not(self, error: ResponseError) -> None:
        if not self._is_told_why_not:
            log.error("pauses by hand cannot be read", extra={"why": str(error)[:200]})
        self._is_told_why_not = True

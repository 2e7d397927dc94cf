"""A limit on forgetting, so that a mistake does not remove addresses in masses.

A wrong setting, or a fault at a provider, can make every address look gone. Promises that forgetting stops when too
many answers ask for it: more than ``SHARE`` of the answers of the last five minutes, or more than ``HOURLY_SHARE`` of
all known addresses within an hour. A few are always allowed (``FREE_IN_WINDOW``, ``FREE_IN_HOUR``). Forgetting resumes
by itself when the share is lower again.

It counts only what this process saw. It decides only whether an address is forgotten: the delivery that got the answer
ends as it would have without the limit.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from shared.core.model import Channel
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# Share of the answers of five minutes. Lists in use lose a few addresses in a thousand; a wrong setting affects all.
WINDOW_S = 300.0
SHARE = 0.05
# Share of all addresses: the most that a slow mistake may cost before somebody looks.
HOUR_S = 3600.0
HOURLY_SHARE = 0.01
# So few addresses may always be forgotten: shares of small numbers say nothing.
FREE_IN_WINDOW = 10
FREE_IN_HOUR = 100

# Answers are counted in steps, so that memory does not grow with traffic.
_STEP_S = 10.0


@dataclass(slots=True)
class _Step:
    began_s: float
    answers: int = 0
    gone: int = 0


class _Window:
    """Counts within the last so many seconds, to the precision of a step."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._steps: deque[_Step] = deque()
        self.answers = 0
        self.gone = 0

    def add(self, now_s: float, *, gone: bool) -> None:
        self.move_on(now_s)
        if not self._steps or now_s - self._steps[-1].began_s >= _STEP_S:
            self._steps.append(_Step(now_s))
        self._steps[-1].answers += 1
        self._steps[-1].gone += gone
        self.answers += 1
        self.gone += gone

    def move_on(self, now_s: float) -> None:
        while self._steps and now_s - self._steps[0].began_s >= self._length_s:
            old = self._steps.popleft()
            self.answers -= old.answers
            self.gone -= old.gone


class ForgettingLimit:
    """The limit of one channel.

    Args:
        monotonic_s: the clock.
        by_answers: whether the share of the answers counts. It cannot where only those who are gone are heard of; then
            no more than ``FREE_IN_HOUR`` are forgotten within an hour while ``known`` is 0.

    Attributes:
        known: how many addresses there are in all; the owner updates it from time to time. While it is None, only the
            share of the answers counts.
    """

    def __init__(
        self, channel: Channel, monotonic_s: Callable[[], float] = time.monotonic, *, by_answers: bool = True
    ) -> None:
        self.known: int | None = None
        self._channel = channel.value
        self._monotonic_s = monotonic_s
        self._by_answers = by_answers
        self._window = _Window(WINDOW_S)
        self._hour = _Window(HOUR_S)
        self._is_on = False
        metrics.forgetting_stopped.labels(self._channel).set(0)

    @property
    def is_on(self) -> bool:
        """Whether nothing is forgotten at the moment."""
        return self._is_on

    def answered(self) -> None:
        """Count an answer that leaves the address as it is."""
        self._count(gone=False)

    def may_forget(self) -> bool:
        """Count an answer that says the address is gone, and tell whether to forget it."""
        self._count(gone=True)
        return not self._is_on

    def _count(self, *, gone: bool) -> None:
        now_s = self._monotonic_s()
        self._window.add(now_s, gone=gone)
        self._hour.add(now_s, gone=gone)
        on = self._by_answers and self._window.gone > max(FREE_IN_WINDOW, SHARE * self._window.answers)
        if self.known is not None:
            on |= self._hour.gone > max(FREE_IN_HOUR, HOURLY_SHARE * self.known)
        if on == self._is_on:
            return
        self._is_on = on
        metrics.forgetting_stopped.labels(self._channel).set(on)
        if on:
            log.error("forgetting addresses stopped", extra={"channel": self._channel})
        else:
            log.info("forgetting addresses resumed", extra={"channel": self._channel})

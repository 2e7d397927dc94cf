"""What one process knows about a provider, and how often it may be asked while it refuses us or is away.

Promises that a provider that refuses us is asked by one delivery a second at most, that what waits for one that is away
comes back one by one, ``TURNS_PER_S`` times a second (more often where so much waits that its turn would be later than
``LONGEST_TURN_S``), and that the end of such a time is noticed by the first answer. Without the turns a
crowd that waits for a relay asks for it hundreds of times a second, and takes the processor from every other channel.
"""

import logging
import time
from collections.abc import Callable

from shared import metrics
from shared.errors import DeliveryRefused, OutcomeUnknown, ProviderMisconfigured, Reason, TemporaryFailure
from shared.model import Channel

log = logging.getLogger(__name__)

# A provider that refuses us is asked again at most this often.
PROBE_INTERVAL_S = 1.0

# So many failures in a row, with nothing taken or judged between them, are no accidents of single deliveries.
AWAY_AFTER = 10
# Those that a provider which is away brings about. A limit or a full mailbox is somebody's answer.
_AWAY = frozenset({Reason.NETWORK, Reason.TIMEOUT, Reason.UNAVAILABLE, Reason.BAD_ANSWER})

# Deliveries that come back, together, while a provider is away; one after the other.
TURNS_PER_S = 5.0
# Nobody's turn is later. Where the provider is away for this process alone, another one may take the row then.
LONGEST_TURN_S = 60.0


class Gate:
    """Keeps deliveries from a provider that refuses us, lets one probe through now and then, and gives out turns.

    Args:
        monotonic_s: the clock that probes and turns are counted by.
    """

    def __init__(self, channel: Channel, provider: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._labels = {"channel": channel.value, "provider": provider}
        self._monotonic_s = monotonic_s
        self._next_probe_s: float | None = None
        self._failures = 0
        self._last_turn_s = 0.0
        # A process that has just been started may be the repair.
        self._may_have_been_away = True

    @property
    def is_away(self) -> bool:
        """Whether it has failed for everybody of late."""
        return self._failures >= AWAY_AFTER

    def lets_through(self) -> bool:
        """Tell whether an attempt may be made; while it refuses us, one a second may."""
        if self._next_probe_s is None:
            return True
        now_s = self._monotonic_s()
        if now_s < self._next_probe_s:
            return False
        self._next_probe_s = now_s + PROBE_INTERVAL_S
        return True

    def turn_s(self) -> float:
        """Give one delivery its turn, behind those that wait already, and say in how many seconds that is."""
        now_s = self._monotonic_s()
        self._last_turn_s = max(self._last_turn_s, now_s) + 1 / TURNS_PER_S
        self._last_turn_s = min(self._last_turn_s, now_s + LONGEST_TURN_S)
        return self._last_turn_s - now_s

    def note(self, error: Exception | None) -> bool:
        """Take note of an attempt's end: a refusal of us closes the gate, an answer about the recipient opens it.

        Returns:
            Whether the provider is well again, or well for the first time as far as we know, so that what waits for it
            need not wait any longer.
        """
        match error:
            case ProviderMisconfigured():
                if self._next_probe_s is None:
                    log.error("provider paused", extra={**self._labels, "reason": error.reason, "detail": error.detail})
                    metrics.provider_paused.labels(**self._labels).set(1)
                self._next_probe_s = self._monotonic_s() + PROBE_INTERVAL_S
                return False
            case TemporaryFailure() | OutcomeUnknown() if error.reason in _AWAY:
                self._failures += 1
                if self._failures == AWAY_AFTER:
                    log.warning("provider away", extra={**self._labels, "reason": error.reason, "detail": error.detail})
                return False
            case TemporaryFailure() | OutcomeUnknown() | DeliveryRefused():
                # A refusal by our own rules says nothing either: the provider was not asked.
                return False
            case _:
                return self._is_well()

    def _is_well(self) -> bool:
        was_closed, was_away = self._next_probe_s is not None, self.is_away
        self._next_probe_s = None
        self._failures = 0
        self._last_turn_s = 0.0
        was_unknown, self._may_have_been_away = self._may_have_been_away, False
        if was_closed:
            metrics.provider_paused.labels(**self._labels).set(0)
            log.info("provider resumed", extra=self._labels)
        elif was_away:
            log.info("provider back", extra=self._labels)
        return was_closed or was_away or was_unknown

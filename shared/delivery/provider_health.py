"""What one process knows about a provider, and how often it may be asked while it refuses us or is away.

Promises that a provider that refuses us is asked by one delivery a second at most, that what waits for one that is away
or refuses us comes back one by one, ``TURNS_PER_S`` times a second (more often where so much waits that its turn would
be later than ``LONGEST_TURN_S``), and that the end of such a time is noticed by the first answer. Without the turns a
crowd that waits for a relay asks for it hundreds of times a second, and takes the processor from every other channel.

That a provider refuses us is found out in two ways. An answer that cannot be about a recipient (a wrong password) says
so at once. One that can be says so by how many get it (``shared.delivery.witnesses``).
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from shared.core.errors import (
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
    Unjudged,
)
from shared.core.model import Channel
from shared.delivery.witnesses import Witnesses
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# A provider that refuses us is asked again at most this often.
PROBE_INTERVAL_S = 1.0
# What was refused already is the probe only where no other is at hand: of it alone nobody learns whose fault that is.
REPEATED_PROBE_INTERVAL_S = 2 * PROBE_INTERVAL_S

# So many failures in a row, with nothing taken or judged between them, are no accidents of single deliveries.
AWAY_AFTER = 10
# Those that a provider which is away brings about. A limit or a full mailbox is somebody's answer.
_AWAY = frozenset({Reason.NETWORK, Reason.TIMEOUT, Reason.UNAVAILABLE, Reason.BAD_ANSWER})

# Deliveries that come back, together, while a provider is away; one after the other.
TURNS_PER_S = 5.0
# Nobody's turn is later. Where the provider is away for this process alone, another one may take the row then.
LONGEST_TURN_S = 60.0


# Servers that one provider stands for; beyond it the one asked longest ago is forgotten.
MOST_PEERS = 64


class Gate:
    """Keeps deliveries from a provider that refuses us, lets one probe through now and then, and gives out turns.

    Args:
        monotonic_s: the clock that probes and turns are counted by.
        peer: the server, where a provider stands for several.

    Attributes:
        witnesses: what it told to whom.
    """

    def __init__(
        self, channel: Channel, provider: str, monotonic_s: Callable[[], float] = time.monotonic, *, peer: str = ""
    ) -> None:
        self.witnesses = Witnesses(monotonic_s)
        self._labels = {"channel": channel.value, "provider": provider} | ({"peer": peer} if peer else {})
        self._monotonic_s = monotonic_s
        self._probed_s: float | None = None
        self._failures = 0
        self._last_turn_s = 0.0
        # A process that has just been started may be the repair.
        self._may_have_been_away = True

    @property
    def is_closed(self) -> bool:
        """Whether it refuses us."""
        return self._probed_s is not None

    @property
    def is_away(self) -> bool:
        """Whether it has failed for everybody of late."""
        return self._failures >= AWAY_AFTER

    def lets_through(self, *, again: bool = False) -> bool:
        """Tell whether an attempt may be made; while it refuses us, one a second may.

        Args:
            again: this delivery's recipient, or all of its notification's, have been refused before.
        """
        if self._probed_s is None:
            return True
        now_s = self._monotonic_s()
        if now_s < self._probed_s + (REPEATED_PROBE_INTERVAL_S if again else PROBE_INTERVAL_S):
            return False
        self._probed_s = now_s
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
                if self._probed_s is None:
                    log.error("provider paused", extra={**self._labels, "reason": error.reason, "detail": error.detail})
                self._probed_s = self._monotonic_s()
                return False
            case TemporaryFailure() | OutcomeUnknown() if error.reason in _AWAY:
                self._failures += 1
                if self._failures == AWAY_AFTER:
                    log.warning("provider away", extra={**self._labels, "reason": error.reason, "detail": error.detail})
                return False
            case TemporaryFailure() | OutcomeUnknown():
                return False
            case DeliveryRefused() | PermanentFailure(code=""):
                # Our own rules and limits say nothing: the provider was not asked.
                return False
            case PermanentFailure() | Unjudged() if self.witnesses.against_us:
                # Only who is accepted shows that the refusals have ended.
                return False
            case Unjudged() if not (self.is_closed or self.is_away):
                # It is there, but whether it is well is not known yet.
                self._failures = 0
                return False
            case _:
                return self._is_well()

    def _is_well(self) -> bool:
        was_closed, was_away = self.is_closed, self.is_away
        self._probed_s = None
        self._failures = 0
        self._last_turn_s = 0.0
        was_unknown, self._may_have_been_away = self._may_have_been_away, False
        if was_closed:
            log.info("provider resumed", extra=self._labels)
        elif was_away:
            log.info("provider back", extra=self._labels)
        return was_closed or was_away or was_unknown


class Gates:
    """The gates of one provider, one for each server that it stands for.

    Args:
        monotonic_s: the gates' clock.
    """

    def __init__(self, channel: Channel, provider: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._provider = provider
        self._monotonic_s = monotonic_s
        self._gates: OrderedDict[str, Gate] = OrderedDict()

    def to(self, peer: str) -> Gate:
        """Return a server's gate, to ask whether it may be asked; kept only if it has answered before."""
        return self._gates.get(peer) or Gate(self._channel, self._provider, self._monotonic_s, peer=peer)

    def of(self, peer: str, error: Exception | None) -> Gate:
        """Return the gate of a server that has been asked, to take note of how that ended."""
        gate = self.to(peer)
        if isinstance(error, DeliveryRefused) or (isinstance(error, PermanentFailure) and not error.code):
            # It was not, perhaps because there is no such server.
            return gate
        self._gates[peer] = gate
        self._gates.move_to_end(peer)
        if len(self._gates) > MOST_PEERS:
            self._gates.popitem(last=False)
            self._show()
        return gate

    def note(self, gate: Gate, error: Exception | None) -> bool:
        """Have a gate take note of an attempt's end, see ``Gate.note``, and show what became of it."""
        was_closed = gate.is_closed
        is_news = gate.note(error)
        if gate.is_closed != was_closed:
            self._show()
        return is_news

    def _show(self) -> None:
        paused = any(gate.is_closed for gate in self._gates.values())
        metrics.series(metrics.provider_paused, self._channel, self._provider).set(paused)

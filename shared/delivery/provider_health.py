"""What one process knows about a provider: whether it is well, and how often it may be asked while it is not.

Promises:

- A provider that refuses us is asked by at most one delivery a second.
- While a provider is down or refuses us, waiting deliveries are retried ``TURNS_PER_S`` per second. No turn is later
  than ``LONGEST_TURN_S``, so a large backlog is retried more often. Critical deliveries take no turn.
- The first good answer ends this state.

Without turns, a backlog that waits for one relay asks it hundreds of times a second, and takes the processor from every
other channel (docs/decisions/0011).

A refusal of us is recognised in two ways. An answer that cannot be about a recipient (a wrong password) shows it at
once. For any other answer, the number of recipients who get it decides (``shared.delivery.witnesses``).

If several providers could carry a delivery (``shared.delivery.failover``), a provider that fails or has become much
slower than another one is avoided. It is asked after the others, until a single delivery, the probe, finds it well
again. A provider that told us how long to wait is not asked before.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from shared.core.errors import (
    PROVIDER_AWAY,
    UNREACHABLE,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
    Unjudged,
)
from shared.core.model import Channel
from shared.delivery.retry import asked_wait
from shared.delivery.standing import ProviderState, Standing
from shared.delivery.witnesses import Witnesses
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# A provider that refuses us is asked again at most this often, because people are repairing it.
PROBE_INTERVAL_S = 1.0
# A delivery that was refused before waits longer to be the probe: its refusal alone does not show whose fault it is.
REPEATED_PROBE_INTERVAL_S = 2 * PROBE_INTERVAL_S

# After so many failures in a row, with nothing taken or judged between them, the provider counts as down.
AWAY_AFTER = 10
# After so many it is avoided, or at once if it cannot be reached. A single failure may be about the recipient.
AVOIDED_AFTER = 3
# When an avoided provider is probed; doubles with each failed probe.
AVOID_FIRST_S = 5.0
AVOID_MOST_S = 60.0
# An urgent delivery becomes the probe only if no other has become it for this long after the probe was due.
URGENT_PROBE_S = 30.0
# When a probe counts as lost, for example because its attempt was cancelled.
PROBE_LAPSES_S = 60.0
# A provider that is slower than this, and so many times slower than another one, is asked after it.
SLOW_S = 0.5
SLOW_FACTOR = 4.0
# The weight of the newest measurement in the moving average.
_NEWEST = 0.2

# Retries per second, of all waiting deliveries together, while a provider is down.
TURNS_PER_S = 5.0
# No turn is later. If the provider is down for this process alone, another process may then take the row.
LONGEST_TURN_S = 60.0

# Servers that are known of one provider; beyond that, the one asked longest ago is forgotten.
MOST_PEERS = 64


class ProviderHealth:
    """The health of one provider, or of one of the servers that it stands for.

    Args:
        monotonic_s: the clock.
        peer: the server, where a provider stands for several.

    Attributes:
        witnesses: what it told to whom.
        latency_s: how long it takes to take one, a moving average; None before the first.
    """

    def __init__(
        self, channel: Channel, provider: str, monotonic_s: Callable[[], float] = time.monotonic, *, peer: str = ""
    ) -> None:
        self.witnesses = Witnesses(monotonic_s)
        self.latency_s: float | None = None
        self._labels = {"channel": channel.value, "provider": provider} | ({"peer": peer} if peer else {})
        self._monotonic_s = monotonic_s
        self._failures = 0
        self._refuses_us = False
        # When it was last found unwell; None while it is not avoided.
        self._unwell_s: float | None = None
        self._avoid_s = 0.0
        # When a probe began whose end is not known.
        self._probe_began_s: float | None = None
        self._held_until_s = 0.0
        self._last_turn_s = 0.0
        # A process that has just been started may be the repair.
        self._may_have_been_away = True
        # Since when it is as it is, and what went wrong last.
        self._changed_s = monotonic_s()
        self._reason, self._detail = "", ""

    @property
    def state(self) -> ProviderState:
        """How it is, in one word."""
        if self._refuses_us:
            return ProviderState.PAUSED
        if self.is_away:
            return ProviderState.DOWN
        if self.held_s():
            return ProviderState.LIMITED
        if self.is_avoided:
            return ProviderState.AVOIDED
        return ProviderState.UNKNOWN if self._may_have_been_away else ProviderState.WELL

    def standing(self) -> Standing:
        """Say how it stands, for those who look at the whole system."""
        now_s, state = self._monotonic_s(), self.state
        again_in_s = {ProviderState.LIMITED: self.held_s(), ProviderState.AVOIDED: max(0.0, self.probe_due_s - now_s)}
        is_fine = state in (ProviderState.WELL, ProviderState.UNKNOWN)
        return Standing(
            self._labels["provider"],
            state,
            "" if is_fine else self._reason,
            "" if is_fine else self._detail,
            self._labels.get("peer", ""),
            now_s - self._changed_s,
            again_in_s.get(state),
        )

    @property
    def refuses_us(self) -> bool:
        """Whether it refuses us."""
        return self._refuses_us

    @property
    def is_away(self) -> bool:
        """Whether it counts as down: it has lately failed for everybody."""
        return self._failures >= AWAY_AFTER

    @property
    def is_avoided(self) -> bool:
        """Whether it is asked after others only, or by a probe."""
        return self._unwell_s is not None

    @property
    def probe_due_s(self) -> float:
        """When, by the clock, it is to be probed if it is avoided."""
        return (self._unwell_s or 0.0) + self._avoid_s

    def wants_probe(self, *, urgent: bool) -> bool:
        """Tell whether it is time for a probe, and none is under way; urgent deliveries leave it to others."""
        now_s = self._monotonic_s()
        if self._unwell_s is None:
            return False
        if self._probe_began_s is not None and now_s < self._probe_began_s + PROBE_LAPSES_S:
            return False
        return now_s >= self.probe_due_s + (URGENT_PROBE_S if urgent else 0.0)

    def begin_probe(self) -> None:
        """Take note that the next one who asks is the probe."""
        self._probe_began_s = self._monotonic_s()

    def held_s(self) -> float:
        """Return for how many more seconds it told us to wait."""
        return max(0.0, self._held_until_s - self._monotonic_s())

    def may_be_asked(self, *, again: bool = False) -> bool:
        """Tell whether an attempt may be made; while it refuses us, one a second may.

        Args:
            again: this delivery's recipient, or all of its notification's, have been refused before.
        """
        if not self._refuses_us or self._unwell_s is None:
            return True
        now_s = self._monotonic_s()
        if now_s < self._unwell_s + (REPEATED_PROBE_INTERVAL_S if again else PROBE_INTERVAL_S):
            # This one was not asked, so the next delivery may be the probe.
            self._probe_began_s = None
            return False
        self._unwell_s = now_s
        return True

    def turn_s(self) -> float:
        """Give one delivery its turn, behind those that wait already, and say in how many seconds that is."""
        now_s = self._monotonic_s()
        self._last_turn_s = max(self._last_turn_s, now_s) + 1 / TURNS_PER_S
        self._last_turn_s = min(self._last_turn_s, now_s + LONGEST_TURN_S)
        return self._last_turn_s - now_s

    def note(self, error: Exception | None, duration_s: float = 0.0, rivals: Iterable["ProviderHealth"] = ()) -> bool:
        """Take note of how an attempt ended.

        Args:
            error: None when it was taken.
            duration_s: how long that took.
            rivals: the others that could have carried the same delivery.

        Returns:
            Whether the provider is well again, or well for the first time as far as we know, so that what waits for it
            need not wait any longer.
        """
        before = self.state
        match error:
            case None:
                self._reason, self._detail = "", ""
            case ProviderMisconfigured() | TemporaryFailure() | OutcomeUnknown() if (
                error.reason is not Reason.OWN_LIMIT
            ):
                self._reason, self._detail = error.reason.value, error.detail
        is_news = self._note(error, duration_s, rivals)
        if self.state is not before:
            self._changed_s = self._monotonic_s()
        return is_news

    def _note(self, error: Exception | None, duration_s: float, rivals: Iterable["ProviderHealth"]) -> bool:
        match error:
            case None:
                return self._taken(duration_s, rivals)
            case ProviderMisconfigured():
                self._refused(error)
            case DeliveryRefused() | PermanentFailure(code="") | TemporaryFailure(reason=Reason.OWN_LIMIT):
                # A rule or a limit of ours: the provider was not asked.
                self._probe_began_s = None
            case TemporaryFailure(reason=Reason.RATE_LIMITED, retry_after=asked) if asked is not None:
                until_s = self._monotonic_s() + asked_wait(asked).total_seconds()
                self._held_until_s = max(self._held_until_s, until_s)
                self._probe_began_s = None
            case TemporaryFailure(reason=reason) | OutcomeUnknown(reason=reason) if reason is not Reason.MAILBOX_FULL:
                self._failed(error)
            case _ if self.witnesses.against_us:
                # Only who is accepted shows that the refusals have ended.
                self._probe_began_s = None
            case Unjudged() if not (self._refuses_us or self.is_away):
                # It is there, but whether it is well is not known yet.
                self._failures = 0
                self._probe_began_s = None
            case _:
                # It answered about the recipient or the content, as a provider does that is well.
                self._end_avoiding()
                return self._recover()
        return False

    def _taken(self, duration_s: float, rivals: Iterable["ProviderHealth"]) -> bool:
        # One that was away is measured afresh: what it was before says little.
        if self.latency_s is None or self.is_avoided:
            self.latency_s = duration_s
        else:
            self.latency_s += _NEWEST * (duration_s - self.latency_s)
        if self._is_slow(self.latency_s, rivals):
            self._reason = "slow"
            self._avoid()
        else:
            self._end_avoiding()
        return self._recover()

    def _refused(self, error: ProviderMisconfigured) -> None:
        if not self._refuses_us:
            log.error("provider paused", extra={**self._labels, "reason": error.reason, "detail": error.detail})
        self._refuses_us = True
        self._unwell_s, self._avoid_s, self._probe_began_s = self._monotonic_s(), PROBE_INTERVAL_S, None

    def _failed(self, error: TemporaryFailure | OutcomeUnknown) -> None:
        # Somebody's limits, however many, do not make it away.
        if error.reason in PROVIDER_AWAY or self._failures < AVOIDED_AFTER:
            self._failures += 1
            if self._failures == AWAY_AFTER:
                log.warning("provider away", extra={**self._labels, "reason": error.reason, "detail": error.detail})
        was_probe = self._probe_began_s is not None
        if was_probe or error.reason in UNREACHABLE or self._failures >= AVOIDED_AFTER:
            self._avoid()

    def _avoid(self) -> None:
        # What failed while it was avoided already says nothing new, unless it was the probe.
        if self._unwell_s is None or self._probe_began_s is not None:
            self._avoid_s = min(max(self._avoid_s * 2, AVOID_FIRST_S), AVOID_MOST_S)
            self._unwell_s, self._probe_began_s = self._monotonic_s(), None

    def _end_avoiding(self) -> None:
        self._avoid_s = 0.0
        self._unwell_s = self._probe_began_s = None

    def _is_slow(self, latency_s: float, rivals: Iterable["ProviderHealth"]) -> bool:
        """Compare with the healthy rivals; one that was never measured is given the benefit of the doubt."""
        if latency_s <= SLOW_S:
            return False
        return any((rival.latency_s or 0.0) * SLOW_FACTOR < latency_s for rival in rivals if not rival.is_avoided)

    def _recover(self) -> bool:
        had_refused, was_away = self._refuses_us, self.is_away
        self._refuses_us = False
        self._failures = 0
        self._last_turn_s = 0.0
        was_unknown, self._may_have_been_away = self._may_have_been_away, False
        if had_refused:
            log.info("provider resumed", extra=self._labels)
        elif was_away:
            log.info("provider back", extra=self._labels)
        return had_refused or was_away or was_unknown


class HealthByServer:
    """The health of one provider, apart for each server that it stands for.

    Args:
        monotonic_s: the clock.
    """

    def __init__(self, channel: Channel, provider: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._provider = provider
        self._monotonic_s = monotonic_s
        self._known: OrderedDict[str, ProviderHealth] = OrderedDict()

    def to(self, peer: str) -> ProviderHealth:
        """Return a server's health, to ask whether it may be asked; kept only if it has answered before."""
        return self._known.get(peer) or ProviderHealth(self._channel, self._provider, self._monotonic_s, peer=peer)

    def of(self, peer: str, error: Exception | None) -> ProviderHealth:
        """Return the health of a server that has been asked, to take note of how that ended."""
        health = self.to(peer)
        if isinstance(error, DeliveryRefused) or (isinstance(error, PermanentFailure) and not error.code):
            # It was not, perhaps because there is no such server.
            return health
        self._known[peer] = health
        self._known.move_to_end(peer)
        if len(self._known) > MOST_PEERS:
            self._known.popitem(last=False)
            self._show()
        return health

    def note(
        self,
        health: ProviderHealth,
        error: Exception | None,
        duration_s: float = 0.0,
        rivals: Iterable[ProviderHealth] = (),
    ) -> bool:
        """Take note of an attempt's end, see ``ProviderHealth.note``, and show what became of it."""
        had_refused = health.refuses_us
        is_news = health.note(error, duration_s, rivals)
        if health.refuses_us != had_refused:
            self._show()
        return is_news

    def standing(self) -> Standing:
        """Say how the provider stands; of several servers, how the worst of them does."""
        known = [health.standing() for health in self._known.values()]
        return max(known, key=lambda each: each.state.badness, default=self.to("").standing())

    def _show(self) -> None:
        paused = any(health.refuses_us for health in self._known.values())
        metrics.series(metrics.provider_paused, self._channel, self._provider).set(paused)

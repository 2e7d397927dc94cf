"""One attempt at a delivery: choose the provider, send under a deadline, say what the answer means.

Everything that providers have in common happens here, once: deadline, classification, the next attempt's time, the
pause of a provider that refuses us, going on to another one, metrics, the log line, the event. Nothing here sleeps; a
later attempt is a time in the ledger.

Where several providers can carry a delivery, one that failed before it took anything (it cannot be reached, refuses us,
limits us, puts us off or cannot carry this one) is followed by the next within the same attempt. What one of them may
have taken is never given to another in the same attempt.
"""

import logging
import random
import time
from asyncio import timeout
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from shared import metrics, tracing
from shared.clock import Clock
from shared.errors import (
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    RouteUnfit,
    TemporaryFailure,
)
from shared.failover import REACH_S, Choice, Failover
from shared.gate import PROBE_INTERVAL_S, Gate
from shared.ledger import Claim, Outcome
from shared.model import Attempt, Channel, Delivery, Notification, Priority, State
from shared.provider import Provider
from shared.retry import RetryPolicy

log = logging.getLogger(__name__)

# When a delivery that found its provider paused is looked at again; spread, so that they do not come back at once.
PAUSED_WAIT_S = (1.0, 5.0)


class Deliverer:
    """Performs deliveries of one channel.

    Args:
        providers: in the operator's order of preference; those that handle a delivery's address are its routes.
        attempt_deadline: one attempt, connecting included.
        doubt_wait: how long to wait before repeating an attempt that may have arrived, where a repetition is a second
            message for the recipient; critical ones are repeated at once, because late is worse than twice, and if
            that is in doubt too, after the usual wait.
        on_well: called when a provider that was away or refused us is well again.
    """

    def __init__(
        self,
        channel: Channel,
        providers: Sequence[Provider],
        *,
        attempt_deadline: timedelta,
        retry: RetryPolicy,
        doubt_wait: timedelta,
        clock: Clock,
        on_well: Callable[[], None] = lambda: None,
    ) -> None:
        self._channel = channel
        self._providers = {provider.name: provider for provider in providers}
        self._failover = Failover(list(self._providers))
        self._gates = {provider.name: Gate(channel, provider.name) for provider in providers}
        self._deadline = attempt_deadline
        self._retry = retry
        self._doubt_wait = doubt_wait
        self._clock = clock
        self._on_well = on_well
        metrics.prepare_channel(channel, self._gates)

    async def perform(self, notification: Notification, delivery: Delivery, claim: Claim) -> Outcome:
        """Make one attempt and say how it ended."""
        with tracing.span(
            "deliver", "consumer", notification.trace,
            channel=self._channel.value, attempt=claim.attempt, notification_id=notification.public_id,
        ) as span:  # fmt: skip
            outcome = await self._perform(notification, delivery, claim)
            span.set(outcome=outcome.state.value, reason=outcome.reason.value)
            return outcome

    async def _perform(self, notification: Notification, delivery: Delivery, claim: Claim) -> Outcome:
        routes = [name for name, provider in self._providers.items() if provider.handles(delivery)]
        if not routes:
            return Outcome(State.DEAD_LETTERED, Reason.NO_PROVIDER, word="bad", counts=False)
        choices = self._failover.choose(routes, urgent=delivery.priority is Priority.CRITICAL)
        if not choices:
            wait = timedelta(seconds=self._failover.held_s(routes) + random.uniform(*PAUSED_WAIT_S))  # noqa: S311 - jitter
            return _not_asked(Reason.RATE_LIMITED, wait, claim)
        ended = await self._ask(choices, routes, notification, delivery, claim)
        if not ended:
            # No turns here: a wrong clock may be this process's alone, and then another one takes the row next time.
            return _not_asked(Reason.AUTH, timedelta(seconds=random.uniform(*PAUSED_WAIT_S)), claim)  # noqa: S311 - jitter
        return _summary(ended)

    async def _ask(
        self, choices: Sequence[Choice], routes: Sequence[str], notification: Notification, delivery: Delivery,
        claim: Claim,
    ) -> list[Outcome]:  # fmt: skip
        """Ask one route after the other until one has taken the delivery, may have, or has judged it."""
        ended: list[Outcome] = []
        unfit: set[str] = set()
        deadline = self._clock.now() + self._deadline
        cut_off_s = time.monotonic() + self._deadline.total_seconds()
        for position, choice in enumerate(choices):
            if not self._gates[choice.name].lets_through():
                self._failover.not_asked(choice.name)
                continue
            left_s = cut_off_s - time.monotonic()
            reach_within = None
            if len(choices) > 1:
                reach_s = REACH_S if choice.hurry else left_s / (len(choices) - position)
                # A little less than what is left, so that "not reached" is known before the attempt is cut off.
                reach_within = timedelta(seconds=min(reach_s, left_s * 0.9))
            attempt = Attempt(notification, delivery, claim.attempt, claim.in_doubt, deadline, reach_within)
            outcome, error = await self._try(self._providers[choice.name], attempt, left_s, routes, claim)
            ended.append(outcome)
            if isinstance(error, RouteUnfit):
                unfit.add(choice.name)
            if not _may_be_tried_elsewhere(error) or time.monotonic() >= cut_off_s:
                break
        if ended and ended[-1].provider in unfit and unfit != set(routes):
            # Another one was held back, or has not said what it can do: it may still take it.
            wait = self._retry.wait(claim.attempt, delivery.priority)
            ended[-1] = replace(ended[-1], state=State.PENDING, word="retry", wait=wait)
        return ended

    async def _try(
        self, provider: Provider, attempt: Attempt, left_s: float, routes: Sequence[str], claim: Claim
    ) -> tuple[Outcome, DeliveryError | None]:
        """Ask one route, and take note of how it ended."""
        with tracing.span(
            "attempt", "client", channel=self._channel.value, provider=provider.name, attempt=claim.attempt
        ) as span:
            started_s = time.perf_counter()
            outcome, error = await self._send(provider, attempt, left_s)
            duration_s = time.perf_counter() - started_s
            span.set(outcome=outcome.word)
            if error is not None:
                span.fail(error.reason.value)
        if self._gates[provider.name].note(error):
            self._on_well()
        self._failover.note(provider.name, routes, error, duration_s)
        metrics.series(metrics.attempts, self._channel, provider.name, outcome.word).inc()
        metrics.series(metrics.attempt_duration, self._channel, provider.name).observe(duration_s)
        log.log(
            logging.INFO if error is None else logging.WARNING,
            "attempt",
            extra={
                "notification_id": attempt.notification.public_id, "delivery_id": claim.delivery_id,
                "channel": self._channel.value, "provider": provider.name, "attempt": claim.attempt,
                "outcome": outcome.word, "reason": outcome.reason.value, "detail": outcome.detail,
                "duration_s": round(duration_s, 4),
            },
        )  # fmt: skip
        return outcome, error

    async def _send(self, provider: Provider, attempt: Attempt, left_s: float) -> tuple[Outcome, DeliveryError | None]:
        try:
            async with timeout(left_s):
                receipt = await provider.send(attempt)
        except TimeoutError:
            error = attempt.handover.cut_off()
        except DeliveryError as failure:
            error = failure
        else:
            return Outcome(
                State.DELIVERED, provider=provider.name, provider_id=receipt.provider_id, detail=receipt.detail
            ), None
        return self._failed(provider.name, attempt, error), error

    def _failed(self, provider: str, attempt: Attempt, error: DeliveryError) -> Outcome:
        """Say what an error means; the order of the cases is from the special to the general."""
        priority = attempt.delivery.priority
        match error:
            case ProviderMisconfigured():
                state, word, wait = State.PENDING, "operator", timedelta(seconds=PROBE_INTERVAL_S)
            case OutcomeUnknown():
                state, word = State.PENDING, "unknown"
                wait = self._wait_in_doubt(attempt)
            case DeliveryRefused():
                state, word, wait = State.SUPPRESSED, "refused", timedelta(0)
            case RecipientGone():
                state, word, wait = State.DEAD_LETTERED, "gone", timedelta(0)
            case TemporaryFailure():
                state, word = State.PENDING, "retry"
                wait = self._retry.wait(attempt.number, priority, error.retry_after)
                if self._gates[provider].is_away and priority is not Priority.CRITICAL:
                    wait = max(wait, timedelta(seconds=self._gates[provider].turn_s()))
            case _:
                state, word, wait = State.DEAD_LETTERED, "bad", timedelta(0)
        return Outcome(
            state,
            error.reason,
            wait,
            counts=not isinstance(error, ProviderMisconfigured),
            in_doubt=attempt.in_doubt or isinstance(error, OutcomeUnknown),
            asked=isinstance(error, TemporaryFailure) and error.retry_after is not None,
            word=word,
            provider=provider,
            detail=error.detail,
        )

    def _wait_in_doubt(self, attempt: Attempt) -> timedelta:
        wait = self._retry.wait(attempt.number, attempt.delivery.priority)
        if attempt.delivery.priority is not Priority.CRITICAL:
            return max(self._doubt_wait, wait)
        # At once, but only once: a provider that takes and never answers would be asked without a pause.
        return wait if attempt.in_doubt else timedelta(0)


def _may_be_tried_elsewhere(error: DeliveryError | None) -> bool:
    """Tell whether nothing was taken, and another route may say something else."""
    if isinstance(error, ProviderMisconfigured | RouteUnfit):
        return True
    # A full mailbox is as full by every way to it.
    return isinstance(error, TemporaryFailure) and error.reason is not Reason.MAILBOX_FULL


def _not_asked(reason: Reason, wait: timedelta, claim: Claim) -> Outcome:
    return Outcome(State.PENDING, reason, wait, counts=False, word="paused", in_doubt=claim.in_doubt)


def _summary(ended: Sequence[Outcome]) -> Outcome:
    """Make one outcome of what the routes said, the last one last, and tell of the others in its detail."""
    result = ended[-1]
    if result.word in ("retry", "operator"):
        # Nobody took it. It uses up no attempt only where all of them refuse us; and who comes back first decides when.
        retries = [outcome for outcome in ended if outcome.word == "retry"]
        # A route that cannot carry it has ended nothing while another one may.
        waiting = [outcome for outcome in ended if outcome.state is State.PENDING]
        result = min(retries or waiting, key=lambda outcome: outcome.wait)
    others = [f"{other.provider} {other.reason} {other.detail}".rstrip() for other in ended if other is not result]
    return replace(result, detail="; ".join([*filter(None, [result.detail]), *others])) if others else result


def latency_observer(channel: Channel, clock: Clock) -> Callable[[Notification, Delivery], None]:
    """Build what records the time from acceptance (or the planned time) to the provider's answer."""

    def observe(notification: Notification, delivery: Delivery) -> None:
        since_ms = max(notification.accepted_ms, delivery.due_ms)
        latency_s = max(0.0, clock.now().timestamp() - since_ms / 1000)
        metrics.series(metrics.delivery_latency, channel, delivery.priority).observe(latency_s)

    return observe

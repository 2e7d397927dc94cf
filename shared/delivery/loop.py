"""One attempt at a delivery: choose the provider, send under a deadline, say what the answer means.

Everything that providers have in common happens here, once: deadline, classification, the time of the next attempt, the
pause of a provider that refuses us, failover, metrics, the log line, the event. Nothing here sleeps: a later attempt is
a time in the ledger.

If several providers can carry a delivery and one fails before it took anything, the same attempt goes on with the next
one. That is so if the provider cannot be reached, refuses us, limits us, defers the delivery or cannot carry it. If a
provider may have taken the delivery, the same attempt gives it to no other.

A permanent refusal ends a delivery only when it is known to be about its recipient or content
(``shared.delivery.witnesses``). Until then the delivery is tried again, with another provider or a little later.
"""

import logging
import random
import time
from asyncio import timeout
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from shared.core.clock import Clock
from shared.core.errors import (
    AttemptOutcome,
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    RouteUnfit,
    TemporaryFailure,
    Unjudged,
)
from shared.core.model import Channel, Delivery, Notification, Priority, State
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.failover import REACH_S, Choice, choose, held_s
from shared.delivery.pause_watch import PauseWatch
from shared.delivery.provider import Learner, Provider
from shared.delivery.provider_health import HealthByServer, ProviderHealth
from shared.delivery.retry import RetryPolicy
from shared.delivery.standing import Standing
from shared.delivery.witnesses import Blame, peer_of, witness_of
from shared.ledger.claims import Claim, Outcome
from shared.telemetry import metrics, tracing

log = logging.getLogger(__name__)

# When a delivery that found its provider paused is looked at again; spread, so that they do not come back at once.
PAUSED_WAIT_S = (1.0, 5.0)
# After the first refusal that nobody can judge yet; doubled with each that follows, so that the last
# (``witnesses.MOST_REFUSALS``) comes within about a minute. Those that are held even then wait for the longest time.
UNJUDGED_WAIT = timedelta(seconds=2)
UNJUDGED_WAIT_MOST = timedelta(minutes=5)


class Deliverer:
    """Performs deliveries of one channel.

    Args:
        providers: in the operator's order of preference; those that handle a delivery's address are its routes.
        attempt_deadline: one attempt, connecting included.
        doubt_wait: how long to wait before repeating an attempt that may have arrived, where a repetition is a second
            message for the recipient; critical ones are repeated at once, because late is worse than twice, and if
            that is in doubt too, after the usual wait.
        on_well: called when a provider that was away or refused us is well again.
        pauses: which providers are paused by hand; None where they cannot be.
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
        pauses: PauseWatch | None = None,
    ) -> None:
        self._channel = channel
        self._providers = {provider.name: provider for provider in providers}
        self._health = {provider.name: HealthByServer(channel, provider.name) for provider in providers}
        self._deadline = attempt_deadline
        self._retry = retry
        self._doubt_wait = doubt_wait
        self._clock = clock
        self._on_well = on_well
        self._pauses = pauses
        self._in_flight: Counter[str] = Counter()
        metrics.prepare_channel(channel, self._health)

    def standings(self) -> list[Standing]:
        """Say how each provider stands, in the operator's order."""
        return [
            replace(servers.standing(), in_flight=self._in_flight[name], is_paused_by_hand=self._is_paused(name))
            for name, servers in self._health.items()
        ]

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
        known = self._routes(delivery)
        if not known:
            return Outcome(State.DEAD_LETTERED, Reason.NO_PROVIDER, word=AttemptOutcome.BAD, counts=False)
        routes = {name: health for name, health in known.items() if not self._is_paused(name)}
        if not routes:
            return self._wait_paused(known, claim)
        choices = choose(routes, urgent=delivery.priority is Priority.CRITICAL)
        if not choices:
            wait = timedelta(seconds=held_s(routes)) + _paused_wait()
            return _not_asked(Reason.RATE_LIMITED, wait, claim)
        ended, is_unfit = await self._ask(choices, list(routes), notification, delivery, claim)
        if is_unfit and len(routes) < len(known):
            # A paused one may still take it.
            ended.append(self._wait_paused(known.keys() - routes.keys(), claim))
        if not ended:
            wait = _turn(routes[choices[0].name], delivery, _paused_wait())
            return replace(_not_asked(Reason.AUTH, wait, claim), refusals=0)
        return _summary(ended)

    def _is_paused(self, provider: str) -> bool:
        return self._pauses is not None and self._pauses.is_paused(provider)

    def _wait_paused(self, providers: Iterable[str], claim: Claim) -> Outcome:
        """Have a delivery wait whose providers are paused by hand; no attempt was made."""
        wait = timedelta(0) if self._pauses is None else self._pauses.wait(providers, in_doubt=claim.in_doubt)
        return _not_asked(Reason.PAUSED, wait, claim)

    def _routes(self, delivery: Delivery) -> dict[str, ProviderHealth]:
        """Return the health of the providers that can carry a delivery, in the operator's order."""
        peer = peer_of(delivery)
        names = (name for name, provider in self._providers.items() if provider.handles(delivery))
        return {name: self._health[name].to(peer) for name in names}

    async def _ask(
        self, choices: Sequence[Choice], routes: Sequence[str], notification: Notification, delivery: Delivery,
        claim: Claim,
    ) -> tuple[list[Outcome], bool]:  # fmt: skip
        """Ask one route after the other until one has taken the delivery, may have, or has judged it.

        Returns:
            How each ended, and whether every route has said that it cannot carry it.
        """
        ended: list[Outcome] = []
        unfit: set[str] = set()
        deadline = self._clock.now() + self._deadline
        cut_off_s = time.monotonic() + self._deadline.total_seconds()
        peer, witness = peer_of(delivery), witness_of(delivery, notification.public_id)
        for position, choice in enumerate(choices):
            if position and self._is_paused(choice.name):
                # Since the first one was asked.
                continue
            health = self._health[choice.name].to(peer)
            if not health.may_be_asked(again=witness is not None and health.witnesses.knows(witness)):
                continue
            left_s = cut_off_s - time.monotonic()
            reach_within = None
            if len(choices) > 1:
                reach_s = REACH_S if choice.hurry else left_s / (len(choices) - position)
                # A little less than what is left, so that "not reached" is known before the attempt is cut off.
                reach_within = timedelta(seconds=min(reach_s, left_s * 0.9))
            attempt = Attempt(
                notification,
                delivery,
                claim.attempt,
                claim.in_doubt,
                deadline,
                reach_within,
                asked_at=self._clock.now(),
            )
            outcome, error = await self._try(self._providers[choice.name], attempt, left_s, routes, claim)
            ended.append(outcome)
            if isinstance(error, RouteUnfit):
                unfit.add(choice.name)
            if not _may_be_tried_elsewhere(error) or time.monotonic() >= cut_off_s:
                break
        is_unfit = bool(ended) and ended[-1].provider in unfit
        if is_unfit and unfit != set(routes):
            # Another route was not asked, or has not refused it for good, so it may still take it.
            wait = self._retry.wait(claim.attempt, delivery.priority)
            ended[-1] = replace(ended[-1], state=State.PENDING, word=AttemptOutcome.RETRY, wait=wait)
        return ended, is_unfit and unfit == set(routes)

    async def _try(
        self, provider: Provider, attempt: Attempt, left_s: float, routes: Sequence[str], claim: Claim
    ) -> tuple[Outcome, DeliveryError | None]:
        """Ask one route, and take note of how it ended."""
        with tracing.span(
            "attempt", "client", channel=self._channel.value, provider=provider.name, attempt=claim.attempt
        ) as span:
            started_s = time.perf_counter()
            self._in_flight[provider.name] += 1
            try:
                answer = await _send(provider, attempt, left_s)
            finally:
                self._in_flight[provider.name] -= 1
            duration_s = time.perf_counter() - started_s
            said = answer if isinstance(answer, DeliveryError) else None
            peer, servers = peer_of(attempt.delivery), self._health[provider.name]
            health = servers.of(peer, said)
            error, is_lesson = _judged(health, said, attempt, claim)
            if isinstance(answer, Receipt):
                outcome = Outcome(
                    State.DELIVERED, provider=provider.name, provider_id=answer.provider_id, detail=answer.detail
                )
            else:
                outcome = self._failed(provider.name, health, attempt, error or answer)
            span.set(outcome=outcome.word)
            if error is not None:
                span.fail(error.reason.value)
        rivals = (self._health[name].to(peer) for name in routes if name != provider.name)
        if servers.note(health, error, duration_s, rivals):
            self._on_well()
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
        if is_lesson and isinstance(provider, Learner):
            await provider.learn(attempt, error if isinstance(error, PermanentFailure) else None)
        return outcome, error

    def _failed(self, provider: str, health: ProviderHealth, attempt: Attempt, error: DeliveryError) -> Outcome:
        """Say what an error means; the order of the cases is from the special to the general."""
        delivery = attempt.delivery
        wait = timedelta(0)
        refusals = None
        match error:
            case ProviderMisconfigured():
                state, word, refusals = State.PENDING, AttemptOutcome.OPERATOR, 0
                wait = _turn(health, delivery, _paused_wait())
            case Unjudged():
                state, word, refusals = State.PENDING, AttemptOutcome.UNJUDGED, error.times
                wait = self._wait_unjudged(error, delivery)
            case OutcomeUnknown():
                state, word = State.PENDING, AttemptOutcome.UNKNOWN
                wait = self._wait_in_doubt(attempt)
            case DeliveryRefused():
                state, word = State.SUPPRESSED, AttemptOutcome.REFUSED
            case RecipientGone():
                state, word = State.DEAD_LETTERED, AttemptOutcome.GONE
            case TemporaryFailure():
                state, word = State.PENDING, AttemptOutcome.RETRY
                wait = self._retry.wait(attempt.number, delivery.priority, error.retry_after)
                if health.is_away:
                    wait = _turn(health, delivery, wait)
            case _:
                state, word = State.DEAD_LETTERED, AttemptOutcome.BAD
        return Outcome(
            state,
            error.reason,
            wait,
            counts=not isinstance(error, ProviderMisconfigured | Unjudged),
            in_doubt=attempt.in_doubt or isinstance(error, OutcomeUnknown),
            asked=isinstance(error, TemporaryFailure) and error.retry_after is not None,
            refusals=refusals,
            word=word,
            provider=provider,
            detail=error.detail,
        )

    def _wait_unjudged(self, error: Unjudged, delivery: Delivery) -> timedelta:
        longest = self._retry.max_wait_critical if delivery.priority is Priority.CRITICAL else UNJUDGED_WAIT_MOST
        wait: timedelta = min(UNJUDGED_WAIT * 2 ** min(error.times - 1, 16), longest)
        # Shorter at random, so that deliveries which were refused together are not retried together.
        return wait * random.uniform(0.8, 1.0)  # noqa: S311 - jitter

    def _wait_in_doubt(self, attempt: Attempt) -> timedelta:
        wait = self._retry.wait(attempt.number, attempt.delivery.priority)
        if attempt.delivery.priority is not Priority.CRITICAL:
            return max(self._doubt_wait, wait)
        # At once, but only once: a provider that takes and never answers would be asked without a pause.
        return wait if attempt.in_doubt else timedelta(0)


async def _send(provider: Provider, attempt: Attempt, left_s: float) -> Receipt | DeliveryError:
    try:
        async with timeout(left_s):
            return await provider.send(attempt)
    except TimeoutError:
        return attempt.handover.cut_off()
    except DeliveryError as failure:
        return failure


def _judged(
    health: ProviderHealth, error: DeliveryError | None, attempt: Attempt, claim: Claim
) -> tuple[DeliveryError | None, bool]:
    """Say whose fault a refusal for good is, by what others were told.

    Returns:
        The error as it turns out to be, and whether something is learnt from it about the address.
    """
    witness = witness_of(attempt.delivery, attempt.notification.public_id)
    if witness is None:
        return error, error is None
    if error is None:
        health.witnesses.accepted(witness)
        return None, True
    if not isinstance(error, PermanentFailure) or isinstance(error, DeliveryRefused):
        return error, False
    if not error.code:
        return error, True
    judgement = health.witnesses.refused(witness, error.code, claim.refusals, claim.refused_for.total_seconds())
    match judgement.blame:
        case Blame.OURS:
            return ProviderMisconfigured(Reason.AUTH, f"{error.detail} to everybody"), False
        case Blame.NOT_KNOWN_YET:
            return Unjudged(error.reason, error.detail, judgement.times), False
        case Blame.THEIRS:
            return error, judgement.by_others


def _paused_wait() -> timedelta:
    return timedelta(seconds=random.uniform(*PAUSED_WAIT_S))  # noqa: S311 - jitter


def _turn(health: ProviderHealth, delivery: Delivery, wait: timedelta) -> timedelta:
    """Have all but critical deliveries wait for their turn as well."""
    return wait if delivery.priority is Priority.CRITICAL else max(wait, timedelta(seconds=health.turn_s()))


def _may_be_tried_elsewhere(error: DeliveryError | None) -> bool:
    """Tell whether nothing was taken, and another route may say something else."""
    if isinstance(error, ProviderMisconfigured | RouteUnfit | Unjudged):
        return True
    # A full mailbox is full on every route.
    return isinstance(error, TemporaryFailure) and error.reason is not Reason.MAILBOX_FULL


def _not_asked(reason: Reason, wait: timedelta, claim: Claim) -> Outcome:
    return Outcome(State.PENDING, reason, wait, counts=False, word=AttemptOutcome.PAUSED, in_doubt=claim.in_doubt)


def _summary(ended: Sequence[Outcome]) -> Outcome:
    """Make one outcome of what the routes said, the last one last, and tell of the others in its detail."""
    result = ended[-1]
    if result.word in (AttemptOutcome.RETRY, AttemptOutcome.OPERATOR, AttemptOutcome.UNJUDGED):
        # Nobody took it. It uses up an attempt only if a route deferred it. The shortest wait decides the next try.
        retries = [outcome for outcome in ended if outcome.word is AttemptOutcome.RETRY]
        # A route that cannot carry it has ended nothing while another one may.
        waiting = [outcome for outcome in ended if outcome.state is State.PENDING]
        result = min(retries or waiting, key=lambda outcome: outcome.wait)
    others = [f"{other.provider} {other.reason} {other.detail}".rstrip() for other in ended if other is not result]
    if not others:
        return result
    unjudged = [outcome.refusals or 0 for outcome in ended if outcome.word is AttemptOutcome.UNJUDGED]
    refusals = max(unjudged, default=result.refusals)
    return replace(result, detail="; ".join([*filter(None, [result.detail]), *others]), refusals=refusals)


def latency_observer(channel: Channel, clock: Clock) -> Callable[[Notification, Delivery], None]:
    """Build what records the time from acceptance (or the planned time) to the provider's answer."""

    def observe(notification: Notification, delivery: Delivery) -> None:
        since_ms = max(notification.accepted_ms, delivery.due_ms)
        latency_s = max(0.0, clock.now().timestamp() - since_ms / 1000)
        metrics.series(metrics.delivery_latency, channel, delivery.priority).observe(latency_s)
        alert = notification.content.alert
        if alert is not None:
            metrics.series(metrics.alert_told, alert.level).observe(latency_s)

    return observe

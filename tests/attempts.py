"""Attempts at a provider as the delivery loop makes them."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.core.clock import SystemClock
from shared.core.errors import DeliveryError, DeliveryRefused, PermanentFailure
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.loop import Deliverer
from shared.delivery.provider import Learner, Provider
from shared.delivery.retry import RetryPolicy
from shared.ledger.claims import Claim, ClaimVerdict, Outcome
from tests.waiting import eventually


async def outcome(provider: Provider, attempt: Attempt) -> Receipt | DeliveryError:
    """Return how a send ended. A refusal for good counts as about the recipient, and the provider is told so."""
    try:
        ended: Receipt | DeliveryError = await provider.send(attempt)
    except DeliveryError as error:
        ended = error
    is_lesson = isinstance(ended, Receipt | PermanentFailure) and not isinstance(ended, DeliveryRefused)
    if is_lesson and isinstance(provider, Learner):
        await provider.learn(attempt, ended if isinstance(ended, PermanentFailure) else None)
    return ended


async def cancel_once(provider: Provider, attempt: Attempt, condition: Callable[[], object]) -> None:
    """Begin a send, and cancel it once the condition is true, as the delivery loop's deadline does."""
    send = asyncio.create_task(provider.send(attempt), name="send")
    await eventually(condition)
    send.cancel()
    with pytest.raises(asyncio.CancelledError):
        await send


async def perform(provider: Provider, attempt: Attempt, deadline: timedelta = timedelta(seconds=1)) -> Outcome:
    """Make an attempt as the delivery loop does it, and return how it ended."""
    delivery = attempt.delivery
    deliverer = Deliverer(
        delivery.channel,
        [provider],
        attempt_deadline=deadline,
        retry=RetryPolicy(),
        doubt_wait=timedelta(0),
        clock=SystemClock(),
    )
    claim = Claim(attempt.notification.id, delivery.key, ClaimVerdict.CLAIMED, token=1, attempt=attempt.number)
    return await deliverer.perform(attempt.notification, delivery, claim)

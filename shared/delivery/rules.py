"""Our own rules around a provider: they check an attempt before the send, and learn from the answer.

The provider itself does not know the rules, so they hold whichever provider carries the delivery. Apart from them,
sends and answers pass through unchanged.
"""

from collections.abc import Iterable
from typing import Protocol

from shared.core.errors import DeliveryRefused, PermanentFailure, Reason
from shared.core.model import Delivery
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.provider import Provider


class Rules(Protocol):
    """What a channel knows about addresses."""

    async def check(self, attempt: Attempt, /) -> Receipt | None:
        """Let an attempt pass, or say that it is not needed any more.

        Raises:
            DeliveryRefused: it may not be made; the delivery ends as suppressed.
            StoreUnavailable: nobody knows; it waits.
        """
        ...

    async def learn(self, attempt: Attempt, error: PermanentFailure | None, /) -> None:
        """Take note of what the provider answered about the address; None is "accepted"."""
        ...


class Guarded:
    """A provider behind rules."""

    def __init__(self, provider: Provider, rules: Rules) -> None:
        self._provider = provider
        self._rules = rules

    @property
    def name(self) -> str:
        """The provider's."""
        return self._provider.name

    def handles(self, delivery: Delivery) -> bool:
        """Tell what the provider can carry."""
        return self._provider.handles(delivery)

    async def send(self, attempt: Attempt) -> Receipt:
        """Let the provider make one attempt, if there is need and it may."""
        with attempt.handover.waiting(Reason.OWN_LIMIT, "our own rules"):
            receipt = await self._rules.check(attempt)
        if receipt:
            return receipt
        try:
            return await self._provider.send(attempt)
        except DeliveryRefused as error:
            # What the provider knows of the recipient's will is nobody's fault, and holds at once.
            await self._rules.learn(attempt, error)
            raise

    async def learn(self, attempt: Attempt, error: PermanentFailure | None) -> None:
        """Have the rules take note of an answer about the address."""
        await self._rules.learn(attempt, error)

    async def close(self) -> None:
        """Close the provider."""
        await self._provider.close()


def guarded(rules: Rules, providers: Iterable[Provider]) -> tuple[Guarded, ...]:
    """Put providers behind the same rules."""
    return tuple(Guarded(provider, rules) for provider in providers)

"""What carries deliveries out of the system, and how to add another one.

To add a provider:

1. Write a class with the methods below in a file of its channel's folder (``services/<channel>/<name>.py``). It makes
   exactly one attempt for each ``send`` and knows nothing about queues, retries, metrics or logs.
2. Translate every answer and every error of the SDK in one pure function ``verdict`` and raise what it returns
   (``shared.core.errors`` says which class means what). A refusal for good names the provider's own word for it
   (``error.said``). ``ProviderMisconfigured`` is only for what cannot be about a recipient: whatever can be is a
   PermanentFailure, and how many get it says whose fault it is (``shared.delivery.witnesses``). Cut off nothing
   yourself: the delivery loop holds the deadline. Say with ``attempt.handover`` where nothing has left yet, so that
   what is cut off there is not in doubt (``shared.delivery.attempt``; ``shared.delivery.outgoing`` does it for
   aiohttp).
3. Add one line to the channel's ``__main__.py``. The first provider whose ``handles`` says yes gets the delivery.
4. Add it to the provider contract tests (``tests/provider_contract.py``), which then run over it as over every other.
"""

from typing import Protocol, runtime_checkable

from shared.core.errors import PermanentFailure
from shared.core.model import Delivery
from shared.delivery.attempt import Attempt, Receipt


class Provider(Protocol):
    """One way to carry a delivery of one channel."""

    @property
    def name(self) -> str:
        """A short fixed word, used as a metric label, for example ``smtp``."""
        ...

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether this provider can carry the delivery, by the kind of its address alone."""
        ...

    async def send(self, attempt: Attempt) -> Receipt:
        """Make exactly one attempt.

        Raises:
            DeliveryError: one of its subclasses, when the provider did not take it. Cancellation (the deadline)
                passes through, and leaves no connection in an unknown state behind.
        """
        ...

    async def close(self) -> None:
        """Close connections; called once, after the last attempt."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A provider that learns from answers once it is known whose fault a refusal is."""

    async def learn(self, attempt: Attempt, error: PermanentFailure | None) -> None:
        """Take note that an address was accepted (None) or has itself been refused for good."""
        ...

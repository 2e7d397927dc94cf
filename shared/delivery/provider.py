"""What carries deliveries out of the system, and how to add another one: one file and one line.

To add a provider ``acme`` to a channel:

1. Write ``services/<channel>/acme.py``, or a folder of that name whose ``provider.py`` is the entrance. In it:

   - ``AcmeSettings(ProviderSettings)``: what it reads, under the channel's prefix (``SMS_ACME_KEY``). A field without a
     default is needed; the first of them is what the operator is told to set. Validators let the process end at the
     start and not at the first delivery.
   - ``AcmeProvider``: a class with the methods of ``Provider`` below. It makes exactly one attempt for each ``send``
     and knows nothing about queues, retries, metrics or logs. ``shared.delivery.http_attempt`` makes the one request,
     tells ``attempt.handover`` how far it has come, and keeps ``attempt.reach_within``. What waits before that for
     something of ours says so with ``attempt.handover`` (``shared.delivery.attempt``), so that what is cut off there is
     not in doubt. Cut off nothing else yourself: the delivery loop holds the deadline.
   - ``verdict``: one pure function that says what every answer means (``shared.core.errors`` says which class means
     what), by a table that ``shared.delivery.verdicts`` reads. A refusal for good names the provider's own word for it
     (``error.said``). ``ProviderMisconfigured`` is only for what cannot be about a recipient: whatever can be is a
     PermanentFailure, and how many get it says whose fault it is (``shared.delivery.witnesses``).
   - ``ACME = ProviderKind(AcmeSettings, acme_providers)``, where ``acme_providers`` takes these settings and what the
     channel's providers share (``shared.runtime.providers``). What the provider calls us by is the kind's third part.

2. Add ``ACME`` to the list in ``services/<channel>/providers.py``. Its place there is its rank: the first provider
   whose ``handles`` says yes gets the delivery, and the next one stands by.
3. Add a case to ``tests/integration/test_contract_<channel>.py``: a subclass of ``ProviderContract``
   (``tests/provider_contract.py``) with ``expected`` and ``rig``, against the provider's protocol in the sandbox. Its
   tests are there for free: refusal, rate limits, wrong credentials, cut connections, hangs, leaked secrets, closing.
   So are those of its settings (``tests/unit/test_providers.py``).
4. Name the settings in docs/reference/settings.md; a test compares them.

Network policies, metrics and log fields need no change.
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

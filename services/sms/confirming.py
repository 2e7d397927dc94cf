"""What follows from a status callback: the confirmation in the ledger, the metric, the event, the suppressed number."""

import logging
from asyncio import Future
from collections.abc import Callable

from services.sms import metrics
from services.sms.unwanted import Unwanted
from shared.core.clock import Clock
from shared.core.errors import DeliveryError
from shared.core.model import Channel, PhoneNumber
from shared.core.topics import Topics
from shared.ledger.confirmations import Confirmations, Confirmed, Outcome, told

log = logging.getLogger(__name__)


class Confirming:
    """Does what follows from the status callbacks of messages.

    Args:
        publish: publishes an event.
    """

    def __init__(
        self,
        confirmations: Confirmations,
        unwanted: Unwanted,
        *,
        topics: Topics,
        publish: Callable[[str, str], "Future[bool]"],
        clock: Clock,
    ) -> None:
        self._confirmations = confirmations
        self._unwanted = unwanted
        self._topics = topics
        self._publish = publish
        self._clock = clock

    async def confirm(
        self,
        notification_id: str,
        key: str,
        outcome: Outcome,
        code: str,
        provider_id: str,
        *,
        error: DeliveryError | None = None,
    ) -> None:
        """Write down one callback and do what follows; one about an unknown delivery changes nothing.

        Args:
            code: the provider's own, fit for logs, or nothing.
            error: what a failure says about the number: a ``RecipientGone``, or a ``DeliveryRefused`` if its owner
                opted out; None if it says nothing.
        """
        confirmed = await self._confirmations.write(notification_id, key, outcome, code, provider_id)
        if confirmed is None:
            log.info("callback for an unknown delivery")
            return
        # Also if it is no news: the first call may have failed halfway.
        if outcome is Outcome.FAILED:
            await self._leave_alone(confirmed, error)
        if not confirmed.news:
            return
        metrics.confirmations.labels(outcome).inc()
        log.log(
            logging.WARNING if outcome is Outcome.FAILED else logging.INFO,
            "confirmation",
            extra={
                "notification_id": confirmed.notification_id, "delivery_id": f"{notification_id}/{key}",
                "channel": Channel.SMS.value, "outcome": outcome.value, "detail": code,
            },
        )  # fmt: skip
        step = told(self._topics, confirmed, outcome, code, self._clock)
        if step is not None:
            self._publish(*step)

    async def _leave_alone(self, confirmed: Confirmed, error: DeliveryError | None) -> None:
        address = confirmed.delivery.address
        if isinstance(address, PhoneNumber) and error is not None:
            await self._unwanted.note(address.phone, error)

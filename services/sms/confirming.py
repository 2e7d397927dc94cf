"""What follows from a status callback: the confirmation in the ledger, the metric, the event, the suppressed number."""

import logging
from asyncio import Future
from collections.abc import Callable

from services.sms.confirmations import Confirmations, Confirmed, Outcome
from services.sms.unwanted import Unwanted
from services.sms.verdict import OPTED_OUT_CODE, is_gone, is_short_code
from shared.core.clock import Clock
from shared.core.model import Channel, PhoneNumber, State
from shared.core.topics import Topics
from shared.ledger.events import event
from shared.telemetry import metrics

log = logging.getLogger(__name__)


class Confirming:
    """Deals with what Twilio tells of one message.

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
        self, notification_id: str, key: str, outcome: Outcome, code: str, provider_id: str, *, sender: str
    ) -> None:
        """Deal with one callback; one about a delivery that nobody knows changes nothing.

        Args:
            code: Twilio's, digits or nothing.
            sender: whom the message came from.
        """
        confirmed = await self._confirmations.write(notification_id, key, outcome, code, provider_id)
        if confirmed is None:
            log.info("callback for an unknown delivery")
            return
        # Also when it is no news: the first time may have failed half way.
        if outcome is Outcome.FAILED:
            await self._leave_alone(confirmed, code, sender)
        if not confirmed.news:
            return
        metrics.sms_confirmations.labels(outcome).inc()
        log.log(
            logging.WARNING if outcome is Outcome.FAILED else logging.INFO,
            "confirmation",
            extra={
                "notification_id": confirmed.notification_id, "delivery_id": f"{notification_id}/{key}",
                "channel": Channel.SMS.value, "outcome": outcome.value, "detail": code,
            },
        )  # fmt: skip
        if confirmed.events and outcome in (Outcome.DELIVERED, Outcome.FAILED):
            # The delivery's state is what it was; the confirmation says how far it came after that.
            step = event(
                self._topics, confirmed.notification_id, State.DELIVERED, self._clock,
                channel=Channel.SMS, recipient=confirmed.delivery.recipient,
                confirmation={"outcome": outcome, "code": code or None},
            )  # fmt: skip
            self._publish(*step)

    async def _leave_alone(self, confirmed: Confirmed, code: str, sender: str) -> None:
        address = confirmed.delivery.address
        if not isinstance(address, PhoneNumber) or not code:
            return
        if is_gone(int(code), short_code=is_short_code(sender)):
            await self._unwanted.gone(address.phone, code)
        elif int(code) == OPTED_OUT_CODE:
            await self._unwanted.opt_out(address.phone, code)

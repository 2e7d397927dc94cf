"""What follows from an inbound SMS: STOP and START, and the acknowledgement of an alert.

Promises that one message has its effect once, even if Twilio hands it over again a day later, and that nothing is
answered: Twilio answers STOP and START itself.
"""

import logging

from services.sms import keywords
from services.sms.alerts import SentAlert, SentAlerts
from services.sms.keywords import Request
from services.sms.unwanted import Unwanted
from shared import metrics
from shared.keys import Keys
from shared.store import Store

log = logging.getLogger(__name__)

_REMEMBERED_S = 86_400
_NO_ALERT = b"-"


class Inbound:
    """Deals with what people send."""

    def __init__(self, store: Store, keys: Keys, unwanted: Unwanted, alerts: SentAlerts) -> None:
        self._store = store
        self._keys = keys
        self._unwanted = unwanted
        self._alerts = alerts

    async def take(self, phone: str, body: str, message_id: str) -> None:
        """Do what a message asks for."""
        mark = self._keys.sms_inbound(message_id)
        if done := await self._store.command("GET", mark):
            metrics.sms_inbound.labels("repeated").inc()
            if done != _NO_ALERT:
                # Marked before it was acknowledged, which may have failed.
                await self._alerts.acknowledge(SentAlert.read(done), keywords.read(body).note)
            return
        asked = keywords.read(body)
        alert: SentAlert | None = None
        match asked.request:
            case Request.STOP:
                await self._unwanted.opt_out(phone, "STOP")
            case Request.START:
                await self._unwanted.opt_in(phone)
            case Request.ACKNOWLEDGE:
                alert = await self._alerts.newest_open(phone)
        # After what may be done twice, and before what may not: a repetition must not acknowledge the next alert.
        await self._store.command("SET", mark, alert.text if alert else _NO_ALERT, "EX", _REMEMBERED_S)
        if alert is not None:
            await self._alerts.acknowledge(alert, asked.note)
        metrics.sms_inbound.labels(asked.request).inc()
        log.info(
            "inbound message",
            extra={"request": asked.request.value, "notification_id": alert.alert_id if alert else None},
        )

"""What follows from an inbound SMS: STOP and START, the acknowledgement of an alert, an answer with help.

Promises that one message has its effect once, even if its provider sends it again within a day. STOP comes before
everything else. Answers go only to numbers that were sent an alert, and only so many within an hour, so that we do not
talk with an auto-responder for ever. STOP, START and HELP get no answer here: providers answer them themselves.
"""

import logging

from services.sms import keywords, metrics
from services.sms.alerts import SentAlert, SentAlerts
from services.sms.answers import NOT_TAKEN, Say, Take, decide
from services.sms.keys import inbound_key, number_key
from services.sms.keywords import Asked, Request
from services.sms.unwanted import Unwanted
from shared.store.keys import Keys
from shared.store.store import Store
from shared.store.windows import Ask, Windows

log = logging.getLogger(__name__)

_REMEMBERED_S = 86_400
_NO_ALERT = b"-"
# To one number within an hour: the general help once, and a few other answers to somebody who tries to acknowledge.
ANSWERS_WITHIN_MS = 3_600_000
HELP_MOST = 1
QUESTIONS_MOST = 5


class Inbound:
    """Deals with what people send."""

    def __init__(self, store: Store, keys: Keys, unwanted: Unwanted, alerts: SentAlerts) -> None:
        self._store = store
        self._windows = Windows(store)
        self._keys = keys
        self._unwanted = unwanted
        self._alerts = alerts

    async def take(self, phone: str, body: str, message_id: str) -> str | None:
        """Do what a message asks for.

        Returns:
            What to answer, if anything.
        """
        mark = inbound_key(self._keys, message_id)
        if done := await self._store.command("GET", mark):
            metrics.inbound.labels(metrics.REPEATED).inc()
            if done != _NO_ALERT:
                # The mark came before the acknowledgement, which may have failed.
                await self._alerts.acknowledge(SentAlert.read(done), keywords.read(body).note)
            return None
        asked = await self._meant(phone, keywords.read(body))
        match asked.request:
            case Request.STOP:
                await self._unwanted.opt_out(phone, "STOP")
            case Request.START:
                await self._unwanted.opt_in(phone)
        follows = None
        if asked.request in (Request.ACKNOWLEDGE, Request.OTHER):
            follows = decide(asked, await self._alerts.sent_to(phone))
        alert = follows.alert if isinstance(follows, Take) else None
        # STOP and START may be done twice, so the mark comes after them. It comes before the acknowledgement: a
        # repetition must not acknowledge the next alert.
        await self._store.command("SET", mark, alert.text if alert else _NO_ALERT, "EX", _REMEMBERED_S)
        if isinstance(follows, Take) and not await self._alerts.acknowledge(follows.alert, follows.note):
            follows = NOT_TAKEN
        answer = await self._answer(phone, follows, message_id) if isinstance(follows, Say) else None
        metrics.inbound.labels(asked.request).inc()
        log.info(
            "inbound message",
            extra={
                "request": asked.request.value, "notification_id": alert.alert_id if alert else None,
                "answered": answer is not None,
            },
        )  # fmt: skip
        return answer

    async def _meant(self, phone: str, asked: Asked) -> Asked:
        """Decide what YES means: somebody wants messages again, or takes an alert."""
        if asked.may_start and await self._unwanted.is_opted_out(phone):
            return Asked(Request.START)
        return asked

    async def _answer(self, phone: str, say: Say, message_id: str) -> str | None:
        # No answer after STOP.
        if await self._unwanted.is_opted_out(phone):
            return None
        kind, most = ("help", HELP_MOST) if say.is_help else ("questions", QUESTIONS_MOST)
        key = f"{number_key(self._keys, phone)}:{kind}"
        ask = Ask(key, message_id, most, ANSWERS_WITHIN_MS, "retry")
        return say.text if await self._windows.lets_in(ask) else None

"""Twilio's calls to us: what became of a message, and what people answer.

Promises that a call without Twilio's signature over the exact public URL is refused. A callback may come late, twice
and out of order. No log line holds a number or a text.
"""

import logging
import re
from collections.abc import Mapping
from xml.sax.saxutils import escape

from aiohttp import web
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from services.sms import reference
from services.sms.callback_server import in_time
from services.sms.confirming import Confirming
from services.sms.inbound import Inbound
from services.sms.twilio.senders import is_short_code
from services.sms.twilio.verdict import of_callback
from shared.ledger.confirmations import Outcome

log = logging.getLogger(__name__)

STATUS_PATH = "/v1/twilio/status"
INBOUND_PATH = "/v1/twilio/inbound"
DELIVERY_PARAMETER = "delivery"

# twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks and the message resource's status values.
OUTCOMES: Mapping[str, Outcome] = {
    "accepted": Outcome.TAKEN,
    "scheduled": Outcome.TAKEN,
    "queued": Outcome.TAKEN,
    "sending": Outcome.TAKEN,
    "sent": Outcome.SENT,
    "delivered": Outcome.DELIVERED,
    "read": Outcome.DELIVERED,
    "undelivered": Outcome.FAILED,
    "failed": Outcome.FAILED,
    "canceled": Outcome.FAILED,
}
_MESSAGE_SID = re.compile(r"(SM|MM)[0-9a-fA-F]{32}", re.ASCII)
_CODE = re.compile(r"\d{0,6}", re.ASCII)
# twilio.com/docs/messaging/twiml: what Twilio is to answer a message with, from the number that it came to.
_SILENCE = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
_ANSWER = '<?xml version="1.0" encoding="UTF-8"?><Response><Message>{}</Message></Response>'


class Callbacks:
    """The handlers of both calls.

    Args:
        token: the account's, which Twilio signs with.
        url: the address that Twilio calls, without the paths.
    """

    def __init__(self, token: str, url: str, confirming: Confirming, inbound: Inbound) -> None:
        self._validator = RequestValidator(token)
        self._url = url
        self._confirming = confirming
        self._inbound = inbound

    def routes(self) -> tuple[web.RouteDef, ...]:
        """Return both calls."""
        return (web.post(STATUS_PATH, self._status), web.post(INBOUND_PATH, self._answer))

    async def _status(self, request: web.Request) -> web.Response:
        form = await self._signed_form(request, STATUS_PATH)
        sid, code = form.get("MessageSid", ""), form.get("ErrorCode", "")
        outcome = OUTCOMES.get(form.get("MessageStatus", ""))
        if outcome is None or not _MESSAGE_SID.fullmatch(sid) or not _CODE.fullmatch(code):
            # It is signed, so it is Twilio's. It may be a status that we do not know yet, and to refuse it helps
            # nobody.
            log.warning("callback not understood")
            return web.Response(status=204)
        delivery = reference.read(request.query.get(DELIVERY_PARAMETER, ""))
        if delivery is not None:
            error = of_callback(int(code), short_code=is_short_code(form.get("From", ""))) if code else None
            await self._confirming.confirm(*delivery, outcome, code, sid, error=error)
        return web.Response(status=204)

    async def _answer(self, request: web.Request) -> web.Response:
        form = await self._signed_form(request, INBOUND_PATH)
        phone, sid = form.get("From", ""), form.get("MessageSid", "")
        answer = None
        if phone and _MESSAGE_SID.fullmatch(sid):
            answer = await self._inbound.take(phone, form.get("Body", ""), sid)
        else:
            log.warning("inbound message not understood")
        text = _SILENCE if answer is None else _ANSWER.format(escape(answer))
        return web.Response(text=text, content_type="text/xml")

    async def _signed_form(self, request: web.Request, path: str) -> Mapping[str, str]:
        """Read a form that Twilio has signed.

        Raises:
            web.HTTPException: the form is not signed, too large or too slow.
        """
        form = await in_time(request.post())
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        try:
            "".join([*texts, *texts.values()]).encode()
        except ValueError:
            # A charset that allows half a surrogate pair.
            raise web.HTTPBadRequest from None
        # The query as it was sent, because reading and writing it could change its quoting.
        query = request.raw_path.partition("?")[2]
        url = f"{self._url}{path}?{query}" if query else f"{self._url}{path}"
        signature = request.headers.get("X-Twilio-Signature", "")
        has_files = any(not isinstance(value, str) for value in form.values())
        if has_files or not self._validator.validate(url, form, signature):
            log.warning("callback without a valid signature refused")
            raise web.HTTPForbidden
        return texts

"""The endpoint that Twilio calls: what became of a message, and what people answer.

Promises that nothing is believed without Twilio's signature over the exact public URL, that a callback may come late,
twice and out of order, and that a body is bounded. An answer other than 2xx means that nothing was done, or that doing
it again does no harm. No number and no text stands in a log line.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from xml.sax.saxutils import escape

from aiohttp import web
from aiohttp.typedefs import Handler
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from services.sms import reference
from services.sms.confirmations import Outcome
from services.sms.confirming import Confirming
from services.sms.inbound import Inbound
from services.sms.settings import CallbackEndpoint
from services.sms.twilio import DELIVERY_PARAMETER, INBOUND_PATH, STATUS_PATH
from shared.core.errors import ConfigError, StoreUnavailable
from shared.telemetry.log import frames

log = logging.getLogger(__name__)

# Twilio sends some thirty short fields; an inbound SMS has at most 1,600 characters.
BODY_BYTES = 64 * 1024
READ_DEADLINE_S = 10
_SHUTDOWN_S = 2.0

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
        url: what Twilio calls us by, without the paths.
    """

    def __init__(self, token: str, url: str, confirming: Confirming, inbound: Inbound) -> None:
        self._validator = RequestValidator(token)
        self._url = url
        self._confirming = confirming
        self._inbound = inbound

    def application(self) -> web.Application:
        """Put the application together."""
        app = web.Application(client_max_size=BODY_BYTES, middlewares=[_answer_errors])
        app.add_routes([web.post(STATUS_PATH, self._status), web.post(INBOUND_PATH, self._answer)])
        return app

    async def _status(self, request: web.Request) -> web.Response:
        form = await self._signed_form(request, STATUS_PATH)
        sid, code = form.get("MessageSid", ""), form.get("ErrorCode", "")
        outcome = OUTCOMES.get(form.get("MessageStatus", ""))
        if outcome is None or not _MESSAGE_SID.fullmatch(sid) or not _CODE.fullmatch(code):
            # Signed, so it is Twilio's: a status of a later day, which nobody gains by refusing.
            log.warning("callback not understood")
            return web.Response(status=204)
        delivery = reference.read(request.query.get(DELIVERY_PARAMETER, ""))
        if delivery is not None:
            await self._confirming.confirm(*delivery, outcome, code, sid, sender=form.get("From", ""))
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
            web.HTTPException: it did not, or it is too large or too slow.
        """
        try:
            async with asyncio.timeout(READ_DEADLINE_S):
                form = await request.post()
            texts = {name: value for name, value in form.items() if isinstance(value, str)}
            "".join([*texts, *texts.values()]).encode()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (ValueError, LookupError):
            # Among others: an alphabet that does not exist, or one that knows half a surrogate pair.
            raise web.HTTPBadRequest from None
        # The query as it was sent: reading and writing it again may quote it in another way.
        query = request.raw_path.partition("?")[2]
        url = f"{self._url}{path}?{query}" if query else f"{self._url}{path}"
        signature = request.headers.get("X-Twilio-Signature", "")
        has_files = any(not isinstance(value, str) for value in form.values())
        if has_files or not self._validator.validate(url, form, signature):
            log.warning("callback without a valid signature refused")
            raise web.HTTPForbidden
        return texts


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except StoreUnavailable:
        return web.Response(status=503)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - logged here, without its text, which may quote the body
        # The query holds a delivery's name; the route says enough.
        known = request.match_info.route.resource
        path = known.canonical if known is not None else ""
        log.error("callback failed", extra={"path": path, "traceback": frames(error)})  # noqa: TRY400
        return web.Response(status=500)


@asynccontextmanager
async def serve_callbacks(endpoint: CallbackEndpoint, callbacks: Callbacks) -> AsyncIterator[int]:
    """Serve Twilio's calls while the context stands.

    Yields:
        The port, which the system chose when 0 was asked for.

    Raises:
        ConfigError: the port cannot be had.
    """
    # Twilio packs nothing, and what a stranger has packed is not worth unpacking.
    runner = web.AppRunner(
        callbacks.application(), access_log=None, auto_decompress=False, shutdown_timeout=_SHUTDOWN_S
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, endpoint.host, endpoint.port).start()
        except OSError as error:
            raise ConfigError(f"SMS_CALLBACK_PORT: cannot listen on {endpoint.port} ({error.strerror})") from None
        port = int(runner.addresses[0][1])
        log.info("callback endpoint", extra={"port": port})
        yield port
    finally:
        await runner.cleanup()

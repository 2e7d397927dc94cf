"""Twilio: the REST call that creates an SMS, its status callbacks, and messages that people send, with answers.

Promises Twilio's answers as its documents show them, and its magic numbers, which always fail in a known way. Callbacks
report an accepted message as sent and delivered, or as a fault says. If a service answers a message from somebody, the
answer is kept as an SMS, too. Messages cannot be fetched later.
"""

import base64
import binascii
import hmac
import re
import secrets
from email.utils import formatdate

import aiohttp
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox.credentials import SMS_FROM, Credentials
from sandbox.exchange import Reply, http1, is_answered, json_reply, play_after, play_before
from sandbox.kept import Effect, Kept
from sandbox.page import from_here
from sandbox.script import Fault, Script
from sandbox.twilio_calls import Message, TwilioCalls

# E.164: at most 15 digits, no leading zero; below 8 no country assigns a mobile number.
_E164 = re.compile(r"\+[1-9]\d{7,14}", re.ASCII)
# twilio.com/docs/messaging/api/message-resource, ValidityPeriod: 1 to 36,000 seconds.
_VALIDITY = re.compile(r"[1-9]\d{0,3}|[12]\d{4}|3[0-5]\d{3}|36000", re.ASCII)
# Twilio error 21617.
_BODY_LIMIT_CHARACTERS = 1_600
# twilio.com/docs/iam/test-credentials, the numbers for the parameter To.
_MAGIC_NUMBERS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
# twilio.com/docs/api/errors: the texts that go with the codes.
_TEXTS = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    20503: "Service Unavailable",
    21211: "The 'To' number is not a valid phone number.",
    21265: "'To' number cannot be a Short Code",
    21266: "'To' and 'From' numbers cannot be the same",
    21268: "Sending to Premium rate or Information Service numbers is not allowed",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number.",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21606: "The 'From' phone number provided is not a valid message-capable Twilio phone number for this destination",
    21608: "The 'to' phone number provided is not yet verified for this account.",
    21610: "Attempt to send to unsubscribed recipient",
    21612: "The 'To' phone number is not currently reachable using the 'From' phone number via SMS.",
    21614: "'To' number is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit.",
    21635: "'To' number cannot be a landline",
    21657: "The Sender ID is invalid",
    21659: "'From' is not a Twilio phone number or Short Code country mismatch",
    21660: "Mismatch between the 'From' number and the account",
    21661: "'From' number is not SMS-capable",
}
_USUAL_CODES = {400: 21211, 401: 20003, 403: 21408, 404: 20404, 429: 20429, 500: 20500, 503: 20503}
# 3GPP TS 23.038, 6.2.1; characters of the extension table count twice.
_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENSION = frozenset("^{}\\[~]|€\f")


class InboundMessage(BaseModel):
    """What POST /twilio/inbound takes: somebody sends an SMS."""

    model_config = ConfigDict(extra="forbid")

    sender: str
    to: str = SMS_FROM
    body: str


class Twilio:
    """The messages resource of any account."""

    def __init__(self, kept: Kept, script: Script, credentials: Credentials, calls: TwilioCalls) -> None:
        self._kept = kept
        self._script = script
        self._token = credentials.twilio_token
        self._sid = credentials.twilio_sid
        self._calls = calls

    def routes(self) -> list[web.RouteDef]:
        """What this provider serves."""
        return [
            web.post("/2010-04-01/Accounts/{sid}/Messages.json", http1(self._create)),
            web.post("/twilio/inbound", from_here(self._send_inbound)),
        ]

    def failure(self, status: int, code: int | str | None) -> Reply:
        """A refusal in Twilio's words."""
        number = int(code) if code is not None and str(code).isdigit() else _USUAL_CODES.get(status, 20500)
        return json_reply(
            status,
            {
                "code": number,
                "message": _TEXTS.get(number, "Scripted refusal"),
                "more_info": f"https://www.twilio.com/docs/errors/{number}",
                "status": status,
            },
        )

    def operator_failure(self) -> Reply:
        """The account's credentials are refused."""
        return self.failure(401, 20003)

    async def _create(self, request: web.Request) -> Reply:
        if early := await play_before(self._script.take("twilio", (), "request"), self):
            return early
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        to = form.get("To", "")
        fault = self._script.take("twilio", (to,), "request", "answer")
        if refusal := await play_before(fault, self):
            return refusal
        if not self._is_authenticated(request.headers.get("Authorization", "")):
            return self.failure(401, 20003)
        if code := _invalid(form):
            return self.failure(400, code)
        sid = f"SM{secrets.token_hex(16)}"
        sender = form.get("From") or form.get("MessagingServiceSid") or ""
        content: dict[str, object] = {"title": "", "body": form["Body"], "from": sender}
        if callback := form.get("StatusCallback"):
            content["status_callback"] = callback
        if validity := form.get("ValidityPeriod"):
            content["validity_period_s"] = int(validity)
        effect = Effect(
            channel="sms",
            provider="twilio",
            to=to,
            id=sid,
            content=content,
            size_bytes=len(form["Body"].encode()),
            answered=is_answered(fault),
        )
        await self._kept.keep(effect)
        if callback:
            statuses, failure = _later(fault)
            self._calls.tell(callback, Message(sid, request.match_info["sid"], sender, to), statuses, failure)
        await play_after(fault)
        return json_reply(201, _message(request.match_info["sid"], sid, form))

    async def _send_inbound(self, request: web.Request) -> web.Response:
        try:
            message = InboundMessage.model_validate_json(await request.read())
        except ValidationError:
            return web.json_response({"problem": "sender and body are required, to is optional"}, status=400)
        if self._calls.inbound_url is None:
            return web.json_response({"problem": "nobody takes inbound messages"}, status=409)
        try:
            status, said = await self._calls.send_inbound(self._sid, message.sender, message.to, message.body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return web.json_response({"problem": type(error).__name__}, status=502)
        if said is not None:
            content: dict[str, object] = {"title": "", "body": said, "from": message.to}
            await self._kept.keep(
                Effect(
                    channel="sms",
                    provider="twilio",
                    to=message.sender,
                    id=f"SM{secrets.token_hex(16)}",
                    content=content,
                    size_bytes=len(said.encode()),
                )
            )
        return web.json_response({"status": status, "answer": said})

    def _is_authenticated(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            _, _, token = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(token.encode(), self._token.encode())


def segments(body: str) -> int:
    """How many SMS the text takes (3GPP TS 23.038; concatenated parts lose 7 or 3 characters to their header)."""
    if all(character in _GSM7 or character in _GSM7_EXTENSION for character in body):
        length, single, part = len(body) + sum(character in _GSM7_EXTENSION for character in body), 160, 153
    else:
        length, single, part = len(body.encode("utf-16-le")) // 2, 70, 67
    return 1 if length <= single else -(-length // part)


def _later(fault: Fault | None) -> tuple[tuple[str, ...], str | None]:
    """Return the statuses of callbacks for an accepted message, and the error code of the last one."""
    if fault is None or fault.callback is None:
        return ("sent", "delivered"), None
    if fault.callback == "none":
        return (), None
    return ("sent", fault.callback), str(fault.code) if fault.code is not None else None


def _invalid(form: dict[str, str]) -> int | None:
    """Twilio's code for the first thing that is wrong with a request."""
    to, body = form.get("To", ""), form.get("Body", "")
    if not to:
        return 21604
    if not _E164.fullmatch(to):
        return 21211
    if not (form.get("From") or form.get("MessagingServiceSid")):
        return 21603
    if not body:
        return 21602
    if not _VALIDITY.fullmatch(form.get("ValidityPeriod", "1")):
        return 21623
    return 21617 if len(body) > _BODY_LIMIT_CHARACTERS else _MAGIC_NUMBERS.get(to)


def _message(account_sid: str, sid: str, form: dict[str, str]) -> dict[str, object]:
    """The message resource as Twilio shows it right after creation (twilio.com/docs/messaging/api/message-resource)."""
    uri = f"/2010-04-01/Accounts/{account_sid}/Messages/{sid}"
    now = formatdate().replace("-0000", "+0000")
    return {
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "body": form["Body"],
        "date_created": now,
        "date_sent": None,
        "date_updated": now,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": form.get("From"),
        "messaging_service_sid": form.get("MessagingServiceSid"),
        "num_media": "0",
        "num_segments": str(segments(form["Body"])),
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": "queued",
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": form["To"],
        "uri": f"{uri}.json",
    }

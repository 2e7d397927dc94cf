"""Vonage: the call of the Messages API (v1) that sends an SMS.

Promises the checks that a sender can fail (key and secret, every field) and Vonage's problem documents. Does not know
which numbers exist or which senders an account may use: it takes every well-formed one. Makes no callbacks. Key and
secret are derived and not stored, so they outlive a restart.
"""

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Mapping

from aiohttp import web

from sandbox.credentials import Credentials
from sandbox.exchange import Reply, http1, is_answered, json_reply, play_after, play_before
from sandbox.kept import Effect, Kept
from sandbox.script import Script

# developer.vonage.com/en/api/messages, OpenAPI document 1.20.0: ToNumber, OutboundSMSText, channelOptionsSms.
_NUMBER = re.compile(r"[1-9]\d{6,14}", re.ASCII)
_TEXT_LIMIT_CHARACTERS = 3_200
_TTL_S = range(20, 604_801)
_ENCODING_TYPES = ("text", "unicode", "auto")
# developer.vonage.com/en/messaging/sms/guides/custom-sender-id
_SENDER = re.compile(r"\d{1,15}|[A-Za-z0-9]{1,11}", re.ASCII)
_FIELDS = frozenset(
    {
        "message_type", "channel", "to", "from", "text", "ttl", "sms", "client_ref", "webhook_url", "webhook_version",
        "trusted_recipient", "failover",
    }
)  # fmt: skip
_SMS_FIELDS = frozenset({"encoding_type", "content_id", "entity_id", "pool_id"})

_ERRORS = "https://developer.vonage.com/api-errors"
_INVALID_PARAMETERS = "1150"
# The same document, the schemas of the answer 422 (ErrorChannel and so on), with their codes; then
# developer.vonage.com/en/api-errors/messages and developer.vonage.com/en/api-errors.
_TEXTS = {
    "1100": ("Unsupported channel", "The specified channel is not supported."),
    "1120": ("Invalid sender", "The `from` parameter is invalid for the given channel."),
    "110": ("Invalid recipient", "The `to` parameter is invalid for the given channel."),
    "1140": ("Invalid message type", "The message type is not supported for the given channel."),
    _INVALID_PARAMETERS: ("Invalid params", "The value of one or more parameters is invalid."),
    "1000": ("Throttled", "You have exceeded the submission capacity allowed on this account. Please wait and retry"),
    "1190": ("Absent Subscriber Permanent", "`to` is no longer active."),
    "1240": ("Illegal Number", "The user has already sent a STOP opt-out message."),
    "invalid-json": ("The request body did not contain valid JSON", "Unexpected character"),
    "content-type-header": ("Invalid Content-Type header provided", "Send a Content-Type of application/json."),
    "unauthorized": ("You did not provide correct credentials.", "Check that you're using the correct credentials."),
    "low-balance": ("Low balance", "This request could not be performed due to your account balance being low."),
    "not-found": ("Not found", "The requested resource does not exist, or you do not have access to it"),
    "throttled": ("Rate limit hit", "Please wait, then retry your request"),
}
_USUAL_CODES = {
    401: "unauthorized", 402: "low-balance", 404: "not-found", 422: _INVALID_PARAMETERS, 429: "throttled",
}  # fmt: skip


def account(credentials: Credentials) -> tuple[str, str]:
    """The API key and its secret; both have the look of Vonage's."""
    made = hmac.new(credentials.secret, b"vonage", hashlib.sha256).hexdigest()
    return made[:8], made[8:24]


class Vonage:
    """The messages of one account."""

    def __init__(self, kept: Kept, script: Script, credentials: Credentials) -> None:
        self._kept = kept
        self._script = script
        self._account = ":".join(account(credentials)).encode()

    def routes(self) -> list[web.RouteDef]:
        """What this provider serves."""
        return [web.post("/v1/messages", http1(self._send))]

    def failure(self, status: int, code: int | str | None) -> Reply:
        """A problem document (RFC 7807) with Vonage's link to the error."""
        return _problem(status, str(code) if code is not None else _USUAL_CODES.get(status, ""))

    def operator_failure(self) -> Reply:
        """The account's credentials are refused."""
        return self.failure(401, None)

    async def _send(self, request: web.Request) -> Reply:
        if early := await play_before(self._script.take("vonage", (), "request"), self):
            return early
        message = _parsed(await request.read())
        # Rules write a number as the other SMS provider does.
        to = f"+{message.get('to')}" if message is not None else ""
        fault = self._script.take("vonage", (to,), "request", "answer")
        if refusal := await play_before(fault, self):
            return refusal
        if not self._is_authenticated(request.headers.get("Authorization", "")):
            return self.failure(401, None)
        if request.content_type != "application/json":
            return self.failure(415, "content-type-header")
        if message is None:
            return self.failure(422, "invalid-json")
        if refusal := _invalid(message):
            return refusal
        message_uuid = str(uuid.uuid4())
        text = str(message["text"])
        content: dict[str, object] = {"title": "", "body": text, "from": message["from"]}
        content |= {"ttl_s": message.get("ttl"), "encoding_type": _options(message).get("encoding_type", "auto")}
        effect = Effect(
            channel="sms",
            provider="vonage",
            to=to,
            id=message_uuid,
            content=content,
            size_bytes=len(text.encode("utf-8", "replace")),
            answered=is_answered(fault),
        )
        await self._kept.keep(effect)
        await play_after(fault)
        return json_reply(202, {"message_uuid": message_uuid}, _request_id())

    def _is_authenticated(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except ValueError:
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(given, self._account)


def _invalid(message: Mapping[str, object]) -> Reply | None:
    """Refuse a message with a wrong field, or with one that Vonage does not document."""
    if message.get("channel") != "sms":
        return _problem(422, "1100")
    if message.get("message_type") != "text":
        return _problem(422, "1140")
    if not _matches(_NUMBER, message.get("to")):
        return _problem(422, "110")
    if not _matches(_SENDER, message.get("from")):
        return _problem(422, "1120")
    text, ttl, options = message.get("text"), message.get("ttl", _TTL_S[0]), message.get("sms", {})
    wrong = dict.fromkeys(message.keys() - _FIELDS, "is not known")
    if not isinstance(text, str) or not 1 <= len(text) <= _TEXT_LIMIT_CHARACTERS:
        wrong["text"] = f"must have 1 to {_TEXT_LIMIT_CHARACTERS} characters."
    if not isinstance(ttl, int) or isinstance(ttl, bool) or ttl not in _TTL_S:
        wrong["ttl"] = f"must be between {_TTL_S[0]} and {_TTL_S[-1]}."
    if not isinstance(options, dict):
        wrong["sms"] = "must be an object."
    else:
        wrong |= {f"sms.{name}": "is not known" for name in options.keys() - _SMS_FIELDS}
        if options.get("encoding_type", "auto") not in _ENCODING_TYPES:
            wrong["sms.encoding_type"] = f"Must be one of {', '.join(_ENCODING_TYPES)}."
    return _problem(422, _INVALID_PARAMETERS, wrong) if wrong else None


def _problem(status: int, code: str, wrong: Mapping[str, str] | None = None) -> Reply:
    title, detail = _TEXTS.get(code, ("Scripted refusal", "The sandbox was told to refuse this."))
    # The general errors have a page of their own.
    page = f"{_ERRORS}/messages" if code.isdigit() else _ERRORS
    problem: dict[str, object] = {
        "type": f"{page}#{code}" if code else page,
        "title": title,
        "detail": detail,
        "instance": uuid.uuid4().hex,
    }
    if wrong:
        problem["invalid_parameters"] = [{"name": name, "reason": reason} for name, reason in wrong.items()]
    # The same document: a 422 is plain JSON, the others are problem documents.
    kind = "application/json" if status == 422 else "application/problem+json"
    return json_reply(status, problem, {"Content-Type": kind, **_request_id()})


def _parsed(body: bytes) -> dict[str, object] | None:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _options(message: Mapping[str, object]) -> Mapping[str, object]:
    options = message.get("sms")
    return options if isinstance(options, dict) else {}


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _request_id() -> dict[str, str]:
    return {"X-Request-Id": str(uuid.uuid4())}

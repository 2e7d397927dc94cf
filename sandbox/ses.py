"""Amazon SES: operation SendEmail of its API v2, with the content Raw.

Promises to check the signature (``sandbox.sigv4``), every field of the request and the form of the mail. Refusals have
SES's words. The sender's domain is verified, and one configuration set exists. The account is not in what SES calls its
sandbox, so it may write to every address. Keeps a mail as it came, where SES would replace Message-ID and Date.
"""

import base64
import binascii
import re
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from email.utils import parseaddr
from functools import partial

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox import mail, sigv4
from sandbox.credentials import EMAIL_FROM, SES_REGION, Credentials
from sandbox.exchange import Reply, http1, is_answered, json_reply, play_after, play_before
from sandbox.kept import Effect, Kept
from sandbox.script import Script

CONFIGURATION_SET = "carillon"
PATH = "/v2/email/outbound-emails"

# SES API v2 reference, SendEmail and "Common Error Types": which word comes with which status.
_STATUSES = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "InternalFailure": 500,
    "MissingAuthenticationToken": 403,
    "NotFoundException": 404,
    "RequestEntityTooLargeException": 413,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "TooManyRequestsException": 429,
    "UnrecognizedClientException": 403,
}
_TEXTS = {
    "AccessDeniedException": "User is not authorized to perform: ses:SendEmail",
    "AccountSuspendedException": "Sending is permanently restricted for this account.",
    "MessageRejected": "Email address is not verified.",
    "SendingPausedException": "Email sending is paused for this account.",
    # SES developer guide, "Errors related to the sending quotas".
    "TooManyRequestsException": "Maximum sending rate exceeded.",
    "UnrecognizedClientException": "The security token included in the request is invalid.",
}
_USUAL_WORDS = {
    400: "BadRequestException",
    403: "AccessDeniedException",
    404: "NotFoundException",
    413: "RequestEntityTooLargeException",
    429: "TooManyRequestsException",
    500: "InternalFailure",
    503: "ServiceUnavailable",
}
# SES developer guide, "Service quotas in Amazon SES": recipients of one message, its size after encoding.
_RECIPIENTS_LIMIT = 50
_SIZE_LIMIT_BYTES = 40 * 1024 * 1024
# SES API v2 reference, RawMessage: the length of any single line.
_LINE_LIMIT_CHARACTERS = 1_000
# SES developer guide, "Amazon SES header fields": those that we write and that may appear only once.
_ONCE = frozenset(
    {
        "auto-submitted", "content-type", "date", "from", "importance", "list-unsubscribe", "list-unsubscribe-post",
        "message-id", "mime-version", "reply-to", "return-path", "sender", "subject",
    }
)  # fmt: skip
# SES API v2 reference, Destination: 7-bit ASCII; "UserName@[SubDomain.]Domain.TopLevelDomain" is the form of one.
_ADDRESS = re.compile(r"[!-?A-~]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)


class _Strict(BaseModel):
    # AWS ignores unknown fields. Here they are refused, so that a misspelt field shows.
    model_config = ConfigDict(extra="forbid", strict=True)


class _Raw(_Strict):
    Data: str


class _Content(_Strict):
    Raw: _Raw


class _Destination(_Strict):
    ToAddresses: list[str] = []
    CcAddresses: list[str] = []
    BccAddresses: list[str] = []


class _SendEmail(_Strict):
    FromEmailAddress: str
    Destination: _Destination
    Content: _Content
    ConfigurationSetName: str | None = None


class Ses:
    """One account in one region."""

    def __init__(self, kept: Kept, script: Script, credentials: Credentials) -> None:
        self._kept = kept
        self._script = script
        self._key = sigv4.AccessKey(
            credentials.ses_access_key_id, credentials.ses_secret_access_key, SES_REGION, service="ses"
        )

    def routes(self) -> list[web.RouteDef]:
        """What this provider serves."""
        return [web.post(PATH, http1(self._send))]

    def failure(self, status: int, code: int | str | None) -> Reply:
        """A refusal in SES's words (AWS restJson1 protocol: the word stands in a header field)."""
        word = str(code) if code is not None else _USUAL_WORDS.get(status, "InternalFailure")
        return _refusal(status, word, _TEXTS.get(word, "Scripted refusal"))

    def operator_failure(self) -> Reply:
        """The access key is refused."""
        return self.failure(403, "UnrecognizedClientException")

    async def _send(self, request: web.Request) -> Reply:
        if early := await play_before(self._script.take("ses", (), "request"), self):
            return early
        body = await _body(request)
        try:
            wanted = _SendEmail.model_validate_json(body)
        except ValidationError:
            wanted = None
        recipients = _recipients(wanted) if wanted else []
        fault = self._script.take("ses", recipients, "request", "answer")
        if refusal := await play_before(fault, self):
            return refusal
        try:
            path = request.rel_url.raw_path_qs
            sigv4.check(self._key, request.method, path, request.headers, body, now=datetime.now(UTC))
            wanted, raw = _checked(request, wanted, recipients)
        except sigv4.Refused as refused:
            return _refusal(_STATUSES.get(refused.word, 400), refused.word, refused.text)
        # As in the developer guide's examples: milliseconds since the epoch, a UUID and zeros.
        message_id = f"{time.time_ns() // 1_000_000:016x}-{uuid.uuid4()}-000000"
        for recipient in recipients:
            effect = Effect(
                channel="email",
                provider="ses",
                to=recipient,
                id=message_id,
                content=partial(_content, raw, wanted.FromEmailAddress),
                size_bytes=len(raw),
                notification_id=mail.notification_id(raw),
                answered=is_answered(fault),
            )
            await self._kept.keep(effect)
        await play_after(fault)
        return json_reply(200, {"MessageId": message_id}, {"x-amzn-RequestId": str(uuid.uuid4())})


async def _body(request: web.Request) -> bytes:
    # ``request.read`` has aiohttp's limit of 1 MiB, which is less than SES's.
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
    return bytes(body)


def _recipients(wanted: _SendEmail) -> list[str]:
    destination = wanted.Destination
    return [*destination.ToAddresses, *destination.CcAddresses, *destination.BccAddresses]


def _content(raw: bytes, sender: str) -> dict[str, object]:
    return mail.read(raw) | {"from": sender, "size_bytes": len(raw)}


def _checked(request: web.Request, wanted: _SendEmail | None, recipients: list[str]) -> tuple[_SendEmail, bytes]:
    """Return a request that SES would take, and its mail.

    Raises:
        sigv4.Refused: it would not.
    """
    if request.content_type != "application/json" or wanted is None:
        raise _bad("The request body is not a SendEmail request with the content Raw.")
    if not 1 <= len(recipients) <= _RECIPIENTS_LIMIT:
        raise _bad(f"Recipient count is not between 1 and {_RECIPIENTS_LIMIT}.")
    for recipient in recipients:
        if not _ADDRESS.fullmatch(parseaddr(recipient)[1]):
            raise _bad("Illegal address")
    _check_sender(wanted.FromEmailAddress)
    if wanted.ConfigurationSetName not in (None, CONFIGURATION_SET):
        raise sigv4.Refused("NotFoundException", "Configuration set does not exist.")
    try:
        raw = base64.b64decode(wanted.Content.Raw.Data, validate=True)
    except binascii.Error:
        raise _bad("Content.Raw.Data is not base64.") from None
    if len(wanted.Content.Raw.Data) > _SIZE_LIMIT_BYTES:
        raise _bad(f"Message length is more than {_SIZE_LIMIT_BYTES} bytes long.")
    _check_mail(raw)
    return wanted, raw


def _check_sender(address: str) -> None:
    domain = parseaddr(address)[1].rpartition("@")[2]
    if domain.lower() != parseaddr(EMAIL_FROM)[1].rpartition("@")[2]:
        raise sigv4.Refused(
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region"
            f" {SES_REGION.upper()}: {address}",
        )


def _check_mail(raw: bytes) -> None:
    header, separator, _ = raw.partition(b"\r\n\r\n")
    if not separator:
        raise _bad("The message has no blank line between its header and its body.")
    if not raw.isascii():
        raise _bad("The message holds characters outside of 7-bit ASCII.")
    if max(map(len, raw.split(b"\r\n"))) > _LINE_LIMIT_CHARACTERS - len("\r\n"):
        raise _bad("Nonstandard line length.")
    lines = [line for line in header.decode("ascii").split("\r\n") if not line.startswith((" ", "\t"))]
    counts = Counter(line.partition(":")[0].lower() for line in lines)
    if twice := sorted(name for name in _ONCE if counts[name] > 1):
        raise _bad(f"Duplicate header '{twice[0]}'.")
    if not counts["from"]:
        raise _bad("Missing required header 'From'.")
    sender = next(line.partition(":")[2] for line in lines if line.lower().startswith("from:"))
    _check_sender(sender.strip())


def _bad(text: str) -> sigv4.Refused:
    return sigv4.Refused("BadRequestException", text)


def _refusal(status: int, word: str, text: str) -> Reply:
    return json_reply(status, {"message": text}, {"x-amzn-ErrorType": word, "x-amzn-RequestId": str(uuid.uuid4())})

"""SMS through Vonage's Messages API (v1), with an API key and its secret.

Not through their SMS API, which is older: "the Messages API is the recommended way to send and receive SMS", and "the
recommended path for all new integrations" (developer.vonage.com/en/messages/guides/sms-migration-to-messages). It takes
the same key and secret (Basic), says with the HTTP status how a request ended, and answers one id for a message of
several parts. Only the SMS API can refuse a part of a message.

One delivery is one request. The API has no idempotency key (a ``client_ref`` is only sent back), so an answer that does
not say whether the SMS was accepted is ``OutcomeUnknown``. Delivered means that Vonage accepted the SMS, and no more.
Status callbacks and people's answers are not read. So no text says how to answer it, and Carillon does not learn what
Vonage reports later (an opt-out, a dead number). Of an answer only the code is kept: an answer may quote the number.

Sources: "spec" is the OpenAPI document (1.20.0) of developer.vonage.com/en/api/messages, "errors" the page
developer.vonage.com/en/api-errors/messages, "general errors" developer.vonage.com/en/api-errors.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime

import aiohttp
from pydantic import Field, SecretStr, field_validator
from yarl import URL

from services.sms import metrics
from services.sms.desk import SmsParts
from services.sms.segments import Encoding
from shared.core.errors import (
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    RouteUnfit,
    TemporaryFailure,
)
from shared.core.model import Delivery, PhoneNumber
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.http_attempt import Answer, new_session, post
from shared.delivery.verdicts import Table, Verdict, failure, look_up, retry_after
from shared.runtime.providers import ProviderKind
from shared.runtime.settings import ProviderSettings, base_url

# Spec, channelOptionsSms, ttl: seconds that Vonage may try to deliver.
_TTL_S = (20, 604_800)
# Spec, channelOptionsSms, sms.encoding_type. Without it Vonage guesses. With it Vonage sends what we counted.
_ENCODING_TYPES: Mapping[Encoding, str] = {"gsm7": "text", "ucs2": "unicode"}
# developer.vonage.com/en/messaging/sms/guides/custom-sender-id: up to 15 digits, or up to 11 characters without spaces.
_SENDER = re.compile(r"\+?\d{3,15}|(?=.*[A-Za-z])[A-Za-z0-9]{1,11}", re.ASCII)
# Spec, ErrorResponse, type: a link to the error's description, whose fragment is the code.
_CODE = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)


class VonageSettings(ProviderSettings):
    """What carries SMS through an account at Vonage."""

    sms_vonage_api_key: str = Field(pattern=r"^[0-9A-Za-z]+$", description="the account's API key")
    sms_vonage_api_secret: SecretStr = Field(min_length=1, description="the secret of that key")
    sms_vonage_from: str = Field(description="the sender: a number, or a name of at most 11 letters and digits")
    sms_vonage_base_url: str = Field(
        "https://api.nexmo.com", description="only for one region (https://api-eu.nexmo.com) or another server"
    )

    @field_validator("sms_vonage_from")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        if not _SENDER.fullmatch(value):
            raise ValueError("a number of at most 15 digits or a name of at most 11 letters and digits is required")
        return value

    @field_validator("sms_vonage_base_url")
    @classmethod
    def _is_base_url(cls, value: str) -> str:
        return base_url(value)


def vonage_providers(vonage: VonageSettings, parts: SmsParts) -> tuple["VonageProvider", ...]:
    """Build the one provider of an account; to be called inside the running loop."""
    return (VonageProvider(vonage, parts),)


class VonageProvider:
    """Hands text messages to Vonage; to be made inside the running loop."""

    name = "vonage"

    def __init__(self, vonage: VonageSettings, parts: SmsParts) -> None:
        self._clock = parts.clock
        self._texts = parts.texts
        self._url = URL(vonage.sms_vonage_base_url) / "v1/messages"
        # Spec, ToNumber and FromNumber: "don't use a leading +".
        self._sender = vonage.sms_vonage_from.removeprefix("+")
        account = aiohttp.encode_basic_auth(vonage.sms_vonage_api_key, vonage.sms_vonage_api_secret.get_secret_value())
        self._headers = {"Authorization": account, "Content-Type": "application/json", "Accept": "application/json"}
        self._session = new_session(parts.settings.sms_concurrency)

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether it goes to a telephone number."""
        return isinstance(delivery.address, PhoneNumber)

    async def send(self, attempt: Attempt) -> Receipt:
        """Hand one text message to Vonage."""
        address = attempt.delivery.address
        if not isinstance(address, PhoneNumber):
            raise PermanentFailure(Reason.REJECTED, "not a phone number")
        text, segments = await self._texts.of(attempt, address, answerable=False)
        # Spec, OutboundSMSText: at most 3,200 characters, which is more than any text of ours has.
        message = {
            "message_type": "text",
            "channel": "sms",
            "to": address.phone.removeprefix("+"),
            "from": self._sender,
            "text": text,
            "ttl": self._ttl_s(attempt.delivery),
            "sms": {"encoding_type": _ENCODING_TYPES[segments.encoding]},
        }
        body = json.dumps(message).encode()
        answer = await post(self._session, self._url, attempt, headers=self._headers, body=body)
        if 200 <= answer.status < 300 and (uuid := _text(answer.body, "message_uuid")):
            metrics.segments.labels(segments.encoding).inc(segments.count)
            return Receipt(uuid, f"{segments.count} {segments.encoding}")
        raise verdict(answer, self._clock.now())

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _ttl_s(self, delivery: Delivery) -> int:
        left_s = int(delivery.expires_ms / 1000 - self._clock.now().timestamp())
        return min(max(left_s, _TTL_S[0]), _TTL_S[1])


# Spec, responses of SendMessage: 401, 402, 404, 422, 429, 500; the others by RFC 9110. A 5xx may have been taken.
_OF_STATUS: Table = {
    (401, None): (ProviderMisconfigured, Reason.AUTH),
    (402, None): (ProviderMisconfigured, Reason.QUOTA),
    # General errors: forbidden, invalid-ip.
    (403, None): (ProviderMisconfigured, Reason.AUTH),
    # There is one path, so these are about the address of the server.
    (404, None): (ProviderMisconfigured, Reason.REJECTED),
    (405, None): (ProviderMisconfigured, Reason.REJECTED),
    (407, None): (ProviderMisconfigured, Reason.REJECTED),
    # RFC 9110, 15.5.9: the server did not get the whole request.
    (408, None): (TemporaryFailure, Reason.TIMEOUT),
    (413, None): (PermanentFailure, Reason.TOO_LARGE),
    (429, None): (TemporaryFailure, Reason.RATE_LIMITED),
}
# Their documents do not say with which status a code comes, so the code outranks it. Codes of the page "errors" that
# are not here go by the status. So do 1100, 1130, 1140 and 1150, which mean one thing there and another in the spec.
# 1060 is of these, too, but its other meaning is a wrong client_ref, and we send none.
_OF_CODE: Mapping[str, Verdict] = {
    # The number. Spec, ErrorRecipient, has 110 for what is 1430 in "errors".
    "110": (RecipientGone, Reason.GONE),
    "1170": (RecipientGone, Reason.GONE),  # invalid recipient
    "1190": (RecipientGone, Reason.GONE),  # absent for good, "you should remove this phone number"
    "1430": (RecipientGone, Reason.GONE),  # invalid recipient for this channel
    "1240": (DeliveryRefused, Reason.OPTED_OUT),  # the user has sent STOP
    "1474": (DeliveryRefused, Reason.COUNTRY_NOT_ALLOWED),  # the account's Fraud Defender blocks the country
    # This account or sender and this destination: neither is wrong by itself.
    "1050": (RouteUnfit, Reason.REJECTED),  # the number is on Vonage's own list of barred ones
    "1120": (RouteUnfit, Reason.REJECTED),  # the sender is not accepted there, by local regulations
    "1250": (RouteUnfit, Reason.REJECTED),  # unroutable
    "1251": (RouteUnfit, Reason.REJECTED),  # no route, by the rules for that network
    "1420": (RouteUnfit, Reason.REJECTED),  # invalid sender for this channel
    "1480": (RouteUnfit, Reason.REJECTED),  # the country asks for an entity_id
    "1481": (RouteUnfit, Reason.REJECTED),  # the country asks for a registered sender
    "1482": (RouteUnfit, Reason.REJECTED),  # the country asks for a content_id
    # Later, perhaps.
    "throttled": (TemporaryFailure, Reason.RATE_LIMITED),  # general errors
    "1000": (TemporaryFailure, Reason.RATE_LIMITED),  # throttled, "please wait and retry"
    "1241": (TemporaryFailure, Reason.RATE_LIMITED),  # too many send requests
    "1460": (TemporaryFailure, Reason.RATE_LIMITED),  # daily message limit exceeded
    "1472": (TemporaryFailure, Reason.RATE_LIMITED),  # SMS burst protection: traffic limit reached
    "1180": (TemporaryFailure, Reason.UNAVAILABLE),  # destination cannot currently receive, "retry later"
    "1220": (TemporaryFailure, Reason.UNAVAILABLE),  # handset busy, "retry later"
    "1230": (TemporaryFailure, Reason.UNAVAILABLE),  # temporary network failure, "retry later"
    "1331": (TemporaryFailure, Reason.UNAVAILABLE),  # the provider does not respond, "in a few minutes"
    # Us.
    "low-balance": (ProviderMisconfigured, Reason.QUOTA),  # general errors
    "1070": (ProviderMisconfigured, Reason.QUOTA),  # quota exceeded, no credit
    "account-suspended": (ProviderMisconfigured, Reason.AUTH),  # general errors
    "unprovisioned": (ProviderMisconfigured, Reason.AUTH),  # general errors
    "1060": (ProviderMisconfigured, Reason.AUTH),  # the account is barred
    "1080": (ProviderMisconfigured, Reason.AUTH),  # the account is not provisioned for REST
    "1476": (ProviderMisconfigured, Reason.REJECTED),  # the sender is on a do-not-originate list
}


def verdict(answer: Answer, now: datetime) -> DeliveryError:
    """Say what an answer means.

    Args:
        answer: anything but a 2xx with an id.
        now: to read a Retry-After date by.
    """
    if 200 <= answer.status < 300:
        return OutcomeUnknown(Reason.BAD_ANSWER, f"{answer.status} without message_uuid")
    code = _text(answer.body, "type").rpartition("#")[2]
    code = code if _CODE.fullmatch(code) else ""
    row = _OF_CODE.get(code) or look_up(_OF_STATUS, answer.status, code, may_be_taken=True)
    return failure(row, f"{answer.status} {code}".strip(), retry_after(answer.retry_after, now))


def _text(body: bytes, field: str) -> str:
    try:
        value = json.loads(body)[field]
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""
    return value if isinstance(value, str) else ""


VONAGE = ProviderKind(VonageSettings, vonage_providers)

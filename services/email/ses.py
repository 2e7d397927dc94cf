"""Mail through Amazon SES: the operation SendEmail of its API v2, with the mail as we write it.

One delivery is one request, signed with AWS Signature Version 4. SendEmail has no idempotency key. SES gives every mail
that it accepts a Message-ID and a Date of its own (SES developer guide, "Amazon SES header fields"), so nobody can tell
a second mail from the first. If a request may have been accepted, the attempt is ``OutcomeUnknown``. SES accepts an
address without a mailbox, too, and reports the bounce later, by an event. So no answer here is ``RecipientGone``.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic import Field, SecretStr, field_validator
from yarl import URL

from services.email.settings import EmailSettings
from services.email.writer import Writer
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
)
from shared.core.model import Delivery, EmailAddress
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.http_attempt import Answer, new_session, post
from shared.delivery.verdicts import Table, Verdict, failure, look_up, retry_after
from shared.runtime.providers import Parts, ProviderKind
from shared.runtime.settings import ProviderSettings, base_url

# SES API v2 reference, SendEmail, request syntax.
_PATH = "/v2/email/outbound-emails"
# The name in the signature's scope is not the one in the host (service model sesv2-2019-09-27: signingName,
# endpointPrefix).
_SIGNING_NAME = "ses"
# It becomes a header field.
_TOKEN = re.compile(r"[!-~]+")
# The names of errors. Nothing else from an answer may be logged.
_WORD = re.compile(r"[A-Z][A-Za-z]{2,63}", re.ASCII)


class SesSettings(ProviderSettings):
    """What hands mail to SES in one region."""

    # It becomes a part of the host.
    email_ses_region: str = Field(pattern=r"^[a-z]{2,3}(-[a-z]+)+-\d{1,2}$", description="the region: eu-west-1")
    # IAM API reference, AccessKey: word characters only.
    email_ses_access_key_id: str = Field(pattern=r"^[A-Za-z0-9_]{1,128}$", description="the access key's id: AKIA…")
    email_ses_secret_access_key: SecretStr = Field(min_length=1, description="the access key's secret")
    email_ses_session_token: SecretStr | None = Field(None, description="of temporary credentials")
    email_ses_configuration_set: str | None = Field(None, description="configuration set that SES applies to the mails")
    email_ses_url: str | None = Field(None, description="only to point at another server")

    @property
    def endpoint(self) -> URL:
        """Where mails go: the region's endpoint (AWS General Reference, "Amazon Simple Email Service endpoints")."""
        return URL(self.email_ses_url or f"https://email.{self.email_ses_region}.amazonaws.com").with_path(_PATH)

    @field_validator("email_ses_session_token")
    @classmethod
    def _is_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("a token has no spaces and no line ends")
        return value

    @field_validator("email_ses_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        return None if value is None else base_url(value)


def signer(ses: SesSettings) -> Callable[[URL, Mapping[str, str], bytes], dict[str, str]]:
    """Return what adds a signature to the header fields of a POST request.

    ``docs/decisions/0017-ses-signature.md`` says why by this library.
    """
    # Imported here, so that a service without SES does not pay for it.
    import requests  # noqa: PLC0415
    from requests_aws4auth import AWS4Auth  # type: ignore[import-untyped] # noqa: PLC0415

    token = ses.email_ses_session_token
    auth = AWS4Auth(
        ses.email_ses_access_key_id,
        ses.email_ses_secret_access_key.get_secret_value(),
        ses.email_ses_region,
        _SIGNING_NAME,
        session_token=token.get_secret_value() if token else None,
    )

    def sign(url: URL, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        request = requests.Request("POST", str(url), headers=headers, data=body, auth=auth).prepare()
        # Of text, as we and the library wrote them; by its types they could be bytes.
        return {name: str(value) for name, value in request.headers.items()}

    return sign


def ses_providers(ses: SesSettings, parts: Parts[EmailSettings]) -> tuple["SesProvider", ...]:
    """Build the one provider of an account in a region; to be called inside the running loop."""
    return (SesProvider(ses, parts),)


class SesProvider:
    """Hands mails to SES; to be made inside the running loop."""

    name = "ses"

    def __init__(self, ses: SesSettings, parts: Parts[EmailSettings]) -> None:
        self._endpoint = ses.endpoint
        self._sign = signer(ses)
        self._configuration_set = ses.email_ses_configuration_set
        self._clock = parts.clock
        self._writer = Writer(parts)
        self._session = new_session(parts.settings.email_concurrency)

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether it goes to a mailbox."""
        return isinstance(delivery.address, EmailAddress)

    async def send(self, attempt: Attempt) -> Receipt:
        """Hand one mail to SES."""
        mail = await self._writer.write(attempt)
        request: dict[str, Any] = {
            "FromEmailAddress": mail.sender,
            "Destination": {"ToAddresses": [mail.recipient]},
            "Content": {"Raw": {"Data": base64.b64encode(mail.raw).decode()}},
        }
        if self._configuration_set is not None:
            request["ConfigurationSetName"] = self._configuration_set
        body = json.dumps(request).encode()
        # The signature's own time, so that it is our clock's and not the library's.
        headers = {"Content-Type": "application/json", "X-Amz-Date": f"{self._clock.now():%Y%m%dT%H%M%SZ}"}
        signed = self._sign(self._endpoint, headers, body)
        answer = await post(self._session, self._endpoint, attempt, headers=signed, body=body)
        if answer.status != 200:
            raise verdict(answer, self._clock.now())
        message_id = _json(answer.body).get("MessageId")
        if not isinstance(message_id, str) or not message_id:
            raise OutcomeUnknown(Reason.BAD_ANSWER, "no MessageId")
        return Receipt(message_id)

    async def close(self) -> None:
        """Close the connections."""
        self._writer.close()
        await self._session.close()


# Not a word of theirs, but the text that comes with their words for a limit (SES developer guide, "Errors related to
# the sending quotas for your Amazon SES account"). It lasts for hours, where a sending rate lasts for seconds.
_DAILY_QUOTA_TEXT = "daily message quota exceeded"
DAILY_QUOTA = "daily quota"

_CREDENTIALS: Verdict = (ProviderMisconfigured, Reason.AUTH)
_SETTINGS: Verdict = (ProviderMisconfigured, Reason.REJECTED)
_RATE: Verdict = (TemporaryFailure, Reason.RATE_LIMITED)

# Credentials, the clock and the signature. AWS's pages name some of them with 400 and others with 403, so both count.
_AUTH_WORDS = (
    "ExpiredTokenException",  # "Common Error Types" of every AWS service's API reference, as the next two
    "IncompleteSignature",
    "UnrecognizedClientException",
    "ExpiredToken",  # the same as ExpiredTokenException: aws-sdk-go, aws/request/retryer.go, credsExpiredCodes
    "InvalidClientTokenId",  # SES developer guide, "API error codes returned by Amazon SES", as the next four
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",  # the same as SignatureDoesNotMatch: smithy, service-error-classification, constants
)

_VERDICTS: Table = {
    **{(status, word): _CREDENTIALS for status in (400, 403) for word in _AUTH_WORDS},
    # SES API v2 reference, SendEmail, errors. MessageRejected and BadRequestException have no row: both can be about
    # the recipient (an account in the sandbox has to verify him) or the text, and 4xx says as much. So has
    # AccessDeniedException: a policy can go by ses:Recipients (SES developer guide, "Identity and access management").
    (400, "AccountSuspendedException"): _SETTINGS,
    (400, "SendingPausedException"): _SETTINGS,
    (400, "MailFromDomainNotVerifiedException"): _SETTINGS,
    # The one thing that our request names and that may not exist is the configuration set.
    (404, "NotFoundException"): _SETTINGS,
    (429, None): _RATE,
    # "Too many instances of the specified resource type"; a limit by smithy, service-error-classification, constants.
    (400, "LimitExceededException"): _RATE,
    # SES developer guide, "Errors related to the sending quotas"; by its older name in "API error codes".
    (400, "ThrottlingException"): _RATE,
    (400, "Throttling"): _RATE,
    **{(status, DAILY_QUOTA): (ProviderMisconfigured, Reason.QUOTA) for status in (400, 429)},
    # "Common Error Types". Of the 5xx, this one alone says that the request has failed. After another, "reduce the
    # likelihood of generating duplicates" (SES developer guide, "API error codes returned by Amazon SES").
    (404, "UnknownOperationException"): _SETTINGS,
    (408, None): (TemporaryFailure, Reason.TIMEOUT),
    (413, None): (PermanentFailure, Reason.TOO_LARGE),
    (503, "ServiceUnavailable"): (TemporaryFailure, Reason.UNAVAILABLE),
}


def verdict(answer: Answer, now: datetime) -> DeliveryError:
    """Say what an answer of SES that is no success means; its text, which may quote addresses, is not kept.

    Args:
        now: to read a Retry-After date by.
    """
    word = refusal(answer)
    row = look_up(_VERDICTS, answer.status, word, may_be_taken=True)
    return failure(row, f"{answer.status} {word}".strip(), retry_after(answer.retry_after, now))


def refusal(answer: Answer) -> str:
    """Read the name of an error (AWS restJson1 protocol, "Operation error serialization"), or "" where there is none.

    It stands in a header field or in the body, perhaps between a namespace and a URL.
    """
    body = _json(answer.body)
    text = body.get("message") or body.get("Message")
    if answer.status in (400, 429) and isinstance(text, str) and _DAILY_QUOTA_TEXT in text.lower():
        return DAILY_QUOTA
    said = str(answer.headers.get("X-Amzn-ErrorType") or body.get("__type") or body.get("code") or "")
    word = said.partition(":")[0].rpartition("#")[2].strip()
    return word if _WORD.fullmatch(word) else ""


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


SES = ProviderKind(SesSettings, ses_providers)

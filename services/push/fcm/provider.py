"""FCM HTTP v1: pushes to Android devices.

Promises one request for each send, at an even pace, and no request while FCM asks us to wait (docs/decisions/0006). All
sends share one access token, which is renewed before it ends. A repeated push replaces the first one on the screen
(same tag), but both are delivered.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from google.auth.exceptions import GoogleAuthError, TransportError
from google.oauth2.service_account import Credentials
from pydantic import Field, field_validator, model_validator
from yarl import URL

from services.push import credentials, payload
from services.push.fcm.pace import Pace
from services.push.fcm.token_transport import TokenTransport
from services.push.settings import PushSettings
from shared.core.clock import Clock
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.core.model import Delivery, MobileToken, Platform
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.http_attempt import Answer, new_session, post
from shared.delivery.retry import RETRY_AFTER_MAX
from shared.delivery.verdicts import Table, failure, look_up, retry_after
from shared.runtime.providers import Parts, ProviderKind
from shared.runtime.settings import ProviderSettings, base_url

# firebase.google.com/docs/cloud-messaging/scale-fcm: without Retry-After, wait 60 s after a 429.
RATE_LIMITED_WAIT = timedelta(seconds=60)
# Access tokens live for an hour (developers.google.com/identity/protocols/oauth2/service-account). A new one is
# fetched while the old one still serves, so that no send waits for it.
TOKEN_RENEWED_BEFORE_END = timedelta(minutes=5)
_TOKEN_USABLE_BEFORE_END = timedelta(seconds=30)
# For one request, answer included. google-auth makes three requests if Google is busy. Even if the endpoint hangs, they
# end within the deadline of an attempt.
_TOKEN_TIMEOUT_S = 5

# Our word for the one INVALID_ARGUMENT that is about the registration token.
BAD_TOKEN = "INVALID_REGISTRATION_TOKEN"  # noqa: S105 - no secret
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


# firebase.google.com/docs/reference/fcm/rest: the service endpoint.
FCM_URL = "https://fcm.googleapis.com"
# firebase.google.com/docs/cloud-messaging/throttling-and-quotas: 600,000 messages a minute.
FCM_PER_SECOND = 10_000


class FcmSettings(ProviderSettings):
    """What reaches Android devices.

    Promises that the service account can be used.
    """

    push_fcm_credentials_file: Path = Field(description="the service account's JSON file")
    push_fcm_url: str = Field(FCM_URL, description="only to point at another server")
    push_fcm_per_second: int = Field(FCM_PER_SECOND, ge=1, description="sends a second, of this process")

    @field_validator("push_fcm_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        return base_url(value, ("https", "http"))

    @model_validator(mode="after")
    def _account_is_usable(self) -> Self:
        credentials.load_service_account(self.push_fcm_credentials_file)
        return self


def fcm_providers(fcm: FcmSettings, parts: Parts[PushSettings]) -> tuple["FcmProvider", ...]:
    """Build the one provider of a Firebase project."""
    account = credentials.load_service_account(fcm.push_fcm_credentials_file)
    pace = Pace(fcm.push_fcm_per_second)
    settings = parts.settings
    return (
        FcmProvider(
            account, fcm.push_fcm_url, settings.push_concurrency, pace, parts.clock, links=settings.answer_links
        ),
    )


class FcmProvider:
    """The Android devices of one Firebase project."""

    name = "fcm"

    def __init__(
        self,
        credentials: Credentials,
        url: str,
        concurrency: int,
        pace: Pace,
        clock: Clock,
        *,
        links: AnswerLinks | None = None,
    ) -> None:
        self._clock = clock
        self._links = links
        self._pace = pace
        self._tokens = AccessToken(credentials, self._clock)
        self._url = URL(url) / "v1/projects" / str(credentials.project_id) / "messages:send"
        self._session = new_session(concurrency)

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether the address is an Android device."""
        return isinstance(delivery.address, MobileToken) and delivery.address.platform is Platform.ANDROID

    async def send(self, attempt: Attempt) -> Receipt:
        """Make exactly one attempt."""
        address = attempt.delivery.address
        if not isinstance(address, MobileToken):
            raise PermanentFailure(Reason.REJECTED, "not a device token")
        if held := self._pace.held:
            raise TemporaryFailure(Reason.RATE_LIMITED, "held back after a 429", retry_after=held)
        now = self._clock.now()
        message = payload.fcm(attempt, address.token, now, self._links)
        await self._wait_for_turn(attempt, now)
        with attempt.handover.waiting(Reason.TIMEOUT, "an access token"):
            access_token = await self._tokens.get()
        headers = {
            "Authorization": f"Bearer {access_token}",
            "Content-Type": "application/json; charset=UTF-8",
        }
        answer = await post(self._session, self._url, attempt, headers=headers, body=payload.compact(message))
        if answer.status == 200 and (message_name := _message_name(answer.body)):
            return Receipt(message_name)
        error = verdict(answer, now)
        if answer.status == 401 and isinstance(error, ProviderMisconfigured):
            self._tokens.drop(access_token)
        if isinstance(error, TemporaryFailure) and answer.status == 429 and not is_of_one_device(answer.body):
            self._pace.hold(min(error.retry_after or RATE_LIMITED_WAIT, RETRY_AFTER_MAX))
        raise error

    async def _wait_for_turn(self, attempt: Attempt, now: datetime) -> None:
        # Half of the time that is left: a send that waits until the deadline would be cut off while the push is under
        # way.
        patience = max(timedelta(0), attempt.deadline - now) / 2
        wait = self._pace.take(patience)
        if wait > patience:
            raise TemporaryFailure(Reason.OWN_LIMIT, "its turn is too late", retry_after=wait)
        with attempt.handover.waiting(Reason.OWN_LIMIT, "its turn"):
            await asyncio.sleep(wait.total_seconds())

    async def close(self) -> None:
        """Close connections."""
        await self._tokens.close()
        await self._session.close()


class AccessToken:
    """The OAuth access token that all sends share.

    google-auth fetches it with blocking calls, so it runs in a thread. There is one fetch at a time. If a send is cut
    off, the fetch goes on for the others.
    """

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock
        # A session of its own, because sends that hang may hold all connections of theirs.
        self._session = new_session(1)
        self._token = ""
        self._ends = datetime.min.replace(tzinfo=UTC)
        self._fetch: asyncio.Task[None] | None = None

    async def get(self) -> str:
        """Return a token that is good for a while.

        Raises:
            DeliveryError: Google gives none.
        """
        left = self._ends - self._clock.now()
        if left < TOKEN_RENEWED_BEFORE_END and self._fetch is None:
            self._fetch = asyncio.create_task(self._renew(), name="fcm access token")
            self._fetch.add_done_callback(self._fetched)
        if left < _TOKEN_USABLE_BEFORE_END and self._fetch is not None:
            await asyncio.shield(self._fetch)
        return self._token

    def drop(self, refused: str) -> None:
        """Forget a token that FCM refused, unless another one has taken its place."""
        if refused == self._token:
            self._ends = datetime.min.replace(tzinfo=UTC)

    async def close(self) -> None:
        """Wait for a fetch under way, because its thread cannot be cancelled, and close connections."""
        if self._fetch is not None:
            await asyncio.wait({self._fetch})
        await self._session.close()

    async def _renew(self) -> None:
        transport = TokenTransport(self._session, _TOKEN_TIMEOUT_S)
        try:
            await asyncio.to_thread(self._credentials.refresh, transport)
        except GoogleAuthError as error:
            raise token_verdict(error) from None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            # google-auth does not check that the answer is a JSON object with the right fields.
            raise TemporaryFailure(Reason.BAD_ANSWER, f"access token: {type(error).__name__}") from None
        if not isinstance(self._credentials.token, str):
            raise TemporaryFailure(Reason.BAD_ANSWER, "access token: no text")
        self._token = self._credentials.token
        if self._credentials.expiry is not None:  # naive, in UTC
            self._ends = self._credentials.expiry.replace(tzinfo=UTC)

    def _fetched(self, fetch: asyncio.Task[None]) -> None:
        self._fetch = None
        if not fetch.cancelled():
            # Marks the error as seen. If an early renewal fails, the next send starts another one.
            fetch.exception()


def token_verdict(error: GoogleAuthError) -> DeliveryError:
    """Say what google-auth's failure to get an access token means for the delivery."""
    kind = type(error).__name__
    if isinstance(error, TransportError):
        return TemporaryFailure(Reason.NETWORK, f"access token: {kind}")
    if error.retryable:
        return TemporaryFailure(Reason.UNAVAILABLE, f"access token: {kind}")
    # google-auth keeps the answered document beside its text. Only an error code of OAuth (RFC 6749, 5.2) is about our
    # account. Another page comes from a proxy.
    answer = error.args[1] if len(error.args) > 1 else None
    if not isinstance(_dict(answer).get("error"), str):
        return TemporaryFailure(Reason.BAD_ANSWER, f"access token: {kind}")
    return ProviderMisconfigured(Reason.AUTH, f"access token: {kind}")


# firebase.google.com/docs/cloud-messaging/error-codes; the words are FCM's own codes, else the canonical status.
_VERDICTS: Table = {
    (200, None): (OutcomeUnknown, Reason.BAD_ANSWER),
    # Without Google's code the answer may come from a proxy, so it is not Google's verdict.
    (400, ""): (TemporaryFailure, Reason.BAD_ANSWER),
    (400, BAD_TOKEN): (RecipientGone, Reason.GONE),
    (401, None): (ProviderMisconfigured, Reason.AUTH),
    # The token is of an iOS device or a browser, whose own credentials the project lacks or has wrong.
    (401, "THIRD_PARTY_AUTH_ERROR"): (PermanentFailure, Reason.REJECTED),
    (403, None): (ProviderMisconfigured, Reason.AUTH),
    # The token is another project's, or our settings name the wrong project.
    (403, "SENDER_ID_MISMATCH"): (PermanentFailure, Reason.REJECTED),
    (404, None): (ProviderMisconfigured, Reason.REJECTED),
    (404, "UNREGISTERED"): (RecipientGone, Reason.GONE),
    (413, None): (PermanentFailure, Reason.TOO_LARGE),
    (429, None): (TemporaryFailure, Reason.RATE_LIMITED),
}


def verdict(answer: Answer, now: datetime) -> DeliveryError:
    """Say what a refusal of FCM means.

    Args:
        answer: anything but a 200 with a name.
        now: to read a Retry-After date by.
    """
    word = refusal(answer.body)
    wait = retry_after(answer.retry_after, now)
    if answer.status == 429 and wait is None:
        wait = RATE_LIMITED_WAIT
    row = look_up(_VERDICTS, answer.status, word)
    return failure(row, f"{answer.status} {word}".strip(), wait)


def refusal(body: bytes) -> str:
    """Read Google's error format (cloud.google.com/apis/design/errors): one word, fit for logs, or nothing."""
    error = _dict(_dict(_json(body)).get("error"))
    details = [_dict(each) for each in _list(error.get("details"))]
    codes = [each.get("errorCode") for each in details if each.get("@type") == _FCM_ERROR]
    fields = {
        _dict(violation).get("field")
        for each in details
        if each.get("@type") == _BAD_REQUEST
        for violation in _list(each.get("fieldViolations"))
    }
    word = next((str(each) for each in [*codes, error.get("status")] if each), "")
    # INVALID_ARGUMENT also stands for our own mistakes. The kind of the detail and this text show that the token is bad
    # (cloud-messaging/error-codes, example 2).
    names_token = "registration token" in str(error.get("message")).lower() or fields == {"message.token"}
    if "INVALID_ARGUMENT" in codes and names_token and fields <= {"message.token"}:
        return BAD_TOKEN
    return word if word.replace("_", "").isalnum() and len(word) <= 64 else ""


def is_of_one_device(body: bytes) -> bool:
    """Tell whether a 429 is about the rate of one device and not of the project: google.rpc.QuotaFailure names it."""
    details = [_dict(each) for each in _list(_dict(_dict(_json(body)).get("error")).get("details"))]
    violations = [
        _dict(violation)
        for each in details
        if each.get("@type") == _QUOTA_FAILURE
        for violation in _list(each.get("violations"))
    ]
    texts = [f"{violation.get('subject')} {violation.get('description')}".lower() for violation in violations]
    return bool(texts) and all("device" in text for text in texts)


def _message_name(body: bytes) -> str | None:
    name = _dict(_json(body)).get("name")
    return name if isinstance(name, str) else None


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


FCM = ProviderKind(FcmSettings, fcm_providers)

"""Web Push (RFC 8030): pushes to browsers, encrypted for the browser that subscribed.

Promises to contact only hosts that the operator allows (see ``allowed_hosts``). A repeated push replaces the first one
while that is undelivered (same Topic), and on the screen (same tag in the payload).
"""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02  # type: ignore[import-untyped]
from pydantic import Field, field_validator, model_validator
from pywebpush import WebPusher  # type: ignore[import-untyped]
from yarl import URL

from services.push import credentials, payload
from services.push.settings import PushSettings
from services.push.webpush.allowed_hosts import BROWSER_PUSH_HOSTS, AllowedHosts, NotPublicError
from shared.core.clock import Clock
from shared.core.errors import (
    DeliveryError,
    PermanentFailure,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.core.model import Delivery, WebSubscription
from shared.delivery import http_attempt
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.http_attempt import Answer, new_session, post
from shared.delivery.verdicts import Table, failure, look_up, retry_after
from shared.runtime.providers import Parts, ProviderKind
from shared.runtime.settings import ProviderSettings

# RFC 8292, 2: a token must not be valid for more than 24 hours. Half of that leaves room for a wrong clock.
VAPID_LIFETIME_S = 12 * 3600
# RFC 8291, 2.1: an uncompressed point on P-256, and 16 bytes of authentication secret.
_POINT_BYTES = 65
_AUTH_BYTES = 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PRINTABLE = re.compile(r"[!-~]{1,2048}")


class WebPushSettings(ProviderSettings):
    """What reaches browsers.

    Promises that the key can sign for the subject.
    """

    push_webpush_vapid_key_file: Path = Field(description="the application server's private key, PEM")
    push_webpush_subject: str = Field(description="whom push services may contact: mailto: or https:")
    push_webpush_allowed_hosts: str = Field(
        BROWSER_PUSH_HOSTS,
        description="hosts that subscriptions may name: host, host:port or .suffix; comma-separated",
    )

    @property
    def allowed_hosts(self) -> AllowedHosts:
        """The allowed hosts."""
        return AllowedHosts.parse(self.push_webpush_allowed_hosts)

    @field_validator("push_webpush_allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        AllowedHosts.parse(value)
        return value

    @model_validator(mode="after")
    def _key_is_usable(self) -> Self:
        credentials.load_vapid(self.push_webpush_vapid_key_file, self.push_webpush_subject)
        return self


def web_push_providers(web: WebPushSettings, parts: Parts[PushSettings]) -> tuple["WebPushProvider", ...]:
    """Build the one provider of all browsers."""
    vapid = credentials.load_vapid(web.push_webpush_vapid_key_file, web.push_webpush_subject)
    settings = parts.settings
    return (
        WebPushProvider(
            vapid, web.push_webpush_subject, web.allowed_hosts, settings.push_concurrency, parts.clock,
            links=settings.answer_links,
        ),
    )  # fmt: skip


class WebPushProvider:
    """All browsers whose push service is allowed."""

    name = "webpush"

    def __init__(
        self,
        vapid: Vapid02,
        subject: str,
        allowed_hosts: AllowedHosts,
        concurrency: int,
        clock: Clock,
        *,
        links: AnswerLinks | None = None,
    ) -> None:
        self._links = links
        self._vapid = vapid
        self._subject = subject
        self._allowed_hosts = allowed_hosts
        self._clock = clock
        self._session = new_session(concurrency, allowed_hosts.new_socket)

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether the address is a browser's subscription."""
        return isinstance(delivery.address, WebSubscription)

    async def send(self, attempt: Attempt) -> Receipt:
        """Make exactly one attempt.

        The receipt has no provider id. RFC 8030 gives a push a URL as its name, and whoever knows that can delete the
        push.
        """
        address = attempt.delivery.address
        if not isinstance(address, WebSubscription):
            raise PermanentFailure(Reason.REJECTED, "not a subscription")
        url = endpoint(address.endpoint, self._allowed_hosts)
        now = self._clock.now()
        push = payload.web(attempt, now, self._links)
        headers = {
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(push.ttl_s),
            "Urgency": push.urgency,
            "Topic": push.topic,
            **self._identity(url, now),
        }
        body = encrypt(address, push.body)
        answer = await post(self._session, url, attempt, headers=headers, body=body, unanswered=unanswered)
        if 200 <= answer.status < 300:
            return Receipt()
        raise verdict(answer, now)

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    def _identity(self, url: URL, now: datetime) -> dict[str, str]:
        claims = {"aud": str(url.origin()), "sub": self._subject, "exp": int(now.timestamp()) + VAPID_LIFETIME_S}
        headers: dict[str, str] = self._vapid.sign(claims)
        return headers


def endpoint(text: str, allowed_hosts: AllowedHosts) -> URL:
    """Check a subscription's endpoint.

    Raises:
        PermanentFailure: it is none, or its host is not allowed.
    """
    try:
        # Encoded as it came: push services sign their URLs, so no character may change.
        url = URL(text, encoded=True) if _PRINTABLE.fullmatch(text) else URL()
        host, port = (url.host or "").lower(), url.port
    except ValueError:
        url, host, port = URL(), "", None
    # Unencrypted only to this machine: the address is a secret.
    if not host or url.user is not None or not (url.scheme == "https" or (url.scheme == "http" and host in _LOOPBACK)):
        raise PermanentFailure(Reason.REJECTED, "the endpoint is not an https URL")
    if not allowed_hosts.allows(host, port):
        raise PermanentFailure(Reason.REJECTED, "the endpoint's host is not in PUSH_WEBPUSH_ALLOWED_HOSTS")
    return url


def encrypt(address: WebSubscription, plaintext: bytes) -> bytes:
    """Encrypt for one browser (RFC 8291).

    Raises:
        PermanentFailure: the subscription's keys are not keys.
    """
    try:
        point, auth = _unbase64url(address.p256dh), _unbase64url(address.auth)
        if len(point) != _POINT_BYTES or len(auth) != _AUTH_BYTES:
            raise PermanentFailure(Reason.REJECTED, "the subscription's keys have a wrong length")
        # pywebpush raises several errors for a point that is not on the curve. Here they become one.
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (ValueError, binascii.Error):
        raise PermanentFailure(Reason.REJECTED, "the subscription's keys are malformed") from None
    keys = {"p256dh": _base64url(point), "auth": _base64url(auth)}
    encode: Callable[[bytes], dict[str, bytes]] = WebPusher({"endpoint": address.endpoint, "keys": keys}).encode
    return encode(plaintext)["body"]


# How push services say that a subscription was made with another key than ours, seen in web-push-libs/webpush-java
# issue 212 (Chrome, Edge: 403) and Minishlink/web-push-php-example issue 38 (Firefox: 401).
_OTHER_KEY_TEXTS = (
    b"do not correspond to the credentials used to create the subscription",
    b"vapid public key mismatch",
)
OTHER_KEY = "subscribed with another key"

# RFC 8030, 5 and 7; RFC 8292, 4.2. Every push is signed, and every subscription is bound to a key. A 401 or 403 may be
# about either. How many recipients of that push service get it, decides (``shared.delivery.witnesses``).
_VERDICTS: Table = {
    (401, None): (PermanentFailure, Reason.REJECTED),
    (403, None): (PermanentFailure, Reason.REJECTED),
    (404, None): (RecipientGone, Reason.GONE),
    # Edge's push service says so when it throttles (learn.microsoft.com, "Push notification service request and
    # response headers", response codes).
    (406, None): (TemporaryFailure, Reason.RATE_LIMITED),
    (408, None): (TemporaryFailure, Reason.TIMEOUT),
    (410, None): (RecipientGone, Reason.GONE),
    (413, None): (PermanentFailure, Reason.TOO_LARGE),
    (429, None): (TemporaryFailure, Reason.RATE_LIMITED),
}


def verdict(answer: Answer, now: datetime) -> DeliveryError:
    """Say what a refusal of a push service means.

    A redirect is no answer: RFC 8030 has none here, and following it would leave the allowed hosts.

    Args:
        answer: anything but a 2xx.
        now: to read a Retry-After date by.
    """
    text = answer.body.lower()
    word = OTHER_KEY if any(each in text for each in _OTHER_KEY_TEXTS) else ""
    row = look_up(_VERDICTS, answer.status, word)
    return failure(row, f"{answer.status} {word}".strip(), retry_after(answer.retry_after, now))


def unanswered(error: Exception) -> DeliveryError:
    """Say what it means that there is no answer. A wrong endpoint is about one subscription only."""
    match error:
        case aiohttp.ClientConnectorError(os_error=NotPublicError()):
            return PermanentFailure(Reason.REJECTED, "the host's address is not public")
        case aiohttp.InvalidURL():
            return PermanentFailure(Reason.REJECTED, type(error).__name__)
        case _:
            return http_attempt.verdict(error)


def _unbase64url(text: str) -> bytes:
    raw = text.rstrip("=").encode("ascii")
    return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


WEB_PUSH = ProviderKind(WebPushSettings, web_push_providers)

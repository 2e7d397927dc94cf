"""APNs: pushes to iOS devices, each through the server of its app's environment.

Promises one request for each send. All connections, and all processes with the same key, use the same provider token. A
repeated push replaces the first one on the device (same apns-collapse-id).
"""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

from aioapns.common import NotificationRequest, PushType
from aioapns.connection import AuthorizationHeaderProvider
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import Field, field_validator, model_validator
from yarl import URL

from services.push import credentials, payload
from services.push.apns.connection import ApnsAnswer
from services.push.apns.pool import ApnsPool
from services.push.settings import PushSettings
from shared.core.clock import Clock, epoch_ms, from_epoch_ms, rfc3339
from shared.core.errors import (
    DeliveryError,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.core.model import AppEnvironment, Delivery, MobileToken, Platform
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.verdicts import Table, failure, look_up, retry_after
from shared.runtime.providers import Parts, ProviderKind
from shared.runtime.settings import ProviderSettings, base_url

# developer.apple.com, "Establishing a token-based connection to APNs": renewed at most every 20 minutes, and at least
# every 60.
TOKEN_PERIOD_S = 30 * 60

# A token becomes part of a URL's path. All else that may be wrong with it, APNs says.
_DEVICE_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")


# developer.apple.com, "Sending notification requests to APNs": the production server.
APNS_URL = "https://api.push.apple.com"
# The same page: the development server, for apps that developers run and test.
APNS_SANDBOX_URL = "https://api.sandbox.push.apple.com"


class ApnsSettings(ProviderSettings):
    """What reaches iOS devices.

    Promises that the key and the CA file can be used.
    """

    push_apns_key_file: Path = Field(description="the .p8 file with the provider token signing key")
    push_apns_key_id: str = Field(description="the id of that key")
    push_apns_team_id: str = Field(description="the developer team that owns the key")
    push_apns_topic: str = Field(description="the app's bundle id")
    push_apns_url: str = Field(APNS_URL, description="only to point at another server")
    push_apns_sandbox_url: str = Field(
        APNS_SANDBOX_URL,
        description="server for the environment sandbox; a `PUSH_APNS_URL` alone serves both",
    )
    push_apns_ca_file: Path | None = Field(None, description="CA bundle of that server, default the system's")

    @property
    def urls(self) -> dict[AppEnvironment, str]:
        """Where the devices of each environment are reached."""
        only_one = "push_apns_url" in self.model_fields_set and "push_apns_sandbox_url" not in self.model_fields_set
        sandbox = self.push_apns_url if only_one else self.push_apns_sandbox_url
        return {AppEnvironment.PRODUCTION: self.push_apns_url, AppEnvironment.SANDBOX: sandbox}

    @field_validator("push_apns_url", "push_apns_sandbox_url")
    @classmethod
    def _is_https(cls, value: str) -> str:
        return base_url(value, ("https",))

    @model_validator(mode="after")
    def _keys_are_usable(self) -> Self:
        credentials.load_apns_key(self.push_apns_key_file)
        if self.push_apns_ca_file:
            credentials.load_apns_tls(self.push_apns_ca_file)
        return self


def apns_providers(apns: ApnsSettings, parts: Parts[PushSettings]) -> tuple["ApnsProvider", ...]:
    """Build the one provider of an app."""
    return (
        ApnsProvider(
            key=credentials.load_apns_key(apns.push_apns_key_file),
            key_id=apns.push_apns_key_id,
            team_id=apns.push_apns_team_id,
            topic=apns.push_apns_topic,
            urls=apns.urls,
            tls=credentials.load_apns_tls(apns.push_apns_ca_file),
            clock=parts.clock,
            links=parts.settings.answer_links,
        ),
    )


class ApnsProvider:
    """The iOS devices that run one app."""

    name = "apns"

    def __init__(
        self,
        *,
        key: ec.EllipticCurvePrivateKey,
        key_id: str,
        team_id: str,
        topic: str,
        urls: Mapping[AppEnvironment, str],
        tls: ssl.SSLContext,
        clock: Clock,
        links: AnswerLinks | None = None,
    ) -> None:
        self._clock = clock
        self._links = links
        token = ProviderToken(key, key_id, team_id, self._clock)
        self._pools = {
            url: ApnsPool(host=URL(url).host or "", port=URL(url).port or 443, tls=tls, topic=topic, token=token)
            for url in set(urls.values())
        }
        self._urls = urls

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether the address is an iOS device."""
        return isinstance(delivery.address, MobileToken) and delivery.address.platform is Platform.IOS

    async def send(self, attempt: Attempt) -> Receipt:
        """Make exactly one attempt."""
        address = attempt.delivery.address
        if not isinstance(address, MobileToken) or not _DEVICE_TOKEN.fullmatch(address.token):
            raise PermanentFailure(Reason.REJECTED, "not a device token")
        now = self._clock.now()
        push = payload.apns(attempt, now, self._links)
        request = NotificationRequest(
            device_token=address.token,
            message=push.message,
            time_to_live=push.ttl_s,
            priority=push.priority,
            collapse_key=push.collapse_id,
            push_type=PushType.ALERT,
        )
        environment = address.environment or AppEnvironment.PRODUCTION
        answer = await self._pools[self._urls[environment]].send(request, attempt.handover)
        if answer.is_successful:
            return Receipt(answer.notification_id)
        raise verdict(answer, now, sure=address.environment is not None, registered_ms=address.registered_ms)

    async def close(self) -> None:
        """Close connections."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))


class ProviderToken(AuthorizationHeaderProvider):
    """The token that says who we are (a JWT signed with ES256).

    Apple refuses tokens that change too often, counted over all our processes and their restarts. So the issue time is
    the beginning of a half hour, and the signature is deterministic (RFC 6979). Within a half hour every process makes
    the same token.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, key_id: str, team_id: str, clock: Clock) -> None:
        self._key = key
        self._key_id = key_id
        self._team_id = team_id
        self._clock = clock
        self._issued_s = -1
        self._header = ""

    def get_header(self) -> str:
        """Return the value of the authorization header."""
        issued_s = int(self._clock.now().timestamp()) // TOKEN_PERIOD_S * TOKEN_PERIOD_S
        if issued_s != self._issued_s:
            self._issued_s, self._header = issued_s, f"bearer {self._sign(issued_s)}"
        return self._header

    def _sign(self, issued_s: int) -> str:
        head = _base64url(json.dumps({"alg": "ES256", "kid": self._key_id, "typ": "JWT"}).encode())
        claims = _base64url(json.dumps({"iss": self._team_id, "iat": issued_s}).encode())
        signed = f"{head}.{claims}"
        # PyJWT signs with a random number. A JWT's signature is r and s, 32 bytes each (RFC 7518, 3.4).
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(SHA256(), deterministic_signing=True)))
        return f"{signed}.{_base64url(r.to_bytes(32) + s.to_bytes(32))}"


# developer.apple.com, "Handling notification responses from APNs".
_VERDICTS: Table = {
    # Without Apple's reason the answer may come from a proxy, so it is not Apple's verdict.
    (400, ""): (TemporaryFailure, Reason.BAD_ANSWER),
    (400, "BadDeviceToken"): (RecipientGone, Reason.GONE),
    (400, "BadTopic"): (ProviderMisconfigured, Reason.REJECTED),
    (400, "MissingTopic"): (ProviderMisconfigured, Reason.REJECTED),
    (400, "TopicDisallowed"): (ProviderMisconfigured, Reason.REJECTED),
    (400, "DeviceTokenNotForTopic"): (PermanentFailure, Reason.REJECTED),
    (400, "IdleTimeout"): (TemporaryFailure, Reason.NETWORK),
    # The other reasons are about our provider token or certificate, which every push has.
    (403, ""): (TemporaryFailure, Reason.BAD_ANSWER),
    (403, "Forbidden"): (PermanentFailure, Reason.REJECTED),
    (403, None): (ProviderMisconfigured, Reason.AUTH),
    (410, ""): (TemporaryFailure, Reason.BAD_ANSWER),
    (410, "ExpiredToken"): (RecipientGone, Reason.GONE),
    (410, "Unregistered"): (RecipientGone, Reason.GONE),
    (413, None): (PermanentFailure, Reason.TOO_LARGE),
    (429, None): (TemporaryFailure, Reason.RATE_LIMITED),
    (429, "TooManyProviderTokenUpdates"): (ProviderMisconfigured, Reason.AUTH),
}


def verdict(answer: ApnsAnswer, now: datetime, *, sure: bool, registered_ms: int | None = None) -> DeliveryError:
    """Say what a refusal of APNs means.

    Args:
        answer: anything but a 200.
        now: to read a Retry-After date by.
        sure: the token is known to belong to this server. If not, a token that it calls bad may be a valid one of the
            other environment.
        registered_ms: when we last heard of the token.
    """
    status = int(answer.status) if answer.status.isdecimal() else 0
    since = _moment(answer.timestamp)
    code = " ".join(filter(None, [answer.status, answer.description]))
    kind, reason = look_up(_VERDICTS, status, answer.description or "")
    if not issubclass(kind, RecipientGone):
        return failure((kind, reason), code, retry_after(answer.retry_after, now))
    detail = f"{code} since {rfc3339(since)}" if since else code
    if status == 400 and not sure:
        return PermanentFailure(Reason.REJECTED, detail).said(code)
    if since and registered_ms is not None and registered_ms >= epoch_ms(since):
        # Apple: stop pushing until the device registers a token with a later timestamp. It has done so.
        return TemporaryFailure(Reason.UNAVAILABLE, detail)
    return RecipientGone(detail, since=since).said(code)


def _moment(timestamp_ms: int | None) -> datetime | None:
    try:
        return None if timestamp_ms is None else from_epoch_ms(timestamp_ms)
    except (ValueError, OverflowError, OSError):
        return None


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


APNS = ProviderKind(ApnsSettings, apns_providers)

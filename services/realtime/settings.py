"""Settings of the realtime service."""

import binascii
import re
from base64 import b64decode, urlsafe_b64decode
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import AfterValidator, Field, SecretStr, model_validator

from shared.runtime.settings import AnswerLinkSettings, CommonSettings, UnsubscribeSettings, long_enough

# RFC 8292, 3.2: a point on P-256 in uncompressed form (X9.62), which begins with a four.
_POINT_BYTES = 65
_UNCOMPRESSED = b"\x04"

# docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html: at most 256 letters, digits, hyphens and underscores.
_TOPIC_ARN = re.compile(r"arn:aws(?:-cn|-us-gov)?:sns:([a-z]{2}(?:-[a-z0-9]+)+):[0-9]{12}:[A-Za-z0-9_-]{1,256}")


def _origin_list(text: str) -> str:
    for origin in _split(text):
        parts = urlsplit(origin)
        if (
            parts.scheme not in ("http", "https")
            or origin != f"{parts.scheme}://{parts.netloc}"
            or not parts.hostname
            or "*" in origin
        ):
            raise ValueError(
                "every origin must look like https://app.example.com, without a path or a slash at its end"
            )
    return text


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _network_list(text: str) -> str:
    for network in _split(text):
        try:
            ip_network(network)
        except ValueError:
            raise ValueError("every proxy must look like 10.0.0.7, 10.0.0.0/8 or fd00::/8") from None
    return text


def _http_url(url: str | None) -> str | None:
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ValueError("must be an http or https URL")
    return url


def _public_key(text: str | None) -> str | None:
    if text is None:
        return None
    bare = text.rstrip("=")
    try:
        point = urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        point = b""
    if len(point) != _POINT_BYTES or not point.startswith(_UNCOMPRESSED):
        raise ValueError(f"must be the {_POINT_BYTES} bytes of an uncompressed P-256 public key in base64url")
    return bare


def topic_list(text: str) -> list[str]:
    """Read the topics of ``REALTIME_BOUNCES_SES_TOPIC_ARNS``."""
    return _split(text)


def region_of_topic(arn: str) -> str:
    """Return the region that stands in a topic's name.

    Raises:
        ValueError: it is not the name of a topic.
    """
    found = _TOPIC_ARN.fullmatch(arn)
    if found is None:
        raise ValueError("every topic must look like arn:aws:sns:eu-west-1:123456789012:bounces")
    return found[1]


def _are_topics(text: str | None) -> str | None:
    for arn in topic_list(text or ""):
        region_of_topic(arn)
    return text


def ecdsa_key(text: str) -> ec.EllipticCurvePublicKey:
    """Read the key that SendGrid shows: base64 of the DER form.

    Raises:
        ValueError: it is not one on P-256.
    """
    try:
        key = load_der_public_key(b64decode("".join(text.split()), validate=True))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("must be the verification key that SendGrid shows")


def _is_ecdsa_key(text: str | None) -> str | None:
    if text is not None:
        ecdsa_key(text)
    return text


class RealtimeSettings(UnsubscribeSettings, AnswerLinkSettings):
    """What the realtime service reads."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, "REALTIME_", "EMAIL_UNSUBSCRIBE_")

    ops_port: int = Field(9104, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    realtime_host: str = Field("0.0.0.0", description="address of WebSocket, SSE, inbox API and page")  # noqa: S104 - for clients
    realtime_port: int = Field(8080, ge=0, le=65535, description="port of WebSocket, SSE, inbox API and page")
    # RFC 7518, 3.2: a key of the same size as the hash output or larger must be used with HS256.
    realtime_jwt_secret: Annotated[SecretStr | None, AfterValidator(long_enough)] = Field(
        None, description="verifies tokens signed with HS256; several, the newest first, with spaces between"
    )
    realtime_jwks_url: Annotated[str | None, AfterValidator(_http_url)] = Field(
        None, description="where the keys are that verify tokens signed with RS, PS or ES algorithms"
    )
    realtime_jwt_audience: str | None = Field(None, description="claim aud that a token must have")
    realtime_jwt_issuer: str | None = Field(None, description="claim iss that a token must have")
    realtime_allowed_origins: Annotated[str, AfterValidator(_origin_list)] = Field(
        "", description="origins of pages that may connect besides our own, comma-separated"
    )
    realtime_max_sessions_per_user: int = Field(20, ge=1, le=1000, description="open sessions of one user")
    realtime_max_sessions_per_address: int = Field(
        500, ge=1, le=1_000_000, description="open sessions from one address (IPv6: one /64), in one process"
    )
    realtime_new_sessions_per_address_per_s: float = Field(
        50, gt=0, le=100_000, description="sessions begun from one address per second; ten times as many at once"
    )
    realtime_requests_per_user_per_s: float = Field(
        20,
        gt=0,
        le=100_000,
        description="requests and client frames of one user per second, in one process; ten times as many at once",
    )
    realtime_trusted_proxies: Annotated[str, AfterValidator(_network_list)] = Field(
        "", description="addresses or networks of proxies whose X-Forwarded-For is believed, comma-separated"
    )
    realtime_webpush_public_key: Annotated[str | None, AfterValidator(_public_key)] = Field(
        None, description="what browsers subscribe with: the public half of PUSH_WEBPUSH_VAPID_KEY_FILE, base64url"
    )
    realtime_demo_page: Literal["on", "off"] = Field(
        "off", description="the page for trying out, at `/`; `carillon up` and the dev overlay turn it on"
    )
    realtime_concurrency: int = Field(200, ge=1, le=5000, description="deliveries in flight")
    realtime_bounces_ses_topic_arns: Annotated[str | None, AfterValidator(_are_topics)] = Field(
        None, description="SNS topics that SES reports bounces and complaints on, comma-separated"
    )
    realtime_bounces_sendgrid_public_key: Annotated[str | None, AfterValidator(_is_ecdsa_key)] = Field(
        None, description="the verification key of SendGrid's signed Event Webhook"
    )
    realtime_bounces_postmark_user: str = Field(
        "postmark", pattern=r"^[^:\x00-\x1f]+$", description="the user name in the URL of Postmark's webhooks"
    )
    realtime_bounces_postmark_password: Annotated[SecretStr | None, AfterValidator(long_enough)] = Field(
        None, description="the password in the URL of Postmark's webhooks"
    )
    realtime_bounces_mailgun_signing_key: SecretStr | None = Field(
        None, min_length=16, description="Mailgun's HTTP webhook signing key"
    )

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if (self.realtime_jwt_secret is None) == (self.realtime_jwks_url is None):
            raise ValueError("set REALTIME_JWT_SECRET or REALTIME_JWKS_URL, and not both")
        return self

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The origins of ``REALTIME_ALLOWED_ORIGINS``."""
        return frozenset(_split(self.realtime_allowed_origins))

    @property
    def trusted_proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of ``REALTIME_TRUSTED_PROXIES``."""
        return tuple(map(ip_network, _split(self.realtime_trusted_proxies)))

"""Messages of Amazon SNS over HTTP: whether SNS signed them for one of our topics.

Promises that the network is asked only for messages that name one of our topics, only at the host of SNS in that
topic's region, by HTTPS, without following a redirect. Certificates are kept, and a message under a known one needs no
request. Everybody with an AWS account can have SNS sign messages, so the topic decides, and not the signature alone.

Sources: docs.aws.amazon.com/sns/latest/dg, pages ``sns-verify-signature-of-message``,
``sns-verify-signature-of-message-verify-message-signature``, ``http-notification-json`` and
``http-subscription-confirmation-json``.
"""

import asyncio
import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from services.realtime.access.refusals import unavailable
from services.realtime.bounces.report import Outcome, ReportRefused, json_object, text
from services.realtime.settings import region_of_topic
from shared.core.clock import Clock, SystemClock
from shared.delivery import http_answer

NOTIFICATION = "Notification"
SUBSCRIPTION = "SubscriptionConfirmation"
UNSUBSCRIPTION = "UnsubscribeConfirmation"

_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    UNSUBSCRIPTION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
# Only a notification has one, and not each.
_OPTIONAL = "Subject"
# Version 1 is what a topic has unless somebody set 2.
_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {"1": hashes.SHA1, "2": hashes.SHA256}

_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem", re.ASCII)
_KEY_BITS_LEAST = 2048

# SNS changes its certificate about once a year.
CERTIFICATES_KEPT = 8
# Between two requests for certificates, whoever names them.
REFETCH_AFTER_S = 10.0
# For a whole exchange: SNS waits 15 seconds for our answer.
ANSWER_WITHIN_S = 5.0
ANSWER_BYTES = 64 * 1024

OpenSession = Callable[[], aiohttp.ClientSession]


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """An authentic message.

    Attributes:
        subscribe_url: to be visited to confirm a subscription; None for another message.
    """

    kind: str
    id: str
    text: str
    at: datetime
    subscribe_url: str | None = None


def host_of(region: str) -> str:
    """Return the host of SNS in a region."""
    return f"sns.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(trust_env=True)


async def _get(open_session: OpenSession, url: str) -> tuple[int, bytes]:
    """Ask SNS.

    Raises:
        Refusal: it does not answer.
    """
    try:
        async with (
            asyncio.timeout(ANSWER_WITHIN_S),
            open_session() as http,
            http.get(url, allow_redirects=False) as got,
        ):
            return got.status, await http_answer.whole(got, ANSWER_BYTES, None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        raise unavailable() from None


class Certificates:
    """The public keys that SNS signs with, by the URL of their certificate."""

    def __init__(
        self, open_session: OpenSession = _session, clock: Clock | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._open_session = open_session
        self._clock = clock or SystemClock()
        self._monotonic_s = monotonic_s
        self._kept: dict[str, x509.Certificate] = {}
        self._asked_s: float | None = None
        self._asking = asyncio.Lock()

    async def key(self, url: str) -> rsa.RSAPublicKey:
        """Return the key of a certificate, at a URL that was found to be one of SNS.

        Raises:
            ReportRefused: there is no certificate that holds.
            Refusal: SNS does not answer, or was asked a moment ago.
        """
        certificate = self._kept.get(url)
        if certificate is None:
            async with self._asking:
                certificate = self._kept.get(url) or await self._fetch(url)
        now = self._clock.now()
        key = certificate.public_key()
        holds = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        if not holds or not isinstance(key, rsa.RSAPublicKey) or key.key_size < _KEY_BITS_LEAST:
            raise ReportRefused(Outcome.FORGED)
        return key

    async def _fetch(self, url: str) -> x509.Certificate:
        now_s = self._monotonic_s()
        if self._asked_s is not None and now_s - self._asked_s < REFETCH_AFTER_S:
            raise unavailable()
        self._asked_s = now_s
        status, pem = await _get(self._open_session, url)
        if status >= 500:
            raise unavailable()
        if status != 200:
            raise ReportRefused(Outcome.FORGED)
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError:
            raise ReportRefused(Outcome.FORGED) from None
        self._asked_s = None
        self._kept[url] = certificate
        if len(self._kept) > CERTIFICATES_KEPT:
            del self._kept[next(iter(self._kept))]
        return certificate


class Sns:
    """Reads messages of some topics.

    Args:
        topic_arns: whose messages are read; all others are forged, whoever signed them.
        certificates: None for those of the real SNS.
        open_session: how SNS is reached.
    """

    def __init__(
        self, topic_arns: Iterable[str], certificates: Certificates | None = None, open_session: OpenSession = _session
    ) -> None:
        self._hosts = {arn: host_of(region_of_topic(arn)) for arn in topic_arns}
        self._certificates = certificates or Certificates(open_session)
        self._open_session = open_session

    async def read(self, body: bytes) -> SnsMessage:
        """Check a message.

        Raises:
            ReportRefused: SNS did not sign it for one of our topics.
            Refusal: SNS has to be asked and does not answer.
        """
        document = json_object(body)
        host = self._hosts.get(text(document, "TopicArn"))
        names = _SIGNED.get(kind := text(document, "Type"))
        hashed = _HASHES.get(text(document, "SignatureVersion"))
        if host is None or names is None or hashed is None:
            raise ReportRefused(Outcome.FORGED)
        certificate_url = text(document, "SigningCertURL")
        if not _is_at(certificate_url, host) or not _CERTIFICATE_PATH.fullmatch(urlsplit(certificate_url).path):
            raise ReportRefused(Outcome.FORGED)
        signed = string_to_sign(document, names)
        key = await self._certificates.key(certificate_url)
        try:
            signature = b64decode(text(document, "Signature"), validate=True)
            key.verify(signature, signed, padding.PKCS1v15(), hashed())
            at = datetime.fromisoformat(text(document, "Timestamp")).astimezone(UTC)
        except (InvalidSignature, ValueError, OverflowError):
            raise ReportRefused(Outcome.FORGED) from None
        url = text(document, "SubscribeURL") if kind == SUBSCRIPTION else None
        if url is not None and not _is_at(url, host):
            raise ReportRefused(Outcome.FORGED)
        return SnsMessage(kind, text(document, "MessageId"), text(document, "Message"), at, url)

    async def confirm(self, url: str) -> None:
        """Confirm a subscription.

        Raises:
            Refusal: SNS did not take it; it will ask again.
        """
        status, _ = await _get(self._open_session, url)
        if status != 200:
            raise unavailable()


def string_to_sign(document: Mapping[str, Any], names: Iterable[str]) -> bytes:
    """Write what SNS signs: names and values of some fields, each on a line of its own.

    Raises:
        ReportRefused: one of them is missing, or is no text.
    """
    lines = []
    for name in names:
        value = document.get(name)
        if value is None and name == _OPTIONAL:
            continue
        if not isinstance(value, str):
            raise ReportRefused(Outcome.FORGED)
        lines.append(f"{name}\n{value}\n")
    return "".join(lines).encode()


def _is_at(url: str, host: str) -> bool:
    """Tell whether a URL leads to this host by HTTPS, whatever its form tries to hide."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    # The host alone: without a port, a user or a dot at its end.
    return url.isascii() and url.isprintable() and parts.scheme == "https" and parts.netloc == host

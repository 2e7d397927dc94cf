"""Mail providers for tests: they report bad addresses, with signatures by keys of the tests."""

import hmac
import json
import secrets
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from sandbox.authority import make_authority, server_context

REGION = "eu-west-1"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:bounces"
SNS_HOST = f"sns.{REGION}.amazonaws.com"
MAILGUN_KEY = "3c9f2a77d0b84b0e9c1a5d6e7f809122"
POSTMARK_PASSWORD = "a password of the tests, longer than 32 bytes"


def every_secret() -> dict[str, Any]:
    """Settings that turn every provider on."""
    return {
        "realtime_bounces_ses_topic_arns": TOPIC,
        "realtime_bounces_sendgrid_public_key": SendGrid().public_key,
        "realtime_bounces_postmark_password": POSTMARK_PASSWORD,
        "realtime_bounces_mailgun_signing_key": MAILGUN_KEY,
    }


@dataclass
class Request:
    """What a provider posts."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class SendGrid:
    """SendGrid with a signing key of its own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.public_key = b64encode(der).decode()

    def report(self, *events: dict[str, Any], at_s: float | None = None, body: bytes | None = None) -> Request:
        """Sign some events, or any body."""
        timestamp = str(int(time.time() if at_s is None else at_s))
        written = json.dumps(events).encode() if body is None else body
        signature = self._key.sign(timestamp.encode() + written, ec.ECDSA(hashes.SHA256()))
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }
        return Request("/v1/bounces/sendgrid", written, headers)

    def bounce(self, *addresses: str) -> Request:
        """Report hard bounces."""
        return self.report(*(sendgrid_bounce(address) for address in addresses))


def sendgrid_bounce(address: str, **fields: Any) -> dict[str, Any]:
    """Write the event of a hard bounce."""
    return {
        "email": address, "timestamp": 1513299569, "event": "bounce", "type": "bounce", "status": "5.1.1",
        "reason": f"550 5.1.1 <{address}> unknown", "bounce_classification": "Invalid Address",
        "sg_event_id": secrets.token_hex(8), **fields,
    }  # fmt: skip


def mailgun_failed(address: str, **fields: Any) -> dict[str, Any]:
    """Write the event of a hard bounce."""
    return {
        "event": "failed", "severity": "permanent", "reason": "bounce", "recipient": address,
        "delivery-status": {"code": 550, "enhanced-code": "5.1.1", "message": f"no {address}", "bounce-type": "hard"},
        **fields,
    }  # fmt: skip


def mailgun(event: Any, *, at_s: float | None = None, token: str | None = None, key: str = MAILGUN_KEY) -> Request:
    """Sign an event as Mailgun does."""
    timestamp = str(int(time.time() if at_s is None else at_s))
    token = token or secrets.token_hex(25)
    signature = hmac.digest(key.encode(), (timestamp + token).encode(), "sha256").hex()
    signed = {"timestamp": timestamp, "token": token, "signature": signature}
    return Request("/v1/bounces/mailgun", json.dumps({"signature": signed, "event-data": event}).encode())


def postmark_bounce(address: str, kind: str = "HardBounce", **fields: Any) -> dict[str, Any]:
    """Write a record of Postmark."""
    record = "SpamComplaint" if kind == "SpamComplaint" else "Bounce"
    return {"RecordType": record, "ID": secrets.randbits(40), "Type": kind, "Email": address, **fields}


def postmark(record: Any, password: str = POSTMARK_PASSWORD) -> Request:
    """Present a record with name and password."""
    headers = {"Authorization": aiohttp.encode_basic_auth("postmark", password)}
    return Request("/v1/bounces/postmark", json.dumps(record).encode(), headers)


def ses_bounce(*addresses: str, kind: str = "Permanent", subtype: str = "General") -> dict[str, Any]:
    """Write the notification of a bounce."""
    recipients = [
        {"emailAddress": each, "status": "5.1.1", "diagnosticCode": f"smtp; 550 5.1.1 <{each}>"} for each in addresses
    ]
    bounce = {"bounceType": kind, "bounceSubType": subtype, "bouncedRecipients": recipients}
    return {"notificationType": "Bounce", "bounce": bounce, "mail": {"destination": list(addresses)}}


def ses_complaint(*addresses: str, kind: str = "abuse") -> dict[str, Any]:
    """Write the event of a complaint."""
    complaint = {
        "complainedRecipients": [{"emailAddress": each} for each in addresses],
        "complaintFeedbackType": kind,
    }
    return {"eventType": "Complaint", "complaint": complaint}


class Amazon(AbstractResolver):
    """SNS of one region: signs messages, serves its certificate, and takes confirmations, at its own name."""

    def __init__(self, *, valid_for: timedelta = timedelta(days=365)) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self.certificate = self._certificate(valid_for)
        self.path = f"/SimpleNotificationService-{secrets.token_hex(16)}.pem"
        self.asked: list[str] = []
        self.status = 200
        self._port = 0
        self._client: ssl.SSLContext | None = None

    def _certificate(self, valid_for: timedelta) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        begins = datetime.now(UTC) - timedelta(days=500)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins)
        signed = builder.not_valid_after(datetime.now(UTC) + valid_for).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    @asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator["Amazon"]:
        """Serve until the end of the context."""
        key, ca = make_authority()
        key_file, ca_file = folder / "ca-key.pem", folder / "ca.pem"
        key_file.write_bytes(key)
        ca_file.write_bytes(ca)
        self._client = ssl.create_default_context(cafile=str(ca_file))
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(key_file, ca_file, SNS_HOST)).start()
        self._port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if request.path == self.path:
            return web.Response(status=self.status, body=self.certificate)
        return web.Response(status=self.status if request.query.get("Action") == "ConfirmSubscription" else 404)

    def open_session(self) -> aiohttp.ClientSession:
        """Open a session for which this is Amazon."""
        assert self._client is not None
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=self, ssl=self._client))

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:  # noqa: ARG002
        assert host == SNS_HOST
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=2, proto=0, flags=0),
        ]

    async def close(self) -> None:
        """Close nothing."""

    @property
    def subscribe_url(self) -> str:
        """Where a subscription is confirmed."""
        return f"https://{SNS_HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb687f5d51e6e2425ba"

    def message(self, said: Any, *, version: str = "2", at: datetime | None = None, **fields: Any) -> dict[str, Any]:
        """Sign a message; ``fields`` replace or add some before, one that is None is left out."""
        document = {
            "Type": "Notification", "MessageId": secrets.token_hex(16), "TopicArn": TOPIC,
            "Message": said if isinstance(said, str) else json.dumps(said),
            "Timestamp": (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "SignatureVersion": version, "SigningCertURL": f"https://{SNS_HOST}{self.path}",
            "UnsubscribeURL": f"https://{SNS_HOST}/?Action=Unsubscribe", **fields,
        }  # fmt: skip
        document = {name: value for name, value in document.items() if value is not None}
        names: Sequence[str] = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
        if document["Type"] != "Notification":
            names = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
        text = "".join(f"{name}\n{document[name]}\n" for name in names if name in document)
        hashed = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 - what SNS does
        document["Signature"] = b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), hashed)).decode()
        return document

    def report(self, said: Any, **fields: Any) -> Request:
        """Post a message."""
        return posted(self.message(said, **fields))

    def subscription(self, **fields: Any) -> Request:
        """Ask whether a subscription is wanted."""
        wanted = {"Type": "SubscriptionConfirmation", "Token": "2336412f37fb687f5d51e6e2425ba"}
        wanted["SubscribeURL"] = self.subscribe_url
        return self.report("You have chosen to subscribe.", **(wanted | fields))


def posted(message: dict[str, Any]) -> Request:
    """Write a message of SNS as it is posted."""
    headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": str(message.get("Type"))}
    return Request("/v1/bounces/ses", json.dumps(message).encode(), headers)

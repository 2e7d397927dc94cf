"""APNs: Apple's push service over HTTP/2 with token authentication.

Promises the checks that a sender can fail (provider token, topic, headers, payload) with Apple's status and reason. It
can also misbehave in the ways that clients are known to mishandle. Does not know which devices exist: it takes every
well-formed token for one. Source of limits and reasons: Apple, "Sending notification requests to APNs" and "Handling
notification responses from APNs".
"""

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from functools import lru_cache

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sandbox.credentials import Credentials
from sandbox.exchange import Reply, is_answered, play_after, play_before, scripted_reply
from sandbox.http2 import GoAwayError, Request, ResetStreamError
from sandbox.kept import Effect, Kept
from sandbox.script import Fault, Script

_PATH = "/3/device/"
_PAYLOAD_LIMIT_BYTES = 4_096
_VOIP_PAYLOAD_LIMIT_BYTES = 5_120
_COLLAPSE_ID_LIMIT_BYTES = 64
# Apple: a provider token older than one hour is refused.
_TOKEN_LIFETIME_S = 3_600
# Device tokens are of variable length; none has been seen below 32 bytes.
_DEVICE_TOKEN_MINIMUM = 64
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_PRIORITIES = frozenset({"1", "5", "10"})
_PUSH_TYPES = frozenset(
    {
        "alert", "background", "location", "voip", "complication", "fileprovider", "mdm", "liveactivity",
        "pushtotalk", "widgets", "controls",
    }
)  # fmt: skip
_USUAL_REASONS = {
    400: "BadDeviceToken",
    403: "InvalidProviderToken",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}


class Apns:
    """The push service for one topic and one signing key."""

    def __init__(self, kept: Kept, script: Script, credentials: Credentials) -> None:
        self._kept = kept
        self._script = script
        self._topic = credentials.apns_topic
        self._key_id = credentials.apns_key_id
        self._team_id = credentials.apns_team_id
        key = load_pem_private_key(credentials.apns_key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the APNs key is not an elliptic curve key")
        self._public_key = key.public_key()
        # A sender uses one token for up to an hour, so its signature is checked once.
        self._issued_at = lru_cache(maxsize=1_000)(self._verify)

    def failure(self, status: int, code: int | str | None) -> Reply:
        """A refusal with Apple's reason."""
        answer: dict[str, object] = {"reason": str(code or _USUAL_REASONS.get(status, "InternalServerError"))}
        if status == 410:
            # The last time at which the token was found inactive, in milliseconds.
            answer["timestamp"] = time.time_ns() // 1_000_000
        return Reply(status, json.dumps(answer).encode())

    def operator_failure(self) -> Reply:
        """The provider token is refused."""
        return self.failure(403, "InvalidProviderToken")

    async def handle(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            CutConnectionError, ResetStreamError, GoAwayError: a fault says so.
        """
        device_token = request.path.removeprefix(_PATH)
        fault = self._script.take("apns", (device_token,), "request", "answer")
        apns_id = request.headers.get("apns-id") or str(uuid.uuid4()).upper()
        reply = await self._before(fault) or self._refusal(request, device_token)
        if reply is None:
            reply = await self._keep(request, device_token, apns_id, fault)
        if fault is not None and fault.apns == "no_id":
            return reply
        return Reply(reply.status, reply.body, {"apns-id": apns_id, **reply.headers})

    async def _before(self, fault: Fault | None) -> Reply | None:
        if fault is None:
            return None
        if fault.apns in {"rst", "goaway", "no_body"}:
            await asyncio.sleep(fault.delay_s)
        if fault.apns == "rst":
            raise ResetStreamError
        if fault.apns == "goaway":
            raise GoAwayError
        if fault.apns == "no_body":
            return Reply(scripted_reply(fault, fault.status or 503, self).status, None, fault.headers)
        return await play_before(fault, self)

    async def _keep(self, request: Request, device_token: str, apns_id: str, fault: Fault | None) -> Reply:
        payload = _payload(bytes(request.body))
        carillon_id = payload.get("carillon_id")
        effect = Effect(
            channel="push",
            provider="apns",
            to=device_token,
            id=apns_id,
            content=_content(payload, request.headers),
            size_bytes=len(request.body),
            notification_id=None if carillon_id is None else str(carillon_id),
            answered=is_answered(fault),
        )
        await self._kept.keep(effect)
        await play_after(fault)
        # An empty body, unlike none, is an empty DATA frame on the wire.
        return Reply(200, b"" if fault is not None and fault.apns == "empty_data" else None)

    def _refusal(self, request: Request, device_token: str) -> Reply | None:
        """The first thing that is wrong with a request."""
        checks = (
            self._path_problem(request, device_token),
            self._identity_problem(request.headers),
            self._topic_problem(request.headers),
            _header_problem(request.headers),
            _payload_problem(request),
        )
        found = next((problem for problem in checks if problem is not None), None)
        return None if found is None else self.failure(*found)

    def _path_problem(self, request: Request, device_token: str) -> tuple[int, str] | None:
        if request.method != "POST":
            return 405, "MethodNotAllowed"
        if not request.path.startswith(_PATH):
            return 404, "BadPath"
        if not device_token:
            return 400, "MissingDeviceToken"
        if len(device_token) < _DEVICE_TOKEN_MINIMUM or not _HEXADECIMAL.issuperset(device_token):
            return 400, "BadDeviceToken"
        return None

    def _identity_problem(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return 403, "MissingProviderToken"
        issued_at = self._issued_at(token)
        if issued_at is None:
            return 403, "InvalidProviderToken"
        return (403, "ExpiredProviderToken") if time.time() - issued_at > _TOKEN_LIFETIME_S else None

    def _verify(self, token: str) -> float | None:
        """Return when a good token was issued. Its age changes, so it is checked each time."""
        try:
            if jwt.get_unverified_header(token).get("kid") != self._key_id:
                return None
            claims = jwt.decode(
                token,
                self._public_key,
                algorithms=["ES256"],
                issuer=self._team_id,
                options={"verify_aud": False, "require": ["iss", "iat"]},
            )
            return float(claims["iat"])
        except (jwt.InvalidTokenError, ValueError):
            return None

    def _topic_problem(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        topic = headers.get("apns-topic")
        if not topic:
            return 400, "MissingTopic"
        # Push types such as voip have topics of their own below the app's.
        if topic != self._topic and not topic.startswith(f"{self._topic}."):
            return 400, "DeviceTokenNotForTopic"
        return None


def _header_problem(headers: Mapping[str, str]) -> tuple[int, str] | None:
    try:
        uuid.UUID(headers.get("apns-id", "00000000-0000-0000-0000-000000000000"))
    except ValueError:
        return 400, "BadMessageId"
    if len(headers.get("apns-collapse-id", "").encode()) > _COLLAPSE_ID_LIMIT_BYTES:
        return 400, "BadCollapseId"
    if not headers.get("apns-expiration", "0").isdecimal():
        return 400, "BadExpirationDate"
    if headers.get("apns-priority", "10") not in _PRIORITIES:
        return 400, "BadPriority"
    if headers.get("apns-push-type", "alert") not in _PUSH_TYPES:
        return 400, "InvalidPushType"
    return None


def _payload_problem(request: Request) -> tuple[int, str] | None:
    is_voip = request.headers.get("apns-push-type") == "voip"
    if len(request.body) > (_VOIP_PAYLOAD_LIMIT_BYTES if is_voip else _PAYLOAD_LIMIT_BYTES):
        return 413, "PayloadTooLarge"
    # Apple documents no reason of its own for a body that is not a JSON object.
    return None if _payload(bytes(request.body)) else (400, "PayloadEmpty")


def _payload(body: bytes) -> dict[str, object]:
    try:
        payload = json.loads(body)
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}


def _content(payload: Mapping[str, object], headers: Mapping[str, str]) -> dict[str, object]:
    """Title and body of the alert, the custom keys, and the headers that say how to deliver."""
    aps = payload.get("aps")
    alert = aps.get("alert") if isinstance(aps, dict) else None
    shown = alert if isinstance(alert, dict) else {"body": alert or ""}
    return {
        "title": str(shown.get("title", "")),
        "body": str(shown.get("body", "")),
        "data": {name: value for name, value in payload.items() if name != "aps"},
        "headers": [[name, value] for name, value in headers.items() if name.startswith("apns-")],
        "payload": payload,
    }

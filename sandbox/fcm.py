"""FCM HTTP v1: Google's OAuth token endpoint and the call that sends a message.

Promises the checks that a sender can fail (assertion, access token, project, shape and size of the message) and
Google's error format. Does not know which tokens are registered: it takes every well-formed one. Access tokens are
derived and not stored, so they outlive a restart.
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from functools import lru_cache

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sandbox.credentials import Credentials
from sandbox.exchange import Reply, http1, is_answered, json_reply, play_after, play_before
from sandbox.kept import Effect, Kept
from sandbox.script import Script

# developers.google.com/identity/protocols/oauth2/service-account: assertion, grant type, lifetime.
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GOOGLE_TOKEN_ENDPOINT = "https://oauth2.googleapis.com/token"  # noqa: S105  # google-auth always names this audience.
_TOKEN_LIFETIME_S = 3_599
_SCOPES = frozenset(
    {"https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"}
)
# firebase.google.com/docs/cloud-messaging/concept-options: at most 4,096 bytes.
_PAYLOAD_LIMIT_BYTES = 4_096
_REGISTRATION_TOKEN = re.compile(r"[\w:.-]{1,4096}", re.ASCII)

# firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode, and the canonical status that each comes with.
_CANONICAL = {
    "INVALID_ARGUMENT": "INVALID_ARGUMENT",
    "UNREGISTERED": "NOT_FOUND",
    "SENDER_ID_MISMATCH": "PERMISSION_DENIED",
    "QUOTA_EXCEEDED": "RESOURCE_EXHAUSTED",
    "UNAVAILABLE": "UNAVAILABLE",
    "INTERNAL": "INTERNAL",
    "THIRD_PARTY_AUTH_ERROR": "UNAUTHENTICATED",
}
_USUAL_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "SENDER_ID_MISMATCH",
    404: "UNREGISTERED",
    429: "QUOTA_EXCEEDED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_TEXTS = {
    "INVALID_ARGUMENT": "Request contains an invalid argument.",
    "UNREGISTERED": "Requested entity was not found.",
    "SENDER_ID_MISMATCH": "SenderId mismatch",
    "QUOTA_EXCEEDED": "Quota exceeded for the message target.",
    "UNAVAILABLE": "The service is currently unavailable.",
    "INTERNAL": "Internal error encountered.",
    "UNAUTHENTICATED": (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
        "valid authentication credential."
    ),
}


class _RefusedError(Exception):
    """The message cannot be sent."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Fcm:
    """Token endpoint and messages of one project."""

    def __init__(self, kept: Kept, script: Script, credentials: Credentials) -> None:
        self._kept = kept
        self._script = script
        self._project = credentials.fcm_project
        self._client_email = credentials.fcm_client_email
        self._secret = credentials.secret
        account = json.loads(credentials.fcm_file.read_bytes())
        self._token_uri = str(account["token_uri"])
        # The sandbox made the key itself, and to check an RSA key would take most of the start.
        key = load_pem_private_key(account["private_key"].encode(), None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("the service account's key is not an RSA key")
        self._public_key = key.public_key()
        self._is_valid = lru_cache(maxsize=1024)(self._signature_fits)

    def routes(self) -> list[web.RouteDef]:
        """What this provider serves."""
        return [
            web.post("/token", http1(self._token)),
            web.post("/v1/projects/{project}/messages:send", http1(self._send)),
        ]

    def failure(self, status: int, code: int | str | None) -> Reply:
        """A refusal in Google's words; the code is FCM's where it is one, else the canonical status."""
        name = str(code) if code is not None else _USUAL_CODES.get(status, "INTERNAL")
        details: list[Mapping[str, object]] = []
        if name in _CANONICAL:
            details.append({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": name})
        return _error(status, _CANONICAL.get(name, name), _TEXTS.get(name, "Scripted refusal"), details)

    def operator_failure(self) -> Reply:
        """The access token is refused."""
        return self.failure(401, None)

    async def _token(self, request: web.Request) -> Reply:
        form = await request.post()
        fault = self._script.take("fcm", (), "token")
        if refusal := await play_before(fault, _TokenShape()):
            return refusal
        if form.get("grant_type") != _GRANT_TYPE:
            return _grant_error(400, "unsupported_grant_type", f"Invalid grant_type: use {_GRANT_TYPE}")
        problem = self._assertion_problem(str(form.get("assertion", "")))
        if problem:
            return _grant_error(400, "invalid_grant", problem)
        await play_after(fault)
        expires = int(time.time()) + _TOKEN_LIFETIME_S
        return json_reply(
            200,
            {
                "access_token": f"ya29.{expires}.{self._signature(str(expires))}",
                "expires_in": _TOKEN_LIFETIME_S,
                "token_type": "Bearer",
            },
        )

    def _assertion_problem(self, assertion: str) -> str | None:
        try:
            claims = jwt.decode(
                assertion,
                self._public_key,
                algorithms=["RS256"],
                audience=[self._token_uri, _GOOGLE_TOKEN_ENDPOINT],
                issuer=self._client_email,
                leeway=10,
                options={"require": ["iss", "aud", "exp", "iat", "scope"]},
            )
        except jwt.InvalidSignatureError:
            return "Invalid JWT Signature."
        except jwt.InvalidTokenError as error:
            return f"Invalid JWT: {error}"
        return None if _SCOPES.intersection(str(claims["scope"]).split()) else "Invalid OAuth scope."

    async def _send(self, request: web.Request) -> Reply:
        if early := await play_before(self._script.take("fcm", (), "request"), self):
            return early
        raw = await request.read()
        try:
            message, refused = _message(raw), None
        except _RefusedError as error:
            message, refused = {}, error.reply
        to = _target(message)
        fault = self._script.take("fcm", (to,), "request", "answer")
        if refusal := await play_before(fault, self):
            return refusal
        if not self._is_authorized(request.headers.get("Authorization", "")):
            return self.failure(401, None)
        if request.match_info["project"] != self._project:
            text = "Permission 'cloudmessaging.messages.create' denied on resource (or it may not exist)."
            return _error(403, "PERMISSION_DENIED", text, [])
        if refused is not None:
            return refused
        name = f"projects/{self._project}/messages/0:{time.time_ns() // 1000}%{secrets.token_hex(8)}"
        data = message.get("data")
        carillon_id = data.get("carillon_id") if isinstance(data, dict) else None
        effect = Effect(
            channel="push",
            provider="fcm",
            to=to,
            id=name,
            content=_content(message),
            size_bytes=len(raw),
            notification_id=None if carillon_id is None else str(carillon_id),
            answered=is_answered(fault),
        )
        await self._kept.keep(effect)
        await play_after(fault)
        return json_reply(200, {"name": name})

    def _is_authorized(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        parts = token.split(".")
        if scheme.lower() != "bearer" or len(parts) != 3 or not parts[1].isdecimal():
            return False
        return int(parts[1]) > time.time() and self._is_valid(parts[1], parts[2])

    def _signature(self, expires: str) -> str:
        return hmac.new(self._secret, f"fcm access token {expires}".encode(), hashlib.sha256).hexdigest()

    def _signature_fits(self, expires: str, signature: str) -> bool:
        return hmac.compare_digest(signature.encode(), self._signature(expires).encode())


class _TokenShape:
    """How the token endpoint words its refusals (RFC 6749, 5.2)."""

    def failure(self, status: int, code: int | str | None) -> Reply:
        return _grant_error(status, str(code or ("invalid_grant" if status < 500 else "internal_failure")), "Scripted")

    def operator_failure(self) -> Reply:
        return _grant_error(400, "invalid_grant", "Invalid JWT Signature.")


def _message(raw: bytes) -> dict[str, object]:
    """The message of a request, checked.

    Raises:
        _RefusedError: with Google's answer.
    """
    try:
        request = json.loads(raw)
    except ValueError:
        raise _RefusedError(_error(400, "INVALID_ARGUMENT", "Invalid JSON payload received.", [])) from None
    message = request.get("message") if isinstance(request, dict) else None
    if not isinstance(message, dict):
        raise _RefusedError(_violation("message", "Message is not set."))
    targets = [name for name in ("token", "topic", "condition") if message.get(name)]
    if len(targets) != 1:
        raise _RefusedError(_violation("message", "Recipient of the message is not set.", is_fcm=True))
    if targets == ["token"] and not _REGISTRATION_TOKEN.fullmatch(str(message["token"])):
        text = "The registration token is not a valid FCM registration token"
        detail = {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"}
        raise _RefusedError(_error(400, "INVALID_ARGUMENT", text, [detail]))
    data = message.get("data", {})
    if not isinstance(data, dict):
        raise _RefusedError(_violation("message.data", "Invalid value at 'message.data'"))
    for position, value in enumerate(data.values()):
        if not isinstance(value, str):
            field = f"message.data[{position}].value"
            raise _RefusedError(_violation(field, f"Invalid value at '{field}' (TYPE_STRING), {json.dumps(value)}"))
    counted = {name: message[name] for name in ("notification", "data") if name in message}
    if len(json.dumps(counted, ensure_ascii=False, separators=(",", ":")).encode()) > _PAYLOAD_LIMIT_BYTES:
        raise _RefusedError(_error(400, "INVALID_ARGUMENT", "Android message is too big", []))
    return message


def _target(message: Mapping[str, object]) -> str:
    return str(message.get("token") or message.get("topic") or message.get("condition") or "")


def _content(message: Mapping[str, object]) -> dict[str, object]:
    """Title and body from wherever the sender put them, with the whole message behind."""
    android = message.get("android")
    places = (
        message.get("notification"),
        android.get("notification") if isinstance(android, dict) else None,
        message.get("data"),
    )
    shown: Mapping[str, object] = next(
        (place for place in places if isinstance(place, dict) and ("title" in place or "body" in place)), {}
    )
    return {
        "title": str(shown.get("title", "")),
        "body": str(shown.get("body", "")),
        "data": message.get("data", {}),
        "headers": [],
        "payload": message,
    }


def _error(status: int, canonical: str, text: str, details: list[Mapping[str, object]]) -> Reply:
    error: dict[str, object] = {"code": status, "message": text, "status": canonical}
    if details:
        error["details"] = details
    return json_reply(status, {"error": error})


def _violation(field: str, text: str, *, is_fcm: bool = False) -> Reply:
    details: list[Mapping[str, object]] = [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": text}],
        }
    ]
    if is_fcm:
        details.append(
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"}
        )
    return _error(400, "INVALID_ARGUMENT", text, details)


def _grant_error(status: int, error: str, description: str) -> Reply:
    return json_reply(status, {"error": error, "error_description": description})

"""Web Push: a push service and, behind it, the browsers that hold the subscriptions.

Promises to check what RFC 8030, 8188, 8291 and 8292 ask of a sender, and to decrypt a push as the browser would. A
subscription's keys are derived from its name. So every name is subscribed until it is removed, and subscriptions
outlive a restart. Refuses a body that it cannot decrypt, where a real service would take it.
"""

import base64
import json
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import http_ece  # type: ignore[import-untyped]
import jwt
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from yarl import URL

from sandbox.credentials import Credentials
from sandbox.exchange import Reply, http1, is_answered, json_reply, play_after, play_before
from sandbox.kept import Effect, Kept
from sandbox.script import Script

# RFC 8030, 7.2: a push service must take 4,096 bytes; all of them take no more.
_BODY_LIMIT_BYTES = 4_096
# RFC 8292, 2: exp must not be more than 24 hours away.
_VAPID_LIFETIME_LIMIT_S = 24 * 3_600
_NAME = re.compile(r"[\w.~-]{1,128}", re.ASCII)
_TOPIC = re.compile(r"[\w-]{1,32}", re.ASCII)
_URGENCIES = frozenset({"very-low", "low", "normal", "high"})
_RESERVED_NAME = "subscriptions"
# How many removed subscriptions are remembered. Older ones count as subscribed again.
_REMOVED_LIMIT = 100_000
# The order of P-256 (SEC 2, 2.4.2), to bring derived bytes into the range of a private key.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HEADERS_KEPT = ("TTL", "Urgency", "Topic", "Content-Encoding")


@dataclass(frozen=True, slots=True)
class Subscription:
    """The browser's side of one subscription."""

    private_key: ec.EllipticCurvePrivateKey
    auth: bytes

    def as_json(self, endpoint: str) -> dict[str, object]:
        """What PushSubscription.toJSON() gives a page."""
        public = self.private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"endpoint": endpoint, "keys": {"p256dh": _base64url(public), "auth": _base64url(self.auth)}}


class WebPush:
    """The push service and its subscriptions."""

    def __init__(self, kept: Kept, script: Script, credentials: Credentials, http_url: str) -> None:
        self._kept = kept
        self._script = script
        self._http_url = http_url
        self._origin = URL(http_url).origin()
        key = load_pem_private_key(credentials.vapid_key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the VAPID key is not an elliptic curve key")
        self._vapid_key = key.public_key()
        self._vapid_point = _base64url(self._vapid_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        self._secret = credentials.secret
        self._subscription = lru_cache(maxsize=10_000)(self._derive)
        # Senders may reuse a token for hours, and checking a signature costs more than the rest of the exchange.
        self._claims = lru_cache(maxsize=1_000)(self._verify)
        self._removed: OrderedDict[str, None] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        """What this provider serves."""
        return [
            web.post(f"/webpush/{_RESERVED_NAME}", http1(self._subscribe)),
            web.delete(f"/webpush/{_RESERVED_NAME}/{{name}}", http1(self._unsubscribe)),
            web.post("/webpush/{name}", http1(self._push)),
        ]

    def failure(self, status: int, code: int | str | None) -> Reply:
        """A refusal; RFC 8030 gives it no format, so it looks like Mozilla's."""
        return json_reply(status, {"code": status, "errno": code or 999, "error": "Scripted refusal"})

    def operator_failure(self) -> Reply:
        """The sender's key is refused (RFC 8292, 4.2)."""
        return _problem(403, "VAPID credentials do not match the subscription")

    async def _subscribe(self, request: web.Request) -> Reply:
        try:
            name = json.loads(await request.read())["name"]
        except (ValueError, KeyError, TypeError):
            return _problem(400, 'a JSON object {"name": …} is required')
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == _RESERVED_NAME:
            return _problem(400, "a name is 1 to 128 letters, digits and any of . _ ~ -")
        self._removed.pop(name, None)
        return json_reply(201, self._subscription(name).as_json(f"{self._http_url}/webpush/{name}"))

    async def _unsubscribe(self, request: web.Request) -> Reply:
        self._removed[request.match_info["name"]] = None
        if len(self._removed) > _REMOVED_LIMIT:
            self._removed.popitem(last=False)
        return Reply(204)

    async def _push(self, request: web.Request) -> Reply:
        name = request.match_info["name"]
        if early := await play_before(self._script.take("webpush", (name,), "request"), self):
            return early
        raw = await request.read()
        fault = self._script.take("webpush", (name,), "answer")
        if refusal := await play_before(fault, self):
            return refusal
        if refusal := self._refusal(request, name, raw):
            return refusal
        try:
            plain = self._decrypted(name, raw)
        except (http_ece.ECEException, ValueError):
            return _problem(400, "the body cannot be decrypted with the subscription's keys")
        push_id = str(uuid.uuid4())
        content, carillon_id = _content(plain)
        content["headers"] = [[each, request.headers[each]] for each in _HEADERS_KEPT if each in request.headers]
        effect = Effect(
            channel="push",
            provider="webpush",
            to=name,
            id=push_id,
            content=content,
            size_bytes=len(plain),
            notification_id=carillon_id,
            answered=is_answered(fault),
        )
        await self._kept.keep(effect)
        await play_after(fault)
        location = f"{self._http_url}/webpush/messages/{push_id}"
        return Reply(201, None, {"Location": location, "TTL": request.headers["TTL"]})

    def _refusal(self, request: web.Request, name: str, raw: bytes) -> Reply | None:
        """What is wrong with a request, in the order in which services look."""
        if not _NAME.fullmatch(name):
            return _problem(404, "no such subscription")
        if refusal := self._vapid_refusal(request):
            return refusal
        if name in self._removed:
            return _problem(410, "the subscription is gone")
        return _header_refusal(request.headers, len(raw))

    def _vapid_refusal(self, request: web.Request) -> Reply | None:
        """Check the sender's identity (RFC 8292, 3 and 4)."""
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        parameters = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        if scheme.lower() != "vapid" or not {"t", "k"} <= parameters.keys():
            return _problem(401, "Authorization: vapid t=…, k=… is required")
        if parameters["k"].rstrip("=") != self._vapid_point:
            return self.operator_failure()
        claims = self._claims(parameters["t"])
        if claims is None:
            return _problem(403, "the VAPID token is not signed by the key k, or lacks aud or exp")
        lifetime_s = float(str(claims["exp"])) - time.time()
        if not 0 < lifetime_s <= _VAPID_LIFETIME_LIMIT_S:
            return _problem(403, "the VAPID token is expired or valid for more than 24 hours")
        # Compared as URLs, so an explicit default port makes no difference.
        audience = URL(str(claims["aud"])).origin()
        if audience != self._origin and audience != request.url.origin():
            return _problem(403, "the VAPID token is for another push service")
        return None

    def _verify(self, token: str) -> Mapping[str, object] | None:
        """The claims of a token with a good signature; times and audience change and are checked each time."""
        try:
            claims: Mapping[str, object] = jwt.decode(
                token,
                self._vapid_key,
                algorithms=["ES256"],
                options={"verify_aud": False, "verify_exp": False, "require": ["aud", "exp"]},
            )
            float(str(claims["exp"]))
            URL(str(claims["aud"])).origin()
        except (jwt.InvalidTokenError, ValueError):
            return None
        return claims

    def _decrypted(self, name: str, raw: bytes) -> bytes:
        if not raw:
            return b""
        subscription = self._subscription(name)
        plain: bytes = http_ece.decrypt(raw, private_key=subscription.private_key, auth_secret=subscription.auth)
        return plain

    def _derive(self, name: str) -> Subscription:
        # 64 bits more than the order needs, so that the remainder is not biased (FIPS 186-5, A.2.1).
        derived = HKDF(hashes.SHA256(), length=56, salt=self._secret, info=f"webpush {name}".encode()).derive(b"")
        scalar = int.from_bytes(derived[:40]) % (_P256_ORDER - 1) + 1
        return Subscription(ec.derive_private_key(scalar, ec.SECP256R1()), derived[40:])


def _header_refusal(headers: Mapping[str, str], size_bytes: int) -> Reply | None:
    checks = (
        (headers.get("TTL", "").isdecimal(), 400, "a TTL header is required (RFC 8030, 5.2)"),
        (headers.get("Urgency", "normal") in _URGENCIES, 400, "unknown Urgency (RFC 8030, 5.3)"),
        (
            _TOPIC.fullmatch(headers.get("Topic", "none")) is not None,
            400,
            "a Topic is at most 32 characters of base64url (RFC 8030, 5.4)",
        ),
        (
            not size_bytes or headers.get("Content-Encoding") == "aes128gcm",
            415,
            "Content-Encoding must be aes128gcm (RFC 8291, 4)",
        ),
        (size_bytes <= _BODY_LIMIT_BYTES, 413, f"at most {_BODY_LIMIT_BYTES} bytes"),
    )
    return next((_problem(status, text) for holds, status, text in checks if not holds), None)


def _content(plain: bytes) -> tuple[dict[str, object], str | None]:
    """What a decrypted body says, and the sender's notification id if it is in there."""
    try:
        payload = json.loads(plain) if plain else {}
    except ValueError:
        payload = plain.decode("utf-8", "replace")
    if not isinstance(payload, dict):
        return {"title": "", "body": str(payload), "data": {}, "payload": payload}, None
    data = payload.get("data", {})
    carillon_id = payload.get("carillon_id") or (data.get("carillon_id") if isinstance(data, dict) else None)
    content = {
        "title": str(payload.get("title", "")),
        "body": str(payload.get("body", "")),
        "data": data,
        "payload": payload,
    }
    return content, None if carillon_id is None else str(carillon_id)


def _problem(status: int, text: str) -> Reply:
    return json_reply(status, {"code": status, "error": text})


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

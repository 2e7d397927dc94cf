"""An OpenID Connect provider for tests: discovery, keys, authorization with PKCE, and ID tokens that are really signed.

It lets in whoever asks, as the person that ``claims`` says. ``spoil`` changes what it signs.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from carillon.local.ports import LOOPBACK

CLIENT_ID, CLIENT_SECRET = "the-console", "a client's secret of the tests"


def new_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Provider:
    """One provider."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    spoil: Callable[[dict[str, Any]], None] = lambda _claims: None
    key: RSAPrivateKey = field(default_factory=new_key)
    signs_with: RSAPrivateKey | None = None
    redirects: set[str] = field(default_factory=set)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/keys", self._keys),
                web.get("/authorize", self._authorize),
                web.post("/token", self._token),
            ]
        )
        return app

    async def _discovery(self, _request: web.Request) -> web.Response:
        ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return web.json_response({"issuer": self.url} | {name: f"{self.url}/{path}" for name, path in ends.items()})

    async def _keys(self, _request: web.Request) -> web.Response:
        public = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**public, "kid": "first", "use": "sig", "alg": "RS256"}]})

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        self.redirects.add(asked["redirect_uri"])
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self._codes.pop(str(form["code"]), None)
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        is_client = (form["client_id"], form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)
        if asked is None or challenge != asked["code_challenge"] or not is_client:
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "sub": "ada", "iat": now, "exp": now + 300}
        claims |= {"nonce": asked["nonce"], **self.claims}
        self.spoil(claims)
        token = jwt.encode(claims, self.signs_with or self.key, algorithm="RS256", headers={"kid": "first"})
        return web.json_response({"token_type": "Bearer", "access_token": "none", "id_token": token})


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Run one on a free port."""
    served = Provider()
    runner = web.AppRunner(served.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    served.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()

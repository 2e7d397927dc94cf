"""Tokens verified with keys from a real key server."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import SecretStr

from services.realtime import jwks
from services.realtime.auth import TokenVerifier, Unauthenticated
from services.realtime.jwks import KeysUnavailable, RemoteKeys
from services.realtime.settings import RealtimeSettings

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class KeyServer:
    """Serves a key set and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [
            {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa", "use": "sig", "alg": "RS256"},
            {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec"},
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0" * 8, "alg": "HS256"},
        ]
        self.asked = 0
        self.status = 200
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=json.dumps({"keys": self.keys}), status=self.status)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[KeyServer]:
    keys = KeyServer()
    app = web.Application()
    app.router.add_get("/jwks.json", keys.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    keys.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks.json"
    yield keys
    await runner.cleanup()


@pytest_asyncio.fixture
async def verifier(server: KeyServer) -> AsyncIterator[TokenVerifier]:
    settings = RealtimeSettings(
        mqtt_url=SecretStr("mqtt://broker"), redis_url=SecretStr("redis://store"), realtime_jwks_url=server.url
    )
    async with RemoteKeys(server.url) as keys:
        yield TokenVerifier(settings, keys)


def signed(key: Any, algorithm: str, kid: str | None) -> str:
    headers = {"kid": kid} if kid else None
    return jwt.encode({"sub": "user1", "exp": time.time() + 60}, key, algorithm=algorithm, headers=headers)


def _hmac_signed(key: bytes, kid: str) -> str:
    """Sign with HS256 and a key that PyJWT itself would not take."""
    parts = [{"alg": "HS256", "typ": "JWT", "kid": kid}, {"sub": "user1", "exp": time.time() + 60}]
    text = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = urlsafe_b64encode(hmac.digest(key, text, "sha256")).rstrip(b"=")
    return (text + b"." + signature).decode()


async def test_tokens_of_both_kinds_of_keys_hold_and_the_set_is_fetched_once(
    server: KeyServer, verifier: TokenVerifier
) -> None:
    for _ in range(5):
        assert (await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))).user_id == "user1"
        assert (await verifier.verify(signed(EC_KEY, "ES256", "ec"))).user_id == "user1"
    assert server.asked == 1


async def test_foreign_and_confused_keys_are_refused(server: KeyServer, verifier: TokenVerifier) -> None:
    public = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    for token in (
        signed(FOREIGN_KEY, "RS256", "rsa"),
        signed(RSA_KEY, "RS256", "ec"),
        signed(RSA_KEY, "RS512", "rsa"),
        signed(RSA_KEY, "RS256", None),
        # The classic: the public key as an HMAC secret.
        _hmac_signed(public, "rsa"),
        signed(b"secret" * 8, "HS256", "shared"),
        jwt.encode({"sub": "user1", "exp": time.time() + 60}, "", algorithm="none", headers={"kid": "rsa"}),
    ):
        with pytest.raises(Unauthenticated):
            await verifier.verify(token)
    assert server.asked == 1


async def test_unknown_key_ids_do_not_make_us_a_weapon_against_the_key_server(
    server: KeyServer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await verifier.verify(signed(FOREIGN_KEY, "RS256", f"unknown{number}"))
    assert server.asked == 1
    # A key that is new there is found when the time has come.
    server.keys.append({**RSAAlgorithm.to_jwk(FOREIGN_KEY.public_key(), as_dict=True), "kid": "new"})
    monkeypatch.setattr(jwks, "REFETCH_AFTER_S", 0.0)
    assert (await verifier.verify(signed(FOREIGN_KEY, "RS256", "new"))).user_id == "user1"
    assert server.asked == 2


async def test_known_keys_work_on_while_the_server_is_away(
    server: KeyServer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = 500
    with pytest.raises(KeysUnavailable):
        await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
    monkeypatch.setattr(jwks, "REFETCH_AFTER_S", 0.0)
    server.status = 200
    await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
    server.status = 500
    monkeypatch.setattr(jwks, "FRESH_S", 0.0)
    assert (await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))).user_id == "user1"

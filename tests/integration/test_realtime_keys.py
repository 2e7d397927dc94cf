"""Tokens verified with keys from a real key server."""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import SecretStr

from services.realtime.access import jwks
from services.realtime.access.jwks import KeysUnavailable, RemoteKeys
from services.realtime.access.tokens import TokenVerifier, Unauthenticated
from services.realtime.settings import RealtimeSettings
from tests import raw_http
from tests.raw_http import raw_server
from tests.waiting import eventually

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_set(*more: Any, others: int = 20) -> bytes:
    """Write a set that is long enough for several segments; the key that counts comes last."""
    padding = [{"kty": "RSA", "kid": f"other{number}", "n": "A" * 700, "e": "AQAB"} for number in range(others)]
    rsa_key = {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa", "use": "sig", "alg": "RS256"}
    return json.dumps({"keys": [*more, *padding, rsa_key]}).encode()


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


@asynccontextmanager
async def verifying(url: str) -> AsyncIterator[TokenVerifier]:
    settings = RealtimeSettings(
        mqtt_url=SecretStr("mqtt://broker"), redis_url=SecretStr("redis://store"), realtime_jwks_url=url
    )
    async with RemoteKeys(url) as keys:
        yield TokenVerifier(settings, keys)


@pytest_asyncio.fixture
async def verifier(server: KeyServer) -> AsyncIterator[TokenVerifier]:
    async with verifying(server.url) as verifier:
        yield verifier


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


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("\udcff.e30.c2ln", id="bytes"),
        *(
            pytest.param(f"{urlsafe_b64encode(header).rstrip(b'=').decode()}.e30.c2ln", id=name)
            for name, header in {
                "an algorithm that is a list": b'{"alg": [], "kid": "rsa"}',
                "an algorithm that is an object": b'{"alg": {}, "kid": "rsa"}',
                "a key that is a list": b'{"alg": "RS256", "kid": []}',
                "a list": b"[]",
                "deep": b"[" * 5000,
            }.items()
        ),
    ],
)
async def test_header_that_is_none_is_refused(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await verifier.verify(token)


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


# How key servers answer.

USABLE: dict[str, Callable[[], raw_http.Pieces]] = {
    "chunked": lambda: raw_http.chunked(key_set()),
    "packed": lambda: raw_http.packed(key_set()),
    "byte by byte": lambda: raw_http.byte_by_byte(key_set(others=1)),
    "with entries that are no keys": lambda: raw_http.whole(
        key_set(7, None, {"kid": ["a", "list"]}, {"kty": "RSA", "n": 5, "e": {}}, {"kty": "EC", "crv": [], "x": 1})
    ),
}

UNUSABLE: dict[str, Callable[[], raw_http.Pieces]] = {
    "cut": lambda: raw_http.cut(key_set()),
    "too long": lambda: raw_http.whole(key_set() + b" " * jwks.ANSWER_BYTES),
    "too long when unpacked": lambda: raw_http.packed(key_set() + b" " * (64 * 1024 * 1024)),
    "garbage": lambda: raw_http.whole(bytes(range(256))),
    "garbage for HTTP": lambda: [bytes(range(256)) * 10],
    "no gzip": lambda: raw_http.whole(key_set(), "Content-Encoding: gzip"),
    "a list": lambda: raw_http.whole(b"[1, 2]"),
    "keys that are no list": lambda: raw_http.whole(b'{"keys": "none"}'),
    "no keys": lambda: raw_http.whole(b'{"keys": []}'),
    "deep": lambda: raw_http.whole(b"[" * 100_000),
    "elsewhere": lambda: raw_http.whole(b"", "Location: /other", status="302 Found"),
    "an error": lambda: raw_http.whole(key_set(), status="500 Internal Server Error"),
    "nothing": list,
}


@pytest.mark.parametrize("pieces", [pytest.param(answer, id=name) for name, answer in USABLE.items()])
async def test_set_is_read_to_its_end_however_it_comes(pieces: Callable[[], raw_http.Pieces]) -> None:
    async with raw_server(pieces) as server, verifying(server.url) as verifier:
        assert (await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))).user_id == "user1"
        assert server.asked == 1


@pytest.mark.parametrize("pieces", [pytest.param(answer, id=name) for name, answer in UNUSABLE.items()])
async def test_answer_that_is_no_set_is_no_answer_and_the_keys_stay(
    pieces: Callable[[], raw_http.Pieces], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(pieces) as server, verifying(server.url) as verifier:
        with pytest.raises(KeysUnavailable):
            await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
    async with raw_server(lambda: raw_http.whole(key_set())) as server, verifying(server.url) as verifier:
        await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
        server.pieces = pieces
        monkeypatch.setattr(jwks, "REFETCH_AFTER_S", 0.0)
        with pytest.raises(Unauthenticated):
            await verifier.verify(signed(RSA_KEY, "RS256", "unknown"))
        # aiohttp asks once more where a server hangs up without a word.
        assert server.asked == (3 if not pieces() else 2)
        await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))


@pytest.mark.parametrize("pieces", [pytest.param(answer, id=name) for name, answer in USABLE.items()])
async def test_fifty_first_callers_share_one_request(pieces: Callable[[], raw_http.Pieces]) -> None:
    async with raw_server(pieces) as server, verifying(server.url) as verifier:
        tokens = [signed(RSA_KEY, "RS256", "rsa") for _ in range(50)]
        known = await asyncio.gather(*(verifier.verify(token) for token in tokens))
        assert [identity.user_id for identity in known] == ["user1"] * 50
        assert server.asked == 1


async def test_caller_who_leaves_does_not_end_the_request_that_others_wait_for() -> None:
    async with raw_server(lambda: raw_http.chunked(key_set(), 4096)) as server, verifying(server.url) as verifier:
        server.pause_s = 0.05
        first, second = (asyncio.create_task(verifier.verify(signed(RSA_KEY, "RS256", "rsa"))) for _ in range(2))
        await eventually(lambda: server.asked, what="the request")
        first.cancel()
        assert (await second).user_id == "user1"
        assert server.asked == 1


async def test_server_that_never_ends_its_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "ANSWER_WITHIN_S", 0.3)
    async with (
        raw_server(lambda: raw_http.byte_by_byte(key_set(others=1))) as server,
        verifying(server.url) as verifier,
    ):
        server.pause_s = 0.05
        async with asyncio.timeout(30):
            with pytest.raises(KeysUnavailable):
                await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))


async def test_users_with_known_keys_do_not_wait_for_those_with_unknown_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(lambda: raw_http.whole(key_set())) as server, verifying(server.url) as verifier:
        await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
        server.pieces, server.pause_s = lambda: raw_http.byte_by_byte(key_set(others=1)), 0.05
        monkeypatch.setattr(jwks, "REFETCH_AFTER_S", 0.0)
        stranger = asyncio.create_task(verifier.verify(signed(RSA_KEY, "RS256", "unknown")))
        await eventually(lambda: server.asked == 2, what="the stranger's request")
        for _ in range(50):
            await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
        assert not stranger.done()
        assert server.asked == 2
        stranger.cancel()
        await asyncio.wait([stranger])


async def test_keys_that_were_taken_back_serve_no_longer_than_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FRESH_S", 0.1)
    monkeypatch.setattr(jwks, "REFETCH_AFTER_S", 0.05)
    async with raw_server(lambda: raw_http.whole(key_set())) as server, verifying(server.url) as verifier:
        await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
        other = {**RSAAlgorithm.to_jwk(FOREIGN_KEY.public_key(), as_dict=True), "kid": "other"}
        server.pieces = lambda: raw_http.whole(json.dumps({"keys": [other]}).encode())

        async def refused() -> bool:
            try:
                await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
            except Unauthenticated:
                return True
            return False

        await eventually(refused, what="the end of a key that nobody publishes any more")


async def test_first_keys_are_asked_for_again_soon_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "RETRY_FIRST_S", 0.1)
    async with raw_server(list) as server, verifying(server.url) as verifier:
        with pytest.raises(KeysUnavailable):
            await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
        server.pieces = lambda: raw_http.whole(key_set())

        async def works() -> bool:
            try:
                await verifier.verify(signed(RSA_KEY, "RS256", "rsa"))
            except KeysUnavailable:
                return False
            return True

        await eventually(works, what="the first keys")

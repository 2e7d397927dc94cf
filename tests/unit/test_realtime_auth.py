"""Which tokens hold."""

import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from services.realtime.access.tokens import SharedSecret, TokenVerifier, Unauthenticated
from services.realtime.settings import RealtimeSettings

SECRET = "a secret of the tests, long enough for every algorithm: 64 bytes or more"


def verifier(**settings: Any) -> TokenVerifier:
    read = RealtimeSettings(
        mqtt_url=SecretStr("mqtt://broker"),
        redis_url=SecretStr("redis://store"),
        realtime_jwt_secret=SecretStr(SECRET),
        **settings,
    )
    return TokenVerifier(read, SharedSecret(SECRET))


def claims(**changed: Any) -> dict[str, Any]:
    all_claims = {"sub": "user1", "exp": time.time() + 60} | changed
    return {name: value for name, value in all_claims.items() if value is not None}


def signed(secret: str = SECRET, algorithm: str = "HS256", **changed: Any) -> str:
    return jwt.encode(claims(**changed), secret, algorithm=algorithm)


def without_signature() -> str:
    _, body, _ = signed().split(".")
    none = urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{none}.{body}."


def altered() -> str:
    head, _, signature = signed().split(".")
    _, body, _ = signed("x" * 40, sub="user3").split(".")
    return f"{head}.{body}.{signature}"


async def test_good_token_names_the_user_and_when_it_ends() -> None:
    ends_s = time.time() + 60
    identity = await verifier().verify(signed(sub="user123", exp=ends_s))
    assert identity.user_id == "user123"
    assert identity.expires_s == pytest.approx(ends_s, abs=1)


@pytest.mark.parametrize(
    "token",
    [
        without_signature(),
        altered(),
        signed("another secret that is long enough, too"),
        signed(algorithm="HS512"),
        signed(exp=time.time() - 1),
        signed(exp=None),
        signed(exp="soon"),
        signed(sub=None),
        signed(sub=""),
        signed(sub="a/b"),
        signed(sub="a\nb"),
        signed(sub="x" * 200),
        signed(nbf=time.time() + 60),
        "",
        "a.b.c",
        "ä",
    ],
    # The tokens hold the time, and a test's name must not.
    ids=lambda _token: "token",
)
async def test_token_that_does_not_hold_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await verifier().verify(token)
    assert caught.value.__cause__ is None
    assert str(caught.value) == ""


async def test_audience_and_issuer_are_asked_for_when_they_are_set() -> None:
    strict = verifier(realtime_jwt_audience="carillon", realtime_jwt_issuer="https://id.example.com")
    good: dict[str, Any] = {"aud": ["other", "carillon"], "iss": "https://id.example.com"}
    assert (await strict.verify(signed(**good))).user_id == "user1"
    wrongs: list[dict[str, Any]] = [{"aud": "other"}, {"aud": None}, {"iss": "https://evil.example.com"}, {"iss": None}]
    for wrong in wrongs:
        with pytest.raises(Unauthenticated):
            await strict.verify(signed(**(good | wrong)))
    assert (await verifier().verify(signed(**good))).user_id == "user1"


@pytest.mark.parametrize("claim", [5, "", "a/b", ["acme"], {"name": "acme"}, "x" * 200])
async def test_a_claim_that_names_no_tenant_is_refused(claim: object) -> None:
    with pytest.raises(Unauthenticated):
        await verifier().verify(signed(tenant=claim))


async def test_a_token_may_name_a_tenant() -> None:
    assert (await verifier().verify(signed(tenant="acme"))).tenant == "acme"
    assert (await verifier().verify(signed())).tenant is None

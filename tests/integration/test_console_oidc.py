"""Signing in by OpenID Connect, against a provider that signs real tokens: who gets in, and what lets nobody in."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import pytest_asyncio

from carillon.commands.console_settings import ConsoleSettings
from carillon.console.backend import Backend
from carillon.local.ports import LOOPBACK, free_port
from shared.core.errors import ConfigError
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.console import ROLES, RULES, Answer, Person, Served, serving
from tests.oidc import CLIENT_ID, CLIENT_SECRET, Provider, new_key, provider

pytestmark = pytest.mark.real_store


@pytest_asyncio.fixture
async def known() -> AsyncIterator[Provider]:
    async with provider() as served:
        yield served


@pytest.fixture
def settings(known: Provider, store: EmptyStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ConsoleSettings]:
    """Read the console's settings as the environment says them."""

    def load(**more: str) -> ConsoleSettings:
        said = {
            "REDIS_URL": store.url, "CONSOLE_URL": f"http://{LOOPBACK}:{free_port()}", "CONSOLE_OIDC_ISSUER": known.url,
            "CONSOLE_OIDC_CLIENT_ID": CLIENT_ID, "CONSOLE_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "CONSOLE_OIDC_ROLES_CLAIM": "groups.console", "CONSOLE_OIDC_ROLES": "sre=operator, support=viewer", **more,
        }  # fmt: skip
        for name, value in said.items():
            monkeypatch.setenv(name, value)
        return ConsoleSettings.load()

    return load


@pytest_asyncio.fixture
async def console(store: EmptyStore, settings: Callable[..., ConsoleSettings]) -> AsyncIterator[Served]:
    read = settings()
    assert read.console_url is not None
    port = urlsplit(read.console_url).port
    async with (
        Store(store.url) as opened,
        serving(Backend(opened, RULES), port=port or 0, url=read.console_url, oidc=read.oidc) as served,
    ):
        yield served


async def go_to(person: Person, to: str = "/") -> tuple[str, str]:
    """Begin to sign in, and return the provider's address, and the one to which it sends the browser back."""
    begun = await person.get(f"/sign-in/oidc?to={to}")
    assert begun.status == 303
    address = begun.headers["Location"]
    async with aiohttp.ClientSession() as http, http.get(address, allow_redirects=False) as answer:
        back = answer.headers["Location"]
    return address, back.removeprefix(person.base)


async def come_back(person: Person) -> Answer:
    _, back = await go_to(person)
    return await person.get(back)


async def test_the_provider_says_who_somebody_is_and_the_claim_says_the_role(console: Served, known: Provider) -> None:
    known.claims = {"email": "ada@example.com", "groups": {"console": ["support", "sre", "other"]}}
    person = await console.stranger()
    assert "Sign in with your account" in (await person.get("/sign-in")).words
    address, back = await go_to(person, "/changes")
    asked = parse_qs(urlsplit(address).query)
    answer = await person.get(back)
    assert (answer.status, answer.headers["Location"]) == (303, "/changes")
    assert "ada@example.com operator" in (await person.get("/")).words
    assert known.redirects == {f"{console.url}/sign-in/oidc/back"}
    assert len(asked["nonce"][0]) >= 43
    # The answer is worth something once, and in this browser alone.
    assert (await person.get(back)).status == 403
    other = await console.stranger()
    assert (await other.get(back)).status == 403
    assert (await other.get("/")).status == 303


async def test_another_browsers_answer_lets_nobody_in(console: Served, known: Provider) -> None:
    known.claims = {"groups": {"console": "sre"}}
    mine, theirs = await console.stranger(), await console.stranger()
    await go_to(mine)
    _, back = await go_to(theirs)
    # Theirs, in my browser, which has begun, too: the state is another one.
    answer = await mine.get(back)
    assert answer.status == 403
    assert "does not belong to this sign-in" in answer.words


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda claims: claims.update(iss="https://elsewhere.example.com"), "cannot be trusted"),
        (lambda claims: claims.update(aud="another-client"), "cannot be trusted"),
        (lambda claims: claims.update(nonce="of another sign-in"), "cannot be trusted"),
        (lambda claims: claims.pop("nonce"), "cannot be trusted"),
        (lambda claims: claims.update(exp=int(time.time()) - 3600), "cannot be trusted"),
        (lambda claims: claims.pop("exp"), "cannot be trusted"),
        (lambda claims: claims.update(groups={"console": ["other"]}), "no role"),
        (lambda claims: claims.update(groups="sre"), "no role"),
        (lambda claims: claims.pop("groups"), "no role"),
    ],
)
async def test_a_token_that_is_not_right_lets_nobody_in(
    console: Served, known: Provider, spoil: Callable[[dict[str, Any]], None], words: str
) -> None:
    known.claims, known.spoil = {"groups": {"console": ["sre"]}}, spoil
    person = await console.stranger()
    answer = await come_back(person)
    assert answer.status == 403
    assert words in answer.words
    assert (await person.get("/")).status == 303


async def test_a_token_that_somebody_else_signed_lets_nobody_in(console: Served, known: Provider) -> None:
    known.claims, known.signs_with = {"groups": {"console": ["sre"]}}, new_key()
    answer = await come_back(await console.stranger())
    assert answer.status == 403
    assert "cannot be trusted" in answer.words


@pytest.mark.parametrize("who", ["stranger", *ROLES])
async def test_everybody_may_begin_and_what_was_not_begun_here_changes_nobody(
    console: Served, known: Provider, who: str
) -> None:
    known.claims = {"groups": {"console": ["sre"]}}
    ours = {(route.method, route.path, route.role) for route in console.console.site.routes if "oidc" in route.path}
    assert ours == {("GET", "/sign-in/oidc", None), ("GET", "/sign-in/oidc/back", None)}
    person = await console.person(who)
    _, foreign = await go_to(await console.stranger())
    for path in (foreign, "/sign-in/oidc/back", "/sign-in/oidc/back?error=access_denied&state=x"):
        assert (await person.get(path)).status == 403, path
    for path in ("/sign-in/oidc", "/sign-in/oidc/back"):
        assert (await person.post(path)).status in (404, 405), path
    # Somewhere else is not where it leads.
    begun = await person.get("/sign-in/oidc?to=https://elsewhere.example.com/")
    assert (begun.status, begun.headers["Location"].startswith(known.url)) == (303, True)
    first = await person.get("/")
    assert first.status == 303 if who == "stranger" else f"{who} {who}" in first.words
    # What was begun here makes of everybody the one that the provider names, in the role that it says.
    back = await come_back(person)
    assert (back.status, back.headers["Location"]) == (303, "/")
    assert "ada operator" in (await person.get("/")).words


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CONSOLE_OIDC_CLIENT_SECRET", "", "CONSOLE_OIDC_CLIENT_SECRET: required"),
        ("CONSOLE_OIDC_ROLES", "sre=root", "roles are viewer, responder, operator"),
        ("CONSOLE_OIDC_ISUER", "x", "CONSOLE_OIDC_ISUER: unknown setting, did you mean CONSOLE_OIDC_ISSUER?"),
        ("CONSOLE_SESSION_SECRET", "short", "at least 32 bytes"),
        ("CONSOLE_URL", "http://console.example.com", "https://"),
    ],
)
async def test_settings_that_cannot_be_used_are_named(
    settings: Callable[..., ConsoleSettings], name: str, value: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**{name: value})
    assert said in str(caught.value)

"""Who gets in, and who may do what: each role on each route, the forms' tokens, sessions and one-time links."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from carillon.commands.console import ROLES as ROLES_OF_THE_COMMAND
from carillon.console.backend import Backend
from carillon.console.roles import Role
from carillon.console.site import Route
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.console import ROLES, RULES, Served, serving

pytestmark = pytest.mark.real_store


@pytest_asyncio.fixture
async def alone(store: EmptyStore) -> AsyncIterator[Served]:
    """A console on an empty store, without a broker."""
    async with Store(store.url) as opened, serving(Backend(opened, RULES)) as served:
        yield served


def filled(route: Route) -> str:
    """Put something into the parameters of a path: an id that is not there."""
    return re.sub(r"\{[^}]+\}", "0197c5a2-7f00-7003-8000-000000000000", route.path)


async def test_each_role_does_exactly_what_the_table_says(alone: Served) -> None:
    wrong: list[str] = []
    for route in alone.console.site.routes:
        for who in ("stranger", *ROLES):
            # Whoever signs out is gone.
            leaves = route.path == "/sign-out"
            person = await (alone.newcomer(who) if leaves and who != "stranger" else alone.person(who))
            path = filled(route)
            if route.method == "GET":
                answer = await person.get(path)
            else:
                answer = await (person.post(path) if who == "stranger" else person.act(path))
            role = Role.of(who)
            if route.role is None:
                # Open to everybody; a form without a link lets nobody in.
                expected = answer.status in (200, 403, 404)
            elif role is None:
                to_sign_in = answer.status == 303 and answer.headers["Location"].startswith("/sign-in")
                expected = to_sign_in if route.method == "GET" else answer.status == 401
            elif role < route.role:
                expected = answer.status == 403 and "This needs the role" in answer.words
            else:
                # What is not there is not there; without a broker nothing is published.
                expected = answer.status not in (401, 403, 500)
                if answer.status == 303:
                    expected = (answer.headers["Location"] == "/sign-in") is leaves
            if not expected:
                wrong.append(f"{who} {route.method} {path}: {answer.status} {answer.words[:80]}")
    assert wrong == []


def test_the_command_offers_the_roles_that_there_are() -> None:
    assert ROLES == ROLES_OF_THE_COMMAND


async def test_a_link_is_taken_once_and_only_by_a_form(alone: Served) -> None:
    link = await alone.link("viewer", "ada")
    path = link.removeprefix(alone.url)
    first, second = await alone.stranger(), await alone.stranger()
    # Whatever looks at links does not use it up.
    assert (await second.get(path)).status == 200
    token = path.partition("link=")[2]
    assert (await first.post("/sign-in", {"link": token})).status == 303
    assert "ada viewer" in (await first.get("/")).words
    assert (await second.post("/sign-in", {"link": token})).status == 403
    assert (await second.get("/")).status == 303


async def test_a_link_is_over_after_its_time(alone: Served) -> None:
    link = await alone.link(within=timedelta(seconds=60))
    token = link.partition("link=")[2]
    [key] = [key async for key in _keys(alone, "link")]
    assert 0 < await alone.store.command("TTL", key) <= 60
    assert token.encode() not in key
    await alone.store.command("PEXPIRE", key, 0)
    assert (await (await alone.stranger()).post("/sign-in", {"link": token})).status == 403


async def _keys(served: Served, word: str) -> AsyncIterator[bytes]:
    for key in await served.store.command("KEYS", f"{served.keys.console}:{word}:*"):
        yield key

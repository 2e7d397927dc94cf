"""What the console does for every page: forms' tokens, sessions, the log of changes, limits and live pages."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from carillon.console.backend import Backend
from carillon.console.changes import Outcome
from carillon.console.forms import Form
from carillon.console.limits import Readers
from carillon.console.page import Action, Done, NotDone, Page, Section, Visit
from carillon.console.pages import now
from carillon.console.roles import Role
from carillon.console.signing import Signing
from carillon.console.site import POLICY, local_path
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.console import RULES, SESSION_SECRET, Person, Served, serving
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

_SECRET_NOTE = "+15005550006"


class Clock:
    """The machine's clock, and how far a test has moved it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Pages:
    """A page that does what a test wants, with one action; the layout's own page of problems is its template."""

    def __init__(self) -> None:
        self.reads = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.failure: Exception | None = None

    async def show(self, _visit: Visit) -> Mapping[str, Any]:
        self.reads += 1
        await self.goes_on.wait()
        if self.failure:
            raise self.failure
        return {"words": "It is there.", "problems": {}, "status": 200}

    async def counted_now(self, visit: Visit) -> Mapping[str, Any]:
        self.reads += 1
        return await now.show(visit)

    async def do(self, visit: Visit, form: Form) -> Done:
        note = form.text("note", required=True)
        form.check()
        if self.failure:
            raise self.failure
        return Done(f"Noted for {visit.params['id']}.", to="/thing", before={"note": ""}, after={"note": note[:1]})

    @property
    def all(self) -> list[Page]:
        action = Action("/thing/{id}/note", Role.RESPONDER, "thing.note", self.do, target="id", keeps=("reason",))
        return [
            Page("now", "/", "Now", self.counted_now, section=Section.WATCH, live_s=0.1),
            Page("problem", "/thing", "Thing", self.show, actions=(action,)),
        ]


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def served(store: EmptyStore, pages: Pages, clock: Clock) -> AsyncIterator[Served]:
    async with Store(store.url) as opened, serving(Backend(opened, RULES), pages=pages.all, clock=clock) as console:
        yield console


async def note(person: Person, **fields: str) -> int:
    return (await person.act("/thing/7/note", note=_SECRET_NOTE, **fields)).status


async def test_a_form_is_taken_from_the_sessions_own_pages_alone(served: Served) -> None:
    mine, other = await served.newcomer("operator"), await served.newcomer("operator")
    good = await mine.token()
    fields = {"note": "x", "csrf": good}
    for wrong in ("", "x", await other.token(), good[:-1], good + "A"):
        assert (await mine.post("/thing/7/note", fields | {"csrf": wrong})).status == 403
    assert (await mine.post("/thing/7/note", {"note": "x"})).status == 403
    for headers in (
        {"Origin": "https://evil.example.com"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):  # fmt: skip
        assert (await mine.post("/thing/7/note", fields, **headers)).status == 403
    async with mine.http.post(f"{mine.base}/thing/7/note", json=fields) as answer:
        assert answer.status == 415
    assert (await mine.post("/sign-out", {})).status == 403
    assert await served.console.site.changes.page(10) == ([], None)
    assert (await mine.post("/thing/7/note", fields, Origin=mine.base)).status == 303


async def test_forged_and_old_sessions_let_nobody_in(served: Served, clock: Clock) -> None:
    site = served.console.site
    person = await served.newcomer("viewer", "ada")
    [cookie] = [each for each in person.http.cookie_jar if each.key == site.sessions.cookie]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    body, _, mac = cookie.value.partition(".")
    document = Signing([SESSION_SECRET]).read("session", cookie.value)
    assert document is not None
    higher = document | {"role": "operator"}
    for forged in (
        "", "x", body, f"{body}.", f"{body}.{mac[:-2]}", f"{body[:-2]}.{mac}", "." + mac, cookie.value * 100, "é.é",
        Signing(["another secret, which is long enough"]).sign("session", higher),
        # Signed by us, for something else.
        Signing([SESSION_SECRET]).sign("oidc", higher),
    ):  # fmt: skip
        stranger = await served.stranger()
        stranger.http.cookie_jar.update_cookies({site.sessions.cookie: forged}, response_url=_url(served))
        assert (await stranger.get("/")).status == 303, forged
    clock.ahead = timedelta(hours=12, seconds=1)
    assert (await person.get("/")).status == 303


async def test_a_copy_of_the_cookie_ends_with_the_sign_out(served: Served) -> None:
    person, copy = await served.newcomer("viewer"), await served.stranger()
    [cookie] = [each for each in person.http.cookie_jar if each.key == served.console.site.sessions.cookie]
    copy.http.cookie_jar.update_cookies({cookie.key: cookie.value}, response_url=_url(served))
    assert (await copy.get("/thing")).status == 200
    assert (await person.act("/sign-out")).status == 303
    assert (await copy.get("/thing")).status == 303


def test_a_secret_is_changed_while_people_are_signed_in() -> None:
    old, both, new = Signing(["old" * 12]), Signing(["new" * 12, "old" * 12]), Signing(["new" * 12])
    signed = old.sign("session", {"who": "ada"})
    assert both.read("session", signed) == {"who": "ada"}
    assert new.read("session", signed) is None
    assert new.read("session", both.sign("session", {"who": "ada"})) == {"who": "ada"}


def _url(served: Served) -> Any:
    return URL(served.url)


async def test_what_is_done_stands_in_the_log_with_its_end_and_without_what_is_not_kept(
    served: Served, pages: Pages
) -> None:
    person = await served.newcomer("responder", "ada")
    assert await note(person, reason="asked to") == 303
    assert "Noted for 7." in (await person.get("/thing")).words
    # Told once.
    assert "Noted for 7." not in (await person.get("/thing")).words
    assert (await person.act("/thing/8/note")).status == 400
    pages.failure = NotDone("It is over.")
    assert await note(person) == 409
    pages.failure = RuntimeError(_SECRET_NOTE)
    assert await note(person) == 500
    viewer = await served.newcomer("viewer")
    assert await note(viewer) == 403
    changes, after = await served.console.site.changes.page(10)
    assert after is None
    assert [each.outcome for each in changes] == [Outcome.FAILED, Outcome.REFUSED, Outcome.REFUSED, Outcome.DONE]
    first = changes[-1]
    assert (first.who, first.role, first.way, first.what, first.target) == (
        "ada",
        Role.RESPONDER,
        "link",
        "thing.note",
        "7",
    )
    assert (first.given, first.said) == ({"reason": "asked to"}, "Noted for 7.")
    assert (first.before, first.after) == ({"note": ""}, {"note": "+"})
    assert first.ended_at is not None
    lines = await served.store.command("XRANGE", f"{served.keys.console}:changes", "-", "+")
    assert len(lines) == 8
    assert _SECRET_NOTE.encode() not in repr(lines).encode()


async def test_the_log_is_read_in_pages_and_a_deed_that_was_cut_short_has_no_end(served: Served) -> None:
    log = served.console.site.changes
    session = served.console.site.sessions.begin(_response(), "ada", Role.OPERATOR, "link")
    ids = []
    for number in range(7):
        change = await log.begin(session, "thing.note", str(number), {})
        ids.append(change)
        if number != 2:
            await log.end(change, Outcome.DONE, "Done.")
    targets, cursor, outcomes = [], None, []
    for _ in range(3):
        page, cursor = await log.page(3, cursor)
        targets += [each.target for each in page]
        outcomes += [each.outcome for each in page]
    assert cursor is None
    assert targets == ["6", "5", "4", "3", "2", "1", "0"]
    assert [outcome is Outcome.UNKNOWN for outcome in outcomes] == [target == "2" for target in targets]


def _response() -> Any:
    return aiohttp.web.Response()


async def test_a_page_that_takes_too_long_or_fails_says_so_in_words(
    served: Served, pages: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    served.console.site.readers = Readers(most=1, waiting=1, within_s=0.3)
    person = await served.newcomer("viewer")
    pages.goes_on.clear()
    answers = await asyncio.gather(*(person.get("/thing") for _ in range(5)))
    assert sorted({answer.status for answer in answers}) == [503, 504]
    assert all("Try again shortly" in each.words or "given up" in each.words for each in answers)
    pages.goes_on.set()
    assert (await person.get("/thing")).status == 200
    pages.failure = RuntimeError(_SECRET_NOTE)
    answer = await person.get("/thing")
    assert (answer.status, _SECRET_NOTE in answer.text, _SECRET_NOTE in caplog.text) == (500, False, False)


async def test_every_answer_has_the_policy_and_is_kept_by_nobody(served: Served) -> None:
    person = await served.newcomer("viewer")
    for path in ("/", "/thing", "/nothing", "/sign-in", "/healthz"):
        answer = await person.get(path)
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize(
    "text", ["//evil.example.com", "/\\evil.example.com", "https://evil.example.com", "javascript:x", "", "/a\nb", "x"]
)
def test_a_sign_in_leads_nowhere_else(text: str) -> None:
    assert local_path(text) == "/"
    assert local_path("/incidents?show=open") == "/incidents?show=open"


async def events(person: Person, count: int) -> list[str]:
    """Read so many events of the live page."""
    names: list[str] = []
    async with person.http.get(f"{person.base}/", headers={"Accept": "text/event-stream"}) as answer:
        assert answer.status == 200
        async for line in answer.content:
            if line.startswith(b"event: "):
                names.append(line.decode().split()[1])
            if len(names) == count:
                break
    return names


async def test_ten_live_pages_cost_what_one_does_and_none_costs_nothing(served: Served, pages: Pages) -> None:
    people = [await served.newcomer("viewer") for _ in range(10)]
    before = pages.reads
    found = await asyncio.gather(*(events(person, 5) for person in people))
    assert all(names[0] in ("page", "still") for names in found)
    # Each has read five states, and whoever came later some that another has not.
    assert pages.reads - before < 25
    await eventually(lambda: served.console.site.streams.reading == 0)


async def test_a_live_page_ends_with_the_session_and_with_the_console(
    store: EmptyStore, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carillon.console.live.CHECK_S", 0.2)
    async with AsyncExitStack() as cleanup:
        opened = await cleanup.enter_async_context(Store(store.url))
        running = await cleanup.enter_async_context(AsyncExitStack())
        served = await running.enter_async_context(serving(Backend(opened, RULES), pages=pages.all))
        leaves, stays = await served.newcomer("viewer"), await served.newcomer("operator")
        headers = {"Accept": "text/event-stream"}
        async with leaves.http.get(f"{served.url}/", headers=headers) as answer:
            assert (await leaves.act("/sign-out")).status == 303
            async with asyncio.timeout(20):
                await answer.read()
        assert (await leaves.get("/", Accept="text/event-stream")).status == 401
        http = await cleanup.enter_async_context(aiohttp.ClientSession(cookie_jar=stays.http.cookie_jar))
        stream = await cleanup.enter_async_context(http.get(f"{served.url}/", headers=headers))
        ended = asyncio.create_task(running.aclose())
        async with asyncio.timeout(20):
            await stream.read()
            await ended


async def test_without_the_store_the_process_is_healthy_and_pages_say_what_is_away(pages: Pages) -> None:
    async with Store("redis://127.0.0.1:1") as nowhere, serving(Backend(nowhere, RULES), pages=pages.all) as served:
        stranger = await served.stranger()
        health = await stranger.get("/healthz")
        assert (health.status, json.loads(health.text)) == (200, {"status": "ok"})
        answer = await stranger.post("/sign-in", {"link": "x"})
        assert (answer.status, "The store does not answer" in answer.words) == (503, True)

"""The console on a whole system, with somebody of each role who is signed in, over HTTP and in a browser.

``console`` (in ``tests/conftest.py``) is one for all tests of a process, on the common ``stack``. The console runs in
the test's own process and is reached over a real port; how ``carillon console`` starts one is tested by itself.
"""

import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from carillon.console import links
from carillon.console.app import Console
from carillon.console.backend import Backend
from carillon.console.roles import Role
from carillon.local.ports import LOOPBACK
from carillon.local.stack import Stack
from services.router.explaining.rules import RouterRules
from shared.store.keys import Keys
from shared.store.store import Store

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

ROLES = tuple(each.word for each in Role)
API_TOKEN = "a token for programs of the tests"
SESSION_SECRET = "a secret of the tests that is long enough"
RULES = RouterRules(alert_escalation_after_s=300, lifetime_s=86400)

_FORM_TOKEN = re.compile(r'<meta name="csrf" content="([^"]*)">')


@dataclass(frozen=True)
class Answer:
    """What the console answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def words(self) -> str:
        """What a person reads: the text without tags, each run of spaces as one."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())


@dataclass
class Person:
    """Somebody over HTTP, signed in or not. No redirect is followed."""

    base: str
    http: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> Answer:
        async with self.http.get(self.base + path, headers=headers, allow_redirects=False) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def post(self, path: str, fields: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """Send a form as it is, without a token that is not in ``fields``."""
        sent = self.http.post(self.base + path, data=dict(fields or {}), headers=headers, allow_redirects=False)
        async with sent as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def token(self) -> str:
        """Return what the forms of this session present."""
        found = _FORM_TOKEN.search((await self.get("/")).text)
        assert found is not None
        return found[1]

    async def act(self, path: str, **fields: str) -> Answer:
        """Send a form as the console's own pages do."""
        return await self.post(path, {"csrf": await self.token(), **fields})


@dataclass
class Served:
    """A console that runs."""

    console: Console
    url: str
    store: Store
    keys: Keys
    _cleanup: AsyncExitStack
    _people: dict[str, Person] = field(default_factory=dict)

    async def link(self, role: str = "operator", who: str | None = None, within: timedelta = links.ASKED_FOR) -> str:
        """Make a one-time link."""
        known = Role.of(role)
        assert known is not None
        return await links.new_link(self.store, self.keys, self.url, who=who or role, role=known, lifetime=within)

    async def stranger(self) -> Person:
        """Return somebody who is not signed in, with cookies of their own."""
        http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        await self._cleanup.enter_async_context(http)
        return Person(self.url, http)

    async def newcomer(self, role: str, who: str | None = None) -> Person:
        """Return somebody who has just signed in."""
        person = await self.stranger()
        token = (await self.link(role, who)).partition("link=")[2]
        answer = await person.post("/sign-in", {"link": token})
        assert answer.status == 303, answer.words
        return person

    async def person(self, role: str) -> Person:
        """Return the one of this role who stays signed in, or the stranger."""
        if role not in self._people:
            self._people[role] = await (self.stranger() if role == "stranger" else self.newcomer(role))
        return self._people[role]

    @asynccontextmanager
    async def window(self, browser: "Browser", role: str, **options: Any) -> AsyncIterator["Page"]:
        """Open a browser's window in which somebody of that role is signed in."""
        # Colours are measured where they end up, not on the way there.
        context: BrowserContext = await browser.new_context(reduced_motion="reduce", **options)
        try:
            page = await context.new_page()
            await page.add_init_script(WATCH)
            await page.goto(await self.link(role))
            await page.wait_for_url(f"{self.url}/")
            yield page
        finally:
            await context.close()


@asynccontextmanager
async def serving(backend: Backend, *, port: int = 0, **options: Any) -> AsyncIterator[Served]:
    """Serve a console, on a free port if none is given; ``options`` are those of ``Console``."""
    console = Console(backend, token=API_TOKEN, session_secrets=[SESSION_SECRET], **options)
    runner = web.AppRunner(console.application(), access_log=None, shutdown_timeout=2)
    await runner.setup()
    async with AsyncExitStack() as cleanup:
        cleanup.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, LOOPBACK, port)
        await site.start()
        url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
        people = await cleanup.enter_async_context(AsyncExitStack())
        yield Served(console, url, backend.store, backend.keys, people)


@asynccontextmanager
async def console_of(
    stack: Stack, *, without: Collection[str] = (), prometheus_url: str | None = None, **options: Any
) -> AsyncIterator[Served]:
    """Serve a console of a whole system."""
    async with Store(stack.environment["REDIS_URL"]) as store:
        backend = Backend(
            store, RULES, topic_prefix=stack.topic_prefix, mqtt_url=stack.environment["MQTT_URL"], without=without,
            prometheus_url=prometheus_url,
        )  # fmt: skip
        async with serving(backend, **options) as served:
            yield served


# What the policy kept from running, and what ran.
WATCH = """
  globalThis.executed = 0;
  globalThis.refused = [];
  globalThis.xss = () => { globalThis.executed += 1; };
  addEventListener("securitypolicyviolation", (event) => { globalThis.refused.push(event.violatedDirective); });
"""


async def faults(window: "Page", axe: str) -> list[str]:
    """Return what is wrong with the page that a window shows, in a line each; ``axe`` is axe-core's source.

    It looks at what axe-core finds, at sideways scrolling, at what the content security policy refused, and whether a
    text ran. Windows of ``Served.window`` watch from the beginning.
    """
    found: list[str] = []
    executed, refused = await window.evaluate("[globalThis.executed, globalThis.refused]")
    if executed or refused:
        found.append(f"ran {executed} texts, the policy refused {refused}")
    width, room = await window.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    if width > room:
        found.append(f"scrolls sideways: {width} px in {room}")
    if not await window.evaluate("'axe' in globalThis"):
        # As the browser's own tools would: the policy lets no other script in.
        await window.evaluate(axe)
    violations: list[dict[str, Any]] = await window.evaluate("axe.run().then(({ violations }) => violations)")
    found += [
        f"{one['id']}: {node['html'][:300]}: {node['failureSummary']}" for one in violations for node in one["nodes"]
    ]
    return found

"""The recipe of docs/guides/web.md and the README's example of ``@carillon/inbox``, taken from there.

Vite builds them, and a site of another origin than the service serves them with the recipe's policy.
"""

import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from carillon.local.ports import LOOPBACK, free_port
from carillon.local.stack import Stack
from tests.client_inbox_build import Packed, shop
from tests.client_node_build import CLIENTS, ROOT, run
from tests.node_packages import NODE
from tests.page import DEADLINE_MS, badge, entry, open_inbox, tell, toasts, token
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_RECIPE = (ROOT / "docs/guides/web.md").read_text().partition("## Use the npm package with Vite")[2]
_README = (CLIENTS / "inbox" / "README.md").read_text()
_THEIRS = "notify.example.com"
_BUILD_TIMEOUT_S = 60


def block(text: str, language: str) -> str:
    """Return the first block of code in that language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@dataclass(frozen=True)
class Site:
    """Somebody's own site beside a running system."""

    system: System
    port: int
    folder: Path

    def write(self, **files: str) -> None:
        """Write files, with the address of the service in place of the documents' one."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace(f"https://{_THEIRS}", self.system.stack.realtime_url))

    def build(self, **files: str) -> None:
        """Write files and have Vite build the site."""
        self.write(**files)
        # npx, without a search for the package that is installed here.
        commands = block(_RECIPE, "sh").replace("npx vite", "node node_modules/vite/bin/vite.js")
        environment = os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        done = subprocess.run(  # noqa: S603 - the document's own commands
            ["/bin/sh", "-euc", commands],
            cwd=self.folder, env=environment, check=False, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @asynccontextmanager
    async def served(self, user: str) -> AsyncIterator[str]:
        """Serve what was built, and tokens of this user; yield the address."""
        host = self.system.stack.realtime_url.removeprefix("http://")
        policy = " ".join(block(_RECIPE, "text").split())
        policy = policy.replace(f"https://{_THEIRS}", f"http://{host}").replace(f"wss://{_THEIRS}", f"ws://{host}")
        assert host in policy

        async def answer(request: web.Request) -> web.FileResponse:
            path = self.folder / "dist" / (request.path[1:] or "index.html")
            return web.FileResponse(path, headers={"Content-Security-Policy": policy})

        async def give_token(_request: web.Request) -> web.Response:
            return web.Response(text=token(self.system, user))

        app = web.Application()
        app.add_routes([web.get("/my/notification-token", give_token), web.get("/{path:.*}", answer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, self.port).start()
            yield f"http://{LOOPBACK}:{self.port}"
        finally:
            await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[System, int]]:
    """A system that allows the pages of one other address, and the port of that."""
    port = free_port()
    stack = Stack(
        tmp_path_factory.mktemp("system"),
        services=("router", "realtime"), settings={"REALTIME_ALLOWED_ORIGINS": f"http://{LOOPBACK}:{port}"},
    )  # fmt: skip
    await stack.start()
    try:
        async with open_system(stack) as system:
            yield system, port
    finally:
        await stack.stop()


@pytest.fixture
def site(
    request: pytest.FixtureRequest,
    running: tuple[System, int],
    inbox_package: Packed,
    pytestconfig: pytest.Config,
    tmp_path: Path,
) -> Site:
    """A site with the newest React, or with the one that the test names."""
    cache = pytestconfig.rootpath / ".pytest_cache" / "node"
    return Site(*running, shop(cache, inbox_package, tmp_path, getattr(request, "param", "")))


@asynccontextmanager
async def window(browser: Browser, address: str) -> AsyncIterator[Page]:
    """Open the address; no script may fail, and the policy may refuse nothing."""
    expect.set_options(timeout=DEADLINE_MS)
    page = await (await browser.new_context()).new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda line: trouble.append(line.text) if line.type in {"error", "warning"} else None)
    await page.goto(address)
    yield page
    # What the browser asks for by itself, and what a service without a key for Web Push says.
    assert [line for line in trouble if "404" not in line] == []
    await page.context.close()


async def test_recipe_for_vite_and_react_works_under_its_policy(site: Site, browser: Browser) -> None:
    site.build(**{"src/main.jsx": block(_RECIPE, "jsx"), "index.html": block(_RECIPE, "html")})
    user = await site.system.person("reader")
    async with site.served(user) as address, window(browser, address) as page:
        await expect(page.locator("carillon-inbox .connection")).to_have_text("Live")
        await tell(site.system, user, "From elsewhere")
        await expect(toasts(page)).to_contain_text("From elsewhere")
        await expect(badge(page)).to_have_text("1")
        await expect(page.locator("h1")).to_have_text("My shop (1)")
        await open_inbox(page)
        await entry(page, "From elsewhere").click()
        await expect(page.locator("h1")).to_have_text("My shop")
        await site.system.has_marked(user, "From elsewhere", read=True)
        mail = page.get_by_role("switch", name="E-mail")
        await mail.uncheck()
        await expect(mail).to_be_enabled()
        assert (await site.system.call("GET", "/v1/preferences", user))[1]["email"] is False
        # The worker can be had where the element looks for it.
        assert await page.evaluate("fetch('/carillon-sw.js').then((answer) => answer.status)") == 200


@pytest.mark.parametrize("site", ["", "react18"], ids=["newest React", "React 18"], indirect=True)
async def test_component_keeps_its_connection_over_renders_and_leaves_nothing_behind(
    site: Site, browser: Browser
) -> None:
    site.build(
        **{
            "src/main.jsx": f"""
                import {{ CarillonInbox, useUnreadCount }} from "@carillon/inbox/react";
                import {{ StrictMode, useRef, useState }} from "react";
                import {{ createRoot }} from "react-dom/client";

                function Shop() {{
                  const inbox = useRef(null);
                  const [heard, setHeard] = useState([]);
                  const [there, setThere] = useState(true);
                  const hear = (word) => setHeard((words) => [...words, word]);
                  return (
                    <>
                      <h1>{{useUnreadCount()}} {{heard.join(" ")}}</h1>
                      <button onClick={{() => (inbox.current.open = true)}}>Open</button>
                      <button onClick={{() => setThere(!there)}}>Leave</button>
                      {{there && (
                        <CarillonInbox
                          ref={{inbox}}
                          className="bell"
                          url="https://{_THEIRS}"
                          getToken={{async () => (await fetch("/my/notification-token")).text()}}
                          labels={{{{ title: "News", bell: (unread) => `${{unread}} new`, states: {{ open: "On" }} }}}}
                          noToasts={{heard.length < 3}}
                          onStateChange={{({{ detail }}) => hear(detail.state)}}
                          onNotification={{({{ detail }}) => hear(detail.title)}}
                        />
                      )}}
                    </>
                  );
                }}

                createRoot(document.querySelector("main")).render(<StrictMode><Shop /></StrictMode>);
            """,
            "index.html": block(_RECIPE, "html"),
        }
    )
    user = await site.system.person("reader")
    async with site.served(user) as address, window(browser, address) as page:
        # Each word that it hears renders it again, with functions and labels that are other objects.
        await expect(page.locator("h1")).to_have_text("0 connecting open")
        await tell(site.system, user, "First")
        await expect(page.locator("h1")).to_have_text("1 connecting open First")
        await expect(page.locator("carillon-inbox.bell .bell")).to_have_accessible_name("1 new")
        await expect(toasts(page)).to_have_count(0)
        await tell(site.system, user, "Second")
        await expect(toasts(page)).to_contain_text("Second")
        await expect(page.locator("h1")).to_have_text("2 connecting open First Second")
        await page.get_by_role("button", name="Open").click()
        await expect(page.locator("carillon-inbox .panel")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Leave").click()
        await expect(page.locator("h1")).to_contain_text("0 ")
        await page.get_by_role("button", name="Leave").click()
        await expect(page.locator("h1")).to_contain_text("2 ")


async def test_language_is_fetched_when_it_is_wanted(site: Site, browser: Browser) -> None:
    other = block(_RECIPE, "jsx").replace("<CarillonInbox ", '<CarillonInbox locale="ar" ')
    site.build(**{"src/main.jsx": other, "index.html": block(_RECIPE, "html")})
    languages = {path.name.partition("-")[0] for path in (site.folder / "dist/assets").glob("??-*.js")}
    assert {"ar", "de", "ja"} < languages
    user = await site.system.person("reader")
    async with site.served(user) as address, window(browser, address) as page:
        await expect(page.locator("carillon-inbox .panel")).to_have_attribute("dir", "rtl")
        loaded = "performance.getEntriesByType('resource').map(({ name }) => name.split('/').at(-1))"
        fetched: list[str] = await page.evaluate(loaded)
        assert languages & {name.partition("-")[0] for name in fetched} == {"ar"}


async def test_page_that_a_server_rendered_goes_live(site: Site, browser: Browser) -> None:
    shop = f"""
        import {{ CarillonInbox, useUnreadCount }} from "@carillon/inbox/react";
        import {{ createElement }} from "react";

        const getToken = async () => (await fetch("/my/notification-token")).text();

        export const Shop = () => [
          createElement("h1", {{ key: 1 }}, useUnreadCount()),
          createElement(CarillonInbox, {{ key: 2, url: "https://{_THEIRS}", theme: "dark", noToasts: true, getToken }}),
        ];
    """
    render = """
        import { createElement } from "react";
        import { renderToString } from "react-dom/server";
        import { Shop } from "./src/shop.js";

        process.stdout.write(renderToString(createElement(Shop)));
    """
    site.write(**{"src/shop.js": shop, "render.mjs": render})
    page_text = block(_RECIPE, "html").replace("<main></main>", f"<main>{run(site.folder, 'render.mjs')}</main>")
    assert "<carillon-inbox url" in page_text
    take_over = """
        import { createElement } from "react";
        import { hydrateRoot } from "react-dom/client";
        import { Shop } from "./shop.js";

        const rendered = document.querySelector("carillon-inbox");
        hydrateRoot(document.querySelector("main"), createElement(Shop));
        globalThis.kept = () => rendered === document.querySelector("carillon-inbox");
    """
    site.build(**{"src/main.jsx": take_over, "index.html": page_text})
    user = await site.system.person("reader")
    # React tells of a page that is not what it would have rendered as an error.
    async with site.served(user) as address, window(browser, address) as page:
        await expect(page.locator("carillon-inbox .connection")).to_have_text("Live")
        await tell(site.system, user, "From elsewhere")
        await expect(page.locator("h1")).to_have_text("1")
        assert await page.evaluate("kept()")


async def test_readmes_example_without_react_works(site: Site, browser: Browser) -> None:
    site.build(**{"main.js": block(_README, "js"), "index.html": block(_README, "html")})
    user = await site.system.person("reader")
    async with site.served(user) as address, window(browser, address) as page:
        await expect(page.locator("carillon-inbox .connection")).to_have_text("Live")
        await tell(site.system, user, "From elsewhere")
        await expect(toasts(page)).to_contain_text("From elsewhere")
        # What another script of the page brings along once more does not matter.
        await page.evaluate("import(`${document.querySelector('script').src}?again`)")
        await expect(badge(page)).to_have_text("1")

"""Every page of the console in a browser: axe finds nothing, nothing scrolls sideways, and no stranger's text runs.

The pages are found as a person would: from the navigation, and from the links on each page. So a new page is looked at,
too, at least once for each path of the table.
"""

import re
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from carillon.console.site_map import PAGES
from carillon.local.stack import Stack
from tests.console import Served, console_of, faults
from tests.page import DEADLINE_MS
from tests.system import System, open_system
from tests.xss_corpus import corpus

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_PHONE = {"width": 360, "height": 740}
_DESKTOP = {"width": 1280, "height": 800}
_WALL = {"width": 1920, "height": 1080}
# Texts of the corpus in one message, and messages.
_TEXTS, _MESSAGES = 25, 20
_BY_PATH = [(re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(page.path))), page) for page in PAGES]


def page_of(path: str) -> str | None:
    """Return the name of the page that a path leads to."""
    return next((page.name for pattern, page in _BY_PATH if pattern.fullmatch(path)), None)


async def fill(system: System) -> None:
    """Write the corpus wherever a publisher can write words that the console shows."""
    texts = corpus()
    for number in range(_MESSAGES):
        some = texts[number::_MESSAGES][:_TEXTS]
        line = " ".join("".join(char if char.isprintable() else " " for char in text) for text in some)
        user = await system.person("ada", email=f"ada{number}@example.com")
        await system.publish(f"directory/user/{user}", {"name": line[:100]})
        await system.publish(
            f"notifications/alerts/critical/injected-{number % 3}",
            {
                "message": "\n".join(some), "source": line[:100], "affected_systems": [text[:60] for text in some[:5]],
                "labels": {"text": line[:200]}, "dedup_key": f"injected-{number}",
            },
        )  # fmt: skip
        await system.publish(f"notifications/realtime/user/{user}", {"title": line[:150], "message": line})
        await system.publish(f"directory/category/injected-{number}", {"title": line[:60]})


async def crawl(console: Served, window: Page) -> dict[str, str]:
    """Return one address of each page that can be reached, by the page's name."""
    found: dict[str, str] = {}
    waiting = ["/"]
    while waiting:
        path = waiting.pop(0)
        await window.goto(console.url + path)
        await expect(window.locator("main h1")).to_be_visible()
        for address in await window.eval_on_selector_all("a[href]", "links => links.map((each) => each.href)"):
            parts = urlsplit(address)
            # What is downloaded is no page.
            name = None if parts.path.endswith(".json") else page_of(parts.path)
            if f"{parts.scheme}://{parts.netloc}" == console.url and name is not None and name not in found:
                found[name] = parts.path + (f"?{parts.query}" if parts.query else "")
                waiting.append(found[name])
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_page_is_accessible_narrow_and_wide_and_runs_no_strangers_text(
    stack: Stack, console: Served, browser: Browser, node_packages: Path
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    axe = (node_packages / "node_modules" / "axe-core" / "axe.min.js").read_text()
    wrong: dict[str, list[str]] = {}
    async with open_system(stack) as system:
        await fill(system)
        async with console.window(browser, "operator", viewport=_PHONE, color_scheme="light") as window:
            found = await crawl(console, window)
            for name, address in found.items():
                await window.set_viewport_size(_PHONE)  # type: ignore[arg-type]
                await window.emulate_media(color_scheme="light")
                await window.goto(console.url + address)
                wrong[f"{name} on a phone"] = await faults(window, axe)
                await window.set_viewport_size(_DESKTOP)  # type: ignore[arg-type]
                await window.emulate_media(color_scheme="dark")
                wrong[f"{name} on a desk"] = await faults(window, axe)
                await window.set_viewport_size(_WALL)  # type: ignore[arg-type]
                assert await window.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        # All that stand in the navigation, at least.
        assert {page.name for page in PAGES if page.section} <= found.keys()
    assert {where: what for where, what in wrong.items() if what} == {}


async def test_the_way_in_is_accessible_and_needs_no_script(
    console: Served, browser: Browser, node_packages: Path
) -> None:
    axe = (node_packages / "node_modules" / "axe-core" / "axe.min.js").read_text()
    async with console.window(browser, "viewer", viewport=_PHONE) as window:
        await window.goto(f"{console.url}/nothing-here")
        assert await faults(window, axe) == []
        await window.goto(f"{console.url}/")
        await window.get_by_role("button", name="Menu").click()
        await expect(window.get_by_role("link", name="Now")).to_be_visible()
        assert await faults(window, axe) == []
        await window.keyboard.press("Escape")
        await window.get_by_role("button", name="Sign out").click()
        await window.wait_for_url(f"{console.url}/sign-in")
        assert await faults(window, axe) == []
    bare = await browser.new_context(java_script_enabled=False)
    page = await bare.new_page()
    await page.goto(await console.link("viewer"))
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Now")).to_be_visible()
    await bare.close()


async def test_a_page_stays_fresh_and_says_when_it_does_not(stack: Stack, browser: Browser) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with AsyncExitStack() as cleanup:
        first = await cleanup.enter_async_context(AsyncExitStack())
        console = await first.enter_async_context(console_of(stack))
        window = await cleanup.enter_async_context(console.window(browser, "viewer"))
        state = window.locator("[data-live-state]")
        await expect(state).to_have_text("Live")
        await window.evaluate("document.querySelector('[data-live]').append('stale text')")
        # Whatever changes is written anew, once.
        async with open_system(stack) as system:
            await system.publish(f"notifications/realtime/user/{await system.person()}", {"message": "Later"})
        await expect(window.locator("[data-live]")).not_to_contain_text("stale text")
        await first.aclose()
        await expect(state).to_contain_text("Not live since")
        # The page connects again by itself, and whoever was signed in still is.
        port = urlsplit(console.url).port
        await cleanup.enter_async_context(console_of(stack, port=port))
        await expect(state).to_have_text("Live")

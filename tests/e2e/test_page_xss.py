"""What strangers write never runs in the page: a corpus of vectors in title, message and data of notifications."""

import asyncio
import math
from collections.abc import Iterable
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from carillon.local.stack import Stack
from tests.page import DEADLINE_MS, entry, live, open_inbox, reader, token, until
from tests.system import System, open_system
from tests.xss_corpus import corpus

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_IN_FLIGHT = 20

# Counts what runs, and what the policy kept from running.
_WATCH = """
  globalThis.executed = 0;
  globalThis.refused = 0;
  globalThis.seen = 0;
  globalThis.xss = () => { globalThis.executed += 1; };
  addEventListener("securitypolicyviolation", () => { globalThis.refused += 1; });
  addEventListener("carillon-notification", () => { globalThis.seen += 1; });
"""

# Everything in the page and in the elements' own trees that could run or lead somewhere.
_SUSPECTS = """() => {
  const found = [];
  const look = (root) => {
    for (const one of root.querySelectorAll("*")) {
      if (one.shadowRoot) look(one.shadowRoot);
      const name = one.localName;
      const own = name === "script" && one.src.startsWith(location.origin);
      if (["script", "iframe", "object", "embed", "base", "form", "style", "template", "math"].includes(name) && !own) {
        if (one.id !== "token-form") found.push(one.outerHTML);
      }
      for (const { name, value } of one.attributes) {
        const runs = name.startsWith("on") || name === "style" || name === "srcdoc";
        const leads = ["href", "src", "action", "data"].includes(name) && /^[^a-z]*(?!https?:)[a-z]+:/i.test(value);
        if (runs || leads) found.push(one.outerHTML);
      }
    }
  };
  look(document);
  return found;
}"""

_CONTROL = "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=xss()>')"


async def send_all(system: System, user: str, texts: Iterable[str]) -> None:
    """Publish every text, in all places where a publisher can write one."""
    room = asyncio.Semaphore(_IN_FLIGHT)

    async def send(text: str) -> None:
        # A title is one line: the router refuses control characters there.
        title = "".join(letter if letter.isprintable() else " " for letter in text)
        payload = {
            "title": title, "message": text, "type": text, "category": text[:60],
            "data": {"url": text, "html": text, text[:60]: {"nested": [text]}},
            "actions": [
                {"id": "press", "label": title, "topic": title[:60]},
                {"id": "go", "label": title, "url": f"https://example.com/?{quote(text)}#{quote(text)}"},
            ],
        }  # fmt: skip
        async with room:
            receipt = await system.publish(f"notifications/realtime/user/{user}", payload)
            if receipt.status == "rejected":
                # Type and category are words; what is refused there still goes through as title, message and data.
                del payload["type"], payload["category"]
                receipt = await system.publish(f"notifications/realtime/user/{user}", payload)
        assert receipt.status == "accepted", (text, receipt)

    async with asyncio.TaskGroup() as group:
        for text in texts:
            group.create_task(send(text), name="send")


async def watched(context: BrowserContext, system: System, user: str) -> tuple[Page, list[str]]:
    """Open the page as a user, and list the dialogs and foreign requests that it makes."""
    await context.add_init_script(_WATCH)
    page = await context.new_page()
    strange: list[str] = []
    origin = system.stack.realtime_url
    page.on("dialog", lambda dialog: strange.append(dialog.message))
    page.on("request", lambda asked: None if asked.url.startswith(origin) else strange.append(asked.url))
    page.on("pageerror", lambda error: strange.append(str(error)))
    await page.goto(f"{origin}/#token={token(system, user)}")
    await live(page)
    return page, strange


async def use_everything(page: Page) -> None:
    """Open the inbox, unfold entries, point at them and walk through them."""
    await open_inbox(page)
    rows = page.locator("carillon-inbox .entry")
    await expect(rows.first).to_be_visible()
    for index in range(5):
        await rows.nth(index).locator(".open").click()
        await rows.nth(index).hover()
    await page.keyboard.press("End")
    await page.keyboard.press("Escape")


@pytest.mark.timeout(400)
async def test_nothing_of_the_corpus_runs_with_or_without_the_policy(stack: Stack, browser: Browser) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    texts = corpus()
    assert len(texts) >= 500
    async with open_system(stack) as system:
        user = await reader(system, "target")
        # Without the policy nothing but the page's own care stands between a text and its execution.
        guarded, bare = await browser.new_context(), await browser.new_context(bypass_csp=True)
        pages = [await watched(context, system, user) for context in (guarded, bare)]
        await send_all(system, user, texts)
        for page, _ in pages:
            # How fast they come is not what is shown here: the test's own time limit ends the wait.
            await until(page, f"globalThis.seen >= {len(texts)}", math.inf)
            await use_everything(page)
            assert await page.evaluate(_SUSPECTS) == []
            await page.reload()
            await live(page)
            await use_everything(page)
        for page, strange in pages:
            assert strange == []
            assert await page.evaluate(_SUSPECTS) == []
            assert await page.evaluate("[executed, refused]") == [0, 0]
        # That the corpus would be noticed: the same kind of text as markup runs without the policy, and not with it.
        for (page, _), expected in zip(pages, ("executed === 0 && refused > 0", "executed === 1"), strict=True):
            await page.evaluate(_CONTROL)
            await until(page, expected)
        await guarded.close()
        await bare.close()


async def test_only_web_addresses_in_data_become_links(stack: Stack, browser: Browser) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        user = await reader(system, "clicker")
        good = "https://example.com/orders/7?x=1"
        addresses = {
            "Good": good, "Script": "javascript:xss()", "Data": "data:text/html,x",
            "Relative": "/orders/7", "No text": 7,
        }  # fmt: skip
        for title, url in addresses.items():
            payload = {"title": title, "message": "See there.", "data": {"url": url}}
            await system.publish(f"notifications/realtime/user/{user}", payload)
        context = await browser.new_context()
        page, _ = await watched(context, system, user)
        await open_inbox(page)
        link = entry(page, "Good").locator("a")
        await expect(link).to_have_attribute("href", good)
        await expect(link).to_have_attribute("rel", "noopener noreferrer")
        await expect(link).to_have_text("example.com")
        await expect(page.locator("carillon-inbox .entry a")).to_have_count(1)
        await context.close()


async def test_policy_lets_nothing_run_but_our_own_files(stack: Stack) -> None:
    async with open_system(stack) as system:
        for path in ("/", "/page.js", "/carillon-sw.js"):
            async with system.http.get(f"{stack.realtime_url}{path}") as answer:
                policy = dict(
                    part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";")
                )
                assert policy["default-src"] == "'none'"
                assert policy["script-src"] == policy["style-src"] == "'self'"
                assert policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"

"""What others write is text on every page of the console: the whole corpus, wherever somebody can write words.

One system of harmless words and one of the corpus are filled by the same function. A browser without the console's
policy opens every page of both. Nothing runs, and the pages of the corpus have no element, nor an attribute of one,
that the pages of harmless words lack.
"""

import json
import re
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.async_api import Browser

from carillon.console.backend import Backend
from carillon.console.site_map import PAGES
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.console import RULES, Served, serving
from tests.filled_console import HARMLESS, USER, Filler, packed
from tests.waiting import eventually
from tests.xss_corpus import corpus

pytestmark = [pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

# Each element of a page with the names of its attributes, and where an address leads to another place.
_SHAPES = """() => {
  const shapes = new Set();
  for (const one of document.querySelectorAll("*")) {
    const names = one.getAttributeNames().filter((name) => !["dir", "open"].includes(name)).sort();
    shapes.add([one.localName, ...names].join(" "));
    for (const name of ["href", "src", "action", "data", "formaction", "xlink:href"]) {
      const value = one.getAttribute(name);
      if (value !== null && new URL(value, location.href).origin !== location.origin) shapes.add(`elsewhere: ${value}`);
    }
  }
  for (const script of document.scripts) shapes.add(`script of ${new URL(script.src).pathname}`);
  return [...shapes];
}"""


async def shapes(served: Served, browser: Browser, texts: tuple[str, ...]) -> dict[str, set[str]]:
    """Fill a console with texts, open every page, and return the shapes of each page's elements by the page's name."""
    filler = Filler(served, texts, await served.newcomer("operator"))
    found: dict[str, set[str]] = {}
    strange: list[str] = []
    # Without the policy nothing but the pages' own care stands between a text and its execution.
    async with served.window(browser, "operator", bypass_csp=True) as window:
        window.on("dialog", lambda dialog: strange.append(dialog.message))
        window.on("request", lambda asked: None if asked.url.startswith(served.url) else strange.append(asked.url))
        window.on("pageerror", lambda error: strange.append(str(error)))

        async def look(name: str) -> None:
            assert await window.evaluate("globalThis.executed") == 0, name
            found.setdefault(name, set()).update(await window.evaluate(_SHAPES))
            assert strange == [], name

        for path in await filler.everything():
            going: str | None = path
            while going is not None:
                await window.goto(served.url + going)
                name = page_of(urlsplit(going).path)
                await look(name)
                # A list goes on; a search and a calendar look the same on their next page.
                more = window.locator("main .more a[rel=next]")
                is_list = "?" not in path and await more.count() > 0
                going = urljoin(path, await more.first.get_attribute("href")) if is_list else None
        await window.goto(f"{served.url}/people/{USER}")
        await window.get_by_text("Show the addresses").first.click()
        await window.get_by_role("button", name="Show the addresses").click()
        await window.wait_for_url("**/reveal")
        await look("person")
        for said in packed(texts, 15_000):
            await window.goto(f"{served.url}/explain")
            await window.get_by_label("Topic").fill("notifications/alerts/warning/disk")
            await window.get_by_label("Payload").fill(json.dumps({"message": said, "source": said[:200], "type": "x"}))
            await window.get_by_role("button", name="Explain").click()
            await window.wait_for_load_state()
            await look("explain")
        # That it would be noticed: the same kind of text as markup runs, and has a shape of its own.
        await window.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=xss()>')")
        await eventually(lambda: window.evaluate("globalThis.executed === 1"), 30, "the control runs")
        assert "img onerror src" in await window.evaluate(_SHAPES)
    return found


def page_of(path: str) -> str:
    return next(page.name for page in PAGES if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", page.path), path))


@pytest.mark.timeout(300)
async def test_every_page_shows_the_whole_corpus_as_text(store: EmptyStore, browser: Browser) -> None:
    found: list[dict[str, set[str]]] = []
    for name, texts in (("harmless/", HARMLESS), ("hostile/", corpus())):
        async with Store(store.url) as opened, serving(Backend(opened, RULES, topic_prefix=name)) as served:
            found.append(await shapes(served, browser, texts))
    harmless, hostile = found
    # A download is no page; the others are all there.
    assert {page.name for page in PAGES} - {"trace-export"} <= hostile.keys()
    ours = set[str]().union(*harmless.values())
    foreign = {name: sorted(of_page - ours) for name, of_page in hostile.items()}
    assert {name: shapes for name, shapes in foreign.items() if shapes} == {}
    # Every page has the console's own scripts and no other.
    assert {name: scripts(of_page) for name, of_page in hostile.items()} == {
        name: scripts(of_page) for name, of_page in harmless.items()
    }


def scripts(of_page: set[str]) -> list[str]:
    return sorted(each for each in of_page if each.startswith("script"))

"""Where things are on the screen when texts are long, windows small, and languages run the other way."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from carillon.local.stack import Stack
from tests.page import DEADLINE_MS, entry, live, open_inbox, reader, tell, toasts, token
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_LONG = "A title that somebody wrote without a thought of how wide the screen of a phone is. " * 2
_UNBROKEN = "x" * 190
_ARABIC = "طلب جديد"

# Where the letters are, not the box that holds them.
_LETTERS = """(element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const { left, right } = range.getBoundingClientRect();
  const box = element.getBoundingClientRect();
  return [left - box.left, box.right - right];
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        yield system


async def visit(browser: Browser, system: System, user: str, width: int, height: int) -> Page:
    context = await browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page = await context.new_page()
    await page.goto(f"{system.stack.realtime_url}/#token={token(system, user)}")
    await live(page)
    return page


async def box(found: Locator) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom."""
    rectangle = await found.bounding_box()
    assert rectangle is not None
    left, top = rectangle["x"], rectangle["y"]
    return left, top, left + rectangle["width"], top + rectangle["height"]


@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 568), (1280, 800)])
async def test_toasts_with_long_texts_stay_in_the_window(
    system: System, browser: Browser, width: int, height: int
) -> None:
    user = await reader(system)
    page = await visit(browser, system, user, width, height)
    for title in (_LONG, _UNBROKEN, _LONG, _UNBROKEN, _LONG):
        await tell(system, user, title, message=title * 5, priority="critical", type="error")
    await expect(toasts(page).first).to_be_visible()
    await expect(page.locator("carillon-inbox .more")).to_contain_text("waiting")
    left, top, right, bottom = await box(page.locator("carillon-inbox .toasts"))
    assert (left, top) >= (0, 0)
    assert (right, bottom) <= (width, height)
    for toast in await toasts(page).all():
        await toast.get_by_role("button", name="Dismiss").scroll_into_view_if_needed()
        left, top, right, bottom = await box(toast.get_by_role("button", name="Dismiss"))
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.context.close()


async def test_open_inbox_covers_no_toast_that_waits_for_an_answer(system: System, browser: Browser) -> None:
    user = await reader(system)
    page = await visit(browser, system, user, 1280, 800)
    # More than the panel needs to be as high as it gets.
    for number in range(8):
        await tell(system, user, f"Number {number}")
    await tell(system, user, "Stays", priority="critical")
    await expect(toasts(page).filter(has_text="Stays")).to_be_visible()
    await open_inbox(page)
    await expect(toasts(page)).to_have_count(1)
    panel_left, *_ = await box(page.locator("carillon-inbox .panel"))
    _, _, toast_right, _ = await box(toasts(page))
    assert toast_right <= panel_left
    await page.keyboard.press("Escape")
    _, _, toast_right, _ = await box(toasts(page))
    assert toast_right > panel_left
    await page.context.close()


async def test_each_text_runs_in_the_direction_of_its_language(system: System, browser: Browser) -> None:
    user = await reader(system)
    page = await visit(browser, system, user, 390, 844)
    await tell(system, user, _ARABIC, message=f"{_ARABIC}.")
    await tell(system, user, "Latin", message="Short.")
    await open_inbox(page)
    for part in (".title", ".message"):
        from_left, from_right = await entry(page, _ARABIC).locator(part).evaluate(_LETTERS)
        assert from_right < 2 < from_left
        from_left, from_right = await entry(page, "Latin").locator(part).evaluate(_LETTERS)
        assert from_left < 2 < from_right
    await page.context.close()

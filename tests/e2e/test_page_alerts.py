"""Alerts on the page: what an entry says, what stands on top, and where the panel opens."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from carillon.local.stack import Stack
from tests.page import DEADLINE_MS, badge, entry, live, open_inbox, reader, stored, tell, toasts, token
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        yield system


async def visit(browser: Browser, system: System, user: str, width: int = 1280, height: int = 800) -> Page:
    context = await browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page = await context.new_page()
    await page.goto(f"{system.stack.realtime_url}/#token={token(system, user)}")
    await live(page)
    return page


async def alarm(system: System, user: str, message: str, **said: object) -> str:
    """Tell one person of a critical alert."""
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    receipt = await system.publish(f"notifications/alerts/critical/{kind}", {"message": message, **said})
    await system.in_inbox(user, str(receipt.notification_id))
    return str(receipt.alert_id)


@pytest.mark.parametrize(
    ("width", "height", "place", "direction"),
    [
        (1280, 800, "left: 8px; top: 8px", "ltr"),
        (1280, 800, "right: 8px; bottom: 8px", "ltr"),
        (1280, 800, "left: 600px; top: 380px", "ltr"),
        (1280, 800, "right: 8px; top: 8px", "rtl"),
        (1280, 800, "left: 8px; top: 8px", "rtl"),
        (700, 420, "right: 8px; bottom: 8px", "ltr"),
        (360, 640, "left: 8px; bottom: 8px", "ltr"),
        (360, 640, "right: 8px; top: 8px", "rtl"),
    ],
)
async def test_the_panel_stays_in_the_window_wherever_the_bell_is(
    system: System, browser: Browser, width: int, height: int, place: str, direction: str
) -> None:
    user = await reader(system)
    for number in range(8):
        await tell(system, user, f"Number {number}")
    await stored(system, user, 8)
    page = await visit(browser, system, user, width, height)
    await page.evaluate(
        """([place, direction]) => {
          document.documentElement.dir = direction;
          document.querySelector("carillon-inbox").style.cssText = `position: fixed; z-index: 9; ${place}`;
        }""",
        [place, direction],
    )
    await open_inbox(page)
    await expect(entry(page, "Number 7")).to_be_visible()
    found = await page.locator("carillon-inbox .panel").bounding_box()
    assert found is not None
    assert found["x"] >= 0
    assert found["y"] >= 0
    assert found["x"] + found["width"] <= width
    assert found["y"] + found["height"] <= height
    assert found["height"] >= 200
    await page.context.close()


async def test_an_alert_says_where_it_comes_from_and_who_took_it(system: System, browser: Browser) -> None:
    user = await reader(system)
    alert_id = await alarm(system, user, "Disk full", source="disk-watch", affected_systems=["orders", "billing"])
    page = await visit(browser, system, user)
    await open_inbox(page)
    shown = entry(page, "Disk full")
    await expect(shown).to_contain_text("Source: disk-watch")
    await expect(shown).to_contain_text("Systems: orders, billing")
    await system.publish(f"notifications/alerts/acknowledge/{alert_id}", {"user_id": user})
    await page.reload()
    await live(page)
    await open_inbox(page)
    await expect(shown).to_contain_text(f"Acknowledged by {user}, now")
    await expect(shown.get_by_role("button", name="Acknowledge", exact=True)).to_have_count(0)
    await page.context.close()


async def test_an_alert_that_nobody_took_stands_on_top_once(system: System, browser: Browser) -> None:
    user = await reader(system)
    await alarm(system, user, "Disk full")
    for number in range(25):
        await tell(system, user, f"Number {number}")
    await stored(system, user, 26)
    page = await visit(browser, system, user)
    await open_inbox(page)
    first = page.locator("carillon-inbox .entry").first
    await expect(first).to_contain_text("Disk full")
    await tell(system, user, "Just now")
    await expect(page.locator("carillon-inbox .entry").nth(1)).to_contain_text("Just now")
    await expect(first).to_contain_text("Disk full")
    # Down to its own place in the order, where it does not stand again.
    await page.keyboard.press("End")
    await entry(page, "Number 0").first.scroll_into_view_if_needed()
    await expect(entry(page, "Number 0").first).to_be_visible()
    await expect(entry(page, "Disk full")).to_have_count(1)
    await page.context.close()


async def test_an_alert_has_one_button_whether_the_inbox_is_open_or_not(system: System, browser: Browser) -> None:
    user = await reader(system)
    page = await visit(browser, system, user)
    await alarm(system, user, "First")
    await expect(toasts(page).filter(has_text="First")).to_be_visible()
    await open_inbox(page)
    await expect(toasts(page)).to_have_count(0)
    await alarm(system, user, "Second")
    await expect(entry(page, "Second")).to_be_visible()
    await expect(page.get_by_role("button", name="Acknowledge", exact=True)).to_have_count(2)
    await expect(toasts(page)).to_have_count(0)
    await page.context.close()


async def test_an_alert_has_one_button_when_the_list_comes_to_it(system: System, browser: Browser) -> None:
    user = await reader(system)
    page = await visit(browser, system, user)
    await open_inbox(page)
    await page.get_by_role("button", name="Archived").click()
    await expect(page.locator("carillon-inbox .note")).to_have_text("The archive is empty.")
    # Not in this view, so its toast has the button.
    await alarm(system, user, "Third")
    await expect(toasts(page).filter(has_text="Third")).to_be_visible()
    await page.get_by_role("button", name="Inbox", exact=True).click()
    await expect(entry(page, "Third")).to_be_visible()
    await expect(toasts(page)).to_have_count(0)
    await expect(page.get_by_role("button", name="Acknowledge", exact=True)).to_have_count(1)
    await page.context.close()


async def test_arrow_keys_work_as_soon_as_the_inbox_is_open(system: System, browser: Browser) -> None:
    user = await reader(system)
    for title in ("Older", "Newer"):
        await tell(system, user, title)
    await stored(system, user, 2)
    page = await visit(browser, system, user)
    await open_inbox(page)
    await expect(entry(page, "Newer")).to_be_visible()
    await page.keyboard.press("ArrowDown")
    await expect(entry(page, "Newer").locator(".open")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(entry(page, "Older").locator(".open")).to_be_focused()
    await page.context.close()


async def test_a_count_beyond_two_digits_stays_on_the_bell(system: System, browser: Browser) -> None:
    user = await reader(system)
    for number in range(100):
        await tell(system, user, f"Number {number}")
    await stored(system, user, 100)
    page = await visit(browser, system, user)
    await expect(badge(page)).to_have_text("99+")
    bell = await page.locator("carillon-inbox .bell").bounding_box()
    count = await badge(page).bounding_box()
    assert bell is not None
    assert count is not None
    assert count["x"] >= bell["x"]
    assert count["x"] + count["width"] <= bell["x"] + bell["width"]
    # Where nothing of a text has a direction, the page's own would put the sign before the digits.
    await page.evaluate("document.documentElement.dir = 'rtl'")
    digit_left, sign_left = await badge(page).evaluate(
        """(badge) => [0, 2].map((at) => {
          const range = document.createRange();
          range.setStart(badge.firstChild, at);
          range.setEnd(badge.firstChild, at + 1);
          return range.getBoundingClientRect().left;
        })"""
    )
    assert digit_left < sign_left
    await page.context.close()


async def test_preferences_of_somebody_unknown_say_what_is_wrong(system: System, browser: Browser) -> None:
    page = await visit(browser, system, f"stranger-{uuid.uuid4().hex[:8]}")
    trouble = page.locator("carillon-preferences .trouble")
    await expect(trouble).to_contain_text("There is no entry for you in the directory yet")
    await page.context.close()

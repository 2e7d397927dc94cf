"""What people do with their attention in the page: tabs, snoozing, actions, and entries that leave or stay silent."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect

from carillon.local.stack import Stack
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from tests.page import DEADLINE_MS, badge, entry, live, open_inbox, reader, stored, tell, toasts, token
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

Visit = Callable[..., Awaitable[Page]]

_DESKTOP = {"width": 1280, "height": 800}
_PHONE = {"width": 390, "height": 844}
_ACTIONS: list[dict[str, str | bool]] = [
    {"id": "approve", "label": "Approve", "topic": True, "style": "primary"},
    {"id": "decline", "label": "Decline", "topic": True},
    {"id": "see", "label": "Open the report", "url": "https://expenses.example.com/reports/7"},
]


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="session")
async def visit(system: System, browser: Browser) -> AsyncIterator[Visit]:
    """A function that opens the page as a user; no script may fail and the page's policy may refuse nothing."""
    expect.set_options(timeout=DEADLINE_MS)
    complaints: list[str] = []
    pages: list[Page] = []

    async def open_page(user: str, size: dict[str, int] | None = None) -> Page:
        context = await browser.new_context(viewport=size or _DESKTOP, reduced_motion="reduce")  # type: ignore[arg-type]
        page = await context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        await page.goto(f"{system.stack.realtime_url}/#token={token(system, user)}")
        await live(page)
        return page

    yield open_page
    for page in pages:
        await page.context.close()
    assert complaints == []


def tab(page: Page, name: str) -> Locator:
    return page.get_by_role("tab", name=name)


def titles(page: Page) -> Locator:
    return page.locator("carillon-inbox .entry .title")


async def fill(system: System, user: str) -> None:
    """Write entries of two categories and one without."""
    for title, category in (("Reply", "new-comments"), ("Mention", "new-comments"), ("Invoice", "billing")):
        await tell(system, user, title, category=category)
        # Entries are in the order of their acceptance.
    await tell(system, user, "Welcome")
    await stored(system, user, 4)


async def shorten(page: Page) -> None:
    """Let entries come back after two seconds, whatever the menu says."""

    async def rewrite(route: Route) -> None:
        assert set(json.loads(route.request.post_data or "")) == {"until"}
        await route.continue_(post_data=json.dumps({"for": "2s"}))

    await page.route("**/v1/inbox/*/snooze", rewrite)


async def test_tabs_show_one_category_each_and_count_what_is_unread_there(system: System, visit: Visit) -> None:
    user = await reader(system)
    await fill(system, user)
    page = await visit(user)
    await open_inbox(page)
    names = ["All", "Billing1, 1 unread", "New comments2, 2 unread", "Other1, 1 unread"]
    await expect(page.get_by_role("tab")).to_have_text(names)
    await expect(tab(page, "All")).to_have_attribute("aria-selected", "true")
    await expect(titles(page)).to_have_text(["Welcome", "Invoice", "Mention", "Reply"])
    await tab(page, "New comments").click()
    await expect(titles(page)).to_have_text(["Mention", "Reply"])
    # It reads everything, and this is not everything.
    await expect(page.get_by_role("button", name="Mark all read")).to_be_hidden()
    await entry(page, "Reply").click()
    await expect(tab(page, "New comments")).to_have_text("New comments1, 1 unread")
    # What arrives elsewhere is counted there, and is not shown here.
    await tell(system, user, "Second invoice", category="billing")
    await expect(tab(page, "Billing")).to_have_text("Billing2, 2 unread")
    await tell(system, user, "A third comment", category="new-comments")
    await expect(titles(page)).to_have_text(["A third comment", "Mention", "Reply"])
    await tab(page, "Other").click()
    await expect(titles(page)).to_have_text(["Welcome"])
    await page.get_by_role("button", name="Archived").click()
    await expect(page.locator("carillon-inbox .note")).to_have_text("The archive is empty.")
    # A category that nobody had heard of.
    await tell(system, user, "New here", category="security")
    await expect(tab(page, "Security")).to_have_text("Security1, 1 unread")


async def test_tabs_by_keyboard(system: System, visit: Visit) -> None:
    user = await reader(system)
    await fill(system, user)
    page = await visit(user)
    await page.locator("carillon-inbox .bell").press("Enter")
    await expect(tab(page, "Billing")).to_be_visible()
    await tab(page, "All").focus()
    await page.keyboard.press("ArrowRight")
    await expect(tab(page, "Billing")).to_be_focused()
    await expect(tab(page, "Billing")).to_have_attribute("aria-selected", "true")
    await expect(titles(page)).to_have_text(["Invoice"])
    await page.keyboard.press("End")
    await expect(tab(page, "Other")).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await expect(tab(page, "All")).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Home")
    await expect(tab(page, "All")).to_be_focused()
    # One stop for the Tab key, and the list below.
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Inbox")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(page.locator("carillon-inbox .entry .open").first).to_be_focused()


async def test_an_arrow_key_counts_while_the_list_is_being_read(system: System, visit: Visit) -> None:
    user = await reader(system)
    await fill(system, user)
    page = await visit(user)
    await page.locator("carillon-inbox .bell").press("Enter")
    await expect(tab(page, "Billing")).to_be_visible()
    answer = asyncio.Event()

    async def hold_back(route: Route) -> None:
        await answer.wait()
        await route.continue_()

    await page.route("**/v1/inbox?*", hold_back)
    await tab(page, "Billing").click()
    await page.keyboard.press("ArrowDown")
    await expect(titles(page)).to_have_count(0)
    answer.set()
    await expect(page.locator("carillon-inbox .entry .open").first).to_be_focused()
    # Whoever has gone elsewhere meanwhile stays there.
    answer.clear()
    await tab(page, "Other").click()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Inbox")).to_be_focused()
    answer.set()
    await expect(titles(page)).to_have_text(["Welcome"])
    await expect(page.get_by_role("button", name="Inbox")).to_be_focused()


async def test_there_are_no_tabs_without_categories(system: System, visit: Visit) -> None:
    user = await system.person("alone", preferences={"realtime": True})
    await tell(system, user, "Only one")
    await stored(system, user, 1)
    page = await visit(user)
    await open_inbox(page)
    await expect(entry(page, "Only one")).to_be_visible()
    kinds = {one["category"] for one in await system.inbox(user)}
    if kinds == {None}:
        await expect(page.get_by_role("tab")).to_have_count(0)
        await expect(page.get_by_role("tabpanel")).to_have_count(0)


async def test_a_snoozed_entry_leaves_and_comes_back_unread(system: System, visit: Visit) -> None:
    user = await reader(system)
    await tell(system, user, "Not now")
    await tell(system, user, "Something else")
    await stored(system, user, 2)
    page, other = await visit(user), await visit(user)
    await shorten(page)
    await open_inbox(page)
    await entry(page, "Not now").click()
    await expect(badge(page)).to_have_text("1")
    await entry(page, "Not now").get_by_role("button", name="Snooze").click()
    menu = page.get_by_role("menu", name="Snooze until")
    await expect(menu.get_by_role("menuitem").first).to_contain_text("In 1 hour")
    await menu.get_by_role("menuitem", name="Tomorrow morning").click()
    await expect(entry(page, "Not now")).to_have_count(0)
    await expect(menu).to_be_hidden()
    # It comes back, unread, on top, in every window.
    await expect(entry(page, "Not now")).to_have_attribute("data-unread", "")
    await expect(titles(page)).to_have_text(["Not now", "Something else"])
    await expect(badge(page)).to_have_text("2")
    await expect(toasts(other)).to_contain_text("Not now")
    await expect(badge(other)).to_have_text("2")


async def test_snoozed_entries_have_a_view_and_can_be_brought_back_by_keyboard(system: System, visit: Visit) -> None:
    user = await reader(system)
    await tell(system, user, "Not now")
    await stored(system, user, 1)
    page = await visit(user)
    await page.locator("carillon-inbox .bell").press("Enter")
    await entry(page, "Not now").locator(".open").focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    first = page.get_by_role("menuitem").first
    await expect(first).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("menu")).to_be_hidden()
    await expect(page.locator("carillon-inbox .panel")).to_be_visible()
    await expect(entry(page, "Not now").get_by_role("button", name="Snooze")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("End")
    await page.keyboard.press("Enter")
    await expect(entry(page, "Not now")).to_have_count(0)
    await expect(badge(page)).to_be_hidden()
    await page.reload()
    await live(page)
    await open_inbox(page)
    await expect(page.locator("carillon-inbox .note")).to_have_text("Nothing here yet.")
    await page.get_by_role("button", name="Snoozed").press("Enter")
    await expect(entry(page, "Not now")).to_contain_text("Comes back:")
    # Looking at it changes nothing.
    await entry(page, "Not now").locator(".open").press("Enter")
    await expect(badge(page)).to_be_hidden()
    await entry(page, "Not now").get_by_role("button", name="Bring back now").press("Enter")
    await expect(page.locator("carillon-inbox .note")).to_have_text("Nothing is snoozed.")
    await expect(badge(page)).to_have_text("1")
    await page.get_by_role("button", name="Inbox").press("Enter")
    await expect(entry(page, "Not now")).to_have_attribute("data-unread", "")
    await expect(entry(page, "Not now").get_by_role("button", name="Bring back now")).to_have_count(0)


async def test_an_alert_that_nobody_took_cannot_be_put_off(system: System, visit: Visit) -> None:
    user = await reader(system, "oncall")
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    page = await visit(user)
    await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Disk full"})
    await open_inbox(page)
    await expect(entry(page, "Disk full").get_by_role("button", name="Snooze")).to_have_count(0)
    await entry(page, "Disk full").get_by_role("button", name="Acknowledge").click()
    await expect(entry(page, "Disk full").get_by_role("button", name="Snooze")).to_be_visible()


async def test_a_pressed_action_arrives_at_a_subscriber_once(system: System, visit: Visit) -> None:
    user = await reader(system)
    page = await visit(user)
    address = BrokerAddress.parse(system.stack.broker.url)
    async with Broker(address, f"presses-{uuid.uuid4().hex[:8]}") as broker:
        await broker.subscribe("notifications/actions/#")
        payload = {"title": "Expenses", "message": "Lisbon", "actions": _ACTIONS, "data": {"report": 7}}
        sent = await system.publish(f"notifications/realtime/user/{user}", payload)
        await expect(toasts(page).get_by_role("button", name="Decline")).to_be_visible()
        await open_inbox(page)
        await entry(page, "Expenses").get_by_role("button", name="Approve").click()
        await expect(entry(page, "Expenses").locator(".done")).to_contain_text("Done: Approve")
        await expect(entry(page, "Expenses").get_by_role("button", name="Decline")).to_have_count(0)
        await expect(badge(page)).to_be_hidden()
        # Pressed again elsewhere: no harm, and no second message.
        status, _ = await system.call("POST", f"/v1/inbox/{sent.notification_id}/actions/approve", user)
        assert status == 204
        found = await presses(broker, sent.notification_id)
    assert [pressed["action"] for pressed in found] == ["approve"]
    assert found[0]["user_id"] == user
    assert found[0]["notification_id"] == sent.notification_id
    assert found[0]["data"] == {"report": 7}
    await page.reload()
    await live(page)
    await open_inbox(page)
    await expect(entry(page, "Expenses").locator(".done")).to_contain_text("Approve")


async def presses(broker: Broker, notification_id: str | None) -> list[dict[str, Any]]:
    """Take what has come, and what still comes within a second, of one notification."""
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(30) as limit:
            while True:
                for incoming in await broker.take(100):
                    broker.ack(incoming)
                    pressed = json.loads(incoming.payload)
                    if pressed["notification_id"] == notification_id:
                        found.append(pressed)
                        limit.reschedule(asyncio.get_running_loop().time() + 1)
    except TimeoutError:
        return found


async def test_an_action_that_leads_somewhere_shows_the_host_and_the_page_may_handle_it(
    system: System, visit: Visit
) -> None:
    user = await reader(system)
    page = await visit(user)
    await tell(system, user, "Expenses", actions=_ACTIONS)
    await open_inbox(page)
    link = entry(page, "Expenses").get_by_role("link", name="Open the report")
    await expect(link).to_have_attribute("href", str(_ACTIONS[2]["url"]))
    await expect(link).to_have_attribute("rel", "noopener noreferrer")
    await expect(link).to_have_attribute("target", "_blank")
    await expect(link.locator(".host")).to_have_text("expenses.example.com")
    await page.evaluate(
        """() => document.querySelector("carillon-inbox").addEventListener("carillon-action", (event) => {
          event.preventDefault();
          document.documentElement.dataset.pressed = event.detail.action.id;
        })"""
    )
    await link.click()
    await expect(page.locator("html")).to_have_attribute("data-pressed", "see")
    assert len(page.context.pages) == 1
    await expect(badge(page)).to_be_hidden()
    # A link is no decision: the buttons are still there.
    await expect(entry(page, "Expenses").get_by_role("button", name="Approve")).to_be_visible()


async def test_an_action_that_does_not_get_through_is_told_and_can_be_pressed_again(
    system: System, visit: Visit
) -> None:
    user = await reader(system)
    page = await visit(user)
    await page.route("**/actions/*", lambda route: route.fulfill(status=503))
    await tell(system, user, "Expenses", actions=_ACTIONS)
    await open_inbox(page)
    await entry(page, "Expenses").get_by_role("button", name="Approve").click()
    await expect(page.locator("carillon-inbox .trouble")).to_have_text("That did not work. Please try again.")
    await expect(entry(page, "Expenses")).to_have_attribute("data-unread", "")
    await page.unroute("**/actions/*")
    await entry(page, "Expenses").get_by_role("button", name="Approve").press("Enter")
    await expect(entry(page, "Expenses").locator(".done")).to_contain_text("Done: Approve")
    await expect(page.locator("carillon-inbox .trouble")).to_be_empty()
    await expect(entry(page, "Expenses").locator(".open")).to_be_focused()


async def test_a_recalled_entry_leaves_an_open_page(system: System, visit: Visit) -> None:
    user = await reader(system)
    page, other = await visit(user), await visit(user)
    payload = {"title": "Wrong price", "message": "For all.", "priority": "critical"}
    sent = await system.publish(f"notifications/realtime/user/{user}", payload)
    await tell(system, user, "Right")
    await expect(toasts(other).filter(has_text="Wrong price")).to_be_visible()
    await expect(badge(page)).to_have_text("2")
    await open_inbox(page)
    await expect(entry(page, "Wrong price")).to_be_visible()
    await system.publish(f"notifications/cancel/{sent.notification_id}", {"recall": True})
    await expect(entry(page, "Wrong price")).to_have_count(0)
    await expect(toasts(other).filter(has_text="Wrong price")).to_have_count(0)
    await expect(badge(page)).to_have_text("1")
    await expect(badge(other)).to_have_text("1")
    await expect(page.locator("#feed h2")).to_have_text(["Right"])


async def test_what_comes_in_quiet_hours_is_shown_and_draws_no_attention(system: System, visit: Visit) -> None:
    always = {"timezone": "UTC", "windows": [{"from": "00:00", "to": "00:00"}]}
    user = await reader(system, "sleeper", quiet_hours=always)
    page = await visit(user)
    await tell(system, user, "Whispered")
    await expect(badge(page)).to_have_text("1")
    await expect(page.locator("#feed h2")).to_have_text("Whispered")
    await expect(toasts(page)).to_have_count(0)
    await expect(page.locator("carillon-inbox [aria-live] p")).to_have_count(0)
    await open_inbox(page)
    await expect(entry(page, "Whispered")).to_have_attribute("data-unread", "")
    await tell(system, user, "Alarm", priority="critical")
    await expect(toasts(page)).to_contain_text("Alarm")


async def test_tabs_menu_and_actions_fit_a_phone(system: System, visit: Visit) -> None:
    user = await reader(system)
    await fill(system, user)
    for category in ("security", "deployments", "product-announcements"):
        await tell(system, user, f"About {category}", category=category, actions=_ACTIONS)
    await stored(system, user, 7)
    page = await visit(user, _PHONE)
    await open_inbox(page)
    await expect(tab(page, "Other")).not_to_be_in_viewport()
    # A thumb pushes them along; here the last one is asked for.
    await tab(page, "Other").click()
    await expect(tab(page, "Other")).to_be_in_viewport(ratio=1)
    await expect(titles(page)).to_have_text(["Welcome"])
    await tab(page, "All").click()
    await expect(tab(page, "All")).to_be_in_viewport(ratio=1)
    for row in await page.locator("carillon-inbox .entry").all():
        await row.get_by_role("button", name="Snooze").scroll_into_view_if_needed()
        await row.get_by_role("button", name="Snooze").click()
        await expect(page.get_by_role("menu")).to_be_in_viewport(ratio=1)
        await page.keyboard.press("Escape")
    assert await page.evaluate("document.documentElement.scrollWidth") <= _PHONE["width"]


async def test_each_language_names_everything_and_arabic_runs_from_right_to_left(system: System, visit: Visit) -> None:
    user = await reader(system)
    await fill(system, user)
    page = await visit(user)
    await page.evaluate("document.querySelector('carillon-inbox').locale = 'de-AT'")
    bell = page.locator("carillon-inbox .bell")
    await expect(bell).to_have_attribute("aria-label", "Benachrichtigungen, 4 ungelesen")
    await open_inbox(page)
    await expect(tab(page, "Alle")).to_be_visible()
    await expect(entry(page, "Invoice").locator("time")).to_have_text("jetzt")
    await page.evaluate("document.querySelector('carillon-inbox').locale = 'ar'")
    await expect(bell).to_have_attribute("aria-label", "الإشعارات، 4 إشعارات غير مقروءة")
    panel = page.locator("carillon-inbox .panel")
    await expect(panel).to_have_attribute("dir", "rtl")
    await expect(panel).to_have_attribute("lang", "ar")
    # Forward is to the left.
    await tab(page, "الكل").focus()
    await page.keyboard.press("ArrowLeft")
    await expect(tab(page, "Billing")).to_be_focused()
    marks = await entry(page, "Invoice").locator(".mark").bounding_box()
    words = await entry(page, "Invoice").locator(".content").bounding_box()
    assert marks is not None
    assert words is not None
    assert marks["x"] > words["x"]
    # Words of the page's own go before those of the language.
    await page.evaluate(
        """() => {
          const inbox = document.querySelector("carillon-inbox");
          inbox.locale = "fr";
          inbox.labels = { title: "Courrier", categories: { billing: "Factures" } };
        }"""
    )
    await expect(page.locator("carillon-inbox h2")).to_have_text("Courrier")
    await expect(tab(page, "Factures")).to_be_visible()
    await expect(panel).to_have_attribute("dir", "ltr")
    # Without a locale, the page's language is spoken.
    await page.evaluate(
        """() => {
          document.documentElement.lang = "nl";
          document.querySelector("carillon-inbox").labels = {};
          document.querySelector("carillon-inbox").removeAttribute("locale");
        }"""
    )
    await expect(page.locator("carillon-inbox h2")).to_have_text("Meldingen")

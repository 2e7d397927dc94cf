"""The page in a real browser, against the whole system: what a person sees, clicks and keeps after a reload."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, WebSocketRoute, expect

from carillon.local.stack import Stack
from tests.page import DEADLINE_MS, badge, entry, live, open_inbox, reader, stored, tell, toasts, token
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_PAGE = 20

Visit = Callable[[str], Awaitable[Page]]

# A busy browser reports several sightings at once, oldest first: out of view, then in view. Here it always does.
_BUSY_BROWSER = """
  const Plain = IntersectionObserver;
  window.IntersectionObserver = class extends Plain {
    constructor(told, options) {
      super((sightings) => told([{ isIntersecting: false }, ...sightings]), options);
    }
  };
"""


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

    async def open_page(user: str) -> Page:
        context = await browser.new_context()
        page = await context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        await page.goto(f"{system.stack.realtime_url}/#token={token(system, user)}")
        return page

    yield open_page
    for page in pages:
        await page.context.close()
    assert complaints == []


async def test_notification_arrives_as_toast_badge_and_feed_entry(system: System, visit: Visit) -> None:
    user = await reader(system)
    page = await visit(user)
    await live(page)
    await tell(system, user, "Build finished", message="<b>green</b>", type="success")
    await expect(toasts(page)).to_have_count(1)
    await expect(toasts(page)).to_contain_text("Build finished")
    await expect(toasts(page)).to_contain_text("<b>green</b>")
    await expect(badge(page)).to_have_text("1")
    await expect(page.locator("#feed h2")).to_have_text("Build finished")
    await expect(page).to_have_title("(1) Carillon")


async def test_reading_clears_the_badge_in_every_window(system: System, visit: Visit) -> None:
    user = await reader(system)
    page, other = await visit(user), await visit(user)
    await live(page)
    await live(other)
    await tell(system, user, "Read me")
    await expect(badge(other)).to_have_text("1")
    await open_inbox(page)
    await entry(page, "Read me").click()
    await expect(badge(page)).to_be_hidden()
    await expect(badge(other)).to_be_hidden()
    await system.has_marked(user, "Read me", read=True)


async def test_reload_keeps_what_was_read_and_archived_and_shows_no_old_toast(system: System, visit: Visit) -> None:
    user = await reader(system)
    for title in ("First", "Second", "Third"):
        await tell(system, user, title)
    await stored(system, user, 3)
    page = await visit(user)
    await live(page)
    await expect(badge(page)).to_have_text("3")
    await open_inbox(page)
    await entry(page, "First").click()
    await entry(page, "Second").get_by_role("button", name="Archive").click()
    await expect(entry(page, "Second")).to_have_count(0)
    await expect(badge(page)).to_have_text("1")
    await page.reload()
    await live(page)
    await expect(badge(page)).to_have_text("1")
    await expect(toasts(page)).to_have_count(0)
    await open_inbox(page)
    await expect(entry(page, "Third")).to_have_attribute("data-unread", "")
    await expect(entry(page, "First")).to_have_count(1)
    await expect(entry(page, "Second")).to_have_count(0)


async def test_status_is_shown_to_those_who_are_here_and_to_those_who_come_later(system: System, visit: Visit) -> None:
    message = f"Search is slow {uuid.uuid4().hex[:6]}"
    page = await visit(await reader(system))
    await live(page)
    await system.publish(
        "notifications/system/status", {"message": message, "status": "degraded", "services": ["search"]}
    )
    await expect(page.locator("#status")).to_contain_text(message)
    await expect(page.locator("#status")).to_have_attribute("data-tone", "warning")
    later = await visit(await reader(system))
    await expect(later.locator("#status")).to_contain_text(message)


async def test_acknowledging_in_the_toast_stops_the_alert(system: System, visit: Visit) -> None:
    user, next_one = await reader(system, "oncall", email="oncall@example.com"), await reader(system, "next")
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    escalation = [{"after_s": 0, "notify": ["oncall"]}, {"after_s": 6, "notify": [f"user:{next_one}"]}]
    await system.publish(f"directory/oncall/{kind}", {"users": [user], "escalation": escalation})
    page = await visit(user)
    await live(page)
    receipt = await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Disk full"})
    await expect(toasts(page)).to_contain_text("Disk full")
    async with page.expect_response(f"**/v1/alerts/{receipt.alert_id}/acknowledge") as answer:
        await toasts(page).get_by_role("button", name="Acknowledge").click()
    assert (await answer.value).status == 204
    await expect(toasts(page)).to_have_count(0)
    await expect(badge(page)).to_be_hidden()
    await open_inbox(page)
    await expect(entry(page, "Disk full").get_by_role("button", name="Acknowledge")).to_have_count(0)
    await page.reload()
    await live(page)
    await open_inbox(page)
    await expect(entry(page, "Disk full")).to_contain_text("Acknowledged")
    await expect(entry(page, "Disk full").get_by_role("button", name="Acknowledge")).to_have_count(0)
    # A second alert that nobody answers shows that the time of the first one's escalation has passed.
    other = await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Again"})
    await system.in_inbox(next_one, str(other.alert_id), within_s=20)
    assert receipt.alert_id not in {one["id"] for one in await system.inbox(next_one)}


async def test_an_entry_that_holds_the_focus_keeps_it_while_the_list_is_put_in_another_order(
    system: System, visit: Visit
) -> None:
    user = await reader(system, "oncall")
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    page = await visit(user)
    await live(page)
    receipt = await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Disk full"})
    await tell(system, user, "Later one")
    await open_inbox(page)
    entries = page.locator("carillon-inbox .entry")
    await expect(entries.first).to_contain_text("Disk full")
    later = entry(page, "Later one").get_by_role("button", name="Archive")
    await later.focus()
    # On another device.
    await system.call("POST", f"/v1/alerts/{receipt.alert_id}/acknowledge", user)
    await system.call("POST", f"/v1/inbox/{receipt.alert_id}/read", user)
    # An alert that was taken stands no longer on top.
    await expect(entries.first).to_contain_text("Later one")
    await expect(later).to_be_focused()


async def test_keyboard_alone_acknowledges_and_finds_its_way_back_to_the_bell(system: System, visit: Visit) -> None:
    user = await reader(system, "oncall")
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    page = await visit(user)
    await live(page)
    await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Disk full"})
    await tell(system, user, "Later one")
    await expect(badge(page)).to_have_text("2")
    bell = page.locator("carillon-inbox .bell")
    await bell.press("Enter")
    await expect(page.locator("carillon-inbox .panel")).to_be_focused()
    # An alert that nobody took stands on top.
    await page.locator("carillon-inbox .entry .open").last.focus()
    await page.keyboard.press("Home")
    alert = entry(page, "Disk full")
    await expect(alert.locator(".open")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(alert).to_contain_text("Acknowledged")
    # The button is gone; the focus is still in its entry.
    await expect(alert.locator(".open")).to_be_focused()
    await entry(page, "Later one").locator(".open").focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(entry(page, "Later one")).to_have_count(0)
    await expect(alert.locator(".open")).to_be_focused()
    # Acknowledged is read, too, which another frame says; the button comes with it.
    await expect(alert.get_by_role("button", name="Mark unread")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(alert.get_by_role("button", name="Mark unread")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(badge(page)).to_have_text("1")
    await page.get_by_role("button", name="Mark all read").press("Enter")
    await expect(badge(page)).to_be_hidden()
    await page.keyboard.press("Escape")
    await expect(page.locator("carillon-inbox .panel")).to_be_hidden()
    await expect(bell).to_be_focused()


async def test_marking_an_entry_unread_does_not_open_it_and_so_read_it_again(system: System, visit: Visit) -> None:
    user = await reader(system)
    await tell(system, user, "Once more")
    await stored(system, user, 1)
    page = await visit(user)
    await live(page)
    await open_inbox(page)
    opener = entry(page, "Once more").locator(".open")
    await opener.click()
    await opener.click()
    await expect(opener).to_have_attribute("aria-expanded", "false")
    async with page.expect_response("**/unread") as answer:
        await entry(page, "Once more").get_by_role("button", name="Mark unread").click()
    assert (await answer.value).status == 204
    await expect(opener).to_have_attribute("aria-expanded", "false")
    await expect(badge(page)).to_have_text("1")
    await system.has_marked(user, "Once more", read=False)


async def test_changes_of_an_entry_reach_the_service_in_their_order(system: System, visit: Visit) -> None:
    user = await reader(system)
    await tell(system, user, "Undone")
    await stored(system, user, 1)
    page = await visit(user)
    await live(page)
    await open_inbox(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    slow, on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        slow.set()
        await on.wait()
        await route.continue_()

    await page.route("**/v1/inbox/*/read", hold)
    await entry(page, "Undone").click()
    await slow.wait()
    await entry(page, "Undone").get_by_role("button", name="Mark unread").click()
    await expect(badge(page)).to_have_text("1")
    assert "unread" not in asked
    async with page.expect_response("**/unread"):
        on.set()
    await system.has_marked(user, "Undone", read=False)


async def test_focus_stays_where_it_is_when_the_list_is_read_again(system: System, visit: Visit) -> None:
    user = await reader(system)
    for title in ("First", "Second", "Third"):
        await tell(system, user, title)
    await stored(system, user, 3)
    page = await visit(user)
    await live(page)
    await open_inbox(page)
    archive = entry(page, "Second").get_by_role("button", name="Archive")
    await archive.focus()
    ids = {one["title"]: one["id"] for one in await system.inbox(user)}
    # As from another window; the list is read again when the count of the unread falls.
    await system.call("POST", f"/v1/inbox/{ids['Third']}/read", user)
    await expect(entry(page, "Third")).not_to_have_attribute("data-unread", "")
    await expect(archive).to_be_focused()
    await system.call("POST", f"/v1/inbox/{ids['Second']}/archive", user)
    await expect(entry(page, "Second")).to_have_count(0)
    await expect(entry(page, "First").locator(".open")).to_be_focused()


async def test_older_entries_come_on_scrolling_down(system: System, visit: Visit) -> None:
    user = await reader(system)
    total = 2 * _PAGE + 5
    for number in range(total):
        await tell(system, user, f"Notice {number}")
    await stored(system, user, total)
    page = await visit(user)
    await page.add_init_script(_BUSY_BROWSER)
    await page.reload()
    await live(page)
    await open_inbox(page)
    rows = page.locator("carillon-inbox .entry").filter(has_text="Notice")
    await rows.first.locator(".open").focus()
    async with asyncio.timeout(DEADLINE_MS / 1000):
        while await rows.count() < total:
            await page.keyboard.press("End")
    assert await rows.count() == total


async def test_what_was_missed_comes_with_the_connection(new_stack: Callable[..., Stack], browser: Browser) -> None:
    stack = new_stack()
    await stack.start()
    async with open_system(stack) as system:
        user = await reader(system)
        page = await (await browser.new_context()).new_page()
        await page.goto(f"{stack.realtime_url}/#token={token(system, user)}")
        await live(page)
        await stack.stop_service("realtime")
        await expect(page.locator("#connection")).not_to_have_attribute("data-state", "open")
        await tell(system, user, "While you were away")
        await stack.start_service("realtime")
        await expect(page.locator("#feed h2")).to_have_text("While you were away", timeout=40_000)
        await expect(badge(page)).to_have_text("1")
        await page.context.close()


async def test_events_stream_where_websockets_do_not_get_through(system: System, browser: Browser) -> None:
    user = await reader(system)
    page = await (await browser.new_context()).new_page()

    async def refuse(socket: WebSocketRoute) -> None:
        await socket.close()

    await page.route_web_socket("**/v1/ws*", refuse)
    await page.goto(f"{system.stack.realtime_url}/#token={token(system, user)}")
    await live(page, "SSE")
    await tell(system, user, "Over SSE")
    await toasts(page).get_by_role("button", name="Over SSE").click()
    await expect(badge(page)).to_be_hidden()
    await system.has_marked(user, "Over SSE", read=True)
    await page.context.close()


async def test_token_leaves_the_address_and_a_bad_one_is_refused(system: System, browser: Browser) -> None:
    page = await (await browser.new_context()).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    good = token(system, await reader(system))
    await page.goto(f"{system.stack.realtime_url}/#token={good}")
    await live(page)
    assert page.url == f"{system.stack.realtime_url}/"
    header, payload, signature = good.split(".")
    await page.goto(f"{system.stack.realtime_url}/#token={header}.{payload}.{signature[::-1]}")
    await expect(page.locator("#token-error")).to_contain_text("does not take this token")
    await page.locator("#token").fill(good)
    await page.get_by_role("button", name="Show my notifications").click()
    await live(page)
    # The first address is the one that was typed; nothing the page asked for may carry a token.
    assert not [url for url in asked if payload in url.partition("#")[0]]
    await page.context.close()

"""What people choose in `<carillon-preferences>`: categories, quiet hours, pauses; by keyboard, on a phone."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, expect

from carillon.local.stack import Stack
from shared.core.clock import SystemClock
from shared.core.model import Channel
from shared.directory.suppression import Cause, Suppressions, digest
from shared.store.keys import Keys
from shared.store.store import Store
from tests.page import DEADLINE_MS, live, reader, token
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

Visit = Callable[..., Awaitable[Page]]

_DESKTOP = {"width": 1280, "height": 800}
_PHONE = {"width": 360, "height": 740}
_CATEGORIES: dict[str, Any] = {
    "comments": {"title": "Comments", "channels": {"email": True}, "digest": {"window": "1h", "channels": ["email"]}},
    "billing": {"title": "Bills and payments", "channels": {"email": True, "push": False}},
    "security": {
        "title": "Security of your account",
        "policy": "required",
        "channels": {"realtime": True, "push": True, "email": True},
    },
    "tips": {"title": "<b>Tips</b> and news", "policy": "opt_in"},
}
_NIGHT = {"windows": [{"from": "22:00", "to": "07:00"}]}


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        for name, record in _CATEGORIES.items():
            await system.publish(f"directory/category/{name}", record)
        yield system


@pytest_asyncio.fixture(loop_scope="session")
async def visit(system: System, browser: Browser) -> AsyncIterator[Visit]:
    """A function that opens the page as a user; no script may fail and the page's policy may refuse nothing."""
    expect.set_options(timeout=DEADLINE_MS)
    complaints: list[str] = []
    pages: list[Page] = []

    async def open_page(user: str, size: dict[str, int] | None = None, locale: str = "", **options: Any) -> Page:
        chosen: dict[str, Any] = {"viewport": size or _DESKTOP, "reduced_motion": "reduce", **options}
        context = await browser.new_context(**chosen)
        page = await context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        await page.goto(f"{system.stack.realtime_url}/#token={token(system, user)}")
        await live(page)
        if locale:
            await page.evaluate(
                "(tag) => { document.documentElement.lang = tag;"
                "if (tag === 'ar') document.documentElement.dir = 'rtl';"
                "document.querySelector('carillon-preferences').locale = tag; }",
                locale,
            )
            await expect(settings(page).locator(".all")).to_have_attribute("lang", locale)
        await expect(settings(page).locator(".channels")).to_be_enabled()
        return page

    yield open_page
    for page in pages:
        await page.context.close()
    assert complaints == []


def settings(page: Page) -> Locator:
    return page.locator("carillon-preferences")


def card(page: Page, title: str) -> Locator:
    return settings(page).get_by_role("group", name=title, exact=True)


async def saved(page: Page) -> None:
    await expect(settings(page).get_by_role("status")).to_have_text("Saved")


async def chosen(system: System, user: str) -> dict[str, Any]:
    status, answer = await system.call("GET", "/v1/preferences", user)
    assert status == 200
    return dict(answer)


async def test_categories_are_shown_with_what_holds_and_each_choice_is_kept(system: System, visit: Visit) -> None:
    user = await reader(system, "chooser")
    page = await visit(user)
    await expect(settings(page).locator(".categories legend")).to_have_text(
        ["<b>Tips</b> and news", "Bills and payments", "Comments", "Security of your account"]
    )
    comments, security = card(page, "Comments"), card(page, "Security of your account")
    await expect(comments.get_by_role("checkbox", name="E-mail")).to_be_checked()
    await expect(comments.get_by_role("checkbox", name="SMS")).not_to_be_checked()
    await expect(card(page, "Bills and payments").get_by_role("checkbox", name="Push")).not_to_be_checked()
    await expect(security).to_contain_text("You need these, so they cannot be turned off.")
    await expect(security.get_by_role("listitem")).to_have_text(["Live", "E-mail", "Push"])
    await expect(security.get_by_role("checkbox")).to_have_count(0)
    await expect(card(page, "<b>Tips</b> and news").get_by_role("checkbox", checked=True)).to_have_count(0)

    await comments.get_by_role("checkbox", name="E-mail").uncheck()
    await comments.get_by_role("combobox", name="How often").select_option("Every day")
    await saved(page)
    await card(page, "<b>Tips</b> and news").get_by_role("checkbox", name="Push").check()
    await saved(page)
    answer = await chosen(system, user)
    assert answer["categories"] == {"comments": {"email": False, "digest": "daily"}, "tips": {"push": True}}
    # What nobody chose is still not chosen.
    assert set(answer["rules"].values()) == {"system:default"}
    await page.reload()
    await expect(comments.get_by_role("checkbox", name="E-mail")).not_to_be_checked()
    await expect(comments.get_by_role("combobox")).to_have_value("daily")
    await comments.get_by_role("button", name="Back to the usual setting").click()
    await expect(comments.get_by_role("checkbox", name="E-mail")).to_be_checked()
    await expect(comments.get_by_role("checkbox", name="Live")).to_be_focused()
    await expect(comments.get_by_role("button")).to_be_hidden()
    assert (await chosen(system, user))["categories"] == {"tips": {"push": True}}


async def test_choices_that_are_refused_are_taken_back(system: System, visit: Visit) -> None:
    page = await visit(await reader(system, "chooser"))
    email = card(page, "Comments").get_by_role("checkbox", name="E-mail")
    # Between the page's loading and the choice, the category has become a required one.
    await system.publish("directory/category/comments", {**_CATEGORIES["comments"], "policy": "required"})
    await email.click()
    await expect(settings(page).get_by_role("alert")).to_have_text("That could not be saved. Please try again.")
    await expect(email).to_be_checked()
    await system.publish("directory/category/comments", _CATEGORIES["comments"])
    await email.click()
    await saved(page)
    await expect(settings(page).get_by_role("alert")).to_be_empty()
    await page.route("**/v1/preferences", lambda route: route.abort())
    await settings(page).get_by_role("button", name="For 1 hour").click()
    await expect(settings(page).get_by_role("alert")).not_to_be_empty()
    await expect(settings(page).get_by_role("button", name="For 1 hour")).to_be_visible()


async def test_many_choices_in_a_row_are_all_kept(system: System, visit: Visit) -> None:
    user = await reader(system, "chooser")
    page = await visit(user)
    for title in ("Comments", "Bills and payments"):
        for channel in ("Live", "E-mail", "SMS", "Push"):
            await card(page, title).get_by_role("checkbox", name=channel).click(no_wait_after=True)
    await settings(page).get_by_role("switch", name="SMS").click()
    await saved(page)
    answer = await chosen(system, user)
    assert answer["categories"] == {
        "comments": {"realtime": False, "email": False, "sms": True, "push": False},
        "billing": {"realtime": False, "email": False, "sms": True, "push": True},
    }
    assert (answer["sms"], answer["rules"]["sms"]) == (True, "user:preference")


async def test_mail_that_was_unsubscribed_from_can_be_had_again(system: System, visit: Visit) -> None:
    user = await reader(system, "chooser", email="chooser@example.com")
    async with Store(system.stack.store.url) as store:
        list_ = Suppressions(store, Keys(system.stack.topic_prefix), Channel.EMAIL, SystemClock())
        await list_.add(digest("chooser@example.com"), Cause.UNSUBSCRIBED, category="billing")
        page = await visit(user)
        billing = card(page, "Bills and payments")
        await expect(billing).to_contain_text("You unsubscribed from these mails.")
        await expect(billing.get_by_role("checkbox", name="E-mail")).not_to_be_checked()
        # Another choice subscribes nobody.
        await billing.get_by_role("checkbox", name="SMS").check()
        await saved(page)
        await expect(billing.locator(".unsubscribed")).to_be_visible()
        await billing.get_by_role("checkbox", name="E-mail").check()
        await expect(billing.locator(".unsubscribed")).to_be_hidden()
        assert await list_.entries(digest("chooser@example.com")) == []


async def test_quiet_hours_have_days_times_and_a_zone(system: System, visit: Visit) -> None:
    user = await reader(system, "chooser")
    page = await visit(user, timezone_id="America/New_York")
    parts = settings(page)
    await expect(parts.get_by_text("No quiet hours.")).to_be_visible()
    await expect(parts.get_by_role("combobox", name="Time zone")).to_be_hidden()
    await parts.get_by_role("button", name="Add quiet hours").click()
    window = card(page, "Quiet hours")
    await expect(window.get_by_label("From")).to_be_focused()
    await expect(window).to_contain_text("the next day")
    # What a person has chosen nothing else about is by the browser's clock.
    assert (await chosen(system, user))["quiet_hours"] == {"timezone": "America/New_York", **_NIGHT}
    await window.get_by_label("From").fill("09:00")
    await window.get_by_label("To").fill("17:30")
    await expect(window.locator(".next-day")).to_be_hidden()
    for day in ("Saturday", "Sunday"):
        await window.get_by_role("checkbox", name=day).uncheck()
    zone = parts.get_by_role("combobox", name="Time zone")
    await zone.fill("europe/paris")
    await zone.press("Enter")
    await expect(zone).to_have_value("Europe/Paris")
    await saved(page)
    weekdays = ["monday", "tuesday", "wednesday", "thursday", "friday"]
    expected = {"timezone": "Europe/Paris", "windows": [{"days": weekdays, "from": "09:00", "to": "17:30"}]}
    assert (await chosen(system, user))["quiet_hours"] == expected
    # A zone that is none is taken back, and a window keeps its last day.
    await zone.fill("Middle-earth/Shire")
    await zone.press("Enter")
    await expect(zone).to_have_value("Europe/Paris")
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday"):
        await window.get_by_role("checkbox", name=day).uncheck()
    await window.get_by_role("checkbox", name="Friday").click()
    await expect(window.get_by_role("checkbox", name="Friday")).to_be_checked()
    await page.reload()
    await expect(window.get_by_role("checkbox", checked=True)).to_have_count(1)
    await window.get_by_role("button", name="Remove").click()
    await expect(parts.get_by_text("No quiet hours.")).to_be_visible()
    await expect(parts.get_by_role("button", name="Add quiet hours")).to_be_focused()
    assert (await chosen(system, user))["quiet_hours"] == {"timezone": "Europe/Paris", "windows": []}


async def test_what_is_half_typed_is_not_written_over(system: System, visit: Visit) -> None:
    user = await reader(system, "chooser")
    page = await visit(user, timezone_id="America/New_York")
    await settings(page).get_by_role("button", name="Add quiet hours").click()
    window = card(page, "Quiet hours")
    begins, zone = window.get_by_label("From"), settings(page).get_by_role("combobox", name="Time zone")
    await expect(begins).to_be_focused()
    await saved(page)
    go_on = asyncio.Event()

    async def slowly(route: Route) -> None:
        if route.request.method == "PUT":
            await go_on.wait()
        await route.continue_()

    async def save_slowly(day: str, type_: Callable[[], Awaitable[None]]) -> None:
        """Let the answer to another choice come while somebody is typing."""
        go_on.clear()
        await window.get_by_role("checkbox", name=day).uncheck(no_wait_after=True)
        await type_()
        go_on.set()
        await saved(page)

    async def type_zone() -> None:
        await zone.fill("europe/paris")

    async def delete_hour() -> None:
        await begins.focus()
        await page.keyboard.press("Backspace")
        await expect(begins).to_have_value("")

    await page.route("**/v1/preferences", slowly)
    await save_slowly("Saturday", type_zone)
    await expect(zone).to_have_value("europe/paris")
    # To look into another window takes nothing away; the field has the focus again when the person is back.
    await zone.dispatch_event("blur")
    await expect(zone).to_have_value("europe/paris")
    await zone.press("Enter")
    await expect(zone).to_have_value("Europe/Paris")
    await save_slowly("Sunday", delete_hour)
    await expect(begins).to_have_value("")
    await page.keyboard.type("11")
    await expect(begins).to_have_value("23:00")
    # What is left half typed is taken back.
    await delete_hour()
    await zone.focus()
    await expect(begins).to_have_value("23:00")
    await saved(page)
    hours = (await chosen(system, user))["quiet_hours"]
    weekdays = ["monday", "tuesday", "wednesday", "thursday", "friday"]
    assert hours == {"timezone": "Europe/Paris", "windows": [{"days": weekdays, "from": "23:00", "to": "07:00"}]}


async def test_a_slow_answer_takes_the_focus_from_nobody(system: System, visit: Visit) -> None:
    user = await reader(system, "chooser")
    page = await visit(user, timezone_id="America/New_York")
    parts = settings(page)
    zone = parts.get_by_role("combobox", name="Time zone")
    await parts.get_by_role("button", name="Add quiet hours").click()
    await expect(card(page, "Quiet hours").get_by_label("From")).to_be_focused()
    await card(page, "Comments").get_by_role("checkbox", name="SMS").check()
    await saved(page)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(route: Route) -> None:
        if route.request.method == "PUT":
            asked.set()
            await go_on.wait()
        await route.continue_()

    await page.route("**/v1/preferences", slowly)
    for button in (
        parts.get_by_role("button", name="Add quiet hours"),
        card(page, "Quiet hours 1").get_by_role("button", name="Remove"),
        card(page, "Comments").get_by_role("button", name="Back to the usual setting"),
    ):
        asked.clear()
        go_on.clear()
        await button.click()
        await asked.wait()
        await zone.fill("europe/pa")
        go_on.set()
        await saved(page)
        # What gives the focus does so in the turn after the answer.
        await page.evaluate("() => new Promise((done) => setTimeout(() => setTimeout(done)))")
        await expect(zone).to_be_focused()
        await expect(zone).to_have_value("europe/pa")


async def test_everything_is_paused_for_a_while_and_goes_on(system: System, visit: Visit) -> None:
    user = await reader(system, "chooser")
    page = await visit(user)
    await settings(page).get_by_role("button", name="Until tomorrow morning").click()
    await expect(settings(page)).to_contain_text("Paused. Goes on:")
    resume = settings(page).get_by_role("button", name="Go on now")
    await expect(resume).to_be_focused()
    until = (await chosen(system, user))["snooze_until"]
    assert time.time() < until < time.time() + 2 * 86_400
    await page.reload()
    await resume.click()
    await expect(settings(page).get_by_role("button", name="For 1 hour")).to_be_focused()
    assert (await chosen(system, user))["snooze_until"] is None


async def test_by_keyboard_alone(system: System, visit: Visit) -> None:
    user = await reader(system, "chooser")
    page = await visit(user)
    await settings(page).get_by_role("switch", name="Push").focus()
    names = []
    for _ in range(24):
        await page.keyboard.press("Tab")
        names.append(
            await page.evaluate(
                "() => { const at = document.querySelector('carillon-preferences').shadowRoot.activeElement;"
                "return at && (at.ariaLabel ?? at.closest('label')?.firstChild.data ?? at.parentElement.textContent"
                " ?? at.textContent); }"
            )
        )
    # Four categories of which one is required, in their order: nothing is left out, and nothing is a trap.
    per_category = ["Live", "E-mail", "SMS", "Push"]
    await expect(card(page, "Comments").get_by_role("combobox")).not_to_be_focused()
    assert [name for name in names if name in per_category] == per_category * 3
    assert "How often" in names
    box = card(page, "Comments").get_by_role("checkbox", name="SMS")
    await box.focus()
    await page.keyboard.press("Space")
    await saved(page)
    await expect(box).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(card(page, "Comments").get_by_role("combobox")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(card(page, "Comments").get_by_role("combobox")).to_have_value("instant")
    await saved(page)
    await settings(page).get_by_role("button", name="Add quiet hours").focus()
    await page.keyboard.press("Enter")
    await expect(card(page, "Quiet hours").get_by_label("From")).to_be_focused()
    await page.keyboard.type("1145PM")
    await saved(page)
    await expect(card(page, "Quiet hours").get_by_label("From")).to_have_value("23:45")
    answer = await chosen(system, user)
    assert answer["categories"] == {"comments": {"sms": True, "digest": "instant"}}
    assert answer["quiet_hours"]["windows"] == [{"from": "23:45", "to": "07:00"}]


async def test_someone_without_categories_sees_none(stack: Stack, browser: Browser) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"{stack.realtime_url}/#token={token(system, await reader(system))}")
        await expect(settings(page).locator(".quiet-hours")).to_be_visible()
        await expect(settings(page).locator(".categories")).to_be_hidden()
        await context.close()


async def test_a_channel_that_is_left_out_is_not_shown(new_stack: Callable[..., Stack], browser: Browser) -> None:
    stack = new_stack(("router", "realtime"), {"CARILLON_WITHOUT": "sms"})
    await stack.start()
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        for name, record in _CATEGORIES.items():
            await system.publish(f"directory/category/{name}", record)
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"{stack.realtime_url}/#token={token(system, await reader(system, preferences={'sms': True}))}")
        channels = settings(page).locator(".channels")
        await expect(channels).to_be_enabled()
        await expect(channels.get_by_role("switch", name="E-mail")).to_be_visible()
        await expect(channels.get_by_role("switch", name="SMS")).to_be_hidden()
        await expect(card(page, "Comments").get_by_label("E-mail", exact=True)).to_be_visible()
        await expect(card(page, "Comments").get_by_label("SMS")).to_have_count(0)
        await context.close()


async def test_a_server_of_the_release_before_is_asked_for_channels_alone(system: System, visit: Visit) -> None:
    channels = {"realtime": True, "email": True, "sms": False, "push": True}
    sent: list[Any] = []

    async def answer(route: Route) -> None:
        if route.request.method == "PUT":
            sent.append(json.loads(route.request.post_data or ""))
        await route.fulfill(json={**channels, **(sent[-1] if sent else {})})

    page = await visit(await reader(system, "chooser"))
    await page.route("**/v1/preferences", answer)
    await page.reload()
    await settings(page).get_by_role("switch", name="SMS").check()
    await saved(page)
    assert sent == [channels | {"sms": True}]
    for part in (".categories", ".quiet-hours", ".pause"):
        await expect(settings(page).locator(part)).to_be_hidden()


@pytest.mark.parametrize(
    ("size", "theme", "locale"),
    [
        (_DESKTOP, "light", ""),
        (_PHONE, "light", "de"),
        (_PHONE, "dark", ""),
        (_DESKTOP, "light", "ar"),
        (_PHONE, "dark", "ar"),
        (_PHONE, "light", "ja"),
    ],
)
async def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    system: System, visit: Visit, node_packages: Path, size: dict[str, int], theme: str, locale: str
) -> None:
    axe = (node_packages / "node_modules" / "axe-core" / "axe.min.js").read_text()
    user = await reader(
        system, "chooser", email="listed@example.com", quiet_hours=_NIGHT, snooze_until=round(time.time()) + 7200
    )
    choices = {"comments": {"email": False, "digest": "weekly"}, "tips": {"push": True}}
    assert (await system.call("PUT", "/v1/preferences", user, json={"categories": choices}))[0] == 200
    page = await visit(user, size, locale, color_scheme=theme)
    await page.evaluate(axe)
    found: list[dict[str, Any]] = await page.evaluate("axe.run().then(({ violations }) => violations)")
    assert [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]] == []
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= size["width"]
    # Nothing sticks out of the element, either.
    wide = await settings(page).evaluate(
        "(host) => { const edge = host.getBoundingClientRect();"
        "return [...host.shadowRoot.querySelectorAll('.all :not(.hidden-text, option, datalist)')]"
        ".filter((one) => one.getBoundingClientRect().width && (one.getBoundingClientRect().right > edge.right + 1"
        " || one.getBoundingClientRect().left < edge.left - 1)).map((one) => one.outerHTML.slice(0, 80)); }"
    )
    assert wide == []

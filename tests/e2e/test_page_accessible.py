"""What axe-core finds in the page and its elements, in everything that they show: nothing."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from carillon.local.stack import Stack
from tests.page import DEADLINE_MS, entry, live, open_inbox, reader, tell, toasts, token
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_DESKTOP = {"width": 1280, "height": 800}
_SAID = {"source": "disk-watch", "affected_systems": ["orders", "billing"]}
_PHONE = {"width": 390, "height": 844}
_ACTIONS = [
    {"id": "approve", "label": "Approve", "topic": True, "style": "primary"},
    {"id": "decline", "label": "Decline", "topic": True},
    {"id": "see", "label": "Open the report", "url": "https://expenses.example.com/reports/7"},
]


async def complaints(page: Page, axe: str) -> list[str]:
    """Return what axe-core has against the page as it is now, in a line each, of whatever standard."""
    if not await page.evaluate("'axe' in globalThis"):
        # As the browser's own tools would: the page's policy lets no other script in.
        await page.evaluate(axe)
    found: list[dict[str, Any]] = await page.evaluate("axe.run().then(({ violations }) => violations)")
    return [f"{one['id']}: {node['html']}: {node['failureSummary']}" for one in found for node in one["nodes"]]


async def fill(system: System) -> str:
    """Write somebody whose inbox has an entry of every kind, and return the user id."""
    user = await reader(system, "reader")
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    for type_ in ("info", "success", "warning", "error", "message"):
        await tell(system, user, f"Of type {type_}", type=type_, category="orders", priority="high")
    await tell(system, user, "With a link", data={"url": "https://example.com/orders/7"}, priority="low")
    await tell(system, user, "With actions", actions=_ACTIONS, category="approvals")
    await tell(system, user, "For later")
    await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Disk full", **_SAID})
    return user


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [_DESKTOP, _PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing(
    stack: Stack, browser: Browser, node_packages: Path, size: dict[str, int], theme: str
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    axe = (node_packages / "node_modules" / "axe-core" / "axe.min.js").read_text()
    found: dict[str, list[str]] = {}
    async with open_system(stack) as system:
        user = await fill(system)
        context = await browser.new_context(
            viewport=size,  # type: ignore[arg-type]
            color_scheme=theme,  # type: ignore[arg-type]
            # Colours are measured where they end up, not on the way there.
            reduced_motion="reduce",
        )
        page = await context.new_page()
        await page.goto(stack.realtime_url)
        await expect(page.locator("#entrance")).to_be_visible()
        found["entrance"] = await complaints(page, axe)
        await page.goto(f"{stack.realtime_url}/#token={token(system, user)}")
        await live(page)
        await expect(page.get_by_role("switch", name="SMS")).to_be_enabled()
        found["page"] = await complaints(page, axe)
        for priority in ("normal", "critical"):
            await tell(system, user, f"Priority {priority}", priority=priority, actions=_ACTIONS)
        await expect(toasts(page)).to_have_count(2)
        found["toasts"] = await complaints(page, axe)
        await toasts(page).get_by_role("button", name="Dismiss").first.click()
        await open_inbox(page)
        await expect(entry(page, "Disk full").get_by_role("button", name="Acknowledge")).to_be_visible()
        found["inbox"] = await complaints(page, axe)
        await entry(page, "Of type error").click()
        await entry(page, "Disk full").get_by_role("button", name="Acknowledge").click()
        await expect(entry(page, "Disk full")).to_contain_text("Acknowledged")
        await entry(page, "With actions").get_by_role("button", name="Approve").click()
        await expect(entry(page, "With actions").locator(".done")).to_be_visible()
        found["read, acknowledged and acted"] = await complaints(page, axe)
        await entry(page, "For later").get_by_role("button", name="Snooze").click()
        await expect(page.get_by_role("menu")).to_be_visible()
        found["snooze menu"] = await complaints(page, axe)
        await page.get_by_role("menuitem").first.click()
        await page.get_by_role("button", name="Snoozed").click()
        await expect(entry(page, "For later")).to_be_visible()
        found["snoozed"] = await complaints(page, axe)
        await page.reload()
        await live(page)
        await open_inbox(page)
        await expect(entry(page, "Disk full")).to_contain_text(f"Acknowledged by {user}")
        found["who took it"] = await complaints(page, axe)
        await page.get_by_role("button", name="Archived").click()
        await expect(page.locator("carillon-inbox .note")).to_have_text("The archive is empty.")
        found["empty view"] = await complaints(page, axe)
        await page.goto("about:blank")
        await page.goto(f"{stack.realtime_url}/#token={token(system, f'stranger-{uuid.uuid4().hex[:8]}')}")
        await expect(page.locator("carillon-preferences .trouble")).not_to_be_empty()
        found["somebody unknown"] = await complaints(page, axe)
        await context.close()
    assert {where: what for where, what in found.items() if what} == {}


@pytest.mark.parametrize(("size", "theme"), [(_DESKTOP, "light"), (_PHONE, "dark")], ids=["desktop", "phone"])
async def test_axe_finds_nothing_from_right_to_left(
    stack: Stack, browser: Browser, node_packages: Path, size: dict[str, int], theme: str
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    axe = (node_packages / "node_modules" / "axe-core" / "axe.min.js").read_text()
    found: dict[str, list[str]] = {}
    async with open_system(stack) as system:
        user = await fill(system)
        context = await browser.new_context(
            viewport=size,  # type: ignore[arg-type]
            color_scheme=theme,  # type: ignore[arg-type]
            reduced_motion="reduce",
        )
        page = await context.new_page()
        await page.goto(f"{stack.realtime_url}/#token={token(system, user)}")
        await page.evaluate(
            "for (const one of [document.documentElement, ...document.querySelectorAll('carillon-inbox')]) "
            "{ one.lang = one.locale = 'ar'; one.dir = 'rtl'; }"
        )
        await live(page)
        await expect(page.locator("carillon-inbox .panel")).to_have_attribute("lang", "ar")
        await tell(system, user, "Just now", priority="critical", actions=_ACTIONS)
        await expect(toasts(page)).to_have_count(1)
        found["toasts"] = await complaints(page, axe)
        await toasts(page).locator(".dismiss").click()
        await open_inbox(page)
        await expect(entry(page, "With actions")).to_be_visible()
        found["inbox"] = await complaints(page, axe)
        await entry(page, "For later").locator(".snooze").click()
        await expect(page.get_by_role("menu")).to_be_visible()
        found["snooze menu"] = await complaints(page, axe)
        await page.get_by_role("menuitem").first.click()
        await page.locator("carillon-inbox .view").nth(2).click()
        await expect(entry(page, "For later")).to_be_visible()
        found["snoozed"] = await complaints(page, axe)
        await context.close()
    assert {where: what for where, what in found.items() if what} == {}

"""Support's five questions, each answered in the console by clicks; and axe finds nothing in these pages."""

import re
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from carillon.local.stack import Stack
from shared.core.clock import SystemClock
from shared.core.model import Channel
from shared.delivery.by_hand import ByHand
from shared.directory.suppression import Cause, Suppressions, digest
from shared.ledger.reader import Trace
from tests.console import Served
from tests.page import DEADLINE_MS
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_PHONE = {"width": 360, "height": 740}


async def ended(console: Served, notification_id: str, channel: str) -> None:
    """Wait until the service knows how a delivery ended; the page is no proof of that."""
    trace = Trace(console.store, console.keys)

    async def is_over() -> bool:
        rows = [row async for row in trace.rows(notification_id) if row.lane == channel]
        return bool(rows) and all(row.state.is_end for row in rows)

    await eventually(is_over, 30, f"the end of {channel}")


async def ask(page: Page, text: str) -> None:
    """Type something into Find."""
    await page.get_by_role("link", name="Find", exact=True).click()
    await page.get_by_label("Person, address or id").fill(text)
    await page.get_by_role("button", name="Find", exact=True).click()


async def bounced(console: Served, address: str) -> None:
    """Let an earlier mail to an address have come back."""
    unwanted = Suppressions(console.store, console.keys, Channel.EMAIL, SystemClock())
    await unwanted.add(digest(address), Cause.BOUNCE, "smtp 5.1.1")


async def person_without_push(system: System) -> tuple[str, str]:
    name = f"ada-{uuid.uuid4().hex[:8]}"
    address = f"{name}@example.com"
    return await system.person(name, email=address, preferences={"push": False}, devices=[
        {"platform": "ios", "token": uuid.uuid4().hex * 2}]), address  # fmt: skip


async def test_why_she_got_no_mail_and_why_not_by_push(stack: Stack, console: Served, browser: Browser) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        user, address = await person_without_push(system)
        await bounced(console, address)
        sent = await system.publish(f"notifications/realtime/user/{user}", {"message": "Hello", "priority": "high"})
        assert sent.notification_id is not None
        await ended(console, sent.notification_id, "email")
    async with console.window(browser, "viewer", viewport=_PHONE) as page:
        await page.goto(f"{console.url}/find")
        await page.get_by_label("Person, address or id").fill(address)
        await page.get_by_role("button", name="Find", exact=True).click()
        await expect(page.get_by_role("heading", name="What went to this address")).to_be_visible()
        assert "@" not in page.url
        assert address not in page.url
        await page.get_by_role("link", name=sent.notification_id).click()
        await expect(page.get_by_role("heading", name="Its life")).to_be_visible()
        mail = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="email"))
        await expect(mail).to_contain_text("not sent")
        await expect(mail).to_contain_text("An earlier message to this address came back.")
        push = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="push"))
        await expect(push).to_contain_text("The channel is switched off for this person.")
        await expect(push).to_contain_text("Decided by")
        # Nothing is wider than the phone.
        assert await page.evaluate("document.documentElement.scrollWidth") <= _PHONE["width"]


async def test_who_was_told_of_this_alert(stack: Stack, console: Served, browser: Browser) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        kind = f"disk-{uuid.uuid4().hex[:8]}"
        user = await system.person("oncall", email=f"{kind}@example.com")
        await system.publish(f"directory/oncall/{kind}", {"users": [user]})
        sent = await system.publish(f"notifications/alerts/critical/{kind}", {"message": "The disk is full."})
        assert sent.notification_id is not None
        await ended(console, sent.notification_id, "email")
    async with console.window(browser, "viewer") as page:
        await ask(page, sent.notification_id)
        await expect(page.get_by_role("heading", name="Its life")).to_be_visible()
        mail = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="email"))
        await expect(mail.filter(has_text=user)).to_contain_text("delivered")
        await page.get_by_role("link", name="The incident").click()
        await expect(page.locator("main")).to_contain_text(user)


async def test_whether_a_provider_is_down_and_whether_anything_is_stuck(console: Served, browser: Browser) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    reason = f"rotating keys {uuid.uuid4().hex[:6]}"
    by_hand = ByHand(console.store, console.keys)
    async with console.window(browser, "operator") as page:
        await page.get_by_role("link", name="Providers", exact=True).click()
        smtp = page.get_by_role("listitem").filter(has=page.locator("strong", has_text=re.compile("^twilio$")))
        await smtp.locator("summary").click()
        await smtp.get_by_label("Reason").fill(reason)
        await smtp.get_by_role("button", name="Pause", exact=True).click()
        await expect(page.locator("main")).to_contain_text("is paused until")

        async def paused() -> list[str]:
            return [str(each.target) for each in await by_hand.paused()]

        await eventually(lambda: _has(paused, "sms/twilio", there=True), 10, "the pause")
        await expect(smtp).to_contain_text(reason)
        await smtp.locator("summary").click()
        await smtp.get_by_role("button", name="Resume", exact=True).click()
        await expect(page.locator("main")).to_contain_text("sends again")
        await eventually(lambda: _has(paused, "sms/twilio", there=False), 10, "the end of the pause")
        await page.get_by_role("link", name="Dead letters", exact=True).click()
        await expect(page.get_by_role("heading", name="Dead letters", exact=True)).to_be_visible()


async def _has(paused: Callable[[], Awaitable[list[str]]], target: str, *, there: bool) -> bool:
    return (target in await paused()) is there


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(
    stack: Stack, console: Served, browser: Browser, node_packages: Path, theme: str
) -> None:
    axe = (node_packages / "node_modules" / "axe-core" / "axe.min.js").read_text()
    async with open_system(stack) as system:
        user, address = await person_without_push(system)
        await bounced(console, address)
        sent = await system.publish(f"notifications/realtime/user/{user}", {"message": "Hello", "priority": "high"})
        assert sent.notification_id is not None
        await ended(console, sent.notification_id, "email")
    paths = (
        "/find", f"/find?person={user}", f"/trace/{sent.notification_id}", f"/people/{user}", "/dead-letters",
        "/dead-letters/replay", "/dead-letters/drop", "/providers",
    )  # fmt: skip
    found: list[str] = []
    async with console.window(browser, "operator", viewport=_PHONE, color_scheme=theme, bypass_csp=True) as page:
        for path in paths:
            await page.goto(console.url + path)
            await page.evaluate(axe)
            violations = await page.evaluate("axe.run().then(({ violations }) => violations)")
            found += [f"{path} {one['id']}: {node['html']}" for one in violations for node in one["nodes"]]
            width = await page.evaluate("document.documentElement.scrollWidth")
            if width > _PHONE["width"]:
                found.append(f"{path}: {width} px wide")
    assert found == []

"""Support's five questions, each answered in the console by clicks; and axe finds nothing in these pages."""

import itertools
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from carillon.console import prometheus as latencies
from carillon.local.ports import free_port
from carillon.local.prometheus import local_prometheus, prometheus_url
from carillon.local.stack import Stack
from shared.core.clock import SystemClock
from shared.core.model import Channel
from shared.delivery.by_hand import ByHand
from shared.delivery.standing import ProviderState
from shared.directory.suppression import Cause, Suppressions, digest
from shared.ledger.reader import Trace
from shared.runtime.alive import Processes
from tests.conftest import need
from tests.console import Served, console_of, faults
from tests.page import DEADLINE_MS
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_PHONE = {"width": 360, "height": 740}


# Clicks and forms that are sent, from the page that opens after signing in to the answer.
CLICKS_AT_MOST = 3
# Failures in a row after which a provider counts as down, and some more.
MAILS = 12


@dataclass
class Walk:
    """Somebody who clicks from page to page; notes what each page took, from asking to its last byte."""

    page: Page
    clicks: int = 0
    took_ms: dict[str, float] = field(default_factory=dict)

    async def click(self, what: Locator) -> None:
        before = self.page.url
        await what.click()
        self.clicks += 1
        await self.page.wait_for_url(lambda url: url != before)
        await self.page.wait_for_load_state()
        took = "performance.getEntriesByType('navigation').map((it) => it.responseEnd - it.requestStart)[0]"
        self.took_ms[self.page.url.rpartition("/")[2]] = round(await self.page.evaluate(took), 1)

    async def find(self, text: str) -> None:
        """Type something into Find."""
        await self.click(self.page.get_by_role("link", name="Find", exact=True))
        await self.page.get_by_label("Person, address or id").fill(text)
        await self.click(self.page.get_by_role("button", name="Find", exact=True))

    def answered(self, record_property: Callable[[str, object], None]) -> None:
        """Say that the answer is on the page."""
        record_property("page_ms", self.took_ms)
        assert self.clicks <= CLICKS_AT_MOST


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def troubled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A system of its own, for what others must not meet."""
    stack = Stack(tmp_path_factory.mktemp("troubled"), services=("router", "email", "sms"))
    await stack.start()
    yield stack
    await stack.stop()


async def ended(console: Served, notification_id: str, channel: str) -> None:
    """Wait until the service knows how a delivery ended; the page is no proof of that."""
    trace = Trace(console.store, console.keys)

    async def is_over() -> bool:
        rows = [row async for row in trace.rows(notification_id) if row.lane == channel]
        return bool(rows) and all(row.state.is_end for row in rows)

    await eventually(is_over, 30, f"the end of {channel}")


async def bounced(console: Served, address: str) -> None:
    """Let an earlier mail to an address have come back."""
    unwanted = Suppressions(console.store, console.keys, Channel.EMAIL, SystemClock())
    await unwanted.add(digest(address), Cause.BOUNCE, "smtp 5.1.1")


async def person_without_push(system: System) -> tuple[str, str]:
    name = f"ada-{uuid.uuid4().hex[:8]}"
    address = f"{name}@example.com"
    return await system.person(name, email=address, preferences={"push": False}, devices=[
        {"platform": "ios", "token": uuid.uuid4().hex * 2}]), address  # fmt: skip


async def test_why_she_got_no_mail_and_why_not_by_push(
    stack: Stack, console: Served, browser: Browser, record_property: Callable[[str, object], None]
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        user, address = await person_without_push(system)
        await bounced(console, address)
        sent = await system.publish(f"notifications/realtime/user/{user}", {"message": "Hello", "priority": "high"})
        assert sent.notification_id is not None
        await ended(console, sent.notification_id, "email")
    async with console.window(browser, "viewer", viewport=_PHONE) as page:
        walk = Walk(page)
        await page.get_by_role("button", name="Menu").click()
        await walk.find(address)
        await expect(page.get_by_role("heading", name="What went to this address")).to_be_visible()
        assert "@" not in page.url
        assert address not in page.url
        await walk.click(page.get_by_role("link", name=sent.notification_id))
        await expect(page.get_by_role("heading", name="Its life")).to_be_visible()
        mail = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="email"))
        await expect(mail).to_contain_text("not sent")
        await expect(mail).to_contain_text("An earlier message to this address came back.")
        push = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="push"))
        await expect(push).to_contain_text("The channel is switched off for this person.")
        await expect(push).to_contain_text("Decided by")
        walk.answered(record_property)
        # Nothing is wider than the phone.
        assert await page.evaluate("document.documentElement.scrollWidth") <= _PHONE["width"]


async def test_who_was_told_of_this_alert(
    stack: Stack, console: Served, browser: Browser, record_property: Callable[[str, object], None]
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        kind = f"disk-{uuid.uuid4().hex[:8]}"
        user = await system.person("oncall", email=f"{kind}@example.com")
        await system.publish(f"directory/oncall/{kind}", {"users": [user]})
        sent = await system.publish(f"notifications/alerts/critical/{kind}", {"message": "The disk is full."})
        assert sent.notification_id is not None
        await ended(console, sent.notification_id, "email")
    async with console.window(browser, "viewer") as page:
        walk = Walk(page)
        await walk.find(sent.notification_id)
        await expect(page.get_by_role("heading", name="Its life")).to_be_visible()
        mail = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="email"))
        await expect(mail.filter(has_text=user)).to_contain_text("delivered")
        await walk.click(page.get_by_role("link", name="The incident"))
        await expect(page.locator("main")).to_contain_text(user)
        walk.answered(record_property)


async def test_whether_a_provider_is_down_and_what_is_stuck_behind_it(
    troubled: Stack, browser: Browser, record_property: Callable[[str, object], None]
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(troubled) as system, console_of(troubled, without=["push", "realtime"]) as console:
        await system.sandbox.play("smtp", {"reply": "421 4.3.2 Closing", "at": "mail"}, times=None)
        for number in range(MAILS):
            said = {"to": f"waits{number}@example.com", "subject": "Hello", "body": "Hello"}
            assert (await system.publish("notifications/email/send", said)).status == "accepted"
        processes = Processes(console.store, console.keys)

        async def is_down() -> bool:
            found = (await processes.of([Channel.EMAIL]))["email"]
            return any(each.state is ProviderState.DOWN for process in found for each in process.standings)

        await eventually(is_down, 60, "the provider is down")
        async with console.window(browser, "viewer") as page:
            # Is a provider down? Now says so by itself; Providers says what becomes of what waits.
            walk = Walk(page)
            await expect(page.get_by_role("region", name="Not well")).to_contain_text("email: smtp has failed")
            await walk.click(page.get_by_role("link", name="Providers", exact=True))
            smtp = page.get_by_role("listitem").filter(has=page.locator("strong", has_text=re.compile("^smtp$")))
            await expect(smtp).to_contain_text("down")
            await expect(smtp).to_contain_text("What waits is tried again by itself.")
            walk.answered(record_property)
        async with console.window(browser, "viewer") as page:
            # Is anything stuck? The lane says how many wait since when; one click lists them, each with the reason.
            walk = Walk(page)
            lane = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="email", exact=True))
            await walk.click(lane.get_by_role("link", name=f"{MAILS} open"))
            rows = page.locator("table.found tbody tr")
            await expect(rows).to_have_count(MAILS)
            for row in await rows.all_text_contents():
                assert "waiting" in row or "being sent" in row
            await expect(rows.filter(has_text="The provider is out of order.").first).to_be_visible()
            await walk.click(rows.first.get_by_role("link"))
            await expect(page.get_by_role("heading", name="Its life")).to_be_visible()
            await expect(page.locator("main")).to_contain_text("It failed for now, and is tried again.")
            walk.answered(record_property)
        # It is at an end by itself, and the pages say so.
        await system.sandbox.heal()
        await system.arrived(MAILS, 60, channel="email")
        async with console.window(browser, "viewer") as page:
            await expect(page.get_by_role("region", name="All is well")).to_be_visible(timeout=60_000)
            await page.goto(f"{console.url}/find?channel=email&outcome=open")
            await expect(page.locator("main")).to_contain_text("Nothing was found")


async def test_what_is_stuck_because_a_service_is_gone_is_named(
    troubled: Stack, browser: Browser, record_property: Callable[[str, object], None]
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(troubled) as system, console_of(troubled, without=["push", "realtime"]) as console:
        await troubled.stop_service("sms")
        sent = await system.publish("notifications/sms/send", {"phone": "+12025550188", "message": "Hello"})
        assert sent.notification_id is not None
        async with console.window(browser, "viewer") as page:
            walk = Walk(page)
            await expect(page.get_by_role("region", name="Not well")).to_contain_text("sms: no process is alive")
            lane = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="sms", exact=True))
            await walk.click(lane.get_by_role("link", name="1 open"))
            await expect(page.get_by_role("link", name=sent.notification_id)).to_be_visible()
            walk.answered(record_property)
        await troubled.start_service("sms")
        await ended(console, sent.notification_id, "sms")


async def test_now_draws_the_latencies_that_prometheus_knows(
    troubled: Stack, browser: Browser, node_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("prometheus")
    expect.set_options(timeout=DEADLINE_MS)
    axe = (node_packages / "node_modules" / "axe-core" / "axe.min.js").read_text()
    # A chart of minutes would take minutes.
    for name, seconds in (("EVERY_S", 1), ("SPAN_S", 300), ("STEP_S", 5)):
        monkeypatch.setattr(latencies, name, seconds)
    port = free_port(troubled.ports.all())
    targets = {service: troubled.ops_url(service) for service in ("router", "email", "sms")}
    prometheus = local_prometheus(tmp_path, port, targets, interval_s=1)
    assert prometheus is not None
    await prometheus.start()
    try:
        async with (
            open_system(troubled) as system,
            console_of(troubled, without=["push", "realtime"], prometheus_url=prometheus_url(port)) as console,
            console.window(browser, "viewer", viewport=_PHONE) as page,
        ):
            hour = page.get_by_role("region", name="From acceptance to the provider's answer")
            chart = hour.get_by_role(
                "img", name=re.compile(r"email, normal: 99 of 100 deliveries take at most [0-9.]+m?s")
            )

            async def is_drawn() -> bool:
                said = {"to": "timed@example.com", "subject": "Hello", "body": "Hello"}
                await system.publish("notifications/email/send", said)
                return await chart.count() > 0

            await eventually(is_drawn, 90, "the chart")
            await expect(hour).to_contain_text(re.compile(r"half within [0-9.]+m?s, 99 of 100 within [0-9.]+m?s"))
            # A line, be it of a single value.
            await expect(chart.locator("path.line")).to_have_attribute("d", re.compile("^M[0-9. ]+L[0-9. ]+"))
            for theme, size in itertools.product(("light", "dark"), (_PHONE, {"width": 1280, "height": 800})):
                await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                await page.set_viewport_size(size)  # type: ignore[arg-type]
                assert await faults(page, axe) == [], (theme, size)
            # One that is gone costs the page its charts and nothing else.
            await prometheus.kill()
            await expect(page.locator("main")).to_contain_text("Prometheus does not answer: no latencies.")
            await expect(page.get_by_role("region", name="Lanes")).to_be_visible()
    finally:
        await prometheus.stop()


async def test_a_provider_is_paused_and_resumed_by_clicks(console: Served, browser: Browser) -> None:
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

        await eventually(lambda: _has(paused, "sms/twilio", there=True), 30, "the pause")
        await expect(smtp).to_contain_text(reason)
        await smtp.locator("summary").click()
        await smtp.get_by_role("button", name="Resume", exact=True).click()
        await expect(page.locator("main")).to_contain_text("sends again")
        await eventually(lambda: _has(paused, "sms/twilio", there=False), 30, "the end of the pause")
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

"""An alert is acknowledged by the link of its mail or push, and by nothing less than a press of its button."""

import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from carillon.local.stack import Stack
from shared.directory.answer_link import AnswerLink, read_token, token
from shared.ledger.ledger import AlertState
from shared.ledger.reader import Trace, TracedRecord
from shared.store.keys import Keys
from shared.store.store import Store
from tests.page import DEADLINE_MS
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_REFUSED = "This link is not complete, not valid any more, or not for you."


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    expect.set_options(timeout=DEADLINE_MS)
    async with open_system(stack) as system:
        yield system


@dataclass
class Alarm:
    """A critical alert that one person was told of by mail."""

    alert_id: str
    user_id: str
    link: str
    trace: Trace
    system: System

    @property
    def about(self) -> AnswerLink:
        """What the link says."""
        found = read_token(secret(self.system), self.link.partition("?token=")[2], datetime.now(UTC))
        assert found is not None
        return found

    async def record(self) -> TracedRecord:
        record = await self.trace.record(self.alert_id)
        assert record is not None
        return record

    async def escalates(self) -> bool:
        """Tell whether a step of the escalation is still to come."""
        rows = [row async for row in self.trace.rows(self.alert_id)]
        return any(row.key.startswith("escalate:") and not row.state.is_end for row in rows)


def secret(system: System) -> str:
    return system.stack.environment["REALTIME_LINK_SECRET"]


def address(system: System, link: AnswerLink) -> str:
    """Sign a link as the services do."""
    return f"{system.stack.realtime_url}/v1/answer?token={token(secret(system), link)}"


@pytest_asyncio.fixture(loop_scope="session")
async def trace(stack: Stack) -> AsyncIterator[Trace]:
    async with Store(stack.store.url) as store:
        yield Trace(store, Keys())


async def alarm(system: System, trace: Trace) -> Alarm:
    """Raise an alert, and read the link in the mail that tells of it."""
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    user = f"oncall-{uuid.uuid4().hex[:8]}"
    record = {"email": system.address(user), "name": "On call", "timezone": "Europe/Paris"}
    await system.publish(f"directory/user/{user}", record)
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    said = {"message": "The disk is full.", "source": "disk-watch", "affected_systems": ["orders", "billing"]}
    receipt = await system.publish(f"notifications/alerts/critical/{kind}", said)
    (mail,) = await system.arrived(1, to=system.address(user))
    (link,) = re.findall(r"^https?://\S+$", mail["body"], re.MULTILINE)
    return Alarm(str(receipt.alert_id), user, link, trace, system)


async def visit(browser: Browser, link: str) -> Page:
    # Without scripts, as in a mail program's own browser.
    context = await browser.new_context(viewport={"width": 360, "height": 640}, java_script_enabled=False)
    page = await context.new_page()
    await page.goto(link)
    return page


async def test_the_mails_link_shows_the_alert_and_its_button_takes_it(
    system: System, trace: Trace, browser: Browser
) -> None:
    raised = await alarm(system, trace)
    for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Sec-Purpose": "prefetch", "Purpose": "prefetch"})):
        async with system.http.request(method, raised.link, headers=headers) as answer:
            assert answer.status == 200
    page = await visit(browser, raised.link)
    for text in ("The disk is full.", "disk-watch", "orders, billing", "just now", "Nobody has acknowledged"):
        await expect(page.get_by_text(text)).to_be_visible()
    assert ((await raised.record()).alert, await raised.escalates()) == (AlertState.OPEN, True)

    await page.get_by_role("button", name="Acknowledge").click()
    await expect(page.get_by_text("You have acknowledged this alert.")).to_be_visible()
    await expect(page.get_by_role("button")).to_have_count(0)
    record = await raised.record()
    assert (record.alert, record.acknowledged_by) == (AlertState.ACKNOWLEDGED, raised.user_id)
    assert not await raised.escalates()
    await page.context.close()

"""Swagger UI over the API's description, in a browser: it runs under our policy, asks nobody else, and makes calls."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from carillon.local.servers import LocalServer
from tests.conftest import EmptyStore
from tests.page import DEADLINE_MS
from tests.realtime import Realtime, notification, realtime_node, token

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    expect.set_options(timeout=DEADLINE_MS)
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_demo_page="on") as running:
        yield running


async def test_a_call_is_made_from_the_description(node: Realtime, browser: Browser) -> None:
    sent = await node.to_user("user1", notification("number 1"))
    context = await browser.new_context()
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    await page.goto(f"{node.url}/api")
    await page.get_by_role("link", name="Swagger UI").click()
    await page.get_by_role("button", name="Authorize").click()
    form = page.locator("form").filter(has_text="token (http, Bearer)")
    await form.get_by_label("auth-bearer-value").fill(token("user1"))
    await form.get_by_role("button", name="Apply credentials").click()
    await page.get_by_role("button", name="Close", exact=True).first.click()
    await page.locator("#operations-inbox-readInbox .opblock-summary-control").click()
    await page.get_by_role("button", name="Try it out").click()
    await page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table")
    await expect(answer.locator(".response-col_status").last).to_have_text("200")
    await expect(answer).to_contain_text(sent.id)

    assert complaints == []
    assert {url for url in asked if not url.startswith((node.url, "data:"))} == set()
    await context.close()


async def test_it_is_there_only_where_the_page_for_trying_out_is(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    paths = ("/api/try", "/api/viewer.js", "/api/swagger-ui.css", "/api/swagger-ui-bundle.js")
    for demo, status in (("off", 404), ("on", 200)):
        async with realtime_node(store.url, broker.url, topic_prefix, realtime_demo_page=demo) as node:
            for path in paths:
                async with node.client.get(f"{node.url}{path}") as answer:
                    assert (path, answer.status) == (path, status)
            async with node.client.get(f"{node.url}/api") as answer:
                assert ("api/try" in await answer.text()) is (demo == "on")

"""The quick start of docs/guides/web.md, taken from there, in a page of another origin than the service."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from carillon.local.ports import LOOPBACK, free_port
from carillon.local.stack import Stack
from tests.page import DEADLINE_MS, badge, entry, open_inbox, tell, toasts, token
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_DOCUMENT = Path(__file__).parents[2] / "docs" / "guides" / "web.md"
_THEIRS = "https://notify.example.com"


def quick_start(url: str) -> str:
    """Return the document's page, for a service at this address."""
    found = re.search(r"```html\n(<!doctype html>.*?)```", _DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found[1].replace(_THEIRS, url)


@asynccontextmanager
async def site(port: int, page: str, proof: Callable[[], str], policy: str = "") -> AsyncIterator[str]:
    """Serve somebody's own site: his page, with its script in a file where a policy asks for it, and his tokens."""
    inline = re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    assert inline is not None
    files = {"/": ("text/html", page), "/page.js": ("text/javascript", inline[1])}
    if policy:
        files["/"] = ("text/html", page.replace(inline[0], '<script type="module" src="/page.js"></script>'))

    async def answer(request: web.Request) -> web.Response:
        kind, text = files[request.path]
        headers = {"Content-Security-Policy": policy} if policy else None
        return web.Response(text=text, content_type=kind, headers=headers)

    async def give_token(_request: web.Request) -> web.Response:
        return web.Response(text=proof())

    app = web.Application()
    app.add_routes([web.get(path, answer) for path in files])
    app.add_routes([web.get("/my/notification-token", give_token)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        yield f"http://{LOOPBACK}:{port}"
    finally:
        await runner.cleanup()


async def works(system: System, page: Page, user: str) -> None:
    """Be told of something, read it, and see that the service knows."""
    await tell(system, user, "From elsewhere")
    await expect(toasts(page)).to_contain_text("From elsewhere")
    await expect(badge(page)).to_have_text("1")
    await open_inbox(page)
    await entry(page, "From elsewhere").click()
    await expect(badge(page)).to_be_hidden()
    await entry(page, "From elsewhere").get_by_role("button", name="Mark unread").click()
    await expect(badge(page)).to_have_text("1")
    await system.has_marked(user, "From elsewhere", read=False)


@pytest.mark.parametrize("strict", [False, True], ids=["any policy", "strict policy"])
async def test_quick_start_of_the_document_works_in_a_page_of_another_origin(
    new_stack: Callable[..., Stack], browser: Browser, *, strict: bool
) -> None:
    expect.set_options(timeout=DEADLINE_MS)
    port = free_port()
    stack = new_stack(
        services=("router", "realtime"), settings={"REALTIME_ALLOWED_ORIGINS": f"http://{LOOPBACK}:{port}"}
    )
    await stack.start()
    host = stack.realtime_url.removeprefix("http://")
    policy = (
        f"default-src 'self'; style-src 'self'; script-src 'self' http://{host}; "
        f"connect-src 'self' http://{host} ws://{host}"
    )
    async with open_system(stack) as system:
        user = await system.person("reader")
        page = await (await browser.new_context()).new_page()
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda line: trouble.append(line.text) if line.type == "error" else None)
        async with site(
            port, quick_start(stack.realtime_url), lambda: token(system, user), policy if strict else ""
        ) as own:
            await page.goto(own)
            await expect(page.locator("carillon-inbox .connection")).to_have_text("Live")
            await works(system, page, user)
            # The browser's own request for an icon is no part of it.
            assert [line for line in trouble if "favicon" not in line and "404" not in line] == []
            await page.context.close()


async def test_page_of_an_origin_that_is_not_named_gets_nothing(
    new_stack: Callable[..., Stack], browser: Browser
) -> None:
    stack = new_stack(services=("router", "realtime"))
    await stack.start()
    port = free_port()
    async with open_system(stack) as system:
        user = await system.person("reader")
        page = await (await browser.new_context()).new_page()
        async with site(port, quick_start(stack.realtime_url), lambda: token(system, user)) as own:
            async with page.expect_event("requestfailed") as refused:
                await page.goto(own)
            assert (await refused.value).url == f"{stack.realtime_url}/inbox-element.js"
            assert await page.evaluate("customElements.get('carillon-inbox') === undefined")
            calls = """(url) => Promise.allSettled([
              fetch(`${url}/v1/inbox`),
              new Promise((done, failed) => {
                const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`);
                socket.onopen = done;
                socket.onerror = failed;
              }),
            ]).then((ends) => ends.map(({ status }) => status))"""
            assert await page.evaluate(calls, stack.realtime_url) == ["rejected", "rejected"]
            await page.context.close()

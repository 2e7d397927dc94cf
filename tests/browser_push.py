"""A browser that takes pushes, for tests.

No push service of a browser's maker is asked: the browser's subscription is the sandbox's, and what the sandbox got is
handed to the real service worker.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, expect

from tests.page import DEADLINE_MS, live, token
from tests.system import System

# Stands for the maker's push service, which a test cannot ask: what PushManager answers, with the sandbox's address.
_PUSH_MANAGER = """(() => {
  const made = %s;
  const kept = () => sessionStorage.getItem("subscribed");
  const subscription = (key) => ({
    endpoint: made.endpoint,
    options: { applicationServerKey: Uint8Array.from(key.split(","), Number).buffer },
    toJSON: () => ({ ...made, expirationTime: null }),
    unsubscribe: async () => { sessionStorage.removeItem("subscribed"); return true; },
  });
  PushManager.prototype.getSubscription = async () => (kept() ? subscription(kept()) : null);
  PushManager.prototype.subscribe = async ({ applicationServerKey, userVisibleOnly }) => {
    if (!userVisibleOnly) throw new DOMException("silent pushes are refused", "NotAllowedError");
    sessionStorage.setItem("subscribed", [...applicationServerKey].join(","));
    return subscription(kept());
  };
})()"""


@asynccontextmanager
async def visit(system: System, browser: Browser, user: str, *, allowed: bool = True) -> AsyncIterator[Page]:
    """Open the page as a user whose browser subscribes at the sandbox."""
    expect.set_options(timeout=DEADLINE_MS)
    async with system.http.post(f"{system.stack.sandbox_url}/webpush/subscriptions", json={"name": user}) as answer:
        subscription = await answer.json()
    context = await browser.new_context()
    if allowed:
        await context.grant_permissions(["notifications"], origin=system.stack.realtime_url)
    await context.add_init_script(_PUSH_MANAGER % json.dumps(subscription))
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
    await page.goto(f"{system.stack.realtime_url}/#token={token(system, user)}")
    await live(page)
    yield page
    await context.close()
    assert complaints == []


async def push(page: Page, data: str, times: int = 1) -> None:
    """Hand a push to the page's service worker by the browser's own tools, and wait until it has been dealt with.

    Only then may the page ask for what is shown: while a notification is on its way to the screen, Chromium's
    `getNotifications` finds it stored and not displayed, and deletes it as one that the person has closed.

    Args:
        page: a page whose worker is registered.
        data: the push's decrypted text.
        times: how many times the push arrives.
    """
    tools = await page.context.new_cdp_session(page)
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    ends: asyncio.Queue[list[dict[str, str]]] = asyncio.Queue()

    def registered(event: dict[str, Any]) -> None:
        if event["registrations"] and not found.done():
            found.set_result(event["registrations"][0]["registrationId"])

    def happened(event: dict[str, Any]) -> None:
        if event["backgroundServiceEvent"]["eventName"] == "Push event completed":
            ends.put_nowait(event["backgroundServiceEvent"]["eventMetadata"])

    tools.on("ServiceWorker.workerRegistrationUpdated", registered)
    tools.on("BackgroundService.backgroundServiceEventReceived", happened)
    await tools.send("ServiceWorker.enable")
    await tools.send("BackgroundService.startObserving", {"service": "pushMessaging"})
    await tools.send("BackgroundService.setRecording", {"service": "pushMessaging", "shouldRecord": True})
    async with asyncio.timeout(DEADLINE_MS / 1000):
        origin = await page.evaluate("location.origin")
        message = {"origin": origin, "registrationId": await found, "data": data}
        for _ in range(times):
            await tools.send("ServiceWorker.deliverPushMessage", message)
            assert await ends.get() == [{"key": "Status", "value": "Success"}]
    await tools.detach()


async def shown(page: Page) -> list[dict[str, Any]]:
    """Return the system's notifications that the service worker shows."""
    notes: list[dict[str, Any]] = await page.evaluate(
        """async () => {
          const registration = await navigator.serviceWorker.ready;
          const notes = await registration.getNotifications();
          return notes.map(({ title, body, tag, requireInteraction, data }) =>
            ({ title, body, tag, requireInteraction, data }));
        }"""
    )
    return notes

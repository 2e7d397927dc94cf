"""Reads the page in a browser, and acts on it, for tests."""

from playwright.async_api import Locator, Page, expect

from tests.system import System
from tests.waiting import eventually

DEADLINE_MS = 30_000


def token(system: System, user: str) -> str:
    """A user's JWT, as the page takes it."""
    return system.headers(user)["Authorization"].removeprefix("Bearer ")


async def reader(system: System, name: str = "reader", **record: object) -> str:
    """Somebody with nothing unread. Broadcasts of other tests are in everybody's inbox, so they are marked as read."""
    user = await system.person(name, **record)
    await system.call("POST", "/v1/inbox/read-all", user)
    return user


async def live(page: Page, way: str = "WebSocket") -> None:
    """Wait until the page is connected."""
    await expect(page.locator("#connection")).to_have_text(f"Live over {way}")


def toasts(page: Page) -> Locator:
    return page.locator("carillon-inbox .toast")


def badge(page: Page) -> Locator:
    return page.locator("carillon-inbox .badge")


def entry(page: Page, title: str) -> Locator:
    return page.locator("carillon-inbox .entry").filter(has_text=title)


async def open_inbox(page: Page) -> None:
    await page.locator("carillon-inbox .bell").click()
    await expect(page.locator("carillon-inbox .panel")).to_be_visible()


async def tell(system: System, user: str, title: str, **content: object) -> None:
    payload = {"title": title, "message": "Something happened.", **content}
    receipt = await system.publish(f"notifications/realtime/user/{user}", payload)
    assert receipt.status == "accepted"


async def stored(system: System, user: str, count: int) -> None:
    """Wait until that many unread entries stand in a user's inbox."""

    async def enough() -> list[object] | None:
        _, answer = await system.call("GET", "/v1/inbox?limit=100&state=unread", user)
        entries: list[object] = answer["notifications"]
        return entries if len(entries) >= count else None

    _entries: list[object] | None = await eventually(enough)


async def until(page: Page, expression: str, within_s: float = DEADLINE_MS / 1000) -> None:
    """Wait until an expression is true; Playwright's own way needs ``eval``, which the page's policy refuses."""
    await eventually(lambda: page.evaluate(expression), within_s, expression)

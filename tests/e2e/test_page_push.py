"""Preferences and Web Push on the page: what a person chooses is what the server does.

No push service of a browser's maker is asked: the browser's subscription is the sandbox's, and what the sandbox got is
handed to the real service worker.
"""

import json

import pytest
from playwright.async_api import Browser, expect

from carillon.local.stack import Stack
from tests.browser_push import push, shown, visit
from tests.page import reader, tell, until
from tests.system import open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]


async def test_choices_are_saved_and_there_after_a_reload(stack: Stack, browser: Browser) -> None:
    async with open_system(stack) as system:
        user = await reader(system, "chooser")
        async with visit(system, browser, user) as page:
            sms, email = (page.get_by_role("switch", name=name) for name in ("SMS", "E-mail"))
            await expect(sms).not_to_be_checked()
            await expect(email).to_be_checked()
            await sms.press("Space")
            await expect(page.locator("carillon-preferences").get_by_role("status")).to_have_text("Saved")
            await expect(sms).to_be_focused()
            assert (await system.call("GET", "/v1/preferences", user))[1]["sms"] is True
            await page.reload()
            await expect(sms).to_be_checked()


async def test_a_choice_that_is_not_saved_is_taken_back_and_said_so(stack: Stack, browser: Browser) -> None:
    async with open_system(stack) as system, visit(system, browser, await reader(system, "chooser")) as page:
        sms = page.get_by_role("switch", name="SMS")
        await expect(sms).to_be_enabled()
        await page.route("**/v1/preferences", lambda route: route.abort())
        await sms.click()
        await expect(page.locator("carillon-preferences").get_by_role("alert")).to_contain_text("could not be saved")
        await expect(sms).not_to_be_checked()
        await expect(sms).to_be_enabled()


async def test_push_reaches_the_service_worker_and_a_click_the_page(stack: Stack, whole_browser: Browser) -> None:
    async with open_system(stack) as system:
        user = await reader(system, "subscriber")
        async with visit(system, whole_browser, user) as page:
            await page.get_by_role("button", name="Turn on").click()
            await expect(page.get_by_role("button", name="Turn off")).to_be_focused()
            await tell(system, user, "Pushed", priority="critical", data={"page": "orders"})
            pushed = (await system.arrived(1, provider="webpush", to=user))[0]["payload"]
            assert pushed["title"] == "Pushed"
            # The same push twice, as after an attempt whose answer was lost, is shown once.
            await push(page, json.dumps(pushed), times=2)
            notes = await shown(page)
            assert len(notes) == 1
            assert notes[0]["title"] == "Pushed"
            assert notes[0]["requireInteraction"] is True
            assert notes[0]["data"] == {"id": pushed["carillon_id"], "data": {"page": "orders"}}
            await page.evaluate("addEventListener('carillon-open', ({detail}) => (globalThis.opened = detail.id))")
            await page.context.service_workers[0].evaluate(
                """async () => {
                  const [notification] = await registration.getNotifications();
                  dispatchEvent(new NotificationEvent("notificationclick", { notification }));
                }"""
            )
            await until(page, f"globalThis.opened === '{pushed['carillon_id']}'")
            await expect(page.locator("carillon-inbox .panel")).to_be_visible()
            await page.keyboard.press("Escape")

            await page.reload()
            await page.get_by_role("button", name="Turn off").click()
            await expect(page.get_by_role("button", name="Turn on")).to_be_visible()


async def test_a_recalled_push_leaves_the_screen(stack: Stack, whole_browser: Browser) -> None:
    async with open_system(stack) as system:
        user = await reader(system, "subscriber")
        async with visit(system, whole_browser, user) as page:
            await page.get_by_role("button", name="Turn on").click()
            await expect(page.get_by_role("button", name="Turn off")).to_be_visible()
            await tell(system, user, "Kept")
            await tell(system, user, "Wrong")
            entries = await system.arrived(2, provider="webpush", to=user)
            pushes = {entry["title"]: entry["payload"] for entry in entries}
            kept, wrong = pushes["Kept"], pushes["Wrong"]
            for pushed in (kept, wrong):
                await push(page, json.dumps(pushed))
            receipt = await system.publish(f"notifications/cancel/{wrong['carillon_id']}", {"recall": True})
            assert receipt.extra["recall"] == {"stopped": 0, "inbox": 1, "push": 1, "not_recalled": []}
            title = "This notification was recalled."
            *_, recall = await system.arrived(3, provider="webpush", to=user)
            assert recall["payload"] == {
                "title": title, "tag": wrong["tag"], "carillon_id": wrong["carillon_id"], "recalled": True,
            }  # fmt: skip
            await push(page, json.dumps(recall["payload"]))

            async def titles() -> bool:
                return [note["title"] for note in await shown(page)] == ["Kept"]

            # The browser closes it beside the worker's event.
            await eventually(titles, what="the recalled notification closed")
            # Again, as after an attempt whose answer was lost, with nothing to remove.
            await push(page, json.dumps(recall["payload"]))
            await until(
                page, "navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((n) => n.length === 1)"
            )


async def test_push_that_cannot_be_read_is_shown_all_the_same(stack: Stack, whole_browser: Browser) -> None:
    async with open_system(stack) as system, visit(system, whole_browser, await reader(system, "subscriber")) as page:
        await page.get_by_role("button", name="Turn on").click()
        await expect(page.get_by_role("button", name="Turn off")).to_be_visible()
        await push(page, "not JSON")
        assert [note["title"] for note in await shown(page)] == ["New notification"]


async def test_signing_out_ends_the_pushes(stack: Stack, whole_browser: Browser) -> None:
    async with open_system(stack) as system:
        user = await reader(system, "subscriber")
        async with visit(system, whole_browser, user) as page:
            await page.get_by_role("button", name="Turn on").click()
            await expect(page.get_by_role("button", name="Turn off")).to_be_visible()
            async with page.expect_response(lambda answer: answer.request.method == "DELETE") as removed:
                await page.get_by_role("button", name="Sign out").click()
            assert (await removed.value).status == 204
            await expect(page.locator("#entrance")).to_be_visible()

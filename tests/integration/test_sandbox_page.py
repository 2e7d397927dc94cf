"""The sandbox's page, its outbox.json and its script, over HTTP and in a browser."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page, async_playwright, expect

from sandbox.kept import Effect
from sandbox.server import Options, Sandbox, running

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")


@pytest.fixture
async def http(box: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(box.addresses.http_url) as session:
        yield session


async def keep(box: Sandbox, number: int = 1, **content: object) -> None:
    content = {"title": f"Title {number}", "body": f"Body {number}", **content}
    await box.kept.keep(Effect("email", "smtp", f"user{number}@example.com", f"id-{number}", content, 100))


async def test_outbox_json_can_be_read_from_where_one_was(box: Sandbox, http: aiohttp.ClientSession) -> None:
    for number in range(1, 6):
        await keep(box, number)
    async with http.get("/outbox.json") as answer:
        entries = await answer.json()
    assert [entry["n"] for entry in entries] == [1, 2, 3, 4, 5]
    assert list(entries[0])[:8] == ["n", "channel", "provider", "to", "title", "body", "at", "id"]
    async with http.get("/outbox.json", params={"since": 3, "channel": "email"}) as answer:
        assert [entry["n"] for entry in await answer.json()] == [4, 5]
    async with http.get("/outbox.json", params={"to": "user2@example.com"}) as answer:
        assert [entry["n"] for entry in await answer.json()] == [2]
    async with http.get("/outbox.json", params={"since": "yesterday"}) as answer:
        assert answer.status == 400


async def test_outbox_json_is_whole_however_long_and_broken(box: Sandbox, http: aiohttp.ClientSession) -> None:
    for number in range(1, 251):
        await keep(box, number, title="a lone \udcff surrogate")
    async with http.get("/outbox.json") as answer:
        assert len(await answer.json()) == 250


async def test_the_outbox_can_be_emptied_and_goes_on_counting(box: Sandbox, http: aiohttp.ClientSession) -> None:
    await keep(box)
    async with http.delete("/outbox.json") as answer:
        assert answer.status == 204
    await keep(box)
    async with http.get("/outbox.json") as answer:
        assert [entry["n"] for entry in await answer.json()] == [2]
        assert answer.headers["Outbox-First"] == "2"


async def test_rules_are_taken_shown_and_cleared(box: Sandbox, http: aiohttp.ClientSession) -> None:
    del box
    rule = {"provider": "webpush", "to": "user123", "times": 2, "fault": {"status": 503}}
    async with http.post("/script", json=rule) as answer:
        assert answer.status == 201
        assert await answer.json() == {"id": 1, **rule, "fired": 0}
    async with http.post("/webpush/user123") as answer:
        assert answer.status == 503
    async with http.get("/script") as answer:
        assert [(each["id"], each["fired"]) for each in await answer.json()] == [(1, 1)]
    async with http.delete("/script") as answer:
        assert answer.status == 204
    async with http.post("/webpush/user123") as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"provider": "pigeon", "fault": {"hang": True}}, "smtp"),
        ({"provider": "smtp", "fault": {}}, "required"),
        ({"provider": "smtp", "fault": {"hang": True, "cut": "before"}}, "exclude each other"),
        ({"provider": "twilio", "fault": {"reply": "451 no"}}, "reply is for smtp"),
        ({"provider": "fcm", "fault": {"apns": "rst"}}, "apns is for apns"),
        ({"provider": "smtp", "to": "a@example.com", "fault": {"reply": "451 no", "at": "mail"}}, "not known yet"),
        ({"provider": "smtp", "fault": {"cut": "after", "at": "rcpt"}}, "nothing to take"),
        ({"provider": "smtp", "fault": {"reply": "OK"}}, "pattern"),
        ({"provider": "apns", "times": 0, "fault": {"hang": True}}, "greater than 0"),
        ({"provider": "apns", "fault": {"code": "Unregistered", "hang": True}}, "belongs to a status"),
        ({"provider": "apns", "fault": {"explode": True}}, "not permitted"),
    ],
)
async def test_a_rule_that_cannot_fire_is_refused_and_says_why(
    http: aiohttp.ClientSession, rule: dict[str, object], problem: str
) -> None:
    async with http.post("/script", json=rule) as answer:
        assert answer.status == 400
        assert problem in await answer.text()


@pytest.mark.parametrize(("method", "path"), [("POST", "/script"), ("DELETE", "/script"), ("DELETE", "/outbox.json")])
async def test_another_site_in_the_browser_changes_nothing(http: aiohttp.ClientSession, method: str, path: str) -> None:
    async with http.request(method, path, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.status == 403


async def test_the_page_allows_no_inline_code(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        assert "default-src 'none'; script-src 'self'" in answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert not re.search(r"<script(?![^>]*src)|<style|style=|\son\w+=", page)
    async with http.get("/page/nothing.js") as answer:
        assert answer.status == 404


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    if CHROMIUM is None:
        if os.environ.get("CARILLON_REQUIRE_REAL") == "1":
            pytest.fail("chromium is not installed, and CARILLON_REQUIRE_REAL=1 forbids a skip")
        pytest.skip("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield await browser.new_page()
        await browser.close()


async def test_the_page_shows_what_arrives_as_text_and_finds_it(box: Sandbox, page: Page) -> None:
    await page.goto(box.addresses.http_url)
    await expect(page.locator("#nothing")).to_contain_text("Nothing here yet")
    planted = "<img src=x onerror=\"document.title='run'\">"
    await keep(box, 1, title=planted, html_body=planted)
    await keep(box, 2)
    await expect(page.locator(".entry")).to_have_count(2)
    await expect(page.locator(".entry .subject").first).to_have_text("Title 2")
    await page.locator(".entry").nth(1).click()
    await expect(page.locator("#detail h2")).to_have_text(planted)
    await expect(page.locator("#detail .source").first).to_have_text(planted)
    assert "run" not in await page.title()
    await page.fill("#search", "user2@")
    await expect(page.locator(".entry")).to_have_count(1)
    await page.fill("#search", "")
    await page.click("[data-channel=sms]")
    await expect(page.locator("#nothing")).to_have_text("No entry matches.")
    await page.click("#clear")
    await expect(page.locator("#nothing")).to_contain_text("Nothing here yet")


async def test_the_page_starts_afresh_after_a_restart_of_the_sandbox(data: Path, page: Page) -> None:
    async with running(Options(data=data)) as box:
        await page.goto(box.addresses.http_url)
        for number in range(1, 4):
            await keep(box, number)
        await expect(page.locator(".entry")).to_have_count(3)
    await expect(page.locator("#connection")).to_have_text("sandbox not reachable")
    async with running(Options(data=data, http_port=box.addresses.http_port)) as again:
        await keep(again, 9)
        await expect(page.locator(".entry .subject")).to_have_text(["Title 9"])

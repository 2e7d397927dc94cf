"""An alert is acknowledged by the link of its mail or push, and by nothing less than a press of its button."""

import asyncio
import json
import re
import secrets
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from carillon.local.stack import Stack
from shared.core.incidents import AlertState, Way
from shared.directory.answer_link import AnswerLink, read_token, token
from shared.ledger.reader import Trace, TracedRecord
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests import browser_push
from tests.load.intake import cpu_s
from tests.page import DEADLINE_MS
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_FORGED = 10_000
_PER_S = 1_000
_ATTACKERS = 100
# Requests that lead nowhere, and how much dearer than one of them a forged link may be.
_PLAIN = 5_000
_DEARER_AT_MOST = 2

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


async def raised(system: System, trace: Trace, users: Sequence[str]) -> Alarm:
    """Raise an alert for these people; the link is not known yet."""
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    await system.publish(f"directory/oncall/{kind}", {"users": users})
    said = {"message": "The disk is full.", "source": "disk-watch", "affected_systems": ["orders", "billing"]}
    receipt = await system.publish(f"notifications/alerts/critical/{kind}", said)
    return Alarm(str(receipt.alert_id), users[0], "", trace, system)


async def person(system: System, **record: object) -> str:
    user = f"oncall-{uuid.uuid4().hex[:8]}"
    await system.publish(
        f"directory/user/{user}", {"email": system.address(user), "timezone": "Europe/Paris", **record}
    )
    return user


async def alarm(system: System, trace: Trace, *others: str) -> Alarm:
    """Raise an alert, and read the link in the mail that tells of it."""
    user = await person(system)
    alert = await raised(system, trace, [user, *others])
    return replace(alert, link=await mailed(system, user))


async def mailed(system: System, user: str) -> str:
    (mail,) = await system.arrived(1, to=system.address(user))
    (link,) = re.findall(r"^https?://\S+$", mail["body"], re.MULTILINE)
    return str(link)


async def visit(browser: Browser, link: str) -> Page:
    # Without scripts, as in a mail program's own browser.
    context = await browser.new_context(viewport={"width": 360, "height": 640}, java_script_enabled=False)
    page = await context.new_page()
    await page.goto(link)
    return page


async def ask(system: System, link: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    async with system.http.request(method, link, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_the_mails_link_shows_the_alert_and_its_button_takes_it(
    system: System, trace: Trace, browser: Browser
) -> None:
    alert = await alarm(system, trace)
    for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Sec-Purpose": "prefetch", "Purpose": "prefetch"})):
        assert (await ask(system, alert.link, method, **headers))[0] == 200
    page = await visit(browser, alert.link)
    for text in ("The disk is full.", "disk-watch", "orders, billing", "just now", "Nobody has acknowledged"):
        await expect(page.get_by_text(text)).to_be_visible()
    assert ((await alert.record()).alert, await alert.escalates()) == (AlertState.OPEN, True)

    await page.get_by_role("button", name="Acknowledge").click()
    await expect(page.get_by_text("You have acknowledged this alert.")).to_be_visible()
    await expect(page.get_by_role("button")).to_have_count(0)
    record = await alert.record()
    assert (record.alert, record.acknowledged_by) == (AlertState.ACKNOWLEDGED, alert.user_id)
    assert not await alert.escalates()
    await page.context.close()


async def test_a_link_shows_who_has_the_alert_and_opens_nothing_again(system: System, trace: Trace) -> None:
    other = await person(system, name="The other one")
    alert = await alarm(system, trace, other)
    assert (await ask(system, await mailed(system, other), "POST"))[0] == 200
    for method in ("GET", "POST"):
        status, page = await ask(system, alert.link, method)
        assert (status, "<button>" in page) == (200, False)
        assert "The other one has acknowledged this alert." in page
        assert re.search(r"by The other one, <time [^>]+>\d\d:\d\d CES?T, \d+ \w+</time> \(just now\)", page)
    before = await alert.record()
    await system.publish(f"notifications/alerts/resolve/{alert.alert_id}", {})
    for method in ("GET", "POST"):
        assert "This alert is resolved." in (await ask(system, alert.link, method))[1]
    status, answer = await ask(system, alert.link, "POST", Accept="application/json")
    answered = json.loads(answer)
    assert before.acknowledged_at is not None
    assert (status, answered) == (
        200,
        {"state": "resolved", "acknowledged_by": other, "acknowledged_at": before.acknowledged_at.timestamp()},
    )
    after = await alert.record()
    assert (after.alert, after.acknowledged_by) == (AlertState.RESOLVED, other)
    assert after.acknowledged_at == before.acknowledged_at


async def test_a_withdrawn_alert_is_not_taken(system: System, trace: Trace) -> None:
    alert = await alarm(system, trace)
    await system.publish(f"notifications/cancel/{alert.alert_id}", {})
    for method in ("GET", "POST"):
        status, page = await ask(system, alert.link, method)
        assert (status, "This alert was withdrawn." in page, "<button>" in page) == (200, True, False)
    assert (await alert.record()).acknowledged_by is None


async def test_forged_expired_and_other_peoples_links_all_get_the_same_page(system: System, trace: Trace) -> None:
    alert = await alarm(system, trace)
    about = alert.about
    assert (about.alert_id, about.user_id, about.way) == (alert.alert_id, alert.user_id, Way.MAIL_LINK)
    nobody = await person(system)
    refused = [
        alert.link[:-1],
        alert.link + "A",
        alert.link[:-1] + ("A" if alert.link[-1] != "A" else "B"),
        alert.link.partition("?")[0],
        alert.link.partition("token=")[0] + "token=" + "A" * 60,
        address(system, replace(about, expires_at=datetime.now(UTC) - timedelta(seconds=1))),
        address(system, replace(about, user_id=nobody)),
        address(system, replace(about, user_id="nobody")),
        address(system, replace(about, alert_id=new_notification_id())),
    ]
    pages = set()
    for link in refused:
        for method in ("GET", "POST"):
            status, page = await ask(system, link, method)
            assert status == 400
            pages.add(page)
    (page,) = pages
    assert _REFUSED in page
    assert (await alert.record()).alert is AlertState.OPEN
    # An admin may take any alert, as by every other way.
    admin = await person(system, roles=["admin"])
    assert (await ask(system, address(system, replace(about, user_id=admin)), "POST"))[0] == 200
    assert (await alert.record()).acknowledged_by == admin


async def test_the_button_of_a_push_to_a_browser_takes_the_alert_without_a_page(
    system: System, trace: Trace, whole_browser: Browser
) -> None:
    user = await person(system)
    async with browser_push.visit(system, whole_browser, user) as page:
        await page.get_by_role("button", name="Turn on").click()
        await expect(page.get_by_role("button", name="Turn off")).to_be_visible()
        alert = await raised(system, trace, [user])
        (pushed,) = await system.arrived(1, provider="webpush", to=user)
        await browser_push.push(page, json.dumps(pushed["payload"]))
        (worker,) = page.context.service_workers
        await page.goto("about:blank")
        shown = await worker.evaluate(
            """async () => {
              const [notification] = await registration.getNotifications();
              const { body, actions } = notification;
              // While a notification is on its way to the screen, asking for what is shown deletes it.
              const show = registration.showNotification.bind(registration);
              const over = new Promise((done) => {
                registration.showNotification = (...all) => show(...all).finally(done);
              });
              dispatchEvent(new NotificationEvent("notificationclick", { notification, action: "acknowledge" }));
              await over;
              return { body, actions: actions.map(({ title }) => title) };
            }"""
        )
        assert shown["actions"] == ["Acknowledge"]
        assert shown["body"].startswith("The disk is full.\nSource: disk-watch\nSystems: orders, billing\nSince: ")

        async def told() -> bool:
            bodies = await worker.evaluate("registration.getNotifications().then((all) => all.map(({ body }) => body))")
            return bool(bodies == [f"Acknowledged by {user}."])

        await eventually(told, what="what came of it")
    record = await alert.record()
    assert (record.alert, record.acknowledged_by) == (AlertState.ACKNOWLEDGED, user)
    assert not await alert.escalates()


async def test_an_app_gets_the_link_and_acknowledges_with_it(system: System, trace: Trace) -> None:
    ios, android = uuid.uuid4().hex * 2, f"fcm-{uuid.uuid4().hex}"
    user = await person(system, devices=[{"platform": "ios", "token": ios}, {"platform": "android", "token": android}])
    alert = await raised(system, trace, [user])
    apple, google = [(await system.arrived(1, to=token))[0]["payload"] for token in (ios, android)]
    assert apple["aps"]["category"] == "CARILLON_ALERT"
    links = (apple["answer_url"], google["data"]["answer_url"])
    for link in links:
        about = replace(alert, link=link).about
        assert (about.alert_id, about.user_id, about.way) == (alert.alert_id, user, Way.PUSH)
    status, answer = await ask(system, links[0], "POST", Accept="application/json")
    assert (status, json.loads(answer)["acknowledged_by"]) == (200, user)
    assert (await alert.record()).acknowledged_by == user


@pytest.mark.slow
async def test_ten_thousand_forged_links_disturb_nobody(system: System, trace: Trace) -> None:
    alert = await alarm(system, trace)
    head, _, good = alert.link.partition("token=")
    # Each has the form of a token, and another signature.
    forged = [f"{head}token={secrets.token_urlsafe(16)[:20]}{good[20:]}" for _ in range(_FORGED)]
    nowhere = [f"{system.stack.realtime_url}/v1/nowhere?token={number}" for number in range(_PLAIN)]

    async def asked(method: str, url: str) -> None:
        async with system.http.request(method, url) as answer:
            assert answer.status == 200

    async def flood(links: list[str], expected: int, *, acknowledges: bool) -> float:
        """Ask for all of them, and return the processor time that one takes of the realtime process, in seconds."""
        statuses: Counter[int] = Counter()
        left = iter(links)

        async def attack() -> None:
            for link in left:
                async with attackers.post(link) as answer:
                    statuses[answer.status] += 1
                await asyncio.sleep(_ATTACKERS / _PER_S)

        connector = aiohttp.TCPConnector(limit=_ATTACKERS)
        before_s = cpu_s(system.stack.child("realtime").pid)
        async with aiohttp.ClientSession(connector=connector) as attackers, asyncio.TaskGroup() as group:
            tasks = [group.create_task(attack()) for _ in range(_ATTACKERS)]
            while not all(task.done() for task in tasks):
                await asked("GET", f"{system.stack.ops_url('realtime')}/healthz")
                await asked("GET", alert.link)
                if acknowledges and sum(statuses.values()) > len(links) // 2 and await alert.escalates():
                    await asked("POST", alert.link)
                await asyncio.sleep(0.2)
        assert statuses == {expected: len(links)}
        return (cpu_s(system.stack.child("realtime").pid) - before_s) / len(links)

    plain_s = await flood(nowhere, 404, acknowledges=False)
    forged_s = await flood(forged, 400, acknowledges=True)
    # A forged link costs about what any other request does that leads nowhere. How long somebody waits beside so many
    # of them is the machine's matter: it runs the attackers, too.
    assert forged_s < _DEARER_AT_MOST * plain_s
    assert (await alert.record()).acknowledged_by == alert.user_id

"""The realtime service's HTTP side: reading, preferences, devices, alerts, the unsubscribe link, the page."""

import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from carillon.local.servers import LocalServer
from services.realtime.access.addresses import Addresses, AddressLimits
from services.realtime.access.tokens import SharedSecret
from services.realtime.app import build
from shared.core.incidents import AlertState
from shared.core.model import Channel, Delivery, Notification, Priority, UserInbox
from shared.directory.people import MobileDevice, Person
from shared.directory.suppression import Cause, Suppressions, digest
from shared.directory.unsubscribe import token as link_token
from shared.inbox.inbox import wire_body
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import order_of
from shared.store.store import Store
from tests.bounces import every_secret
from tests.conftest import EmptyStore
from tests.realtime import ALERT, Realtime, ids_until_quiet, notification, realtime_node, told_unread
from tests.smtp import token_without_category
from tests.waiting import eventually

# Reading.


async def test_reading_on_one_session_clears_on_all(node: Realtime, other: Realtime) -> None:
    async with node.session("user1") as here, other.session("user1") as there:
        for client in (here, there):
            await client.next("hello")
        own, broadcast = await node.to_user("user1", "own"), await node.to_all("broadcast")
        for client in (here, there):
            await told_unread(client, 2)
        await here.say(type="read", id=own.id)
        for client in (here, there):
            await told_unread(client, 1)
        assert (await other.call("POST", f"/v1/inbox/{broadcast.id}/read", "user1"))[0] == 204
        for client in (here, there):
            await told_unread(client, 0)
        assert (await node.call("POST", f"/v1/inbox/{broadcast.id}/unread", "user1"))[0] == 204
        for client in (here, there):
            await told_unread(client, 1)
        assert (await other.call("POST", "/v1/inbox/read-all", "user1"))[0] == 204
        for client in (here, there):
            await told_unread(client, 0)
        later = await other.to_all("later")
        for client in (here, there):
            assert await ids_until_quiet(client, 1) == [later.id]
    # What one user reads stays unread for others.
    assert (await node.call("GET", "/v1/inbox", "user3"))[1]["unread"] == 2


async def test_inbox_pages_follow_one_another_and_states_filter(node: Realtime) -> None:
    sent = []
    for number in range(6):
        sent.append((await node.to_user("user1", f"{number}")).id)
        sent.append((await node.to_all(f"{number} for all")).id)
    pages: list[str] = []
    path = "/v1/inbox?limit=5"
    while True:
        _, page = await node.call("GET", path, "user1")
        if not page["notifications"]:
            break
        pages += [entry["id"] for entry in page["notifications"]]
        path = f"/v1/inbox?limit=5&before={pages[-1]}"
    assert pages == sent[::-1]
    await node.call("POST", f"/v1/inbox/{sent[0]}/read", "user1")
    await node.call("POST", f"/v1/inbox/{sent[1]}/archive", "user1")

    async def ids(query: str) -> list[str]:
        _, page = await node.call("GET", f"/v1/inbox?{query}", "user1")
        assert page["unread"] == 10
        return [entry["id"] for entry in page["notifications"]]

    assert await ids("") == [name for name in sent[::-1] if name != sent[1]]
    assert await ids("state=unread") == sent[:1:-1]
    assert await ids("state=read") == [sent[0]]
    assert await ids("state=archived") == [sent[1]]
    assert await ids(f"before={sent[1]}") == [sent[0]]


@pytest.mark.parametrize("asked", ["101", "1000", "9" * 5000])
async def test_a_page_holds_100_entries_whatever_more_is_asked_for(node: Realtime, asked: str) -> None:
    sent = [(await node.to_user("user1", f"{number}")).id for number in range(101)]
    status, page = await node.call("GET", f"/v1/inbox?limit={asked}", "user1")
    assert status == 200
    assert [entry["id"] for entry in page["notifications"]] == sent[:0:-1]


@pytest.mark.parametrize("query", ["limit=10", "limit=10&before={middle}", "limit=10&state=read"])
async def test_a_page_of_a_large_inbox_reads_a_page(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, query: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, inbox_limit=3_000) as node:
        inbox, database = node.node.hub._inbox, node.context.store
        sent = [notification("x" * 2_000) for _ in range(2_000)]
        for each in sent:
            await inbox.add("user1", each.id, wire_body(each, each.content), order=order_of(each.id))
        for each in sent[:20]:
            await inbox.mark("user1", each.id, "read")
        path = f"/v1/inbox?{query.format(middle=sent[1_000].id)}"
        before = await _bytes_read(database)
        status, page = await node.call("GET", path, "user1")
        read = await _bytes_read(database) - before
        newest = {"limit=10": sent, "limit=10&state=read": sent[:20]}.get(query, sent[:1_000])[-10:]
        assert status == 200
        assert [entry["id"] for entry in page["notifications"]] == [each.id for each in reversed(newest)]
        assert page["unread"] == 1_980
        assert 20_000 < read < 60_000


async def _bytes_read(database: Store) -> int:
    """Return how much a store has answered so far."""
    answer = (await database.command("INFO", "stats")).decode()
    return int(re.search(r"total_net_output_bytes:(\d+)", answer)[1])  # type: ignore[index]


async def test_pages_follow_one_another_whatever_their_entries_are(node: Realtime) -> None:
    # Written in another order than accepted, own entries and broadcasts, read and archived ones among them.
    sent = [notification(f"{number}") for number in range(24)]
    for number in sorted(range(24), key=lambda number: (number * 7) % 24):
        await (node.to_all(sent[number]) if number % 3 == 0 else node.to_user("user1", sent[number]))
    ids = [each.id for each in reversed(sent)]
    archived = [ids[number] for number in (2, 3, 9)]
    for each in archived:
        assert (await node.call("POST", f"/v1/inbox/{each}/archive", "user1"))[0] == 204
    for state, expected in (("", [each for each in ids if each not in archived]), ("&state=archived", archived)):
        for limit in (1, 2, 5):
            pages: list[str] = []
            while True:
                before = f"&before={pages[-1]}" if pages else ""
                _, page = await node.call("GET", f"/v1/inbox?limit={limit}{state}{before}", "user1")
                pages += [entry["id"] for entry in page["notifications"]]
                if len(page["notifications"]) < limit:
                    break
            assert pages == expected


async def test_wrong_queries_name_their_fields(node: Realtime) -> None:
    for query, name in (
        ("limit=0", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"), ("limit=%C2%B2", "limit"),
        ("state=new", "state"), ("before=nothing", "before"),
    ):  # fmt: skip
        status, answer = await node.call("GET", f"/v1/inbox?{query}", "user1")
        assert (status, answer["error"]["code"]) == (400, "invalid_request")
        assert [problem["field"] for problem in answer["error"]["fields"]] == [name]


async def test_nobody_reaches_what_is_another_users(node: Realtime) -> None:
    sent = await node.to_user("user1", "private")
    for change in ("read", "unread", "archive"):
        assert (await node.call("POST", f"/v1/inbox/{sent.id}/{change}", "user3"))[0] == 404
    async with node.session("user3") as client:
        await client.next("hello")
        await client.say(type="read", id=sent.id)
        assert (await client.next())["code"] == "not_found"
    assert (await node.call("GET", "/v1/inbox", "user1"))[1]["unread"] == 1
    assert (await node.call("GET", "/v1/inbox", "user3"))[1]["notifications"] == []


# Preferences, devices, alerts.


async def test_preferences_are_replaced_and_followed_at_once_on_every_process(node: Realtime, other: Realtime) -> None:
    defaults = {"realtime": True, "email": True, "sms": False, "push": True}
    await node.context.directory.put(Person(user_id="user1"))

    async def channels(method: str, **options: Any) -> dict[str, bool]:
        status, answer = await node.call(method, "/v1/preferences", "user1", **options)
        assert status == 200
        return {channel: answer[channel] for channel in defaults}

    assert await channels("GET") == defaults
    async with other.session("user1") as client:
        await client.next("hello")
        chosen = {"realtime": False, "sms": True}
        assert await channels("PUT", json=chosen) == defaults | chosen
        await eventually(lambda: not other.node.hub.users["user1"].live, what="the other process to know")
        await node.to_all("not shown live")
        assert await ids_until_quiet(client, 0) == []
    person = await node.context.directory.person("user1")
    assert person is not None
    assert person.own.sms
    wrong: list[Any] = [{"realtime": "yes"}, {"fax": True}, []]
    for body in wrong:
        status, answer = await node.call("PUT", "/v1/preferences", "user1", json=body)
        assert status == 400
        assert answer["error"]["fields"]


async def test_devices_come_and_go(node: Realtime) -> None:
    await node.context.directory.put(Person(user_id="user1", email="user1@example.com"))
    phone = {"platform": "android", "token": "token-1:abc"}
    browser = {
        "platform": "web",
        "subscription": {
            "endpoint": "https://push.example.com/send/abc?x=1",
            "keys": {"p256dh": "B" + "A" * 86, "auth": "A" * 22},
        },
    }
    apple = {"platform": "ios", "token": "token-2", "environment": "sandbox"}
    for device in (phone, phone, browser, apple):
        assert (await node.call("POST", "/v1/devices", "user1", json=device))[0] == 204, device
    person = await node.context.directory.person("user1")
    assert person is not None
    assert len(person.devices) == 3
    assert all(device.registered_at for device in person.devices)
    assert [device.environment for device in person.devices if isinstance(device, MobileDevice)] == [None, "sandbox"]
    assert (await node.call("DELETE", "/v1/devices/token-2", "user1"))[0] == 204
    assert person.email == "user1@example.com"
    assert (await node.call("DELETE", "/v1/devices/token-1:abc", "user3"))[0] == 404
    assert (await node.call("DELETE", "/v1/devices/token-1:abc", "user1"))[0] == 204
    assert (await node.call("DELETE", "/v1/devices/token-1:abc", "user1"))[0] == 404
    endpoint = quote(browser["subscription"]["endpoint"], safe="")  # type: ignore[index]
    assert (await node.call("DELETE", f"/v1/devices/{endpoint}", "user1"))[0] == 204
    for wrong, field, problem in (
        ({"platform": "fax"}, "platform", "must be one of ios, android, ntfy, web"),
        ({"token": "token-3"}, "platform", "required"),
        ({"platform": "ios"}, "token", "required"),
        (
            {"platform": "ntfy", "token": "ops:7"},
            "token",
            "not a topic of ntfy: 1 to 64 letters, digits, _ and -",
        ),
        (
            {"platform": "web", "subscription": {"endpoint": "https://push.example.com/1"}},
            "subscription.keys",
            "required",
        ),
    ):
        status, answer = await node.call("POST", "/v1/devices", "user1", json=wrong)
        assert (status, answer["error"]["code"]) == (400, "invalid_request")
        assert answer["error"]["fields"] == [{"field": field, "problem": problem}]
    person = await node.context.directory.person("user1")
    assert person is not None
    assert person.devices == ()


async def test_a_device_that_tells_its_token_again_is_registered_anew(node: Realtime) -> None:
    stale = {"platform": "android", "token": "token-1", "registered_at": "2026-01-05T09:00:00Z"}
    await node.context.directory.put(Person.model_validate({"user_id": "user1", "devices": [stale]}))
    before = datetime.now(UTC)
    assert (await node.call("POST", "/v1/devices", "user1", json=stale))[0] == 204
    person = await node.context.directory.person("user1")
    assert person is not None
    [device] = person.devices
    assert device.registered_at is not None
    assert device.registered_at >= before


async def test_a_topic_that_somebody_else_names_stays_whose_it_was(node: Realtime) -> None:
    topic = {"platform": "ntfy", "token": "ops"}
    for name in ("user1", "user3"):
        await node.context.directory.put(Person(user_id=name))
        assert (await node.call("POST", "/v1/devices", name, json=topic))[0] == 204
    await node.context.directory.put(Person.model_validate({"user_id": "user4", "devices": [topic]}))
    for name in ("user1", "user3", "user4"):
        person = await node.context.directory.person(name)
        assert person is not None
        assert [device.identity for device in person.devices] == ["ops"]


async def test_user_unknown_to_the_directory_gets_no_record_by_asking(node: Realtime) -> None:
    for method, path, body in (
        ("PUT", "/v1/preferences", {"push": False}),
        ("POST", "/v1/devices", {"platform": "ios", "token": "abc"}),
    ):
        status, answer = await node.call(method, path, "new", json=body)
        assert (status, answer["error"]["code"]) == (404, "unknown_user")
    assert await node.context.directory.person("new") is None


async def test_key_for_browsers_is_told_where_there_is_one(
    node: Realtime, store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    assert (await node.call("GET", "/v1/webpush", "user1"))[0] == 404
    point = urlsafe_b64encode(b"\x04" + bytes(64)).decode()
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_webpush_public_key=point) as keyed:
        assert await keyed.call("GET", "/v1/webpush", "user1") == (200, {"public_key": point.rstrip("=")})


async def accepted_alert(node: Realtime) -> Notification:
    """An alert that the ledger knows, sent to user1."""
    alert = notification("disk full", kind="alert_critical", alert=ALERT)
    row = Delivery(
        key="realtime:user1", channel=Channel.REALTIME, priority=Priority.CRITICAL, recipient="user1",
        address=UserInbox(user_id="user1"), due_ms=round(time.time() * 1000), expires_ms=2**50,
    )  # fmt: skip
    await node.context.ledger.accept(NewRecord(alert, [NewRow(row)], alert=AlertState.OPEN))
    return alert


async def alert_states(node: Realtime) -> dict[str, str]:
    _, answer = await node.call("GET", "/v1/inbox", "user1")
    return {entry["id"]: entry["alert"]["state"] for entry in answer["notifications"] if "alert" in entry}


async def test_an_alert_stays_on_top_until_it_is_answered_however_much_comes_after_it(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, inbox_limit=3) as node:
        alerts = [await accepted_alert(node) for _ in range(3)]
        for alert in alerts:
            await node.to_user("user1", alert)
        for number in range(6):
            await node.to_user("user1", f"{number}")

        async def unanswered(query: str = "") -> list[str] | None:
            _, answer = await node.call("GET", f"/v1/inbox{query}", "user1")
            return [entry["id"] for entry in answer["unanswered"]]

        assert await unanswered() == [alert.id for alert in reversed(alerts)]
        assert await unanswered("?state=unread") == [alert.id for alert in reversed(alerts)]
        assert await unanswered("?state=archived") == []
        assert await unanswered(f"?before={alerts[2].id}") == []
        assert (await node.call("POST", f"/v1/alerts/{alerts[0].id}/acknowledge", "user1"))[0] == 204
        await node.context.ledger.alerts.resolve(alerts[1].id)
        assert await unanswered() == [alerts[2].id]
        # Put away by the person, who has seen it.
        assert (await node.call("POST", f"/v1/inbox/{alerts[2].id}/archive", "user1"))[0] == 204
        assert await unanswered() == []
        # What was answered goes the way of everything else.
        for number in range(3):
            await node.to_user("user1", f"later {number}")
        status, answer = await node.call("GET", "/v1/inbox?limit=100", "user1")
        assert status == 200
        assert {entry["message"] for entry in answer["notifications"]} == {"later 0", "later 1", "later 2"}


async def test_entry_says_who_took_its_alert_and_when(node: Realtime) -> None:
    alert = await accepted_alert(node)
    await node.to_user("user1", alert)
    before = time.time()
    assert (await node.call("POST", f"/v1/alerts/{alert.id}/acknowledge", "user1"))[0] == 204
    await node.context.ledger.alerts.resolve(alert.id)
    _, answer = await node.call("GET", "/v1/inbox", "user1")
    (entry,) = answer["notifications"]
    assert (entry["alert"]["state"], entry["alert"]["acknowledged_by"]) == ("resolved", "user1")
    assert before - 1 <= entry["alert"]["acknowledged_at"] <= time.time() + 1


async def test_entry_says_where_its_alert_stands(node: Realtime) -> None:
    alerts = [await accepted_alert(node) for _ in range(4)]
    forgotten = notification("a disk was full", kind="alert_critical", alert=ALERT)
    async with node.session("user1") as client:
        await client.next("hello")
        for alert in (forgotten, *alerts):
            await node.to_user("user1", alert)
            assert (await client.next("notification"))["notification"]["alert"]["state"] == "open"
    await node.to_user("user1", notification("no alert", data={"alert": {"id": alerts[0].id}}))
    assert (await node.call("POST", f"/v1/alerts/{alerts[0].id}/acknowledge", "user1"))[0] == 204
    await node.context.ledger.alerts.resolve(alerts[1].id)
    await node.context.ledger.cancel(alerts[3].id)
    states = {
        alerts[0].id: "acknowledged", alerts[1].id: "resolved", alerts[2].id: "open", alerts[3].id: "ended",
        forgotten.id: "ended",
    }  # fmt: skip
    assert await alert_states(node) == states
    async with node.session("user1") as client:
        shown = [(await client.next("notification"))["notification"] for _ in range(6)]
        assert {entry["id"]: entry["alert"]["state"] for entry in shown if "alert" in entry} == states
        assert shown[-1]["data"] == {"alert": {"id": alerts[0].id}}


async def test_alert_is_acknowledged_by_whom_it_was_sent_to_alone(node: Realtime) -> None:
    alerts = [await accepted_alert(node) for _ in range(2)]
    path = f"/v1/alerts/{alerts[0].id}/acknowledge"
    assert (await node.call("POST", path, "user3"))[0] == 404
    assert (await node.call("POST", "/v1/alerts/unknown/acknowledge", "user1"))[0] == 404
    assert (await node.call("POST", path, "user1", json={"note": 5}))[0] == 400
    assert (await node.call("POST", path, "user1", json={"note": "on it"}))[0] == 204
    assert (await node.call("POST", path, "user1"))[0] == 204
    async with node.session("user3") as client:
        await client.next("hello")
        await client.say(type="acknowledge", alert_id=alerts[1].id)
        assert (await client.next())["code"] == "not_found"
    async with node.session("user1") as client:
        await client.next("hello")
        await client.say(type="acknowledge", alert_id=alerts[1].id)
        assert await ids_until_quiet(client, 0) == []
        assert "error" not in {frame["type"] for frame in client.seen}


# Errors, and pages for a browser.


async def test_errors_are_json_of_one_shape(node: Realtime) -> None:
    assert (await node.call("GET", "/v1/nothing", "user1"))[1]["error"]["code"] == "not_found"
    assert (await node.call("PATCH", "/v1/inbox", "user1"))[1]["error"]["code"] == "method_not_allowed"
    status, answer = await node.call("PUT", "/v1/preferences", "user1", data=b"x" * 100_000)
    assert (status, answer["error"]["code"]) == (413, "too_large")
    status, answer = await node.call("PUT", "/v1/preferences", "user1", data=b"[" * 50_000)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


UNSUBSCRIBE: dict[str, Any] = {
    "email_unsubscribe_secret": "a secret of at least thirty-two bytes",
    "email_unsubscribe_url": "https://notify.example.com",
}
LINKS: dict[str, Any] = {**UNSUBSCRIBE, "realtime_link_secret": "a secret of at least thirty-two bytes"}


async def test_the_link_of_a_mail_unsubscribes_its_mailbox_with_a_post_alone(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    address = digest("user123@example.com")
    secret = UNSUBSCRIBE["email_unsubscribe_secret"]
    good = link_token(secret, address, "<b>billing</b>")
    async with realtime_node(store.url, broker.url, topic_prefix, **UNSUBSCRIBE) as node:
        context = node.context
        suppressions = Suppressions(context.store, context.keys, Channel.EMAIL, context.clock)

        async def call(method: str, link: str, **options: Any) -> tuple[int, str]:
            async with node.client.request(method, f"{node.url}/v1/unsubscribe{link}", **options) as answer:
                return answer.status, await answer.text()

        status, page = await call("GET", f"?token={good}")
        assert (status, '<form method="post">' in page) == (200, True)
        assert "category “&lt;b&gt;billing&lt;/b&gt;”" in page
        for link in ("", "?token=", f"?token={good[:-1]}", f"?token={'A' * 64}"):
            assert [(await call(method, link))[0] for method in ("GET", "POST")] == [400, 400]
        assert await suppressions.entries(address) == []

        # As a mail program does it, and as its own page does in a browser that hides where it comes from.
        one_click = {"data": {"List-Unsubscribe": "One-Click"}}
        for options in (one_click, {**one_click, "headers": {"Origin": "null"}}):
            assert (await call("POST", f"?token={good}", **options))[0] == 200
        (entry,) = await suppressions.entries(address)
        assert (entry.cause, entry.category) == (Cause.UNSUBSCRIBED, "<b>billing</b>")

        # The link of a mail that was sent before links were about a category.
        assert (await call("POST", f"?token={token_without_category(secret, address)}", **one_click))[0] == 200
        assert [entry.category for entry in await suppressions.entries(address)] == ["<b>billing</b>", None]


async def test_without_a_secret_there_is_nothing_to_unsubscribe_from(node: Realtime) -> None:
    async with node.client.post(f"{node.url}/v1/unsubscribe?token=x") as answer:
        assert answer.status == 404


async def test_page_and_description_are_served_under_a_strict_policy(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_demo_page="on") as node:
        await _served_under_a_strict_policy(node)


async def _served_under_a_strict_policy(node: Realtime) -> None:
    async with node.client.get(f"{node.url}/") as response:
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        tag = response.headers["ETag"]
    async with node.client.get(f"{node.url}/", headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with node.client.get(f"{node.url}/carillon.js") as response:
        assert response.headers["Content-Type"].startswith("text/javascript")
    for path in ("/../settings.py", "/%2e%2e/settings.py", "/__init__.py"):
        async with node.client.get(node.url + path) as response:
            assert response.status == 404


async def test_description_names_every_call_that_is_served(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, **LINKS, **every_secret()) as node:
        async with node.client.get(f"{node.url}/v1/openapi.json") as response:
            paths = (await response.json())["paths"]
        described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
        served = {
            (route.method, route.resource.canonical)
            for route in _routes(node)
            if route.resource is not None and route.resource.canonical.startswith("/v1/") and route.method != "HEAD"
        }
    assert described == served


def _routes(node: Realtime) -> Any:
    limits = AddressLimits(1, 1)
    return build(node.node, SharedSecret("x" * 32), Addresses(), limits, node.router).router.routes()


# The page.


async def test_the_service_worker_may_call_the_links_of_alerts_and_nothing_else_may(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    links = {**LINKS, "realtime_public_url": "https://notify.example.com/live"}
    async with realtime_node(store.url, broker.url, topic_prefix, **links) as node:
        policies = {}
        for name in ("carillon-sw.js", "carillon.js"):
            async with node.client.get(f"{node.url}/{name}") as answer:
                policies[name] = answer.headers["Content-Security-Policy"]
    assert " https://notify.example.com; base-uri" in policies["carillon-sw.js"]
    assert "notify.example.com" not in policies["carillon.js"]


async def test_page_for_trying_out_is_there_only_where_it_was_asked_for(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    demo = ("/", "/index.html", "/page.js", "/page.css")
    theirs = (
        "/inbox-element.js",
        "/preferences-element.js",
        "/carillon.js",
        "/web-push.js",
        "/carillon-sw.js",
        "/icon.svg",
    )

    async def statuses(node: Realtime, paths: Sequence[str]) -> set[int]:
        found = set()
        for path in paths:
            async with node.client.get(f"{node.url}{path}") as answer:
                found.add(answer.status)
        return found

    async with realtime_node(store.url, broker.url, topic_prefix) as node:
        assert await statuses(node, demo) == {404}
        # What a web developer includes (docs/guides/web.md), and what it includes in turn.
        assert await statuses(node, [*theirs, "/api", "/v1/openapi.json"]) == {200}
        modules = set(theirs)
        for path in modules.copy():
            async with node.client.get(f"{node.url}{path}") as answer:
                modules |= {f"/{name}" for name in re.findall(r"from \"\./([a-z-]+\.js)\"", await answer.text())}
        assert await statuses(node, sorted(modules)) == {200}
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_demo_page="on") as node:
        assert await statuses(node, [*demo, *theirs]) == {200}

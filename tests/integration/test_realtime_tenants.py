"""Tabs by category, and tokens that show one tenant's notifications, over HTTP and in open sessions."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from shared.core.model import Notification
from shared.mqtt.connection import Broker
from tests.realtime import Client, Realtime, bearer, ids_until_quiet, notification, told_unread


def of(tenant: str | None, message: str = "hi", **content: Any) -> Notification:
    return notification(message, **content).model_copy(update={"tenant": tenant})


async def inbox(node: Realtime, query: str = "", tenant: str | None = None) -> dict[str, Any]:
    claims = {} if tenant is None else {"tenant": tenant}
    status, page = await node.call("GET", f"/v1/inbox?{query}", "user1", headers=bearer("user1", **claims))
    assert status == 200
    found: dict[str, Any] = page
    return found


def ids(page: dict[str, Any]) -> list[str]:
    return [entry["id"] for entry in page["notifications"]]


# Categories.


async def test_tabs_list_their_category_and_count_the_whole_inbox(node: Realtime) -> None:
    billing = await node.to_user("user1", notification("1", category="billing"))
    plain = await node.to_user("user1", "2")
    others = await node.to_all(notification("3", category="Neuigkeiten & mehr"))
    again = await node.to_all(notification("4", category="billing"))
    await node.call("POST", f"/v1/inbox/{billing.id}/read", "user1")
    page = await inbox(node)
    assert page["categories"] == [
        {"name": None, "unread": 1},
        {"name": "Neuigkeiten & mehr", "unread": 1},
        {"name": "billing", "unread": 1},
    ]
    assert ids(await inbox(node, "category=billing")) == [again.id, billing.id]
    assert ids(await inbox(node, "category=")) == [plain.id]
    assert ids(await inbox(node, "category=Neuigkeiten+%26+mehr&category=")) == [others.id, plain.id]
    assert ids(await inbox(node, "category=none")) == []
    filtered = await inbox(node, "category=billing&state=unread&limit=1")
    assert (ids(filtered), filtered["unread"]) == ([again.id], 3)
    assert filtered["categories"] == page["categories"]
    behind = await inbox(node, f"category=billing&before={again.id}")
    assert (ids(behind), "categories" in behind) == ([billing.id], False)
    await node.call("POST", f"/v1/inbox/{plain.id}/snooze", "user1", json={"for": "1h"})
    await node.call("POST", f"/v1/inbox/{others.id}/archive", "user1")
    assert (await inbox(node))["categories"] == [{"name": "billing", "unread": 1}]


async def test_pages_of_a_category_follow_one_another(node: Realtime) -> None:
    sent = [await node.to_user("user1", notification("n", category="ab"[number % 2])) for number in range(30)]
    pages: list[str] = []
    query = "category=a&limit=4"
    while found := ids(await inbox(node, query)):
        pages += found
        query = f"category=a&limit=4&before={pages[-1]}"
    assert pages == [each.id for each in reversed(sent[::2])]


# Tenants.


async def test_a_token_of_a_tenant_shows_its_entries_and_nobodys(node: Realtime) -> None:
    acme, other = await node.to_user("user1", of("acme")), await node.to_user("user1", of("other"))
    plain = await node.to_user("user1", of(None))
    everybody, theirs = await node.to_all(of("acme")), await node.to_all(of("other", category="news"))
    page = await inbox(node, tenant="acme")
    assert ids(page) == [everybody.id, plain.id, acme.id]
    assert (page["unread"], page["categories"]) == (3, [{"name": None, "unread": 3}])
    assert page["notifications"][0]["tenant"] == "acme"
    assert ids(await inbox(node, tenant="third")) == [plain.id]
    whole = await inbox(node)
    assert ids(whole) == [theirs.id, everybody.id, plain.id, other.id, acme.id]
    assert whole["unread"] == 5
    for path in ("read", "unread", "archive", "snooze", "actions/x"):
        for hidden in (other.id, theirs.id):
            status, _ = await node.call(
                "POST",
                f"/v1/inbox/{hidden}/{path}",
                "user1",
                headers=bearer("user1", tenant="acme"),
                json={"for": "1h"},
            )
            assert status == 404
    status, _ = await node.call(
        "DELETE", f"/v1/inbox/{other.id}/snooze", "user1", headers=bearer("user1", tenant="acme")
    )
    assert status == 404
    assert (await inbox(node))["unread"] == 5


async def test_reading_all_of_a_tenant_leaves_the_others_unread(node: Realtime) -> None:
    for tenant in ("acme", "other", None):
        await node.to_user("user1", of(tenant))
        await node.to_all(of(tenant))
    status, _ = await node.call("POST", "/v1/inbox/read-all", "user1", headers=bearer("user1", tenant="acme"))
    assert status == 204
    assert [(await inbox(node, tenant=tenant))["unread"] for tenant in ("acme", "other", None)] == [0, 2, 2]
    assert (await node.call("POST", "/v1/inbox/read-all", "user1"))[0] == 204
    assert (await inbox(node))["unread"] == 0


async def _open(node: Realtime, stack: AsyncExitStack, tenant: str | None, query: str = "") -> Client:
    claims = {} if tenant is None else {"tenant": tenant}
    socket = node.client.ws_connect(f"{node.url}/v1/ws{query}", headers=bearer("user1", **claims))
    return Client(await stack.enter_async_context(socket))


async def test_sessions_of_tenants_are_told_their_own(node: Realtime, other: Realtime) -> None:
    before = await node.to_user("user1", of("other", "before"))
    async with AsyncExitStack() as stack:
        acme, theirs, whole = [await _open(each, stack, tenant) for each, tenant in
                               ((node, "acme"), (other, "other"), (other, None))]  # fmt: skip
        assert [(await client.next("hello"))["unread"] for client in (acme, theirs, whole)] == [0, 1, 1]
        for client in (theirs, whole):
            assert (await client.next("notification"))["notification"]["id"] == before.id
        sent = [await node.to_user("user1", of("acme")), await other.to_all(of("other")), await node.to_all(of("acme")),
                await other.to_user("user1", of(None))]  # fmt: skip
        names = [each.id for each in sent]
        assert set(await ids_until_quiet(acme, 3)) == {names[0], names[2], names[3]}
        assert set(await ids_until_quiet(theirs, 2)) == {names[1], names[3]}
        assert set(await ids_until_quiet(whole, 4)) == set(names)
        for client, count in ((acme, 3), (theirs, 3), (whole, 5)):
            await told_unread(client, count)
        cursor = next(frame["cursor"] for frame in acme.seen if frame["type"] == "notification")
        await acme.say(type="read", id=names[1])
        assert (await acme.next("error"))["code"] == "not_found"
        await acme.say(type="read", id=names[0])
        for client, count in ((acme, 2), (theirs, 3), (whole, 4)):
            await told_unread(client, count)
        await acme.socket.close()
        resumed = await _open(other, stack, "acme", f"?cursor={cursor}")
        assert (await resumed.next("hello"))["unread"] == 2
        later = await ids_until_quiet(resumed, 2)
        assert set(later) <= {names[0], names[2], names[3]}


async def test_a_ticket_is_for_the_tenant_of_the_token_that_bought_it(node: Realtime) -> None:
    hidden = await node.to_user("user1", of("other"))
    _, ticket = await node.call("POST", "/v1/tickets", "user1", headers=bearer("user1", tenant="acme"))
    url = f"{node.url}/v1/events?ticket={ticket['ticket']}"
    shown = await node.to_user("user1", of("acme"))
    async with node.client.get(url) as stream, asyncio.timeout(30):
        found: list[str] = []
        while not any("event: notification" in line for line in found):
            found.append((await stream.content.readline()).decode())
        found.append((await stream.content.readline()).decode())
    assert shown.id in found[-1]
    assert hidden.id not in "".join(found)


async def test_a_gateways_session_of_a_tenant_is_told_its_own(node: Realtime, topic_prefix: str) -> None:
    reply_to = f"{topic_prefix}receipts/gate/1"
    await node.to_user("user1", of("other"))
    async with Broker(node.context.address, "gate") as gateway:
        await gateway.subscribe(reply_to)
        opened = await node.node.registry.open_session("user1", "g1", reply_to=reply_to, tenant="acme")
        assert opened is not None
        assert (opened.unread, opened.pending) == (0, [])
        for tenant in ("other", "acme"):
            await node.to_user("user1", of(tenant))
            sent = await node.to_all(of(tenant))
        await node.call("POST", f"/v1/inbox/{sent.id}/read", "user1")
        told: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while not told or told[-1]["type"] != "unread":
                for incoming in await gateway.take(10):
                    told.append(json.loads(incoming.payload))
                    gateway.ack(incoming)
    shown = [frame["notification"] for frame in told if frame["type"] == "notification"]
    assert [each["tenant"] for each in shown] == ["acme", "acme"]
    assert told[-1]["unread"] == 1

"""A recalled notification leaves inboxes, the feed and open sessions, and does not come back."""

import asyncio
import json
from typing import Any

from carillon.local.servers import LocalServer
from shared.core.model import Feed, Notification, UserInbox
from shared.directory.people import Person
from shared.mqtt.connection import Broker
from tests.conftest import EmptyStore
from tests.realtime import ALERT, Realtime, ids_until_quiet, notification, realtime_node, told_unread

ANNA = UserInbox(user_id="anna")


async def listed(node: Realtime, user_id: str = "anna") -> tuple[list[str], int]:
    _, page = await node.call("GET", "/v1/inbox", user_id)
    return [entry["id"] for entry in page["notifications"]], page["unread"]


async def test_a_recalled_entry_leaves_the_inbox_and_open_sessions_on_every_process(
    node: Realtime, other: Realtime
) -> None:
    async with node.session("anna") as here, other.session("anna") as there, other.session("ben") as stranger:
        for client in (here, there, stranger):
            await client.next("hello")
        kept, wrong = await node.to_user("anna", "kept"), await node.to_user("anna", "wrong")
        for client in (here, there):
            assert await ids_until_quiet(client, 2) == [kept.id, wrong.id]
        await other.recall(wrong, ANNA)
        for client in (here, there):
            assert await client.next("recalled") == {"type": "recalled", "id": wrong.id}
            await told_unread(client, 1)
        assert await ids_until_quiet(stranger, 0) == []
        assert "recalled" not in {frame["type"] for frame in stranger.seen}
    assert await listed(node) == ([kept.id], 1)


async def test_recalling_again_or_what_never_came_changes_nothing(node: Realtime) -> None:
    kept, wrong = await node.to_user("anna", "kept"), await node.to_user("anna", "wrong")
    await node.recall(wrong, ANNA)
    await node.recall(wrong, ANNA)
    await node.recall(notification("never came"), ANNA)
    assert await listed(node) == ([kept.id], 1)


async def test_a_late_attempt_does_not_bring_it_back(node: Realtime) -> None:
    early, wrong = notification("not yet there"), await node.to_user("anna", "wrong")
    for sent in (early, wrong):
        await node.recall(sent, ANNA)
    async with node.session("anna") as client:
        for sent in (early, wrong):
            await node.to_user("anna", sent)
        assert await ids_until_quiet(client, 0) == []
    assert await listed(node) == ([], 0)
    # What comes after it does.
    later = await node.to_user("anna", "later")
    assert await listed(node) == ([later.id], 1)


async def test_a_read_or_pinned_entry_leaves_no_trace_in_the_counts(node: Realtime) -> None:
    read, alert = await node.to_user("anna", "read"), await node.to_user("anna", notification("disk", alert=ALERT))
    unread = await node.to_user("anna", "unread")
    await node.call("POST", f"/v1/inbox/{read.id}/read", "anna")
    for sent in (read, alert):
        await node.recall(sent, ANNA)
    assert await listed(node) == ([unread.id], 1)
    assert await node.node.changes._inbox.pinned("anna") == []
    await node.recall(unread, ANNA)
    assert await listed(node) == ([], 0)


async def test_a_client_that_comes_back_hears_what_was_recalled_meanwhile(node: Realtime) -> None:
    wrong, broadcast = await node.to_user("anna", "wrong"), await node.to_all("wrong for all")
    async with node.session("anna") as client:
        cursor = (await client.next("notification"))["cursor"]
        cursor = (await client.next("notification"))["cursor"]
    await node.recall(wrong, ANNA)
    await node.recall(broadcast, Feed())
    kept = await node.to_user("anna", "kept")
    async with node.session("anna", f"?cursor={cursor}") as client:
        assert await ids_until_quiet(client, 1) == [kept.id]
        assert [frame["id"] for frame in client.seen if frame["type"] == "recalled"] == [wrong.id, broadcast.id]
        assert "gap" not in {frame["type"] for frame in client.seen}
    # A new client has nothing to forget.
    async with node.session("anna") as client:
        assert await ids_until_quiet(client, 1) == [kept.id]
        assert "recalled" not in {frame["type"] for frame in client.seen}


async def test_a_recalled_broadcast_leaves_everybodys_line(node: Realtime, other: Realtime) -> None:
    await node.context.directory.put(Person(user_id="anna", groups=("ops",)))
    async with node.session("anna") as here, other.session("anna") as there, other.session("ben") as stranger:
        for client in (here, there, stranger):
            await client.next("hello")
        kept, wrong = await node.to_all("kept"), await node.to_all("wrong", ("ops",))
        for client in (here, there):
            assert await ids_until_quiet(client, 2) == [kept.id, wrong.id]
        await told_unread(here, 2)
        await other.call("POST", f"/v1/inbox/{kept.id}/read", "anna")
        await other.recall(wrong, Feed(groups=("ops",)))
        for client in (here, there):
            assert await client.next("recalled") == {"type": "recalled", "id": wrong.id}
            await told_unread(client, 0)
        assert await ids_until_quiet(stranger, 1) == [kept.id]
        assert "recalled" not in {frame["type"] for frame in stranger.seen}
    for process in (node, other):
        assert await listed(process) == ([kept.id], 0)
    await node.deliver(wrong, Feed(groups=("ops",)))
    for process in (node, other):
        assert await listed(process) == ([kept.id], 0)


async def test_a_process_that_missed_the_message_reads_of_a_recalled_broadcast(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with (
        realtime_node(store.url, broker.url, topic_prefix, feed_check_s=0.2) as node,
        node.session("anna") as client,
    ):
        await client.next("hello")
        wrong = await node.to_all("wrong")
        await client.next("notification")
        # By a process that died before it could tell anybody.
        await node.node.changes._feed.recall(wrong.id)
        assert await client.next("recalled") == {"type": "recalled", "id": wrong.id}
        await told_unread(client, 0)


async def test_gateways_hear_of_it(node: Realtime, topic_prefix: str) -> None:
    reply_to = f"{topic_prefix}receipts/gate/1"
    async with Broker(node.context.address, f"{topic_prefix}gate") as gate:
        await gate.subscribe(reply_to)
        assert await node.node.registry.open_session("anna", None, reply_to=reply_to, correlation=None) is not None
        own, broadcast = await node.to_user("anna", "own"), await node.to_all("all")
        await node.recall(own, ANNA)
        await node.recall(broadcast, Feed())
        frames: list[dict[str, Any]] = []
        while len(frames) < 5:
            for incoming in await asyncio.wait_for(gate.take(10), 5):
                frames.append(json.loads(incoming.payload))
                gate.ack(incoming)
    assert [frame["id"] for frame in frames if frame["type"] == "recalled"] == [own.id, broadcast.id]


async def test_forgetting_a_person_forgets_what_was_recalled(node: Realtime) -> None:
    sent: Notification = await node.to_user("anna", "wrong")
    await node.recall(sent, ANNA)
    store, base = node.context.store, node.context.keys.user("anna")
    assert await store.command("EXISTS", f"{base}:recalled")
    await node.node.changes._inbox.forget("anna")
    assert not await store.command("EXISTS", f"{base}:recalled")


async def test_a_snoozed_entry_does_not_come_back(node: Realtime) -> None:
    wrong, kept = await node.to_user("anna", "wrong"), await node.to_user("anna", "kept")
    for sent in (wrong, kept):
        status, _ = await node.call("POST", f"/v1/inbox/{sent.id}/snooze", "anna", json={"for": "1h"})
        assert status == 204
    await node.recall(wrong, ANNA)
    _, page = await node.call("GET", "/v1/inbox?state=snoozed", "anna")
    assert [entry["id"] for entry in page["notifications"]] == [kept.id]
    for sent in (wrong, kept):
        await node.call("DELETE", f"/v1/inbox/{sent.id}/snooze", "anna")
    assert await listed(node) == ([kept.id], 1)


async def test_a_broadcast_that_somebody_snoozed_is_recalled_there_too(node: Realtime, other: Realtime) -> None:
    wrong = await node.to_all("wrong")
    status, _ = await node.call("POST", f"/v1/inbox/{wrong.id}/snooze", "anna", json={"for": "1h"})
    assert status == 204
    await other.recall(wrong, Feed())
    for user in ("anna", "ben"):
        _, page = await node.call("GET", "/v1/inbox?state=snoozed", user)
        assert page["notifications"] == []
        assert await listed(node, user) == ([], 0)
    status, _ = await node.call("POST", f"/v1/inbox/{wrong.id}/snooze", "ben", json={"for": "1h"})
    assert status == 404

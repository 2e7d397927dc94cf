"""The realtime service's open sessions, of every kind, against a real store and a real broker."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from carillon.local.servers import LocalServer
from services.realtime.sessions.close_codes import GOING_AWAY
from services.realtime.sessions.frames import Frame
from shared.core.model import UserInbox
from shared.directory.people import Person
from shared.directory.preferences import Preferences
from shared.mqtt.connection import Broker
from shared.store.keys import new_notification_id, order_of
from tests.conftest import EmptyStore
from tests.realtime import ALERT, Client, Realtime, bearer, ids_until_quiet, notification, realtime_node, told_unread
from tests.waiting import eventually

# Live.


async def test_new_entry_reaches_an_open_session(node: Realtime) -> None:
    async with node.session("user1") as client:
        assert (await client.next())["unread"] == 0
        sent = await node.to_user("user1", notification("hi", title="Hello", data={"k": [1]}, category="chat"))
        frame = await client.next()
        assert frame["type"] == "notification"
        assert frame["notification"] == {
            "id": sent.id, "title": "Hello", "message": "hi", "type": "info", "priority": "normal", "category": "chat",
            "data": {"k": [1]}, "timestamp": sent.accepted_ms / 1000, "channels": ["realtime"], "read": False,
        }  # fmt: skip
        assert await client.next() == {"type": "unread", "unread": 1}


async def test_frames_of_every_length_are_read_by_another_implementation(node: Realtime) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        # On both sides of 65,536 bytes, where a frame's header changes (RFC 6455, 5.2); the counts are below 126.
        for size in (2, 60_000, 66_000, 200_000):
            sent = await node.to_user("user1", "é" * (size // 2))
            frame = await client.next("notification")
            assert (frame["notification"]["id"], len(frame["notification"]["message"])) == (sent.id, size // 2)
            await client.next("unread")


async def test_alert_names_its_id_and_that_it_wants_an_acknowledgement(node: Realtime) -> None:
    async with node.session("user1") as client:
        sent = await node.to_user("user1", notification("disk full", alert=ALERT))
        alert = (await client.next("notification"))["notification"]["alert"]
        assert (alert["id"], alert["requires_acknowledgment"]) == (sent.id, True)


async def test_delivering_again_shows_nothing_twice(node: Realtime, other: Realtime) -> None:
    async with node.session("user1") as client, other.session("user1") as elsewhere:
        await client.next("hello")
        await elsewhere.next("hello")
        sent = await node.to_user("user1", "once")
        await node.to_user("user1", sent)
        await other.to_user("user1", sent)
        assert await ids_until_quiet(client, 1) == [sent.id]
        assert await ids_until_quiet(elsewhere, 1) == [sent.id]


async def test_entry_reaches_sessions_on_every_process(node: Realtime, other: Realtime) -> None:
    async with node.session("user1") as here, other.session("user1") as there, other.session("user3") as stranger:
        for client in (here, there, stranger):
            await client.next("hello")
        sent = [await node.to_user("user1", "one"), await other.to_user("user1", "two")]
        for client in (here, there):
            assert await ids_until_quiet(client, 2) == [entry.id for entry in sent]
        assert await ids_until_quiet(stranger, 0) == []


async def test_quiet_entry_is_not_shown_live_but_counted(node: Realtime) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        quiet = await node.to_user("user1", "quiet", live=False)
        assert await client.next() == {"type": "unread", "unread": 1}
        loud = await node.to_user("user1", "loud")
        assert await ids_until_quiet(client, 1) == [loud.id]
    _, page = await node.call("GET", "/v1/inbox", "user1")
    assert [entry["id"] for entry in page["notifications"]] == [loud.id, quiet.id]


async def test_broadcast_reaches_its_groups_on_every_process(node: Realtime, other: Realtime) -> None:
    await node.context.directory.put(Person(user_id="user1", groups=("ops",)))
    await node.context.directory.put(Person(user_id="mute", preferences=Preferences(realtime=False)))
    async with node.session("user1") as one, other.session("user3") as another, other.session("mute") as mute:
        for client in (one, another, mute):
            await client.next("hello")
        everybody = await node.to_all("all")
        ops = await other.to_all("ops", ("ops",))
        assert await ids_until_quiet(one, 2) == [everybody.id, ops.id]
        assert await ids_until_quiet(another, 1) == [everybody.id]
        assert await ids_until_quiet(mute, 0) == []
        assert mute.seen[1] == {"type": "unread", "unread": 1}
    status, _ = await node.call("POST", f"/v1/inbox/{ops.id}/read", "user3")
    assert status == 404


async def test_status_is_live_and_what_a_new_session_sees_first(node: Realtime, other: Realtime) -> None:
    async with other.session("user1") as client:
        await client.next("hello")
        sent = notification(
            "maintenance", kind="system_status", data={"status": "degraded", "services": {"api": "slow"}}
        )
        await node.to_all(sent)
        frame = await client.next("status")
        assert frame == {
            "type": "status", "message": "maintenance", "status": "degraded", "services": {"api": "slow"},
            "timestamp": sent.accepted_ms / 1000,
        }  # fmt: skip
    async with node.session("user3") as client:
        assert await client.next() == frame
        assert (await client.next())["type"] == "hello"
    assert (await node.call("GET", "/v1/inbox", "user3"))[1]["notifications"] == []


async def test_a_burst_over_two_processes_stands_in_the_order_of_acceptance(node: Realtime, other: Realtime) -> None:
    burst = [notification(f"{number}") for number in range(10)]
    names = [each.id for each in burst]
    async with node.session("user1") as here, other.session("user1") as there:
        for client in (here, there):
            await client.next("hello")
        for number in (1, 0, 2, 3, 5, 7, 9, 4, 6, 8):
            process = (node, other)[number % 2]
            await (process.to_all if number % 5 == 0 else _to_ada(process))(burst[number])
        for client in (here, there):
            assert sorted(await ids_until_quiet(client, 10)) == sorted(names)
            await _resumes_at_any_cursor(node, client, names)
    for process in (node, other):
        assert await _inbox(process, "user1") == names[::-1]
        async with process.session("user1") as client:
            assert await ids_until_quiet(client, 10) == names


async def test_what_is_at_hand_together_is_shown_live_in_the_order_of_acceptance(node: Realtime) -> None:
    burst = [notification(f"{number}") for number in range(6)]
    names = [each.id for each in burst]
    async with node.session("user1") as client:
        await client.next("hello")
        await asyncio.gather(*(node.to_user("user1", burst[number]) for number in (4, 0, 5, 2, 1, 3)))
        assert await ids_until_quiet(client, 6) == names
        await _resumes_at_any_cursor(node, client, names)


async def test_what_was_scheduled_stands_where_it_was_due(node: Realtime) -> None:
    scheduled, second = notification("scheduled"), notification("second")
    await node.to_user("user1", second)
    await node.deliver(scheduled, UserInbox(user_id="user1"), due_ms=second.accepted_ms + 1_000)
    assert await _inbox(node, "user1") == [scheduled.id, second.id]


async def _inbox(process: Realtime, user_id: str, query: str = "") -> list[str]:
    status, page = await process.call("GET", f"/v1/inbox{query}", user_id)
    assert status == 200
    return [entry["id"] for entry in page["notifications"]]


async def _resumes_at_any_cursor(process: Realtime, client: Client, names: list[str]) -> None:
    """Resume behind each frame that a client was shown, and see that the rest comes, once each."""
    shown = [frame for frame in client.seen if frame["type"] == "notification"]
    told = []
    for frame in shown:
        told.append(frame["notification"]["id"])
        rest = set(names) - set(told)
        async with process.session("user1", f"?cursor={frame['cursor']}") as again:
            assert set(await ids_until_quiet(again, len(rest))) == rest


# Resuming.


async def test_pending_unread_come_first_and_each_cursor_resumes_behind_it(node: Realtime) -> None:
    sent = [(await node.to_user("user1", f"{number}")).id for number in range(12)]
    await node.call("POST", f"/v1/inbox/{sent[5]}/read", "user1")
    cursors = []
    async with node.session("user1") as client:
        hello = await client.next()
        assert (hello["type"], hello["unread"]) == ("hello", 11)
        assert await ids_until_quiet(client, 10) == [*sent[1:5], *sent[6:]]
        cursors = [frame["cursor"] for frame in client.seen if frame["type"] == "notification"]
    async with node.session("user1", f"?cursor={cursors[7]}") as client:
        assert await ids_until_quiet(client, 2) == sent[-2:]
    async with node.session("user1", f"?cursor={cursors[-1]}") as client:
        assert await ids_until_quiet(client, 0) == []


async def test_ten_reconnects_during_a_stream_lose_and_repeat_nothing(node: Realtime, other: Realtime) -> None:
    sent: list[str] = []

    async def publish() -> None:
        for number in range(150):
            process = (node, other)[number % 2]
            entry = await (process.to_all if number % 3 == 0 else _to_ada(process))(f"{number}")
            sent.append(entry.id)

    received: list[str] = []
    cursor = ""
    task = asyncio.create_task(publish(), name="publish")
    for turn in range(10):
        process = (node, other)[turn % 2]
        async with process.session("user1", f"?cursor={cursor}" if cursor else "") as client:
            cursor = (await client.next("hello"))["cursor"]
            for _ in range(10):
                frame = await client.next("notification", "gap")
                assert frame["type"] == "notification"
                received.append(frame["notification"]["id"])
                cursor = frame["cursor"]
    await task
    async with node.session("user1", f"?cursor={cursor}") as client:
        while len(received) < len(sent):
            frame = await client.next("notification", "gap")
            assert frame["type"] == "notification"
            received.append(frame["notification"]["id"])
    assert len(set(received)) == len(received)
    assert set(received) == set(sent)


def _to_ada(process: Realtime) -> Any:
    return lambda text: process.to_user("user1", text)


async def test_gap_when_history_is_gone_or_the_cursor_is_not_ours(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, inbox_limit=20) as node:
        async with node.session("user1") as client:
            await client.next("hello")
            await node.to_user("user1", "seen")
            cursor = (await client.next("notification"))["cursor"]
        missed = [(await node.to_user("user1", f"{number}")).id for number in range(25)]
        for stale in (cursor, "garbage", "x" * 43, "%00"):
            async with node.session("user1", f"?cursor={stale}") as client:
                assert (await client.next())["type"] == "hello"
                assert (await client.next())["type"] == "gap"
                assert await ids_until_quiet(client, 10) == missed[-10:]


@pytest.mark.parametrize("broadcast", [False, True], ids=["own entry", "broadcast"])
async def test_gap_for_whoever_knows_more_than_a_restored_store(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, *, broadcast: bool
) -> None:
    async def tell(node: Realtime, text: str) -> str:
        return (await (node.to_all(text) if broadcast else node.to_user("user1", text))).id

    async with Redis.from_url(store.url) as server:
        async with realtime_node(store.url, broker.url, topic_prefix) as node, node.session("user1") as client:
            await client.next("hello")
            kept = await tell(node, "kept")
            at_backup = (await client.next("notification"))["cursor"]
            backup = {key: value for key in await server.keys() if (value := await server.dump(key))}
            await tell(node, "lost")
            after = (await client.next("notification"))["cursor"]
        await server.flushdb()
        for key, value in backup.items():
            await server.restore(key, 0, value)
    async with realtime_node(store.url, broker.url, topic_prefix) as node:
        async with node.session("user1", f"?cursor={after}") as client:
            hello = await client.next()
            assert (await client.next())["type"] == "gap"
            assert await ids_until_quiet(client, 1) == [kept]
        # Whoever knows no more than the store has lost nothing, and neither has one who was told of the gap.
        for known in (at_backup, hello["cursor"]):
            async with node.session("user1", f"?cursor={known}") as client:
                await client.next("hello")
                new = await tell(node, "new")
                told = await client.next("notification", "gap")
                while told.get("notification", {}).get("id") != new:
                    assert told["type"] == "notification"
                    told = await client.next("notification", "gap")


async def test_cursor_of_another_user_shows_nothing_of_his(node: Realtime) -> None:
    sent = await node.to_user("user1", "for one")
    _, page = await node.call("GET", "/v1/inbox", "user1")
    await node.to_user("user1", "also for one")
    async with node.session("user3", f"?cursor={page['cursor']}") as client:
        assert await ids_until_quiet(client, 0) == []
    assert page["notifications"][0]["id"] == sent.id


async def test_inbox_page_and_stream_join_without_a_seam(node: Realtime) -> None:
    await node.to_user("user1", "in the page")
    _, page = await node.call("GET", "/v1/inbox", "user1")
    later = await node.to_user("user1", "in the stream")
    broadcast = await node.to_all("in the stream, too")
    async with node.session("user1", f"?cursor={page['cursor']}") as client:
        assert await ids_until_quiet(client, 2) == [later.id, broadcast.id]


async def test_lost_live_messages_are_made_good(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> None:
    async with (
        realtime_node(store.url, broker.url, topic_prefix, heartbeat_s=0.4, feed_check_s=0.2) as node,
        node.session("user1") as client,
    ):
        await client.next("hello")
        # Written by a process that died before it could tell anybody.
        inbox, feed = node.node.changes._inbox, node.node.changes._feed
        for name in ("n1", "n2"):
            await inbox.add("user1", name, f'{{"id":"{name}"}}')
        await feed.add("f1", '{"id":"f1"}', None)
        frames = [await client.next("notification") for _ in range(3)]
        assert sorted(frame["notification"]["id"] for frame in frames) == ["f1", "n1", "n2"]
        await told_unread(client, 3)
        await inbox.mark("user1", "n1", "read")
        await told_unread(client, 2)
        # A live message that follows on what was lost does not go before it.
        # In the order of acceptance, as a worker writes it.
        await inbox.add("user1", "n3", '{"id":"n3"}', order=order_of(new_notification_id()))
        sent = await node.to_user("user1", "four")
        assert await ids_until_quiet(client, 2) == ["n3", sent.id]


class Collected:
    """The end of a session's frames, of a client that reads only while ``reading`` is set."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.frames: list[dict[str, Any]] = []

    def send_now(self, _frames: Sequence[Frame]) -> bool:
        return False

    async def send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            await self.reading.wait()
            # Others get a turn between two frames, as while a socket drains.
            await asyncio.sleep(0)
            self.frames.append(json.loads(frame.data))

    async def close(self, code: int) -> None:
        self.frames.append({"type": "close", "code": code})

    @property
    def ids(self) -> list[str]:
        """The ids of the notifications shown, in their order."""
        return [frame["notification"]["id"] for frame in self.frames if frame["type"] == "notification"]


async def test_what_comes_while_a_session_is_greeted_is_shown_after_the_greeting(node: Realtime) -> None:
    hub, registry = node.node.hub, node.node.registry
    early = await node.to_user("user1", "early")
    sink = Collected()
    session = hub.add("s1", "user1", sink)
    opened = await registry.open_on_node("user1", "s1", node.node.id, most=3, after=None)
    assert opened is not None
    # Between reading the inbox and the greeting.
    sent = [
        await node.to_user("user1", "own"),
        await node.to_all("broadcast"),
        await node.to_user("user1", "own again"),
    ]
    await hub.admit(session, opened, None, None)
    await eventually(lambda: sink.frames[-1]["type"] == "unread", what="the count")
    assert [frame["type"] for frame in sink.frames[:2]] == ["hello", "notification"]
    assert sorted(sink.ids) == sorted([early.id, *(entry.id for entry in sent)])
    assert sink.ids.index(early.id) < sink.ids.index(sent[0].id) < sink.ids.index(sent[2].id)
    assert sink.frames[-1]["unread"] == 4
    hub.remove(session)


async def test_broadcast_during_a_greeting_is_shown_after_it(node: Realtime) -> None:
    hub, sink = node.node.hub, Collected()
    session = hub.add("s1", "user1", sink)
    opened = await node.node.registry.open_on_node("user1", "s1", node.node.id, most=3, after=None)
    assert opened is not None
    sink.reading.clear()
    greeting = asyncio.create_task(hub.admit(session, opened, None, None), name="greeting")
    sent = await node.to_all("broadcast")
    sink.reading.set()
    await greeting
    await eventually(lambda: len(sink.frames) == 3, what="the count")
    assert [frame["type"] for frame in sink.frames] == ["hello", "notification", "unread"]
    assert sink.ids == [sent.id]
    hub.remove(session)


async def test_what_was_missed_does_not_overtake_what_waits_for_a_slow_client(node: Realtime) -> None:
    hub, sink = node.node.hub, Collected()
    session = hub.add("s1", "user1", sink)
    opened = await node.node.registry.open_on_node("user1", "s1", node.node.id, most=3, after=None)
    assert opened is not None
    await hub.admit(session, opened, None, None)
    sink.reading.clear()
    waiting = [(await node.to_user("user1", text)).id for text in ("one", "two", "three")]
    # Written by a process that died before it could tell anybody.
    order = order_of(new_notification_id())
    await node.node.changes._inbox.add("user1", "lost", '{"id":"lost"}', order=order)
    last = await node.to_user("user1", "last")
    # What the session reads from the store now has been answered when a later question has.
    await asyncio.sleep(0)
    await node.context.store.ping()
    sink.reading.set()
    await eventually(lambda: len(sink.ids) == 5, what="everything to be shown")
    assert sink.ids == [*waiting, "lost", last.id]
    hub.remove(session)


async def test_changed_groups_are_followed_during_a_session(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with (
        realtime_node(store.url, broker.url, topic_prefix, heartbeat_s=0.4) as node,
        node.session("user1") as client,
    ):
        await client.next("hello")
        await node.to_all("before", ("ops",))
        await node.context.directory.put(Person(user_id="user1", groups=("ops",)))
        # She may see the broadcast from before her time in the inbox, and it counts.
        await told_unread(client, 1)
        after = await node.to_all("after", ("ops",))
        assert await ids_until_quiet(client, 1) == [after.id]


# Server-sent events.


async def read_event(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Read one event; comments are passed over."""
    event: dict[str, str] = {}
    while True:
        line = (await asyncio.wait_for(response.content.readline(), 5)).decode().rstrip("\n")
        if not line and event:
            return event
        name, _, value = line.partition(": ")
        if name:
            event[name] = value


async def test_event_stream_carries_the_frames_and_resumes(node: Realtime) -> None:
    async with node.client.get(f"{node.url}/v1/events", headers=bearer("user1")) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert await read_event(response) == {"retry": "2000"}
        hello = await read_event(response)
        assert (hello["event"], bool(hello["id"])) == ("hello", True)
        sent = await node.to_user("user1", "line one\nline two")
        shown = await read_event(response)
        assert shown["event"] == "notification"
        assert sent.id in shown["data"]
        assert (await read_event(response))["data"] == '{"type":"unread","unread":1}'
    missed = await node.to_user("user1", "missed")
    headers = {**bearer("user1"), "Last-Event-ID": shown["id"]}
    async with node.client.get(f"{node.url}/v1/events?cursor=old", headers=headers) as response:
        await read_event(response)
        await read_event(response)
        assert missed.id in (await read_event(response))["data"]


async def test_end_of_an_event_streams_client_is_noticed(node: Realtime) -> None:
    async with node.client.get(f"{node.url}/v1/events", headers=bearer("user1")) as response:
        await read_event(response)
        assert "user1" in node.node.hub.users
        response.close()
    await eventually(lambda: "user1" not in node.node.hub.users, within_s=12, what="the session to end")


# Gateways of others.


async def test_gateway_gets_live_frames_on_its_reply_topic(node: Realtime, other: Realtime, topic_prefix: str) -> None:
    await node.context.directory.put(Person(user_id="user1", groups=("ops",)))
    reply_to = f"{topic_prefix}receipts/gate/1"
    async with Broker(node.context.address, f"{topic_prefix}gate") as gate:
        await gate.subscribe(reply_to)
        opened = await node.node.registry.open_session("user1", None, reply_to=reply_to, correlation=b"\x00c1".hex())
        assert opened is not None
        own = await other.to_user("user1", "own")
        ops = await node.to_all("ops", ("ops",))
        await node.to_all("others", ("sales",))
        await node.to_all(notification("fine", kind="system_status"))
        await node.call("POST", "/v1/inbox/read-all", "user1")
        await node.node.registry.close_session("user1", opened.session_id)
        await node.to_user("user1", "after the end")
        frames: list[dict[str, Any]] = []
        while len(frames) < 4:
            for incoming in await asyncio.wait_for(gate.take(10), 5):
                assert incoming.correlation == b"\x00c1"
                frames.append(json.loads(incoming.payload))
                gate.ack(incoming)
        assert [frame["type"] for frame in frames] == ["notification", "notification", "status", "unread"]
        assert [frame["notification"]["id"] for frame in frames[:2]] == [own.id, ops.id]
        assert frames[3]["unread"] == 0
    # The cursor of such a frame is a place on the same line.
    async with node.session("user1", f"?cursor={frames[0]['cursor']}") as client:
        assert (await client.next("notification"))["notification"]["id"] == ops.id


@pytest.mark.parametrize(
    "elsewhere", ["internal/email/critical", "notifications/events/1", "directory/user/user9", "websocket/connect/u9"]
)
async def test_gateway_cannot_publish_through_us_where_it_may_not(
    node: Realtime, topic_prefix: str, elsewhere: str
) -> None:
    # As the router of the previous release still wrote it down.
    reply_to = f"{topic_prefix}{elsewhere}"
    async with Broker(node.context.address, f"{topic_prefix}spy") as spy:
        await spy.subscribe(reply_to, f"{topic_prefix}end")
        await node.node.registry.open_session("user1", None, reply_to=reply_to)
        await node.to_user("user1", "x")
        spy.publish(f"{topic_prefix}end", b"")
        assert [incoming.topic for incoming in await spy.take(10)] == [f"{topic_prefix}end"]


# The end.


async def test_drain_sends_clients_elsewhere(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> None:
    async with (
        realtime_node(store.url, broker.url, topic_prefix) as stays,
        stays.client.get(f"{stays.url}/v1/openapi.json") as _,
    ):
        async with AsyncExitStack() as stack:
            going = await stack.enter_async_context(realtime_node(store.url, broker.url, topic_prefix))
            raw = await stays.client.ws_connect(f"{going.url}/v1/ws", headers=bearer("user1"))
            client = Client(raw)
            cursor = (await client.next("hello"))["cursor"]
            closed = asyncio.create_task(client.closed(), name="closed")
        assert await closed == GOING_AWAY
        missed = await stays.to_user("user1", "missed")
        async with stays.session("user1", f"?cursor={cursor}") as again:
            assert await ids_until_quiet(again, 1) == [missed.id]
        assert await stays.node.registry.nodes_of("user1") == frozenset()

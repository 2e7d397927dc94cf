"""The realtime service as its clients see it, against a real store and a real broker."""

import asyncio
import json
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from services.realtime.addresses import Addresses, AddressLimits
from services.realtime.app import build
from services.realtime.auth import SharedSecret
from services.realtime.frames import Frame
from services.realtime.sessions import (
    GOING_AWAY,
    POLICY_VIOLATION,
    TOO_MANY_SESSIONS,
    TOO_SLOW,
    UNAUTHENTICATED,
    UNSUPPORTED_DATA,
    Phase,
)
from shared.ledger import AlertState, NewRecord, NewRow
from shared.model import Channel, Delivery, Notification, Priority, UserInbox
from shared.mqtt import Broker
from shared.people import MobileDevice, Person, Preferences
from shared.suppression import Cause, Suppressions, digest
from shared.unsubscribe import PATH as UNSUBSCRIBE_PATH
from shared.unsubscribe import token as link_token
from tests.conftest import EmptyStore
from tests.realtime import ALERT, Client, Realtime, bearer, notification, realtime_node, token
from tests.waiting import eventually

ALLOWED = "https://app.example.com"


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(
        store.url, broker.url, topic_prefix, inbox_limit=200, realtime_max_sessions_per_user=3,
        realtime_allowed_origins=ALLOWED,
    ) as running:  # fmt: skip
        yield running


@pytest_asyncio.fixture
async def other(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    """A second process of the same system."""
    async with realtime_node(
        store.url, broker.url, topic_prefix, inbox_limit=200, realtime_max_sessions_per_user=3
    ) as running:
        yield running


async def ids_until_quiet(client: Client, count: int) -> list[str]:
    """Read that many notifications, and see that no more come before the answer to a ping."""
    ids = [(await client.next("notification"))["notification"]["id"] for _ in range(count)]
    await client.say(type="ping")
    while (frame := await client.next())["type"] != "pong":
        assert frame["type"] != "notification"
    return ids


async def told_unread(client: Client, count: int) -> None:
    """Return when the count that a client was told last is this one."""
    counts = [frame["unread"] for frame in client.seen if "unread" in frame]
    while counts[-1] != count:
        counts.append((await client.next("unread"))["unread"])


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
        await inbox.add("user1", "n3", '{"id":"n3"}')
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
    await node.node.changes._inbox.add("user1", "lost", '{"id":"lost"}')
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
    assert await node.call("GET", "/v1/preferences", "user1") == (200, defaults)
    async with other.session("user1") as client:
        await client.next("hello")
        assert await node.call("PUT", "/v1/preferences", "user1", json={"realtime": False, "sms": True}) == (
            200,
            defaults | {"realtime": False, "sms": True},
        )
        await eventually(lambda: not other.node.hub.users["user1"].live, what="the other process to know")
        await node.to_all("not shown live")
        assert await ids_until_quiet(client, 0) == []
    person = await node.context.directory.person("user1")
    assert person is not None
    assert person.preferences.sms
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
        ({"platform": "fax"}, "platform", "must be one of ios, android, web"),
        ({"token": "token-3"}, "platform", "required"),
        ({"platform": "ios"}, "token", "required"),
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


async def test_entry_says_where_its_alert_stands(node: Realtime) -> None:
    alerts = [await accepted_alert(node) for _ in range(3)]
    forgotten = notification("a disk was full", kind="alert_critical", alert=ALERT)
    async with node.session("user1") as client:
        await client.next("hello")
        for alert in (forgotten, *alerts):
            await node.to_user("user1", alert)
            assert (await client.next("notification"))["notification"]["alert"]["state"] == "open"
    await node.to_user("user1", notification("no alert", data={"alert": {"id": alerts[0].id}}))
    assert (await node.call("POST", f"/v1/alerts/{alerts[0].id}/acknowledge", "user1"))[0] == 204
    await node.context.ledger.resolve(alerts[1].id)
    states = {alerts[0].id: "acknowledged", alerts[1].id: "resolved", alerts[2].id: "open", forgotten.id: "ended"}
    assert await alert_states(node) == states
    async with node.session("user1") as client:
        shown = [(await client.next("notification"))["notification"] for _ in range(5)]
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


# Who may connect, and for how long.


async def refused_code(node: Realtime, query: str = "", **options: Any) -> int | None:
    async with node.client.ws_connect(f"{node.url}/v1/ws{query}", **options) as raw:
        return await Client(raw).closed()


async def test_without_a_valid_token_nobody_gets_in(node: Realtime) -> None:
    for headers in (
        {}, {"Authorization": "Bearer nonsense"}, bearer("user1", valid_s=-1), bearer("user1", secret="x" * 32),
        bearer("a/b"), bearer(""), {"Authorization": "Basic YTpi"},
    ):  # fmt: skip
        assert await refused_code(node, headers=headers) == UNAUTHENTICATED
        for method, path in (("GET", "/v1/inbox"), ("GET", "/v1/events"), ("POST", "/v1/tickets")):
            async with node.client.request(method, node.url + path, headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert (await response.json())["error"]["code"] == "unauthorized"


async def test_session_ends_with_its_token(node: Realtime) -> None:
    async with node.client.ws_connect(f"{node.url}/v1/ws", headers=bearer("user1", valid_s=1)) as raw:
        client = Client(raw)
        await client.next("hello")
        assert await client.closed() == UNAUTHENTICATED
    async with node.client.get(f"{node.url}/v1/events", headers=bearer("user1", valid_s=1)) as response:
        assert b"event: hello" in await asyncio.wait_for(response.read(), 5)


async def test_ticket_opens_one_session_for_its_user_and_origin(node: Realtime, other: Realtime) -> None:
    async def ticket(origin: str | None = None, **claims: Any) -> str:
        headers = {"Origin": origin} if origin else {}
        async with node.client.post(
            f"{node.url}/v1/tickets", headers={**bearer("user1", **claims), **headers}
        ) as response:
            answer = await response.json()
            assert (response.status, answer["expires_in"]) == (200, 30)
            return str(answer["ticket"])

    bought = await ticket()
    async with other.client.ws_connect(f"{other.url}/v1/ws?ticket={bought}") as raw:
        await Client(raw).next("hello")
    assert await refused_code(node, f"?ticket={bought}") == UNAUTHENTICATED
    # Made on one page, used on another, or taken out of the browser.
    own = node.url
    assert await refused_code(node, f"?ticket={await ticket(own)}", origin=ALLOWED) == UNAUTHENTICATED
    assert await refused_code(node, f"?ticket={await ticket(ALLOWED)}", origin=own) == UNAUTHENTICATED
    assert await refused_code(node, f"?ticket={await ticket(ALLOWED)}") == UNAUTHENTICATED
    async with node.client.ws_connect(f"{own}/v1/ws?ticket={await ticket(own)}", origin=own) as raw:
        await Client(raw).next("hello")
    # An EventSource of our own page names no origin, but Fetch Metadata says where it comes from.
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with node.client.get(f"{own}/v1/events?ticket={await ticket(own)}", headers=headers) as response:
        assert response.status == 200
    # A ticket lives no longer than the token that bought it, and buys nothing but a session.
    brief = await ticket(valid_s=1)
    async with node.client.ws_connect(f"{node.url}/v1/ws?ticket={brief}") as raw:
        assert await Client(raw).closed() == UNAUTHENTICATED
    async with node.client.get(f"{node.url}/v1/inbox?ticket={await ticket()}") as response:
        assert response.status == 401


async def test_pages_of_other_origins_are_refused(node: Realtime) -> None:
    host = urlsplit(node.url).netloc
    for origin in ("https://evil.example.com", "null", f"https://{host}.evil.example.com", ALLOWED + ".evil.org"):
        headers = {**bearer("user1"), "Origin": origin}
        for path in ("/v1/ws", "/v1/inbox", "/v1/events", "/", "/v1/preferences"):
            async with node.client.get(node.url + path, headers=headers) as response:
                assert response.status == 403
                assert "Access-Control-Allow-Origin" not in response.headers
        async with node.client.options(
            f"{node.url}/v1/inbox", headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
        ) as response:
            assert response.status == 403
    async with node.client.options(
        f"{node.url}/v1/preferences", headers={"Origin": ALLOWED, "Access-Control-Request-Method": "PUT"}
    ) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == ALLOWED
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    async with node.client.get(f"{node.url}/v1/inbox", headers={**bearer("user1"), "Origin": ALLOWED}) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, ALLOWED)
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_user_has_at_most_so_many_sessions_over_all_processes(node: Realtime, other: Realtime) -> None:
    async with AsyncExitStack() as stack:
        for process in (node, other, node):
            client = await stack.enter_async_context(process.session("user1"))
            await client.next("hello")
        async with other.session("user1") as refused:
            assert await refused.closed() == TOO_MANY_SESSIONS
        status, answer = await other.call("GET", "/v1/events", "user1")
        assert (status, answer["error"]["code"]) == (429, "too_many_sessions")
        async with other.session("user3") as somebody_else:
            await somebody_else.next("hello")

    # The places are free again.
    await eventually(lambda: not (node.node.hub.users or other.node.hub.users), what="the sessions to end")
    async with other.session("user1") as client:
        await client.next("hello")


# Clients that behave badly.


async def test_client_that_never_reads_is_cut_off_and_delays_nobody(node: Realtime) -> None:
    parts = urlsplit(node.url)
    raw = socket.create_connection((parts.hostname, parts.port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = (
        f"GET /v1/ws HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token('user1')}\r\n\r\n"
    )
    raw.sendall(request.encode())
    try:
        await eventually(lambda: "user1" in node.node.hub.users, what="the session")
        async with node.session("user1") as quick:
            await quick.next("hello")
            slow = node.node.hub.users["user1"].sessions[0]
            for _ in range(1000):
                # The quick one keeps up all the while.
                sent = await node.to_user("user1", "x" * 30_000)
                assert (await quick.next("notification"))["notification"]["id"] == sent.id
                if slow.phase is Phase.CLOSED:
                    break
            assert slow.phase is Phase.CLOSED
            await eventually(lambda: len(node.node.hub.users["user1"].sessions) == 1, what="the connection to be cut")
    finally:
        raw.close()


async def test_slow_client_that_wakes_up_reads_the_code(node: Realtime) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        # The client's task does not read, so its buffers fill up; then it does.
        for _ in range(400):
            await node.to_user("user1", "x" * 30_000)
            if not node.node.hub.users.get("user1"):
                break
        assert await client.closed() == TOO_SLOW


async def test_hostile_frames_are_answered_or_closed(node: Realtime) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        for text in (
            "", "nonsense", "[]", "{}", '{"type":5}', '{"type":"read"}', '{"type":"read","id":null}', "[" * 5000,
            '{"type":"acknowledge","alert_id":{}}',
        ):  # fmt: skip
            await client.socket.send_str(text)
            assert (await client.next())["code"] == "invalid_frame"
        await client.say(type="subscribe")
        assert (await client.next())["code"] == "unknown_type"
        await client.say(type="ping")
        assert await client.next() == {"type": "pong"}
        await client.socket.send_bytes(b"\x00")
        assert await client.closed() == UNSUPPORTED_DATA
    async with node.session("user1") as client:
        await client.next("hello")
        await client.socket.send_str("x" * 20_000)
        assert await client.closed() == 1009
    async with node.session("user1") as client:
        await client.next("hello")
        for _ in range(60):
            await client.say(type="ping")
        assert await client.closed() == POLICY_VIOLATION


async def test_plain_request_to_the_socket_is_told_to_upgrade(node: Realtime) -> None:
    status, answer = await node.call("GET", "/v1/ws", "user1")
    assert (status, answer["error"]["code"]) == (426, "upgrade_required")


async def test_errors_are_json_of_one_shape(node: Realtime) -> None:
    assert (await node.call("GET", "/v1/nothing", "user1"))[1]["error"]["code"] == "not_found"
    assert (await node.call("PATCH", "/v1/inbox", "user1"))[1]["error"]["code"] == "method_not_allowed"
    status, answer = await node.call("PUT", "/v1/preferences", "user1", data=b"x" * 100_000)
    assert (status, answer["error"]["code"]) == (413, "too_large")
    status, answer = await node.call("PUT", "/v1/preferences", "user1", data=b"[" * 50_000)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


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
    reply_to = f"{topic_prefix}gate/1"
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


async def test_gateway_cannot_publish_to_internal_topics_through_us(node: Realtime, topic_prefix: str) -> None:
    reply_to = f"{topic_prefix}internal/email/critical"
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


UNSUBSCRIBE: dict[str, Any] = {
    "email_unsubscribe_secret": "a secret of at least thirty-two bytes",
    "email_unsubscribe_url": "https://notify.example.com",
}


async def test_the_link_of_a_mail_unsubscribes_its_mailbox_with_a_post_alone(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    address = digest("user123@example.com")
    good = link_token(UNSUBSCRIBE["email_unsubscribe_secret"], address)
    async with realtime_node(store.url, broker.url, topic_prefix, **UNSUBSCRIBE) as node:
        context = node.context
        suppressions = Suppressions(context.store, context.keys, Channel.EMAIL, context.clock)

        async def call(method: str, link: str, **options: Any) -> tuple[int, str]:
            async with node.client.request(method, f"{node.url}/v1/unsubscribe{link}", **options) as answer:
                return answer.status, await answer.text()

        status, page = await call("GET", f"?token={good}")
        assert (status, '<form method="post">' in page) == (200, True)
        for link in ("", "?token=", f"?token={good[:-1]}", f"?token={'A' * 64}"):
            assert [(await call(method, link))[0] for method in ("GET", "POST")] == [400, 400]
        assert await suppressions.entries(address) == []

        # As a mail program does it, and as its own page does in a browser that hides where it comes from.
        one_click = {"data": {"List-Unsubscribe": "One-Click"}}
        for options in (one_click, {**one_click, "headers": {"Origin": "null"}}):
            assert (await call("POST", f"?token={good}", **options))[0] == 200
        assert [entry.cause for entry in await suppressions.entries(address)] == [Cause.UNSUBSCRIBED]


async def test_without_a_secret_there_is_nothing_to_unsubscribe_from(node: Realtime) -> None:
    async with node.client.post(f"{node.url}/v1/unsubscribe?token=x") as answer:
        assert answer.status == 404


async def test_page_and_description_are_served_under_a_strict_policy(node: Realtime) -> None:
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
    async with node.client.get(f"{node.url}/v1/openapi.json") as response:
        described = (await response.json())["paths"]
    served = {
        resource.canonical
        for resource in (route.resource for route in _routes(node))
        if resource is not None and resource.canonical.startswith("/v1/")
    }
    assert set(described) - {UNSUBSCRIBE_PATH} == served


def _routes(node: Realtime) -> Any:
    return build(node.node, SharedSecret("x" * 32), Addresses(), AddressLimits(1, 1)).router.routes()

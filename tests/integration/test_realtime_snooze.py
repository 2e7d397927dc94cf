"""Putting entries away, and pressing their actions, over HTTP and WebSockets."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from carillon.local.servers import LocalServer
from shared.core.errors import BrokerUnavailable
from shared.core.incidents import AlertState
from shared.core.model import Action, AlertDetails, Channel, Delivery, Notification, Priority, UserInbox
from shared.ledger.new_records import NewRecord, NewRow
from shared.mqtt.connection import Broker
from tests.conftest import EmptyStore
from tests.realtime import ALERT, Realtime, ids_until_quiet, notification, realtime_node, told_unread


async def ids(node: Realtime, query: str = "", user_id: str = "user1") -> list[str]:
    status, page = await node.call("GET", f"/v1/inbox?{query}", user_id)
    assert status == 200
    return [entry["id"] for entry in page["notifications"]]


def in_seconds(seconds: float) -> float:
    return time.time() + seconds


# Snooze.


async def test_a_snoozed_entry_comes_back_live_on_every_session(node: Realtime, other: Realtime) -> None:
    async with node.session("user1") as here, other.session("user1") as there:
        for client in (here, there):
            await client.next("hello")
        sent, kept = await node.to_user("user1", "later"), await node.to_user("user1", "now")
        for client in (here, there):
            await told_unread(client, 2)
        until_s = in_seconds(1)
        status, _ = await node.call("POST", f"/v1/inbox/{sent.id}/snooze", "user1", json={"until": until_s})
        assert status == 204
        for client in (here, there):
            await told_unread(client, 1)
        assert await ids(other) == [kept.id]
        [snoozed] = (await other.call("GET", "/v1/inbox?state=snoozed", "user1"))[1]["notifications"]
        assert (snoozed["id"], snoozed["snoozed_until"]) == (sent.id, pytest.approx(until_s, abs=0.001))
        for client in (here, there):
            frame = await client.next("notification")
            assert time.time() >= until_s
            assert (frame["notification"]["id"], frame["notification"]["read"]) == (sent.id, False)
            await told_unread(client, 2)
            assert await ids_until_quiet(client, 0) == []
    assert await ids(node) == [sent.id, kept.id]


async def test_a_broadcast_is_snoozed_by_one_user(node: Realtime) -> None:
    sent = await node.to_all("for all")
    async with node.session("user1") as client:
        await client.next("hello")
        await client.say(type="snooze", id=sent.id, **{"for": "1s"})
        await told_unread(client, 0)
        assert await ids(node) == []
        assert await ids(node, user_id="user2") == [sent.id]
        client.seen.clear()
        assert (await client.next("notification"))["notification"]["id"] == sent.id
    assert await ids(node) == [sent.id]
    assert await ids(node, user_id="user2") == [sent.id]
    assert (await node.call("GET", "/v1/inbox", "user1"))[1]["unread"] == 1


async def test_what_became_due_while_no_process_ran_is_there(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix) as first:
        sent = await first.to_user("user1", "later")
        async with first.session("user1") as client:
            cursor = (await client.next("notification"))["cursor"]
        await first.call("POST", f"/v1/inbox/{sent.id}/snooze", "user1", json={"for": 1})
    await asyncio.sleep(1)
    async with (
        realtime_node(store.url, broker.url, topic_prefix) as second,
        second.session("user1", f"?cursor={cursor}") as client,
    ):
        assert (await client.next("hello"))["unread"] == 1
        assert await ids_until_quiet(client, 1) == [sent.id]


async def test_ending_a_snooze_shows_the_entry_at_once(node: Realtime, other: Realtime) -> None:
    sent = await node.to_user("user1", "later")
    async with node.session("user1") as here, other.session("user1") as there:
        for client in (here, there):
            await client.next("notification")
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert (await node.call("POST", f"/v1/inbox/{sent.id}/snooze", "user1", json={"until": until}))[0] == 204
        for client in (here, there):
            await told_unread(client, 0)
        assert (await node.call("DELETE", f"/v1/inbox/{sent.id}/snooze", "user1"))[0] == 204
        for client in (here, there):
            assert (await client.next("notification"))["notification"]["id"] == sent.id
            await told_unread(client, 1)
    # Once more changes nothing, and what is not there is not there.
    assert (await node.call("DELETE", f"/v1/inbox/{sent.id}/snooze", "user1"))[0] == 204
    assert (await node.call("DELETE", f"/v1/inbox/{sent.id}/snooze", "user2"))[0] == 404
    assert await ids(node) == [sent.id]


async def test_an_alert_that_waits_for_an_answer_is_not_put_away(node: Realtime) -> None:
    sent = notification("disk full", kind="alert_critical", alert=ALERT)
    await _accepted(node, sent, AlertState.OPEN)
    await node.to_user("user1", sent)
    path = f"/v1/inbox/{sent.id}/snooze"
    status, answer = await node.call("POST", path, "user1", json={"for": "1h"})
    assert (status, answer["error"]["code"]) == (409, "unanswered_alert")
    async with node.session("user1") as client:
        await client.say(type="snooze", id=sent.id, **{"for": "1h"})
        assert (await client.next("error"))["code"] == "unanswered_alert"
    await node.context.ledger.alerts.acknowledge(sent.id, "user1")
    assert (await node.call("POST", path, "user1", json={"for": "1h"}))[0] == 204
    assert await ids(node) == []
    _, page = await node.call("GET", "/v1/inbox", "user1")
    assert page["unanswered"] == []
    told = notification("fyi", kind="alert_info", alert=AlertDetails(type="disk", level="info"))
    await node.to_user("user1", told)
    assert (await node.call("POST", f"/v1/inbox/{told.id}/snooze", "user1", json={"for": "1h"}))[0] == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"until": 1}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"until": 946684801}, "until"),
        ({"until": 4000000000}, "until"),
        ({"for": "2 hours"}, "for"),
        ({"for": "31d"}, "for"),
        ({"for": "1h", "until": 4000000000}, "body"),
        ({"for": "1h", "how": "quietly"}, "how"),
    ],
)
async def test_a_time_that_is_none_is_refused_with_its_field(node: Realtime, body: dict[str, Any], field: str) -> None:
    sent = await node.to_user("user1", "later")
    status, answer = await node.call("POST", f"/v1/inbox/{sent.id}/snooze", "user1", json=body)
    assert (status, [each["field"] for each in answer["error"]["fields"]]) == (400, [field])
    async with node.session("user1") as client:
        await client.say(type="snooze", id=sent.id, **{key: each for key, each in body.items() if key != "how"})
        if field != "how":
            assert (await client.next("error"))["code"] == "invalid_frame"


async def test_snoozing_what_is_not_there_is_answered_so(node: Realtime) -> None:
    assert (await node.call("POST", "/v1/inbox/nothing/snooze", "user1", json={"for": "1h"}))[0] == 404
    async with node.session("user1") as client:
        await client.say(type="snooze", id="nothing", **{"for": "1h"})
        assert (await client.next("error"))["code"] == "not_found"


async def test_a_gateways_session_is_told_what_comes_back(node: Realtime, topic_prefix: str) -> None:
    topics = node.context.topics
    reply_to = f"{topic_prefix}receipts/gate/1"
    async with Broker(node.context.address, "gate") as gateway:
        await gateway.subscribe(reply_to)
        await node.node.registry.open_session("user1", "g1", reply_to=reply_to)
        sent = await node.to_user("user1", "later")
        await node.call("POST", f"/v1/inbox/{sent.id}/snooze", "user1", json={"for": 1})
        told: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while [frame["type"] for frame in told].count("notification") < 2:
                for incoming in await gateway.take(10):
                    told.append(json.loads(incoming.payload))
                    gateway.ack(incoming)
    assert {frame["notification"]["id"] for frame in told if frame["type"] == "notification"} == {sent.id}
    assert topics.is_receipt(reply_to)


# Actions.

APPROVE = Action(id="approve", label="Approve", topic=True, style="primary")
DECLINE = Action(id="decline", label="Decline", topic="reviews")
OPEN = Action(id="open", label="Open", url="https://example.com/1")


async def _accepted(node: Realtime, sent: Notification, alert: AlertState | None = None) -> None:
    """Write a notification into the ledger, as a router does."""
    row = NewRow(
        Delivery(
            key="realtime:user1", channel=Channel.REALTIME, priority=Priority.NORMAL,
            address=UserInbox(user_id="user1"), recipient="user1", expires_ms=2**53,
        )
    )  # fmt: skip
    await node.context.ledger.accept(NewRecord(sent, [row], alert=alert))


def offering(*actions: Action, events: bool = False) -> Notification:
    sent = notification("please decide", data={"order": 7}, actions=actions)
    return sent.model_copy(update={"events": events})


class Subscriber:
    """What is published about presses."""

    def __init__(self, broker: Broker, prefix: str) -> None:
        self._broker = broker
        self._prefix = prefix

    async def next(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                for incoming in await self._broker.take(10):
                    found.append((incoming.topic.removeprefix(self._prefix), json.loads(incoming.payload)))
                    self._broker.ack(incoming)
        return found


async def test_a_press_is_published_once_and_the_entry_says_so(
    node: Realtime, other: Realtime, topic_prefix: str
) -> None:
    sent = offering(APPROVE, DECLINE, OPEN, events=True)
    await _accepted(node, sent)
    await node.to_user("user1", sent)
    path = f"/v1/inbox/{sent.id}/actions"
    async with Broker(node.context.address, "watcher") as watching:
        await watching.subscribe(f"{topic_prefix}notifications/#")
        subscriber = Subscriber(watching, topic_prefix)
        presses = [each.call("POST", f"{path}/approve", "user1") for each in (node, other, node, other)]
        assert [status for status, _ in await asyncio.gather(*presses)] == [204] * 4
        async with node.session("user1") as client:
            await client.next("hello")
            await client.say(type="act", id=sent.id, action="decline")
            await client.say(type="act", id=sent.id, action="open")
            await client.say(type="act", id=sent.id, action="decline")
            await client.say(type="act", id=sent.id, action="neither")
            assert (await client.next("error"))["code"] == "not_found"
        told = await subscriber.next(5)
        assert (await node.call("POST", f"{path}/approve", "user1"))[0] == 204
        await watching.publish(f"{topic_prefix}notifications/last", b"{}")
        assert [topic for topic, _ in await subscriber.next(1)] == ["notifications/last"]
    events = [message for topic, message in told if topic == f"notifications/events/{sent.id}"]
    assert [(each["state"], each["action"], each["recipient"]) for each in events] == [
        ("acted", "approve", "user1"), ("acted", "decline", "user1"), ("acted", "open", "user1"),
    ]  # fmt: skip
    messages = dict(told)
    approved = messages[f"notifications/actions/{sent.id}/approve"]
    assert datetime.fromisoformat(approved.pop("at")).tzinfo is not None
    assert approved == {
        "notification_id": sent.id, "action": "approve", "user_id": "user1", "data": {"order": 7},
    }  # fmt: skip
    assert messages[f"notifications/actions/{sent.id}/decline"]["topic"] == "reviews"
    [entry] = (await node.call("GET", "/v1/inbox", "user1"))[1]["notifications"]
    assert entry["acted"] == "open"
    assert entry["actions"] == [
        {"id": "approve", "label": "Approve", "topic": True, "style": "primary"},
        {"id": "decline", "label": "Decline", "topic": "reviews"},
        {"id": "open", "label": "Open", "url": "https://example.com/1"},
    ]


async def test_a_press_that_the_broker_did_not_confirm_is_published_at_the_next(
    node: Realtime, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = await node.to_user("user1", offering(APPROVE))
    path = f"/v1/inbox/{sent.id}/actions/approve"
    link = node.node._link

    def cut_off(*_: object, **__: object) -> "asyncio.Future[bool]":
        failed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        failed.set_exception(BrokerUnavailable("connection lost"))
        return failed

    with monkeypatch.context() as cut:
        cut.setattr(link, "publish", cut_off)
        status, answer = await node.call("POST", path, "user1")
        assert (status, answer["error"]["code"]) == (503, "unavailable")
    [entry] = (await node.call("GET", "/v1/inbox", "user1"))[1]["notifications"]
    assert "acted" not in entry
    async with Broker(node.context.address, "watcher") as watching:
        await watching.subscribe(f"{topic_prefix}notifications/actions/#")
        assert (await node.call("POST", path, "user1"))[0] == 204
        [(topic, _)] = await Subscriber(watching, topic_prefix).next(1)
    assert topic == f"notifications/actions/{sent.id}/approve"


async def test_a_press_whose_process_died_is_published_by_another(
    node: Realtime, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.inbox.actions.LEASE", timedelta(seconds=1))
    sent = await node.to_user("user1", offering(APPROVE))
    # What a process leaves that dies before the broker has the press.
    await node.node.acting._pressed.press("user1", sent.id, "approve")
    async with Broker(node.context.address, "watcher") as watching:
        await watching.subscribe(f"{topic_prefix}notifications/actions/#")
        assert (await node.call("POST", f"/v1/inbox/{sent.id}/actions/approve", "user1"))[0] == 204
        assert len(await Subscriber(watching, topic_prefix).next(1)) == 1


async def test_an_action_of_a_broadcast_is_pressed_by_each_user(node: Realtime, topic_prefix: str) -> None:
    sent = await node.to_all(offering(APPROVE))
    async with Broker(node.context.address, "watcher") as watching:
        await watching.subscribe(f"{topic_prefix}notifications/actions/#")
        for user_id in ("user1", "user2", "user1"):
            assert (await node.call("POST", f"/v1/inbox/{sent.id}/actions/approve", user_id))[0] == 204
        told = await Subscriber(watching, topic_prefix).next(2)
    assert [message["user_id"] for _, message in told] == ["user1", "user2"]
    for user_id, acted in (("user1", "approve"), ("user3", None)):
        [entry] = (await node.call("GET", "/v1/inbox", user_id))[1]["notifications"]
        assert (entry["id"], entry.get("acted")) == (sent.id, acted)


async def test_an_action_that_nobody_offered_is_not_there(node: Realtime) -> None:
    sent = await node.to_user("user1", offering(APPROVE))
    for path, user_id in ((f"{sent.id}/actions/other", "user1"), ("x/actions/approve", "user1"),
                          (f"{sent.id}/actions/approve", "user2")):  # fmt: skip
        assert (await node.call("POST", f"/v1/inbox/{path}", user_id))[0] == 404


# Silent entries.


async def test_a_silent_entry_says_so(node: Realtime) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        await node.deliver("at night", UserInbox(user_id="user1", silent=True))
        assert (await client.next("notification"))["notification"]["silent"] is True
        await node.to_user("user1", "by day")
        assert "silent" not in (await client.next("notification"))["notification"]

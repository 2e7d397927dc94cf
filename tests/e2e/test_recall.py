"""A recall through five real processes: inbox, devices, receipt, events, and the answer over HTTP."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.ledger.reader import Trace
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

TITLE = "This notification was recalled."


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


async def recall(system: System, notification_id: str | None) -> dict[str, Any]:
    receipt = await system.publish(f"notifications/cancel/{notification_id}", {"recall": True})
    assert receipt.status == "accepted", receipt
    assert receipt.notification_id == notification_id
    found: dict[str, Any] = receipt.extra["recall"]
    return found


async def all_ended(system: System, notification_id: str | None) -> None:
    async with Store(system.stack.store.url) as store:
        trace = Trace(store, Keys())

        async def ended() -> bool:
            record = await trace.record(str(notification_id))
            return record is not None and record.open_rows == 0

        await eventually(ended, 30, "the end of the notification")


async def test_a_recalled_notification_leaves_the_inbox_and_is_replaced_on_devices(system: System) -> None:
    ios, android = uuid.uuid4().hex * 2, f"fcm-{uuid.uuid4().hex}"
    devices = [{"platform": "ios", "token": ios}, {"platform": "android", "token": android}]
    user = await system.person(devices=devices)
    await system.publish(f"directory/user/{user}", {"email": system.address(user), "devices": devices})
    async with (
        Broker(BrokerAddress.parse(system.stack.broker.url), f"steps-{uuid.uuid4().hex[:8]}") as broker,
        system.socket(user) as socket,
        system.events(user) as stream,
    ):
        payload = {"title": "Wrong", "message": "Wrong", "priority": "high", "events": True}
        sent = await system.publish(f"notifications/realtime/user/{user}", payload)
        await broker.subscribe(f"notifications/events/{sent.notification_id}")
        await system.in_inbox(user, str(sent.notification_id))
        shown = {to: (await system.arrived(to=to))[0] for to in (ios, android)}
        await system.arrived(to=system.address(user))
        await all_ended(system, sent.notification_id)

        assert await recall(system, sent.notification_id) == {
            "stopped": 0, "inbox": 1, "push": 2, "not_recalled": [{"channel": "email", "count": 1}],
        }  # fmt: skip
        assert (await socket.next("recalled"))["id"] == sent.notification_id
        while b"event: recalled" not in await stream.readline():
            pass
        for to in (ios, android):
            _, replaced = await system.arrived(2, to=to)
            assert (replaced["title"], replaced["body"]) == (TITLE, "")
            assert replaced["data"]["carillon_id"] == sent.notification_id
            assert json.loads(str(replaced["data"]["recalled"]).lower()) is True
            assert "Wrong" not in json.dumps(replaced)
            assert _collapse_id(replaced) == _collapse_id(shown[to])
        steps: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            while sum(step["state"] == "recalled" for step in steps) < 3:
                for incoming in await broker.take(100):
                    broker.ack(incoming)
                    steps.append(json.loads(incoming.payload))
        recalled = sorted((step["channel"], step["recipient"]) for step in steps if step["state"] == "recalled")
        assert recalled == [("push", user), ("push", user), ("realtime", user)]
    assert sent.notification_id not in {entry["id"] for entry in await system.inbox(user)}
    await all_ended(system, sent.notification_id)
    # Again: the same answer, and nobody is told twice.
    assert (await recall(system, sent.notification_id))["push"] == 2
    await all_ended(system, sent.notification_id)
    assert len(await system.arrived(to=ios)) == 2
    assert len(await system.arrived(to=system.address(user))) == 1


def _collapse_id(entry: dict[str, Any]) -> str:
    """Return what makes one push replace another, as the provider was told."""
    headers = dict(entry.get("headers") or [])
    if "apns-collapse-id" in headers:
        return str(headers["apns-collapse-id"])
    return str(entry["payload"]["android"]["notification"]["tag"])


async def test_a_recalled_broadcast_leaves_the_feed_and_is_replaced_on_every_device(system: System) -> None:
    group, tokens = f"group-{uuid.uuid4().hex[:8]}", [uuid.uuid4().hex * 2 for _ in range(3)]
    users = [await system.person(groups=[group], devices=[{"platform": "ios", "token": token}]) for token in tokens]
    sent = await system.publish(f"notifications/realtime/group/{group}", {"title": "Wrong", "message": "Wrong"})
    for user, token in zip(users, tokens, strict=True):
        await system.in_inbox(user, str(sent.notification_id))
        await system.arrived(to=token)
    await all_ended(system, sent.notification_id)
    assert await recall(system, sent.notification_id) == {"stopped": 0, "inbox": 1, "push": 3, "not_recalled": []}
    for token in tokens:
        assert (await system.arrived(2, to=token))[1]["title"] == TITLE
    await all_ended(system, sent.notification_id)
    for user in users:
        assert sent.notification_id not in {entry["id"] for entry in await system.inbox(user)}


async def test_what_has_not_left_is_stopped_and_nobody_hears_of_it(system: System) -> None:
    ios = uuid.uuid4().hex * 2
    user = await system.person(devices=[{"platform": "ios", "token": ios}])
    payload = {"message": "Later", "send_at": 4_000_000_000}
    sent = await system.publish(f"notifications/realtime/user/{user}", payload)
    assert await recall(system, sent.notification_id) == {"stopped": 0, "inbox": 0, "push": 0, "not_recalled": []}
    direct = await system.publish("notifications/push/mobile/ios", {"tokens": [ios], **payload})
    assert await recall(system, direct.notification_id) == {"stopped": 1, "inbox": 0, "push": 0, "not_recalled": []}
    assert await system.sandbox.outbox(to=ios) == []


async def test_what_may_not_be_recalled_is_refused(system: System) -> None:
    unknown = await system.publish(f"notifications/cancel/{uuid.uuid4()}", {"recall": True})
    assert unknown.status == "rejected"
    assert unknown.refusal.fields[0].field == "notification_id"
    user = await system.person()
    sent = await system.publish(f"notifications/realtime/user/{user}", {"message": "Told"})
    odd = await system.publish(f"notifications/cancel/{sent.notification_id}", {"recall": "yes"})
    assert odd.status == "rejected"
    assert odd.refusal.fields[0].field == "recall"
    await system.in_inbox(user, str(sent.notification_id))

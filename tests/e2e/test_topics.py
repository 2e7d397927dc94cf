"""Every topic that a publisher may use, through five real processes to the sandbox's providers and the inbox."""

import asyncio
import json
import math
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from carillon.local.stack import Stack
from carillon.publisher import Receipt
from services.realtime.sessions.close_codes import UNAUTHENTICATED
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from tests.realtime import Client
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


def phone() -> str:
    """A number that only one test has: 555 numbers of New York, kept for fiction."""
    return f"+1212555{uuid.uuid4().int % 10_000:04}"


def token() -> str:
    return uuid.uuid4().hex * 2


async def shown(socket: Client, receipt: Receipt) -> dict[str, Any]:
    """Wait until a notification comes over a socket; broadcasts that are pending for everybody come before it."""
    while True:
        frame = await socket.next("notification", within_s=10)
        notification: dict[str, Any] = frame["notification"]
        if notification["id"] == receipt.notification_id:
            return notification


class Events:
    """The steps that a notification's publisher is told of."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._seen: list[Incoming] = []

    async def of(self, notification_id: str | None, count: int) -> list[dict[str, Any]]:
        """Wait for that many steps of one notification."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while True:
                found = [
                    json.loads(one.payload) for one in self._seen if one.topic.endswith(f"/events/{notification_id}")
                ]
                if len(found) >= count:
                    return found
                for incoming in await self._broker.take(100):
                    self._broker.ack(incoming)
                    self._seen.append(incoming)


@pytest_asyncio.fixture(loop_scope="session")
async def events(stack: Stack) -> AsyncIterator[Events]:
    async with Broker(BrokerAddress.parse(stack.broker.url), f"events-{uuid.uuid4().hex[:8]}") as broker:
        await broker.subscribe("notifications/events/#")
        yield Events(broker)


async def test_realtime_user_is_in_the_inbox_on_open_streams_and_on_devices(system: System) -> None:
    ios = token()
    user = await system.person(devices=[{"platform": "ios", "token": ios}, {"platform": "android", "token": token()}])
    async with system.socket(user) as socket, system.events(user) as stream:
        # Where the machine is busy with other tests, one of a few.
        took_s = [math.inf]
        while took_s[-1] >= 1 and len(took_s) <= 10:
            started = time.monotonic()
            receipt = await system.publish(
                f"notifications/realtime/user/{user}",
                {
                    "title": "New Message",
                    "message": "You have a new message",
                    "type": "message",
                    "priority": "normal",
                    "data": {"message_id": "msg_456", "sender": "john_doe"},
                },
            )
            await shown(socket, receipt)
            while str(receipt.notification_id).encode() not in await stream.readline():
                pass
            took_s.append(time.monotonic() - started)
        assert took_s[-1] < 1, took_s
    assert receipt.status == "accepted"
    assert receipt.accepted_at is not None
    entry = await system.in_inbox(user, str(receipt.notification_id))
    assert (entry["title"], entry["type"], entry["read"]) == ("New Message", "message", False)
    assert entry["data"] == {"message_id": "msg_456", "sender": "john_doe"}
    push, *_ = await system.arrived(to=ios)
    assert (push["channel"], push["provider"], push["title"]) == ("push", "apns", "New Message")


async def test_realtime_user_high_is_mailed_too_and_critical_comes_as_sms(system: System) -> None:
    number = phone()
    user = await system.person(phone=number, preferences={"sms": True})
    await system.publish(f"directory/user/{user}", {"email": system.address(user), "phone": number,
                                                    "preferences": {"sms": True}})  # fmt: skip
    high = await system.publish(f"notifications/realtime/user/{user}", {"message": "High", "priority": "high"})
    await system.arrived(1, to=system.address(user))
    critical = await system.publish(f"notifications/realtime/user/{user}", {"message": "Now", "priority": "critical"})
    (sms,) = await system.arrived(to=number)
    assert "Now" in sms["body"]
    assert len(await system.arrived(2, to=system.address(user))) == 2
    for receipt in (high, critical):
        await system.in_inbox(user, str(receipt.notification_id))


async def test_realtime_preference_off_means_in_the_inbox_but_not_live(system: System) -> None:
    user = await system.person(preferences={"realtime": False})
    async with system.socket(user) as socket:
        quiet = await system.publish(f"notifications/realtime/user/{user}", {"message": "Quiet"})
        await system.in_inbox(user, str(quiet.notification_id))
        # The status is live to everybody who is connected, so it shows that the rest would have come by now.
        await system.publish("notifications/system/status", {"message": "All is well"})
        while (await socket.next("status"))["message"] != "All is well":
            pass
        assert quiet.notification_id not in {
            frame["notification"]["id"] for frame in socket.seen if frame["type"] == "notification"
        }


async def test_realtime_group_reaches_its_members_and_nobody_else(system: System, events: Events) -> None:
    group, device = f"group-{uuid.uuid4().hex[:8]}", token()
    member = await system.person("member", groups=[group], devices=[{"platform": "ios", "token": device}])
    stranger = await system.person("stranger")
    async with system.socket(member) as socket:
        said = {"message": "For the group", "events": True}
        receipt = await system.publish(f"notifications/realtime/group/{group}", said)
        await shown(socket, receipt)
    await system.in_inbox(member, str(receipt.notification_id))
    # The push goes by the same id, on the device and to the publisher, whichever record its delivery stands in.
    (push,) = await system.arrived(to=device)
    assert push["data"]["carillon_id"] == receipt.notification_id
    assert {step["channel"] for step in await events.of(receipt.notification_id, 3)} >= {"realtime", "push"}
    assert receipt.notification_id not in {entry["id"] for entry in await system.inbox(stranger)}


async def test_realtime_broadcast_reaches_everybody_or_the_groups_named(system: System) -> None:
    group = f"group-{uuid.uuid4().hex[:8]}"
    member, other = await system.person("member", groups=[group]), await system.person("other")
    for_all = await system.publish("notifications/realtime/broadcast", {"message": "For everybody"})
    for_some = await system.publish(
        "notifications/realtime/broadcast", {"message": "For some", "target_groups": [group]}
    )
    for user in (member, other):
        await system.in_inbox(user, str(for_all.notification_id))
    await system.in_inbox(member, str(for_some.notification_id))
    assert for_some.notification_id not in {entry["id"] for entry in await system.inbox(other)}


async def test_critical_alert_reaches_admins_and_oncall_once_on_every_channel_and_escalates(system: System) -> None:
    kind = f"disk-{uuid.uuid4().hex[:8]}"
    people = {}
    for name, roles in (("admin", ["admin"]), ("oncall", [])):
        number, device = phone(), token()
        user = await system.person(name)
        record = {"email": system.address(user), "phone": number, "roles": roles,
                  "preferences": {"realtime": False, "email": False, "sms": False, "push": False},
                  "devices": [{"platform": "ios", "token": device}]}  # fmt: skip
        await system.publish(f"directory/user/{user}", record)
        people[user] = (system.address(user), number, device)
    admin, oncall = people
    entry = {"users": [oncall, admin], "escalation": [{"after_s": 0, "notify": ["oncall", "admins"]},
                                                      {"after_s": 2, "notify": [f"user:{admin}"]}]}  # fmt: skip
    await system.publish(f"directory/oncall/{kind}", entry)
    async with system.socket(oncall) as socket:
        receipt = await system.publish(
            f"notifications/alerts/critical/{kind}",
            {"message": "Database down", "source": "database_monitor", "affected_systems": ["users", "orders"]},
        )
        notification = await shown(socket, receipt)
    assert receipt.alert_id is not None
    assert notification["alert"]["id"] == receipt.alert_id
    assert notification["alert"]["requires_acknowledgment"] is True
    for user, addresses in people.items():
        await system.in_inbox(user, receipt.alert_id)
        for address in addresses:
            await system.arrived(to=address)
    # Nobody answers: the admin is told again, on the channels that can be told again.
    for address in people[admin]:
        assert len(await system.arrived(2, to=address)) == 2
    for address in people[oncall]:
        assert len(await system.sandbox.outbox(to=address)) == 1
    assert len([one for one in await system.inbox(admin) if one["id"] == receipt.alert_id]) == 1
    await system.publish(f"directory/user/{admin}", b"")


@pytest.mark.parametrize(("level", "mailed"), [("warning", True), ("info", False)])
async def test_lower_alerts_go_to_the_same_people_by_preference(system: System, level: str, mailed: bool) -> None:
    kind = f"cpu-{uuid.uuid4().hex[:8]}"
    user = await system.person("oncall")
    await system.publish(f"directory/user/{user}", {"email": system.address(user)})
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    receipt = await system.publish(f"notifications/alerts/{level}/{kind}", {"message": "Warm", "severity": "medium"})
    entry = await system.in_inbox(user, str(receipt.alert_id))
    assert entry["alert"]["requires_acknowledgment"] is False
    if mailed:
        (mail,) = await system.arrived(to=system.address(user))
        assert "Warm" in mail["body"]
    else:
        assert await system.sandbox.outbox(to=system.address(user)) == []


@pytest.mark.parametrize("answer", ["topic", "api", "resolve"])
async def test_an_answered_alert_does_not_escalate(system: System, answer: str) -> None:
    kind = f"net-{uuid.uuid4().hex[:8]}"
    user, next_one = await system.person("oncall", email="oncall@example.com"), await system.person("next")
    escalation = [{"after_s": 0, "notify": ["oncall"]}, {"after_s": 1.5, "notify": [f"user:{next_one}"]}]
    await system.publish(f"directory/oncall/{kind}", {"users": [user], "escalation": escalation})
    receipt = await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Link down", "events": True})
    await system.in_inbox(user, str(receipt.alert_id))
    if answer == "topic":
        answered = await system.publish(
            f"notifications/alerts/acknowledge/{receipt.alert_id}", {"user_id": user, "note": "on it"}
        )
        assert (answered.status, answered.alert_id) == ("accepted", receipt.alert_id)
    elif answer == "api":
        assert await system.call("POST", f"/v1/alerts/{receipt.alert_id}/acknowledge", next_one) != (204, None)
        assert await system.call("POST", f"/v1/alerts/{receipt.alert_id}/acknowledge", user) == (204, None)
    else:
        answered = await system.publish(f"notifications/alerts/resolve/{receipt.alert_id}", {"note": "back"})
        assert answered.status == "accepted"
    # A second alert that nobody answers shows that the time of the first one's escalation has passed.
    other = await system.publish(f"notifications/alerts/critical/{kind}", {"message": "Again"})
    await system.in_inbox(next_one, str(other.alert_id))
    assert receipt.alert_id not in {entry["id"] for entry in await system.inbox(next_one)}


async def test_an_open_alert_with_the_same_dedup_key_is_one_alert(system: System) -> None:
    kind = f"dup-{uuid.uuid4().hex[:8]}"
    user = await system.person("oncall")
    await system.publish(f"directory/oncall/{kind}", {"users": [user]})
    alert = {"message": "Full", "dedup_key": "disk-1"}
    first = await system.publish(f"notifications/alerts/critical/{kind}", alert)
    second = await system.publish(f"notifications/alerts/critical/{kind}", alert)
    assert (second.status, second.alert_id) == ("duplicate", first.alert_id)


@pytest.mark.parametrize("topic", ["acknowledge", "resolve"])
async def test_answers_to_unknown_alerts_name_the_field(system: System, topic: str) -> None:
    receipt = await system.publish(f"notifications/alerts/{topic}/no-such-alert", {"user_id": "user1"})
    assert receipt.error is not None
    assert (receipt.error.code, receipt.error.fields[0].field) == ("invalid_payload", "alert_id")


async def test_system_status_is_live_and_what_a_new_session_sees_first(system: System) -> None:
    user, late = await system.person(), await system.person()
    async with system.socket(user) as socket:
        message = f"Degraded {uuid.uuid4().hex[:6]}"
        receipt = await system.publish(
            "notifications/system/status", {"message": message, "status": "degraded", "services": {"api": "slow"}}
        )
        frame = await socket.next("status")
    assert receipt.status == "accepted"
    assert (frame["message"], frame["status"], frame["services"]) == (message, "degraded", {"api": "slow"})
    async with system.socket(late) as socket:
        assert [one["type"] for one in socket.seen] == ["status", "hello"]
        assert socket.seen[0]["message"] == message
    assert await system.inbox(user) == [one for one in await system.inbox(user) if one["id"] != receipt.notification_id]


async def test_system_maintenance_is_a_broadcast_of_priority_high(system: System) -> None:
    user = await system.person()
    await system.publish(f"directory/user/{user}", {"email": system.address(user)})
    receipt = await system.publish(
        "notifications/system/maintenance",
        {"message": "Database upgrade", "starts_at": "2030-01-05T02:00:00Z", "ends_at": "2030-01-05T03:00:00Z",
         "services": ["api"]},
    )  # fmt: skip
    entry = await system.in_inbox(user, str(receipt.notification_id))
    assert entry["priority"] == "high"
    (mail,) = await system.arrived(to=system.address(user))
    assert "Database upgrade" in mail["body"]


async def test_email_send_is_one_mail_with_that_subject_and_both_bodies(system: System) -> None:
    to = f"{uuid.uuid4().hex}@example.com"
    receipt = await system.publish(
        "notifications/email/send",
        {"to": to, "subject": "Grüße", "body": "Text", "html_body": "<p>HTML</p>", "priority": "high"},
    )
    (mail,) = await system.arrived(to=to)
    assert (mail["title"], mail["body"].strip()) == ("Grüße", "Text")
    assert "<p>HTML</p>" in mail["html_body"]
    message_id = next(value for name, value in mail["headers"] if name.lower() == "message-id")
    assert str(receipt.notification_id) in message_id


async def test_email_batch_is_one_mail_each_and_one_receipt(system: System) -> None:
    tag = uuid.uuid4().hex[:10]
    emails = [{"to": f"{tag}-{n}@example.com", "subject": f"Subject {n}", "body": f"Body {n}"} for n in range(120)]
    receipt = await system.publish("notifications/email/batch", {"emails": emails})
    assert receipt.status == "accepted"

    async def all_there() -> list[dict[str, Any]] | None:
        mails = [one for one in await system.sandbox.outbox(channel="email") if one["to"].startswith(tag)]
        return mails if len(mails) >= 120 else None

    mails: list[dict[str, Any]] = await eventually(all_there, 30)
    assert sorted((one["to"], one["title"], one["body"].strip()) for one in mails) == sorted(
        (each["to"], each["subject"], each["body"]) for each in emails
    )


async def test_sms_send_is_one_sms_with_that_text(system: System) -> None:
    number = phone()
    await system.publish("notifications/sms/send", {"phone": number, "message": "Your code is 1234"})
    (sms,) = await system.arrived(to=number)
    assert (sms["channel"], sms["provider"], sms["body"]) == ("sms", "twilio", "Your code is 1234")


async def test_push_mobile_reaches_tokens_and_a_users_devices_of_that_platform(system: System) -> None:
    ios, android, other = token(), f"android-{uuid.uuid4().hex}", f"android-{uuid.uuid4().hex}"
    name = uuid.uuid4().hex[:12]
    web = await system.sandbox.subscription(name)
    user = await system.person(devices=[{"platform": "android", "token": other}])
    push = {"title": "Hello", "message": "Pushed", "data": {"page": "/a"}}
    await system.publish("notifications/push/mobile/ios", {**push, "tokens": [ios]})
    await system.publish("notifications/push/mobile/android", {**push, "tokens": [android]})
    await system.publish("notifications/push/mobile/web", {**push, "tokens": [web]})
    await system.publish("notifications/push/mobile/android", {**push, "user_id": user})
    for address, provider in ((ios, "apns"), (android, "fcm"), (name, "webpush"), (other, "fcm")):
        (entry,) = await system.arrived(to=address)
        assert (entry["provider"], entry["title"], entry["body"]) == (provider, "Hello", "Pushed")


async def test_a_device_that_is_gone_is_not_asked_for_again(system: System, events: Events) -> None:
    gone, sound = f"android-{uuid.uuid4().hex}", f"android-{uuid.uuid4().hex}"
    devices = [{"platform": "android", "token": gone}, {"platform": "android", "token": sound}]
    user = await system.person(devices=devices)
    await system.sandbox.play("fcm", {"status": 404}, to=gone, times=2)
    push = {"message": "Pushed", "events": True, "user_id": user}
    first = await system.publish("notifications/push/mobile/android", push)
    # Refused, and nobody knows yet whose fault it is; another device that is accepted decides.
    steps = await events.of(first.notification_id, 3)
    other = await system.publish("notifications/push/mobile/android", {"message": "m", "tokens": [uuid.uuid4().hex]})
    assert other.status == "accepted"
    steps = await events.of(first.notification_id, 4)
    assert sorted((step["state"], step["reason"] or "") for step in steps if step["channel"] == "push") == [
        ("dead_lettered", "gone"),
        ("delivered", ""),
        ("pending", "gone"),
    ]
    second = await system.publish("notifications/push/mobile/android", push)
    await events.of(second.notification_id, 1)
    await system.arrived(2, to=sound)
    assert await system.sandbox.outbox(to=gone) == []
    # It would be taken now, had it been asked for.
    status, _ = await system.call("DELETE", f"/v1/devices/{gone}", user)
    assert status == 404


async def test_a_scheduled_notification_waits_and_takes_the_preferences_of_that_moment(system: System) -> None:
    user = await system.person()
    send_at = time.time() + 2
    receipt = await system.publish(
        f"notifications/realtime/user/{user}", {"message": "Later", "send_at": send_at, "priority": "high"}
    )
    assert receipt.notification_id not in {entry["id"] for entry in await system.inbox(user)}
    await system.publish(f"directory/user/{user}", {"email": system.address(user)})
    await system.in_inbox(user, str(receipt.notification_id))
    assert time.time() >= send_at
    await system.arrived(to=system.address(user))


async def test_cancel_ends_what_has_not_left(system: System, events: Events) -> None:
    to = f"{uuid.uuid4().hex}@example.com"
    mail = {"to": to, "subject": "Later", "body": "Never", "send_at": time.time() + 1.5, "events": True}
    receipt = await system.publish("notifications/email/send", mail)
    cancelled = await system.publish(f"notifications/cancel/{receipt.notification_id}", b"")
    assert (cancelled.status, cancelled.notification_id) == ("accepted", receipt.notification_id)
    steps = await events.of(receipt.notification_id, 2)
    assert [step["state"] for step in steps] == ["accepted", "suppressed"]
    assert steps[1]["reason"] == "cancelled"
    marker = await system.publish("notifications/email/send", {**mail, "send_at": time.time() + 1.6, "body": "Sent"})
    assert marker.status == "accepted"
    assert [one["body"].strip() for one in await system.arrived(to=to)] == ["Sent"]
    unknown = await system.publish("notifications/cancel/no-such-notification", b"")
    assert unknown.error is not None
    assert unknown.error.fields[0].field == "notification_id"


async def test_a_gateways_session_is_answered_with_what_is_pending_and_told_of_what_follows(system: System) -> None:
    user = await system.person()
    first = await system.publish(f"notifications/realtime/user/{user}", {"message": "Before"})
    await system.in_inbox(user, str(first.notification_id))
    async with Broker(BrokerAddress.parse(system.stack.broker.url), f"gateway-{uuid.uuid4().hex[:6]}") as gateway:
        reply_to = f"receipts/{uuid.uuid4().hex}/session"
        await gateway.subscribe(reply_to)

        async def reply() -> dict[str, Any]:
            async with asyncio.timeout(30):
                (incoming,) = await gateway.take(1)
            gateway.ack(incoming)
            assert incoming.correlation == b"s1"
            answer: dict[str, Any] = json.loads(incoming.payload)
            return answer

        body = json.dumps({"device_info": {"name": "a personal phone"}})
        gateway.publish(f"websocket/connect/{user}", body, response_topic=reply_to, correlation=b"s1")
        opened = await reply()
        assert opened["status"] == "accepted"
        assert opened["session_id"]
        # Nobody reads what a gateway says of the device, so it is kept nowhere.
        async with redis.asyncio.from_url(system.stack.store.url, decode_responses=True) as store:
            kept = [record async for key in store.scan_iter("*:session_nodes") for record in await store.hvals(key)]
        assert [record for record in kept if opened["session_id"] in record or user in record]
        assert [record for record in kept if "personal phone" in record] == []
        assert first.notification_id in [one["id"] for one in opened["notifications"]]
        live = await system.publish(f"notifications/realtime/user/{user}", {"message": "Live"})
        frame = await reply()
        while frame["type"] != "notification":
            frame = await reply()
        assert frame["notification"]["id"] == live.notification_id
    session = {"session_id": opened["session_id"]}
    assert (await system.publish(f"websocket/heartbeat/{user}", session)).status == "accepted"
    assert (await system.publish(f"websocket/disconnect/{user}", session)).status == "accepted"
    gone = await system.publish(f"websocket/heartbeat/{user}", session)
    assert gone.error is not None
    assert gone.error.fields[0].field == "session_id"


async def test_directory_records_are_written_and_deleted(system: System) -> None:
    user = await system.person()
    known = await system.publish(f"notifications/realtime/user/{user}", {"message": "Known"})
    await system.in_inbox(user, str(known.notification_id))
    await system.publish(f"directory/user/{user}", b"")
    unknown = await system.publish(f"notifications/realtime/user/{user}", {"message": "Gone", "events": True})
    assert unknown.status == "accepted"
    kind = f"type-{uuid.uuid4().hex[:8]}"
    assert (await system.publish(f"directory/oncall/{kind}", {"users": [user]})).status == "accepted"
    assert (await system.publish(f"directory/oncall/{kind}", b"")).status == "accepted"


async def test_later_steps_are_published_when_asked_for(system: System, events: Events) -> None:
    user = await system.person(devices=[{"platform": "ios", "token": token()}])
    receipt = await system.publish(f"notifications/realtime/user/{user}", {"message": "Told", "events": True})
    steps = await events.of(receipt.notification_id, 3)
    assert {(step["state"], step["channel"], step["recipient"]) for step in steps} == {
        ("accepted", None, None),
        ("delivered", "realtime", user),
        ("delivered", "push", user),
    }
    nobody = await system.publish("notifications/realtime/user/nobody-there", {"message": "Lost", "events": True})
    assert nobody.status == "accepted"
    steps = await events.of(nobody.notification_id, 2)
    assert (steps[1]["state"], steps[1]["reason"]) == ("suppressed", "unknown_recipient")


async def test_a_write_to_the_directory_leaves_what_the_person_chose(system: System) -> None:
    user = await system.person(email="user@example.com", preferences={"email": True, "sms": True})
    own, companys = token(), token()
    assert (await system.call("PUT", "/v1/preferences", user, json={"email": False}))[0] == 200
    assert (await system.call("POST", "/v1/devices", user, json={"platform": "ios", "token": own}))[0] == 204
    # As a nightly import does it.
    record = {"preferences": {"email": True}, "devices": [{"platform": "ios", "token": companys}], "name": "Ann"}
    assert (await system.publish(f"directory/user/{user}", record)).status == "accepted"
    chosen = {"realtime": True, "email": False, "sms": True, "push": True}
    status, answer = await system.call("GET", "/v1/preferences", user)
    assert (status, {channel: answer[channel] for channel in chosen}) == (200, chosen)
    await system.publish(f"notifications/realtime/user/{user}", {"message": "To both devices"})
    for device in (own, companys):
        await system.arrived(to=device)


async def test_a_deleted_user_leaves_nothing_that_an_old_token_reads(system: System) -> None:
    device = token()
    user = await system.person(devices=[{"platform": "ios", "token": device}])
    receipt = await system.publish(f"notifications/realtime/user/{user}", {"message": "Private"})
    await system.in_inbox(user, str(receipt.notification_id))
    old = system.headers(user, iat=time.time() - 60)
    async with system.socket(user) as socket, system.events(user) as stream:
        assert (await system.publish(f"directory/user/{user}", b"")).status == "accepted"
        assert await socket.closed() == UNAUTHENTICATED
        await asyncio.wait_for(stream.read(), 5)
    for method, path in (("GET", "/v1/inbox"), ("GET", "/v1/preferences"), ("POST", "/v1/tickets")):
        assert (await system.call(method, path, user))[0] == 401
    # Somebody else gets that name.
    await system.publish(f"directory/user/{user}", {"name": "Somebody else"})
    assert (await system.call("GET", "/v1/inbox", user, headers=old))[0] == 401

    async def inbox() -> dict[str, Any] | None:
        # Tokens tell whole seconds: one of the second of the deletion counts as older.
        status, answer = await system.call("GET", "/v1/inbox", user, headers=system.headers(user, iat=time.time()))
        return answer if status == 200 else None

    found = await eventually(inbox)
    # Broadcasts are everybody's.
    assert "Private" not in [entry["message"] for entry in found["notifications"]]


async def test_the_same_key_is_the_same_notification_and_another_body_is_refused(system: System) -> None:
    user = await system.person()
    key = uuid.uuid4().hex
    topic = f"notifications/realtime/user/{user}"
    first = await system.publish(topic, {"message": "Once"}, key=key)
    again = await system.publish(topic, {"message": "Once", "id": key})
    other = await system.publish(topic, {"message": "Twice"}, key=key)
    assert (again.status, again.notification_id) == ("duplicate", first.notification_id)
    assert other.error is not None
    assert other.error.code == "idempotency_conflict"
    await system.in_inbox(user, str(first.notification_id))
    assert [entry["message"] for entry in await system.inbox(user)].count("Once") == 1


@pytest.mark.parametrize(
    ("topic", "payload", "code", "field"),
    [
        ("notifications/realtime/user/user1", b"not json", "invalid_json", None),
        ("notifications/realtime/user/user1", b"[1]", "invalid_json", None),
        ("notifications/realtime/user/user1", b"\xff\xfe", "invalid_json", None),
        ("notifications/realtime/user/user1", {}, "invalid_payload", "message"),
        ("notifications/realtime/user/user1", {"message": 7}, "invalid_payload", "message"),
        ("notifications/realtime/user/user1", {"message": "m", "priority": "urgent"}, "invalid_payload", "priority"),
        ("notifications/realtime/user/user1", {"message": "m", "channels": ["fax"]}, "invalid_payload", "channels.0"),
        ("notifications/realtime/user/user1", b'{"message": "' + b"x" * 70_000 + b'"}', "too_large", None),
        ("notifications/realtime/user/user1", {"message": "m", "expires_at": 1_700_000_000}, "expired", None),
        ("notifications/realtime/nobody/user1", {"message": "m"}, "unknown_topic", None),
        ("notifications/alerts/fatal/disk", {"message": "m"}, "unknown_topic", None),
        ("websocket/reconnect/user1", {}, "unknown_topic", None),
        ("directory/team/a", {}, "unknown_topic", None),
        ("notifications/push/mobile/pager", {"message": "m", "tokens": ["x" * 64]}, "invalid_payload", "platform"),
        ("notifications/push/mobile/ios", {"message": "m"}, "invalid_payload", "user_id"),
        ("notifications/email/send", {"to": "no", "subject": "s", "body": "b"}, "invalid_payload", "to"),
        ("notifications/email/send", {"to": "a@example.com", "subject": "s\r\nBcc: x", "body": "b"},
         "invalid_payload", "subject"),
        ("notifications/email/batch", {"emails": [{"to": "a@example.com", "subject": "s"}]},
         "invalid_payload", "emails.0.body"),
        ("notifications/sms/send", {"phone": "12", "message": "m"}, "invalid_payload", "phone"),
        ("directory/user/user1", {"phone": "12"}, "invalid_payload", "phone"),
        ("directory/user/user1", {"mail": "a@example.com"}, "invalid_payload", "mail"),
        ("directory/oncall/disk", {}, "invalid_payload", "layers"),
    ],
)  # fmt: skip
async def test_bad_input_is_refused_with_its_field(
    system: System, topic: str, payload: dict[str, Any] | bytes, code: str, field: str | None
) -> None:
    receipt = await system.publish(topic, payload)
    assert receipt.status == "rejected"
    assert receipt.error is not None
    assert receipt.error.code == code
    assert field is None or field in {problem.field for problem in receipt.error.fields}


async def test_refusals_are_counted(system: System) -> None:
    await system.publish("notifications/realtime/user/user1", b"not json")
    url = f"{system.stack.ops_url('router')}/metrics"

    async def counted() -> bool:
        async with system.http.get(url) as answer:
            lines = (await answer.text()).splitlines()
        name = 'carillon_notifications_total{kind="realtime_user",outcome="rejected",priority="normal"} '
        return any(line.startswith(name) and float(line.removeprefix(name)) >= 1 for line in lines)

    await eventually(counted)

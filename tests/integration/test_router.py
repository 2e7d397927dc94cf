"""The router as a process: what it answers, in which order, and what is left of a publish when routers die."""

import asyncio
import itertools
import json
import os
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from services.router.intake.slots import LEASE_MS
from shared.core.model import State
from shared.inbox.inbox import Inbox
from shared.ledger.ledger import Ledger
from shared.ledger.reader import Trace, TracedRow
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

ROUTER = ("router",)


def unique(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:12]}"


class Publisher:
    """Publishes over a connection of its own and keeps each receipt under its correlation."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.broker = broker
        self._topic = f"receipts/{name}"
        self._numbers = itertools.count()
        self._waiting: dict[bytes, asyncio.Future[dict[str, Any]]] = {}
        self.answers: Counter[bytes] = Counter()

    async def read(self) -> None:
        await self.broker.subscribe(self._topic)
        while True:
            for incoming in await self.broker.take(100):
                self.broker.ack(incoming)
                assert incoming.correlation is not None
                self.answers[incoming.correlation] += 1
                answer = self._waiting[incoming.correlation]
                if not answer.done():
                    answer.set_result(json.loads(incoming.payload))

    def ask(
        self, topic: str, payload: Mapping[str, Any] | str | bytes, **properties: Any
    ) -> "asyncio.Future[dict[str, Any]]":
        """Publish without waiting; the future is the receipt."""
        correlation = str(next(self._numbers)).encode()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = answer
        body = json.dumps(payload) if isinstance(payload, Mapping) else payload
        self.broker.publish(topic, body, response_topic=self._topic, correlation=correlation, **properties)
        return answer

    async def send(self, topic: str, payload: Mapping[str, Any] | str | bytes, **properties: Any) -> dict[str, Any]:
        """Publish and return the receipt."""
        async with asyncio.timeout(20):
            return await self.ask(topic, payload, **properties)

    async def accepted(self, topic: str, payload: Mapping[str, Any], **properties: Any) -> str:
        """Publish what is to be accepted and return its notification's id."""
        receipt = await self.send(topic, payload, **properties)
        assert receipt["status"] == "accepted", receipt
        return str(receipt.get("notification_id"))


class Read:
    """What the ledger holds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ledger = Ledger(store, Keys())
        self.trace = Trace(store, Keys())

    async def rows(self, notification_id: str) -> dict[str, TracedRow]:
        return {row.key: row async for row in self.trace.rows(notification_id)}

    async def spec(self, row: TracedRow) -> dict[str, Any]:
        """Return a row as its job has it."""
        text = await self.store.command("HGET", f"{Keys().shard_of(row.record_id)}:n:{row.record_id}", f"d:{row.key}")
        found: dict[str, Any] = json.loads(text)
        return found

    async def owners(self) -> dict[str, str]:
        """Return slot -> owner."""
        flat = await self.store.command("HGETALL", f"{Keys().slots}:owners")
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {slot.decode(): owner.decode().rpartition("|")[0] for slot, owner in pairs}


@asynccontextmanager
async def publishing(stack: Stack) -> AsyncIterator[Publisher]:
    name = unique("publisher")
    async with Broker(BrokerAddress.parse(stack.broker.url), name) as broker:
        publisher = Publisher(broker, name)
        reading = asyncio.create_task(publisher.read(), name="receipts")
        await broker.subscribe(f"ready/{name}")
        try:
            yield publisher
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def reading(stack: Stack) -> AsyncIterator[Read]:
    async with Store(stack.store.url) as store:
        yield Read(store)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A system with one router and nothing behind it. Its routers are left as they were found."""
    system = Stack(tmp_path_factory.mktemp("router"), services=ROUTER)
    await system.start()
    yield system
    await system.stop()


@pytest_asyncio.fixture
async def publisher(router: Stack) -> AsyncIterator[Publisher]:
    async with publishing(router) as made:
        yield made


@pytest_asyncio.fixture
async def read(router: Stack) -> AsyncIterator[Read]:
    async with reading(router) as made:
        yield made


MAIL = {"to": "user@example.com", "subject": "Subject", "body": "Body"}


# Receipts.


async def test_what_is_accepted_is_in_the_ledger_when_the_receipt_arrives(publisher: Publisher, read: Read) -> None:
    receipt = await publisher.send("notifications/email/send", MAIL)
    assert receipt.keys() == {"status", "notification_id", "accepted_at"}
    assert receipt["accepted_at"].endswith("Z")
    (row,) = (await read.rows(receipt["notification_id"])).values()
    assert (row.lane, row.state) == ("email", State.PENDING)


async def test_a_template_speaks_to_each_reader_in_their_language(publisher: Publisher, read: Read) -> None:
    data = {"name": "User 123", "joined": "2026-11-02", "tasks": 2}
    group = unique("group")
    locales = {unique(locale): locale for locale in ("en", "fr-CA")}
    for user_id, locale in locales.items():
        record = {"email": "user@example.com", "locale": locale, "groups": [group]}
        assert (await publisher.send(f"directory/user/{user_id}", record))["status"] == "accepted"
    payload = {"template": "welcome", "data": data, "priority": "high", "channels": ["email"]}
    notification_id = await publisher.accepted(f"notifications/realtime/group/{group}", payload)

    async def planned() -> dict[str | None, str] | None:
        rows = [row for row in (await read.rows(notification_id)).values() if row.lane == "email"]
        mails = [await read.spec(row) for row in rows]
        titles = {mail["recipient"]: mail.get("content", {}).get("title") for mail in mails}
        return titles if len(titles) == len(locales) else None

    welcome = {"en": "Welcome, User 123", "fr-CA": "Bienvenue, User 123"}
    assert await eventually(planned, 30, "both mails") == {user: welcome[locale] for user, locale in locales.items()}


async def test_data_that_does_not_fit_a_template_is_refused_by_name(publisher: Publisher) -> None:
    mail = {"to": "user@example.com", "template": "welcome", "data": {"name": "User 123", "tasks": 2}}
    receipt = await publisher.send("notifications/email/send", mail)
    assert receipt["error"]["fields"] == [{"field": "data.joined", "problem": "required by template welcome"}]
    receipt = await publisher.send("notifications/email/send", {**mail, "template": "welcom"})
    assert receipt["error"]["fields"] == [{"field": "template", "problem": "unknown", "meant": "welcome"}]
    assert "Known templates: " in receipt["error"]["message"]
    assert "welcome" in receipt["error"]["message"]


async def test_a_broken_template_stops_the_router_with_file_and_line(router: Stack, tmp_path: Path) -> None:
    (tmp_path / "bad" / "en").mkdir(parents=True)
    (tmp_path / "bad" / "en" / "text.txt").write_text("Hello\n{{ name")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.router"),
        env=router.command_environment() | {"TEMPLATES_DIR": str(tmp_path), "OPS_PORT": "0"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "bad/en/text.txt:2: unexpected end of template" in said.decode().splitlines()[-1]


async def test_an_alerts_receipt_names_the_alert(publisher: Publisher) -> None:
    receipt = await publisher.send(f"notifications/alerts/info/{unique('type')}", {"message": "m"})
    assert receipt["alert_id"] == receipt["notification_id"]


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        ("notifications/email/send", "{", "invalid_json"),
        ("notifications/email/send", "", "invalid_json"),
        ("notifications/email/send", b"\xff", "invalid_json"),
        ("notifications/email/send", "[]", "invalid_json"),
        ("notifications/realtime/user/user123", {}, "invalid_payload"),
        ("notifications/alerts/critical/disk", {}, "invalid_payload"),
        ("notifications/cancel/no-such-id", "", "invalid_payload"),
        ("notifications/alerts/resolve/no-such-id", "", "invalid_payload"),
        ("notifications/alerts/acknowledge/no-such-id", {"user_id": "user123"}, "invalid_payload"),
        ("websocket/heartbeat/nobody", {"session_id": "no-such-session"}, "invalid_payload"),
        ("directory/user/user123", {"shoe_size": 44}, "invalid_payload"),
        ("notifications/realtime/broadcast", {"message": "m", "data": {"x": "y" * 65_536}}, "too_large"),
        ("notifications/fax/send", {}, "unknown_topic"),
        ("notifications/alerts/loud/disk", {"message": "m"}, "unknown_topic"),
        # Ours alone; only who waits for an answer is told so, because our own events come in the same way.
        ("notifications/events/no-such-id", {"state": "delivered"}, "unknown_topic"),
        ("directory/group/ops", {}, "unknown_topic"),
        ("notifications/email/send", {**MAIL, "expires_at": "2020-01-01T00:00:00Z"}, "expired"),
    ],
)
async def test_a_refused_publish_is_told_why(
    publisher: Publisher, topic: str, payload: dict[str, Any] | str | bytes, code: str
) -> None:
    receipt = await publisher.send(topic, payload)
    assert (receipt["status"], receipt["error"]["code"]) == ("rejected", code)
    assert receipt["error"]["message"]


async def test_a_refusal_names_every_field(publisher: Publisher) -> None:
    receipt = await publisher.send("notifications/email/send", {"to": "nobody", "subject": "s"})
    assert receipt["error"]["fields"] == [
        {"field": "to", "problem": "not a valid email address"},
        {"field": "body", "problem": "required"},
    ]


async def test_a_receipt_says_what_will_not_happen(publisher: Publisher) -> None:
    known, group = unique("user"), unique("group")
    unwanted, unsubscribed = f"{unique('bad')}@example.com", f"{unique('off')}@example.com"
    record = {"email": "user@example.com", "groups": [group]}
    reports = [
        {"address": unwanted, "reason": "bounce"},
        {"address": unsubscribed, "reason": "unsubscribed", "category": "news"},
    ]
    assert (await publisher.send(f"directory/user/{known}", record))["status"] == "accepted"
    assert (await publisher.send("directory/category/news", {}))["status"] == "accepted"
    for report in reports:
        assert (await publisher.send("directory/suppress/email", report))["status"] == "accepted"
    nobody, said = unique("nobody"), {"message": "m"}
    misspelt = {"field": "prioriy", "problem": "unknown", "meant": "priority"}
    stranger = {"field": "user_id", "problem": "unknown recipient"}
    bounced, opted_out = "suppressed: bounced", "suppressed: opted out"
    news = MAIL | {"to": unsubscribed, "category": "news"}
    table: list[tuple[str, dict[str, Any], list[dict[str, str]]]] = [
        (f"realtime/user/{known}", said, []),
        (f"realtime/user/{known}", said | {"prioriy": "high"}, [misspelt]),
        (f"realtime/user/{nobody}", said, [stranger]),
        (f"realtime/user/{nobody}", said | {"send_at": time.time() + 3600}, [stranger]),
        ("push/mobile/ios", said | {"user_id": nobody}, [stranger]),
        (f"realtime/group/{group}", said, []),
        (f"realtime/group/{nobody}", said, [{"field": "group_id", "problem": "nobody in this group"}]),
        ("realtime/broadcast", said | {"target_groups": [group, nobody]},
         [{"field": "target_groups.1", "problem": "nobody in this group"}]),
        ("email/send", MAIL, []),
        ("email/send", MAIL | {"to": unwanted}, [{"field": "to", "problem": bounced}]),
        ("email/send", MAIL | {"to": unwanted.upper(), "prioriy": "high"},
         [misspelt, {"field": "to", "problem": bounced}]),
        ("email/send", MAIL | {"to": unsubscribed}, []),
        ("email/send", news, [{"field": "to", "problem": opted_out}]),
        ("email/send", news | {"priority": "critical"}, []),
        ("email/send", MAIL | {"category": nobody}, [{"field": "category", "problem": "unknown category"}]),
        ("email/batch", {"emails": [MAIL, MAIL | {"category": nobody}]},
         [{"field": "emails.1.category", "problem": "unknown category"}]),
        ("email/batch", {"emails": [MAIL, MAIL | {"to": unwanted}, news]},
         [{"field": "emails.1.to", "problem": bounced}, {"field": "emails.2.to", "problem": opted_out}]),
        ("email/batch", {"emails": [MAIL | {"to": unwanted}] * 30},
         [{"field": f"emails.{index}.to", "problem": bounced} for index in range(20)]
         + [{"field": "", "problem": "and 10 more"}]),
    ]  # fmt: skip
    receipts = await asyncio.gather(*(publisher.send(f"notifications/{topic}", body) for topic, body, _ in table))
    assert [receipt["status"] for receipt in receipts] == ["accepted"] * len(table)
    assert [receipt.get("warnings", []) for receipt in receipts] == [expected for _, _, expected in table]
    assert all("warnings" not in receipt or receipt["warnings"] for receipt in receipts)


async def test_a_cancellation_or_an_answer_is_warned_of_a_misspelt_field_too(publisher: Publisher) -> None:
    topic = f"websocket/connect/{unique('user')}"
    receipt = await publisher.send(topic, {"sesion_id": "a"})
    assert receipt["warnings"] == [{"field": "sesion_id", "problem": "unknown", "meant": "session_id"}]


async def test_a_wrong_topic_is_answered_with_the_nearest_right_one(publisher: Publisher) -> None:
    receipt = await publisher.send("notifications/emial/send", MAIL)
    assert receipt["error"]["code"] == "unknown_topic"
    assert receipt["error"]["message"].endswith("Did you mean notifications/email/send?")


async def test_a_refusal_is_logged_with_topic_and_fields_and_nothing_of_the_values(
    router: Stack, publisher: Publisher
) -> None:
    number = unique("1500555")
    await publisher.send(f"notifications/sms/{number}", {"message": f"secret {number}"})
    await publisher.send(f"notifications/realtime/user/{number}", {"mesage": number, f"{number}@example.com": 1})

    async def logged() -> str:
        text = await asyncio.to_thread((router.data / "logs" / "router.log").read_text)
        both = "notifications/sms/*" in text and "notifications/realtime/user/{user_id}" in text
        return text if both else ""

    text = await eventually(logged, 30, "both refusals")
    assert number not in text
    assert "['message', 'mesage', '*']" in text or '["message", "mesage", "*"]' in text


async def test_more_sessions_than_a_gateway_may_have_are_refused(publisher: Publisher) -> None:
    topic = f"websocket/connect/{unique('user')}"
    receipts = await asyncio.gather(*(publisher.ask(topic, "") for _ in range(101)))
    codes = Counter(receipt.get("error", {}).get("code", receipt["status"]) for receipt in receipts)
    assert codes == {"accepted": 100, "rate_limited": 1}


async def test_a_gateways_session_may_be_of_one_tenant(publisher: Publisher, read: Read) -> None:
    user_id = unique("user")
    inbox = Inbox(read.store, Keys(), 100, timedelta(days=1))
    for tenant in ("acme", "other"):
        await inbox.add(user_id, tenant, json.dumps({"id": tenant, "tenant": tenant}), tenant=tenant)
    receipt = await publisher.ask(f"websocket/connect/{user_id}", {"tenant": "acme"})
    assert ([each["id"] for each in receipt["notifications"]], receipt["unread"]) == (["acme"], 1)
    receipt = await publisher.ask(f"websocket/connect/{user_id}", "")
    assert receipt["unread"] == 2


async def test_a_publish_without_a_response_topic_is_carried_out_all_the_same(publisher: Publisher, read: Read) -> None:
    user_id = unique("user")
    assert await publisher.broker.publish(f"directory/user/{user_id}", "{}")
    record = f"{Keys().user(user_id)}:record"
    await eventually(lambda: read.store.command("EXISTS", record))


@pytest.mark.parametrize("response_topic", ["a/#", "+", "", "$SYS/broker", "x" * 60_000, "receipts/\u0001"])
async def test_a_response_topic_that_nobody_can_publish_on_harms_nobody(router: Stack, response_topic: str) -> None:
    user_id = unique("user")
    async with Broker(BrokerAddress.parse(router.broker.url), unique("hostile")) as hostile:
        hostile.publish(f"directory/user/{user_id}", "{}", response_topic=response_topic)
        await asyncio.wait({asyncio.ensure_future(hostile.wait_closed())}, timeout=0.2)
    async with publishing(router) as publisher:
        for _ in range(3):
            await publisher.accepted("notifications/email/send", MAIL)
        await publisher.accepted(f"notifications/alerts/info/{unique('type')}", {"message": "m"})
    text = router.child("router").log.read_text()
    assert "broker away" not in text


# Order.


async def test_a_notification_sees_the_directory_entry_published_before_it(publisher: Publisher, read: Read) -> None:
    users = [unique("user") for _ in range(60)]
    answers = []
    for number, user_id in enumerate(users):
        # Every third has a number before he is deleted, and every notification after a write must see that write.
        publisher.ask(f"directory/user/{user_id}", {"phone": "+15005550006", "preferences": {"sms": True}})
        if number % 3 == 0:
            publisher.ask(f"directory/user/{user_id}", "")
        answers.append(
            publisher.ask(f"notifications/realtime/user/{user_id}", {"message": "m", "priority": "critical"})
        )
    receipts = await asyncio.gather(*answers)
    for number, receipt in enumerate(receipts):
        reasons = {row.lane: row.reason for row in (await read.rows(receipt["notification_id"])).values()}
        if number % 3 == 0:
            assert reasons == {"realtime": "unknown_recipient"}
        else:
            assert reasons == {"realtime": "", "sms": "", "email": "no_address", "push": "no_address"}


async def test_what_is_published_on_one_topic_is_carried_out_in_order(publisher: Publisher, read: Read) -> None:
    user_id = unique("user")
    answers = [publisher.ask(f"directory/user/{user_id}", {"name": f"Name {number}"}) for number in range(100)]
    await asyncio.gather(*answers)
    record = await read.store.command("GET", f"{Keys().user(user_id)}:record")
    assert json.loads(record)["name"] == "Name 99"


async def test_a_cancellation_right_behind_its_notification_finds_it(publisher: Publisher, read: Read) -> None:
    for _ in range(10):
        notification_id = await publisher.accepted("notifications/email/send", {**MAIL, "send_at": time.time() + 3600})
        receipt = await publisher.send(f"notifications/cancel/{notification_id}", "")
        assert receipt["status"] == "accepted"
        (row,) = (await read.rows(notification_id)).values()
        assert (row.state, row.reason) == (State.SUPPRESSED, "cancelled")


# Idempotency and expiry.


@pytest.mark.parametrize("by_property", [True, False])
async def test_the_same_key_is_the_same_notification(publisher: Publisher, read: Read, by_property: bool) -> None:
    key = unique("order")
    properties = {"user_properties": [("idempotency-key", key)]} if by_property else {}
    body = MAIL if by_property else {**MAIL, "id": key}
    topic = "notifications/email/send"
    receipts = await asyncio.gather(*(publisher.ask(topic, body, **properties) for _ in range(300)))
    assert Counter(receipt["status"] for receipt in receipts) == {"accepted": 1, "duplicate": 299}
    (notification_id,) = {receipt["notification_id"] for receipt in receipts}
    assert len(await read.rows(notification_id)) == 1
    other = await publisher.send(topic, {**body, "subject": "Other"}, **properties)
    assert other["error"]["code"] == "idempotency_conflict"


async def test_a_key_in_the_payload_and_one_in_a_property_are_the_same_key(publisher: Publisher) -> None:
    key = unique("order")
    first = await publisher.accepted("notifications/email/send", {**MAIL, "id": key})
    again = await publisher.send("notifications/email/send", MAIL, user_properties=[("idempotency-key", key)])
    assert again == {"status": "duplicate", "notification_id": first}


async def test_the_same_publish_with_less_time_left_is_a_duplicate(publisher: Publisher) -> None:
    body = {**MAIL, "id": unique("order")}
    first = await publisher.accepted("notifications/email/send", body, expiry_s=600)
    for again in ({"expiry_s": 300}, {}):
        receipt = await publisher.send("notifications/email/send", body, **again)
        assert receipt == {"status": "duplicate", "notification_id": first}


async def test_a_time_to_live_in_the_payload_is_part_of_it_whatever_the_message_expiry_says(
    publisher: Publisher,
) -> None:
    body = {**MAIL, "id": unique("order"), "ttl_s": 900}
    first = await publisher.accepted("notifications/email/send", body)
    for expiry in ({"expiry_s": 300}, {"expiry_s": 200}, {}):
        receipt = await publisher.send("notifications/email/send", body, **expiry)
        assert receipt == {"status": "duplicate", "notification_id": first}
    other = await publisher.send("notifications/email/send", {**body, "ttl_s": 800}, expiry_s=300)
    assert other["error"]["code"] == "idempotency_conflict"


async def somebody_on_call(publisher: Publisher, alert_type: str) -> str:
    user_id = unique("oncall")
    await publisher.send(f"directory/user/{user_id}", {})
    await publisher.send(f"directory/oncall/{alert_type}", {"users": [user_id]})
    return user_id


async def test_an_alert_that_reached_nobody_does_not_swallow_the_next_one(publisher: Publisher) -> None:
    alert_type, body = unique("type"), {"message": "m", "dedup_key": "db1"}
    first = await publisher.accepted(f"notifications/alerts/critical/{alert_type}", body)
    await somebody_on_call(publisher, alert_type)
    told = await publisher.accepted(f"notifications/alerts/critical/{alert_type}", body)
    assert told != first
    assert (await publisher.send(f"notifications/alerts/critical/{alert_type}", body))["status"] == "duplicate"
    await publisher.send(f"notifications/cancel/{told}", "")
    assert await publisher.accepted(f"notifications/alerts/critical/{alert_type}", body) != told


async def test_only_somebody_who_was_told_or_an_admin_acknowledges(publisher: Publisher) -> None:
    alert_type = unique("type")
    oncall, stranger, admin = await somebody_on_call(publisher, alert_type), unique("stranger"), unique("admin")
    await publisher.send(f"directory/user/{stranger}", {})
    first, second = [
        await publisher.accepted(f"notifications/alerts/critical/{alert_type}", {"message": f"{n}"}) for n in range(2)
    ]
    await publisher.send(f"directory/user/{admin}", {"roles": ["admin"]})
    refused = await publisher.send(f"notifications/alerts/acknowledge/{first}", {"user_id": stranger})
    assert (refused["error"]["code"], refused["error"]["fields"][0]["field"]) == ("unauthorized", "user_id")
    for alert_id, user_id in ((first, oncall), (second, admin)):
        answer = await publisher.send(f"notifications/alerts/acknowledge/{alert_id}", {"user_id": user_id})
        assert answer["status"] == "accepted"
    await publisher.send(f"directory/user/{admin}", "")


@pytest.mark.parametrize(
    "response_topic",
    ["internal/email/high", "notifications/events/{id}", "receipts", "receipts/", "elsewhere/receipts/x", "a/b"],
)
async def test_a_receipt_goes_nowhere_but_below_receipts(router: Stack, response_topic: str) -> None:
    """The router may publish where no publisher may, so it must not be made to."""
    user_id, asked = unique("user"), response_topic.replace("{id}", unique("id"))
    address = BrokerAddress.parse(router.broker.url)
    before = await withheld(router)
    async with Broker(address, unique("listener")) as listener, publishing(router) as publisher:
        # Nobody but the services may listen to jobs: there the count alone tells.
        if not asked.startswith("internal/"):
            await listener.subscribe(asked, f"{asked}/#")
        listener.publish(f"directory/user/{user_id}", "{}", response_topic=asked)
        listener.publish(f"websocket/connect/{user_id}", "{}", response_topic=asked)
        # It is carried out all the same.
        await eventually(lambda: _counts_to(router, before + 2))
        assert (await publisher.send(f"websocket/heartbeat/{user_id}", ""))["status"] == "accepted"
        # Other receipts may come below receipts/.
        came = await listener.take(1000) if listener.waiting else []
        assert not [one for one in came if one.topic == asked and b'"status"' in one.payload]


async def _counts_to(stack: Stack, count: float) -> bool:
    return await withheld(stack) >= count


async def withheld(stack: Stack) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"{stack.ops_url('router')}/metrics") as answer:
        (line,) = [
            line for line in (await answer.text()).splitlines() if line.startswith("carillon_withheld_receipts_total")
        ]
    return float(line.split()[-1])


async def test_an_open_alert_is_not_told_twice_and_a_graver_one_is(publisher: Publisher) -> None:
    alert_type, body = unique("type"), {"message": "m", "dedup_key": "db1"}
    await somebody_on_call(publisher, alert_type)
    warning = await publisher.accepted(f"notifications/alerts/warning/{alert_type}", body)
    again = await publisher.send(f"notifications/alerts/warning/{alert_type}", body)
    assert again == {"status": "duplicate", "notification_id": warning, "alert_id": warning}
    critical = await publisher.accepted(f"notifications/alerts/critical/{alert_type}", body)
    assert critical != warning
    assert (await publisher.send(f"notifications/alerts/resolve/{warning}", ""))["status"] == "accepted"
    assert await publisher.accepted(f"notifications/alerts/warning/{alert_type}", body) != warning


async def test_the_message_expiry_is_the_deliverys_deadline(publisher: Publisher, read: Read) -> None:
    notification_id = await publisher.accepted("notifications/email/send", MAIL, expiry_s=3)

    async def ended() -> TracedRow | None:
        (row,) = (await read.rows(notification_id)).values()
        return row if row.state.is_end else None

    row = await eventually(ended)
    assert (row.state, row.reason) == (State.EXPIRED, "expired")


# Scheduled.


async def test_a_scheduled_notification_is_planned_with_the_directory_of_its_time(
    publisher: Publisher, read: Read
) -> None:
    user_id, send_at = unique("user"), round(time.time() + 1.2, 3)
    notification_id = await publisher.accepted(
        f"notifications/realtime/user/{user_id}", {"message": "m", "send_at": send_at, "priority": "high"}
    )
    assert list(await read.rows(notification_id)) == ["plan"]
    await publisher.accepted(f"directory/user/{user_id}", {"email": "user@example.com"})

    async def planned() -> dict[str, TracedRow] | None:
        rows = await read.rows(notification_id)
        return rows if len(rows) > 1 else None

    rows = await eventually(planned)
    assert time.time() >= send_at
    assert rows["plan"].state is State.DELIVERED
    assert rows[f"email:{user_id}"].state is State.PENDING
    # Its latency counts from the planned time.
    spec = await read.store.command(
        "HGET", f"{Keys().shard_of(notification_id)}:n:{notification_id}", f"d:email:{user_id}"
    )
    assert json.loads(spec)["due_ms"] == round(send_at * 1000)


async def test_what_is_decided_against_at_its_time_is_counted_and_told(router: Stack, publisher: Publisher) -> None:
    body = {"message": "m", "events": True, "send_at": time.time() + 0.5}
    async with Broker(BrokerAddress.parse(router.broker.url), unique("events")) as events:
        await events.subscribe("notifications/events/+")
        before = await suppressed(router, "unknown_recipient")
        notification_id = await publisher.accepted(f"notifications/realtime/user/{unique('nobody')}", body)
        states: list[tuple[str, str | None, str | None]] = []
        async with asyncio.timeout(30):
            while len(states) < 2:
                for incoming in await events.take(10):
                    if incoming.topic.endswith(notification_id):
                        step = json.loads(incoming.payload)
                        states.append((step["state"], step["channel"], step["reason"]))
    assert states == [("accepted", None, None), ("suppressed", "realtime", "unknown_recipient")]
    assert await suppressed(router, "unknown_recipient") == before + 1


async def suppressed(router: Stack, reason: str) -> float:
    """Read how many realtime deliveries the router has suppressed for a reason; the series is there from the start."""
    wanted = f'carillon_deliveries_total{{channel="realtime",outcome="suppressed",reason="{reason}"}} '
    async with aiohttp.ClientSession() as http, http.get(f"{router.ops_url('router')}/metrics") as answer:
        (line,) = (line for line in (await answer.text()).splitlines() if line.startswith(wanted))
        return float(line.removeprefix(wanted))


async def test_nobody_is_told_of_a_scheduled_alert_that_was_resolved_before(publisher: Publisher, read: Read) -> None:
    user_id, alert_type = unique("user"), unique("type")
    await publisher.accepted(f"directory/user/{user_id}", {})
    await publisher.accepted(f"directory/oncall/{alert_type}", {"users": [user_id]})
    body = {"message": "m", "send_at": time.time() + 1}
    alert_id = await publisher.accepted(f"notifications/alerts/critical/{alert_type}", body)
    await publisher.accepted(f"notifications/alerts/resolve/{alert_id}", {})

    async def performed() -> bool:
        return (await read.rows(alert_id))["plan"].state.is_end

    await eventually(performed)
    # The other row tells those who were told: nobody.
    assert [key.partition(":")[0] for key in sorted(await read.rows(alert_id))] == ["answered", "plan"]


async def test_a_group_of_more_than_a_page_is_told_completely_and_once_each(publisher: Publisher, read: Read) -> None:
    group = unique("group")
    users = [unique("user") for _ in range(450)]
    answers = [
        publisher.ask(
            f"directory/user/{user_id}",
            {"groups": [group], "devices": [{"platform": "ios", "token": user_id.replace("-", "")}]},
        )
        for user_id in users
    ]
    await asyncio.gather(*answers)
    notification_id = await publisher.accepted(f"notifications/realtime/group/{group}", {"message": "m"})

    async def pushed() -> bool:
        rows = (await read.rows(notification_id)).values()
        return sum(row.lane == "push" for row in rows) >= len(users)

    await eventually(pushed, within_s=30)
    rows = (await read.rows(notification_id)).values()
    assert Counter(row.recipient for row in rows if row.lane == "push") == Counter(users)
    # No record grows with the number of people.
    records = Counter(row.record_id for row in rows if row.lane == "push")
    assert sorted(records.values()) == [50, 200, 200]
    whole = await read.trace.record(notification_id)
    assert whole is not None
    assert whole.open_rows >= len(users)
    receipt = await publisher.send(f"notifications/cancel/{notification_id}", {})
    assert receipt["status"] == "accepted"
    states = Counter(row.state for row in (await read.rows(notification_id)).values() if row.lane == "push")
    assert states == {State.SUPPRESSED: len(users)}


async def test_who_is_in_two_of_the_groups_is_told_once(publisher: Publisher, read: Read) -> None:
    groups = [unique("group"), unique("group")]
    members = {unique("user"): groups, unique("user"): groups[:1], unique("user"): groups[1:]}
    for user_id, of in members.items():
        devices = [{"platform": "ios", "token": user_id.replace("-", "")}]
        await publisher.accepted(f"directory/user/{user_id}", {"groups": of, "devices": devices})
    broadcast = {"message": "m", "target_groups": groups}
    notification_id = await publisher.accepted("notifications/realtime/broadcast", broadcast)

    async def planned() -> bool:
        found = [row async for row in read.trace.rows(notification_id) if row.task is not None]
        return len(found) == len(groups) and all(row.state.is_end for row in found)

    await eventually(planned)
    pushes = [row.recipient async for row in read.trace.rows(notification_id) if row.lane == "push"]
    assert Counter(pushes) == Counter(list(members))


# More than one router.


async def requests_of(stack: Stack, index: int) -> float:
    """Return how many publishes a router has accepted."""
    async with aiohttp.ClientSession() as session, session.get(f"{stack.ops_url('router', index)}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    wanted = [
        line for line in lines if line.startswith("carillon_notifications_total") and 'outcome="accepted"' in line
    ]
    return sum(float(line.rpartition(" ")[2]) for line in wanted)


@asynccontextmanager
async def second_router(stack: Stack) -> AsyncIterator[int]:
    await stack.start_service("router", 1)
    try:
        yield 1
    finally:
        await stack.stop_service("router", 1)


async def test_two_routers_share_and_the_one_that_stops_leaves_nothing_behind(
    router: Stack, publisher: Publisher, read: Read
) -> None:
    async with second_router(router) as second:
        assert set(await read.owners()) == {"0", "1"}
        before = [await requests_of(router, index) for index in (0, second)]
        receipts = await asyncio.gather(*(publisher.ask("notifications/email/send", MAIL) for _ in range(200)))
        assert Counter(receipt["status"] for receipt in receipts) == {"accepted": 200}
        shares = [await requests_of(router, index) - before[index] for index in (0, second)]
        assert sum(shares) == 200
        assert min(shares) >= 50
        # More is published while the second one drains.
        stopping = asyncio.create_task(router.stop_service("router", second))
        answers = []
        while not stopping.done():
            answers.append(publisher.ask("notifications/email/send", MAIL))
            await asyncio.wait({stopping}, timeout=0.01)
        async with asyncio.timeout(20):
            receipts = await asyncio.gather(*answers)
        assert {receipt["status"] for receipt in receipts} == {"accepted"}
        assert await stopping == 0
        assert set(await read.owners()) == {"0"}
        assert max(publisher.answers.values()) == 1


def freeze(stack: Stack, index: int) -> int:
    """Stop a router as a paused machine would; what the broker gives it stays unacknowledged."""
    pid = stack.child("router", index).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return pid


async def half_unanswered(publisher: Publisher) -> "list[asyncio.Future[dict[str, Any]]]":
    """Publish so that a frozen router holds a part, and return all receipts to come."""
    kinds = ["notifications/email/send", "notifications/alerts/info/disk"]
    bodies = [MAIL, {"message": "m"}]
    answers = [publisher.ask(kinds[number % 2], {**bodies[number % 2], "id": unique("order")}) for number in range(100)]
    await eventually(lambda: sum(answer.done() for answer in answers) >= 20)
    return answers


async def test_what_a_killed_router_held_is_adopted_and_nothing_is_lost(
    router: Stack, publisher: Publisher, read: Read
) -> None:
    async with second_router(router) as second:
        freeze(router, second)
        answers = await half_unanswered(publisher)
        await router.kill("router", second)
        assert not all(answer.done() for answer in answers)
        async with asyncio.timeout(LEASE_MS / 1000 + 20):
            receipts = await asyncio.gather(*answers)
        assert Counter(receipt["status"] for receipt in receipts) == {"accepted": 100}
        assert len({receipt["notification_id"] for receipt in receipts}) == 100

        async def released() -> bool:
            return set(await read.owners()) == {"0"}

        await eventually(released)


async def test_a_router_that_lost_its_slot_ends_and_nothing_is_lost(
    router: Stack, publisher: Publisher, read: Read
) -> None:
    async with second_router(router) as second:
        pid = freeze(router, second)
        try:
            answers = await half_unanswered(publisher)

            async def adopted() -> bool:
                return set(await read.owners()) == {"0"}

            await eventually(adopted, within_s=LEASE_MS / 1000 + 20)
            async with asyncio.timeout(20):
                receipts = await asyncio.gather(*answers)
            assert {receipt["status"] for receipt in receipts} == {"accepted"}
        finally:
            os.kill(pid, signal.SIGCONT)
        child = router.child("router", second)
        await eventually(lambda: not child.alive, within_s=30)
        assert child.exit_status == 1
        assert "SlotLost" in "\n".join(child.last_lines(60))
        receipts = await asyncio.gather(*(publisher.ask("notifications/email/send", MAIL) for _ in range(20)))
        assert {receipt["status"] for receipt in receipts} == {"accepted"}


async def test_the_last_router_leaves_no_session_and_no_slot(router: Stack, publisher: Publisher, read: Read) -> None:
    started = time.monotonic()
    assert await router.stop_service("router") == 0
    try:
        assert time.monotonic() - started < 15
        assert await read.owners() == {}
        for topic in ("notifications/email/send", "notifications/alerts/info/disk", "directory/user/user123"):
            assert await publisher.broker.publish(topic, "{}") is False
    finally:
        await router.start_service("router")


async def test_a_router_that_ends_without_a_broker_leaves_its_slot_to_be_adopted(router: Stack, read: Read) -> None:
    before = await read.owners()
    await router.broker.stop()
    try:
        assert await router.stop_service("router") == 0
    finally:
        await router.broker.start()
    # The broker still has its sessions, so that somebody has to come for them.
    assert await read.owners() == before
    await router.start_service("router")

    async def adopted() -> bool:
        owners = await read.owners()
        return len(owners) == 1 and owners.items().isdisjoint(before.items())

    await eventually(adopted, within_s=LEASE_MS / 1000 + 20)
    async with publishing(router) as publisher:
        await publisher.accepted("notifications/email/send", MAIL)


async def test_an_adoption_that_the_broker_breaks_off_does_not_end_the_adopter(router: Stack, read: Read) -> None:
    before = await read.owners()
    child = router.child("router")
    adoptions = child.log.read_text().count("adopting")
    await read.store.command("HSET", f"{Keys().slots}:owners", "7", "router-gone|1")
    await eventually(lambda: child.log.read_text().count("adopting") > adoptions)
    await router.broker.kill()
    await router.broker.start()

    async def adopted() -> bool:
        assert child.alive
        return await read.owners() == before

    await eventually(adopted, within_s=LEASE_MS / 1000 + 20)
    assert "adoption broken off" in child.log.read_text()


async def test_the_slots_of_several_dead_routers_are_adopted_side_by_side(router: Stack, read: Read) -> None:
    before = await read.owners()
    child = router.child("router")
    seen = len(child.log.read_text().splitlines())
    gone = {"7": "router-gone|1", "8": "router-gone|1", "9": "router-gone|1"}
    await read.store.command("HSET", f"{Keys().slots}:owners", *(part for pair in gone.items() for part in pair))

    def steps() -> list[str]:
        lines = (json.loads(line) for line in child.log.read_text().splitlines()[seen:])
        return [line["event"] for line in lines if line["event"] in ("adopting a dead router's slot", "adopted")]

    await eventually(lambda: steps().count("adopted") == len(gone), within_s=LEASE_MS / 1000 + 20)
    # Draining takes a while, so that whoever begins with all of them has ended none yet.
    assert steps() == ["adopting a dead router's slot"] * 3 + ["adopted"] * 3
    assert await read.owners() == before

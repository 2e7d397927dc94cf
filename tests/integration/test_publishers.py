"""Publishers against a real mosquitto with the shipped roles and a real router: what is whose, and who may do what."""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from carillon.broker.roles import SERVICES, Login
from carillon.broker.rules import dynamic_security, new_password
from carillon.local.ports import LOOPBACK, free_port
from carillon.local.servers import ROOT, LocalServer, local_broker
from services.router.intake.intake import URGENT_BATCH
from shared.core.errors import BrokerUnavailable
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import need
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

LOGINS = {
    **{service: service for service in SERVICES},
    "shop": "named-publisher",
    "billing": "named-publisher",
    "orders": "named-publisher",
    "payments": "named-publisher",
    "monitoring": "named-publisher",
    "legacy": "publisher",
    "operator": "admin",
}
TOLD = "user123"


class Connected:
    """A login's connection: it publishes, and reads its receipts."""

    def __init__(self, broker: Broker, name: str, prefix: str) -> None:
        self.broker = broker
        self._name = name
        self._prefix = prefix
        self._number = 0

    async def ask(self, topic: str, payload: object, *, key: str | None = None, answer_to: str = "") -> dict[str, Any]:
        """Publish and return the receipt."""
        self._number += 1
        mark = f"{self._number}".encode()
        await self.broker.publish(
            self._prefix + topic,
            json.dumps(payload) if payload != "" else "",
            response_topic=f"{self._prefix}{answer_to or f'receipts/{self._name}/publishes'}",
            correlation=mark,
            user_properties=[("idempotency-key", key)] if key else [],
        )
        async with asyncio.timeout(20):
            while True:
                for incoming in await self.broker.take(10):
                    self.broker.ack(incoming)
                    if incoming.correlation == mark:
                        receipt: dict[str, Any] = json.loads(incoming.payload)
                        return receipt


class Running:
    """A router behind a broker with the shipped roles."""

    def __init__(self, port: int, passwords: dict[str, str], ops_port: int) -> None:
        self._port = port
        self._passwords = passwords
        self._ops_port = ops_port

    @asynccontextmanager
    async def login(self, name: str) -> AsyncIterator[Connected]:
        """Connect under a name, with the receipts subscribed."""
        address = BrokerAddress.parse(f"mqtt://{name}:{self._passwords[name]}@{LOOPBACK}:{self._port}")
        async with Broker(address, name) as broker:
            await broker.subscribe(f"receipts/{name}/#")
            yield Connected(broker, name, "")

    async def metric(self, name: str) -> float:
        """Read a counter without labels."""
        url = f"http://{LOOPBACK}:{self._ops_port}/metrics"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            (line,) = [line for line in (await answer.text()).splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory, store_server: LocalServer) -> AsyncIterator[Running]:
    need("mosquitto")
    folder = tmp_path_factory.mktemp("publishers")
    broker = local_broker(folder, free_port(), embedded=False, logins=SERVICES)
    logins = [Login(name, new_password(), role) for name, role in LOGINS.items()]
    passwords = {login.name: login.password for login in logins}
    (broker.folder / "dynamic-security.json").write_text(dynamic_security(logins))
    await broker.start()
    ops_port = free_port()
    environment = os.environ | {
        "MQTT_URL": f"mqtt://router:{passwords['router']}@{LOOPBACK}:{broker.port}",
        "REDIS_URL": store_server.url,
        "OPS_HOST": LOOPBACK,
        "OPS_PORT": str(ops_port),
    }
    with (folder / "router.log").open("wb") as log:
        router = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.router", cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:

        async def is_ready() -> bool:
            assert router.returncode is None, (folder / "router.log").read_text()
            try:
                async with aiohttp.ClientSession() as http, http.get(f"http://{LOOPBACK}:{ops_port}/readyz") as answer:
                    return answer.ok
            except aiohttp.ClientError:
                return False

        await eventually(is_ready, 60, "the router to be ready")
        found = Running(broker.port, passwords, ops_port)
        async with found.login("operator") as operator:
            told = {"email": "user@example.com", "roles": ["admin"]}
            assert (await operator.ask(f"directory/user/{TOLD}", told))["status"] == "accepted"
        yield found
    finally:
        router.terminate()
        await router.wait()
        await broker.stop()


async def set_record(running: Running, name: str, record: dict[str, Any] | str) -> None:
    async with running.login("operator") as operator:
        assert (await operator.ask(f"directory/publisher/{name}", record))["status"] == "accepted"


async def until(login: Connected, topic: str, payload: object, status: str) -> dict[str, Any]:
    """Publish again and again until it is answered so: a router may go by a record for a second longer."""
    receipt: dict[str, Any] = {}

    async def answered() -> bool:
        nonlocal receipt
        receipt = await login.ask(topic, payload)
        return bool(receipt["status"] == status)

    await eventually(answered, 30, f"to be {status}")
    return receipt


def problem(receipt: dict[str, Any]) -> tuple[str, str]:
    """Return the code of a refusal and the field that it names."""
    fields = receipt["error"]["fields"]
    return receipt["error"]["code"], fields[0]["field"] if fields else ""


async def test_only_its_login_publishes_as_a_publisher(running: Running) -> None:
    async with running.login("billing") as billing, running.login("legacy") as legacy:
        for login, topic in (
            (billing, "from/shop/notifications/system/status"),
            (billing, "notifications/system/status"),
            (legacy, "from/legacy/notifications/system/status"),
            (legacy, "from/-/notifications/system/status"),
        ):
            with pytest.raises(BrokerUnavailable, match="0x87"):
                await login.broker.publish(topic, '{"message": "Hello"}')


async def test_nobody_answers_or_cancels_what_another_publisher_has_begun(running: Running) -> None:
    async with running.login("shop") as shop, running.login("billing") as billing, running.login("legacy") as legacy:
        alert = await shop.ask("from/shop/notifications/alerts/critical/disk", {"message": "Full"})
        assert alert["status"] == "accepted"
        answers = {
            f"notifications/alerts/acknowledge/{alert['alert_id']}": {"user_id": TOLD},
            f"notifications/alerts/resolve/{alert['alert_id']}": {},
            f"notifications/cancel/{alert['alert_id']}": "",
        }
        for topic, payload in answers.items():
            for login, before in ((billing, "from/billing/"), (legacy, "")):
                refused = await login.ask(before + topic, payload)
                assert problem(refused) == ("unauthorized", "may_answer"), topic
        for topic, payload in answers.items():
            assert (await shop.ask("from/shop/" + topic, payload))["status"] == "accepted", topic
        # Nor a publisher what is on the plain topics.
        plain = await legacy.ask("notifications/realtime/user/user123", {"message": "Hello"})
        refused = await billing.ask(f"from/billing/notifications/cancel/{plain['notification_id']}", "")
        assert problem(refused) == ("unauthorized", "may_answer")


async def test_a_record_lets_a_publisher_answer_for_all(running: Running) -> None:
    await set_record(running, "billing", {"may_answer": "any"})
    async with running.login("shop") as shop, running.login("billing") as billing:
        alert = await shop.ask("from/shop/notifications/alerts/critical/disk", {"message": "Full"})
        await until(billing, f"from/billing/notifications/alerts/resolve/{alert['alert_id']}", {}, "accepted")
        await set_record(running, "billing", "")
        await until(billing, f"from/billing/notifications/cancel/{alert['alert_id']}", "", "rejected")


async def test_keys_are_in_their_publishers_own_space(running: Running) -> None:
    alert = {"message": "Full", "dedup_key": "disk-1"}
    user = "notifications/realtime/user/user123"
    async with running.login("shop") as shop, running.login("billing") as billing, running.login("legacy") as legacy:
        ids = set()
        for login, before in ((billing, "from/billing/"), (shop, "from/shop/"), (legacy, "")):
            first = await login.ask(before + user, {"message": before or "Hello"}, key="order-1")
            again = await login.ask(before + user, {"message": before or "Hello"}, key="order-1")
            assert (first["status"], again["status"]) == ("accepted", "duplicate")
            assert again["notification_id"] == first["notification_id"]
            told = await login.ask(f"{before}notifications/alerts/critical/disk", alert)
            repeated = await login.ask(f"{before}notifications/alerts/critical/disk", alert)
            assert (told["status"], repeated["status"]) == ("accepted", "duplicate")
            ids |= {first["notification_id"], told["notification_id"]}
        assert len(ids) == 6
        conflict = await shop.ask("from/shop/" + user, {"message": "Another"}, key="order-1")
        assert conflict["error"]["code"] == "idempotency_conflict"


async def test_nobody_writes_into_another_publishers_receipts(running: Running) -> None:
    async with running.login("shop") as shop, running.login("billing") as billing:
        before = await running.metric("carillon_withheld_receipts_total")
        for answer_to in ("receipts/shop/publishes", "receipts/shop", "receipts/"):
            await billing.broker.publish(
                "from/billing/notifications/realtime/user/user123", '{"message": "Hello"}', response_topic=answer_to
            )
        # Handled behind them, in their order.
        await billing.ask("from/billing/notifications/realtime/user/user123", {"message": "Hello"})
        await eventually(lambda: _withheld(running, before + 3))
        assert shop.broker.waiting == 0


async def _withheld(running: Running, count: float) -> bool:
    return await running.metric("carillon_withheld_receipts_total") == count


async def test_a_record_limits_topics_priority_and_unknown_fields(running: Running) -> None:
    record = {"may": ["notifications/realtime/#"], "priority_at_most": "normal", "unknown_fields": "reject"}
    await set_record(running, "billing", record)
    user = "from/billing/notifications/realtime/user/user123"
    async with running.login("billing") as billing:
        refused = await until(billing, "from/billing/notifications/email/send", {"message": "x"}, "rejected")
        await eventually(lambda: _is_limited(billing), 30)
        refused = await billing.ask("from/billing/notifications/email/send", {"message": "x"})
        assert problem(refused) == ("unauthorized", "may")
        assert refused["error"]["fields"][0]["problem"] == "does not allow notifications/email/send"
        refused = await billing.ask(user, {"message": "Hello", "priority": "high"})
        assert problem(refused) == ("unauthorized", "priority_at_most")
        refused = await billing.ask(user, {"message": "Hello", "prioriy": "low"})
        assert refused["error"]["fields"] == [{"field": "prioriy", "problem": "unknown", "meant": "priority"}]
        assert (await billing.ask(user, {"message": "Hello"}))["status"] == "accepted"
    await set_record(running, "billing", "")


async def _is_limited(billing: Connected) -> bool:
    refused = await billing.ask("from/billing/notifications/sms/send", {"phone": "+12125550100", "message": "Hello"})
    return bool(refused["status"] == "rejected")


async def test_without_a_record_a_publisher_may_notify_and_nothing_else(running: Running) -> None:
    async with running.login("shop") as shop:
        refused = await shop.ask("from/shop/directory/user/user9", {"email": "user9@example.com"})
        assert problem(refused) == ("unauthorized", "may")
        refused = await shop.ask("from/shop/notifications/realtime/usr/user9", {"message": "Hello"})
        assert refused["error"]["code"] == "unknown_topic"
        assert "from/shop/notifications/realtime/user/{user_id}" in refused["error"]["message"]


async def test_a_publisher_over_its_rate_is_refused_and_told_when_to_come_again(running: Running) -> None:
    await set_record(running, "billing", {"rate": "5/2s"})
    user = "from/billing/notifications/realtime/user/user123"
    async with running.login("billing") as billing, running.login("shop") as shop:
        refused = await until(billing, user, {"message": "Hello"}, "rejected")
        assert refused["error"]["code"] == "rate_limited"
        assert refused["error"]["retry_after_s"] in (1, 2)
        # Others go on.
        assert (await shop.ask("from/shop/notifications/realtime/user/user123", {"message": "x"}))[
            "status"
        ] == "accepted"
        await until(billing, user, {"message": "Hello"}, "accepted")
    await set_record(running, "billing", "")


async def test_a_flood_of_alerts_is_refused_quickly_and_holds_up_no_other_publishers_alert(running: Running) -> None:
    let_in, refused = 300, 900
    await set_record(running, "monitoring", {"rate": f"{let_in}/60s"})
    answered: list[tuple[str, float]] = []

    async def read(flood: Broker) -> None:
        while len(answered) < let_in + refused:
            for receipt in await flood.take(100):
                flood.ack(receipt)
                answered.append((json.loads(receipt.payload)["status"], time.perf_counter()))

    async with running.login("monitoring") as flood, running.login("shop") as shop:
        reading = asyncio.create_task(read(flood.broker), name="read")
        topic = "from/monitoring/notifications/alerts/critical/disk"
        answer_to = "receipts/monitoring/alerts"
        body = json.dumps({"message": "Full"})
        taken = [flood.broker.publish(topic, body, response_topic=answer_to) for _ in range(let_in + refused)]
        await eventually(lambda: len(answered) > 0, 30, "the first answer")
        before = len(answered)
        await shop.ask("from/shop/notifications/alerts/critical/disk", {"message": "Full"})
        waited_for = len(answered) - before
        await asyncio.gather(*taken, reading)
    assert Counter(status for status, _ in answered) == {"accepted": let_in, "rejected": refused}
    # Those that were begun before, and the other half of its own batch.
    assert waited_for < 6 * URGENT_BATCH
    began_s, middle_s, end_s = answered[0][1], answered[let_in][1], answered[-1][1]
    accepted_per_s, refused_per_s = let_in / (middle_s - began_s), refused / (end_s - middle_s)
    assert refused_per_s > 2 * accepted_per_s


async def test_a_repeated_key_counts_once_and_is_answered_over_the_rate(running: Running) -> None:
    await set_record(running, "orders", {"rate": "3/60s"})
    user = "from/orders/notifications/realtime/user/user123"
    async with running.login("orders") as orders:
        receipts = [await orders.ask(user, {"message": "Hello"}, key="again") for _ in range(5)]
        assert [each["status"] for each in receipts] == ["accepted", *["duplicate"] * 4]
        # A key in the payload is the same key.
        assert (await orders.ask(user, {"message": "Hello", "id": "again"}))["status"] == "duplicate"
        await until(orders, user, {"message": "Hello"}, "rejected")
        assert (await orders.ask(user, {"message": "Hello"}, key="again"))["status"] == "duplicate"
    await set_record(running, "orders", "")


async def test_a_damaged_count_or_record_stops_no_router(running: Running, store_server: LocalServer) -> None:
    user = "notifications/realtime/user/user123"
    keys = Keys()
    async with Store(store_server.url) as store, running.login("payments") as payments, running.login("shop") as shop:
        await store.command("SET", f"{keys.publisher('payments')}:rate", "garbage")
        await store.command("HSET", f"{keys.publishers}:records", "shop", "garbage")
        await until(shop, f"from/shop/{user}", {"message": "Hello"}, "rejected")
        assert (await payments.ask(f"from/payments/{user}", {"message": "Hello"}))["status"] == "accepted"
        await store.command("DEL", f"{keys.publisher('payments')}:rate")
        await store.command("DEL", f"{keys.publishers}:records")
        await store.command("SET", f"{keys.publishers}:records", "garbage")
        async with running.login("operator") as operator:
            refused = await operator.ask("directory/publisher/payments", {"share": 2})
            assert refused["error"]["code"] == "invalid_payload"
        await store.command("DEL", f"{keys.publishers}:records")
        await until(shop, f"from/shop/{user}", {"message": "Hello"}, "accepted")


async def test_a_bad_record_is_refused_and_names_the_field(running: Running) -> None:
    wrong = {
        "may": ["notifications/#/x"], "rate": "fast", "share": 0, "may_answer": "all", "keys": ["secret"], "shar": 1,
    }  # fmt: skip
    async with running.login("operator") as operator:
        refused = await operator.ask("directory/publisher/billing", wrong)
        named = {each["field"] for each in refused["error"]["fields"]}
        assert named == {"may.0", "rate", "share", "may_answer", "keys.0", "shar"}
        refused = await operator.ask("directory/publisher/a b", {})
        assert problem(refused) == ("invalid_payload", "publisher")

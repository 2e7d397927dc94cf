"""The Python client over MQTT, with a router that the test plays: names, limits, events, and the synchronous one."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from carillon.broker.roles import SERVICES, Login
from carillon.broker.rules import dynamic_security, new_password
from carillon.local.ports import free_port
from carillon.local.servers import LocalServer, local_broker
from carillon_publisher import AsyncPublisher, Event, NoReceipt, NotConnected, Publisher, RateLimited, Receipt, Status
from carillon_publisher.address import BrokerAddress as ClientsAddress
from carillon_publisher.connection import Connection
from carillon_publisher.errors import WrongAddress
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from tests.waiting import eventually

pytestmark = pytest.mark.real_broker

ACCEPTED = {"status": "accepted", "notification_id": "n1", "accepted_at": "2026-01-05T09:00:00.123Z"}
LIMITED = {
    "status": "rejected",
    "error": {"code": "rate_limited", "retry_after_s": 0.3, "message": "Too much.", "fields": []},
}
WITHIN_S = 30.0


@asynccontextmanager
async def played_router(url: str, prefix: str, *filters: str) -> AsyncIterator[Broker]:
    async with Broker(BrokerAddress.parse(url), f"router-{prefix.strip('/')}") as router:
        await router.subscribe(*(f"{prefix}{each}" for each in filters or ("notifications/#", "from/#")))
        yield router


async def take(router: Broker) -> Incoming:
    async with asyncio.timeout(WITHIN_S):
        (incoming,) = await router.take(1)
    router.ack(incoming)
    return incoming


async def answer(router: Broker, incoming: Incoming, receipt: object) -> None:
    assert incoming.response_topic is not None
    await router.publish(incoming.response_topic, json.dumps(receipt), correlation=incoming.correlation)


async def test_a_name_stands_before_the_topic_and_in_the_receipts(broker: LocalServer, topic_prefix: str) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        AsyncPublisher(broker.url, topic_prefix=topic_prefix, name="shop", client_id="shop-1") as publisher,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(publisher.send_user("user123", message="Hello"))
        incoming = await take(router)
        assert incoming.topic == f"{topic_prefix}from/shop/notifications/realtime/user/user123"
        assert incoming.response_topic == f"{topic_prefix}receipts/shop/shop-1/publishes"
        await answer(router, incoming, ACCEPTED)


async def test_each_method_publishes_on_its_topic(broker: LocalServer, topic_prefix: str) -> None:
    mail = {"to": "a@example.com", "subject": "s", "body": "b"}
    async with (
        played_router(broker.url, topic_prefix) as router,
        AsyncPublisher(broker.url, topic_prefix=topic_prefix) as publisher,
        asyncio.TaskGroup() as group,
    ):
        sends = [
            publisher.send_user("u", message="m", timeout_s=60),
            publisher.send_group("g", message="m"),
            publisher.broadcast(message="m"),
            publisher.critical_alert("disk", message="m"),
            publisher.warning_alert("disk", message="m"),
            publisher.info_alert("disk", message="m"),
            publisher.acknowledge("a1", user_id="ada"),
            publisher.resolve("a1", note="over"),
            publisher.cancel("n1", recall=True, timeout_s=60),
            publisher.send_email("a@example.com", subject="s", body="b"),
            publisher.send_email_batch([{"to": "a@example.com", "subject": "s", "body": "b"}], priority="low"),
            publisher.send_sms("+15555550100", message="m"),
            publisher.send_push("ios", user_id="u", message="m"),
            publisher.status(message="m"),
            publisher.maintenance(message="m"),
        ]
        seen: list[tuple[str, Any]] = []
        for send in sends:
            task = group.create_task(send)
            incoming = await take(router)
            seen.append((incoming.topic.removeprefix(f"{topic_prefix}notifications/"), json.loads(incoming.payload)))
            await answer(router, incoming, ACCEPTED)
            assert (await task).notification_id == "n1"
    text = {"message": "m"}
    assert seen == [
        ("realtime/user/u", text),
        ("realtime/group/g", text),
        ("realtime/broadcast", text),
        ("alerts/critical/disk", text),
        ("alerts/warning/disk", text),
        ("alerts/info/disk", text),
        ("alerts/acknowledge/a1", {"user_id": "ada"}),
        ("alerts/resolve/a1", {"note": "over"}),
        ("cancel/n1", {"recall": True}),
        ("email/send", mail),
        ("email/batch", {"emails": [mail], "priority": "low"}),
        ("sms/send", {"phone": "+15555550100", **text}),
        ("push/mobile/ios", {"user_id": "u", **text}),
        ("system/status", text),
        ("system/maintenance", text),
    ]


async def test_what_comes_too_fast_says_when_it_can_be_accepted(broker: LocalServer, topic_prefix: str) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        AsyncPublisher(broker.url, topic_prefix=topic_prefix) as publisher,
    ):
        publish = asyncio.create_task(publisher.send_user("user123", message="Hello"))
        await answer(router, await take(router), LIMITED)
        with pytest.raises(RateLimited) as limited:
            await publish
    assert limited.value.retry_after_s == 0.3


async def test_whoever_asks_to_wait_publishes_again_under_the_same_key(broker: LocalServer, topic_prefix: str) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        AsyncPublisher(broker.url, topic_prefix=topic_prefix, wait_when_limited=True) as publisher,
    ):
        publish = asyncio.create_task(publisher.send_user("user123", message="Hello"))
        first = await take(router)
        await answer(router, first, LIMITED)
        again = await take(router)
        assert again.user_property("idempotency-key") == first.user_property("idempotency-key")
        await answer(router, again, ACCEPTED)
        receipt = await publish
        assert (receipt.status, receipt.sends) == (Status.ACCEPTED, 2)
        # Not for longer than the caller waits.
        publish = asyncio.create_task(publisher.send_user("user123", message="Hello", timeout_s=0.2))
        await answer(router, await take(router), LIMITED)
        with pytest.raises(RateLimited):
            await publish


async def test_an_outbox_waits_as_long_as_the_router_says(
    broker: LocalServer, topic_prefix: str, tmp_path: Path
) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        AsyncPublisher(broker.url, topic_prefix=topic_prefix, outbox=tmp_path / "outbox") as publisher,
    ):
        await publisher.submit("notifications/system/status", {"message": "a"}, "k1")
        await answer(router, await take(router), LIMITED)
        at_s = asyncio.get_running_loop().time()
        again = await take(router)
        assert asyncio.get_running_loop().time() - at_s > 0.2
        assert again.user_property("idempotency-key") == "k1"
        await answer(router, again, ACCEPTED)
        assert await publisher.flush(WITHIN_S) == 0
        assert await publisher.outbox.refused() == []


async def test_later_steps_are_told_from_the_receipt_on(broker: LocalServer, topic_prefix: str) -> None:
    def step(channel: str) -> bytes:
        document = {"state": "delivered", "channel": channel, "recipient": "u", "reason": None}
        return json.dumps({**document, "at": "2026-01-05T09:00:00.123Z"}).encode()

    topic = f"{topic_prefix}notifications/events/n1"
    async with (
        # Not of events: the broker is to say whether anybody else wants them.
        played_router(broker.url, topic_prefix, "notifications/realtime/#") as router,
        AsyncPublisher(broker.url, topic_prefix=topic_prefix) as publisher,
    ):
        publish = asyncio.create_task(publisher.send_user("u", message="m", events=True))
        await answer(router, await take(router), ACCEPTED)
        receipt: Receipt = await publish
        # False: the broker has nobody yet who wants it.
        await eventually(lambda: router.publish(topic, step("realtime")), WITHIN_S, "the subscription")
        seen: list[Event] = []
        async for event in publisher.events(receipt.notification_id or "", within_s=WITHIN_S):
            seen.append(event)
            if event.channel == "email":
                break
            await router.publish(topic, b"no event")
            await router.publish(topic, step("email"))
        assert [event.channel for event in seen] == ["realtime", "email"]
        assert [event async for event in publisher.events("other", within_s=0.2)] == []


async def test_a_program_without_a_loop_publishes_from_many_threads(broker: LocalServer, topic_prefix: str) -> None:
    receipts: list[Receipt] = []

    def program() -> None:
        with Publisher(broker.url, topic_prefix=topic_prefix) as publisher:
            threads = [
                threading.Thread(target=lambda: receipts.append(publisher.send_user("u", message="m")))
                for _ in range(20)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with pytest.raises(NoReceipt):
                publisher.publish("notifications/realtime/user/nobody", {"message": "m"}, timeout_s=0.3)
            with pytest.raises(ValueError, match="no outbox"):
                publisher.flush()
            assert list(publisher.events("n1", within_s=0.1)) == []
        with pytest.raises(ValueError, match="not open"):
            publisher.send_user("u", message="m")

    async with played_router(broker.url, topic_prefix) as router:
        running = asyncio.create_task(asyncio.to_thread(program))
        for _ in range(20):
            await answer(router, await take(router), ACCEPTED)
        await running
    assert [receipt.status for receipt in receipts] == [Status.ACCEPTED] * 20
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("carillon")] == []


async def test_a_program_without_a_loop_has_an_outbox(broker: LocalServer, topic_prefix: str, tmp_path: Path) -> None:
    def program() -> int:
        with Publisher(broker.url, topic_prefix=topic_prefix, outbox=tmp_path / "outbox") as publisher:
            assert publisher.submit("notifications/system/status", {"message": "a"}, "k1") == "k1"
            left = publisher.flush(WITHIN_S)
            assert publisher.refused() == publisher.stale() == []
            assert not publisher.drop("k1")
            assert sum(publisher.counts().values()) == 0
            return left

    async with played_router(broker.url, topic_prefix) as router:
        running = asyncio.create_task(asyncio.to_thread(program))
        await answer(router, await take(router), ACCEPTED)
        assert await running == 0


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1:{port}", "http://127.0.0.1:{port}"])
def test_nobody_there_is_told_at_once(url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with (
            pytest.raises(NotConnected, match="Connection refused"),
            Publisher(url.format(port=port), key="k" if url.startswith("http") else None),
        ):
            pass


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("", {}),
        ("localhost", {}),
        ("ftp://localhost", {}),
        ("mqtt://:99999999", {}),
        ("mqtt://localhost", {"key": "k"}),
        ("http://user:hunter2@localhost", {}),
        ("http://localhost", {"key": "not\nascii"}),
        ("mqtts://localhost", {"ca_file": Path("/does/not/exist")}),
    ],
)
def test_a_wrong_address_is_told_before_anything_is_tried(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(WrongAddress) as wrong:
        Publisher(url, **options)
    assert "hunter2" not in str(wrong.value)


async def test_no_more_is_in_flight_than_the_broker_allows(
    new_broker: Callable[[], LocalServer], topic_prefix: str
) -> None:
    own = new_broker()
    await own.start()
    async with (
        played_router(own.url, topic_prefix) as router,
        AsyncPublisher(own.url, topic_prefix=topic_prefix) as publisher,
        asyncio.TaskGroup() as group,
    ):
        publishes = [group.create_task(publisher.send_user("u", message="m", timeout_s=60)) for _ in range(200)]
        taken = 0
        while taken < len(publishes):
            for incoming in await router.take(50):
                router.ack(incoming)
                await answer(router, incoming, ACCEPTED)
                taken += 1
    assert all(publish.result().sends == 1 for publish in publishes)


async def test_a_connection_that_comes_about_after_it_was_given_up_is_closed() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first:
        server.setblocking(False)
        # It takes the only place, so that the next connection waits in the thread that connects.
        first.connect(server.getsockname())
        address = ClientsAddress.parse(f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        connection = Connection(address, "given-up", lambda *_: None)
        opening = asyncio.create_task(connection.open())
        await asyncio.sleep(0.1)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await connection.close()
        async with asyncio.timeout(WITHIN_S):
            (await loop.sock_accept(server))[0].close()
            late, _ = await loop.sock_accept(server)
            with late:
                late.setblocking(False)
                while await loop.sock_recv(late, 1024):
                    pass


@pytest_asyncio.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Callable[[str], str]]:
    """The URL of a broker with the shipped roles, for the logins ``router`` and ``orders``, a named publisher."""
    server = local_broker(tmp_path / "roles", free_port(), embedded=False, logins=SERVICES)
    logins = [Login("router", new_password(), "router"), Login("orders", new_password(), "named-publisher")]
    (server.folder / "dynamic-security.json").write_text(dynamic_security(logins))
    await server.start()
    passwords = {login.name: login.password for login in logins}
    yield lambda name: f"mqtt://{name}:{passwords[name]}@127.0.0.1:{server.port}"
    await server.stop()


async def test_a_named_publisher_needs_no_more_than_its_role_allows(guarded: Callable[[str], str]) -> None:
    async with (
        Broker(BrokerAddress.parse(guarded("router")), "router-1") as router,
        AsyncPublisher(guarded("orders"), name="orders") as publisher,
    ):
        await router.subscribe("$share/router/from/#")
        publish = asyncio.create_task(publisher.send_user("u", message="m", events=True))
        await answer(router, await take(router), ACCEPTED)
        assert (await publish).notification_id == "n1"
        step = {"state": "delivered", "channel": "realtime", "at": "2026-01-05T09:00:00.123Z"}
        topic = "notifications/events/n1"
        await eventually(lambda: router.publish(topic, json.dumps(step)), WITHIN_S, "the subscription")
        assert (await anext(publisher.events("n1", within_s=WITHIN_S))).channel == "realtime"


async def test_what_its_role_does_not_allow_is_told_as_the_brokers_refusal(guarded: Callable[[str], str]) -> None:
    with pytest.raises(NotConnected, match="subscription refused: Not authorized"):
        async with AsyncPublisher(guarded("orders"), "orders", name="payments"):
            pass
    with pytest.raises(NotConnected, match="refused"):
        async with AsyncPublisher(guarded("orders").replace("orders:", "orders:wrong"), name="orders"):
            pass
    async with AsyncPublisher(guarded("orders"), "orders") as publisher:
        with pytest.raises(NoReceipt, match="publish refused: Not authorized"):
            await publisher.send_user("u", message="m", timeout_s=1)

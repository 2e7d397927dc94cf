"""The Node client against a running system, and against a broker or an HTTP server that the test plays."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from carillon.broker.roles import Login
from carillon.broker.rules import dynamic_security
from carillon.local.ports import free_port
from carillon.local.servers import LocalServer, local_broker
from carillon.local.stack import Stack
from sandbox.authority import make_authority, make_server
from shared.core.topics import Inflow, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from tests.client_node_build import Failed, node_client, run
from tests.command_line import CommandLine, running_system
from tests.fakes.mqtt_server import scripted_broker
from tests.waiting import eventually

ACCEPTED = {"status": "accepted", "notification_id": "first", "accepted_at": "2026-01-05T09:00:00.123Z"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_system(tmp_path_factory.mktemp("system"), "router", "email", "realtime") as (stack, _command):
        yield stack


@pytest.fixture
def command(system: Stack) -> CommandLine:
    return CommandLine(system.data)


@asynccontextmanager
async def played_router(url: str, prefix: str) -> AsyncIterator[Broker]:
    async with Broker(BrokerAddress.parse(url), f"router-{prefix.strip('/')}") as router:
        await router.subscribe(f"{prefix}#")
        yield router


async def publish_to(router: Broker) -> Incoming:
    """Return the next publish of the client, and not the receipts that the router itself sends."""
    while True:
        (incoming,) = await router.take(1)
        if incoming.response_topic is not None:
            return incoming
        router.ack(incoming)


async def answer(router: Broker, incoming: Incoming, receipt: object) -> None:
    router.ack(incoming)
    assert incoming.response_topic is not None
    await router.publish(incoming.response_topic, json.dumps(receipt), correlation=incoming.correlation)


async def test_every_method_reaches_the_router(node_client_package: Path, system: Stack) -> None:
    mail = {"to": "user@example.com", "subject": "Welcome", "body": "Thank you for joining us."}
    calls: list[tuple[str, list[Any]]] = [
        ("sendUser", ["user123", {"message": "Hello"}]),
        ("sendGroup", ["staff", {"message": "Hello"}]),
        ("broadcast", [{"message": "Hello"}]),
        ("alert", ["warning", "disk", {"message": "Disk is 90 % full"}]),
        ("alert", ["info", "disk", {"message": "Disk is 70 % full"}]),
        ("sendEmail", [mail]),
        ("sendEmailBatch", [{"emails": [mail, mail]}]),
        ("sendSms", [{"phone": "+15555550100", "message": "Hello"}]),
        ("sendPush", ["ios", {"user_id": "user123", "message": "Hello"}]),
        ("status", [{"message": "All is well", "services": {"mail": "ok"}}]),
        ("maintenance", [{"message": "Tonight", "starts_at": "2030-01-05T09:00:00Z"}]),
        ("publish", ["notifications/realtime/user/user123", {"message": "Hello"}]),
    ]
    async with node_client(node_client_package, url=system.broker.url) as client:
        for method, arguments in calls:
            receipt = await client.call(method, *arguments)
            assert (receipt["status"], receipt["sends"]) == ("accepted", 1), method
            assert len(receipt["notification_id"]) == 36


async def test_an_alert_is_acknowledged_and_resolved_and_a_notification_cancelled(
    node_client_package: Path, system: Stack
) -> None:
    async with node_client(node_client_package, url=system.broker.url) as client:
        await client.call("publish", "directory/user/user123", {"name": "User"})
        await client.call("publish", "directory/oncall/disk", {"users": ["user123"]})
        alert = await client.call("alert", "critical", "disk", {"message": "Disk is full", "dedup_key": "disk-7"})

        async def acknowledged() -> bool:
            try:
                receipt = await client.call("acknowledge", alert["alert_id"], {"user_id": "user123"})
            except Failed as refused:
                # Nobody has been told yet.
                assert refused.error["code"] == "unauthorized"  # noqa: PT017 - the refusal is one of two good answers
                return False
            return bool(receipt["status"] == "accepted")

        await eventually(acknowledged, 30, "an acknowledgement")
        assert (await client.call("resolve", alert["alert_id"]))["status"] == "accepted"
        later = await client.call("sendUser", "user123", {"message": "Later", "send_at": 4_000_000_000})
        cancelled = await client.call("cancel", later["notification_id"], {"recall": True})
        assert cancelled["recall"] == {"stopped": 0, "inbox": 0, "push": 0, "not_recalled": []}


async def test_a_refusal_names_the_fields_and_what_was_meant(node_client_package: Path, system: Stack) -> None:
    async with node_client(node_client_package, url=system.broker.url) as client:
        with pytest.raises(Failed) as refused:
            await client.call("sendUser", "user123", {"mesage": "Hello"})
        assert refused.value.name == "Refused"
        assert refused.value.error["code"] == "invalid_payload"
        assert {"field": "mesage", "problem": "unknown", "meant": "message"} in refused.value.error["fields"]
        assert "did you mean message?" in refused.value.message
        with pytest.raises(Failed, match="unknown_topic"):
            await client.call("publish", "notifications/realtime/users/user123", {"message": "Hello"})


async def test_the_same_key_is_one_notification(node_client_package: Path, system: Stack) -> None:
    async with node_client(node_client_package, url=system.broker.url) as client:
        first = await client.call("sendUser", "user123", {"message": "Hello"}, {"key": "order-1"})
        again = await client.call("sendUser", "user123", {"message": "Hello"}, {"key": "order-1"})
        assert (again["status"], again["notification_id"]) == ("duplicate", first["notification_id"])
        with pytest.raises(Failed, match="idempotency_conflict"):
            await client.call("sendUser", "user123", {"message": "Something else"}, {"key": "order-1"})


async def test_events_are_iterated_until_the_client_is_closed(node_client_package: Path, system: Stack) -> None:
    # Later, so that the events are asked for before there are any.
    mail = {"to": "user@example.com", "subject": "Welcome", "body": "Hello", "events": True, "send_at": time.time() + 1}
    async with node_client(node_client_package, url=system.broker.url) as client:
        receipt = await client.call("sendEmail", mail)
        events = client.start("events", receipt["notification_id"])
        async with asyncio.timeout(20):
            delivered = (await events.get())["event"]
        assert (delivered["state"], delivered["channel"]) == ("delivered", "email")
        assert events.empty()
    assert await events.get() == {"id": 2, "result": "over"}


async def test_a_named_publisher_is_answered_by_the_router(node_client_package: Path, system: Stack) -> None:
    async with node_client(node_client_package, url=system.broker.url, name="shop") as client:
        receipt = await client.call("sendUser", "user123", {"message": "Hello"}, {"key": "shop-1"})
        assert receipt["status"] == "accepted"
    async with node_client(node_client_package, url=system.broker.url, name="other") as client:
        # Its keys are its own, and so are its notifications.
        other = await client.call("sendUser", "user123", {"message": "Hello"}, {"key": "shop-1"})
        assert other["status"] == "accepted"
        with pytest.raises(Failed):
            await client.call("cancel", receipt["notification_id"])


async def test_the_same_calls_go_over_http_with_a_publishers_key(
    node_client_package: Path, system: Stack, command: CommandLine
) -> None:
    key = (await command("publisher", "create", "web-shop", "--rate", "5/1h", "--json")).json["key"]
    async with node_client(node_client_package, url=system.realtime_url, key=key) as client:
        first = await client.call("sendUser", "user123", {"message": "Hello"}, {"key": 'order "1"'})
        again = await client.call("sendUser", "user123", {"message": "Hello"}, {"key": 'order "1"'})
        assert (first["status"], again["status"]) == ("accepted", "duplicate")
        assert first["notification_id"] == again["notification_id"]
        with pytest.raises(Failed, match="mesage: unknown, did you mean message") as refused:
            await client.call("sendUser", "user123", {"mesage": "Hello"})
        assert refused.value.error["code"] == "invalid_payload"
        with pytest.raises(Failed, match=r"Did you mean .*notifications/realtime/user/{user_id}"):
            await client.call("publish", "notifications/realtime/users/user123", {"message": "Hello"})
        cancelled = await client.call("cancel", first["notification_id"])
        assert cancelled["status"] == "accepted"
        answers = [client.start("sendUser", "user123", {"message": "Hello"}) for _ in range(6)]
        last = (await answers[-1].get())["error"]
        assert last["name"] == "RateLimited"
        assert last["retryAfterS"] > 0
    async with node_client(node_client_package, url=system.realtime_url, key=f"{key}x") as client:
        with pytest.raises(Failed) as unknown:
            await client.call("sendUser", "user123", {"message": "Hello"})
        assert (unknown.value.name, unknown.value.error["code"]) == ("Refused", "unauthorized")


async def test_a_thousand_publishes_at_once_are_all_answered(node_client_package: Path, system: Stack) -> None:
    async with node_client(node_client_package, url=system.broker.url) as client:
        receipts = [client.start("sendUser", f"user{number}", {"message": "Hello"}) for number in range(1_000)]
        async with asyncio.timeout(60):
            statuses = {(await each.get())["result"]["status"] for each in receipts}
    assert statuses == {"accepted"}


async def test_the_example_sends_a_first_notification(node_client_package: Path, system: Stack) -> None:
    example = node_client_package / "examples" / "first-notification.mjs"
    printed = await asyncio.to_thread(run, node_client_package, example, system.broker.url, "user123")
    word, notification_id = printed.split()
    assert (word, len(notification_id)) == ("accepted", 36)


@pytest.mark.real_broker
@pytest.mark.parametrize(
    ("options", "topic", "receipts"),
    [
        ({"name": "shop"}, "from/shop/notifications/realtime/user/user123", "receipts/shop/publishes"),
        (
            {"name": "shop", "clientId": "shop-2"},
            "from/shop/notifications/realtime/user/user123",
            "receipts/shop/shop-2/publishes",
        ),
        ({"clientId": "billing"}, "notifications/realtime/user/user123", "receipts/billing/publishes"),
    ],
)
async def test_a_named_publisher_publishes_below_its_name(
    node_client_package: Path,
    broker: LocalServer,
    topic_prefix: str,
    options: dict[str, str],
    topic: str,
    receipts: str,
) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        node_client(node_client_package, url=broker.url, topicPrefix=topic_prefix, **options) as client,
    ):
        answers = client.start("sendUser", "user123", {"message": "Hello"}, {"key": "k1"})
        incoming = await publish_to(router)
        assert incoming.topic == topic_prefix + topic
        assert incoming.response_topic == topic_prefix + receipts
        assert incoming.user_property("idempotency-key") == "k1"
        assert json.loads(incoming.payload) == {"message": "Hello"}
        await answer(router, incoming, ACCEPTED)
        assert (await answers.get())["result"] == ACCEPTED | {"sends": 1}


@pytest.mark.real_broker
async def test_a_login_publishes_and_hears_under_its_own_name_only(node_client_package: Path, tmp_path: Path) -> None:
    server = local_broker(tmp_path, free_port(), embedded=False, logins=("router",))
    logins = [Login("orders", "geheim:@/", "named-publisher"), Login("router", "other", "router")]
    (server.folder / "dynamic-security.json").write_text(dynamic_security(logins))
    await server.start()
    url = f"mqtt://orders:geheim%3A%40%2F@127.0.0.1:{server.port}"
    try:
        async with Broker(BrokerAddress.parse(f"mqtt://router:other@127.0.0.1:{server.port}"), "router") as router:
            for topic_filter in Topics().intake_filters(Inflow.GENERAL):
                await router.subscribe(topic_filter)
            async with node_client(node_client_package, url=url, name="orders") as client:
                answers = client.start("sendUser", "user123", {"message": "Hello"})
                await answer(router, await publish_to(router), ACCEPTED)
                assert (await answers.get())["result"]["status"] == "accepted"
            async with node_client(node_client_package, url=url, clientId="orders") as client:
                with pytest.raises(Failed, match="lets nobody publish there"):
                    await client.call("sendUser", "user123", {"message": "Hello"}, {"timeoutMs": 500})
        with pytest.raises(Failed, match="refuses the subscription"):
            async with node_client(node_client_package, url=url, name="payments", clientId="orders"):
                pass
    finally:
        await server.stop()


@pytest.mark.real_broker
async def test_mqtts_trusts_the_given_authority_alone(
    node_client_package: Path, new_broker: Callable[[], LocalServer], tmp_path: Path
) -> None:
    ca_key, ca = make_authority()
    (tmp_path / "ca-key.pem").write_bytes(ca_key)
    (tmp_path / "ca.pem").write_bytes(ca)
    key, certificate = make_server(tmp_path / "ca-key.pem", tmp_path / "ca.pem", ["127.0.0.1"])
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "certificate.pem").write_bytes(certificate)
    own = new_broker()
    port = free_port({own.port})
    settings = own.folder / "mosquitto.conf"
    files = f"certfile {tmp_path}/certificate.pem\nkeyfile {tmp_path}/key.pem\n"
    settings.write_text(f"{settings.read_text()}listener {port} 127.0.0.1\n{files}")
    await own.start()
    url = f"mqtts://127.0.0.1:{port}"
    async with (
        played_router(own.url, "") as router,
        node_client(node_client_package, url=url, ca=ca.decode()) as client,
    ):
        answers = client.start("sendUser", "user123", {"message": "Hello"})
        await answer(router, await publish_to(router), ACCEPTED)
        assert (await answers.get())["result"]["status"] == "accepted"
    with pytest.raises(Failed, match=r"self-signed certificate|unable to verify") as failed:
        async with node_client(node_client_package, url=url):
            pass
    assert failed.value.name == "NotConnected"


@pytest.mark.real_broker
async def test_a_receipt_lost_with_the_connection_is_asked_for_again_under_the_same_key(
    node_client_package: Path, new_broker: Callable[[], LocalServer], topic_prefix: str
) -> None:
    own = new_broker()
    await own.start()
    async with node_client(node_client_package, url=own.url, topicPrefix=topic_prefix) as client:
        async with played_router(own.url, topic_prefix) as router:
            answers = client.start("sendUser", "user123", {"message": "Hello"}, {"timeoutMs": 60_000})
            first = await publish_to(router)
            router.ack(first)
            await own.kill()
        await own.start()
        async with played_router(own.url, topic_prefix) as router, asyncio.timeout(30):
            again = await publish_to(router)
            assert again.user_property("idempotency-key") == first.user_property("idempotency-key")
            await answer(router, again, ACCEPTED)
            receipt = (await answers.get())["result"]
    assert (receipt["status"], receipt["sends"] > 1) == ("accepted", True)


@pytest.mark.real_broker
async def test_without_a_router_it_says_so_within_the_timeout(
    node_client_package: Path, broker: LocalServer, topic_prefix: str
) -> None:
    async with node_client(node_client_package, url=broker.url, topicPrefix=topic_prefix) as client:
        with pytest.raises(Failed, match="is the router running") as failed:
            await client.call("sendUser", "user123", {"message": "Hello"}, {"timeoutMs": 700, "key": "k1"})
        with pytest.raises(Failed, match="topics begin with notifications/"):
            await client.call("publish", "notification/system/status", {"message": "Hello"}, {"timeoutMs": 700})
    assert (failed.value.name, failed.value.error["key"]) == ("NoReceipt", "k1")


@pytest.mark.real_broker
async def test_closing_sends_nothing_more_and_ends_what_waits(
    node_client_package: Path, broker: LocalServer, topic_prefix: str
) -> None:
    async with played_router(broker.url, topic_prefix) as router:
        async with node_client(node_client_package, url=broker.url, topicPrefix=topic_prefix) as client:
            answers = [client.start("sendUser", f"user{number}", {"message": "Hello"}) for number in range(700)]
            first = await publish_to(router)
        assert first.topic == f"{topic_prefix}notifications/realtime/user/user0"
        problems = {(await each.get())["error"]["message"] for each in answers}
        assert problems == {"no receipt: the publisher was closed"}


@pytest.mark.real_broker
async def test_a_limited_publish_is_sent_again_when_the_router_says(
    node_client_package: Path, broker: LocalServer, topic_prefix: str
) -> None:
    limited = {"code": "rate_limited", "retry_after_s": 0.2, "message": "Too many.", "fields": []}
    async with (
        played_router(broker.url, topic_prefix) as router,
        node_client(node_client_package, url=broker.url, topicPrefix=topic_prefix) as client,
    ):
        answers = client.start("sendUser", "user123", {"message": "Hello"})
        await answer(router, await publish_to(router), {"status": "rejected", "error": limited})
        error = (await answers.get())["error"]
        assert (error["name"], error["code"], error["retryAfterS"]) == ("RateLimited", "rate_limited", 0.2)
        answers = client.start("sendUser", "user123", {"message": "Hello"}, {"waitWhenLimited": True})
        first = await publish_to(router)
        await answer(router, first, {"status": "rejected", "error": limited})
        again = await publish_to(router)
        assert again.user_property("idempotency-key") == first.user_property("idempotency-key")
        await answer(router, again, ACCEPTED)
        assert (await answers.get())["result"]["status"] == "accepted"


async def test_the_broker_is_given_no_more_than_it_takes_unconfirmed(node_client_package: Path) -> None:
    async with (
        scripted_broker(receive_maximum=3) as broker,
        node_client(node_client_package, url=broker.url) as client,
    ):
        for number in range(5):
            client.start("sendUser", f"user{number}", {"message": "Hello"})
        await eventually(lambda: len(broker.published) == 3)
        broker.puback(broker.published[1].mid)
        await eventually(lambda: len(broker.published) == 4)
        broker.puback(broker.published[0].mid)
        broker.puback(broker.published[2].mid)
        await eventually(lambda: len(broker.published) == 5)


async def test_a_broker_that_does_not_answer_is_given_up(node_client_package: Path) -> None:
    async with scripted_broker() as broker:
        broker.mute = True
        with pytest.raises(Failed, match="does not answer") as failed:
            async with node_client(node_client_package, url=broker.url, connectTimeoutMs=500):
                pass
    assert failed.value.name == "NotConnected"


async def test_a_broker_that_is_not_there_is_named_and_no_password_shown(node_client_package: Path) -> None:
    url = f"mqtt://shop:geheim@127.0.0.1:{free_port()}"
    with pytest.raises(Failed, match="ECONNREFUSED") as failed:
        async with node_client(node_client_package, url=url):
            pass
    assert failed.value.name == "NotConnected"
    assert "geheim" not in json.dumps(failed.value.error)


async def test_what_no_broker_would_take_is_not_sent(node_client_package: Path, system: Stack) -> None:
    calls: list[tuple[str, list[Any]]] = [
        ("sendUser", ["a/b", {"message": "Hello"}]),
        ("publish", ["notifications/#", {"message": "Hello"}]),
        ("publish", ["notifications/system/status", {"message": "x" * 2**20}]),
        ("sendUser", ["user123", {"message": "Hello"}, {"key": "two\nlines"}]),
    ]
    async with node_client(node_client_package, url=system.broker.url) as client:
        for method, arguments in calls:
            with pytest.raises(Failed) as failed:
                await client.call(method, *arguments)
            assert failed.value.name == "WrongUse"
            # The connection still stands.
            assert (await client.call("sendUser", "user123", {"message": "Hello"}))["sends"] == 1

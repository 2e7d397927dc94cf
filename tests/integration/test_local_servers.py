"""The local broker and store: both pairs really run, keep what they promise and end when they are told to."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import pytest_asyncio
import redis.asyncio
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from carillon.local.child import Child, ChildFailed
from carillon.local.ports import free_port, is_free
from carillon.local.servers import LocalServer, local_broker, local_store
from shared.core.errors import BrokerUnavailable
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.reconnecting import BrokerLink
from tests.waiting import eventually

_JOB = b"x" * (1024 * 1024)


@pytest_asyncio.fixture(
    params=[pytest.param(False, marks=pytest.mark.real_broker), True], ids=["mosquitto", "embedded"]
)
async def either_broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalServer]:
    server = local_broker(tmp_path, free_port(), embedded=request.param)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(params=[pytest.param(False, marks=pytest.mark.real_store), True], ids=["redis", "embedded"])
async def either_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalServer]:
    server = local_store(tmp_path, free_port(), embedded=request.param)
    await server.start()
    yield server
    await server.stop()


def mqtt_properties(packet_type: int, **values: object) -> Properties:
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


@asynccontextmanager
async def client(server: LocalServer, name: str, expiry_s: int = 0) -> AsyncIterator[aiomqtt.Client]:
    properties = mqtt_properties(PacketTypes.CONNECT, SessionExpiryInterval=expiry_s)
    async with aiomqtt.Client(
        "127.0.0.1",
        server.port,
        identifier=name,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=expiry_s == 0,
        properties=properties,
    ) as connected:
        yield connected


async def received(subscriber: aiomqtt.Client) -> aiomqtt.Message:
    arrived = [await anext(aiter(subscriber.messages))]
    return arrived[0]


async def test_response_topic_correlation_data_and_user_properties_arrive(either_broker: LocalServer) -> None:
    properties = mqtt_properties(
        PacketTypes.PUBLISH,
        ResponseTopic="receipts/publisher/1",
        CorrelationData=b"\x00\xff",
        UserProperty=[("idempotency-key", "key-1")],
        MessageExpiryInterval=60,
    )
    async with client(either_broker, "subscriber") as subscriber, client(either_broker, "publisher") as publisher:
        await subscriber.subscribe("properties", qos=1)
        await publisher.publish("properties", b"{}", qos=1, properties=properties)
        arrived = vars((await received(subscriber)).properties)
    assert arrived["ResponseTopic"] == "receipts/publisher/1"
    assert arrived["CorrelationData"] == b"\x00\xff"
    assert arrived["UserProperty"] == [("idempotency-key", "key-1")]
    assert 0 < arrived["MessageExpiryInterval"] <= 60


async def test_a_shared_subscription_gives_each_job_to_one_member(either_broker: LocalServer) -> None:
    async with (
        client(either_broker, "one") as one,
        client(either_broker, "two") as two,
        client(either_broker, "publisher") as publisher,
    ):
        for member in (one, two):
            await member.subscribe("$share/email/internal/email/+", qos=1)
        for number in range(10):
            await publisher.publish("internal/email/normal", str(number).encode(), qos=1)
        await eventually(lambda: len(one.messages) + len(two.messages) == 10)
        numbers = [
            int(bytes((await received(member)).payload)) for member in (one, two) for _ in range(len(member.messages))
        ]
    assert sorted(numbers) == list(range(10))


async def test_a_session_comes_up_where_a_former_filter_was_never_subscribed(either_broker: LocalServer) -> None:
    async def serve(broker: Broker) -> None:
        await broker.wait_closed()
        raise BrokerUnavailable("connection lost")

    address = BrokerAddress.parse(either_broker.url)
    filters, former = ["$share/router/new/+"], ["$share/router/former/#"]
    link = BrokerLink(address, "router", filters=filters, former=former, serve=serve, session_expiry_s=60)
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(30):
            await link.wait_up()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_message_that_expires_holds_up_none_behind_it(either_broker: LocalServer) -> None:
    expired = mqtt_properties(PacketTypes.PUBLISH, MessageExpiryInterval=0)
    async with client(either_broker, "router") as router, client(either_broker, "publisher") as publisher:
        await router.subscribe("$share/router/notifications/#", qos=1)
        await publisher.publish("notifications/email/send", b"late", qos=1, properties=expired)
        await publisher.publish("notifications/email/send", b"in time", qos=1)
        async with asyncio.timeout(30):
            while bytes((await received(router)).payload) != b"in time":
                pass


async def test_one_group_name_serves_several_filters(either_broker: LocalServer) -> None:
    lanes = ("critical", "normal", "low")
    async with client(either_broker, "worker") as worker, client(either_broker, "router") as router:
        for lane in lanes:
            await worker.subscribe(f"$share/email/internal/email/{lane}", qos=1)
        for number in range(5):
            for lane in lanes:
                await router.publish(f"internal/email/{lane}", f"{lane} {number}".encode(), qos=1)
        await eventually(lambda: len(worker.messages) == 15)
        await worker.unsubscribe("$share/email/internal/email/low")
        await router.publish("internal/email/low", b"for nobody", qos=1)
        await router.publish("internal/email/critical", b"last", qos=1)
        arrived = [bytes((await received(worker)).payload).decode() for _ in range(16)]
    assert sorted(text for text in arrived if text[-1].isdigit()) == sorted(
        f"{lane} {number}" for lane in lanes for number in range(5)
    )


async def test_a_publisher_of_mqtt_3_is_served_on_the_same_port(either_broker: LocalServer) -> None:
    async with client(either_broker, "router") as router:
        await router.subscribe("$share/router/notifications/#", qos=1)
        async with aiomqtt.Client("127.0.0.1", either_broker.port, protocol=aiomqtt.ProtocolVersion.V311) as publisher:
            await publisher.publish("notifications/email/send", b"{}", qos=1)
        assert (await received(router)).payload == b"{}"


async def test_what_is_no_mqtt_is_cut_off_and_harms_nobody(either_broker: LocalServer) -> None:
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\xff", b"\x10\xff\xff\xff\x7f"):
        reader, writer = await asyncio.open_connection("127.0.0.1", either_broker.port)
        writer.write(nonsense)
        # It may have cut us off before we have said all.
        with suppress(OSError):
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    async with client(either_broker, "afterwards"):
        pass


async def test_a_job_of_one_mebibyte_passes(either_broker: LocalServer) -> None:
    async with client(either_broker, "worker") as worker, client(either_broker, "router") as router:
        await worker.subscribe("internal/email/low", qos=1)
        await router.publish("internal/email/low", _JOB, qos=1)
        assert (await received(worker)).payload == _JOB


async def test_a_session_that_is_away_gets_what_was_published_meanwhile(either_broker: LocalServer) -> None:
    async with client(either_broker, "router-0", expiry_s=3600) as router:
        await router.subscribe("notifications/#", qos=1)
    async with client(either_broker, "publisher") as publisher:
        await publisher.publish("notifications/email/send", b"{}", qos=1)
    async with client(either_broker, "router-0", expiry_s=3600) as router:
        assert (await received(router)).payload == b"{}"


@pytest.mark.real_broker
async def test_mosquitto_keeps_a_session_and_its_queue_over_a_restart(new_broker: Callable[[], LocalServer]) -> None:
    server = new_broker()
    await server.start()
    async with client(server, "router-0", expiry_s=3600) as router:
        await router.subscribe("notifications/#", qos=1)
    async with client(server, "publisher") as publisher:
        for _ in range(2000):
            await publisher.publish("notifications/email/send", b"{}", qos=1)
    await server.restart()
    async with client(server, "router-0", expiry_s=3600) as router:
        await eventually(lambda: len(router.messages) == 2000, what="all that was queued, above the default limit")


async def test_the_store_keeps_its_data_over_a_kill(either_store: LocalServer) -> None:
    async with redis.asyncio.from_url(either_store.url) as connected:
        await connected.set("kept", "yes")
    await either_store.kill()
    await either_store.start()
    async with redis.asyncio.from_url(either_store.url) as connected:
        assert await connected.get("kept") == b"yes"
        assert (await connected.config_get("appendfsync"))["appendfsync"] == "always"


async def test_what_expires_or_is_replaced_is_freed_without_holding_up_others(either_store: LocalServer) -> None:
    fields: Mapping[Any, Any] = {str(number): "spec" for number in range(1_000)}

    async def freed(client: "redis.asyncio.Redis") -> int:
        return int((await client.info("memory"))["lazyfreed_objects"])

    async with redis.asyncio.from_url(either_store.url) as client:
        before = await freed(client)
        for name in ("expires", "replaced", "deleted"):
            await client.hset(name, mapping=fields)
        await client.pexpire("expires", 20)
        await client.set("other", "1")
        await client.rename("other", "replaced")
        await client.delete("deleted")

        async def all_three() -> bool:
            return await freed(client) - before >= 3 and not await client.exists("expires")

        assert await eventually(all_three)


async def test_servers_listen_on_the_loopback_address_only(
    either_broker: LocalServer, either_store: LocalServer
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(("192.0.2.1", 9))  # RFC 5737: an address of nobody. Nothing is sent.
        except OSError:
            pytest.skip("this machine has no other address than the loopback one")
        address = route.getsockname()[0]
    for server in (either_broker, either_store):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((address, server.port), timeout=2).close()


def a_child(tmp_path: Path, program: str, grace_s: float = 10) -> Child:
    started = tmp_path / "started"

    async def ready() -> bool:
        return started.exists()

    command = [sys.executable, "-c", f"import pathlib, signal, sys, time\n{program}", str(started)]
    return Child("stand-in", command, log=tmp_path / "stand-in.log", ready=ready, grace_s=grace_s)


_READY = "pathlib.Path(sys.argv[1]).touch()\n"
_FOREVER = "while True: time.sleep(60)\n"


async def test_a_child_that_ends_at_start_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="stand-in ended at start with status 3") as failed:
        await a_child(tmp_path, "print('no such setting'); sys.exit(3)").start()
    assert failed.value.last_lines == ["no such setting"]


async def test_a_child_that_never_answers_is_ended(tmp_path: Path) -> None:
    child = a_child(tmp_path, _FOREVER)
    with pytest.raises(ChildFailed, match="did not answer within"):
        await child.start(within_s=0.3)
    assert not child.alive


async def test_a_child_that_ignores_the_polite_signal_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    child = a_child(tmp_path, f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{_READY}{_FOREVER}", grace_s=0.2)
    await child.start()
    assert await child.stop() == -signal.SIGKILL


async def test_a_crash_is_told_from_a_stop(tmp_path: Path) -> None:
    child = a_child(tmp_path, _READY + _FOREVER)
    await child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    await eventually(lambda: child.died)
    await child.start()
    await child.stop()
    assert not child.died


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
async def test_children_end_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    ports = (free_port(), free_port())
    starter = a_child(
        tmp_path,
        "import asyncio\n"
        "from carillon.local.servers import local_broker, local_store\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        f"asyncio.run(local_broker(folder, {ports[0]}).start())\n"
        f"asyncio.run(local_store(folder, {ports[1]}).start())\n" + _READY + _FOREVER,
    )
    await starter.start()
    assert not any(is_free(port) for port in ports)
    assert starter.pid is not None
    os.kill(starter.pid, signal.SIGKILL)
    await eventually(lambda: all(is_free(port) for port in ports), what="both servers gone")
    assert await starter.stop() == -signal.SIGKILL

"""The connection to the broker: what is acknowledged, what is handed over, and what happens when it goes away."""

import asyncio
import datetime as dt
import ipaddress
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from carillon.local.ports import free_port
from carillon.local.servers import LocalServer, find_server
from carillon_publisher import AsyncPublisher, NotConnected
from shared.core.errors import BrokerUnavailable
from shared.mqtt import connection as mqtt
from shared.mqtt.address import BrokerAddress
from shared.mqtt.byte_budget import ByteBudget
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from shared.mqtt.reconnecting import BrokerLink
from tests.fakes.mqtt_server import scripted_broker
from tests.waiting import eventually

pytestmark = pytest.mark.real_broker

NewBroker = Callable[[], LocalServer]


def address(server: LocalServer) -> BrokerAddress:
    return BrokerAddress.parse(server.url)


@pytest.fixture
def name(topic_prefix: str) -> str:
    """A name of the test's own, for client ids."""
    return topic_prefix.rstrip("/")


async def take(broker: Broker, count: int, *, ack: bool = True) -> list[Incoming]:
    taken: list[Incoming] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            taken += await broker.take(count - len(taken))
    if ack:
        for incoming in taken:
            broker.ack(incoming)
    return taken


async def ended(broker: LocalServer, name: str, times: int = 1) -> None:
    """Return when mosquitto has read so many connections to their end.

    It reads one packet of a connection at a time, and drops what is unread when its client connects again.
    """
    line = f"Client {name} disconnected"
    await eventually(lambda: broker.log.read_text().count(line) >= times, what="a connection read to its end")


# What is acknowledged.


async def test_what_was_not_acknowledged_comes_again_on_the_same_session(
    broker: LocalServer, topic_prefix: str, name: str
) -> None:
    topic = f"{topic_prefix}a"
    async with Broker(address(broker), name, session_expiry_s=60) as first:
        await first.subscribe(topic)
        assert all(await asyncio.gather(*(first.publish(topic, str(number)) for number in range(10))))
        taken = await take(first, 10, ack=False)
        for incoming in taken[:4]:
            first.ack(incoming)
        # The broker answers in order: when it has answered this, it has read the acknowledgements.
        await first.publish(f"{topic_prefix}nobody", "x")
    async with Broker(address(broker), name, session_expiry_s=60) as second:
        again = await take(second, 6)
        assert [incoming.payload for incoming in again] == [str(number).encode() for number in range(4, 10)]
        await second.forget_session()
    await ended(broker, name, times=2)
    async with Broker(address(broker), name, session_expiry_s=60) as third:
        await third.subscribe(topic)
        await third.publish(topic, "marker")
        assert [incoming.payload for incoming in await take(third, 1)] == [b"marker"]
        await third.forget_session()


async def test_an_acknowledgement_made_before_a_clean_end_arrives(
    broker: LocalServer, topic_prefix: str, name: str
) -> None:
    topic = f"{topic_prefix}a"
    async with Broker(address(broker), name, session_expiry_s=60) as first:
        await first.subscribe(topic)
        await asyncio.gather(*(first.publish(topic, str(number)) for number in range(50)))
        # No turn of the event loop between the acknowledgements and the end.
        await take(first, 50)
    await ended(broker, name)
    async with Broker(address(broker), name, session_expiry_s=60) as second:
        await second.subscribe(topic)
        await second.publish(topic, "marker")
        assert [incoming.payload for incoming in await take(second, 1)] == [b"marker"]
        await second.forget_session()


async def test_a_forgotten_session_holds_nothing(broker: LocalServer, topic_prefix: str, name: str) -> None:
    topic = f"{topic_prefix}a"
    async with Broker(address(broker), name, session_expiry_s=60) as first:
        await first.subscribe(topic)
        await first.publish(topic, "lost")
        await take(first, 1, ack=False)
        await first.forget_session()
    async with Broker(address(broker), name, session_expiry_s=60) as second, Broker(address(broker), f"{name}-p") as p:
        assert await p.publish(topic, "nobody listens") is False
        assert second.waiting == 0
        await second.forget_session()


async def test_a_broken_connection_cannot_forget_its_session(new_broker: NewBroker) -> None:
    server = new_broker()
    await server.start()
    async with Broker(address(server), "one", session_expiry_s=60) as connection:
        await server.kill()
        await connection.wait_closed()
        with pytest.raises(BrokerUnavailable):
            await connection.forget_session()


async def test_pubacks_leave_in_the_order_of_arrival_whatever_is_dealt_with_first() -> None:
    async with scripted_broker() as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        for mid in (7, 8, 9):
            server.publish("t", b"x", mid)
        first, second, third = await take(client, 3, ack=False)
        client.ack(third)
        client.ack(second)
        server.publish("t", b"x", 10)
        await take(client, 1, ack=False)
        assert server.acknowledged == []
        client.ack(first)
        await eventually(lambda: server.acknowledged == [7, 8, 9])


async def test_a_message_at_qos_0_needs_no_acknowledgement() -> None:
    async with scripted_broker() as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        server.write(bytes((0x30, 5)) + b"\x00\x01t\x00x")
        server.publish("t", b"y", 3)
        zero, one = await take(client, 2)
        assert (zero.qos, zero.payload, one.qos) == (0, b"x", 1)
        await eventually(lambda: server.acknowledged == [3])


# What is handed over.


async def test_a_publish_that_nobody_gets_says_so(broker: LocalServer, topic_prefix: str, name: str) -> None:
    async with Broker(address(broker), name) as connection:
        assert await connection.publish(f"{topic_prefix}a", "x") is False
        await connection.subscribe(f"{topic_prefix}a")
        assert await connection.publish(f"{topic_prefix}a", "x") is True


async def test_properties_arrive_as_they_were_sent(broker: LocalServer, topic_prefix: str, name: str) -> None:
    topic = f"{topic_prefix}a"
    async with Broker(address(broker), name) as connection:
        await connection.subscribe(topic)
        await connection.publish(
            topic,
            "ä",
            response_topic="receipts/one",
            correlation=b"\x00\xff",
            expiry_s=600,
            user_properties=[("idempotency-key", "k1"), ("other", "ü")],
        )
        (incoming,) = await take(connection, 1)
    assert incoming.payload.decode() == "ä"
    assert (incoming.response_topic, incoming.correlation) == ("receipts/one", b"\x00\xff")
    assert incoming.expiry_s is not None
    assert 590 <= incoming.expiry_s <= 600
    assert list(incoming.user_properties) == [("idempotency-key", "k1"), ("other", "ü")]


async def test_a_payload_of_1_mib_goes_through(broker: LocalServer, topic_prefix: str, name: str) -> None:
    payload = os.urandom(1024 * 1024)
    async with Broker(address(broker), name) as connection:
        await connection.subscribe(f"{topic_prefix}a")
        sent = connection.publish(f"{topic_prefix}a", payload)
        (incoming,) = await take(connection, 1)
        assert incoming.payload == payload
        assert await sent


async def test_the_window_is_the_brokers_receive_maximum() -> None:
    async with scripted_broker(receive_maximum=3) as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        answers = [client.publish("t", str(number)) for number in range(10)]
        for answered in range(10):
            expected = min(10, answered + 3)
            await eventually(lambda: len(server.published) >= expected)  # noqa: B023 - awaited here
            assert len(server.published) == expected
            server.puback(server.published[answered].mid)
        assert await asyncio.gather(*answers) == [True] * 10
        assert [incoming.payload for incoming in server.published] == [str(number).encode() for number in range(10)]


@pytest.mark.parametrize("code", [0x80, 0x87, 0x97])
async def test_a_refused_publish_fails_and_frees_its_place(code: int) -> None:
    async with scripted_broker(receive_maximum=1) as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        refused, next_one = client.publish("t", "1"), client.publish("t", "2")
        await eventually(lambda: server.published)
        server.puback(server.published[0].mid, code)
        with pytest.raises(BrokerUnavailable, match=f"{code:#04x}"):
            await refused
        await eventually(lambda: len(server.published) == 2)
        server.puback(server.published[1].mid, 0x10)
        assert await next_one is False


async def test_answers_are_not_mixed_up_when_packet_identifiers_begin_again(
    broker: LocalServer, topic_prefix: str, name: str
) -> None:
    heard, unheard = f"{topic_prefix}heard", f"{topic_prefix}unheard"
    async with Broker(address(broker), name) as connection:
        await connection.subscribe(heard)
        connection._paho._last_mid = 65_000  # MQTT 5, 2.2.1: at most 65,535
        topics = [heard if number % 10 == 0 else unheard for number in range(2_000)]
        answers = [connection.publish(topic, "x") for topic in topics]
        await take(connection, 200)
        async with asyncio.timeout(60):
            assert await asyncio.gather(*answers) == [topic == heard for topic in topics]


async def test_a_connection_that_was_given_up_is_closed_and_says_nothing_more() -> None:
    """The broker takes the connection and does not answer."""
    connecting, closed = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        connecting.set()
        while await reader.read(1024):
            pass
        closed.set()
        writer.close()

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        broker = Broker(BrokerAddress("127.0.0.1", server.sockets[0].getsockname()[1]), "given-up")
        opening = asyncio.create_task(broker.__aenter__(), name="opening")
        async with asyncio.timeout(20):
            await connecting.wait()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await closed.wait()
    assert complaints == []


async def test_a_connection_that_comes_about_after_it_was_given_up_is_closed() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first:
        server.setblocking(False)
        # It takes the only place, so that the next connection waits in the thread that connects.
        first.connect(server.getsockname())
        broker = Broker(BrokerAddress.parse(f"mqtt://127.0.0.1:{server.getsockname()[1]}"), "given-up")
        is_connecting, connect = asyncio.Event(), broker._connect_in_thread

        def noted() -> None:
            loop.call_soon_threadsafe(is_connecting.set)
            connect()

        broker._connect_in_thread = noted
        entering = asyncio.create_task(broker.__aenter__())
        await is_connecting.wait()
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        assert entering.cancelled()
        # Sooner than the broker would miss a sign of life.
        async with asyncio.timeout(12):
            (await loop.sock_accept(server))[0].close()
            late, _ = await loop.sock_accept(server)
            with late:
                late.setblocking(False)
                while await loop.sock_recv(late, 1024):
                    pass
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_what_was_in_flight_fails_when_the_connection_breaks() -> None:
    async with scripted_broker(receive_maximum=2) as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        answers = [client.publish("t", "x") for _ in range(5)]
        await eventually(lambda: len(server.published) == 2)
        server.write(b"\x00\xff\xff\xff\xff\xff")  # no packet
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert [type(answer) for answer in found] == [BrokerUnavailable] * 5
        with pytest.raises(BrokerUnavailable):
            await client.publish("t", "x")
        with pytest.raises(BrokerUnavailable):
            await client.take(1)


async def test_a_malformed_publish_ends_the_connection() -> None:
    async with scripted_broker() as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        server.write(b"\x32\x03\x00\x09t")
        async with asyncio.timeout(30):
            await client.wait_closed()
        assert not client.is_open


async def test_a_publish_that_cannot_be_read_is_handed_over_and_refused_and_the_connection_stands() -> None:
    async with scripted_broker() as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        # A user property whose name is not UTF-8.
        server.write(b"\x32\x0d\x00\x01t\x00\x09\x07\x26\x00\x01\xff\x00\x01v")
        server.publish("t", b"fine", 10)
        first, second = await take(client, 2, ack=False)
        assert first.problem
        assert (second.payload, second.problem) == (b"fine", "")
        client.ack(first, 0x99)
        client.ack(second)
        await eventually(lambda: server.acknowledged == [9, 10], what="both acknowledged")
        assert server.refused == {9: 0x99}
        assert client.is_open


# What is in hand is bounded in bytes.

_KIB = 1024


async def drain(broker: Broker, count: int) -> None:
    """Take messages and acknowledge each at once."""
    for _ in range(count):
        await take(broker, 1)


async def test_nothing_is_read_while_too_much_is_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    monkeypatch.setattr(mqtt, "_ANSWER_S", 0.5)
    budget = ByteBudget(64 * _KIB)
    async with scripted_broker() as server, Broker(BrokerAddress.parse(server.url), "one", budget=budget) as client:
        for mid in range(1, 101):
            server.publish("t", bytes(64 * _KIB), mid)
        first = await take(client, 1, ack=False)
        # More than the keepalive allows without an answer, and than a broker is given for one.
        server.mute = True
        unsubscribing = asyncio.create_task(client.subscribe("later"), name="subscribe")
        pings = server.pings
        await eventually(lambda: server.pings >= pings + 3, 30, "pings while nothing is read")
        assert client.is_open
        assert client.waiting
        # One read of the socket goes beyond the bound at most.
        assert budget.held_bytes <= 64 * _KIB + mqtt._READ_BYTES + 64 * _KIB
        assert not unsubscribing.done()
        client.ack(first[0])
        await drain(client, 99)
        server.grant()
        await unsubscribing
        await eventually(lambda: server.acknowledged == list(range(1, 101)), what="all acknowledged")
        assert (budget.held_bytes, client.waiting) == (0, 0)


async def test_connections_that_share_room_all_go_on_when_there_is_some() -> None:
    budget = ByteBudget(64 * _KIB)
    async with (
        scripted_broker() as one,
        scripted_broker() as two,
        Broker(BrokerAddress.parse(one.url), "one", budget=budget) as client_one,
        Broker(BrokerAddress.parse(two.url), "two", budget=budget) as client_two,
    ):
        for mid in range(1, 51):
            one.publish("t", bytes(64 * _KIB), mid)
            two.publish("t", bytes(64 * _KIB), mid)
        await asyncio.gather(drain(client_one, 50), drain(client_two, 50))
    assert budget.held_bytes == 0


async def test_what_a_broken_connection_held_makes_room() -> None:
    budget = ByteBudget(64 * _KIB)
    async with scripted_broker() as server, Broker(BrokerAddress.parse(server.url), "one", budget=budget) as client:
        server.publish("t", bytes(64 * _KIB), 1)
        server.publish("t", bytes(64 * _KIB), 2)
        (taken,) = await take(client, 1, ack=False)
        client.hang_up()
        await client.wait_closed()
        client.ack(taken)
        await budget.free()
        assert budget.held_bytes == 0


async def test_what_is_published_beyond_the_bound_fails_and_who_waits_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "SEND_BYTES", 64 * _KIB)
    async with scripted_broker() as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        fitting = client.publish("t", bytes(64 * _KIB))
        with pytest.raises(BrokerUnavailable, match="too much waits"):
            await client.publish("t", b"one more")
        waiting = asyncio.create_task(client.sendable(), name="sendable")
        await eventually(lambda: server.published, what="the publish")
        assert not waiting.done()
        server.puback(server.published[0].mid)
        await waiting
        assert await fitting
        last = client.publish("t", b"one more")
        await eventually(lambda: len(server.published) == 2, what="the second publish")
        server.puback(server.published[1].mid)
        assert await last


# The broker's rules.


def with_rules(server: LocalServer, *lines: str, without: str = "") -> None:
    file = server.folder / "mosquitto.conf"
    file.write_text(file.read_text().replace(without, "") + "\n".join(lines) + "\n")


async def test_a_publish_that_the_brokers_rules_forbid_is_an_error(new_broker: NewBroker, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite allowed/#\n")
    server = new_broker()
    with_rules(server, f"acl_file {rules}")
    await server.start()
    async with Broker(address(server), "one") as connection:
        await connection.subscribe("allowed/#")
        assert await connection.publish("allowed/a", "x") is True
        with pytest.raises(BrokerUnavailable, match="0x87"):
            await connection.publish("forbidden/a", "x")
        # And it costs nothing else: the connection stands.
        assert await connection.publish("allowed/a", "x") is True


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    file = tmp_path / "passwords"
    program = find_server("mosquitto_passwd")
    assert program is not None
    subprocess.run(  # noqa: S603 - a program of the machine
        [str(program), "-b", "-c", str(file), "router", "p@ss/word"], check=True, capture_output=True
    )
    file.chmod(0o644)
    return file


async def test_user_and_password_of_the_url_are_used(new_broker: NewBroker, passwords: Path) -> None:
    server = new_broker()
    rules = f"password_file {passwords}"
    with_rules(server, "allow_anonymous false", rules, without="allow_anonymous true\n")
    await server.start()
    right = BrokerAddress.parse(f"mqtt://router:p%40ss%2Fword@127.0.0.1:{server.port}")
    async with Broker(right, "one") as connection:
        assert connection.is_open
    for wrong in (f"mqtt://router:other@127.0.0.1:{server.port}", server.url):
        with pytest.raises(BrokerUnavailable) as caught:
            async with Broker(BrokerAddress.parse(wrong), "one"):
                pass
        assert "other" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``key.pem`` and ``certificate.pem``, which is its own authority, for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test broker")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


@pytest_asyncio.fixture
async def mqtts_url(new_broker: NewBroker, certificate: Path) -> str:
    server = new_broker()
    port = free_port({server.port})
    files = f"certfile {certificate}/certificate.pem", f"keyfile {certificate}/key.pem"
    with_rules(server, f"listener {port} 127.0.0.1", *files)
    await server.start()
    return f"mqtts://127.0.0.1:{port}"


async def test_mqtts_carries_what_mqtt_does(mqtts_url: str, certificate: Path) -> None:
    payload = os.urandom(1024 * 1024)
    async with Broker(BrokerAddress.parse(mqtts_url, certificate / "certificate.pem"), "one") as connection:
        await connection.subscribe("a")
        # Over TLS the socket is readable less often than there is something to read.
        answers = [connection.publish("a", payload), *(connection.publish("a", str(number)) for number in range(200))]
        taken = await take(connection, 201)
        assert taken[0].payload == payload
        assert all(await asyncio.gather(*answers))


async def test_the_publishers_client_speaks_mqtts(mqtts_url: str, certificate: Path) -> None:
    authority = certificate / "certificate.pem"
    async with (
        Broker(BrokerAddress.parse(mqtts_url, authority), "router") as router,
        AsyncPublisher(mqtts_url, ca_file=authority) as publisher,
        asyncio.TaskGroup() as group,
    ):
        await router.subscribe("notifications/#")
        # So many receipts, each longer than a record of TLS, that some are decrypted before they are asked for.
        publishes = [group.create_task(publisher.send_user("u", message="m")) for _ in range(100)]
        receipt = b'{"status": "accepted", "notification_id": "n1", "more": "' + b"x" * 20_000 + b'"}'
        answered = 0
        while answered < len(publishes):
            for incoming in await router.take(100):
                router.ack(incoming)
                await router.publish(incoming.response_topic or "", receipt, correlation=incoming.correlation)
                answered += 1
    assert {publish.result().sends for publish in publishes} == {1}


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_mqtts_trusts_the_given_authority_alone(mqtts_url: str) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        async with Broker(BrokerAddress.parse(mqtts_url), "one"):
            pass
    with pytest.raises(NotConnected, match="certificate verify failed"):
        async with AsyncPublisher(mqtts_url):
            pass


# Away and back.


async def test_an_idle_connection_is_kept_and_a_silent_broker_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    async with scripted_broker() as server, Broker(BrokerAddress.parse(server.url), "one") as client:
        await eventually(lambda: server.pings >= 2, within_s=30)
        assert client.is_open
        server.deaf = True
        async with asyncio.timeout(20):
            await client.wait_closed()


class Heard:
    """A link that keeps what it took, acknowledged."""

    def __init__(self, server: LocalServer, client_id: str, topic: str, session_expiry_s: int = 60) -> None:
        self.payloads: list[bytes] = []
        self.link = BrokerLink(
            address(server), client_id, filters=[topic], serve=self._serve, session_expiry_s=session_expiry_s
        )

    async def _serve(self, broker: Broker) -> None:
        while True:
            for incoming in await broker.take(100):
                self.payloads.append(incoming.payload)
                broker.ack(incoming)


@asynccontextmanager
async def running(link: BrokerLink) -> AsyncIterator[None]:
    task = asyncio.create_task(link.run(), name="link")
    try:
        async with asyncio.timeout(20):
            await link.wait_up()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    caplog.set_level(logging.INFO, logger="shared.mqtt.reconnecting")
    return lambda: [record.message for record in caplog.records if record.name == "shared.mqtt.reconnecting"]  # type: ignore[return-value]


@pytest.mark.parametrize("gently", [True, False])
async def test_a_link_comes_back_subscribes_again_and_tells_each_time_once(
    new_broker: NewBroker, events: Callable[[], list[str]], gently: bool
) -> None:
    server = new_broker()
    await server.start()
    heard = Heard(server, "link", "$share/all/a")
    async with running(heard.link):
        for heard_by_then in ([b"1"], [b"1", b"2"]):
            await (server.stop() if gently else server.kill())
            await eventually(lambda: not heard.link.is_up)
            with pytest.raises(BrokerUnavailable):
                await heard.link.publish("a", "away")
            # Several tries fail meanwhile, and none of them is told.
            await eventually(lambda: heard.link.problem.startswith("[Errno"))
            await server.start()
            await eventually(lambda: heard.link.is_up, within_s=30)
            assert await heard.link.publish("a", heard_by_then[-1]) is True
            await eventually(lambda: len(heard.payloads) == len(heard_by_then))  # noqa: B023 - awaited here
            assert heard.payloads == heard_by_then
            assert events() == ["broker away", "broker back"] * len(heard_by_then)


async def test_a_link_that_finds_no_broker_tells_it_once_and_waits(
    new_broker: NewBroker, events: Callable[[], list[str]]
) -> None:
    server = new_broker()
    heard = Heard(server, "link", "a")
    task = asyncio.create_task(heard.link.run(), name="link")
    await heard.link.wait_tried()
    assert heard.link.problem
    await server.start()
    async with asyncio.timeout(20):
        await heard.link.wait_up()
    assert events() == ["broker away", "broker back"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_stopped_broker_is_noticed_and_left(new_broker: NewBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 1)
    server = new_broker()
    await server.start()
    heard = Heard(server, "link", "a")
    async with running(heard.link):
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: not heard.link.is_up, within_s=30)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await eventually(lambda: heard.link.is_up, within_s=30)


async def test_two_connections_with_one_client_id_do_not_lose_what_waits(
    broker: LocalServer, topic_prefix: str, name: str
) -> None:
    topic = f"{topic_prefix}a"
    async with Broker(address(broker), name, session_expiry_s=60) as first:
        await first.subscribe(topic)
        await first.publish(topic, "x")
        await take(first, 1, ack=False)
        async with Broker(address(broker), name, session_expiry_s=60) as second:
            async with asyncio.timeout(30):
                await first.wait_closed()
            assert [incoming.payload for incoming in await take(second, 1)] == [b"x"]
            await second.forget_session()


async def test_a_link_that_left_for_good_stays_away(broker: LocalServer, topic_prefix: str, name: str) -> None:
    topic = f"{topic_prefix}a"
    heard = Heard(broker, name, topic)
    run = asyncio.create_task(heard.link.run(), name="link")
    async with asyncio.timeout(20):
        await heard.link.wait_up()
    await heard.link.stop_intake()
    assert await heard.link.publish(topic, "x") is False
    await heard.link.forget_session()
    async with asyncio.timeout(30):
        await run
    assert not heard.link.is_up


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "$SYS/a",
        "$share/a/b",
        "a/#",
        "+",
        "a\x00b",
        "a\u0001",
        "a\x7f",
        "a\ufffe",
        "a\U0010ffff",
        "a/" * 200 + "a",
        "a" * 65_536,
    ],
)
async def test_what_is_no_topic_name_is_refused_and_the_connection_stands(
    broker: LocalServer, topic_prefix: str, name: str, topic: str
) -> None:
    async with Broker(address(broker), name) as connection:
        with pytest.raises(BrokerUnavailable, match="topic"):
            await connection.publish(topic, "x")
        assert await connection.publish(f"{topic_prefix}a", "x") is False
        assert connection.is_open


async def test_a_cancellation_that_meets_the_brokers_answer_is_not_lost() -> None:
    async with scripted_broker() as server:
        server.mute = True
        link = BrokerLink(BrokerAddress.parse(server.url), "one", filters=["a"])
        task = asyncio.create_task(link.run(), name="link")
        await eventually(lambda: server.subscribed)
        assert link._broker is not None
        (answer,) = link._broker._client._pending_subscribes.values()
        assert isinstance(answer, asyncio.Future)
        # In the same turn of the event loop in which the answer arrives.
        answer.add_done_callback(lambda _answer: task.cancel())
        server.grant()
        done, _ = await asyncio.wait({task}, timeout=10)
        assert done
        assert task.cancelled()


async def test_a_link_is_up_when_it_has_subscribed_and_not_before() -> None:
    async with scripted_broker() as server:
        server.mute = True
        link = BrokerLink(BrokerAddress.parse(server.url), "one", filters=["a"])
        task = asyncio.create_task(link.run(), name="link")
        await eventually(lambda: server.subscribed)
        assert not link.is_up
        server.grant()
        await eventually(lambda: link.is_up)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_connection_that_breaks_whenever_it_has_come_about_is_tried_less_and_less_often() -> None:
    async with scripted_broker() as server:
        link = BrokerLink(BrokerAddress.parse(server.url), "one", filters=["a"])
        began_s = time.monotonic()
        task = asyncio.create_task(link.run(), name="link")
        for connections in range(1, 7):
            await eventually(lambda: len(server.subscribed) == connections)  # noqa: B023 - awaited here
            server.hang_up()
        # Five waits of at least a quarter of 0.4, 0.8, 1.6, 3.2 and 5 s.
        assert time.monotonic() - began_s > 2.7
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

"""The table of roles against a real mosquitto: every identity, topic and action as declared, the attacks refused."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from carillon.broker.roles import (
    ANSWERING,
    CLIENT_ID,
    SERVICES,
    Login,
    Role,
    roles,
    whoever_is_on_this_machine,
)
from carillon.broker.rules import dynamic_security, new_password
from carillon.local.ports import free_port
from carillon.local.servers import local_broker
from shared.core.errors import BrokerUnavailable, ConfigError
from shared.core.model import Channel, Priority
from shared.core.topics import OWN_PUBLISHER, Inflow, Kind, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from tests.conftest import need
from tests.waiting import eventually

pytestmark = pytest.mark.real_broker

TOPICS = Topics()
LOGINS = {
    **{service: service for service in SERVICES},
    "billing": "publisher",
    "shop": "publisher",
    "orders": "named-publisher",
    "payments": "named-publisher",
    "gateway-1": "gateway",
    "operator": "admin",
    "watcher": "monitor",
}
ANYBODY = "anybody"
IDENTITIES = (*LOGINS, ANYBODY)

PUBLISHED = (
    *(TOPICS.publish(kind, "x") for kind in Kind),
    *(TOPICS.of_publisher(name, TOPICS.publish(kind, "x")) for name in ("orders", "payments") for kind in Kind),
    "from/orders/internal/email/critical",
    *(TOPICS.jobs(lane, priority) for lane in ("router", *Channel) for priority in Priority),
    TOPICS.node("node-1"),
    TOPICS.all_nodes,
    TOPICS.event("1"),
    TOPICS.action("1", "approve"),
    TOPICS.oncall("x"),
    TOPICS.of_publisher(OWN_PUBLISHER, TOPICS.publish(Kind.REALTIME_USER, "x")),
    *(f"receipts/{name}/publishes" for name in (*LOGINS, "stranger")),
    *(TOPICS.of_publisher(name, "notifications/email/send") for name in ("billing", "shop")),
    TOPICS.http_receipts("billing", "node-1"),
    "internal/other",
    "somewhere/else",
)
SUBSCRIBED = (
    *(each for inflow in Inflow for each in TOPICS.intake_filters(inflow)),
    *(TOPICS.jobs_filter(lane, priority) for lane in ("router", *Channel) for priority in Priority),
    *("#", "+/#", "internal/#", "internal/+/critical", "internal/email/critical", "$share/x/internal/email/critical"),
    *("$share/x/internal/#", "$share/email/internal/#", "$share/email/#", "$share/x/#", "$share/x/notifications/#"),
    *("oncall/#", "oncall/x"),
    *("from/#", "from/orders/#", "from/+/notifications/#"),
    *("notifications/#", "notifications/+/send", "directory/#", "directory/user/x", "websocket/#"),
    *("notifications/events/+", "notifications/events/#", "notifications/events/1", "notifications/+/1"),
    *(
        "notifications/actions/+/+",
        "notifications/actions/#",
        "notifications/actions/1/go",
        "notifications/actions/1/+",
    ),
    *(TOPICS.node("node-1"), TOPICS.node("+"), TOPICS.all_nodes, "internal/realtime/#"),
    *("receipts/#", "receipts/+/#", "receipts/+/publishes", *(f"receipts/{name}/#" for name in LOGINS)),
    *(f"receipts/{name}/publishes" for name in LOGINS),
    *(TOPICS.http_receipts(name, "node-1") for name in ("+", "billing")),
    *("$SYS/#", "$SYS/broker/uptime", "$CONTROL/#", "somewhere/else"),
)


@dataclass
class Roles:
    """A running mosquitto and the passwords of its logins."""

    port: int
    passwords: dict[str, str]

    def connection(self, identity: str, client_id: str = "", *, session_expiry_s: int = 0) -> Broker:
        """Describe a connection of a login under its own name, or under the client id given."""
        login = f"{identity}:{self.passwords[identity]}@" if identity in self.passwords else ""
        address = BrokerAddress.parse(f"mqtt://{login}127.0.0.1:{self.port}")
        return Broker(address, client_id or identity, session_expiry_s=session_expiry_s)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Roles]:
    """A mosquitto with a login for everybody in LOGINS, that serves clients without one as on a laptop."""
    need("mosquitto")
    server = local_broker(tmp_path_factory.mktemp("roles"), free_port(), embedded=False, logins=SERVICES)
    logins = [Login(name, new_password(), role) for name, role in LOGINS.items()]
    (server.folder / "dynamic-security.json").write_text(dynamic_security(logins, anybody=True))
    await server.start()
    yield Roles(server.port, {login.name: login.password for login in logins})
    await server.stop()


# What the table says, worked out without the rules that are written from it.


def role_of(identity: str) -> Role:
    return whoever_is_on_this_machine() if identity == ANYBODY else roles()[LOGINS[identity]]


def matches(topic: str, topic_filter: str) -> bool:
    """Tell whether a topic, or every topic that a filter stands for, is among those that another filter stands for."""
    levels, allowed = topic.split("/"), topic_filter.split("/")
    if levels[0].startswith("$") and allowed[0] in {"+", "#"}:
        return False
    for place, level in enumerate(allowed):
        if level == "#":
            return True
        if place >= len(levels) or levels[place] == "#" or (level not in ("+", levels[place])):
            return False
    return len(levels) == len(allowed)


def may_publish(identity: str, topic: str) -> bool:
    role = role_of(identity)
    if identity in ANSWERING and not topic.startswith("internal/"):
        return True  # To anybody's response topic, on a machine that serves clients without a login.
    allowed = [each.replace(CLIENT_ID, identity) for each in role.publish]
    return any(matches(topic, each) for each in allowed) and not any(matches(topic, e) for e in role.deny_publish)


def may_subscribe(identity: str, topic_filter: str) -> bool:
    role = role_of(identity)
    allowed = [each.replace(CLIENT_ID, identity) for each in role.subscribe]
    if topic_filter in role.deny_subscribe or any(
        refused.endswith("/#") and matches(topic_filter, refused) for refused in role.deny_subscribe
    ):
        return False
    return any(matches(topic_filter, each) for each in allowed)


@pytest.mark.parametrize("identity", IDENTITIES)
async def test_every_publish_is_allowed_or_refused_as_declared(broker: Roles, identity: str) -> None:
    found: dict[str, bool] = {}
    async with broker.connection(identity) as connection:
        for topic in PUBLISHED:
            found[topic] = True
            try:
                await connection.publish(topic, "{}")
            except BrokerUnavailable as refused:
                # MQTT 5, 3.4.2.1: not authorized. Anything else is no answer to the question.
                if "0x87" not in str(refused):
                    raise
                found[topic] = False
    assert found == {topic: may_publish(identity, topic) for topic in PUBLISHED}


@pytest.mark.parametrize("identity", IDENTITIES)
async def test_every_subscription_is_allowed_or_refused_as_declared(broker: Roles, identity: str) -> None:
    found: dict[str, bool] = {}
    async with broker.connection(identity) as connection:
        for topic_filter in SUBSCRIBED:
            found[topic_filter] = True
            try:
                await connection.subscribe(topic_filter)
            except BrokerUnavailable as refused:
                if "refused" not in str(refused):
                    raise
                found[topic_filter] = False
    assert found == {topic_filter: may_subscribe(identity, topic_filter) for topic_filter in SUBSCRIBED}


@pytest.mark.parametrize("identity", IDENTITIES)
async def test_what_reaches_an_identity_is_what_it_may_read(broker: Roles, identity: str) -> None:
    role = role_of(identity)
    mine = [each for each in SUBSCRIBED if may_subscribe(identity, each)]
    readable = [each.replace(CLIENT_ID, identity) for each in role.receive]
    wanted = {
        topic
        for topic in PUBLISHED
        if any(matches(topic, each.split("/", 2)[2] if each.startswith("$share/") else each) for each in mine)
        and any(matches(topic, each) for each in readable)
        and not any(matches(topic, each) for each in role.deny_receive)
    }
    async with broker.connection(identity) as reader:
        await reader.subscribe(*mine)
        for speaker in LOGINS:
            if speaker != identity:
                async with broker.connection(speaker) as connection:
                    for topic in PUBLISHED:
                        if may_publish(speaker, topic):
                            await connection.publish(topic, "{}")
        # What only this identity itself may say was not said.
        said = {
            topic for topic in PUBLISHED for speaker in LOGINS if speaker != identity and may_publish(speaker, topic)
        }
        got: set[str] = set()

        async def has_all() -> bool:
            while reader.waiting:
                for incoming in await reader.take(1000):
                    reader.ack(incoming)
                    got.add(incoming.topic)
            return got >= wanted & said

        await eventually(has_all)
        # What was sent before the answer to this has arrived.
        await reader.unsubscribe(*mine)
        await has_all()
    assert {topic for topic in got if not topic.startswith("$SYS")} == wanted & said


def test_the_table_says_what_was_meant() -> None:
    inside = [topic for topic in PUBLISHED if topic.startswith("internal/")]
    outside = [name for name in IDENTITIES if name not in SERVICES]
    assert not any(may_publish(name, topic) for name in outside for topic in inside)
    assert not any(may_subscribe(name, each) for name in outside for each in SUBSCRIBED if "internal" in each)
    assert [name for name in LOGINS if may_publish(name, "directory/user/x")] == [*ANSWERING, "operator"]
    assert [name for name in IDENTITIES if may_publish(name, TOPICS.oncall("x"))] == [*ANSWERING]
    assert [name for name in IDENTITIES if may_subscribe(name, "oncall/#")] == [
        "billing", "shop", "operator", "watcher", ANYBODY]  # fmt: skip
    assert not may_publish("billing", TOPICS.publish(Kind.SESSION_CONNECT, "x"))
    assert may_subscribe("billing", "receipts/billing/publishes")
    assert not may_subscribe("billing", "receipts/shop/publishes")
    assert not any(may_publish("watcher", topic) for topic in PUBLISHED)
    assert may_publish("orders", "from/orders/notifications/email/send")
    assert not any(may_publish("orders", topic) for topic in PUBLISHED if not topic.startswith("from/orders/"))
    assert not any(may_publish("billing", topic) for topic in PUBLISHED if topic.startswith("from/"))


# The attacks that a plain acl_file lets through.


async def test_a_stranger_gets_no_share_of_the_jobs(broker: Roles) -> None:
    for identity in ("billing", "watcher", ANYBODY):
        async with broker.connection(identity) as stranger:
            for group in ("x", "email"):
                with pytest.raises(BrokerUnavailable, match="refused"):
                    await stranger.subscribe(f"$share/{group}/internal/email/critical")


async def test_a_login_cannot_take_a_workers_client_id(broker: Roles) -> None:
    async with broker.connection("router", "router-0-alerts", session_expiry_s=60) as worker:
        await worker.subscribe(*TOPICS.intake_filters(Inflow.ALERTS))
        for identity in ("billing", "shop", "gateway-1", "operator", "watcher"):
            with pytest.raises(BrokerUnavailable):
                async with broker.connection(identity, "router-0-alerts"):
                    pass
        async with broker.connection("billing") as publisher:
            await publisher.publish(TOPICS.publish(Kind.ALERT_CRITICAL, "x"), "{}")
        assert worker.is_open
        assert [incoming.topic for incoming in await worker.take(10)] == [TOPICS.publish(Kind.ALERT_CRITICAL, "x")]
        await worker.forget_session()


async def test_a_publisher_cannot_forge_a_job_or_read_anothers_receipts(broker: Roles) -> None:
    async with broker.connection("billing") as publisher:
        with pytest.raises(BrokerUnavailable, match="0x87"):
            await publisher.publish(TOPICS.jobs(Channel.SMS, Priority.CRITICAL), "{}")
        for stolen in (
            "receipts/shop/publishes",
            "receipts/+/publishes",
            "receipts/#",
            "notifications/events/+",
            "notifications/actions/#",
        ):
            with pytest.raises(BrokerUnavailable, match="refused"):
                await publisher.subscribe(stolen)


async def test_without_the_right_password_nobody_connects(broker: Roles) -> None:
    broker = Roles(broker.port, broker.passwords | {"router": "wrong", "nobody": "x"})
    for identity in ("router", "nobody"):
        with pytest.raises(BrokerUnavailable):
            async with broker.connection(identity):
                pass


@pytest.mark.parametrize("name", ["", "a/b", "+", "a#", "$SYS", "x" * 65, "é"])
def test_a_login_that_is_no_topic_level_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        Login(name, "password", "publisher")


async def test_without_an_exception_for_this_machine_nobody_is_served_without_a_login(tmp_path: Path) -> None:
    server = local_broker(tmp_path, free_port(), embedded=False, logins=SERVICES)
    (server.folder / "dynamic-security.json").write_text(dynamic_security([Login("billing", "password", "publisher")]))
    await server.start()
    try:
        async with Roles(server.port, {}).connection("stranger") as stranger:
            with pytest.raises(BrokerUnavailable, match="0x87"):
                await stranger.publish("notifications/email/send", "{}")
            with pytest.raises(BrokerUnavailable, match="refused"):
                await stranger.subscribe("#")
    finally:
        await server.stop()

"""A channel that is left out: nothing is planned over it, and whoever wanted it is told so."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from carillon.local.servers import LocalServer
from carillon.publisher import Publisher, Refused
from shared.core.clock import SystemClock
from shared.core.model import Channel
from shared.directory.people import Person
from shared.directory.reach import reach
from shared.directory.suppression import Suppressions
from shared.ledger.alerts import Answered
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine
from tests.conftest import EmptyStore
from tests.incident_bench import Bench
from tests.router import an_intake
from tests.sim.system import SimulatedStore

pytestmark = [pytest.mark.real_store, pytest.mark.real_broker]

TO_ADA = "notifications/realtime/user/ada"
ADA = {
    "email": "ada@example.com",
    "phone": "+15005550006",
    "preferences": {"sms": True, "email": False, "push": False},
    "groups": ["staff"],
}
SMS = Channel.SMS
LEFT_OUT = ("suppressed", "not_served", "system:without")
NAMES_SMS = [("channels", "sms: this system does without it")]

Decided = dict[str, tuple[str, str | None, str | None]]


@pytest.fixture
def carillon(tmp_path: Path, store: EmptyStore) -> CommandLine:
    return CommandLine(tmp_path, REDIS_URL=store.url)


@asynccontextmanager
async def publishing(
    store: EmptyStore, broker: LocalServer, prefix: str, without: Collection[Channel]
) -> AsyncIterator[Publisher]:
    """Run the intake of a router that does without these channels, and publish to it."""
    address = BrokerAddress.parse(broker.url)
    async with Store(store.url) as opened:
        out = BrokerLink(address, f"{prefix}out")
        intake = an_intake(opened, out, prefix, without=without)
        async with Broker(address, f"{prefix}general", budget=intake.budget) as inward:
            await inward.subscribe(f"{prefix}notifications/#", f"{prefix}directory/#", f"{prefix}websocket/#")
            tasks = [asyncio.create_task(work, name="intake") for work in (out.run(), intake.serve(inward))]
            await out.wait_up()
            try:
                async with Publisher(broker.url, topic_prefix=prefix) as publisher:
                    await publisher.publish("directory/user/ada", ADA)
                    yield publisher
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def decided(carillon: CommandLine, notification_id: str | None) -> Decided:
    shown = (await carillon("trace", str(notification_id), "--json")).json
    return {row["channel"]: (row["state"], row["reason"], row["rule"]) for row in shown["deliveries"]}


async def test_somebody_who_wants_only_that_channel_is_told_by_no_other(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, carillon: CommandLine
) -> None:
    critical = {"message": "It burns.", "priority": "critical"}
    async with publishing(store, broker, topic_prefix, {SMS}) as publisher:
        receipt = await publisher.publish(TO_ADA, critical)
        # She reads it in the inbox, and nobody asked for the SMS by name.
        assert receipt.warnings == ()
        found = await decided(carillon, receipt.notification_id)
        assert found["sms"] == LEFT_OUT
        assert found["realtime"][0] == "pending"

        receipt = await publisher.publish(TO_ADA, critical | {"channels": ["sms", "realtime"]})
        assert [(each.field, each.problem) for each in receipt.warnings] == NAMES_SMS
        receipt = await publisher.publish(TO_ADA, critical | {"channels": ["sms"]})
        assert [(each.field, each.problem) for each in receipt.warnings] == NAMES_SMS
        assert await decided(carillon, receipt.notification_id) == {"sms": LEFT_OUT}
    explained = await carillon("explain", TO_ADA, json.dumps(critical), "--json", settings={"CARILLON_WITHOUT": "sms"})
    said = {each["channel"]: (each["verdict"], each["reason"], each["rule"]) for each in explained.json["decided"]}
    assert said["sms"] == LEFT_OUT
    assert said["realtime"] == ("send", None, None)


async def test_what_a_normal_priority_never_takes_is_not_missed(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, carillon: CommandLine
) -> None:
    async with publishing(store, broker, topic_prefix, {SMS}) as publisher:
        receipt = await publisher.publish(TO_ADA, {"message": "Hello"})
        assert "sms" not in await decided(carillon, receipt.notification_id)


@pytest.mark.parametrize(
    ("topic", "payload", "channel"),
    [
        ("notifications/sms/send", {"phone": "+15005550006", "message": "Hello"}, "sms"),
        ("notifications/email/send", {"to": "ada@example.com", "subject": "Hello", "body": "Hello"}, "email"),
        (
            "notifications/email/batch",
            {"emails": [{"to": "ada@example.com", "subject": "Hello", "body": "Hello"}]},
            "email",
        ),
        ("notifications/push/mobile/ios", {"user_id": "ada", "message": "Hello"}, "push"),
        ("notifications/system/status", {"message": "All is well."}, "realtime"),
        ("websocket/connect/ada", {}, "realtime"),
    ],
)
async def test_a_topic_that_only_that_channel_could_carry_is_refused(
    store: EmptyStore,
    broker: LocalServer,
    topic_prefix: str,
    carillon: CommandLine,
    topic: str,
    payload: dict[str, object],
    channel: str,
) -> None:
    why = f"Nothing listens on this topic: this system does without {channel}."
    async with publishing(store, broker, topic_prefix, {Channel(channel)}) as publisher:
        with pytest.raises(Refused, match=why) as refused:
            await publisher.publish(topic, payload)
        assert refused.value.code == "unknown_topic"
    if topic.startswith("notifications/"):
        explained = await carillon("explain", topic, json.dumps(payload), settings={"CARILLON_WITHOUT": channel})
        assert (explained.status, why in explained.err) == (1, True)
    async with publishing(store, broker, topic_prefix, set(Channel) - {Channel(channel)}) as publisher:
        assert (await publisher.publish(topic, payload)).status == "accepted"


async def test_a_crowd_has_one_row_for_it_and_no_fan_out(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, carillon: CommandLine
) -> None:
    async with publishing(store, broker, topic_prefix, {SMS, Channel.EMAIL, Channel.PUSH}) as publisher:
        receipt = await publisher.publish(
            "notifications/realtime/group/staff", {"message": "It burns.", "priority": "critical"}
        )
        shown = (await carillon("trace", str(receipt.notification_id), "--json")).json
        assert {row["channel"]: row["reason"] for row in shown["deliveries"]} == {
            "realtime": None, "email": "not_served", "sms": "not_served", "push": "not_served"
        }  # fmt: skip
        assert shown["tasks"] == []
        assert receipt.warnings == ()
        receipt = await publisher.publish(
            "notifications/realtime/broadcast", {"message": "It burns.", "priority": "critical", "channels": ["sms"]}
        )
        assert [(each.field, each.problem) for each in receipt.warnings] == NAMES_SMS


async def test_without_the_inbox_nothing_waits_for_it(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, carillon: CommandLine
) -> None:
    async with publishing(store, broker, topic_prefix, {Channel.REALTIME}) as publisher:
        receipt = await publisher.publish(TO_ADA, {"message": "Hello"})
        # It would have stood in the inbox alone.
        assert [(each.field, each.problem) for each in receipt.warnings] == [
            ("channels", "realtime: this system does without it")
        ]
        to_all = {"message": "Hello", "channels": ["realtime"]}
        receipt = await publisher.publish("notifications/realtime/broadcast", to_all)
        assert await decided(carillon, receipt.notification_id) == {"realtime": LEFT_OUT}


LADDER = {
    "levels": [
        {"notify": ["oncall"], "channels": ["sms"]},
        {"after": "5m", "notify": ["user:ben"], "channels": ["sms", "realtime"]},
        {"after": "10m", "notify": ["user:cleo"], "channels": ["sms", "email"]},
        {"after": "15m", "notify": ["user:dan"]},
    ]
}


@pytest.mark.parametrize(
    ("without", "heard"),
    [
        ((), [(0, "ada"), (300, "ben"), (600, "cleo"), (600, "cleo"), (900, "dan"), (900, "dan")]),
        # An inbox wakes nobody, so Ben's level hands on at once, too.
        ({SMS}, [(0, "cleo"), (900, "dan")]),
    ],
)
async def test_a_level_that_could_only_be_told_by_it_hands_on_at_once(
    store: EmptyStore, without: Collection[Channel], heard: list[tuple[int, str]]
) -> None:
    async with SimulatedStore(store.url) as opened:
        bench = await Bench(opened, without=without).begin()
        await bench.people("ada", "ben", "cleo", "dan")
        await bench.on_call("disk", {"users": ["ada"]}, LADDER)
        _, incident = await bench.alert("disk")
        await bench.run(1200)
        assert sorted((at_s, who) for at_s, channel, who in bench.told if channel != "realtime") == heard
        told = [each.said["level"] for each in await bench.timeline(incident) if each.what == "told"]
        assert told == ["0", "1", "2", "3"]


async def test_what_was_pushed_before_is_not_taken_back_where_nobody_pushes(store: EmptyStore) -> None:
    devices = [{"platform": "ios", "token": "token-of-ada"}]
    pushed = {}
    for without in ((), {Channel.PUSH}):
        async with SimulatedStore(store.url) as opened:
            bench = await Bench(opened).begin()
            await bench.people("ada", devices=devices)
            await bench.people("ben")
            await bench.on_call("disk", {"users": ["ada", "ben"]})
            _, incident = await bench.alert("disk")
            await bench.run(1)
            assert len(bench.pushed) == 1
            # The router starts again, with another setting.
            after = Bench(opened, without=without)
            assert await after.answering.acknowledge(incident, "ben") is Answered.DONE
            await after.run(1)
            pushed[bool(without)] = len(after.pushed)
    assert pushed == {False: 1, True: 0}


async def test_whoever_comes_on_call_is_not_taken_to_be_reached_by_it(store: EmptyStore) -> None:
    ada = Person.model_validate({"user_id": "ada", **ADA})
    async with Store(store.url) as opened:
        lists = {channel: Suppressions(opened, Keys(), channel, SystemClock()) for channel in (Channel.EMAIL, SMS)}
        assert (await reach(ada, lists)).channels == (Channel.EMAIL, SMS)
        found = await reach(ada, lists, without={SMS})
        assert found.channels == (Channel.EMAIL,)
        assert "this system sends no SMS" in found.problems

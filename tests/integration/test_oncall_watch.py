"""The watch over on-call entries, against a real broker and store: who is on call, gaps, people out of reach."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from carillon.local.servers import LocalServer
from services.router.payloads.notifications import RealtimeUser
from services.router.upkeep.oncall_watch import OnCallWatch
from shared.core.model import Channel, EmailAddress
from shared.core.topics import Topics
from shared.directory.directory import Directory
from shared.directory.people import OnCall, Person
from shared.directory.suppression import Cause, Suppressions, digest
from shared.ledger.ledger import Ledger
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.fakes.clock import StandingClock
from tests.records import dead, delivery
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

HOUR_S, DAY_S = 3600, 86400
# A Monday.
NINE = datetime(2026, 11, 30, 9, tzinfo=UTC)
# Day and night in turn, from nine to nine; each hand-off is a turn's begin.
DAILY = {"users": ["user1", "user2"], "every_hours": 12, "start": "2026-11-02", "handoff": "09:00"}
OFFICE = {"users": ["user1"], "rotation": "weekly", "start": "2026-11-02", "restrictions": [
    {"from": "09:00", "to": "18:00"}]}  # fmt: skip


@dataclass
class Watched:
    """A watch with what it stands on, and what it has published."""

    store: Store
    directory: Directory
    lists: dict[Channel, Suppressions]
    clock: StandingClock
    link: BrokerLink
    watch: OnCallWatch
    topics: Topics
    url: str
    said: list[tuple[str, Any]] = field(default_factory=list)
    warned: list[tuple[str, RealtimeUser]] = field(default_factory=list)

    async def entry(self, alert_type: str, **fields: Any) -> None:
        await self.directory.put_oncall(alert_type, OnCall.model_validate({"alert_type": alert_type, **fields}))

    async def look(self, times: int = 1) -> None:
        """Look, and wait until what was published is here."""
        for _ in range(times):
            await self.watch.look()
        await asyncio.wait_for(self.link.publish(self.topics.oncall("-"), "end"), 5)
        await eventually(lambda: self.said and self.said[-1] == ("-", "end"))
        self.said.pop()

    def another(self) -> OnCallWatch:
        """Another router's watch on the same store."""
        return a_watch(self.store, self.directory, self.lists, self.topics, self.link, self.clock)

    async def retained(self) -> dict[str, Any]:
        """What somebody reads who subscribes now."""
        found: dict[str, Any] = {}
        async with Broker(BrokerAddress.parse(self.url), f"display-{id(found)}") as display:
            await display.subscribe(self.topics.oncall("#"))
            await asyncio.wait_for(self.link.publish(self.topics.oncall("-"), "end"), 5)
            while "-" not in found:
                for message in await display.take(100):
                    display.ack(message)
                    found[message.topic.rpartition("/")[2]] = message.payload.decode()
        self.said.clear()
        return {name: json.loads(text) for name, text in found.items() if name != "-"}


def a_watch(
    store: Store,
    directory: Directory,
    lists: dict[Channel, Suppressions],
    topics: Topics,
    link: BrokerLink,
    clock: StandingClock,
) -> OnCallWatch:
    return OnCallWatch(
        store=store, keys=Keys(), directory=directory, lists=lists, topics=topics,
        link=link, clock=clock,
    )  # fmt: skip


@asynccontextmanager
async def watching(store: Store, url: str, prefix: str) -> AsyncIterator[Watched]:
    clock, topics, keys = StandingClock(NINE), Topics(prefix), Keys()
    directory = Directory(store, keys, clock)
    lists = {channel: Suppressions(store, keys, channel, clock) for channel in (Channel.EMAIL, Channel.SMS)}

    async def serve(broker: Broker) -> None:
        while True:
            for message in await broker.take(100):
                broker.ack(message)
                text, name = message.payload.decode(), message.topic.rpartition("/")[2]
                if message.topic.startswith(topics.oncall("")):
                    seen.said.append((name, json.loads(text) if text and text != "end" else text))
                else:
                    payload = RealtimeUser.model_validate({**json.loads(text), "user_id": name})
                    seen.warned.append((name, payload))

    link = BrokerLink(BrokerAddress.parse(url), f"{prefix}watch")
    filters = (topics.oncall("#"), f"{prefix}from/carillon/notifications/realtime/user/+")
    reader = BrokerLink(BrokerAddress.parse(url), f"{prefix}reader", filters=filters, serve=serve)
    watch = a_watch(store, directory, lists, topics, link, clock)
    seen = Watched(store, directory, lists, clock, link, watch, topics, url)
    tasks = [asyncio.create_task(each.run(), name="link") for each in (link, reader)]
    try:
        for each in (link, reader):
            await asyncio.wait_for(each.wait_up(), 10)
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest_asyncio.fixture
async def watched(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Watched]:
    async with Store(store.url) as opened, watching(opened, broker.url, topic_prefix) as found:
        for number in (1, 2):
            await found.directory.put(
                Person(user_id=f"user{number}", name=f"User {number}", email=f"user{number}@example.com")
            )
        await found.directory.put(Person(user_id="boss", roles=("admin",)))
        yield found


async def test_who_is_on_call_stands_as_a_retained_message_and_is_said_when_it_changes(watched: Watched) -> None:
    await watched.entry("disk", layers=[DAILY])
    await watched.entry("net", users=["user2", "gone"])
    await watched.look()
    user1, user2 = ({"user_id": f"user{number}", "name": f"User {number}"} for number in (1, 2))
    disk = {"alert_type": "disk", "users": [user1], "until": "2026-11-30T21:00:00.000Z", "next": [user2]}
    said = {"disk": disk, "net": {"alert_type": "net", "users": [user2], "next": []}}
    assert dict(watched.said) == said
    assert await watched.retained() == said

    watched.said.clear()
    await watched.look(2)
    assert watched.said == []
    watched.clock.move(12 * HOUR_S)
    await watched.look()
    assert watched.said == [("disk", disk | {"users": [user2], "until": "2026-12-01T09:00:00.000Z", "next": [user1]})]


async def test_an_entry_that_is_gone_is_cleared_whichever_router_looks(watched: Watched) -> None:
    await watched.entry("disk", users=["user1"])
    await watched.look()
    await watched.directory.delete_oncall("disk")
    watched.said.clear()
    watched.watch = watched.another()
    await watched.look()
    assert watched.said == [("disk", "")]
    assert await watched.retained() == {}
    await watched.look()
    assert watched.said == []


async def test_a_router_that_connects_anew_says_everything_again(watched: Watched) -> None:
    await watched.entry("disk", users=["user1"])
    await watched.look()
    watched.said.clear()
    watched.watch = watched.another()
    await watched.look(2)
    assert [name for name, _ in watched.said] == ["disk"]


async def test_the_admins_are_warned_of_a_gap_a_day_before_once(watched: Watched) -> None:
    await watched.entry("disk", layers=[OFFICE], overrides=[
        {"user": "user2", "from": "2026-11-30T18:00:00Z", "until": "2026-12-01T20:00:00Z"}])  # fmt: skip
    await watched.look(2)
    assert watched.warned == []
    watched.clock.move(12 * HOUR_S)
    # Told when a second look finds it, too.
    await watched.look()
    assert watched.warned == []
    await watched.look()
    await eventually(lambda: watched.warned)
    watched.watch = watched.another()
    for _ in range(5):
        await watched.look()
        watched.clock.move(4 * HOUR_S)
    ((admin, notice),) = watched.warned
    assert (admin, notice.priority, notice.title) == ("boss", "high", "Nobody is on call for disk")
    assert "From Tue 2026-12-01 20:00 +0000 until Wed 2026-12-02 09:00 +0000" in notice.message
    assert "carillon oncall gaps" in notice.message


async def test_a_gap_that_goes_on_for_days_is_told_once_and_the_next_one_again(watched: Watched) -> None:
    await watched.entry("disk", users=["gone"])
    for _ in range(8):
        await watched.look()
        watched.clock.move(DAY_S / 2)
    await eventually(lambda: watched.warned)
    assert len(watched.warned) == 1
    assert "the directory does not know" in watched.warned[0][1].message
    await watched.entry("disk", users=["user1"])
    await watched.look()
    await watched.entry("disk", layers=[{**DAILY, "start": "2026-12-20"}])
    await watched.look(2)
    await eventually(lambda: len(watched.warned) == 2)
    assert watched.warned[0][1].id != watched.warned[1][1].id


async def test_a_repeat_of_a_warning_has_the_same_key(watched: Watched) -> None:
    await watched.entry("disk", users=["gone"])
    await watched.look(2)
    # As if the router had died before it noted that it has told.
    await watched.store.command("HSET", f"{Keys().oncall_watch}:gaps", "disk", json.dumps({_begin_ms(): 0}))
    await watched.look()
    await eventually(lambda: len(watched.warned) == 2)
    assert watched.warned[0][1].id == watched.warned[1][1].id


def _begin_ms() -> str:
    """What the gap is known by: where the look back ends."""
    return str(round((NINE.timestamp() - 2 * DAY_S) * 1000))


async def test_many_gaps_are_a_few_warnings(watched: Watched) -> None:
    for number in range(30):
        await watched.entry(f"type-{number}", users=["gone"])
    await watched.look(4)
    await eventually(lambda: len(watched.warned) == 11)
    assert watched.warned[-1][1].title == "20 more times at which nobody is on call"


async def test_somebody_out_of_reach_and_the_admins_are_warned_an_hour_before_the_turn(watched: Watched) -> None:
    await watched.lists[Channel.EMAIL].add(digest("user2@example.com"), Cause.BOUNCE)
    await watched.entry("disk", layers=[DAILY])
    await watched.entry("net", layers=[DAILY])
    watched.clock.move(10 * HOUR_S)
    await watched.look(2)
    assert watched.warned == []
    watched.clock.move(HOUR_S)
    await watched.look(2)
    watched.watch = watched.another()
    await watched.look()
    await eventually(lambda: len(watched.warned) == 2)
    assert sorted(name for name, _ in watched.warned) == ["boss", "user2"]
    message = watched.warned[0][1].message
    assert "disk, net" in message
    assert "the mail address is suppressed; no phone number; no device for pushes" in message
    # The other one's turn has a good mail address.
    watched.clock.move(12 * HOUR_S)
    await watched.look()
    assert len(watched.warned) == 2


async def test_somebody_whose_last_mail_was_refused_for_good_is_out_of_reach(watched: Watched) -> None:
    await dead(Ledger(watched.store, Keys()), delivery(address=EmailAddress(email="user2@example.com")))
    await watched.entry("disk", layers=[DAILY])
    watched.clock.move(11 * HOUR_S)
    await watched.look(2)
    await eventually(lambda: len(watched.warned) == 2)
    assert sorted(name for name, _ in watched.warned) == ["boss", "user2"]
    assert "the last mail was refused for good; no phone number" in watched.warned[0][1].message


async def test_a_bad_entry_harms_no_other(watched: Watched) -> None:
    oncall = Keys().oncall
    sound = OnCall(alert_type="x", users=("user1",)).model_dump_json()
    await watched.store.command("HSET", oncall, "bad", "{", "no+name", sound)
    await watched.store.command("HSET", f"{Keys().oncall_watch}:gaps", "disk", '{"x": 1, "2": [], "3": "4"}')
    await watched.entry("disk", users=["gone"])
    await watched.entry("net", users=["user1"])
    await watched.look(2)
    assert {name for name, _ in watched.said} >= {"disk", "net"}
    await eventually(lambda: watched.warned)
    assert [notice.title for _, notice in watched.warned] == ["Nobody is on call for disk"]
    await watched.watch._show()
    assert REGISTRY.get_sample_value("carillon_oncall_unwatched_entries") == 2


async def test_gaps_are_measured_and_every_router_shows_them(watched: Watched) -> None:
    await watched.entry("disk", layers=[OFFICE])
    await watched.look()
    await watched.another()._show()

    def shown(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(f"carillon_oncall_{name}", labels)

    assert (shown("gaps", within="24h"), shown("gaps", within="7d")) == (1, 7)
    assert (shown("gap_seconds", within="24h"), shown("next_gap_seconds")) == (15 * HOUR_S, 9 * HOUR_S)
    await watched.entry("disk", users=["user1"])
    await watched.look()
    await watched.watch._show()
    assert (shown("gaps", within="7d"), shown("next_gap_seconds")) == (0, float("inf"))
    assert shown("last_look_timestamp_seconds") == NINE.timestamp()

"""Who hears what, when and how often: categories, quiet hours, throttles and digests, from publish to person."""

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.core.clock import rfc3339
from shared.inbox.presence import Presence
from shared.ledger.reader import Trace
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_store, pytest.mark.real_broker, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def attentive(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system that lets go at once of what quiet hours have held."""
    stack = Stack(tmp_path_factory.mktemp("attention"), settings={"ROUTER_RELEASE_WITHIN_S": "0"})
    try:
        await stack.start()
        async with open_system(stack) as system:
            yield system
    finally:
        await stack.stop()


def name() -> str:
    return f"c-{uuid.uuid4().hex[:8]}"


async def user(system: System, **record: Any) -> str:
    user_id = await system.person("reader")
    await system.publish(f"directory/user/{user_id}", {"email": f"{user_id}@example.com", **record})
    return user_id


async def tell(system: System, user_id: str, message: str, **said: Any) -> str:
    receipt = await system.publish(f"notifications/realtime/user/{user_id}", {"message": message, **said})
    assert receipt.status == "accepted", receipt
    return str(receipt.notification_id)


async def mails(system: System, user_id: str, count: int, within_s: float = 10) -> list[str]:
    found = await system.arrived(count, within_s, to=f"{user_id}@example.com", channel="email")
    return [str(mail["title"]) for mail in found]


async def test_a_category_widens_the_rule_and_a_persons_choice_is_the_last_word(attentive: System) -> None:
    category = name()
    receipt = await attentive.publish(f"directory/category/{category}", {"title": "Bills", "channels": {"email": True}})
    assert receipt.status == "accepted"
    person = await user(attentive)
    await tell(attentive, person, "Paid", title="first", category=category)
    assert await mails(attentive, person, 1) == ["first"]
    await attentive.publish(f"directory/user/{person}", {"preferences": {"categories": {category: {"email": False}}}})
    await tell(attentive, person, "Paid", title="second", category=category)
    await tell(attentive, person, "Paid", title="third", priority="high")
    assert await mails(attentive, person, 2) == ["first", "third"]


async def test_an_unknown_category_is_a_warning(attentive: System) -> None:
    person = await user(attentive)
    receipt = await attentive.publish(
        f"notifications/realtime/user/{person}", {"message": "x", "category": "never-heard-of"}
    )
    assert [warning.field for warning in receipt.warnings] == ["category"]


async def test_quiet_time_holds_and_lets_go_again(attentive: System) -> None:
    until = datetime.now(UTC) + timedelta(seconds=4)
    person = await user(attentive, snooze_until=until.isoformat())
    await tell(attentive, person, "x", title="held", priority="high")
    await tell(attentive, person, "x", title="urgent", priority="critical")
    assert await mails(attentive, person, 1) == ["urgent"]
    shown = {entry["title"]: entry.get("silent") for entry in await attentive.inbox(person)}
    assert shown == {"held": True, "urgent": None}
    assert await mails(attentive, person, 2) == ["urgent", "held"]
    assert datetime.now(UTC) >= until


async def test_a_throttle_lets_through_as_many_as_it_says(attentive: System) -> None:
    category = name()
    throttle = {"limit": 2, "per": "1h", "then": "drop", "key": "data.thread"}
    await attentive.publish(f"directory/category/{category}", {"throttle": throttle})
    person = await user(attentive)
    for number in range(4):
        await tell(attentive, person, "x", title=f"a{number}", priority="high", category=category, data={"thread": 1})
    await tell(attentive, person, "x", title="b", priority="high", category=category, data={"thread": 2})
    assert await mails(attentive, person, 3) == ["a0", "a1", "b"]
    refused = await attentive.publish(
        f"notifications/realtime/user/{person}", {"message": "x", "category": category, "data": {"thread": {}}}
    )
    assert refused.error is not None
    assert [field.field for field in refused.error.fields] == ["data.thread"]


async def test_a_digest_tells_together_what_came_within_its_window(attentive: System) -> None:
    category = name()
    digest = {"window": "2s", "channels": ["email"]}
    await attentive.publish(
        f"directory/category/{category}", {"title": "Comments", "channels": {"email": True}, "digest": digest}
    )
    person = await user(attentive, locale="de")
    ids = [await tell(attentive, person, "x", title=f"t{number}", category=category) for number in range(3)]
    await attentive.publish(f"notifications/cancel/{ids[1]}", {})
    assert await mails(attentive, person, 1) == ["Comments: 2 neue Nachrichten"]
    async with Store(attentive.stack.environment["REDIS_URL"]) as store:
        keys = Keys()
        record = await store.command("HGET", f"{keys.shard_of(ids[0])}:n:{ids[0]}", f"s:email:{person}")
        assert record.startswith(b"x|email|")
        assert record.endswith(b"|digested")


async def test_the_first_goes_out_alone_where_the_category_says_so(attentive: System) -> None:
    category = name()
    digest = {"window": "3s", "channels": ["email"], "first": "now"}
    await attentive.publish(f"directory/category/{category}", {"channels": {"email": True}, "digest": digest})
    person = await user(attentive)
    for number in range(3):
        await tell(attentive, person, "x", title=f"t{number}", category=category)
        if not number:
            await mails(attentive, person, 1)
    assert await mails(attentive, person, 2) == ["t0", f"{category}: 2 new"]


async def test_everything_balances(attentive: System) -> None:
    carillon = CommandLine(attentive.stack.data)

    async def is_balanced() -> bool:
        return (await carillon("audit")).status == 0

    await eventually(is_balanced, 30, "a balanced audit")


async def test_explain_says_it_before_and_writes_nothing(attentive: System) -> None:
    category = name()
    throttle = {"limit": 1, "per": "1h", "then": "drop"}
    record = {"channels": {"email": True}, "throttle": throttle}
    await attentive.publish(f"directory/category/{category}", record)
    person = await user(attentive, phone="+14155550123")
    carillon = CommandLine(attentive.stack.data)
    topic, payload = f"notifications/realtime/user/{person}", {"message": "x", "title": "t", "category": category}

    async def explained() -> dict[str, tuple[str, str | None, str | None, str | None]]:
        answer = (await carillon("explain", topic, json.dumps(payload), "--json")).json
        return {
            one["channel"]: (one["verdict"], one["reason"], one["rule"], one["address"]) for one in answer["decided"]
        }

    # As often as it is asked, the one place is still there.
    for _ in range(2):
        assert await explained() == {
            "realtime": ("send", None, None, None),
            "email": ("send", None, f"category:{category}", f"{person[0]}…@example.com"),
            "push": ("suppressed", "no_address", "user:address", None),
        }
    await tell(attentive, person, "x", category=category)
    dropped = ("suppressed", "throttled", f"category:{category}", None)
    assert {channel: what for channel, what in (await explained()).items() if channel != "push"} == {
        "realtime": dropped, "email": dropped,
    }  # fmt: skip
    refused = await carillon("explain", topic, "{}")
    assert (refused.status, "message" in refused.err) == (1, True)


async def test_explain_goes_on_to_those_who_are_told_because_nobody_before_is_reached(attentive: System) -> None:
    alert_type, unreachable, second = name(), await attentive.person("unreachable"), await user(attentive)
    await attentive.publish(f"directory/user/{unreachable}", {})
    steps: list[dict[str, object]] = [{"notify": [f"user:{unreachable}"]}, {"notify": [f"user:{second}"]}]
    steps.append({"notify": [f"user:{unreachable}"]})
    steps = [{"after_s": 900 * number, **step} for number, step in enumerate(steps)]
    await attentive.publish(f"directory/oncall/{alert_type}", {"users": [unreachable], "escalation": steps})
    topic, payload = f"notifications/alerts/critical/{alert_type}", {"message": "The disk is full"}
    said = (await CommandLine(attentive.stack.data)("explain", topic, json.dumps(payload), "--json")).json["decided"]
    heard = [(one["user_id"], one["channel"]) for one in said if one["verdict"] == "send" and one["channel"] == "email"]
    assert heard == [(second, "email")]
    assert {one["verdict"] for one in said if one["user_id"] == unreachable and one["channel"] != "realtime"} == {
        "suppressed"
    }
    at_once, later = [one["at"] for one in said if one["verdict"] == "escalates"]
    assert at_once is None
    assert timedelta(seconds=1700) < datetime.fromisoformat(later) - datetime.now(UTC) <= timedelta(seconds=1800)
    # What was said is what happens.
    receipt = await attentive.publish(topic, payload)
    assert receipt.status == "accepted"
    assert len(await mails(attentive, second, 1, 30)) == 1


async def test_what_is_held_and_cancelled_is_told_by_its_own_channel(attentive: System) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    person = await user(attentive, snooze_until=until.isoformat())
    async with Broker(BrokerAddress.parse(attentive.stack.broker.url), f"events-{person}") as broker:
        await broker.subscribe("notifications/events/#")
        held = await tell(attentive, person, "x", title="held", priority="high", events=True)
        await attentive.publish(f"notifications/cancel/{held}", {})
        told: list[tuple[str, str | None]] = []
        while ("suppressed", "email") not in told:
            for incoming in await broker.take(10, 1_000_000):
                said = json.loads(incoming.payload)
                if incoming.topic.endswith(held):
                    told.append((said["state"], said.get("channel")))
    assert told.count(("suppressed", "email")) == 1


async def test_what_counts_as_less_urgent_in_its_category_is_throttled_like_it(attentive: System) -> None:
    category = name()
    throttle = {"limit": 1, "per": "1h", "then": "drop"}
    await attentive.publish(f"directory/category/{category}", {"priority_at_most": "high", "throttle": throttle})
    person = await user(attentive)
    for number in range(3):
        payload = {"message": "x", "title": f"t{number}", "priority": "critical", "category": category}
        receipt = await attentive.publish(f"notifications/realtime/user/{person}", payload)
        assert ("priority", "high at most in this category") in [(one.field, one.problem) for one in receipt.warnings]
    await tell(attentive, person, "x", title="last", priority="high")
    assert await mails(attentive, person, 2) == ["t0", "last"]


async def test_what_is_held_moves_with_the_end_of_quiet_time(attentive: System) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)
    person = await user(attentive, snooze_until=until.isoformat())
    held = await tell(attentive, person, "x", title="held", priority="high")
    # A later end of the same quiet time holds it on, and so does the same one.
    for end in (until + timedelta(hours=1), until + timedelta(hours=1)):
        await attentive.publish(f"directory/user/{person}", {"snooze_until": end.isoformat()})
    carillon = CommandLine(attentive.stack.data)

    async def is_moved() -> bool:
        tasks = (await carillon("trace", held, "--json")).json["tasks"]
        (waits,) = [task for task in tasks if task["state"] == "pending"] or [None]
        return waits is not None and waits["next_at"] > rfc3339(until + timedelta(minutes=30))

    await eventually(is_moved, 30, "the release at the new end")
    # The person is back, and says so.
    said: dict[str, Any] = {"quiet_hours": {"windows": []}}
    status, _ = await attentive.call("PUT", "/v1/preferences", person, json=said)
    assert status == 200
    await attentive.publish(f"directory/user/{person}", {"snooze_until": None})
    assert await mails(attentive, person, 1, 20) == ["held"]


async def test_replayed_decisions_say_what_a_change_would_have_done(attentive: System) -> None:
    category = name()
    await attentive.publish(f"directory/category/{category}", {"channels": {"email": True}})
    persons = [await user(attentive), await user(attentive)]
    group = name()
    await attentive.publish(f"directory/user/{persons[1]}", {"groups": [group]})
    for number in range(4):
        await tell(attentive, persons[0], "x", title=f"t{number}", category=category, data={"post": number % 2})
    await attentive.publish(f"notifications/realtime/group/{group}", {"message": "x", "category": category})
    await attentive.publish("notifications/email/send", {"to": "someone@example.com", "subject": "x", "body": "x"})
    await mails(attentive, persons[0], 4)
    await mails(attentive, persons[1], 1)
    change = "\n".join(
        json.dumps(each)
        for each in (
            {
                "category": category,
                "channels": {"email": True},
                "digest": {"window": "1h", "channels": ["email"], "key": "data.post", "first": "now"},
                "throttle": {"limit": 3, "per": "1h"},
            },
            {"user_id": persons[1], "preferences": {"categories": {category: {"email": False}}}},
        )
    )
    carillon = CommandLine(attentive.stack.data)
    command = ("replay-decisions", "--since", "5m", "--with", "-", "--people")
    found = (await carillon(*command, "--json", stdin=change)).json
    people = {one["user_id"]: one["channels"] for one in found["people"]}
    assert people[persons[0]]["email"] == {
        "before": {"send": 4},
        "after": {"digest": 1, "send": 2, "suppressed": {"throttled": 1}},
    }
    assert people[persons[1]]["email"] == {"before": {"send": 1}, "after": {"suppressed": {"preference_off": 1}}}
    assert found["left_out"]["addresses"] >= 1
    assert found["complete"]
    shown = await carillon(*command, "--user", persons[0], stdin=change)
    assert "suppressed: throttled" in shown.out
    assert persons[1] not in shown.out
    assert not (await carillon(*command, "--json", "--user", "nobody", stdin=change)).json["people"]
    refused = await carillon(*command, stdin=f'{{"category": "{category}", "policy": "maybe"}}')
    assert (refused.status, "line 1" in refused.error_line, "policy" in refused.error_line) == (1, True, True)
    # Nothing of it is there afterwards.
    explained = await carillon(
        "explain",
        f"notifications/realtime/user/{persons[0]}",
        json.dumps({"message": "x", "category": category}),
        "--json",
    )
    assert {"send"} == {one["verdict"] for one in explained.json["decided"] if one["channel"] == "email"}


async def test_a_push_that_its_category_makes_less_urgent_waits_for_somebody_who_looks(attentive: System) -> None:
    category = name()
    await attentive.publish(f"directory/category/{category}", {"priority_at_most": "normal"})
    person = await user(attentive, devices=[{"platform": "android", "token": name()}])
    async with Store(attentive.stack.environment["REDIS_URL"]) as store:
        await Presence(store, Keys()).keep(person, ["a session"])
        notification_id = await tell(attentive, person, "x", priority="high", category=category)
        rows = [row async for row in Trace(store, Keys()).rows(notification_id)]
        assert [row.rule for row in rows if row.lane == "push"] == ["presence:focus"]


async def test_what_cannot_wait_for_its_digest_goes_out_alone(attentive: System) -> None:
    category = name()
    record = {"channels": {"email": True}, "digest": {"window": "1h", "channels": ["email"]}}
    await attentive.publish(f"directory/category/{category}", record)
    person = await user(attentive)
    await tell(attentive, person, "x", title="waits", category=category)
    await tell(attentive, person, "x", title="does not", category=category, ttl_s=60)
    assert await mails(attentive, person, 1) == ["does not"]

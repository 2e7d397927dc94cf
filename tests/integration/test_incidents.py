"""Incidents from their beginning to their end, on a real store whose clock the test moves.

What is published is read and carried out as the router does it. The timeline and an export say what came of it.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from services.router.intake.actions import Actions
from services.router.payloads.parse import parse
from services.router.payloads.rejection import Rejected, RejectionCode
from shared.core.chained_lines import chained, faults
from shared.core.clock import from_epoch_ms, rfc3339
from shared.core.incidents import Way
from shared.core.topics import Kind
from shared.directory.publishers import Publisher
from shared.ledger.answering import LONGEST_SNOOZE
from shared.ledger.incident_documents import entry_document, incident_document
from shared.ledger.incidents import Entry
from shared.ledger.ledger import Verdict
from shared.mqtt.packets import Incoming
from shared.store.keys import new_notification_id
from tests.conftest import EmptyStore
from tests.incident_bench import BEGIN_MS, Bench
from tests.router import an_actor
from tests.sim.system import SimulatedStore

pytestmark = pytest.mark.real_store

LADDER = {
    "levels": [{"notify": ["oncall"]}, {"after": "5m", "notify": ["user:ben"]}],
    "acknowledged_for": "4h",
}
LAYERS = {"layers": [{"users": ["ada"], "rotation": "weekly", "start": "2026-01-05"}]}

ANSWERS = {
    "acknowledge": Kind.ALERT_ACKNOWLEDGE,
    "snooze": Kind.ALERT_SNOOZE,
    "reassign": Kind.ALERT_REASSIGN,
    "resolve": Kind.ALERT_RESOLVE,
}

Publish = Callable[..., Awaitable[None]]


@pytest_asyncio.fixture
async def bench(store: EmptyStore) -> AsyncIterator[Bench]:
    async with SimulatedStore(store.url) as opened:
        bench = await Bench(opened).begin()
        await bench.people("ada", "ben", "eve", "mallory")
        await bench.people("root", roles=["admin"])
        await bench.on_call("disk", LAYERS, LADDER)
        yield bench


@pytest.fixture
def publish(bench: Bench) -> Publish:
    """Publish an answer over MQTT."""
    actor: Actions = an_actor(bench.store, bench.clock)

    async def answer(verb: str, incident: str, way: Way = Way.MQTT, **said: Any) -> None:
        payload = json.dumps(said).encode()
        read = parse(ANSWERS[verb], {"alert_id": incident}, payload)
        topic = f"notifications/alerts/{verb}/{incident}"
        await actor.carry_out(read, Incoming(topic, payload, 1, 1), way=way)

    return answer


def at(seconds: float) -> str:
    return rfc3339(from_epoch_ms(BEGIN_MS + round(seconds * 1000)))


def said(entry: Entry, *names: str) -> tuple[Any, ...]:
    """Return when something happened, in seconds since the beginning, what it was, and more of it."""
    document = entry_document(entry)
    seconds = round(entry.at.timestamp() - BEGIN_MS / 1000)
    return (seconds, entry.what, *(document.get(name) for name in names))


async def test_timeline_says_all_in_its_order_with_who_and_by_which_way(bench: Bench, publish: Publish) -> None:
    _, incident = await bench.alert("disk", source="db-1", affected_systems=["orders"], labels={"team": "core"})
    await bench.run(20)
    assert await bench.ledger.seen(incident, "ada")
    await publish("acknowledge", incident, user_id="ada", note="on it")
    await bench.run(60)
    await publish("snooze", incident, user_id="ada", until=at(3660), note="after lunch")
    await bench.run(3660)
    await publish("acknowledge", incident, Way.SMS, user_id="ada")
    await bench.run(3700)
    await publish("reassign", incident, user_id="ada", to="user:eve", note="yours")
    await bench.run(3800)
    await publish("resolve", incident, Way.HTTP, user_id="eve", note="replaced")
    await bench.run(100_000)
    lines = [said(entry, "by", "from", "note") for entry in await bench.timeline(incident) if not entry.recipient]
    assert lines == [
        (0, "opened", "-", "mqtt", None),
        (0, "told", None, "escalation", None),
        (20, "seen", "ada", "inbox", None),
        (20, "acknowledged", "ada", "mqtt", "on it"),
        (60, "snoozed", "ada", "mqtt", "after lunch"),
        (3660, "reopened", None, "escalation", None),
        (3660, "told", None, "escalation", None),
        (3660, "acknowledged", "ada", "sms", None),
        (3700, "reassigned", "ada", "mqtt", "yours"),
        (3700, "told", None, "escalation", None),
        (3800, "resolved", "eve", "http", "replaced"),
    ]
    delivered = [said(entry, "recipient", "channel") for entry in await bench.timeline(incident) if entry.recipient]
    delivered_to = [(0, "ada"), (3660, "ada"), (3700, "eve")]
    expected = {
        (at_s, "delivered", who, channel) for at_s, who in delivered_to for channel in ("email", "sms", "realtime")
    }
    # The entry of the inbox is still there.
    assert set(delivered) == expected - {(3660, "delivered", "ada", "realtime")}
    assert len(delivered) == len(set(delivered))
    told = [entry_document(entry) for entry in await bench.timeline(incident) if entry.what == "told"]
    assert [sorted(each["recipients"]) for each in told] == [["ada"], ["ada"], ["eve"]]
    times = [entry.at for entry in await bench.timeline(incident)]
    assert times == sorted(times)
    (snoozed,) = [entry_document(entry) for entry in await bench.timeline(incident) if entry.what == "snoozed"]
    assert snoozed["until"] == at(3660)
    found = await bench.incidents.get(incident)
    assert found is not None
    lines_of_export = list(chained(incident_document(found), map(entry_document, await bench.timeline(incident))))
    assert faults(lines_of_export) == []
    head = json.loads(lines_of_export[0])
    assert (head["state"], head["resolved_by"], head["labels"]) == ("resolved", "eve", {"team": "core"})
    assert faults([*lines_of_export[:3], *lines_of_export[4:]])


async def test_repeats_are_counted_and_make_no_second_incident(bench: Bench) -> None:
    _, incident = await bench.alert("disk", source="db-1")
    await bench.run(30)
    for number in range(3):
        assert await bench.alert("disk", source="db-1", message=f"Still, {number}.") == (Verdict.DUPLICATE, incident)
    assert [each.id async for each in bench.incidents.listed()] == [incident]
    (found,) = [each async for each in bench.incidents.listed()]
    assert (found.repeats, found.repeated_at) == (3, bench.clock.now())
    assert [said(entry) for entry in await bench.timeline(incident) if not entry.recipient] == [
        (0, "opened"),
        (0, "told"),
    ]


async def test_alert_of_a_group_is_shown_as_the_incident_to_which_it_belongs(bench: Bench, publish: Publish) -> None:
    await bench.on_call("net", LAYERS, {**LADDER, "group": {"by": ["alert_type"]}})
    _, incident = await bench.alert("net", dedup_key="a")
    verdict, member = await bench.alert("net", dedup_key="b")
    assert verdict is Verdict.GROUPED
    await bench.run(1)
    found = await bench.incidents.get(member)
    assert found is not None
    assert found.id == incident
    assert [each.id async for each in bench.incidents.listed()] == [incident]
    await publish("acknowledge", member, user_id="ada")
    lines = [said(entry, "by", "member") for entry in await bench.timeline(incident) if not entry.recipient]
    assert (0, "member", None, member) in lines
    assert lines[-1] == (1, "acknowledged", "ada", None)


@pytest.mark.parametrize(
    ("verb", "more"),
    [("acknowledge", {}), ("snooze", {"for": "1h"}), ("reassign", {"to": "user:mallory"}), ("resolve", {})],
)
async def test_somebody_who_was_not_told_is_refused_by_whatever_way(
    bench: Bench, publish: Publish, verb: str, more: dict[str, str]
) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(1)
    before = await bench.timeline(incident)
    for way in Way:
        for user_id in ("mallory", "ben", "nobody"):
            with pytest.raises(Rejected) as refused:
                await publish(verb, incident, way, user_id=user_id, **more)
            assert refused.value.code is RejectionCode.UNAUTHORIZED
    found = await bench.incidents.get(incident)
    assert found is not None
    assert (found.word, found.acknowledged_by) == ("open", None)
    assert await bench.timeline(incident) == before
    await publish(verb, incident, user_id="root", **more)
    assert len(await bench.timeline(incident)) > len(before)


@pytest.mark.parametrize("verb", ["acknowledge", "snooze", "reassign", "resolve"])
async def test_what_is_no_incident_cannot_be_answered(publish: Publish, verb: str) -> None:
    more = {"snooze": {"for": "1h"}, "reassign": {"to": "user:ada"}}.get(verb, {})
    for unknown in (new_notification_id(), "x"):
        with pytest.raises(Rejected) as refused:
            await publish(verb, unknown, user_id="ada", **more)
        assert refused.value.fields[0].field == "alert_id"


async def test_a_snooze_ends_in_the_future_and_not_too_far_away(bench: Bench, publish: Publish) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(10)
    latest_s = 10 + LONGEST_SNOOZE.total_seconds()
    for end in ({"until": at(9)}, {"until": at(10)}, {"for": "32d"}, {"until": at(latest_s + 1)}):
        with pytest.raises(Rejected) as refused:
            await publish("snooze", incident, user_id="ada", **end)
        assert refused.value.fields[0].field == next(iter(end))
    await publish("snooze", incident, user_id="ada", until=at(latest_s))


async def test_a_cancelled_incident_leaves_the_index(bench: Bench, publish: Publish) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(1)
    assert await bench.ledger.cancel(incident) is not None
    assert await bench.ledger.cancel(incident) is not None
    assert await bench.incidents.open_ids() == []
    found = await bench.incidents.get(incident)
    assert found is not None
    assert found.word == "cancelled"
    assert [entry.what for entry in await bench.timeline(incident) if not entry.recipient][-1] == "cancelled"
    for verb, more in (("snooze", {"for": "1h"}), ("reassign", {"to": "user:eve"})):
        with pytest.raises(Rejected) as refused:
            await publish(verb, incident, user_id="ada", **more)
        assert (refused.value.fields[0].field, refused.value.fields[0].problem) == ("alert_id", "is over")
    # Whoever comes too late with an acknowledgement is not refused, and changes nothing.
    await publish("acknowledge", incident, user_id="ada")
    assert [entry.what for entry in await bench.timeline(incident) if not entry.recipient][-1] == "cancelled"
    await bench.run(100_000)
    assert [who for _, who in bench.heard()] == ["ada"]


async def test_a_record_that_is_gone_leaves_the_index_when_the_list_is_read(bench: Bench) -> None:
    _, gone = await bench.alert("disk")
    _, kept = await bench.alert("disk")
    for key in ("n", "timeline"):
        await bench.store.command("DEL", f"{bench.keys.shard_of(gone)}:{key}:{gone}")
    assert set(await bench.incidents.open_ids()) == {gone, kept}
    assert [each.id async for each in bench.incidents.listed()] == [kept]
    assert await bench.incidents.open_ids() == [kept]
    # Whoever reads it in pages does the same.
    await bench.store.command("DEL", f"{bench.keys.shard_of(kept)}:n:{kept}")
    page = await bench.incidents.page(10, None, lambda _: True)
    assert (list(page.incidents), page.last) == ([], None)
    assert await bench.incidents.open_ids() == []


async def test_one_damaged_record_keeps_no_other_incident_from_the_list(bench: Bench) -> None:
    _, damaged = await bench.alert("disk")
    _, kept = await bench.alert("disk")
    for key in ("n", "timeline"):
        await bench.store.command("DEL", f"{bench.keys.shard_of(damaged)}:{key}:{damaged}")
    await bench.store.command("SET", f"{bench.keys.shard_of(damaged)}:n:{damaged}", "x")
    await bench.store.command("RPUSH", f"{bench.keys.shard_of(kept)}:timeline:{kept}", "x|{", b"\xff", "1|[]")
    # Nor does what is no id.
    await bench.store.command("ZADD", f"{bench.keys.shard(0)}:incidents", 1, b"\xff", 2, "x")
    await bench.store.command("SET", f"{bench.keys.shard_of(damaged)}:timeline:{damaged}", "x")
    assert [each.id async for each in bench.incidents.listed()] == [kept]
    page = await bench.incidents.page(10, None, lambda _: True)
    assert ([each.id for each in page.incidents], page.last) == ([kept], None)
    # Whether it is over nobody knows.
    assert set(await bench.incidents.open_ids()) == {damaged, kept}
    assert await bench.incidents.get(damaged) is None
    assert await bench.incidents.timeline(damaged) == []
    documents = [entry_document(entry) for entry in await bench.timeline(kept)]
    assert [each["what"] for each in documents[-3:]] == ["unreadable"] * 3
    assert faults(list(chained({}, documents))) == []


async def test_timeline_lives_as_long_as_its_record(bench: Bench, publish: Publish) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(400)
    await publish("resolve", incident, user_id="ada")
    await bench.run(86_400 * 2)
    assert await bench.ledger.seen(incident, "ada")
    base = bench.keys.shard_of(incident)
    left = [await bench.store.command("TTL", f"{base}:{key}:{incident}") for key in ("n", "timeline")]
    assert min(left) > 0
    assert abs(left[0] - left[1]) <= 1


async def test_a_publisher_answers_its_own_incidents_only(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    actor = an_actor(bench.store, bench.clock)
    payload = b'{"note": "over"}'
    read = parse(Kind.ALERT_RESOLVE, {"alert_id": incident}, payload)
    incoming = Incoming(f"notifications/alerts/resolve/{incident}", payload, 1, 1)
    with pytest.raises(Rejected) as refused:
        await actor.carry_out(read, incoming, "other", Publisher())
    assert refused.value.code is RejectionCode.UNAUTHORIZED
    await actor.carry_out(read, incoming, "pager", Publisher(may_answer="any"))
    (*_, last) = await bench.timeline(incident)
    assert (last.what, last.said["by"], last.said["from"]) == ("resolved", "pager", "mqtt")

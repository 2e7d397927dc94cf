"""Incidents over HTTP: who sees them, who answers them, and who has seen their entry."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from services.realtime.http.shapes import ListedIncidents, ShownIncident
from shared.core.incidents import AlertState, Happened, Way, line
from shared.core.model import AlertDetails, Channel, Delivery, Notification, Priority, State, UserInbox
from shared.directory.people import Person
from shared.ledger.claims import Outcome
from shared.ledger.incidents import Entry, Incidents
from shared.ledger.new_records import NewRecord, NewRow
from shared.ledger.reader import Trace
from shared.store.keys import new_notification_id
from tests.conftest import EmptyStore
from tests.realtime import ALERT, Realtime, bearer, notification, realtime_node
from tests.records import LEASE
from tests.waiting import eventually


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        directory = running.context.directory
        for user_id in ("user1", "user2"):
            await directory.put(Person(user_id=user_id))
        await directory.put(Person(user_id="boss", roles=("admin",)))
        yield running


async def opened(node: Realtime, user_id: str = "user1", *, shard: int | None = None, **said: Any) -> Notification:
    """Write an incident of which one person is told, with the entry of the inbox."""
    alert: AlertDetails = said.pop("alert", ALERT)
    sent = notification("It is full.", title="Disk", alert=alert)
    sent = sent.model_copy(update={"id": new_notification_id(shard), **said})
    delivery = Delivery(
        key=f"realtime:{user_id}",
        channel=Channel.REALTIME,
        priority=Priority.CRITICAL,
        address=UserInbox(user_id=user_id),
        recipient=user_id,
        expires_ms=2**53,
    )
    says = (line(Happened.OPENED, by="-", way=Way.MQTT), line(Happened.TOLD, recipients={user_id: ["realtime"]}))
    record = NewRecord(sent, [NewRow(delivery)], alert=AlertState.OPEN, is_incident=True, says=says)
    ledger = node.context.ledger
    await ledger.accept(record)
    (claim,) = await ledger.claim([(sent.id, delivery.key)], LEASE)
    await ledger.finish(claim, Outcome(State.DELIVERED, provider="inbox"))
    await node.to_user(user_id, sent)
    return sent


async def timeline(node: Realtime, incident_id: str) -> list[Entry]:
    return await Incidents(node.context.store, node.context.keys).timeline(incident_id)


async def test_an_admin_sees_every_incident_and_others_those_of_which_they_were_told(node: Realtime) -> None:
    sent = await opened(node)
    for user_id in ("user1", "boss"):
        status, shown = await node.call("GET", f"/v1/incidents/{sent.id}", user_id)
        assert status == 200
        ShownIncident.model_validate_json(json.dumps(shown), strict=True)
        assert (shown["id"], shown["state"], shown["type"], shown["title"]) == (sent.id, "open", "disk", "Disk")
        assert [entry["what"] for entry in shown["timeline"]] == ["opened", "told", "delivered"]
        assert shown["timeline"][0]["from"] == "mqtt"
        assert shown["timeline"][1]["recipients"] == {"user1": ["realtime"]}
    assert (await node.call("GET", f"/v1/incidents/{sent.id}", "user2"))[0] == 404
    for unknown in (new_notification_id(), "x", "%00"):
        assert (await node.call("GET", f"/v1/incidents/{unknown}", "boss"))[0] == 404


async def test_the_list_is_for_admins(node: Realtime) -> None:
    sent = await opened(node)
    status, listed = await node.call("GET", "/v1/incidents", "boss")
    assert status == 200
    ListedIncidents.model_validate_json(json.dumps(listed), strict=True, extra="forbid")
    assert [each["id"] for each in listed["incidents"]] == [sent.id]
    assert "next" not in listed
    assert (await node.call("GET", "/v1/incidents", "user1"))[0] == 404


async def test_a_token_of_a_tenant_shows_what_is_of_that_tenant_and_of_none(node: Realtime) -> None:
    theirs, other = await opened(node, tenant="acme"), await opened(node, tenant="globex")
    nobodys = await opened(node)
    headers = bearer("boss", tenant="acme")
    _, listed = await node.call("GET", "/v1/incidents", "boss", headers=headers)
    assert [each["id"] for each in listed["incidents"]] == [nobodys.id, theirs.id]
    assert (await node.call("GET", f"/v1/incidents/{other.id}", "boss", headers=headers))[0] == 404


async def test_pages_have_each_incident_once_the_newest_first(node: Realtime) -> None:
    # Several in one shard in one millisecond, where only their ids tell them apart.
    sent = [await opened(node, shard=number % 3) for number in range(25)]
    keys = node.context.keys
    for each in sent[:10]:
        await node.context.store.command("ZADD", f"{keys.shard_of(each.id)}:incidents", 1_700_000_000_000, each.id)
    found: list[str] = []
    path = "/v1/incidents?limit=4"
    for _ in range(20):
        status, listed = await node.call("GET", path, "boss")
        assert (status, len(listed["incidents"]) <= 4) == (200, True)
        found += [each["id"] for each in listed["incidents"]]
        if "next" not in listed:
            break
        path = f"/v1/incidents?limit=4&before={listed['next']}"
    assert len(found) == len(set(found)) == 25
    later = [each.id for each in sent[10:]]
    assert [each for each in found if each in later] == later[::-1]


async def test_the_list_can_be_asked_for_one_state(node: Realtime) -> None:
    first, second, third = [await opened(node) for _ in range(3)]
    assert (await node.call("POST", f"/v1/alerts/{second.id}/acknowledge", "user1"))[0] == 204
    assert (await node.call("POST", f"/v1/alerts/{third.id}/snooze", "user1", json={"for": "1h"}))[0] == 204
    for state, sent in (("open", first), ("acknowledged", second), ("snoozed", third)):
        _, listed = await node.call("GET", f"/v1/incidents?state={state}", "boss")
        assert [each["id"] for each in listed["incidents"]] == [sent.id]


@pytest.mark.parametrize(
    ("query", "field"),
    [("state=over", "state"), ("limit=0", "limit"), ("before=x", "before"), ("before=1.2", "before")],
)
async def test_other_questions_are_refused(node: Realtime, query: str, field: str) -> None:
    status, refused = await node.call("GET", f"/v1/incidents?{query}", "boss")
    assert (status, refused["error"]["fields"][0]["field"]) == (400, field)


async def test_one_who_was_told_answers_and_the_timeline_says_so(node: Realtime) -> None:
    sent = await opened(node)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    answers: list[tuple[str, Any]] = [
        ("acknowledge", {"note": "on it"}),
        ("snooze", {"until": until.isoformat(), "note": "later"}),
        ("reassign", {"to": "user:user2", "note": "yours"}),
        ("resolve", {"note": "replaced"}),
    ]
    for verb, said in answers:
        assert (await node.call("POST", f"/v1/alerts/{sent.id}/{verb}", "user2", json=said))[0] == 404
        assert (await node.call("POST", f"/v1/alerts/{sent.id}/{verb}", "user1", json=said))[0] == 204
    written = [entry for entry in await timeline(node, sent.id) if "note" in entry.said]
    assert [(entry.what, entry.said["note"]) for entry in written] == [
        ("acknowledged", "on it"), ("snoozed", "later"), ("reassigned", "yours"), ("resolved", "replaced"),
    ]  # fmt: skip
    assert {(entry.said["by"], entry.said["from"]) for entry in written} == {("user1", "http")}
    _, shown = await node.call("GET", f"/v1/incidents/{sent.id}", "boss")
    assert (shown["state"], shown["resolved_by"]) == ("resolved", "user1")
    (snoozed,) = (entry for entry in shown["timeline"] if entry["what"] == "snoozed")
    assert datetime.fromisoformat(snoozed["until"]) == until
    assert (await node.call("GET", "/v1/incidents", "boss"))[1]["incidents"] == []


async def test_what_is_over_stays_over(node: Realtime) -> None:
    sent = await opened(node)
    assert (await node.call("POST", f"/v1/alerts/{sent.id}/resolve", "boss"))[0] == 204
    for verb, said in (("snooze", {"for": "1h"}), ("reassign", {"to": "admins"})):
        status, refused = await node.call("POST", f"/v1/alerts/{sent.id}/{verb}", "boss", json=said)
        assert (status, refused["error"]["code"]) == (409, "over")
    assert (await node.call("POST", f"/v1/alerts/{sent.id}/resolve", "user1"))[0] == 204
    assert [entry.what for entry in await timeline(node, sent.id)] == ["opened", "told", "delivered", "resolved"]


@pytest.mark.parametrize(
    ("verb", "said", "field"),
    [
        ("snooze", {}, "body"),
        ("snooze", {"for": "1h", "until": 4_000_000_000}, "body"),
        ("snooze", {"for": "32d"}, "for"),
        ("snooze", {"until": 946_684_801}, "until"),
        ("snooze", {"for": "1h", "note": 1}, "note"),
        ("reassign", {}, "to"),
        ("reassign", {"to": "everybody"}, "to"),
        ("reassign", {"to": "user:a/b"}, "to"),
        ("resolve", {"note": "x" * 1001}, "note"),
        ("acknowledge", {"note": ["x"]}, "note"),
    ],
)
async def test_a_wrong_answer_is_refused_by_the_field(
    node: Realtime, verb: str, said: dict[str, Any], field: str
) -> None:
    sent = await opened(node)
    status, refused = await node.call("POST", f"/v1/alerts/{sent.id}/{verb}", "user1", json=said)
    assert (status, refused["error"]["fields"][0]["field"]) == (400, field)


# Seen.


async def test_whoever_reads_the_entry_of_an_incident_has_seen_it_once(node: Realtime) -> None:
    sent = await opened(node)
    for change in ("read", "unread", "read"):
        assert (await node.call("POST", f"/v1/inbox/{sent.id}/{change}", "user1"))[0] == 204

    async def is_seen() -> bool:
        return "seen" in [entry.what for entry in await timeline(node, sent.id)]

    await eventually(is_seen, what="the line that it was seen")
    # If there were a second line, it would be there before that of somebody else.
    await node.to_user("boss", sent)
    async with node.session("boss") as client:
        await client.next("hello")
        await client.say(type="read", id=sent.id)

        async def both() -> bool:
            return len([entry for entry in await timeline(node, sent.id) if entry.what == "seen"]) == 2

        await eventually(both, what="the line that another has seen it")
    seen = [entry.said for entry in await timeline(node, sent.id) if entry.what == "seen"]
    assert seen == [{"by": "user1", "from": "inbox"}, {"by": "boss", "from": "inbox"}]
    ledger = node.context.ledger
    assert not await ledger.seen(sent.id, "user1")
    assert not await ledger.seen(new_notification_id(), "user1")
    assert not await ledger.seen("x", "user1")


async def test_reading_what_is_no_incident_writes_no_timeline(node: Realtime) -> None:
    plain = await node.to_user("user1", notification("hello", data={"text": ',"alert":{"id":'}))
    alert = notification("warm", alert=AlertDetails(type="disk", level="warning"))
    await node.context.ledger.accept(NewRecord(alert, [], alert=AlertState.OPEN))
    await node.to_user("user1", alert)
    for sent in (plain, alert):
        assert (await node.call("POST", f"/v1/inbox/{sent.id}/read", "user1"))[0] == 204
    trace = Trace(node.context.store, node.context.keys)

    async def is_seen() -> bool:
        return [*(await trace.seen(alert.id)).by] == ["user1"]

    await eventually(is_seen, what="who has seen it")
    # Nothing is written of what the ledger does not know.
    assert not await node.context.store.command("EXISTS", f"{node.context.keys.shard_of(plain.id)}:n:{plain.id}")
    assert not await node.context.ledger.seen(alert.id, "user1")
    assert await timeline(node, alert.id) == []


async def test_an_entry_whose_incident_is_damaged_can_be_read(node: Realtime) -> None:
    sent = await opened(node)
    await node.context.store.command("SET", f"{node.context.keys.shard_of(sent.id)}:n:{sent.id}", "x")
    assert (await node.call("POST", f"/v1/inbox/{sent.id}/read", "user1"))[0] == 204
    assert (await node.call("GET", f"/v1/incidents/{sent.id}", "boss"))[0] == 404

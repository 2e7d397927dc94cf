"""``carillon trace``: every decision, delivery and attempt, and nothing of what was said."""

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.core.errors import AttemptOutcome, Reason
from shared.core.model import (
    RECALL,
    Channel,
    Content,
    Delivery,
    Notification,
    PhoneNumber,
    Priority,
    State,
    UserInbox,
)
from shared.ledger.claims import Outcome
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.ledger.reader import Trace, TracedRow
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.command_line import CommandLine, running_system
from tests.conftest import EmptyStore
from tests.sandbox_client import SandboxClient
from tests.waiting import eventually

FAR_MS = 4_000_000_000_000
MAIL = {"to": "secret-address@example.com", "subject": "secret-subject", "body": "secret-body"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, CommandLine]]:
    async with running_system(tmp_path_factory.mktemp("trace"), "router", "email") as running:
        _, command = running
        people = [
            {"user_id": "admin1", "roles": ["admin"], "email": "secret-address@example.com", "phone": "+14155550111"},
            {"user_id": "oncall1", "devices": [{"platform": "android", "token": "secret-token"}]},
            {"oncall": "disk", "users": ["oncall1"], "escalation": [
                {"after_s": 0, "notify": ["oncall"]}, {"after_s": 900, "notify": ["admins"]}]},
        ]  # fmt: skip
        text = "".join(json.dumps(line) + "\n" for line in people)
        assert (await command("directory", "import", "-", stdin=text)).status == 0
        yield running


async def notification_id_of(command: CommandLine, topic: str, payload: object, *options: str) -> str:
    ran = await command.send(topic, payload, "--json", *options)
    receipt = json.loads(ran.out.splitlines()[0])
    return str(receipt["notification_id"])


async def test_an_alert_shows_its_deliveries_its_suppressions_and_the_step_to_come(
    system: tuple[Stack, CommandLine],
) -> None:
    _, command = system
    payload = {"message": "secret-message", "data": {"key": "secret-data"}}
    alert_id = await notification_id_of(command, "notifications/alerts/critical/disk", payload)
    shown = await command("trace", alert_id, "--json")
    assert shown.status == 0
    trace = shown.json
    assert (trace["kind"], trace["priority"], trace["alert"]["state"]) == ("alert_critical", "critical", "open")
    found = {(row["channel"], row["recipient"]): (row["state"], row["reason"]) for row in trace["deliveries"]}
    assert found[("sms", "oncall1")] == ("suppressed", "no_address")
    assert found[("email", "oncall1")] == ("suppressed", "no_address")
    assert found[("realtime", "oncall1")][0] == "pending"
    assert found[("push", "oncall1")][0] == "pending"
    (task,) = trace["tasks"]
    assert task["task"] == {"do": "escalate", "alert_type": "disk", "round": 1}
    assert task["next_at"] is not None
    readable = await command("trace", alert_id)
    assert "escalation step 1" in readable.out
    assert "no_address" in readable.out
    assert "secret" not in shown.out + readable.out


async def test_an_acknowledgement_is_shown_with_who_gave_it_and_ends_the_escalation(
    system: tuple[Stack, CommandLine],
) -> None:
    _, command = system
    alert_id = await notification_id_of(command, "notifications/alerts/critical/disk", {"message": "Down"})
    answered = {"user_id": "oncall1", "note": "secret-note"}
    assert (await command.send(f"notifications/alerts/acknowledge/{alert_id}", answered)).status == 0
    shown = await command("trace", alert_id, "--json")
    assert (shown.json["alert"]["state"], shown.json["alert"]["acknowledged_by"]) == ("acknowledged", "oncall1")
    assert shown.json["alert"]["acknowledged_at"] is not None
    (task,) = [task for task in shown.json["tasks"] if task["task"]["do"] == "escalate"]
    assert (task["state"], task["reason"]) == ("suppressed", "acknowledged")
    readable = await command("trace", alert_id)
    assert re.search(r"^acknowledged +2\S+ by oncall1$", readable.out, re.MULTILINE)
    assert "secret" not in shown.out + readable.out


async def test_whoever_has_seen_it_is_named_with_the_time(system: tuple[Stack, CommandLine]) -> None:
    stack, command = system
    notification_id = await notification_id_of(command, "notifications/realtime/user/admin1", {"message": "Hello"})
    assert (await command("trace", notification_id, "--json")).json["seen"] == []
    async with Store(stack.store.url) as store:
        for number in range(12):
            await Ledger(store, Keys()).seen(notification_id, f"user{number:02}")
    shown = (await command("trace", notification_id, "--json")).json
    assert [one["recipient"] for one in shown["seen"]] == [f"user{number:02}" for number in range(12)]
    assert shown["seen_complete"] is True
    readable = await command("trace", notification_id)
    assert re.search(r"^seen +2\S+ by user00$", readable.out, re.MULTILINE)
    assert re.search(r"^seen +by 12 people; the first 10 are shown$", readable.out, re.MULTILINE)
    one = await command("trace", notification_id, "--recipient", "user11", "--json")
    assert [each["recipient"] for each in one.json["seen"]] == ["user11"]


async def test_attempts_are_shown_with_provider_outcome_and_reason(system: tuple[Stack, CommandLine]) -> None:
    stack, command = system
    sandbox = SandboxClient(stack.sandbox_url, stack.environment)
    await sandbox.play("smtp", {"reply": "451 4.3.0 try later", "at": "rcpt"}, to="secret-address@example.com")
    mail_id = await notification_id_of(command, "notifications/email/send", MAIL, "--wait")
    shown = await command("trace", mail_id, "--json")
    (delivery,) = shown.json["deliveries"]
    assert (delivery["state"], delivery["attempts_made"], delivery["recipient"]) == ("delivered", 2, None)
    first, second = delivery["attempts"]
    assert (first["number"], first["provider"], first["outcome"]) == (1, "smtp", "retry")
    assert first["reason"] is not None
    assert (second["number"], second["outcome"], second["reason"]) == (2, "ok", None)
    assert first["at"] < second["at"] <= delivery["ended_at"]
    readable = await command("trace", mail_id)
    assert "(address given)" in readable.out
    assert "1. " in readable.out
    assert "2. " in readable.out
    assert "secret" not in shown.out + readable.out


async def test_a_cancelled_notification_says_when(system: tuple[Stack, CommandLine]) -> None:
    _, command = system
    later = {"message": "Later", "send_at": "2099-01-01T00:00:00Z"}
    notification_id = await notification_id_of(command, "notifications/realtime/user/admin1", later)
    assert (await command("send", f"notifications/cancel/{notification_id}", "")).status == 0
    shown = await command("trace", notification_id, "--json")
    assert shown.json["cancelled_at"] is not None
    assert (shown.json["open"], shown.json["tasks"][0]["reason"]) == (0, "cancelled")
    assert "cancelled " in (await command("trace", notification_id)).out


async def test_a_broadcast_shows_its_common_entry_and_the_pages_of_its_fan_out(
    system: tuple[Stack, CommandLine],
) -> None:
    _, command = system
    payload = {"message": "Lunch", "target_groups": ["engineering"]}
    notification_id = await notification_id_of(command, "notifications/realtime/broadcast", payload)

    async def fanned_out() -> bool:
        tasks = (await command("trace", notification_id, "--json")).json["tasks"]
        return all(task["state"] == "delivered" for task in tasks)

    done: bool = await eventually(fanned_out, within_s=60)
    assert done
    shown = (await command("trace", notification_id, "--json")).json
    (entry,) = shown["deliveries"]
    assert (entry["recipient"], entry["groups"]) == (None, ["engineering"])
    assert shown["tasks"][0]["task"]["do"] == "fan_out"
    readable = (await command("trace", notification_id)).out
    assert "groups engineering" in readable
    assert "fan-out to group engineering" in readable


async def test_one_recipient_can_be_asked_for(system: tuple[Stack, CommandLine]) -> None:
    _, command = system
    alert_id = await notification_id_of(command, "notifications/alerts/warning/disk", {"message": "Nearly full"})
    shown = await command("trace", alert_id, "--recipient", "admin1", "--json")
    assert {row["recipient"] for row in shown.json["deliveries"]} == {"admin1"}
    assert shown.json["tasks"] == []
    nobody = await command("trace", alert_id, "--recipient", "admin", "--json")
    assert nobody.json["deliveries"] == []


@pytest.mark.parametrize(
    "notification_id", ["nonsense", "019e0000-0000-7000-8000-000000000000", "0197c5a2-7f00-4003-8000-000000000000"]
)
async def test_an_unknown_id_exits_with_1_and_says_how_long_records_are_kept(
    system: tuple[Stack, CommandLine], notification_id: str
) -> None:
    ran = await system[1]("trace", notification_id, settings={"RECORD_RETENTION_S": "7200"})
    assert (ran.status, ran.out) == (1, "")
    assert ran.error_line == "carillon: no such notification (records are kept 2 hours after their end)"


async def test_a_store_that_does_not_answer_is_not_an_unknown_notification(
    system: tuple[Stack, CommandLine],
) -> None:
    settings = {"REDIS_URL": "redis://:hunter2@127.0.0.1:1"}
    ran = await system[1]("trace", new_notification_id(), settings=settings)
    assert (ran.status, ran.out) == (2, "")
    assert "REDIS_URL" in ran.error_line
    assert "hunter2" not in ran.err


async def test_a_long_list_is_cut_and_counted(store: EmptyStore, system: tuple[Stack, CommandLine]) -> None:
    async with Store(store.url) as connected:
        notification_id = await large_notification(Ledger(connected, Keys()), 300)
    settings = {"REDIS_URL": store.url}
    ran = await system[1]("trace", notification_id, "--limit", "10", settings=settings)
    assert "290 more; all 300 together:" in ran.out
    assert ran.out.splitlines()[-1].split() == ["realtime", "pending", "-", "300"]
    exact = await system[1]("trace", notification_id, "--limit", "10", "--json", settings=settings)
    assert len(exact.json["deliveries"]) == 300


async def large_notification(ledger: Ledger, people: int) -> str:
    """Write a notification with one delivery for each of so many people."""
    content = Content(title="secret-title", message="secret-message")
    notification = Notification(
        id=new_notification_id(), kind="realtime_group", priority=Priority.LOW, accepted_ms=1, content=content
    )
    rows = [
        NewRow(
            Delivery(
                key=f"realtime:user{number}",
                priority=Priority.LOW,
                expires_ms=FAR_MS,
                channel=Channel.REALTIME,
                address=UserInbox(user_id=f"user{number}"),
                recipient=f"user{number}",
            )
        )
        for number in range(people)
    ]
    await ledger.accept(NewRecord(notification, rows))
    return notification.id


async def test_a_large_fan_out_is_read_whole_and_by_person(store: EmptyStore) -> None:
    async with Store(store.url) as connected:
        # More than the store keeps in one piece, more than one page.
        notification_id = await large_notification(Ledger(connected, Keys()), 3000)
        trace = Trace(connected, Keys())
        rows = [row async for row in trace.rows(notification_id)]
        assert sorted(row.key for row in rows) == sorted(f"realtime:user{number}" for number in range(3000))
        # user7 and not user70; a pattern's signs are only letters.
        assert [row.recipient async for row in trace.rows(notification_id, "user7")] == ["user7"]
        assert [row async for row in trace.rows(notification_id, "*")] == []
        assert [row async for row in trace.rows(notification_id, "user[0-9]")] == []


async def test_a_row_tells_its_whole_life(store: EmptyStore) -> None:
    async with Store(store.url) as connected:
        ledger, trace = Ledger(connected, Keys()), Trace(connected, Keys())
        notification = Notification(
            id=new_notification_id(),
            kind="sms_send",
            priority=Priority.HIGH,
            accepted_ms=1_000,
            content=Content(title="", message="secret-message"),
        )
        delivery = Delivery(
            key="sms:0",
            priority=Priority.HIGH,
            expires_ms=FAR_MS,
            channel=Channel.SMS,
            address=PhoneNumber(phone="+14155550123"),
        )
        await ledger.accept(NewRecord(notification, [NewRow(delivery)]))

        async def row() -> TracedRow:
            (found,) = [row async for row in trace.rows(notification.id)]
            return found

        async def attempt(outcome: Outcome) -> None:
            (claim,) = await ledger.claim([(notification.id, "sms:0")], timedelta(seconds=30))
            assert (claim.verdict, (await row()).state) == ("claimed", State.SENDING)
            assert await ledger.finish(claim, outcome) == "finished"

        assert ((await row()).state, (await row()).attempts) == (State.PENDING, ())
        # Not counted: the configuration was wrong. More attempts than the ledger keeps.
        await attempt(
            Outcome(State.PENDING, Reason.AUTH, counts=False, word=AttemptOutcome.OPERATOR, provider="twilio")
        )
        assert [made.number for made in (await row()).attempts] == [1]
        for _ in range(24):
            await attempt(
                Outcome(State.PENDING, Reason.RATE_LIMITED, word=AttemptOutcome.RETRY, provider="twilio", detail="429")
            )
        await attempt(
            Outcome(State.DEAD_LETTERED, Reason.REJECTED, word=AttemptOutcome.BAD, provider="twilio", provider_id="SM1")
        )
        ended = await row()
        assert (ended.state, ended.reason, ended.attempts_made) == (State.DEAD_LETTERED, "rejected", 25)
        assert [made.number for made in ended.attempts] == list(range(6, 26))
        assert (ended.attempts[-1].outcome, ended.attempts[-1].provider_id) == ("bad", "SM1")
        record = await trace.record(notification.id)
        assert record is not None
        assert (record.open_rows, record.alert, record.cancelled_at) == (0, None, None)
        (letter,) = await trace.dead_letters(10)
        assert (letter.lane, letter.notification_id, letter.row) == ("sms", notification.id, ended)


async def test_a_recall_is_shown_beside_what_it_takes_back(
    system: tuple[Stack, CommandLine],
) -> None:
    stack, command = system
    payload = {"message": "secret-message", "channels": ["realtime", "email"], "priority": "high"}
    notification_id = await notification_id_of(command, "notifications/realtime/user/admin1", payload)
    async with Store(stack.store.url) as store:
        ledger = Ledger(store, Keys())
        (claim,) = await ledger.claim([(notification_id, "realtime:admin1")], timedelta(seconds=30))
        await ledger.finish(claim, Outcome(State.DELIVERED, provider="inbox"))
        assert (await command.send(f"notifications/cancel/{notification_id}", {"recall": True})).status == 0
        readable = await command("trace", notification_id)
        assert re.search(r"^recalled +2\S+$", readable.out, re.MULTILINE)
        assert re.search(r"^realtime +admin1 +delivered +- ", readable.out, re.MULTILINE)
        assert re.search(r"^realtime +admin1 +recall pending +- ", readable.out, re.MULTILINE)
        (claim,) = await ledger.claim([(notification_id, f"realtime:admin1{RECALL}")], timedelta(seconds=30))
        await ledger.finish(claim, Outcome(State.DELIVERED, provider="inbox"))
    readable = await command("trace", notification_id)
    assert re.search(r"^realtime +admin1 +recalled +- ", readable.out, re.MULTILINE)
    shown = await command("trace", notification_id, "--json")
    assert shown.json["recalled_at"] == shown.json["cancelled_at"]
    assert [row["key"] for row in shown.json["deliveries"] if row.get("recalls")] == [f"realtime:admin1{RECALL}"]

"""``carillon audit``: 0 on a busy system, 1 and the place where something was broken by hand."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from carillon.publisher import Publisher
from shared.ledger.audit import Audit, Depth
from shared.ledger.digests import Digests
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine
from tests.digests import GROUP, item, opening
from tests.sandbox_client import SandboxClient
from tests.waiting import eventually

# How many publishes are under way at the same time.
PUBLISHES = 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Two routers that audit every second, and two email processes."""
    stack = Stack(
        tmp_path_factory.mktemp("audit"), services=("router", "email"), settings={"ROUTER_AUDIT_INTERVAL_S": "1"}
    )
    await stack.start()
    try:
        await asyncio.gather(stack.start_service("router", 1), stack.start_service("email", 1))
        yield stack
    finally:
        await stack.stop()


@pytest.fixture
def command(stack: Stack) -> CommandLine:
    return CommandLine(stack.data)


@pytest_asyncio.fixture
async def store(stack: Stack) -> AsyncIterator[Store]:
    async with Store(stack.store.url) as opened:
        yield opened


@asynccontextmanager
async def traffic(stack: Stack) -> AsyncIterator[list[str]]:
    """Publish mails to good, refused and unsteady addresses all the while; hands out the ids of what was accepted."""
    accepted: list[str] = []
    names = ("good", "refused", "unsteady")

    async def publish(publisher: Publisher) -> None:
        while True:
            mails = [{"to": f"{name}@example.com", "subject": "Hello", "body": "Body"} for name in names]
            receipt = await publisher.publish("notifications/email/batch", {"emails": mails})
            accepted.append(str(receipt.notification_id))

    async with Publisher(stack.broker.url) as publisher:
        tasks = [asyncio.create_task(publish(publisher), name=f"publish-{number}") for number in range(PUBLISHES)]
        try:
            yield accepted
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def one_accepted(stack: Stack) -> str:
    async with Publisher(stack.broker.url) as publisher:
        mail = {"to": "good@example.com", "subject": "Hello", "body": "Body", "send_at": "2099-01-01T00:00:00Z"}
        return str((await publisher.publish("notifications/email/send", mail)).notification_id)


async def gauge(stack: Stack, index: int, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{stack.ops_url('router', index)}/metrics") as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", await answer.text(), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


async def test_a_busy_system_balances_at_every_moment(stack: Stack, command: CommandLine, store: Store) -> None:
    sandbox = SandboxClient(stack.sandbox_url, stack.environment)
    await sandbox.play("smtp", {"reply": "550 5.1.1 no such user", "at": "rcpt"}, to="refused@example.com", times=None)
    await sandbox.play("smtp", {"reply": "451 4.3.0 try later", "at": "rcpt"}, to="unsteady@example.com", times=None)
    async with traffic(stack) as accepted:
        audit = Audit(store, Keys(), 86400)
        for depth in (*[Depth.COUNTERS] * 3, Depth.RECORDS):
            before = len(accepted)
            report = await audit.run(timedelta(minutes=10), depth)
            assert report.findings == []
            await eventually(lambda before=before: len(accepted) > before, within_s=30)  # type: ignore[misc]
        ran = await command("audit", "--json")
    assert (ran.status, ran.json["findings"]) == (0, []), ran.out + ran.err
    email = ran.json["accounts"]["email"]
    assert email["difference"] == 0
    assert min(email["delivered"], email["dead_lettered"], email["open"]) > 0
    await sandbox.clear()


async def test_a_changed_counter_is_reported_with_minute_and_channel_and_shown_by_every_router(
    stack: Stack, command: CommandLine, store: Store
) -> None:
    base = Keys().shard(5)
    seconds, _ = await store.command("TIME")
    minute = int(seconds) // 60 - 3
    key = f"{base}:tally:{minute}"
    await store.command("HINCRBY", key, "sms|delivered", 7)
    ran = await command("audit")
    assert ran.status == 1
    assert "do not balance" in ran.error_line
    (line,) = [line for line in ran.out.splitlines() if line.startswith("tally")]
    assert re.match(r"tally +sms +20\d\d-\d\d-\d\dT\d\d:\d\dZ +7 +accepted 0, delivered 7, ", line)
    for index in (0, 1):
        await eventually(lambda index=index: shown(stack, index, 7), within_s=30)  # type: ignore[misc]
    await store.command("HINCRBY", key, "sms|delivered", -7)
    for index in (0, 1):
        await eventually(lambda index=index: shown(stack, index, 0), within_s=30)  # type: ignore[misc]
        assert await gauge(stack, index, "carillon_audit_last_success_timestamp_seconds") > int(seconds)
    logs = "".join(stack.child("router", index).log.read_text() for index in (0, 1))
    assert logs.count("audit: does not hold") == logs.count("audit: holds again") == 1


async def shown(stack: Stack, index: int, count: int) -> bool:
    # Broken counters are found by the sample of records, too, when it comes upon that minute.
    found = await gauge(stack, index, 'carillon_audit_imbalance{channel="sms"}')
    return found >= count if count else found == 0


async def test_a_removed_schedule_entry_and_a_deleted_row_are_reported_with_the_notification(
    stack: Stack, command: CommandLine, store: Store
) -> None:
    unscheduled, rowless = await one_accepted(stack), await one_accepted(stack)
    schedule = f"{Keys().shard_of(unscheduled)}:due:email"
    due = await store.command("ZSCORE", schedule, f"{unscheduled}|email:0")
    await store.command("ZREM", schedule, f"{unscheduled}|email:0")
    record = f"{Keys().shard_of(rowless)}:n:{rowless}"
    status = await store.command("HGET", record, "s:email:0")
    await store.command("HDEL", record, "s:email:0")
    plain = await command("audit", "--json")
    assert plain.status == 1
    assert {(each["kind"], each["channel"]) for each in plain.json["findings"]} == {("schedule", "email")}
    deep = await command("audit", "--deep", "--json")
    named = {each for finding in deep.json["findings"] for each in finding["notification_ids"]}
    assert (deep.status, named) == (1, {unscheduled, rowless})
    await store.command("HSET", record, "s:email:0", status)
    await store.command("ZADD", schedule, float(due), f"{unscheduled}|email:0")
    assert (await command("audit", "--deep")).status == 0


async def test_items_of_digests_have_a_table_of_their_own_where_there_are_any(
    command: CommandLine, store: Store
) -> None:
    assert "digests" not in (await command("audit")).out
    how = opening()
    await Digests(store, Keys(), 86400).add(GROUP, item(), how)
    ran = await command("audit")
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["ITEMS", "OF", "CAME_IN", "LEFT", "TAKEN_OUT", "WAITING", "DIGESTS", "DIFFERENCE"] in lines
    assert ["email", "digests", "1", "0", "0", "1", "1", "0"] in lines
    items = f"{Keys().shard_of(how.notification.id)}:items"
    await store.command("HINCRBY", items, "email|waiting", 1)
    ran = await command("audit", "--json")
    assert (ran.status, ran.json["digests"]["email"]["difference"]) == (1, -1)
    assert {finding["kind"] for finding in ran.json["findings"]} == {"digest"}
    await store.command("HINCRBY", items, "email|waiting", -1)
    assert (await command("audit")).status == 0


async def test_a_span_without_counters_is_refused(command: CommandLine) -> None:
    ran = await command("audit", "--since", "8d")
    assert (ran.status, ran.out) == (2, "")
    assert "--since" in ran.error_line


async def test_without_a_store_the_status_is_2(command: CommandLine) -> None:
    ran = await command("audit", settings={"REDIS_URL": "redis://127.0.0.1:1"})
    assert (ran.status, ran.out) == (2, "")
    assert "REDIS_URL" in ran.error_line

"""The audit against a real Redis: it holds whatever the ledger does, and it finds what was broken by hand."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
import pytest_asyncio
import redis
from prometheus_client import REGISTRY

from services.router.upkeep.auditor import Auditor
from shared.core.errors import Reason
from shared.core.incidents import AlertState
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State
from shared.ledger.audit import Audit, Depth
from shared.ledger.audit_report import Accounts, Finding, Kind, Report
from shared.ledger.audit_results import AuditResults
from shared.ledger.claims import Outcome
from shared.ledger.dead_letters import Answer, DeadLetters, Wanted
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.records import ENDS, LEASE, accept, dead, delivery, end, now_ms, record_key
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

HOUR = timedelta(hours=1)
MINUTES = timedelta(minutes=5)
AT_ONCE = timedelta(milliseconds=1)


@dataclass
class Books:
    """A ledger and what audits it."""

    store: Store
    ledger: Ledger

    async def audit(
        self, depth: Depth = Depth.COUNTERS, *, overdue_after: timedelta = HOUR, retention_s: int = 86400
    ) -> Report:
        return await Audit(self.store, Keys(), retention_s, overdue_after).run(MINUTES, depth)

    async def only_finding(self, depth: Depth = Depth.COUNTERS) -> Finding:
        (finding,) = (await self.audit(depth)).findings
        return finding

    async def tally_key(self, notification_id: str) -> str:
        base = Keys().shard_of(notification_id)
        keys = await self.store.command("KEYS", f"{base}:tally:*")
        (key,) = keys
        return str(key.decode())


@pytest_asyncio.fixture
async def books(store: EmptyStore) -> AsyncIterator[Books]:
    async with Store(store.url) as opened:
        yield Books(opened, Ledger(opened, Keys(), record_retention_s=86400))


async def test_accounts_say_where_everything_stands(books: Books) -> None:
    for state in ENDS:
        await end(books.ledger, await accept(books.ledger, delivery()), state=state)
    await accept(books.ledger, delivery(), delivery("sms:0"))
    await accept(books.ledger, NewRow(delivery().row, State.SUPPRESSED, Reason.NO_ADDRESS))
    report = await books.audit(Depth.RECORDS)
    assert report.holds
    assert report.accounts["email"] == Accounts(6, delivered=1, suppressed=2, expired=1, dead_lettered=1, open=1)
    assert report.accounts["sms"] == Accounts(1, open=1)
    assert (report.open_rows, report.open_rows_seen, report.records_seen) == (2, 2, 6)


async def test_retries_cancellations_answers_and_rows_that_follow_keep_the_law(books: Books) -> None:
    ledger = books.ledger
    retried = await accept(ledger, delivery())
    (claim,) = await ledger.claim([(retried, "email:0")], LEASE)
    await ledger.finish(claim, Outcome(State.PENDING, Reason.NETWORK, timedelta(hours=1)))
    await ledger.cancel(await accept(ledger, delivery("email:0"), delivery("email:1")))
    followed = await accept(ledger, delivery())
    (claim,) = await ledger.claim([(followed, "email:0")], LEASE)
    await ledger.finish(claim, Outcome(State.DELIVERED, then=[delivery("email:1"), delivery("sms:1")]))
    answered = await _alert(ledger)
    await ledger.alerts.resolve(answered)
    assert (await ledger.claim([(answered, "escalate:1")], LEASE))[0].verdict == "resolved"
    report = await books.audit(Depth.RECORDS)
    assert report.findings == []
    assert report.accounts["email"] == Accounts(6, delivered=1, suppressed=3, open=2)


async def _alert(ledger: Ledger) -> str:
    row = Delivery(
        key="escalate:1", channel=Channel.EMAIL, priority=Priority.CRITICAL, expires_ms=now_ms() + 3_600_000,
        address=EmailAddress(email="user@example.com"),
    )  # fmt: skip
    notification = Notification(
        id=new_notification_id(), kind="alert_critical", priority=Priority.CRITICAL, accepted_ms=now_ms(),
        content=Content(title="Alert", message="Down"),
    )  # fmt: skip
    await ledger.accept(NewRecord(notification, [NewRow(row)], alert=AlertState.OPEN))
    return notification.id


async def test_what_is_due_in_a_month_is_in_the_accounts_of_that_minute_and_not_forgotten(books: Books) -> None:
    due_ms = now_ms() + 30 * 86_400_000
    scheduled = await accept(books.ledger, delivery(due_ms=due_ms, lifetime_s=31 * 86400))
    report = await books.audit(Depth.RECORDS)
    assert report.holds
    assert (report.accounts["email"], report.open_rows) == (Accounts(), 1)
    kept_s = await books.store.command("TTL", await books.tally_key(scheduled))
    assert kept_s > 37 * 86400


async def test_a_changed_counter_is_found_in_its_minute_and_channel(books: Books) -> None:
    notification_id = await accept(books.ledger, delivery())
    await end(books.ledger, notification_id)
    key = await books.tally_key(notification_id)
    await books.store.command("HINCRBY", key, "email|delivered", 2)
    found = await books.only_finding()
    assert (found.kind, found.lane, found.count) == (Kind.TALLY, "email", 2)
    assert found.minute is not None
    assert int(found.minute.timestamp()) // 60 == int(key.rpartition(":")[2])
    assert found.numbers == Accounts(1, delivered=3).named
    deep = await books.audit(Depth.RECORDS)
    assert [each.kind for each in deep.findings] == [Kind.TALLY, Kind.ROWS]
    assert deep.imbalance()["email"] == 4


async def test_counters_that_agree_with_each_other_and_not_with_the_records_are_found(books: Books) -> None:
    notification_id = await accept(books.ledger, delivery())
    await end(books.ledger, notification_id)
    key = await books.tally_key(notification_id)
    await books.store.command("HINCRBY", key, "email|delivered", 1)
    await books.store.command("HINCRBY", key, "email|created", 1)
    assert (await books.audit()).holds
    found = await books.only_finding(Depth.RECORDS)
    assert (found.kind, found.lane, found.count) == (Kind.ROWS, "email", 1)
    assert found.numbers == {"accepted": 2, "accepted_in_records": 1, "delivered": 2, "delivered_in_records": 1}
    assert (await books.only_finding(Depth.SAMPLE)).kind is Kind.ROWS


async def test_a_deleted_row_is_found_by_its_notification(books: Books) -> None:
    notification_id = await accept(books.ledger, delivery("email:0"), delivery("email:1"), shard=1)
    await accept(books.ledger, delivery(), shard=2)
    await books.store.command("HDEL", record_key(notification_id), "s:email:1", "d:email:1")
    report = await books.audit(Depth.RECORDS)
    assert {each.kind for each in report.findings} == {Kind.SCHEDULE, Kind.ROWS, Kind.OPEN_COUNT}
    for each in report.findings:
        assert each.notification_ids == (set() if each.kind is Kind.ROWS else {notification_id})
    # The sweeper makes a dead letter of a row that is gone; from then on the accounts hold.
    await books.store.command("ZADD", f"{Keys().shard_of(notification_id)}:due:email", 1, f"{notification_id}|email:1")
    (ended,) = (await books.ledger.schedule.sweep(10)).ended
    assert (ended.key, ended.reason) == ("email:1", Reason.UNREADABLE)
    assert (await books.audit(Depth.RECORDS)).holds


async def test_a_deleted_record_is_found_by_its_notification(books: Books) -> None:
    notification_id = await accept(books.ledger, delivery())
    await end(books.ledger, notification_id)
    await books.store.command("DEL", record_key(notification_id))
    report = await books.audit(Depth.RECORDS)
    assert [(each.kind, each.lane) for each in report.findings] == [(Kind.ROWS, "email"), (Kind.MISSING, "router")]
    assert report.findings[1].notification_ids == {notification_id}


async def test_a_removed_schedule_entry_is_found(books: Books) -> None:
    notification_id = await accept(books.ledger, delivery())
    await books.store.command("ZREM", f"{Keys().shard_of(notification_id)}:due:email", f"{notification_id}|email:0")
    found = await books.only_finding()
    assert (found.kind, found.lane, found.count) == (Kind.SCHEDULE, "email", 1)
    assert found.numbers == {"open": 1, "scheduled": 0}
    deep = await books.audit(Depth.RECORDS)
    assert {each.notification_ids for each in deep.findings} == {frozenset(), frozenset({notification_id})}


async def test_an_open_record_that_would_be_forgotten_is_found(books: Books) -> None:
    notification_id = await accept(books.ledger, delivery())
    await books.store.command("EXPIRE", record_key(notification_id), 1000)
    found = await books.only_finding(Depth.RECORDS)
    assert (found.kind, found.notification_ids) == (Kind.EXPIRING, frozenset({notification_id}))


async def test_a_fan_out_larger_than_a_page_is_counted_row_by_row(books: Books) -> None:
    keys = [f"email:{number}" for number in range(2_500)]
    notification_id = await accept(books.ledger, *map(delivery, keys))
    for key in keys[:100]:
        await end(books.ledger, notification_id, key)
    assert (await books.audit(Depth.RECORDS)).holds
    await books.store.command("HDEL", record_key(notification_id), f"s:{keys[50]}")
    found = await books.only_finding(Depth.RECORDS)
    assert (found.kind, found.count) == (Kind.ROWS, 1)
    assert found.numbers["accepted_in_records"] == 2_499


async def test_records_that_may_have_expired_are_not_missed(books: Books) -> None:
    notification_id = await accept(books.ledger, delivery())
    await end(books.ledger, notification_id)
    await books.store.command("DEL", record_key(notification_id))
    report = await books.audit(Depth.RECORDS, retention_s=60)
    assert (report.holds, report.records_seen) == (True, 0)


async def test_what_nobody_sweeps_is_overdue_until_somebody_does(books: Books) -> None:
    late = await accept(books.ledger, delivery(due_ms=now_ms() + 20))
    found = await eventually(lambda: _first_overdue(books, AT_ONCE))
    assert (found.kind, found.lane, found.count) == (Kind.UNSWEPT, "email", 1)
    assert found.notification_ids == {late}

    async def swept() -> bool:
        await books.ledger.schedule.sweep(10)
        return (await books.audit(overdue_after=AT_ONCE)).holds

    assert await eventually(swept)


async def test_what_becomes_overdue_while_the_audit_reads_is_for_the_next_one_to_find(
    books: Books, store: EmptyStore
) -> None:
    late = await accept(books.ledger, delivery(due_ms=now_ms() + 3_600_000))
    schedule = f"{Keys().shard_of(late)}:due:email"

    with redis.Redis.from_url(store.url) as client:

        def become_due_once_counted(what: str, done: int, of: int) -> None:
            due_ms = now_ms()
            if (what, done) == ("schedules", of) and client.zscore(schedule, f"{late}|email:0") > due_ms:
                client.zadd(schedule, {f"{late}|email:0": due_ms})
                while now_ms() <= due_ms + 1:
                    pass

        audit = Audit(books.store, Keys(), 86400, AT_ONCE)
        report = await audit.run(MINUTES, Depth.COUNTERS, become_due_once_counted)
    assert report.findings == []
    found = await books.audit(overdue_after=AT_ONCE)
    assert [(each.kind, each.count, each.notification_ids) for each in found.findings] == [
        (Kind.UNSWEPT, 1, frozenset({late}))
    ]


async def _first_overdue(books: Books, overdue_after: timedelta) -> Finding | None:
    findings = (await books.audit(overdue_after=overdue_after)).findings
    return findings[0] if findings else None


async def test_rows_past_their_expiry_and_lapsed_leases_are_overdue_although_nobody_looks_yet(
    books: Books,
) -> None:
    expired = await accept(books.ledger, delivery(due_ms=now_ms() + 20, lifetime_s=0.1))
    held = await accept(books.ledger, delivery("sms:0"))
    await books.ledger.claim([(held, "sms:0")], timedelta(milliseconds=20))
    # As a sweep of the release before left them: it looked again later than a row's deadline.
    for notification_id, lane, key in ((expired, "email", "email:0"), (held, "sms", "sms:0")):
        schedule = f"{Keys().shard_of(notification_id)}:due:{lane}"
        await books.store.command("ZADD", schedule, now_ms() + 3_600_000, f"{notification_id}|{key}")

    async def both() -> list[Finding] | None:
        findings = list((await books.audit(overdue_after=timedelta(milliseconds=100))).findings)
        return findings if {each.kind for each in findings} == {Kind.LEASE_LAPSED, Kind.PAST_EXPIRY} else None

    lapsed, past = await eventually(both)
    assert (lapsed.kind, lapsed.lane, lapsed.notification_ids) == (Kind.LEASE_LAPSED, "sms", frozenset({held}))
    assert (past.kind, past.lane, past.notification_ids) == (Kind.PAST_EXPIRY, "email", frozenset({expired}))


async def test_the_law_holds_at_every_moment_of_a_busy_system(books: Books) -> None:
    ended = 0
    stop = asyncio.Event()

    async def work(number: int) -> None:
        nonlocal ended
        while not stop.is_set():
            keys = [f"email:{each}" for each in range(3)]
            notification_id = await accept(books.ledger, *map(delivery, keys))
            for key, state in zip(keys, ENDS, strict=False):
                await end(books.ledger, notification_id, key, state, Reason.REJECTED)
                ended += 1
            if number == 0:
                await replay_all()

    async def replay_all() -> None:
        letters = DeadLetters(books.store, Keys())
        wanted = Wanted(await letters.now())
        async for page in letters.pages(wanted, 5):
            for entry in page:
                if await letters.replay(entry) is Answer.REOPENED:
                    await end(books.ledger, entry.notification_id, entry.key)

    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(work(number), name=f"work-{number}")
        try:
            for depth in (*[Depth.COUNTERS] * 4, Depth.RECORDS, Depth.SAMPLE):
                before = ended
                report = await books.audit(depth)
                assert report.findings == []
                await eventually(lambda before=before: ended > before)  # type: ignore[misc]
        finally:
            stop.set()
    report = await books.audit(Depth.RECORDS)
    assert report.holds
    assert report.accounts["email"].open == 0


def auditor(books: Books) -> Auditor:
    return Auditor(books.store, Keys(), 86400, timedelta(minutes=5))


@asynccontextmanager
async def auditing(*auditors: Auditor, interval_s: float = 0.2) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.work_forever(interval_s), name="auditor") for each in auditors]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def gauge(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None
    return float(value)


async def test_a_router_shows_the_imbalance_logs_its_begin_and_end_once_and_its_heartbeat(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "services.router.upkeep.auditor")
    notification_id = await accept(books.ledger, delivery())
    key = await books.tally_key(notification_id)
    started_s = time.time()
    async with auditing(*(auditor(books) for _ in range(3))):
        await eventually(lambda: heartbeat() > started_s - 1)
        assert imbalance("email") == 0
        await books.store.command("HINCRBY", key, "email|created", 3)
        await eventually(lambda: imbalance("email") >= 3)
        broken_s = heartbeat()
        await eventually(lambda: heartbeat() > broken_s)
        await books.store.command("HINCRBY", key, "email|created", -3)
        await eventually(lambda: imbalance("email") == 0)
    lines = [record for record in caplog.records if record.name == "services.router.upkeep.auditor"]
    told = [(record.levelname, record.getMessage()) for record in lines]
    assert told == [("ERROR", "audit: does not hold"), ("INFO", "audit: holds again")]
    assert notification_id not in caplog.text
    assert vars(lines[0])["imbalance"].keys() == {"email"}


def heartbeat() -> float:
    return gauge("carillon_audit_last_success_timestamp_seconds")


def imbalance(channel: str) -> float:
    return gauge("carillon_audit_imbalance", channel=channel)


async def test_a_router_leaves_the_turn_to_the_one_that_has_it_and_takes_over_when_it_is_gone(books: Books) -> None:
    turn = f"{Keys().audit}:turn"
    await books.store.command("SET", turn, 1, "PX", 1_000)
    held_until_ms = await books.store.command("PEXPIRETIME", turn)
    async with auditing(auditor(books), auditor(books)):
        first = await eventually(AuditResults(books.store, Keys()).last_periodic)
    assert first.at.timestamp() * 1000 >= held_until_ms


async def test_the_periodic_audit_takes_expired_dead_letters_off_the_list(books: Books) -> None:
    old, young = await dead(books.ledger), await dead(books.ledger)
    listed = f"{Keys().shard(0)}:dead"
    await books.store.command("ZADD", listed, now_ms() - 90_000_000, f"email|{old}|email:0")
    async with auditing(auditor(books)):

        async def trimmed() -> bool:
            return bool(await books.store.command("ZCARD", listed) == 1)

        await eventually(trimmed)
    assert await books.store.command("ZRANGE", listed, 0, -1) == [f"email|{young}|email:0".encode()]

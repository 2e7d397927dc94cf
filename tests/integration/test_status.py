"""One look at a real store: what it finds, what it costs, and what damaged records hide from it."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from carillon.status.reading import read_status
from carillon.status.status import Status
from shared.core.errors import Reason
from shared.core.incidents import AlertState
from shared.core.model import AlertDetails, Channel, Content, Notification, Priority
from shared.delivery.by_hand import ByHand, Target
from shared.ledger.audit import Audit, Depth
from shared.ledger.audit_results import RESULTS_KEPT, AuditResults, MadeBy
from shared.ledger.lanes import read_lanes
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord
from shared.runtime.alive import Alive, Processes
from shared.store.keys import SHARDS, Keys, new_notification_id, shard_of_id
from shared.store.replies import pairs
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.records import accept, dead, delivery, now_ms
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

KEYS = Keys()
NOBODY = ("router", "email", "sms", "push", "realtime")
HOUR_MS = 3_600_000


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    return Ledger(opened, KEYS)


async def look(store: Store) -> Status:
    """Look at a store without services, which are all left out."""
    return await read_status(store, KEYS, without=NOBODY)


@pytest_asyncio.fixture
async def running(opened: Store) -> AsyncIterator[None]:
    """A process of each service that says that it is alive."""
    said = [
        Alive(
            opened, KEYS, service=service, process=f"{service}-1", checks={}, standings=list,
            now=lambda: datetime.now(UTC),
        )
        for service in NOBODY
    ]  # fmt: skip

    async def all_there() -> bool:
        return all((await Processes(opened, KEYS).of(NOBODY)).values())

    tasks = [asyncio.create_task(each.work_forever(asyncio.Event())) for each in said]
    await eventually(all_there)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def told(status: Status) -> dict[str, str]:
    """The runbooks of all troubles, and what is said."""
    return {trouble.runbook: trouble.what for trouble in status.troubles}


async def test_an_empty_store_is_well(opened: Store) -> None:
    status = await look(opened)
    assert status.well, status.troubles
    assert (status.incidents.count, status.dead_letters.count, status.audit, status.gaps_in_a_day) == (0, 0, None, None)
    assert status.store.known
    assert status.store.used_bytes > 0


@pytest.mark.usefixtures("running")
async def test_a_row_that_nobody_has_taken_up_is_overdue_and_one_that_waits_is_counted(
    opened: Store, ledger: Ledger
) -> None:
    notification_id = await accept(ledger, delivery())
    base = KEYS.shard_of(notification_id)
    (email,) = [lane for lane in (await look(opened)).lanes if lane.name == "email"]
    assert (email.open, email.waiting, email.handed_over, email.overdue) == (1, 0, 1, 0)
    await opened.command("ZADD", f"{base}:due:email", now_ms() - HOUR_MS, f"{notification_id}|email:0")
    status = await look(opened)
    assert told(status)["audit-overdue"] == "email: 1 row is overdue, and no router has taken them up."


async def test_what_waits_is_told_by_priority_with_the_time_of_the_next(opened: Store, ledger: Ledger) -> None:
    notification_id = await accept(ledger, delivery())
    base, member = KEYS.shard_of(notification_id), f"{notification_id}|email:0"
    await opened.command("ZREM", f"{base}:out:email:normal", member)
    await opened.command("ZADD", f"{base}:ready:email:normal", 1, member)
    (email,) = [lane for lane in await read_lanes(opened, KEYS) if lane.name == "email"]
    queue = email.queues[Priority.NORMAL]
    assert (queue.waiting, queue.handed_over) == (1, 0)
    assert queue.waits_s is not None
    assert 0 <= queue.waits_s < 60
    assert email.queues[Priority.CRITICAL].waits_s is None


@pytest.mark.usefixtures("running")
async def test_what_has_waited_for_long_is_a_trouble_of_its_channel(opened: Store, ledger: Ledger) -> None:
    base = KEYS.shard_of(await accept(ledger, delivery()))
    ((second, count),) = pairs(await opened.command("HGETALL", f"{base}:age:email"))
    earlier = int(second) - HOUR_MS // 1000
    await opened.command("DEL", f"{base}:age:email", f"{base}:since:email")
    await opened.command("HSET", f"{base}:age:email", earlier, count)
    await opened.command("ZADD", f"{base}:since:email", earlier, earlier)
    said = told(await look(opened))
    assert said["deliveries-wait"] == "email: the oldest of 1 open rows has been due for 1 h."


async def test_dead_letters_by_our_own_fault_have_their_runbook(opened: Store, ledger: Ledger) -> None:
    await dead(ledger, reason=Reason.REJECTED)
    assert (await look(opened)).well
    for reason in (Reason.UNREADABLE, Reason.WORKER_DIED, Reason.INTERNAL_ERROR, Reason.INTERNAL_ERROR):
        await dead(ledger, reason=reason, shard=3)
    status = await look(opened)
    assert told(status) == {
        "unreadable-rows": "email: a dead letter in 15 min with the reason unreadable.",
        "workers-die": "email: a dead letter in 15 min with the reason worker_died.",
        "dead-letters": "email: 2 dead letters in 15 min with the reason internal_error.",
    }
    assert status.dead_letters.count == 5
    assert status.dead_letters.by_reason["email", "rejected"] == 1


async def test_many_dead_letters_of_one_channel_are_more_than_bad_addresses(opened: Store, ledger: Ledger) -> None:
    for _ in range(10):
        await dead(ledger, reason=Reason.GONE)
    assert told(await look(opened))["dead-letters"] == "email: 10 of 10 deliveries of 15 min became dead letters."


async def test_the_newest_results_of_audits_are_kept_and_what_the_routers_found_counts(
    opened: Store, ledger: Ledger
) -> None:
    results = AuditResults(opened, KEYS)
    audit = Audit(opened, KEYS, 86400, timedelta(milliseconds=1))
    well = await audit.run(timedelta(minutes=5), Depth.COUNTERS)
    assert await results.keep(well, MadeBy.ROUTER, Depth.SAMPLE, timedelta(seconds=0.25)) is None
    notification_id = await accept(ledger, delivery())
    await opened.command("HINCRBY", f"{KEYS.shard_of(notification_id)}:open", "email", 1)
    await opened.command("HINCRBY", f"{KEYS.shard_of(notification_id)}:age:email", now_ms() // 1000, 1)
    off = await audit.run(timedelta(minutes=5), Depth.COUNTERS)
    assert not off.holds
    before = await results.keep(off, MadeBy.OPERATOR, Depth.COUNTERS, timedelta(seconds=1))
    assert before is not None
    assert (before.holds, before.took_s, before.depth) == (True, 0.25, "sample")
    status = await look(opened)
    assert (status.audit and status.audit.holds, status.periodic_audit and status.periodic_audit.holds) == (False, True)
    assert "audit-imbalance" not in told(status)
    for _ in range(RESULTS_KEPT):
        await results.keep(off, MadeBy.ROUTER, Depth.SAMPLE, timedelta(seconds=1))
    kept = await results.newest()
    assert len(kept) == RESULTS_KEPT
    assert {each.by for each in kept} == {MadeBy.ROUTER}
    assert kept[0].document["findings"]
    assert await opened.command("TTL", f"{KEYS.audit}:results") > 0
    assert told(await look(opened))["audit-imbalance"].startswith("email: the last audit cannot account for ")


async def test_what_is_paused_by_hand_is_told_with_who_and_why(opened: Store) -> None:
    until = timedelta(hours=2)
    await ByHand(opened, KEYS).pause(Target(Channel.SMS), reason="the account is empty", by="ada", length=until)
    status = await look(opened)
    said = told(status)["provider-paused-by-hand"]
    assert said.startswith("sms is paused by hand by ada until ")
    assert said.endswith(": the account is empty.")


@pytest.mark.usefixtures("running")
async def test_open_incidents_are_counted_and_are_no_trouble(opened: Store, ledger: Ledger) -> None:
    for number in range(3):
        alert = AlertDetails(type="disk", level="critical", requires_acknowledgment=True)
        content = Content(title="Disk full", message="node-7", alert=alert)
        notification = Notification(
            id=new_notification_id(), kind="alert_critical", priority=Priority.CRITICAL, accepted_ms=now_ms(),
            content=content,
        )  # fmt: skip
        is_open = AlertState.ACKNOWLEDGED if number == 2 else AlertState.OPEN
        await ledger.accept(NewRecord(notification, [delivery()], is_incident=True, alert=is_open))
    status = await look(opened)
    assert (status.incidents.count, dict(status.incidents.states), status.well) == (
        3,
        {"open": 2, "acknowledged": 1},
        True,
    )


async def test_damaged_keys_hide_nothing_else(opened: Store, ledger: Ledger) -> None:
    await dead(ledger, reason=Reason.WORKER_DIED, shard=3)
    base = KEYS.shard(4)
    broken = (
        f"{base}:due:email", f"{base}:ready:email:high", f"{base}:out:email:low", f"{base}:dead", f"{base}:incidents",
        f"{base}:open", f"{KEYS.audit}:results", KEYS.alive("email"), f"{KEYS.oncall_watch}:result",
        f"{KEYS.providers}:paused",
    )  # fmt: skip
    for key in broken:
        await opened.command("DEL", key)
        await opened.command("SET" if not key.endswith("result") else "LPUSH", key, "something else")
    status = await look(opened)
    assert "workers-die" in told(status)


async def test_a_look_costs_the_same_however_much_is_open(opened: Store, ledger: Ledger) -> None:
    """Counted by what the store was asked: the time of one look says little on a busy machine."""

    async def commands() -> int:
        (stats,) = await opened.info("stats")
        return int(stats["total_commands_processed"])

    async def one() -> int:
        before = await commands()
        await look(opened)
        return await commands() - before

    async def cost() -> int:
        # What others ask the same server only adds to it.
        return min([await one() for _ in range(3)])

    async def fill() -> None:
        for shard in range(SHARDS):
            notification_id = await accept(ledger, *(delivery(f"email:{number}") for number in range(50)), shard=shard)
            assert shard_of_id(notification_id) == shard

    def minute() -> int:
        return int(time.time() // 60)

    await look(opened)
    empty = await cost()
    began = time.monotonic()
    await fill()
    assert time.monotonic() - began < 60
    # The scripts look at what is there, and at no row but the first.
    assert await cost() < empty * 3
    began_in = full = fuller = 0
    # Each minute has counters of its own, and a look reads those of the last ones.
    while began_in != minute():
        began_in, full = minute(), await cost()
        await fill()
        await fill()
        fuller = await cost()
    assert abs(fuller - full) < 50

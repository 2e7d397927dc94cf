"""A worker against a real broker and store: every row once, whatever dies meanwhile."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import median

import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from services.router.upkeep.sweeper import sweep_forever
from shared.core.clock import SystemClock
from shared.core.errors import AttemptOutcome, Reason
from shared.core.incidents import AlertState
from shared.core.model import Channel, Content, Delivery, EmailAddress, Job, Notification, Priority, State
from shared.core.topics import Topics
from shared.delivery import worker as module
from shared.delivery.worker import Worker
from shared.ledger import jobs
from shared.ledger.claims import Claim, Outcome
from shared.ledger.jobs import Settled, jobs_of, settled
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import GRACE_MS, NewRecord, NewRow
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Line, Store, on_line
from shared.telemetry.metrics import redriven_deliveries, series
from tests.conftest import EmptyStore
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

LEASE = timedelta(seconds=30)
DELIVERED = Outcome(State.DELIVERED)

NewServer = Callable[[], LocalServer]


@dataclass
class Bench:
    """A worker of the email lane, and what it did. ``gate`` holds back every row whose key it is asked for."""

    ledger: Ledger
    topics: Topics
    publisher: Broker
    worker: Worker[Delivery]
    performed: list[tuple[str, Claim]] = field(default_factory=list)
    performed_at_ms: dict[str, float] = field(default_factory=dict)
    reported: list[tuple[str, Outcome]] = field(default_factory=list)
    outcomes: dict[str, list[Outcome | Exception]] = field(default_factory=dict)
    open_gate: asyncio.Event = field(default_factory=asyncio.Event)
    in_hand: Counter[Priority] = field(default_factory=Counter)

    async def perform(self, _notification: Notification, delivery: Delivery, claim: Claim) -> Outcome:
        self.performed.append((delivery.key, claim))
        self.performed_at_ms[delivery.key] = time.time() * 1000
        self.in_hand[delivery.priority] += 1
        if delivery.priority is not Priority.CRITICAL:
            await self.open_gate.wait()
        self.in_hand[delivery.priority] -= 1
        script = self.outcomes.get(delivery.key)
        outcome = script.pop(0) if script else DELIVERED
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def report(self, _notification: Notification, delivery: Delivery, _claim: Claim, outcome: Outcome) -> None:
        self.reported.append((delivery.key, outcome))

    def times(self) -> Counter[str]:
        return Counter(key for key, _ in self.performed)

    def ends(self) -> Counter[tuple[str, State]]:
        return Counter((key, outcome.state) for key, outcome in self.reported if outcome.state.is_end)

    async def accept(self, *keys: str, priority: Priority = Priority.NORMAL, lifetime_s: float = 60) -> str:
        """Write deliveries to the ledger and return the notification's id."""
        record = self.record(*keys, priority=priority, lifetime_s=lifetime_s)
        await self.ledger.accept(record)
        await self.publish(record)
        return record.notification.id

    @staticmethod
    def record(*keys: str, priority: Priority = Priority.NORMAL, lifetime_s: float = 60, due_ms: int = 0) -> NewRecord:
        now_ms = round(time.time() * 1000)
        notification = Notification(
            id=new_notification_id(),
            kind="email_send",
            priority=priority,
            accepted_ms=now_ms,
            content=Content(title="Subject", message="Body"),
        )
        rows = [
            NewRow(
                Delivery(
                    key=key,
                    channel=Channel.EMAIL,
                    priority=priority,
                    address=EmailAddress(email="user@example.com"),
                    due_ms=due_ms,
                    expires_ms=now_ms + round(lifetime_s * 1000),
                )
            )
            for key in keys
        ]
        return NewRecord(notification, rows)

    async def publish(self, record: NewRecord) -> None:
        """Hand the jobs of a record to the broker."""
        messages = jobs_of(self.topics, record.content, record.rows)
        handovers = [self.publisher.publish(topic, payload) for topic, payload in messages]
        assert await settled(handovers, 10) == Settled(taken=len(handovers))

    async def publish_raw(self, payload: str, priority: Priority = Priority.NORMAL) -> None:
        assert await self.publisher.publish(self.topics.jobs("email", priority), payload)

    async def open_rows(self) -> int:
        return (await open_work(self.ledger.store, self.ledger.keys))["email"].count

    def unacknowledged(self) -> int:
        connections = [link._broker for link in self.worker.links]
        return sum(len(connection._unacknowledged) for connection in connections if connection is not None)


@asynccontextmanager
async def bench_on(
    broker_url: str,
    store_url: str,
    prefix: str,
    *,
    concurrency: int = 20,
    lease: timedelta = LEASE,
    line: Line = Line.USUAL,
) -> AsyncIterator[Bench]:
    address = BrokerAddress.parse(broker_url)
    topics = Topics(prefix)
    name = prefix.rstrip("/")
    async with Store(store_url) as store, Broker(address, f"{name}-publisher") as publisher:
        ledger = Ledger(store, Keys(), record_retention_s=600)
        bench: Bench

        async def perform(notification: Notification, delivery: Delivery, claim: Claim) -> Outcome:
            return await bench.perform(notification, delivery, claim)

        def report(notification: Notification, delivery: Delivery, claim: Claim, outcome: Outcome) -> None:
            bench.report(notification, delivery, claim, outcome)

        worker = Worker(
            "email",
            Job[Delivery],
            perform,
            report,
            ledger=ledger,
            topics=topics,
            address=address,
            client_id=name,
            concurrency=concurrency,
            lease=lease,
            line=line,
        )
        bench = Bench(ledger, topics, publisher, worker)
        running = [asyncio.create_task(worker.run(), name="worker")]
        running.append(
            asyncio.create_task(sweep_forever(ledger.schedule, topics, worker.links[-1], SystemClock()), name="sweeper")
        )
        try:
            await eventually(lambda: worker.is_up, within_s=30)
            yield bench
            # A worker or sweeper that failed is the news.
            assert not [task for task in running if task.done()]
        finally:
            await worker.abandon()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@pytest_asyncio.fixture
async def bench(broker: LocalServer, store: EmptyStore, topic_prefix: str) -> AsyncIterator[Bench]:
    async with bench_on(broker.url, store.url, topic_prefix) as made:
        yield made


async def test_every_row_of_a_job_is_performed_once_and_ends_once(bench: Bench) -> None:
    bench.open_gate.set()
    keys = [f"email:{number}" for number in range(120)]
    await bench.accept(*keys)
    await eventually(lambda: len(bench.reported) == len(keys))
    assert bench.times() == Counter(keys)
    assert await bench.open_rows() == 0
    assert bench.unacknowledged() == 0


async def test_the_same_job_again_changes_nothing(bench: Bench) -> None:
    bench.open_gate.set()
    record = bench.record("email:0")
    await bench.ledger.accept(record)
    for _ in range(5):
        await bench.publish(record)
    await eventually(lambda: bench.reported)
    await bench.accept("email:marker")
    await eventually(lambda: bench.ends()["email:marker", State.DELIVERED])
    assert bench.times()["email:0"] == 1


async def test_what_nobody_took_goes_out_when_somebody_is_there(
    bench: Bench, store: EmptyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRACE_MS, Priority.NORMAL, 50)
    bench.open_gate.set()
    await bench.worker.stop_intake()
    record = bench.record("email:0", "email:1")
    await bench.ledger.accept(record)
    swept = series(redriven_deliveries, "email")
    before = swept._value.get()
    await eventually(lambda: swept._value.get() >= before + 20)
    key = f"{Keys().shard_of(record.notification.id)}:n:{record.notification.id}"
    async with Store(store.url) as look:
        status = (await look.command("HGET", key, "s:email:0")).decode().split("|")
    # As after a single re-drive, and not as long as after ten.
    assert int(status[5]) <= 1
    for link in bench.worker.links:
        assert link._broker is not None
        await link._broker.subscribe(*link._filters)
    await eventually(lambda: len(bench.reported) == 2)
    assert bench.times() == Counter(["email:0", "email:1"])


async def test_what_waits_goes_out_when_it_is_due_and_not_in_bursts(bench: Bench) -> None:
    bench.open_gate.set()
    began_ms = round(time.time() * 1000)
    due_ms = {f"email:{number}": began_ms + 1_000 + number * 40 for number in range(40)}
    await asyncio.gather(*(bench.ledger.accept(bench.record(key, due_ms=due)) for key, due in due_ms.items()))
    await eventually(lambda: len(bench.reported) == len(due_ms))
    assert bench.times() == Counter(list(due_ms))
    late_ms = [bench.performed_at_ms[key] - due for key, due in due_ms.items()]
    assert min(late_ms) >= 0
    # Handed out as they are found, every quarter of a second, half of them would be late by more than an eighth.
    assert median(late_ms) < 60


async def test_critical_is_served_while_low_fills_its_share(
    broker: LocalServer, store: EmptyStore, topic_prefix: str
) -> None:
    async with bench_on(broker.url, store.url, topic_prefix, concurrency=4) as bench:
        low = [f"email:low-{number}" for number in range(16)]
        await bench.accept(*low, priority=Priority.LOW)
        await bench.accept("email:normal-0", "email:normal-1", priority=Priority.NORMAL)
        await eventually(lambda: bench.in_hand == Counter({Priority.LOW: 2, Priority.NORMAL: 1}))
        critical = [f"email:critical-{number}" for number in range(16)]
        await bench.accept(*critical, priority=Priority.CRITICAL)
        await eventually(lambda: sum(bench.times()[key] for key in critical) == 16)
        assert bench.in_hand[Priority.LOW] == 2
        bench.open_gate.set()
        await eventually(lambda: len(bench.ends()) == 34)
        assert max(bench.times().values()) == 1


async def test_a_poisonous_row_is_a_dead_letter_after_5_tries_and_disturbs_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERNAL_ERROR_WAIT", timedelta(milliseconds=20))
    bench.open_gate.set()
    bench.outcomes["email:poison"] = [ZeroDivisionError("poison") for _ in range(9)]
    await bench.accept("email:0", "email:poison", "email:1")
    await eventually(lambda: bench.ends()["email:poison", State.DEAD_LETTERED], within_s=30)
    assert bench.times() == {"email:0": 1, "email:1": 1, "email:poison": 5}
    assert bench.ends() == {
        ("email:0", State.DELIVERED): 1,
        ("email:1", State.DELIVERED): 1,
        ("email:poison", State.DEAD_LETTERED): 1,
    }
    (last,) = [outcome for _, outcome in bench.reported if outcome.state is State.DEAD_LETTERED]
    assert (last.reason, last.detail) == (Reason.INTERNAL_ERROR, "ZeroDivisionError")
    # How far the failed attempts came is unknown.
    claims = [claim for key, claim in bench.performed if key == "email:poison"]
    assert [claim.in_doubt for claim in claims] == [False, True, True, True, True]


async def test_an_accident_after_many_attempts_is_no_dead_letter(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERNAL_ERROR_WAIT", timedelta(milliseconds=20))
    bench.open_gate.set()
    away = Outcome(State.PENDING, Reason.NETWORK, timedelta(milliseconds=1), word=AttemptOutcome.RETRY)
    bench.outcomes["email:0"] = [*[away] * 6, ZeroDivisionError("accident")]
    await bench.accept("email:0")
    await eventually(lambda: bench.ends()["email:0", State.DELIVERED], within_s=30)
    assert bench.times() == {"email:0": 8}


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{",
        "[]",
        '{"v":1}',
        (
            '{"v":99,"notification":{"id":"x","kind":"k","priority":"low","accepted_ms":1,'
            '"content":{"title":"t","message":"m"}},"rows":[]}'
        ),
        (
            '{"v":1,"notification":{"id":"not-an-id","kind":"k","priority":"low","accepted_ms":1,'
            '"content":{"title":"t","message":"m"}},"rows":[{"key":"email:0","channel":"email","priority":"low",'
            '"address":{"to":"email","email":"user@example.com"},"expires_ms":1}]}'
        ),
    ],
)
async def test_an_unreadable_job_is_acknowledged_and_disturbs_no_other(bench: Bench, payload: str) -> None:
    bench.open_gate.set()
    await bench.publish_raw(payload)
    await bench.accept("email:0")
    await eventually(lambda: bench.ends()["email:0", State.DELIVERED])
    assert bench.unacknowledged() == 0


async def test_rows_in_a_newer_version_stay_open_for_a_service_that_knows_it(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.open_gate.set()
    record = bench.record("email:newer", "email:0")
    newer, known = record.rows
    newer.spec = newer.spec.replace('"v":1', '"v":99')
    await bench.ledger.accept(record)
    with caplog.at_level(logging.ERROR, logger="shared.delivery.worker"):
        for _ in range(3):
            await bench.publish(record)
        await eventually(lambda: bench.ends()["email:0", State.DELIVERED])
        await eventually(lambda: bench.unacknowledged() == 0)
    assert bench.times() == {known.row.key: 1}
    assert await bench.open_rows() == 1
    assert caplog.text.count("rows left to another release") == 1
    monkeypatch.setattr(jobs, "READABLE_VERSION", 99)
    await bench.publish(record)
    await eventually(lambda: bench.ends()["email:newer", State.DELIVERED])
    assert await bench.open_rows() == 0


async def test_a_report_that_fails_disturbs_no_other_row(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.open_gate.set()
    whole = bench.report

    def report(notification: Notification, delivery: Delivery, claim: Claim, outcome: Outcome) -> None:
        whole(notification, delivery, claim, outcome)
        if delivery.key == "email:bad":
            raise ZeroDivisionError

    bench.report = report  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.ERROR, logger="shared.delivery.worker"):
        await bench.accept("email:bad", "email:0")
        await eventually(lambda: len(bench.reported) == 2)
    assert await bench.open_rows() == 0
    assert "ZeroDivisionError" in caplog.text
    assert bench.worker._capacity.used == 0


async def test_expired_and_cancelled_rows_are_reported_and_not_performed(bench: Bench) -> None:
    late, cancelled = bench.record("email:late", lifetime_s=0.001), bench.record("email:cancelled")
    for record in (late, cancelled):
        await bench.ledger.accept(record)
    # As in a record of many rows: the mark stands, the row does not end.
    base = bench.ledger.keys.shard_of(cancelled.notification.id)
    await bench.ledger.store.command("HSET", f"{base}:n:{cancelled.notification.id}", "cancelled", 1)
    for record in (late, cancelled):
        await bench.publish(record)
    await eventually(lambda: len(bench.reported) == 2)
    ends = {key: (outcome.state, outcome.reason) for key, outcome in bench.reported}
    assert ends == {
        "email:late": (State.EXPIRED, Reason.EXPIRED),
        "email:cancelled": (State.SUPPRESSED, Reason.CANCELLED),
    }
    assert not bench.performed


async def test_a_delivery_is_not_tried_again_after_its_alert_was_answered(bench: Bench) -> None:
    record = bench.record("email:failing", "email:waiting")
    record.alert = AlertState.OPEN
    await bench.ledger.accept(record)
    # One is in the worker's hands when somebody answers, the other one was not taken yet.
    bench.outcomes["email:failing"] = [Outcome(State.PENDING, Reason.NETWORK, timedelta(hours=1))]
    await bench.publish(replace(record, rows=record.rows[:1]))
    await eventually(lambda: bench.performed)
    await bench.ledger.alerts.acknowledge(record.notification.id, "user123")
    bench.open_gate.set()
    await bench.publish(replace(record, rows=record.rows[1:]))
    await eventually(lambda: len(bench.reported) == 2)
    ends = {key: (outcome.state, outcome.reason) for key, outcome in bench.reported}
    assert ends == dict.fromkeys(("email:failing", "email:waiting"), (State.SUPPRESSED, Reason.ACKNOWLEDGED))
    assert await bench.open_rows() == 0


async def test_rows_of_a_wrong_shape_are_put_away_and_the_others_performed(bench: Bench) -> None:
    record = bench.record("email:bad", "email:good")
    await bench.ledger.accept(record)
    base = bench.ledger.keys.shard_of(record.notification.id)
    wrong = json.dumps({"key": "email:bad", "channel": "email", "address": {"to": "nobody"}})
    await bench.ledger.store.command("HSET", f"{base}:n:{record.notification.id}", "d:email:bad", wrong)
    record.rows[0].spec = wrong
    bench.open_gate.set()
    await bench.publish(record)

    async def dead() -> bool:
        return bool(await bench.ledger.store.command("ZCARD", f"{base}:dead"))

    await eventually(dead)
    await eventually(lambda: [key for key, _ in bench.reported] == ["email:good"])
    assert await bench.open_rows() == 0


async def test_an_outcome_of_an_alert_that_was_answered_meanwhile_is_not_reported(bench: Bench) -> None:
    record = bench.record("email:task")
    record.alert = AlertState.OPEN
    await bench.ledger.accept(record)
    then = [NewRow(record.rows[0].row.model_copy(update={"key": "email:then"}))]
    bench.outcomes["email:task"] = [Outcome(State.DELIVERED, then=then, guard=AlertState.OPEN)]
    await bench.publish(record)
    await eventually(lambda: bench.performed)
    await bench.ledger.alerts.acknowledge(record.notification.id, "user123")
    bench.open_gate.set()
    await eventually(lambda: not bench.worker._tasks)
    assert bench.reported == []
    assert await bench.open_rows() == 0


async def test_a_drain_finishes_what_is_in_hand_and_takes_nothing_new(bench: Bench) -> None:
    keys = [f"email:{number}" for number in range(16)]
    await bench.accept(*keys)
    # More than there are places: some are performed, the others wait in the worker.
    await eventually(lambda: bench.in_hand[Priority.NORMAL] == 15)
    await bench.worker.stop_intake()
    draining = asyncio.create_task(bench.worker.idle())
    late = bench.record("email:late")
    await bench.ledger.accept(late)
    with pytest.raises(AssertionError):
        await bench.publish(late)  # nobody listens
    assert not draining.done()
    bench.open_gate.set()
    async with asyncio.timeout(20):
        await draining
    assert bench.times() == Counter(keys)
    assert await bench.open_rows() == 1
    assert bench.unacknowledged() == 0


async def test_a_drain_waits_for_rows_that_are_just_being_claimed(bench: Bench) -> None:
    bench.open_gate.set()
    record = bench.record("email:0")
    await bench.ledger.accept(record)
    # The store holds the claim back; a read passes.
    await bench.ledger.store.command("CLIENT", "PAUSE", 400, "WRITE")
    await bench.publish(record)
    await eventually(lambda: bench.worker._queued)
    await bench.worker.stop_intake()
    async with asyncio.timeout(20):
        await bench.worker.idle()
    assert bench.times() == {"email:0": 1}
    assert await bench.open_rows() == 0


async def test_what_a_drain_abandons_is_driven_again_in_doubt(
    broker: LocalServer, store: EmptyStore, topic_prefix: str
) -> None:
    async with bench_on(broker.url, store.url, topic_prefix, lease=timedelta(milliseconds=500)) as bench:
        await bench.accept("email:0")
        await eventually(lambda: bench.performed)
        await bench.worker.abandon()
        bench.open_gate.set()
        await eventually(lambda: bench.ends()["email:0", State.DELIVERED], within_s=30)
        (_, first), (_, second) = bench.performed
        assert (second.attempt, second.in_doubt, second.token > first.token) == (2, True, True)


async def test_a_broken_connection_neither_loses_nor_repeats_work(
    new_broker: NewServer, store: EmptyStore, topic_prefix: str
) -> None:
    server = new_broker()
    await server.start()
    async with bench_on(server.url, store.url, topic_prefix, concurrency=10) as bench:
        keys = [f"email:{number}" for number in range(40)]
        await bench.accept(*keys, priority=Priority.HIGH)
        await eventually(lambda: bench.in_hand[Priority.HIGH] == 9)
        await server.kill()
        await eventually(lambda: not bench.worker.is_up)
        await server.start()
        # The lanes come back although every place is taken and 31 rows wait for one.
        await eventually(lambda: bench.worker.is_up, within_s=30)
        assert bench.in_hand[Priority.HIGH] == 9
        bench.open_gate.set()
        await eventually(lambda: len(bench.ends()) == 40, within_s=30)
        assert bench.times() == Counter(keys)
        assert await bench.open_rows() == 0


async def test_a_store_that_goes_away_and_comes_back_neither_loses_nor_repeats_work(
    broker: LocalServer, new_store: NewServer, topic_prefix: str
) -> None:
    server = new_store()
    await server.start()
    async with bench_on(broker.url, server.url, topic_prefix) as bench:
        await bench.accept("email:0", "email:1")
        waiting = bench.record("email:2")
        await bench.ledger.accept(waiting)
        await eventually(lambda: bench.in_hand[Priority.NORMAL] == 2)
        await server.kill()
        bench.open_gate.set()
        await bench.publish(waiting)
        await eventually(lambda: bench.in_hand[Priority.NORMAL] == 0)
        assert bench.reported == []
        await server.start()
        await eventually(lambda: len(bench.ends()) == 3, within_s=30)
        assert bench.times() == {"email:0": 1, "email:1": 1, "email:2": 1}
        assert await bench.open_rows() == 0


@pytest.mark.parametrize(
    ("held_up", "priority"), [(Line.USUAL, Priority.NORMAL), (Line.TASKS, Priority.CRITICAL)], ids=["usual", "critical"]
)
async def test_a_worker_with_a_line_of_its_own_waits_for_no_other_call(
    broker: LocalServer, store: EmptyStore, topic_prefix: str, held_up: Line, priority: Priority
) -> None:
    """And its critical rows do not wait for its others."""
    async with bench_on(broker.url, store.url, topic_prefix, line=Line.TASKS) as bench:
        bench.open_gate.set()
        record = bench.record("email:1", priority=priority)
        await bench.ledger.accept(record)
        with on_line(held_up):
            blocked = bench.ledger.store.submit("BLPOP", "list", 0)
        await bench.publish(record)
        await eventually(lambda: bench.ends() == {("email:1", State.DELIVERED): 1})
        assert not blocked.done()
        with on_line(Line.URGENT):
            await bench.ledger.store.command("RPUSH", "list", "x")
        await blocked

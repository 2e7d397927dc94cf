"""Whatever happens in whatever order: each row that came in ends exactly once, and nothing is left in between."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.core.errors import Reason
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State
from shared.ledger.audit import Audit, Depth
from shared.ledger.backlog import Backlog
from shared.ledger.claims import Claim, Outcome
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import GRACE_MS, NewRecord, NewRow
from shared.ledger.schedule import DueRow, EndedRow
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.previous_release import PreviousRelease
from tests.records import now_ms

pytestmark = pytest.mark.real_store

SHARD = 3
BASE = Keys().shard(SHARD)
LEASE = timedelta(minutes=1)
SHORT_LEASE = timedelta(milliseconds=1)

priorities = st.sampled_from([Priority.NORMAL, Priority.CRITICAL])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.integers(1, 7), priorities, st.sampled_from(["shop", "bank", None])),
        st.tuples(st.just("later"), st.integers(1, 3), priorities, st.just(None)),
        st.tuples(st.just("old_accept"), st.integers(1, 2), priorities, st.just(None)),
        st.tuples(
            st.sampled_from(
                [
                    "refill",
                    "sweep",
                    "ahead",
                    "probe",
                    "claim",
                    "die",
                    "deliver",
                    "retry",
                    "cancel",
                    "old_end",
                    "forward",
                ]
            ),
            st.integers(0, 20),
            priorities,
            st.just(None),
        ),
    ),
    max_size=60,
)


class Model:
    """A ledger, what was written into it, and how it ended as far as anybody was told."""

    def __init__(self, store: Store, window: int) -> None:
        self.ledger = Ledger(store, Keys(), record_retention_s=600, backlog=Backlog(window, window))
        self.previous = PreviousRelease(store)
        self.rows: list[tuple[str, str]] = []
        self.ends: Counter[tuple[str, str]] = Counter()
        self.handed: list[tuple[str, str]] = []
        self.held: list[Claim] = []
        self.died: set[tuple[str, str]] = set()

    async def accept(self, rows: int, priority: Priority, publisher: str | None, due_ms: int = 0) -> None:
        notification = _notification(publisher)
        new = [_row(f"email:{number}", priority, due_ms) for number in range(rows)]
        await self.ledger.accept(NewRecord(notification, new, share=2 if publisher == "bank" else 1))
        self.rows += [(notification.id, each.row.key) for each in new]
        self.handed += [(notification.id, each.row.key) for each in new if not each.waits and not due_ms]

    async def old_accept(self, rows: int, priority: Priority) -> None:
        new = [_row(f"email:{number}", priority) for number in range(rows)]
        notification_id = await self.previous.accept(*new, shard=SHARD)
        self.rows += [(notification_id, each.row.key) for each in new]

    async def sweep(self, ahead: timedelta = timedelta(0), probed: tuple[str, ...] = ()) -> None:
        swept = await self.ledger.schedule.sweep(100, ahead, probed)
        self.note(swept.due, swept.ended)

    async def refill(self) -> None:
        swept = await self.ledger.schedule.refill(100)
        self.note(swept.due, swept.ended)

    def note(self, due: list[DueRow], ended: list[EndedRow]) -> None:
        self.handed += [(each.notification_id, each.key) for each in due]
        self.ends.update((each.notification_id, each.key) for each in ended)

    async def claim(self, index: int, lease: timedelta = LEASE) -> Claim | None:
        """Claim what was handed over, or, as a late job would, any other row."""
        rows = self.handed or self.rows
        if not rows:
            return None
        row = rows[index % len(rows)]
        if lease is SHORT_LEASE:
            if row in self.died:
                # What has lapsed twice in a row is put off, by up to a minute.
                return None
            self.died.add(row)
        if rows is self.handed:
            rows.remove(row)
        (found,) = await self.ledger.claim([row], lease)
        if found.verdict in ("expired", "cancelled", "worker_died"):
            self.ends[row] += 1
        return found if found.verdict == "claimed" else None

    async def finish(self, claim: Claim, outcome: Outcome) -> None:
        if await self.ledger.finish(claim, outcome) == "finished" and outcome.state is not State.PENDING:
            self.ends[claim.notification_id, claim.key] += 1

    async def cancel(self, index: int) -> None:
        if self.rows:
            notification_id, _ = self.rows[index % len(self.rows)]
            before = await self._open(notification_id)
            await self.ledger.cancel(notification_id)
            self.ends.update((notification_id, key) for key in before - await self._open(notification_id))

    async def _open(self, notification_id: str) -> set[str]:
        fields: Mapping[bytes, bytes] = await self.ledger.store.command("HGETALL", f"{BASE}:n:{notification_id}")
        return {
            name[2:].decode()
            for name, status in fields.items()
            if name.startswith(b"s:") and status[:1] in (b"p", b"s")
        }

    async def old_end(self, index: int) -> None:
        """End one as the previous release does, which knows of no window."""
        if not self.rows:
            return
        row = self.rows[index % len(self.rows)]
        try:
            await self.previous.end(*row)
        except AssertionError:
            return
        self.ends[row] += 1

    async def step(self, what: str, number: int, priority: Priority, publisher: str | None) -> None:
        match what:
            case "accept":
                await self.accept(number, priority, publisher)
            case "later":
                await self.accept(number, priority, publisher, due_ms=now_ms() + 20)
            case "old_accept":
                await self.old_accept(number, priority)
            case "cancel":
                await self.cancel(number)
            case "old_end":
                await self.old_end(number)
            case "claim" | "die" | "deliver" | "retry":
                await self.work(what, number)
            case _:
                await self.look(what)

    async def look(self, what: str) -> None:
        match what:
            case "refill":
                await self.refill()
            case "sweep":
                await self.sweep()
            case "ahead":
                await self.sweep(timedelta(milliseconds=50))
            case "probe":
                await self.sweep(probed=("email",))
            case "forward":
                await self.ledger.schedule.bring_forward("email")

    async def work(self, what: str, number: int) -> None:
        if what in ("claim", "die"):
            found = await self.claim(number, LEASE if what == "claim" else SHORT_LEASE)
            if found and what == "claim":
                self.held.append(found)
        elif self.held:
            claim = self.held.pop(number % len(self.held))
            again = Outcome(State.PENDING, Reason.NETWORK, timedelta(milliseconds=number % 3 * 10))
            await self.finish(claim, Outcome(State.DELIVERED) if what == "deliver" else again)

    async def drain(self) -> None:
        """Deliver everything, as workers do that live."""
        for claim in self.held:
            await self.finish(claim, Outcome(State.DELIVERED))
        async with asyncio.timeout(30):
            while (await open_work(self.ledger.store, self.ledger.keys))["email"].count:
                await self.sweep()
                while self.handed:
                    if found := await self.claim(0):
                        await self.finish(found, Outcome(State.DELIVERED))
                await asyncio.sleep(0.002)


def _notification(publisher: str | None) -> Notification:
    return Notification(
        id=new_notification_id(SHARD),
        kind="email_send",
        priority=Priority.NORMAL,
        accepted_ms=now_ms(),
        content=Content(title="Subject", message="Body"),
        publisher=publisher,
    )


def _row(key: str, priority: Priority, due_ms: int = 0) -> NewRow:
    return NewRow(
        Delivery(
            key=key,
            channel=Channel.EMAIL,
            priority=priority,
            address=EmailAddress(email="user@example.com"),
            due_ms=due_ms,
            expires_ms=now_ms() + 3_600_000,
        )
    )


async def run(url: str, window: int, done: list[tuple[str, int, Priority, str | None]]) -> None:
    async with Store(url) as store:
        await store.command("FLUSHDB")
        model = Model(store, window)
        for step in done:
            await model.step(*step)
        await model.drain()
        assert model.ends == Counter(model.rows)
        await model.ledger.schedule.sweep(100)
        for name in ("due", "ready", "fair"):
            assert await store.command("KEYS", f"{BASE}:{name}:*") == []
        report = await Audit(store, Keys(), 86400).run(timedelta(minutes=5), Depth.RECORDS)
        assert report.findings == []


@pytest.mark.parametrize("window", [3])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(done=steps)
def test_each_row_ends_exactly_once_in_whatever_order_things_happen(
    store: EmptyStore, window: int, done: list[tuple[str, int, Priority, str | None]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for priority in Priority:
            patch.setitem(GRACE_MS, priority, 10)
        asyncio.run(run(store.url, window, done))

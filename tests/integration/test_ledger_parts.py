"""A fan-out stands in records of bounded size, and to everybody who asks for it, it is one notification."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from services.router.planning.tasks import FanOut, Task
from shared.core.errors import Reason
from shared.core.model import Content, Notification, Priority, State
from shared.ledger.audit import Audit, Depth
from shared.ledger.claims import Outcome
from shared.ledger.dead_letters import Answer, DeadLetters, Wanted
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow, Part
from shared.ledger.reader import Trace, TracedRow
from shared.store.keys import SHARDS, Keys, new_notification_id, shard_of_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.previous_release import PreviousRelease
from tests.records import LEASE, delivery, end, now_ms, record_key

pytestmark = pytest.mark.real_store

RETENTION_S = 600
PAGE = 100
LIFETIME_S = 3600


class FanOuts:
    """Fan-outs in a ledger, page by page as a router makes them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ledger = Ledger(store, Keys(), RETENTION_S)
        self.trace = Trace(store, Keys())
        self.dead_letters = DeadLetters(store, Keys())

    def task(self, key: str) -> NewRow:
        return NewRow(
            Task(
                key=key,
                priority=Priority.NORMAL,
                expires_ms=now_ms() + LIFETIME_S * 1000,
                what=FanOut(members="carillon:{g:staff}:members"),
            )
        )

    async def begin(self, *tasks: str) -> Notification:
        notification = Notification(
            id=new_notification_id(),
            kind="realtime_group",
            priority=Priority.NORMAL,
            accepted_ms=now_ms(),
            content=Content(title="Hello", message="to many"),
        )
        await self.ledger.accept(NewRecord(notification, [self.task(key) for key in tasks]))
        return notification

    async def page(
        self, whole: Notification, task: str, people: Iterable[str], *then: str, shared: bool = False
    ) -> tuple[str, str]:
        """Perform a task: write these people's deliveries and the tasks that follow; return answer and part."""
        rows = [delivery(f"push:{user}", recipient=user, lifetime_s=LIFETIME_S) for user in people]
        return await self.page_of(whole, task, rows, *then, shared=shared)

    async def page_of(
        self, whole: Notification, task: str, rows: Sequence[NewRow], *then: str, shared: bool = False
    ) -> tuple[str, str]:
        """Perform a task: write rows and the tasks that follow; return answer and part."""
        part = whole.model_copy(update={"id": new_notification_id(shard_of_id(whole.id)), "part_of": whole.id})
        (claim,) = await self.ledger.claim([(whole.id, task)], LEASE)
        outcome = Outcome(State.DELIVERED, then=[self.task(key) for key in then], part=Part(part, rows, shared))
        return await self.ledger.finish(claim, outcome), part.id

    async def all_pages(self, pages: int) -> tuple[Notification, list[str]]:
        whole = await self.begin("fan_out:0")
        parts = []
        for number in range(pages):
            people = [f"user{number}-{index}" for index in range(PAGE)]
            then = [f"fan_out:{number + 1}"] if number + 1 < pages else []
            answer, part = await self.page(whole, f"fan_out:{number}", people, *then)
            assert answer == "finished"
            parts.append(part)
        return whole, parts

    async def rows(self, notification_id: str) -> list[TracedRow]:
        return [row async for row in self.trace.rows(notification_id) if row.task is None]

    async def fields(self, notification_id: str) -> int:
        return int(await self.store.command("HLEN", record_key(notification_id)))

    async def assert_balanced(self) -> None:
        report = await Audit(self.store, Keys(), RETENTION_S).run(timedelta(minutes=5), Depth.RECORDS)
        assert report.findings == []


@pytest_asyncio.fixture
async def fan_outs(store: EmptyStore) -> AsyncIterator[FanOuts]:
    async with Store(store.url) as opened:
        yield FanOuts(opened)


async def test_no_record_grows_with_the_people_and_the_trace_shows_all_of_them(fan_outs: FanOuts) -> None:
    whole, parts = await fan_outs.all_pages(12)
    # A task is a status and a spec, a delivery as well; beside them stand content, time, count and deadline.
    assert await fan_outs.fields(whole.id) <= 12 * 3 + 5
    assert max([await fan_outs.fields(part) for part in parts]) == 2 * PAGE + 3
    rows = await fan_outs.rows(whole.id)
    assert Counter(row.recipient for row in rows) == Counter(
        f"user{page}-{index}" for page in range(12) for index in range(PAGE)
    )
    record = await fan_outs.trace.record(whole.id)
    assert record is not None
    assert record.open_rows == 12 * PAGE
    (one,) = [row async for row in fan_outs.trace.rows(whole.id, "user7-3")]
    assert one.key == "push:user7-3"
    of_part = await fan_outs.trace.record(parts[0])
    assert of_part is not None
    assert (of_part.part_of, of_part.open_rows) == (whole.id, PAGE)
    await fan_outs.assert_balanced()
    for row in rows[:PAGE]:
        await end(fan_outs.ledger, row.record_id, row.key)
    record = await fan_outs.trace.record(whole.id)
    assert record is not None
    assert record.open_rows == 11 * PAGE
    await fan_outs.assert_balanced()


async def test_a_cancellation_of_the_whole_ends_every_part_and_no_part_follows(fan_outs: FanOuts) -> None:
    whole = await fan_outs.begin("fan_out:a", "fan_out:b")
    await fan_outs.page(whole, "fan_out:a", ["user1", "user2"], "fan_out:a2")
    (held,) = await fan_outs.ledger.claim([(whole.id, "fan_out:b")], LEASE)
    cancelled = await fan_outs.ledger.cancel(whole.id)
    assert cancelled is not None
    assert sorted(cancelled.ended, key=str) == [
        ("push", "push", "user1"),
        ("push", "push", "user2"),
        ("router", "router", None),
    ]
    assert cancelled.still_open == 1
    late = whole.model_copy(update={"id": new_notification_id(shard_of_id(whole.id)), "part_of": whole.id})
    rows = [delivery("push:user3", recipient="user3")]
    assert await fan_outs.ledger.finish(held, Outcome(State.DELIVERED, part=Part(late, rows))) == "void"
    assert {row.state for row in await fan_outs.rows(whole.id)} == {State.SUPPRESSED}
    assert await fan_outs.trace.record(late.id) is None
    again = await fan_outs.ledger.cancel(whole.id)
    assert again is not None
    assert again.ended == ()
    await fan_outs.assert_balanced()


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (["push:ada:0f", "push:ada:1e"], ["held:push:ada:1000"], ["push:ada:0f", "push:ada:1e"]),
        (["held:push:ada:1000"], ["push:ada:0f", "push:ada:1e"], ["held:push:ada:1000"]),
        (["held:email:ada:1000"], ["held:email:ada:2000", "held:push:ada:2000"],
         ["held:email:ada:1000", "held:push:ada:2000"]),
        (["fold:email:ada"], ["email:ada"], ["fold:email:ada"]),
        (["email:ada"], ["fold:email:ada", "email:ben"], ["email:ada", "email:ben"]),
    ],
)  # fmt: skip
async def test_who_is_on_two_pages_is_told_once_by_a_channel_now_or_later(
    fan_outs: FanOuts, first: list[str], second: list[str], kept: list[str]
) -> None:
    whole = await fan_outs.begin("fan_out:a", "fan_out:b")
    planned = []
    for task, keys in (("fan_out:a", first), ("fan_out:b", second)):
        rows = [
            fan_outs.task(key) if key.startswith(("held:", "fold:")) else delivery(key, lifetime_s=LIFETIME_S)
            for key in keys
        ]
        _, part = await fan_outs.page_of(whole, task, rows, shared=True)
        fields = [field.decode() for field in await fan_outs.store.command("HKEYS", record_key(part))]
        planned += [field[2:] for field in fields if field.startswith("s:")]
    assert sorted(planned) == sorted(kept)


async def test_who_is_in_two_groups_is_told_once(fan_outs: FanOuts) -> None:
    whole = await fan_outs.begin("fan_out:a", "fan_out:b")
    await fan_outs.page(whole, "fan_out:a", ["both", "only_a"], shared=True)
    await fan_outs.page(whole, "fan_out:b", ["both", "only_b"], shared=True)
    assert sorted(row.key for row in await fan_outs.rows(whole.id)) == ["push:both", "push:only_a", "push:only_b"]
    await fan_outs.assert_balanced()


async def test_who_was_told_by_a_page_of_the_previous_release_is_not_told_again(fan_outs: FanOuts) -> None:
    """Its pages write into the notification's own record."""
    previous = PreviousRelease(fan_outs.store)
    notification_id = await previous.accept(
        delivery("push:both", recipient="both"), fan_outs.task("fan_out:b"), shard=SHARDS - 1
    )
    text = await fan_outs.store.command("HGET", record_key(notification_id), "c")
    whole = Notification.model_validate_json(text)
    await fan_outs.page(whole, "fan_out:b", ["both", "only_b"], shared=True)
    assert sorted(row.key for row in await fan_outs.rows(whole.id)) == ["push:both", "push:only_b"]
    await fan_outs.assert_balanced()


async def test_a_page_with_nobody_left_leaves_a_record_that_is_forgotten(fan_outs: FanOuts) -> None:
    whole = await fan_outs.begin("fan_out:a", "fan_out:b")
    await fan_outs.page(whole, "fan_out:a", ["both"], shared=True)
    _, empty = await fan_outs.page(whole, "fan_out:b", ["both"], shared=True)
    assert 0 < await fan_outs.store.command("TTL", record_key(empty)) <= RETENTION_S
    await fan_outs.assert_balanced()


async def test_the_whole_is_kept_as_long_as_a_part_may_be_open_and_be_traced(fan_outs: FanOuts) -> None:
    whole, (part,) = await fan_outs.all_pages(1)
    base = Keys().shard_of(whole.id)
    assert await fan_outs.store.command("TTL", record_key(part)) == -1
    for key in (record_key(whole.id), f"{base}:parts:{whole.id}"):
        kept_s = await fan_outs.store.command("TTL", key)
        assert LIFETIME_S + RETENTION_S - 30 < kept_s <= LIFETIME_S + RETENTION_S + 1


async def test_dead_letters_of_parts_are_found_and_replayed_by_the_whole(fan_outs: FanOuts) -> None:
    whole, (first, second) = await fan_outs.all_pages(2)
    await end(fan_outs.ledger, first, "push:user0-7", State.DEAD_LETTERED, Reason.REJECTED)
    await end(fan_outs.ledger, second, "push:user1-9", State.DEAD_LETTERED, Reason.GONE)
    wanted = Wanted(datetime.now(UTC) + timedelta(minutes=1), notification_id=whole.id)
    (page,) = [page async for page in fan_outs.dead_letters.pages(wanted)]
    assert sorted(entry.key for entry in page) == ["push:user0-7", "push:user1-9"]
    assert await fan_outs.dead_letters.replay(page[0], dry_run=True) is Answer.UNKNOWN_RECIPIENT
    await fan_outs.assert_balanced()

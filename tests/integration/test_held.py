"""The index of what is held for people, against a real Redis."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio

from services.router.planning.holding import Holding
from services.router.planning.known import SNOOZED
from services.router.planning.tasks import Recheck, Task
from shared.core.channels import ROUTER_LANE
from shared.core.clock import SystemClock, from_epoch_ms
from shared.core.model import Channel, Content, Notification, Priority
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.ledger.held import Held, Muted
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRow
from shared.ledger.schedule import BROUGHT_FORWARD_STEP_MS
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.records import LEASE, accept, now_ms, record_key
from tests.router import a_planner

pytestmark = pytest.mark.real_store

HOUR_MS = 3_600_000
INDEX = f"{Keys().user('ada')}:held"
KEY = "held:email:ada"


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    return Ledger(opened, Keys(), record_retention_s=600)


@pytest.fixture
def held(opened: Store) -> Held:
    return Held(opened, Keys())


async def hold(ledger: Ledger, held: Held, due_ms: int, *, shard: int | None = 0) -> str:
    """Write a notification that is held for Ada until a time, note it and return its id."""
    what = Recheck(user_id="ada", channel=Channel.EMAIL, lifetime_ms=HOUR_MS, rule="snooze:user")
    task = Task(key=KEY, priority=Priority.NORMAL, due_ms=due_ms, expires_ms=due_ms + HOUR_MS, what=what)
    notification_id = await accept(ledger, NewRow(task), shard=shard)
    await held.note([("ada", notification_id, KEY, due_ms)])
    return notification_id


async def written_due_ms(opened: Store, notification_id: str) -> int:
    spec = await opened.command("HGET", record_key(notification_id), f"d:{KEY}")
    return Task.model_validate_json(spec).due_ms


async def scheduled_ms(opened: Store, notification_id: str) -> int:
    schedule = f"{Keys().shard_of(notification_id)}:due:{ROUTER_LANE}"
    return int(await opened.command("ZSCORE", schedule, f"{notification_id}|{KEY}"))


async def test_what_is_released_becomes_due_one_after_the_other(opened: Store, ledger: Ledger, held: Held) -> None:
    ids = [await hold(ledger, held, now_ms() + HOUR_MS + number) for number in range(5)]
    before = now_ms()
    assert await held.release("ada") == 5
    times = [await scheduled_ms(opened, notification_id) for notification_id in ids]
    assert before <= times[0] <= now_ms()
    assert [due_ms - times[0] for due_ms in times] == [number * BROUGHT_FORWARD_STEP_MS for number in range(5)]
    # Whoever performs a row goes by what stands in it.
    assert [await written_due_ms(opened, notification_id) for notification_id in ids] == times
    assert await opened.command("EXISTS", INDEX) == 0


async def test_rows_on_several_shards_are_one_row_after_the_other(opened: Store, ledger: Ledger, held: Held) -> None:
    ids = [await hold(ledger, held, now_ms() + HOUR_MS, shard=number) for number in range(4)]
    assert await held.release("ada") == 4
    times = sorted([await scheduled_ms(opened, notification_id) for notification_id in ids])
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert min(steps) >= BROUGHT_FORWARD_STEP_MS


async def test_what_is_in_somebodys_hands_stays_as_it_is(opened: Store, ledger: Ledger, held: Held) -> None:
    taken = await hold(ledger, held, now_ms() + 1)
    (claim,) = await ledger.claim([(taken, KEY)], LEASE)
    assert claim.verdict == "claimed"
    due_ms = await written_due_ms(opened, taken)
    assert await held.release("ada") == 0
    assert await written_due_ms(opened, taken) == due_ms


async def test_what_is_over_leaves_the_index_when_the_next_is_noted(opened: Store, held: Held) -> None:
    last_ms = now_ms() + HOUR_MS
    await held.note([("ada", "n0-old", KEY, now_ms() - 1)])
    await held.note([("ada", "n0-new", KEY, last_ms)])
    assert await opened.command("ZRANGE", INDEX, 0, -1) == [f"n0-new|{KEY}".encode()]
    assert last_ms <= await opened.command("PEXPIRETIME", INDEX) <= last_ms + 60_000


async def test_one_release_looks_at_each_row_once(opened: Store, ledger: Ledger, held: Held) -> None:
    due_ms = now_ms() + HOUR_MS
    await held.note([("ada", f"nothing-{number}", KEY, due_ms) for number in range(1_201)])
    notification_id = await hold(ledger, held, due_ms + 1)
    assert await held.release("ada") == 1
    assert await scheduled_ms(opened, notification_id) <= now_ms()
    assert await opened.command("EXISTS", INDEX) == 0


async def watched(opened: Store, ledger: Ledger, until_ms: int, due_ms: int) -> int:
    """Hold a row whose person's quiet time is said to end; return when it is due once the router has looked again."""
    keys, clock = Keys(), SystemClock()
    await Directory(opened, keys, clock).put(Person(user_id="ada", snooze_until=from_epoch_ms(until_ms)))
    what = Recheck(user_id="ada", channel=Channel.EMAIL, lifetime_ms=HOUR_MS, rule=SNOOZED)
    task = Task(key=KEY, priority=Priority.NORMAL, due_ms=due_ms, expires_ms=due_ms + HOUR_MS, what=what)
    row = NewRow(task)
    notification_id = await accept(ledger, row)
    lookups = a_planner(opened, clock, release_within_s=60).lookups
    holding = Holding(Held(opened, keys), Muted(opened, keys), lookups)
    content = Content(title="Subject", message="Body")
    notification = Notification(
        id=notification_id, kind="email_send", priority=Priority.NORMAL, accepted_ms=now_ms(), content=content
    )
    holding.watch(notification, [row])
    await holding.watched()
    return await scheduled_ms(opened, notification_id)


async def test_what_is_noted_after_quiet_time_ended_leaves_when_it_was_to(opened: Store, ledger: Ledger) -> None:
    """Else a router that is behind lets all of it go at once, instead of one after the other within a minute."""
    due_ms = now_ms() + 30_000
    assert await watched(opened, ledger, now_ms() - 1, due_ms) == due_ms


async def test_quiet_time_that_was_cut_short_before_its_rows_were_noted_ends(opened: Store, ledger: Ledger) -> None:
    assert await watched(opened, ledger, now_ms() - 1, now_ms() + HOUR_MS) <= now_ms()


async def test_quiet_time_that_is_shorter_before_its_rows_were_noted_ends_earlier(
    opened: Store, ledger: Ledger
) -> None:
    assert await watched(opened, ledger, now_ms() + HOUR_MS, now_ms() + 2 * HOUR_MS) <= now_ms()

"""What planning counts and folds in a real store."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.router.intake.warnings import foreseen
from services.router.payloads.notifications import RealtimeGroup, RealtimeUser, WarningAlert
from services.router.planning.compose import Draft, compose
from services.router.planning.digesting import Digesting
from services.router.planning.planner import Planner
from services.router.planning.stages import KEEP, Candidate, Decision
from services.router.planning.tasks import FanOut, Fold, Task
from shared.core.clock import SystemClock, epoch_ms
from shared.core.incidents import AlertState
from shared.core.model import Delivery, Platform, Priority
from shared.core.topics import Kind
from shared.directory.catalogue import Catalogues
from shared.directory.categories import Category
from shared.directory.directory import Directory
from shared.directory.people import OnCall, Person
from shared.ledger.digests import Digests
from shared.ledger.ledger import Ledger, Verdict
from shared.ledger.new_records import NewRecord
from shared.runtime.turns import Turns
from shared.store import call_queue
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.router import a_planner

pytestmark = pytest.mark.real_store

DAY_MS = 24 * 3600 * 1000


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        await Directory(opened, Keys(), SystemClock()).put(Person(user_id="ada", email="ada@example.com"))
        yield opened


async def category(store: Store, **record: Any) -> None:
    await Catalogues(store, Keys()).put_category("comments", Category.model_validate(record))


def draft(label: str, **said: Any) -> Draft:
    publish = {"user_id": "ada", "message": "x", "category": "comments", "id": label, **said}
    return compose(
        Kind.REALTIME_USER,
        RealtimeUser.model_validate(publish),
        now_ms=epoch_ms(SystemClock().now()),
        lifetime_s=60,
    )


async def turns(planner: Planner, drafts: list[Draft]) -> list[int | None]:
    """Count drafts; return when the turn of each is."""
    known = await planner.look_up(drafts)
    return [known.limits[each.notification.id, "ada"][0].at_ms for each in drafts]


async def test_what_would_wait_too_long_for_its_turn_takes_none_from_those_that_come_later(opened: Store) -> None:
    await category(opened, throttle={"limit": 1, "per": "1d", "then": "hold"})
    at_ms = await turns(a_planner(opened), [draft(f"burst-{number}") for number in range(60)])
    latest = epoch_ms(SystemClock().now()) + 31 * DAY_MS
    assert at_ms[0] == 0
    assert all(each <= latest for each in at_ms if each is not None)
    assert at_ms.count(None) > 20


async def test_what_is_refused_for_its_key_takes_no_place(opened: Store) -> None:
    await category(opened, throttle={"limit": 1, "per": "1h", "key": "data.thread"})
    planner = a_planner(opened, daily_limit=1)
    known = await planner.look_up([draft(f"refused-{number}", data={"thread": {}}) for number in range(2)])
    assert not known.limits
    assert await turns(planner, [draft("usable", data={})]) == [0]


WARNING = WarningAlert(alert_type="disk", message="x", dedup_key="db-1", category="comments")


def alert(packet: str) -> Draft:
    now_ms = epoch_ms(SystemClock().now())
    return compose(Kind.ALERT_WARNING, WARNING, now_ms=now_ms, lifetime_s=60, packet=packet)


async def test_an_alert_waits_for_the_store_twice_before_it_is_planned(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Directory(opened, Keys(), SystemClock())
    await directory.put(Person(user_id="ada", roles=("admin",)))
    await directory.put_oncall("disk", OnCall(alert_type="disk", users=("bob",)))
    await directory.put(Person(user_id="bob", email="bob@example.com"))
    planner, asked = a_planner(opened), 0
    exchange = call_queue._PooledConnection.exchange

    async def counting(line: Any, commands: Any) -> Any:
        nonlocal asked
        asked += 1
        return await exchange(line, commands)

    monkeypatch.setattr(call_queue._PooledConnection, "exchange", counting)
    known = await planner.look_up([alert("first")])
    assert (known.admins, known.oncall["disk"], set(known.people)) == (("ada",), ("bob",), {"ada", "bob"})
    # Who may have to be told, and then all of them at once. Each time it may wait behind others' large exchanges.
    assert asked == 2


async def test_an_alert_that_repeats_an_open_one_is_not_counted(opened: Store) -> None:
    await Directory(opened, Keys(), SystemClock()).put(Person(user_id="ada", roles=("admin",)))
    ledger = Ledger(opened, Keys())
    planner = a_planner(opened, daily_limit=2, open_alerts=ledger.alerts.open_alerts)
    first = alert("first")
    known = await planner.look_up([first])
    rows = planner.first_rows(first, known)
    record = NewRecord(first.notification, rows, dedup_key=first.dedup_key, alert=AlertState.OPEN)
    assert (await ledger.accept(record))[0] is Verdict.ACCEPTED
    for number in range(5):
        assert not (await planner.look_up([alert(f"again-{number}")])).limits
    assert await turns(planner, [draft("other", category=None)]) == [0]
    await ledger.alerts.resolve(first.notification.id)
    assert len((await planner.look_up([alert("new")])).limits) == 1


async def folded(store: Store, planner: Planner, one: Draft, **said: Any) -> Delivery:
    """Fold the mail or push of a draft; return what has become of it."""
    known = await planner.look_up([one])
    (task,) = [new.row for new in planner.first_rows(one, known) if isinstance(new.row, Task)]
    assert isinstance(task.what, Fold)
    digesting = Digesting(planner, Digests(store, Keys(), 86400))
    what = task.what.model_copy(update=said)
    (row,) = [new.row for new in await digesting.fold(one.notification, task, what, again=False)]
    assert isinstance(row, Delivery)
    return row


async def test_what_a_throttle_folds_never_goes_out_alone(opened: Store) -> None:
    await category(
        opened,
        channels={"email": True},
        throttle={"limit": 1, "per": "1h", "then": "fold"},
        digest={"window": "10m", "first": "now", "key": "data.post", "channels": ["email"]},
    )
    planner = a_planner(opened)
    first, second = [draft(f"post-{number}", channels=["email"], data={"post": number}) for number in (1, 2)]
    assert (await folded(opened, planner, first)).digest is None
    assert (await folded(opened, planner, second)).digest is not None


async def test_a_push_for_one_platform_shares_no_digest_with_another_ones(opened: Store) -> None:
    devices = [{"platform": platform, "token": f"token-{platform}"} for platform in ("ios", "android")]
    await Directory(opened, Keys(), SystemClock()).put(Person.model_validate({"user_id": "ada", "devices": devices}))
    await category(opened, digest={"window": "10m", "channels": ["push"]})
    planner = a_planner(opened)
    one, two = draft("one", channels=["push"]), draft("two", channels=["push"])
    of_ios = await folded(opened, planner, one, only_push=Platform.IOS)
    of_android = await folded(opened, planner, two, only_push=Platform.ANDROID)
    assert of_ios.digest is not None
    assert of_android.digest not in (None, of_ios.digest)
    record = f"{Keys().shard_of(of_ios.digest)}:n:{of_ios.digest}"
    assert b'"only_push":"ios"' in await opened.command("HGET", record, "d:close:0")


async def test_a_receipt_says_what_expires_before_quiet_time_ends(opened: Store) -> None:
    later = SystemClock().now() + timedelta(hours=1)
    await Directory(opened, Keys(), SystemClock()).put(Person(user_id="ada", snooze_until=later))
    planner = a_planner(opened)
    one = draft("soon", category=None, channels=["email"], priority="high", ttl_s=60)
    known = await planner.look_up([one])
    rows = planner.first_rows(one, known)
    publish = RealtimeUser(user_id="ada", message="x")
    (warning,) = foreseen(publish, one, known, rows)
    assert (warning.field, warning.problem) == ("channels", "email expired: expired (user:snooze)")


async def test_a_receipt_says_once_that_a_warning_is_throttled_for_those_on_call(opened: Store) -> None:
    directory = Directory(opened, Keys(), SystemClock())
    for name in ("ada", "ben"):
        await directory.put(Person(user_id=name, roles=("admin",)))
    await category(opened, throttle={"limit": 1, "per": "1h"})
    planner = a_planner(opened)
    warnings = []
    for packet in ("first", "second"):
        one = alert(packet)
        known = await planner.look_up([one])
        warnings.append([each.problem for each in foreseen(WARNING, one, known, planner.first_rows(one, known))])
    before, after = warnings
    assert before == []
    assert after.count("realtime suppressed: throttled (category:comments)") == 1
    assert len(after) == len(set(after))


async def test_a_page_of_a_fan_out_takes_turns_between_people(opened: Store) -> None:
    directory = Directory(opened, Keys(), SystemClock())
    for number in range(10):
        await directory.put(Person(user_id=f"user{number}", email=f"user{number}@example.com", groups=["team"]))
    # Every slice is over at once.
    turns, done = Turns(slice_s=0), list[str]()

    def note(candidate: Candidate) -> Decision:
        if done[-1:] != [candidate.person.user_id]:
            done.append(candidate.person.user_id)
        return KEEP

    async def other_work() -> None:
        while True:
            await turns.take()
            done.append("other")

    publish = RealtimeGroup(group_id="team", message="x", priority=Priority.HIGH)
    now_ms = epoch_ms(SystemClock().now())
    said = compose(Kind.REALTIME_GROUP, publish, now_ms=now_ms, lifetime_s=60)
    members = directory.group("team")
    other = asyncio.create_task(other_work(), name="other")
    try:
        planner = a_planner(opened, stages=(note,), turns=turns)
        page = FanOut(members=members.key, group=members.group)
        rows = await planner.fan_out(said.notification, page, said.expires_ms)
    finally:
        other.cancel()
    planned = [who for who in done if who != "other"]
    assert sorted(planned) == [f"user{number}" for number in range(10)]
    first, last = done.index(planned[0]), done.index(planned[-1])
    assert done[first : last + 1 : 2] == planned
    assert len(rows) == len(planned)

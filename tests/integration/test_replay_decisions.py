"""What a replay of decisions rests on: the ledger's past, records laid over the directory, and throttles in memory."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.router.explaining.modelling import ModelDigests, ModelWindows
from services.router.explaining.overlay import BadRecord, OverlaidDirectory, Snapshot, read_lines
from services.router.explaining.replaying import Replay
from services.router.explaining.rules import RouterRules
from shared.core.clock import SystemClock
from shared.directory.catalogue import Catalogues
from shared.directory.directory import Directory
from shared.directory.people import OwnChoices, Person
from shared.ledger.digests import Digests
from shared.ledger.ledger import Ledger
from shared.ledger.past import Page, Past
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from shared.store.windows import Ask, Windows
from tests.conftest import EmptyStore
from tests.digests import HOUR_MS, item, opening
from tests.records import accept, delivery, now_ms, record_key

pytestmark = pytest.mark.real_store

DAY_MS = 86_400_000


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    return Ledger(opened, Keys(), record_retention_s=600)


async def walk(store: Store, since_ms: int, until_ms: int) -> list[Page]:
    return [page async for page in Past(store, Keys()).walk(since_ms, until_ms) if page.found or page.expired]


async def test_the_past_names_each_notification_once_with_its_people(opened: Store, ledger: Ledger) -> None:
    now = now_ms()
    rows = [delivery("email:ada", recipient="ada"), delivery("push:ada", recipient="ada", due_ms=now + 180_000)]
    first = await accept(ledger, *rows)
    second = await accept(ledger, delivery())
    later = await accept(ledger, delivery("email:bob", recipient="bob", due_ms=now + 240_000))
    found = [past for page in await walk(opened, now - 60_000, now + 600_000) for past in page.found]
    assert [(past.notification.id, past.user_ids, past.direct) for past in found] == [
        (first, ("ada",), 0), (second, (), 1), (later, ("bob",), 0),
    ]  # fmt: skip
    assert await walk(opened, now + 60_000, now + 600_000) == []


async def test_what_has_expired_or_is_damaged_is_counted(opened: Store, ledger: Ledger) -> None:
    ids = [await accept(ledger, delivery(recipient="ada")) for _ in range(3)]
    await opened.command("DEL", record_key(ids[0]))
    await opened.command("HSET", record_key(ids[1]), "c", "{")
    pages = await walk(opened, now_ms() - 60_000, now_ms() + 1000)
    assert (sum(page.expired for page in pages), sum(page.unreadable for page in pages)) == (1, 1)
    assert [past.notification.id for page in pages for past in page.found] == [ids[2]]


async def test_the_index_of_a_minute_is_kept_for_a_week(opened: Store, ledger: Ledger) -> None:
    notification_id = await accept(ledger, delivery())
    (name,) = await opened.command("KEYS", f"{Keys().shard_of(notification_id)}:born:*")
    assert await opened.command("PTTL", name) > 7 * DAY_MS


async def test_records_are_laid_over_people_without_their_own_choices(opened: Store) -> None:
    directory = Directory(opened, Keys())
    await directory.put(Person(user_id="ada", email="ada@example.com", groups=("a",)))
    await directory.choose("ada", lambda _person, _own: OwnChoices.model_validate({"preferences": {"push": False}}))
    overlay = read_lines(
        [
            b'{"user_id": "ada", "email": null, "timezone": "Europe/Paris", "preferences": {"push": true}}',
            b"",
            b'{"user_id": "new", "roles": ["admin"]}',
            b'{"oncall": "*", "users": ["new"]}',
        ]
    )
    over = OverlaidDirectory(opened, Keys(), SystemClock(), overlay, Snapshot())
    people = await over.people(["ada", "new", "nobody"])
    assert people.keys() == {"ada", "new"}
    ada = people["ada"]
    assert (ada.email, ada.timezone, ada.groups, ada.own.push) == (None, "Europe/Paris", ("a",), False)
    assert await over.admins() == ["new"]
    assert (await over.oncall(["disk"]))["disk"].users == ("new",)
    # Nothing of it is written.
    assert (await directory.people(["ada", "new"]))["ada"].email == "ada@example.com"
    assert await directory.count() == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not JSON"),
        (b'{"category": "c", "policy": "maybe"}', "policy"),
        (b'{"publisher": "shop"}', "publisher"),
        (b'{"user_id": "ada", "tenant": "acme"}', "user_id"),
        (b'{"user_id": 3}', "user_id"),
    ],
)
def test_a_record_that_cannot_be_laid_over_is_named(line: bytes, says: str) -> None:
    with pytest.raises(BadRecord, match=rf"record 2: .*{says}"):
        read_lines([b'{"category": "c"}', line])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asks=st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from(["refuse", "reserve"]), st.sampled_from([None, HOUR_MS // 2])),
        max_size=12,
    ),
    most=st.integers(1, 3),
)
async def test_throttles_in_memory_answer_as_the_store_does(
    opened: Store, asks: list[tuple[int, Any, int | None]], most: int
) -> None:
    model, real = ModelWindows(now_ms), Windows(opened)
    key = f"carillon:{{u:{new_notification_id()}}}:throttle"
    for name, then, within_ms in asks:
        ask = Ask(key, str(name), most, HOUR_MS, then, within_ms=within_ms)
        (expected,), (found,) = await real.count([ask]), await model.count([ask])
        assert (found.at_ms is None, found.at_ms == 0) == (expected.at_ms is None, expected.at_ms == 0)
        assert abs((found.at_ms or 0) - (expected.at_ms or 0)) < 10_000


@pytest.mark.parametrize("options", [{}, {"sliding": True, "at_most_ms": 2 * HOUR_MS}, {"first_now": True}])
async def test_digests_in_memory_are_those_of_the_store(opened: Store, options: dict[str, Any]) -> None:
    model, real = ModelDigests(), Digests(opened, Keys(), retention_s=600)
    for number in range(3):
        how = opening(**options)
        found = await model.foresee("g", how, now_ms=now_ms())
        expected = await real.foresee("g", how, now_ms=now_ms())
        assert found.alone == expected.alone
        assert abs(found.ends_ms - expected.ends_ms) < 10_000
        await real.add("g", item(number), opening("g", **options))


async def test_a_replay_writes_nothing_and_stops_at_its_limit(opened: Store, ledger: Ledger) -> None:
    await Directory(opened, Keys()).put(Person(user_id="ada", email="ada@example.com"))
    for _ in range(3):
        await accept(ledger, delivery("email:ada", recipient="ada"))
    before = await writes(opened)
    overlay = read_lines([b'{"user_id": "ada", "email": null}'])
    rules = RouterRules(alert_escalation_after_s=300, lifetime_s=86400, person_daily_limit=2)
    now = datetime.now(UTC)
    found = await Replay(opened, Keys(), rules, overlay).run(now - timedelta(hours=1), now, limit=2, people=True)
    assert (found.notifications, found.more, found.changed_people) == (2, True, set())
    found = await Replay(opened, Keys(), rules, overlay).run(now - timedelta(hours=1), now, people=True)
    assert found.total.after["realtime", "suppressed:throttled"] == 1
    assert await writes(opened) == before
    assert (await Catalogues(opened, Keys()).all()).categories == {}


async def writes(store: Store) -> int:
    """Count what has been written to the server."""
    said = (await store.command("INFO", "persistence")).decode()
    return int(said.partition("rdb_changes_since_last_save:")[2].split()[0])

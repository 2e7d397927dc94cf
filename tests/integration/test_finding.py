"""What was said to whom is found in the ledger, against a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.router.planning.planner import FAN_OUT_PAGE
from services.router.planning.tasks import People, Plan, Recheck, Task
from shared.core.clock import SystemClock
from shared.core.errors import Reason
from shared.core.model import (
    Channel,
    Content,
    EmailAddress,
    MobileToken,
    Notification,
    PhoneNumber,
    Platform,
    Priority,
    State,
    UserInbox,
)
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.directory.preferences import Preferences
from shared.directory.suppression import Cause, Suppressions, digest
from shared.ledger.about_person import AboutPeople
from shared.ledger.claims import Finish, Outcome
from shared.ledger.confirmations import Confirmations
from shared.ledger.confirmations import Outcome as Later
from shared.ledger.finding import MOST_FOUND, OUTCOMES, BadCursor, Finder, Page
from shared.ledger.found import COMPLAINED, MOST_DELIVERIES, NOT_ARRIVED, Filters, Found
from shared.ledger.held import Held
from shared.ledger.ledger import Ledger, Verdict
from shared.ledger.new_records import NewRecord, NewRow, Part
from shared.ledger.told import DAY_MS, LONGEST_DAYS, PARTS, packed, person_name
from shared.store.keys import SHARDS, Keys, new_notification_id, shard_of_id, shard_of_key
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.previous_release import PreviousRelease
from tests.records import LEASE, accept, delivery, end, now_ms

pytestmark = pytest.mark.real_store

RETENTION_S = 7 * 86400

# As in lua/ledger.lua.
TOLD_MOST = 64

DEVICE = MobileToken(platform=Platform.ANDROID, token="token")


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    return Ledger(opened, Keys(), record_retention_s=RETENTION_S)


@pytest.fixture
def finder(opened: Store) -> Finder:
    return Finder(opened, Keys(), retention_s=RETENTION_S)


def ids(found: tuple[Found, ...]) -> list[str]:
    return [each.notification_id for each in found]


async def test_a_person_an_address_and_a_time_lead_to_a_notification(ledger: Ledger, finder: Finder) -> None:
    mail = delivery("email:alice", recipient="alice", address=EmailAddress(email="Alice@Example.com"))
    inbox = delivery("realtime:alice", recipient="alice", address=UserInbox(user_id="alice"))
    said = await accept(ledger, mail, inbox)
    other = await accept(ledger, delivery("sms:bob", recipient="bob", address=PhoneNumber(phone="+33123456789")))
    await end(ledger, said, "email:alice", State.SUPPRESSED, Reason.BOUNCED)
    by_person = await finder.by_person("alice")
    assert ids(by_person.found) == [said]
    (found,) = by_person.found
    assert {(each.channel, each.state, each.reason, each.to) for each in found.deliveries} == {
        ("email", State.SUPPRESSED, "bounced", "A…@Example.com"),
        ("realtime", State.PENDING, "", ""),
    }
    by_address = await finder.by_address(" alice@EXAMPLE.com")
    assert [(each.notification_id, [row.channel for row in each.deliveries]) for each in by_address.found] == [
        (said, ["email"])
    ]
    assert ids((await finder.by_address("+33123456789")).found) == [other]
    assert ids((await finder.by_person("ali")).found) == []
    assert set(ids((await finder.by_time()).found)) == {said, other}
    assert ids((await finder.by_time(until=datetime.now(UTC) - timedelta(hours=1))).found) == []


async def test_what_came_back_later_is_found_as_such(opened: Store, ledger: Ledger, finder: Finder) -> None:
    mails = [delivery(f"email:{who}", recipient=who, address=EmailAddress(email=f"{who}@example.com")) for who in USERS]
    publish = NewRecord(notification(), mails, idempotency_key="bills")
    said = publish.notification.id
    await ledger.accept(publish)
    outcomes = dict(zip(USERS, (Later.FAILED, Later.COMPLAINED, Later.DELIVERED), strict=True))
    for who, later in outcomes.items():
        await end(ledger, said, f"email:{who}")
        await Confirmations(opened, Keys()).write(said, f"email:{who}", later, "5.1.1", "")
    bounced, complained, arrived = USERS
    expected = {bounced: NOT_ARRIVED, complained: COMPLAINED, arrived: "delivered"}
    for who, outcome in expected.items():
        for search in (finder.by_person(who), finder.by_address(f"{who}@example.com")):
            ((row,),) = [each.deliveries for each in (await search).found]
            assert (row.outcome, row.state) == (outcome, State.DELIVERED)
            assert row.later is not None
            assert (row.later.outcome, row.later.code) == (outcomes[who], "5.1.1")
    for found in (await finder.by_own_id("bills"), await finder.by_time()):
        assert {row.recipient: row.outcome for row in found.found[0].deliveries} == expected
        assert found.found[0].counts == {("email", outcome, ""): 1 for outcome in expected.values()}

    async def whose(word: str) -> set[str | None]:
        page = await finder.by_time(filters=Filters(outcomes=OUTCOMES[word]))
        return {row.recipient for each in page.found for row in each.deliveries}

    assert await whose("undelivered") == await whose("not_arrived") == {bounced}
    assert await whose("complained") == {complained}
    assert await whose("delivered") == {complained, arrived}


async def test_what_is_said_of_an_attempt_in_doubt_ends_nothing(opened: Store, ledger: Ledger, finder: Finder) -> None:
    said = await accept(ledger, delivery("email:alice", recipient="alice"))
    await Confirmations(opened, Keys()).write(said, "email:alice", Later.FAILED, "5.1.1", "")
    ((row,),) = [each.deliveries for each in (await finder.by_person("alice")).found]
    assert row.outcome == "pending"


async def test_a_person_is_shown_with_choices_suppressions_and_what_waits(opened: Store, ledger: Ledger) -> None:
    directory, keys = Directory(opened, Keys()), Keys()
    await directory.put(Person(user_id="alice", email="alice@example.com", timezone="Europe/Paris"))
    await directory.choose("alice", lambda _person, own: own.model_copy(update={"preferences": Preferences(sms=True)}))
    suppressions = Suppressions(opened, keys, Channel.EMAIL, SystemClock())
    await suppressions.add(digest("ALICE@example.com"), Cause.BOUNCE, "5.1.1")
    due_ms = now_ms() + 3_600_000
    what = Recheck(user_id="alice", channel=Channel.PUSH, lifetime_ms=1, rule="user:quiet_hours")
    held = Task(
        key=f"held:push:alice:{due_ms}", priority=Priority.NORMAL, due_ms=due_ms, expires_ms=due_ms + 1, what=what
    )
    said = await accept(ledger, NewRow(held))
    await Held(opened, keys).note([("alice", said, held.key, due_ms)])
    about = await AboutPeople(opened, keys, retention_s=RETENTION_S).read("alice")
    assert about.entry is not None
    assert about.entry.email == "alice@example.com"
    assert about.own.preferences.sms is True
    assert [entry.detail for entry in about.suppressions[Channel.EMAIL]] == ["5.1.1"]
    assert [(each.notification_id, each.deliveries[0].channel) for each in about.held] == [(said, "push")]
    assert about.held[0].deliveries[0].rule == "user:quiet_hours"
    assert ids(about.recent.found) == [said]
    nobody = await AboutPeople(opened, keys, retention_s=RETENTION_S).read("nobody")
    assert not nobody.is_known


def scheduled(user_id: str, due_ms: int, key: str = "plan") -> NewRow:
    """A plan of the router for one person, at its time."""
    what = Plan(audience=People(user_ids=(user_id,)))
    expires_ms = max(due_ms, now_ms()) + 60_000
    return NewRow(Task(key=key, priority=Priority.NORMAL, due_ms=due_ms, expires_ms=expires_ms, what=what))


def mail(user_id: str, lifetime_s: float = 3600) -> NewRow:
    return delivery(f"email:{user_id}", recipient=user_id, lifetime_s=lifetime_s)


def notification(*, shard: int | None = None, part_of: str | None = None) -> Notification:
    return Notification(
        id=new_notification_id(shard), kind="realtime_group", priority=Priority.NORMAL, accepted_ms=now_ms(),
        content=Content(title="Subject", message="Body"), part_of=part_of,
    )  # fmt: skip


async def perform(ledger: Ledger, notification_id: str, key: str, outcome: Outcome) -> Finish:
    (claim,) = await ledger.claim([(notification_id, key)], LEASE)
    assert claim.verdict == "claimed", claim
    return await ledger.finish(claim, outcome)


async def every_page(search: Callable[..., Awaitable[Page]]) -> tuple[Found, ...]:
    """Go on with a search until nothing is left."""
    page = await search()
    found = page.found
    while page.cursor is not None:
        page = await search(after=page.cursor)
        found += page.found
    return found


async def index(store: Store) -> dict[str, int]:
    """The keys of the index, with the milliseconds that each is still kept."""
    names: list[str] = []
    cursor = 0
    while True:
        answer = await store.command("SCAN", cursor, "MATCH", "*:told:*", "COUNT", 1000)
        cursor = int(answer[0])
        names += [name.decode() for name in answer[1]]
        if cursor == 0:
            return {name: await store.command("PTTL", name) for name in names}


async def test_what_is_planned_later_is_found_before_and_after(ledger: Ledger, finder: Finder) -> None:
    whole = notification()
    await ledger.accept(NewRecord(whole, [scheduled("alice", 0)]))
    before = await finder.by_person("alice")
    assert [(each.notification_id, each.deliveries[0].channel) for each in before.found] == [(whole.id, "router")]
    part = notification(shard=shard_of_id(whole.id), part_of=whole.id)
    rows = [delivery(f"push:{user}", recipient=user, address=DEVICE) for user in ("alice", "bob")]
    then = [delivery("email:carol", recipient="carol")]
    outcome = Outcome(State.DELIVERED, then=then, part=Part(part, rows))
    assert await perform(ledger, whole.id, "plan", outcome) == "finished"
    for user in ("alice", "bob"):
        (found,) = (await finder.by_person(user)).found
        assert (found.notification_id, found.record_id) == (whole.id, part.id)
        assert [(row.channel, row.recipient) for row in found.deliveries] == [("push", user)]
    assert ids((await finder.by_person("carol")).found) == [whole.id]
    assert ids((await finder.by_address("user@example.com")).found) == [whole.id]


async def test_what_was_not_added_because_it_was_cancelled_is_not_found(ledger: Ledger, finder: Finder) -> None:
    whole = notification()
    await ledger.accept(NewRecord(whole, [scheduled("alice", 0)]))
    (claim,) = await ledger.claim([(whole.id, "plan")], LEASE)
    await ledger.cancel(whole.id)
    late = Outcome(State.DELIVERED, then=[delivery("email:alice", recipient="alice")])
    assert await ledger.finish(claim, late) == "void"
    (found,) = (await finder.by_person("alice")).found
    assert [(row.channel, row.reason) for row in found.deliveries] == [("router", "cancelled")]


@pytest.mark.parametrize(
    ("idempotency_key", "dedup_key", "own_id"),
    [
        ("order-1", "", "order-1"),
        ("from/shop\norder-1", "", "order-1"),
        ("from/one", "", "from/one"),
        ("", "critical|disk|web-17", "web-17"),
        ("", "from/prom\ncritical|disk|a|b", "a|b"),
    ],
)
async def test_its_publishers_own_id_leads_to_it(
    ledger: Ledger, finder: Finder, idempotency_key: str, dedup_key: str, own_id: str
) -> None:
    owner = dedup_key or idempotency_key
    said = notification(shard=shard_of_key(owner))
    record = NewRecord(said, [delivery()], idempotency_key=idempotency_key, dedup_key=dedup_key)
    assert await ledger.accept(record) == (Verdict.ACCEPTED, said.id)
    assert ids((await finder.by_own_id(own_id)).found) == [said.id]
    assert ids((await finder.by_own_id(own_id, filters=Filters(publisher="another"))).found) == []


async def test_a_key_that_the_router_has_made_up_is_no_own_id(ledger: Ledger, opened: Store) -> None:
    key = "critical|disk|\nweb-17"
    await ledger.accept(NewRecord(notification(shard=shard_of_key(key)), [], dedup_key=key))
    assert await index(opened) == {}


async def test_an_entry_ends_with_the_records_of_its_day(opened: Store, ledger: Ledger, finder: Finder) -> None:
    for lifetime_s in (60, 86_400, 40 * 86_400):
        await accept(ledger, mail("alice", lifetime_s))
    await accept(ledger, scheduled("alice", now_ms() + 40 * DAY_MS))
    kept_ms = await index(opened)
    assert kept_ms
    shortest, longest = (RETENTION_S * 1000 + days * DAY_MS for days in (1, LONGEST_DAYS))
    assert [name for name, kept in kept_ms.items() if not shortest < kept <= longest] == []
    (gone,) = [each for each in (await finder.by_person("alice")).found if each.deliveries[0].channel == "router"]
    await opened.command("DEL", f"{Keys().shard_of(gone.record_id)}:n:{gone.record_id}")
    assert gone.notification_id not in ids((await finder.by_person("alice")).found)
    assert len((await finder.by_person("alice")).found) == 3


async def test_of_a_busy_person_the_newest_are_kept(opened: Store, ledger: Ledger, finder: Finder) -> None:
    said = [await accept(ledger, mail("busy"), shard=3) for _ in range(TOLD_MOST + 10)]
    quiet = await accept(ledger, mail("quiet"), shard=3)
    found = ids(await every_page(partial(finder.by_person, "busy", limit=25)))
    assert found == said[: -TOLD_MOST - 1 : -1]
    assert ids((await finder.by_person("quiet")).found) == [quiet]
    assert max([await opened.command("MEMORY", "USAGE", name) for name in await index(opened)]) < 8_000


async def test_a_damaged_index_keeps_nothing_from_being_accepted(opened: Store, ledger: Ledger, finder: Finder) -> None:
    day, shard = now_ms() // DAY_MS, Keys().shard(3)
    names = [f"{shard}:told:{each}:{part}" for each in (day, day + 1) for part in range(PARTS)]
    await asyncio.gather(*(opened.submit("SET", name, "damaged", "EX", 600) for name in names))
    said = await accept(ledger, mail("alice"), shard=3)
    await end(ledger, said, "email:alice")
    assert (await finder.by_person("alice")).found == ()
    other = await accept(ledger, mail("alice"), shard=4)
    assert ids((await finder.by_person("alice")).found) == [other]
    assert ids((await finder.by_time()).found) == [other, said]
    hashed = packed(other, [person_name("bob")])
    part, called = int.from_bytes(hashed[14:16]), hashed[16:]
    await opened.command("HSET", f"{Keys().shard(5)}:told:{day}:{part}", called, b"short")
    await opened.command("HSET", f"{Keys().shard(6)}:told:{day}:{part}", called, b"\xff" * 28)
    assert (await finder.by_person("bob")).found == ()


async def test_a_fan_out_to_ten_thousand_is_indexed_in_a_few_calls_for_each_person(
    opened: Store, ledger: Ledger, finder: Finder
) -> None:
    whole = notification()
    pages = 10_000 // FAN_OUT_PAGE
    await ledger.accept(NewRecord(whole, [scheduled("somebody", 0, f"page:{number}") for number in range(pages)]))
    await opened.command("CONFIG", "RESETSTAT")
    for number in range(pages):
        part = notification(shard=shard_of_id(whole.id), part_of=whole.id)
        users = [f"user{number * FAN_OUT_PAGE + each}" for each in range(FAN_OUT_PAGE)]
        rows = [delivery(f"push:{user}", recipient=user, address=DEVICE) for user in users]
        assert await perform(ledger, whole.id, f"page:{number}", Outcome(State.DELIVERED, part=Part(part, rows)))
    (info,) = await opened.info("commandstats")
    calls = {name: int(text.partition("calls=")[2].partition(",")[0]) for name, text in info.items()}
    assert calls["cmdstat_hsetnx"] == 10_000
    # One for each new name, and one for each new part of the index.
    assert calls["cmdstat_hlen"] + calls["cmdstat_pexpireat"] <= 10_000 + PARTS
    for number in (0, 4_999, 9_999):
        (found,) = (await finder.by_person(f"user{number}")).found
        assert (found.notification_id, len(found.deliveries)) == (whole.id, 1)
    *parts, first = (await finder.by_time(limit=MOST_FOUND)).found
    assert (first.record_id, first.deliveries) == (whole.id, ())
    assert [(len(each.deliveries), each.more) for each in parts] == [
        (MOST_DELIVERIES, FAN_OUT_PAGE - MOST_DELIVERIES)
    ] * pages


async def test_what_the_previous_release_has_accepted_is_found_by_its_time(
    opened: Store, ledger: Ledger, finder: Finder
) -> None:
    previous = PreviousRelease(opened)
    old = await previous.accept(mail("alice"))
    new = await accept(ledger, mail("alice"))
    await end(ledger, old, "email:alice")
    await previous.end(new, "email:alice")
    assert ids((await finder.by_person("alice")).found) == [new]
    by_time = (await finder.by_time()).found
    assert ids(by_time) == [new, old]
    assert [each.deliveries[0].state for each in by_time] == [State.DELIVERED, State.DELIVERED]


async def test_a_search_ends_within_its_time_and_goes_on(opened: Store, ledger: Ledger) -> None:
    said = [await accept(ledger, mail("alice")) for _ in range(30)]
    hurried = Finder(opened, Keys(), retention_s=RETENTION_S, time_limit=timedelta(0))
    first = await hurried.by_person("alice")
    assert (first.is_cut, 0 < len(first.found) < len(said)) == (True, True)
    assert sorted(ids(await every_page(partial(hurried.by_person, "alice")))) == sorted(said)


async def test_what_was_said_before_a_user_was_deleted_is_not_found(
    opened: Store, ledger: Ledger, finder: Finder
) -> None:
    address = EmailAddress(email="alice@example.com")
    await accept(ledger, delivery("email:alice", recipient="alice", address=address))
    both = await accept(
        ledger,
        delivery("email:alice", recipient="alice", address=address),
        delivery("email:bob", recipient="bob", address=EmailAddress(email="bob@example.com")),
    )
    given = await accept(ledger, delivery(address=address))
    await Directory(opened, Keys()).delete("alice")
    assert (await finder.by_person("alice")).found == ()
    # What its publisher sent to the address has no person.
    assert ids((await finder.by_address("alice@example.com")).found) == [given]
    by_time = {each.notification_id: each for each in (await finder.by_time()).found}
    assert by_time.keys() == {both, given}
    assert [row.recipient for row in by_time[both].deliveries] == ["bob"]
    assert sum(by_time[both].counts.values()) == 1


@pytest.mark.parametrize("cursor", ["", "nonsense", "1.2", f"12.{'0' * 36}", "zz.01a22637-9ca3-7009-8002-03e82c6ee479"])
async def test_a_cursor_that_is_none_is_refused(finder: Finder, cursor: str) -> None:
    for search in (finder.by_time(after=cursor), finder.by_person("alice", after=cursor)):
        with pytest.raises(BadCursor):
            await search


USERS = ("ann", "ben", "cem")
CHANNELS = ("realtime", "email")


@dataclass(frozen=True)
class Said:
    """A notification of the model: who is told how, and how that ended (None is open)."""

    category: str | None
    rows: dict[tuple[str, str], State | None]
    shard: int


said_things = st.lists(
    st.builds(
        Said,
        category=st.sampled_from([None, "billing", "chat"]),
        rows=st.dictionaries(
            st.tuples(st.sampled_from(CHANNELS), st.sampled_from(USERS)),
            st.sampled_from([None, State.DELIVERED, State.DEAD_LETTERED]),
            min_size=1,
            max_size=4,
        ),
        shard=st.integers(0, SHARDS - 1),
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    said=said_things,
    limit=st.integers(1, 4),
    category=st.sampled_from([None, "billing"]),
    channel=st.sampled_from([None, *CHANNELS]),
    outcome=st.sampled_from([None, "open", "undelivered", "delivered"]),
)
def test_pages_together_are_what_a_model_says(
    store: EmptyStore, said: list[Said], limit: int, category: str | None, channel: str | None, outcome: str | None
) -> None:
    outcomes = OUTCOMES[outcome] if outcome is not None else None
    filters = Filters(category=category, channel=channel, outcomes=outcomes)

    def expected(one: Said, user: str | None) -> set[tuple[str, str, State]]:
        if category is not None and one.category != category:
            return set()
        rows = {(where, who, state or State.PENDING) for (where, who), state in one.rows.items()}
        return {
            row for row in rows
            if user in (None, row[1]) and channel in (None, row[0]) and (outcomes is None or row[2] in outcomes)
        }  # fmt: skip

    async def check() -> None:
        async with Store(store.url) as opened:
            await opened.command("FLUSHDB")
            ledger = Ledger(opened, Keys(), record_retention_s=RETENTION_S)
            finder = Finder(opened, Keys(), retention_s=RETENTION_S)
            known: dict[str, Said] = {}
            for one in said:
                content = Content(title="Subject", message="Body", category=one.category)
                accepted = notification(shard=one.shard).model_copy(update={"content": content})
                rows = [delivery(f"{where}:{who}", recipient=who) for where, who in one.rows]
                await ledger.accept(NewRecord(accepted, rows))
                for (where, who), state in one.rows.items():
                    if state is not None:
                        await end(ledger, accepted.id, f"{where}:{who}", state)
                known[accepted.id] = one
            searches = [
                *(partial(finder.by_person, user, limit=limit, filters=filters) for user in USERS),
                partial(finder.by_time, limit=limit, filters=filters),
            ]
            results = await asyncio.gather(*map(every_page, searches))
            for user, found in zip((*USERS, None), results, strict=True):
                assert ids(found) == [one for one in known if expected(known[one], user)][::-1]
                for each in found:
                    rows_found = {(row.channel, row.recipient, row.state) for row in each.deliveries}
                    assert rows_found == expected(known[each.notification_id], user)

    asyncio.run(check())

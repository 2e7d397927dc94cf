"""What was said to whom is found in the ledger, against a real Redis."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from services.router.planning.tasks import Recheck, Task
from shared.core.clock import SystemClock
from shared.core.errors import Reason
from shared.core.model import Channel, EmailAddress, PhoneNumber, Priority, State, UserInbox
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.directory.preferences import Preferences
from shared.directory.suppression import Cause, Suppressions, digest
from shared.ledger.about_person import AboutPeople
from shared.ledger.finding import Finder
from shared.ledger.found import Found
from shared.ledger.held import Held
from shared.ledger.ledger import Ledger, NewRow
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.records import accept, delivery, end, now_ms

pytestmark = pytest.mark.real_store

RETENTION_S = 7 * 86400


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

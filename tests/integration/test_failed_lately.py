"""What failed for good lately at somebody's addresses, from the ledger of a real store; what takes it back."""

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from shared.core.errors import Reason
from shared.core.model import Channel, EmailAddress, MobileToken, PhoneNumber, Platform, State
from shared.directory.people import Person
from shared.directory.reach import reach
from shared.directory.suppression import Suppressions
from shared.ledger.confirmations import Confirmations, Outcome
from shared.ledger.failed_lately import FailedLately
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRow
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.fakes.clock import StandingClock
from tests.records import accept, delivery, end

pytestmark = pytest.mark.real_store

KEYS = Keys()
ADA = Person.model_validate(
    {
        "user_id": "ada",
        "email": "ada@example.com",
        "phone": "+4915123456789",
        "devices": [{"platform": "ios", "token": "a" * 64}],
    }
)


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    return Ledger(opened, KEYS)


def mail(address: str = "ada@example.com") -> NewRow:
    return delivery("email:ada", recipient="ada", address=EmailAddress(email=address))


def sms() -> NewRow:
    return delivery("sms:ada", recipient="ada", address=PhoneNumber(phone="+4915123456789"))


def push() -> NewRow:
    return delivery("push:ada:0", recipient="ada", address=MobileToken(platform=Platform.IOS, token="a" * 64))


async def ended(ledger: Ledger, row: NewRow, state: State, reason: Reason = Reason.NONE) -> str:
    notification_id = await accept(ledger, row)
    await end(ledger, notification_id, row.row.key, state, reason)
    return notification_id


async def failed(store: Store, person: Person = ADA) -> Mapping[Channel, str]:
    return await FailedLately(store, KEYS).of(person)


async def test_a_mail_that_was_refused_for_good_is_named_until_one_arrives(opened: Store, ledger: Ledger) -> None:
    assert await failed(opened) == {}
    await ended(ledger, mail(), State.DELIVERED)
    assert await failed(opened) == {}
    await ended(ledger, mail(), State.DEAD_LETTERED, Reason.REJECTED)
    assert await failed(opened) == {Channel.EMAIL: "the last mail was refused for good"}
    # What was too large, or died of our own fault, says nothing of the address.
    for reason in (Reason.TOO_LARGE, Reason.INTERNAL_ERROR):
        await ended(ledger, mail(), State.DEAD_LETTERED, reason)
    await accept(ledger, mail())
    assert await failed(opened) == {Channel.EMAIL: "the last mail was refused for good"}
    await ended(ledger, mail(), State.DELIVERED)
    assert await failed(opened) == {}


async def test_what_failed_at_an_address_that_the_person_had_before_does_not_count(
    opened: Store, ledger: Ledger
) -> None:
    await ended(ledger, mail("old@example.com"), State.DEAD_LETTERED, Reason.GONE)
    assert await failed(opened) == {}
    moved = ADA.model_copy(update={"email": "old@example.com"})
    assert await failed(opened, moved) == {Channel.EMAIL: "the last mail reached nobody"}


async def test_an_sms_that_its_provider_took_and_could_not_deliver_is_named(opened: Store, ledger: Ledger) -> None:
    notification_id = await ended(ledger, sms(), State.DELIVERED)
    confirmations = Confirmations(opened, KEYS)
    await confirmations.write(notification_id, "sms:ada", Outcome.SENT, "", "SM1")
    assert await failed(opened) == {}
    await confirmations.write(notification_id, "sms:ada", Outcome.FAILED, "30003", "SM1")
    assert await failed(opened) == {Channel.SMS: "the last SMS did not arrive"}


async def test_a_push_that_was_refused_is_named_and_a_device_that_is_gone_is_no_more_the_persons(
    opened: Store, ledger: Ledger
) -> None:
    await ended(ledger, push(), State.DEAD_LETTERED, Reason.GONE)
    assert await failed(opened) == {}
    await ended(ledger, push(), State.DEAD_LETTERED, Reason.REJECTED)
    assert await failed(opened) == {Channel.PUSH: "the last push was refused for good"}
    without = ADA.model_copy(update={"devices": ()})
    assert await failed(opened, without) == {}


async def test_whoever_nothing_would_reach_is_told_why(opened: Store, ledger: Ledger) -> None:
    lists = {one: Suppressions(opened, KEYS, one, StandingClock()) for one in (Channel.EMAIL, Channel.SMS)}
    for row in (mail(), sms(), push()):
        await ended(ledger, row, State.DEAD_LETTERED, Reason.REJECTED)
    found = await reach(ADA, lists, await failed(opened))
    assert found.channels == ()
    assert found.problems == (
        "the last mail was refused for good", "the last SMS was refused for good", "the last push was refused for good",
    )  # fmt: skip
    await ended(ledger, sms(), State.DELIVERED)
    assert (await reach(ADA, lists, await failed(opened))).channels == (Channel.SMS,)


async def test_a_store_without_an_index_knows_of_no_failure(opened: Store, ledger: Ledger) -> None:
    await ended(ledger, mail(), State.DEAD_LETTERED, Reason.REJECTED)
    assert await failed(opened, ADA.model_copy(update={"user_id": "grace", "email": "grace@example.com"})) == {}

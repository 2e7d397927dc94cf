"""The suppression list on a real store, and what the email service does with it."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from services.email.rules import MailRules
from shared.core.errors import DeliveryError, DeliveryRefused, PermanentFailure, Reason, RecipientGone, TemporaryFailure
from shared.core.model import Channel, Priority
from shared.delivery.attempt import Attempt
from shared.delivery.forgetting import FREE_IN_WINDOW
from shared.directory.suppression import Cause, Entry, Suppressions, digest
from shared.store.keys import Keys
from shared.store.store import Store
from shared.telemetry.metrics import forgotten_addresses
from tests.conftest import EmptyStore
from tests.fakes.clock import StandingClock
from tests.smtp import attempt

pytestmark = pytest.mark.real_store

ADDRESS = digest("user123@example.com")


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest_asyncio.fixture
async def open_store(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def suppressions(open_store: Store, clock: StandingClock) -> Suppressions:
    return Suppressions(open_store, Keys(), Channel.EMAIL, clock)


@pytest.fixture
def rules(suppressions: Suppressions) -> MailRules:
    async def count() -> int:
        return 0

    return MailRules(suppressions, count)


def mail(to: str = "user123@example.com", priority: Priority = Priority.NORMAL, category: str | None = None) -> Attempt:
    made = attempt(to)
    content = made.notification.content.model_copy(update={"category": category})
    notification = made.notification.model_copy(update={"content": content})
    return replace(made, notification=notification, delivery=made.delivery.model_copy(update={"priority": priority}))


async def refusal(rules: MailRules, tried: Attempt) -> Reason | None:
    try:
        await rules.check(tried)
    except DeliveryRefused as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("cause", "normal", "critical"),
    [
        (Cause.BOUNCE, Reason.BOUNCED, Reason.BOUNCED),
        (Cause.COMPLAINT, Reason.OPTED_OUT, None),
    ],
)
async def test_each_cause_keeps_from_what_it_is_about(
    suppressions: Suppressions, rules: MailRules, cause: Cause, normal: Reason, critical: Reason | None
) -> None:
    assert await refusal(rules, mail()) is None
    await suppressions.add(ADDRESS, cause)
    assert await refusal(rules, mail()) is normal
    assert await refusal(rules, mail(priority=Priority.HIGH)) is normal
    assert await refusal(rules, mail(priority=Priority.CRITICAL)) is critical
    assert await refusal(rules, mail("user124@example.com")) is None


async def test_an_unsubscription_keeps_mail_of_its_category_away_and_nothing_else(
    suppressions: Suppressions, rules: MailRules
) -> None:
    await suppressions.add(ADDRESS, Cause.UNSUBSCRIBED, category="billing")
    assert await refusal(rules, mail(category="billing")) is Reason.OPTED_OUT
    assert await refusal(rules, mail(category="billing", priority=Priority.HIGH)) is Reason.OPTED_OUT
    assert await refusal(rules, mail(category="billing", priority=Priority.CRITICAL)) is None
    assert await refusal(rules, mail(category="news")) is None
    assert await refusal(rules, mail()) is None


async def test_an_unsubscription_of_the_release_before_holds_for_every_category_and_not_for_mail_without_one(
    open_store: Store, rules: MailRules
) -> None:
    written = '{"at": "2026-10-01T12:00:00.000Z", "detail": ""}'
    await open_store.command("HSET", Keys().suppressed("email", ADDRESS), "unsubscribed", written)
    assert await refusal(rules, mail(category="billing")) is Reason.OPTED_OUT
    assert await refusal(rules, mail(category="news")) is Reason.OPTED_OUT
    assert await refusal(rules, mail(category="news", priority=Priority.CRITICAL)) is None
    assert await refusal(rules, mail()) is None


async def test_a_single_category_is_lifted_or_all_of_them(suppressions: Suppressions, rules: MailRules) -> None:
    for category in ("billing", "news: weekly", None):
        assert await suppressions.add(ADDRESS, Cause.UNSUBSCRIBED, category=category)
    await suppressions.add(ADDRESS, Cause.COMPLAINT)
    assert await suppressions.lift(ADDRESS, Cause.UNSUBSCRIBED, "billing")
    left = {(entry.cause, entry.category) for entry in await suppressions.entries(ADDRESS)}
    everything = {(Cause.UNSUBSCRIBED, None), (Cause.UNSUBSCRIBED, "news: weekly"), (Cause.COMPLAINT, None)}
    assert left == everything
    assert await suppressions.lift(ADDRESS, Cause.UNSUBSCRIBED)
    assert [entry.cause for entry in await suppressions.entries(ADDRESS)] == [Cause.COMPLAINT]
    assert not await suppressions.lift(ADDRESS, Cause.UNSUBSCRIBED)
    assert await refusal(rules, mail()) is Reason.OPTED_OUT


async def test_what_is_required_passes_a_complaint_and_an_unsubscription_and_not_a_bounce(
    suppressions: Suppressions, rules: MailRules
) -> None:
    made = mail(category="security")
    required = replace(made, delivery=made.delivery.model_copy(update={"required": True}))
    await suppressions.add(ADDRESS, Cause.COMPLAINT)
    await suppressions.add(ADDRESS, Cause.UNSUBSCRIBED, category="security")
    assert await refusal(rules, made) is Reason.OPTED_OUT
    assert await refusal(rules, required) is None
    await suppressions.add(ADDRESS, Cause.BOUNCE)
    assert await refusal(rules, required) is Reason.BOUNCED


async def test_case_makes_no_other_mailbox(suppressions: Suppressions, rules: MailRules) -> None:
    await suppressions.add(digest("USER123@Example.COM"), Cause.BOUNCE)
    assert await refusal(rules, mail()) is Reason.BOUNCED


async def test_each_cause_is_lifted_by_itself(suppressions: Suppressions, rules: MailRules) -> None:
    for cause in (Cause.BOUNCE, Cause.COMPLAINT):
        await suppressions.add(ADDRESS, cause)
    assert await suppressions.lift(ADDRESS, Cause.BOUNCE)
    assert await refusal(rules, mail()) is Reason.OPTED_OUT
    assert await suppressions.lift(ADDRESS)
    assert await refusal(rules, mail()) is None
    assert not await suppressions.lift(ADDRESS)
    assert not await suppressions.lift(ADDRESS, Cause.BOUNCE)


async def test_the_first_report_of_a_cause_stands(suppressions: Suppressions, clock: StandingClock) -> None:
    first = clock.now()
    assert await suppressions.add(ADDRESS, Cause.BOUNCE, "550 5.1.1")
    clock.move(3600)
    assert not await suppressions.add(ADDRESS, Cause.BOUNCE, "550 5.1.1 again")
    assert await suppressions.entries(ADDRESS) == [Entry(Cause.BOUNCE, first, "550 5.1.1")]


async def test_no_address_is_kept(suppressions: Suppressions, open_store: Store) -> None:
    await suppressions.add(ADDRESS, Cause.BOUNCE)
    keys = [key.decode() for key in await open_store.command("KEYS", "*")]
    assert keys == [f"carillon:{{x:{ADDRESS}}}:email"]
    assert await open_store.command("TTL", keys[0]) == -1


async def test_a_cause_of_a_later_version_is_left_alone(suppressions: Suppressions, open_store: Store) -> None:
    await suppressions.add(ADDRESS, Cause.BOUNCE)
    await open_store.command("HSET", Keys().suppressed("email", ADDRESS), "later", "whatever")
    assert [entry.cause for entry in await suppressions.entries(ADDRESS)] == [Cause.BOUNCE]


async def test_a_damaged_entry_still_keeps_mail_away(
    suppressions: Suppressions, open_store: Store, rules: MailRules
) -> None:
    for text in ("not JSON", "[]", '{"at": 1, "detail": ""}', '{"at": "yesterday", "detail": ""}', "{}"):
        await open_store.command("HSET", Keys().suppressed("email", ADDRESS), "bounce", text)
        assert await refusal(rules, mail()) is Reason.BOUNCED
    assert [entry.detail for entry in await suppressions.entries(ADDRESS)] == ["unreadable"]


async def test_an_address_that_does_not_exist_is_suppressed_when_a_relay_says_so(rules: MailRules) -> None:
    others: tuple[DeliveryError | None, ...] = (
        None,
        TemporaryFailure(Reason.UNAVAILABLE),
        PermanentFailure(Reason.REJECTED),
    )
    for error in others:
        await rules.learn(mail(), error)
    assert await refusal(rules, mail()) is None
    await rules.learn(mail(), RecipientGone("550 5.1.1"))
    assert await refusal(rules, mail()) is Reason.BOUNCED


async def test_a_mass_of_addresses_that_seem_gone_is_not_suppressed(rules: MailRules) -> None:
    addresses = [f"user{number}@example.com" for number in range(200)]
    before = forgotten_addresses.labels(Channel.EMAIL)._value.get()
    for address in addresses:
        await rules.learn(mail(address), RecipientGone("550 5.1.1"))
    assert forgotten_addresses.labels(Channel.EMAIL)._value.get() == before + FREE_IN_WINDOW
    await rules.learn(mail(addresses[0]), RecipientGone("550 5.1.1"))
    assert forgotten_addresses.labels(Channel.EMAIL)._value.get() == before + FREE_IN_WINDOW
    refused = [address for address in addresses if await refusal(rules, mail(address))]
    assert refused == addresses[:FREE_IN_WINDOW]

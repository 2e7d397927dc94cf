"""What holds for every SMS whoever carries it, over the real provider, the sandbox and a real store."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from prometheus_client import REGISTRY

from sandbox.script import Rule
from sandbox.server import Sandbox
from services.sms.desk import Desk
from services.sms.providers import PROVIDERS
from shared.core.errors import DeliveryRefused, Reason, RecipientGone
from shared.core.model import Channel, Priority
from shared.delivery.attempt import Receipt
from shared.delivery.rules import Guarded, guarded
from shared.runtime.providers import build_providers
from shared.runtime.service import open_context
from shared.telemetry.metrics import forgotten_addresses
from tests.attempts import outcome
from tests.conftest import EmptyStore
from tests.sms import attempt, outbox, settings_for
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

Open = Callable[..., Any]


@pytest.fixture
async def sms(box: Sandbox, store: EmptyStore) -> AsyncIterator[Open]:
    """A function that opens the guarded provider with some settings."""
    async with AsyncExitStack() as stack:

        async def open_with(**others: Any) -> Guarded:
            settings = settings_for(box, redis_url=store.url, **others)
            context = await stack.enter_async_context(open_context(settings, "sms"))
            desk = Desk(context)
            (provider,) = guarded(desk.rules, build_providers(PROVIDERS, desk))
            stack.push_async_callback(provider.close)
            return provider

        yield open_with


def refused(ended: object) -> Reason | None:
    """The reason of a delivery that was refused."""
    return ended.reason if isinstance(ended, DeliveryRefused) else None


@pytest.mark.parametrize("phone", ["+4915112345678", "+12425550123", "+870773111632"])
async def test_a_country_that_is_not_allowed_costs_nothing(box: Sandbox, sms: Open, phone: str) -> None:
    assert refused(await outcome(await sms(), attempt(to=phone))) is Reason.COUNTRY_NOT_ALLOWED
    assert not outbox(box)
    assert isinstance(await outcome(await sms(sms_allowed_countries="*"), attempt(to=phone)), Receipt)


async def test_a_country_that_twilio_leaves_out_concerns_that_number_alone(sms: Open) -> None:
    provider = await sms()
    assert refused(await outcome(provider, attempt(to="+15005550003"))) is Reason.COUNTRY_NOT_ALLOWED
    assert isinstance(await outcome(provider, attempt()), Receipt)


async def test_a_number_gets_so_many_and_no_more(box: Sandbox, sms: Open) -> None:
    provider = await sms(sms_cap_per_number=2)
    first = attempt()
    for each in (first, attempt()):
        assert isinstance(await outcome(provider, each), Receipt)
    assert refused(await outcome(provider, attempt())) is Reason.RATE_CAPPED
    # A delivery that was counted may be tried again.
    assert isinstance(await outcome(provider, first), Receipt)
    assert isinstance(await outcome(provider, attempt(to="+12025550124")), Receipt)
    assert len(outbox(box)) == 4


async def test_the_caps_of_two_processes_are_one(sms: Open) -> None:
    one, other = await sms(sms_cap_per_number=1), await sms(sms_cap_per_number=1)
    assert isinstance(await outcome(one, attempt()), Receipt)
    assert refused(await outcome(other, attempt())) is Reason.RATE_CAPPED


async def test_a_cap_is_lifted_when_its_window_has_passed(sms: Open) -> None:
    provider = await sms(sms_cap_per_number=1, sms_cap_window_s=1)
    await provider.send(attempt())

    async def passes() -> bool:
        return isinstance(await outcome(provider, attempt()), Receipt)

    assert not await passes()
    await eventually(passes)


async def test_a_block_of_numbers_gets_so_many_and_no_more(sms: Open) -> None:
    provider = await sms(sms_cap_per_prefix=3)
    before = REGISTRY.get_sample_value("carillon_sms_capped_total", {"cap": "prefix"}) or 0.0
    ends = [await outcome(provider, attempt(to=f"+1202555{number:04}")) for number in range(5)]
    assert [refused(end) for end in ends] == [None, None, None, Reason.RATE_CAPPED, Reason.RATE_CAPPED]
    assert REGISTRY.get_sample_value("carillon_sms_capped_total", {"cap": "prefix"}) == before + 2
    assert isinstance(await outcome(provider, attempt(to="+12025560000")), Receipt)


async def test_what_is_critical_for_a_person_passes_the_cap_of_the_block(sms: Open) -> None:
    provider = await sms(sms_cap_per_prefix=1, sms_cap_per_number=1, sms_cap_per_number_critical=2)
    await provider.send(attempt())
    # To a number that a publisher gave, critical is only a word.
    assert refused(await outcome(provider, attempt(priority=Priority.CRITICAL))) is Reason.RATE_CAPPED
    critical = [attempt(priority=Priority.CRITICAL, recipient=f"user{number}") for number in range(2)]
    ends = [await outcome(provider, each) for each in critical]
    assert [refused(end) for end in ends] == [None, Reason.RATE_CAPPED]


async def test_a_number_that_is_gone_is_not_asked_again(box: Sandbox, sms: Open) -> None:
    provider = await sms()
    box.script.add(Rule.model_validate({"provider": "twilio", "fault": {"status": 400, "code": 21614}}))
    before = forgotten_addresses.labels(Channel.SMS)._value.get()
    assert isinstance(await outcome(provider, attempt()), RecipientGone)
    assert forgotten_addresses.labels(Channel.SMS)._value.get() == before + 1
    assert refused(await outcome(provider, attempt())) is Reason.BOUNCED
    assert not outbox(box)


async def test_an_opt_out_that_twilio_knows_of_holds_for_critical_ones_too(box: Sandbox, sms: Open) -> None:
    provider = await sms()
    box.script.add(Rule.model_validate({"provider": "twilio", "fault": {"status": 400, "code": 21610}}))
    critical = attempt(priority=Priority.CRITICAL, recipient="user1")
    assert refused(await outcome(provider, critical)) is Reason.OPTED_OUT
    assert refused(await outcome(provider, critical)) is Reason.OPTED_OUT
    assert sum(rule.fired for rule in box.script.rules) == 1
    assert not outbox(box)

"""One attempt: what each answer of a provider means, the pause of one that refuses us, and what the log line tells."""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from shared.core.clock import epoch_ms
from shared.core.errors import (
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    RouteUnfit,
    TemporaryFailure,
)
from shared.core.model import (
    AlertDetails,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    Notification,
    Priority,
    State,
    WebSubscription,
)
from shared.delivery import provider_health
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.failover import REACH_S
from shared.delivery.loop import UNJUDGED_WAIT, Deliverer, latency_observer
from shared.delivery.provider import Provider
from shared.delivery.provider_health import AWAY_AFTER
from shared.delivery.retry import RetryPolicy
from shared.delivery.witnesses import ENOUGH, MOST_REFUSALS
from shared.ledger.claims import Claim, ClaimVerdict, Outcome
from shared.store.keys import new_notification_id
from shared.telemetry.log import configure
from tests.fakes.clock import StandingClock
from tests.fakes.provider import ScriptedProvider
from tests.waiting import eventually

ADDRESS = "somebody@example.com"
TITLE = "A title nobody else may read"
BODY = "A body nobody else may read"

DOUBT_WAIT = timedelta(seconds=120)
FIRST_WAIT = timedelta(seconds=2)
CRITICAL_MOST = timedelta(seconds=30)


def notification(priority: Priority = Priority.NORMAL, accepted_ms: int = 0) -> Notification:
    return Notification(
        id=new_notification_id(),
        kind="email_send",
        priority=priority,
        accepted_ms=accepted_ms,
        content=Content(title=TITLE, message=BODY),
    )


def mail(priority: Priority = Priority.NORMAL, due_ms: int = 0, content: Content | None = None) -> Delivery:
    return Delivery(
        key="email:user123",
        channel=Channel.EMAIL,
        priority=priority,
        address=EmailAddress(email=ADDRESS),
        recipient="user123",
        due_ms=due_ms,
        expires_ms=2**42,
        content=content,
    )


def claim(attempt: int = 1, *, in_doubt: bool = False) -> Claim:
    return Claim(
        new_notification_id(), "email:user123", ClaimVerdict.CLAIMED, token=1, attempt=attempt, in_doubt=in_doubt
    )


def deliverer(*providers: Provider, deadline_s: float = 30, on_well: Callable[[], None] = lambda: None) -> Deliverer:
    return Deliverer(
        Channel.EMAIL,
        providers,
        attempt_deadline=timedelta(seconds=deadline_s),
        retry=RetryPolicy(),
        doubt_wait=DOUBT_WAIT,
        clock=StandingClock(),
        on_well=on_well,
    )


async def outcome_of(
    answer: Receipt | Exception | str,
    *,
    priority: Priority = Priority.NORMAL,
    attempt: int = 1,
    in_doubt: bool = False,
    deadline_s: float = 30,
) -> Outcome:
    return await deliverer(ScriptedProvider([answer]), deadline_s=deadline_s).perform(
        notification(priority), mail(priority), claim(attempt, in_doubt=in_doubt)
    )


async def test_what_the_provider_took_is_delivered_with_its_id() -> None:
    outcome = await outcome_of(Receipt("queued as 4711"))
    assert outcome == Outcome(State.DELIVERED, provider="scripted", provider_id="queued as 4711")


@pytest.mark.parametrize(
    ("error", "state", "word", "counts"),
    [
        (TemporaryFailure(Reason.UNAVAILABLE, "450"), State.PENDING, "retry", True),
        (PermanentFailure(Reason.REJECTED, "554"), State.DEAD_LETTERED, "bad", True),
        (RecipientGone("5.1.1"), State.DEAD_LETTERED, "gone", True),
        (DeliveryRefused(Reason.COUNTRY_NOT_ALLOWED), State.SUPPRESSED, "refused", True),
        (RouteUnfit(Reason.REJECTED, "21612"), State.DEAD_LETTERED, "bad", True),
        (ProviderMisconfigured(Reason.AUTH, "535"), State.PENDING, "operator", False),
        (OutcomeUnknown(Reason.NETWORK, "cut"), State.PENDING, "unknown", True),
    ],
)
async def test_each_class_of_error_has_its_outcome(error: DeliveryError, state: State, word: str, counts: bool) -> None:
    outcome = await outcome_of(error)
    assert (outcome.state, outcome.word, outcome.counts) == (state, word, counts)
    assert (outcome.reason, outcome.detail, outcome.provider) == (error.reason, error.detail, "scripted")
    assert outcome.in_doubt == isinstance(error, OutcomeUnknown)


async def test_a_temporary_failure_waits_at_least_as_long_as_the_provider_asked() -> None:
    asked = timedelta(minutes=7)
    outcome = await outcome_of(TemporaryFailure(Reason.RATE_LIMITED, retry_after=asked))
    assert asked <= outcome.wait <= asked + FIRST_WAIT
    assert (await outcome_of(TemporaryFailure(Reason.UNAVAILABLE))).wait <= FIRST_WAIT


async def test_only_a_wait_that_the_provider_asked_for_is_told_as_asked() -> None:
    asked = await outcome_of(TemporaryFailure(Reason.UNAVAILABLE, retry_after=timedelta(minutes=7)))
    assert (asked.reason, asked.asked) == (Reason.UNAVAILABLE, True)
    own = TemporaryFailure(Reason.UNAVAILABLE), ProviderMisconfigured(Reason.AUTH), OutcomeUnknown(Reason.TIMEOUT)
    for error in own:
        assert not (await outcome_of(error)).asked


async def test_a_hanging_provider_is_cut_off_in_doubt() -> None:
    outcome = await outcome_of(ScriptedProvider.HANG, deadline_s=0.05)
    assert (outcome.state, outcome.word, outcome.reason) == (State.PENDING, "unknown", Reason.TIMEOUT)
    assert outcome.in_doubt


async def test_a_timeout_of_the_providers_own_is_in_doubt_too() -> None:
    assert (await outcome_of(TimeoutError())).reason is Reason.TIMEOUT


async def test_an_unknown_outcome_is_repeated_after_the_wait_for_doubt() -> None:
    outcome = await outcome_of(OutcomeUnknown(Reason.TIMEOUT))
    assert outcome.wait >= DOUBT_WAIT
    assert outcome.in_doubt


async def test_a_critical_unknown_outcome_is_repeated_at_once_and_then_backs_off() -> None:
    unknown = OutcomeUnknown(Reason.TIMEOUT)
    assert (await outcome_of(unknown, priority=Priority.CRITICAL)).wait == timedelta(0)
    # Twice is better than late; a provider that never answers would otherwise be asked without a pause for a day.
    waits = [(await outcome_of(unknown, priority=Priority.CRITICAL, attempt=9, in_doubt=True)).wait for _ in range(20)]
    assert timedelta(seconds=1) < max(waits) <= CRITICAL_MOST


@pytest.mark.parametrize(
    "error", [TemporaryFailure(Reason.UNAVAILABLE), ProviderMisconfigured(Reason.AUTH), OutcomeUnknown(Reason.TIMEOUT)]
)
async def test_a_doubt_is_never_forgotten(error: DeliveryError) -> None:
    assert (await outcome_of(error, in_doubt=True)).in_doubt


async def test_the_provider_is_told_the_attempts_number_its_doubt_and_its_deadline() -> None:
    provider = ScriptedProvider()
    said = Content(title="own", message="own")
    note, to = notification(), mail(content=said)
    await deliverer(provider).perform(note, to, claim(3, in_doubt=True))
    (attempt,) = provider.attempts
    deadline = StandingClock().now() + timedelta(seconds=30)
    assert attempt == Attempt(note, to, number=3, in_doubt=True, deadline=deadline)
    assert attempt.content == said
    await deliverer(provider).perform(note, mail(), claim())
    assert provider.attempts[-1].content == note.content


async def test_the_first_provider_that_handles_the_address_gets_it() -> None:
    other = ScriptedProvider(name="other", channel=Channel.SMS)
    first, second = ScriptedProvider(name="first"), ScriptedProvider(name="second")
    await deliverer(other, first, second).perform(notification(), mail(), claim())
    assert [len(provider.attempts) for provider in (other, first, second)] == [0, 1, 0]


async def test_without_a_provider_for_the_address_it_is_a_dead_letter() -> None:
    other = ScriptedProvider(channel=Channel.SMS)
    outcome = await deliverer(other).perform(notification(), mail(), claim())
    assert (outcome.state, outcome.reason) == (State.DEAD_LETTERED, Reason.NO_PROVIDER)


async def test_an_error_that_is_not_ours_passes_through_to_the_worker() -> None:
    with pytest.raises(ZeroDivisionError):
        await outcome_of(ZeroDivisionError())


def paused(provider: str) -> float | None:
    return REGISTRY.get_sample_value("carillon_provider_paused", {"channel": "email", "provider": provider})


async def test_a_refusal_of_us_pauses_the_provider_and_uses_up_no_attempt() -> None:
    provider = ScriptedProvider([ProviderMisconfigured(Reason.AUTH, "535")], name="pausing")
    channel = deliverer(provider)
    assert paused("pausing") == 0
    await channel.perform(notification(), mail(), claim())
    assert paused("pausing") == 1
    for _ in range(10):
        outcome = await channel.perform(notification(), mail(), claim(in_doubt=True))
        assert (outcome.state, outcome.word, outcome.counts) == (State.PENDING, "paused", False)
        assert outcome.in_doubt
        assert timedelta(seconds=1) <= outcome.wait <= timedelta(seconds=5)
    assert len(provider.attempts) == 1


def to(number: int, *, priority: Priority = Priority.NORMAL) -> Delivery:
    return mail(priority).model_copy(
        update={"recipient": None, "address": EmailAddress(email=f"user{number}@example.com")}
    )


def refusal(kind: type[PermanentFailure] = PermanentFailure) -> PermanentFailure:
    if kind is RecipientGone:
        return RecipientGone("550 5.1.1").said("5.1.1")
    return PermanentFailure(Reason.REJECTED, "550 5.7.1").said("5.7")


async def test_a_refusal_that_nobody_can_judge_yet_is_put_off_and_uses_up_no_attempt() -> None:
    channel = deliverer(ScriptedProvider([refusal(), refusal(RecipientGone)], name="unjudging"))
    outcome = await channel.perform(notification(), mail(), claim())
    assert (outcome.state, outcome.word, outcome.reason) == (State.PENDING, "unjudged", Reason.REJECTED)
    assert (outcome.counts, outcome.refusals, outcome.detail) == (False, 1, "550 5.7.1")
    assert UNJUDGED_WAIT * 0.8 <= outcome.wait <= UNJUDGED_WAIT
    outcome = await channel.perform(notification(), to(1), replace(claim(), refusals=3))
    assert (outcome.reason, outcome.refusals) == (Reason.GONE, 4)
    assert UNJUDGED_WAIT * 8 * 0.8 <= outcome.wait <= UNJUDGED_WAIT * 8
    assert paused("unjudging") == 0


async def test_a_refusal_alone_ends_as_the_recipients_after_a_few_tries_within_minutes() -> None:
    channel = deliverer(ScriptedProvider([refusal(RecipientGone)] * MOST_REFUSALS))
    outcome, waited = Outcome(State.PENDING, refusals=0), timedelta(0)
    for tries in range(MOST_REFUSALS):
        assert outcome.state is State.PENDING
        outcome = await channel.perform(
            notification(), mail(), replace(claim(), refusals=outcome.refusals or 0, refused_for=waited)
        )
        waited += outcome.wait
        assert tries < MOST_REFUSALS
    assert (outcome.state, outcome.reason, outcome.word) == (State.DEAD_LETTERED, Reason.GONE, "gone")
    assert timedelta(seconds=40) < waited < timedelta(minutes=2)


async def test_what_one_gets_beside_others_who_are_accepted_is_its_own() -> None:
    provider = ScriptedProvider([refusal(), Receipt(), Receipt(), refusal()], name="judging")
    channel = deliverer(provider)
    note = notification()
    first = await channel.perform(note, to(0), claim())
    for number in (1, 2):
        await channel.perform(notification(), to(number), claim())
    outcome = await channel.perform(note, to(0), replace(claim(), refusals=1, refused_for=timedelta(seconds=2)))
    assert (first.word, outcome.word) == ("unjudged", "bad")
    assert (outcome.state, outcome.reason, outcome.counts) == (State.DEAD_LETTERED, Reason.REJECTED, True)
    assert paused("judging") == 0


async def test_what_everybody_gets_pauses_the_provider_until_one_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    well: list[str] = []
    provider = ScriptedProvider([refusal(RecipientGone)] * ENOUGH, name="against-us")
    channel = deliverer(provider, on_well=lambda: well.append("again"))
    outcomes = [await channel.perform(notification(), to(number), claim()) for number in range(ENOUGH)]
    assert [outcome.word for outcome in outcomes] == ["unjudged"] * (ENOUGH - 1) + ["operator"]
    assert (outcomes[-1].reason, outcomes[-1].refusals) == (Reason.AUTH, 0)
    assert paused("against-us") == 1
    outcome = await channel.perform(notification(), to(99), replace(claim(), refusals=2))
    assert (outcome.word, outcome.counts, outcome.refusals) == ("paused", False, 0)
    assert len(provider.attempts) == ENOUGH
    monkeypatch.setattr(provider_health, "PROBE_INTERVAL_S", 0.0)
    assert (await channel.perform(notification(), to(99), claim())).word == "ok"
    assert (paused("against-us"), well) == (0, ["again"])


async def test_the_parts_of_a_fan_out_are_one_text() -> None:
    provider = ScriptedProvider([refusal(), refusal(), Receipt(), refusal()])
    channel = deliverer(provider)
    whole = new_notification_id()
    parts = [notification().model_copy(update={"part_of": whole}) for _ in range(2)]
    first = [await channel.perform(part, to(number), claim()) for number, part in enumerate(parts)]
    await channel.perform(notification(), to(99), claim())
    # One other text was accepted: as many as were refused, however many parts that had.
    outcome = await channel.perform(parts[0], to(0), replace(claim(), refusals=1, refused_for=timedelta(seconds=2)))
    assert ([each.word for each in first], outcome.word) == (["unjudged"] * 2, "bad")


async def test_while_nobody_knows_and_when_it_refuses_everybody_the_next_route_is_asked() -> None:
    first = ScriptedProvider([refusal() for _ in range(ENOUGH)], name="refusing")
    second = ScriptedProvider(name="second")
    channel = deliverer(first, second)
    for number in range(ENOUGH + 10):
        outcome = await channel.perform(notification(), to(number), claim())
        assert (outcome.state, outcome.provider) == (State.DELIVERED, "second")
    assert (len(first.attempts), paused("refusing"), paused("second")) == (ENOUGH, 1, 0)


async def test_when_no_route_can_be_judged_the_refusals_are_counted() -> None:
    channel = deliverer(*two([refusal()], [TemporaryFailure(Reason.UNAVAILABLE, "451")]))
    outcome = await channel.perform(notification(), mail(), replace(claim(), refusals=1))
    assert (outcome.word, outcome.refusals) == ("retry", 2)
    channel = deliverer(*two([refusal()], [refusal()]))
    outcome = await channel.perform(notification(), mail(), claim())
    assert (outcome.word, outcome.counts, outcome.refusals) == ("unjudged", False, 1)
    assert outcome.detail.count("550 5.7.1") == 2


def browser(number: int, host: str) -> Delivery:
    address = WebSubscription(endpoint=f"https://{host}/{number}", p256dh="", auth="")
    return mail().model_copy(update={"recipient": f"user{number}", "address": address})


async def test_what_one_push_service_says_stops_no_other() -> None:
    provider = ScriptedProvider([refusal() for _ in range(ENOUGH)], name="hosts")
    channel = deliverer(provider)
    for number in range(ENOUGH):
        await channel.perform(notification(), browser(number, "push.example.com"), claim())
    assert paused("hosts") == 1
    ended = await channel.perform(notification(), browser(50, "push.example.net"), claim())
    assert ended.state is State.DELIVERED
    assert paused("hosts") == 1
    assert (await channel.perform(notification(), browser(50, "push.example.com"), claim())).word == "paused"


class Learning(ScriptedProvider):
    """Writes down what it is told that is certain."""

    def __init__(self, script: Iterable[Receipt | Exception | str]) -> None:
        super().__init__(script)
        self.learnt: list[str] = []

    async def learn(self, _attempt: Attempt, error: PermanentFailure | None) -> None:
        self.learnt.append(error.detail if error else "accepted")


async def test_an_address_is_not_given_up_before_others_have_shown_that_it_is_at_fault() -> None:
    provider = Learning([refusal(RecipientGone), Receipt(), refusal(RecipientGone)])
    channel = deliverer(provider)
    await channel.perform(notification(), to(0), claim())
    assert provider.learnt == []
    await channel.perform(notification(), to(1), claim())
    await channel.perform(notification(), to(0), replace(claim(), refusals=1, refused_for=timedelta(seconds=2)))
    assert provider.learnt == ["accepted", "550 5.1.1"]
    # Nobody has been accepted, so it may be that nobody would be: a dead letter, but the address is kept.
    alone = Learning([refusal(RecipientGone)])
    outcome = await deliverer(alone).perform(notification(), to(0), replace(claim(), refusals=MOST_REFUSALS - 1))
    assert (outcome.state, alone.learnt) == (State.DEAD_LETTERED, [])


async def test_what_waits_for_a_provider_that_refuses_us_comes_back_one_after_the_other() -> None:
    channel = deliverer(ScriptedProvider([ProviderMisconfigured(Reason.AUTH, "535")]))
    waits = [(await channel.perform(notification(), mail(), claim())).wait for _ in range(101)]
    assert all(wait >= timedelta(seconds=turn / 5 - 0.5) for turn, wait in enumerate(waits, 1))
    urgent = await channel.perform(notification(Priority.CRITICAL), mail(Priority.CRITICAL), claim())
    assert urgent.wait <= timedelta(seconds=5)


async def test_a_paused_provider_leaves_the_other_alone() -> None:
    broken = ScriptedProvider([ProviderMisconfigured(Reason.AUTH)], name="broken", channel=Channel.EMAIL)
    channel = deliverer(broken, ScriptedProvider(name="sound"))
    await channel.perform(notification(), mail(), claim())
    text = mail().model_copy(update={"channel": Channel.SMS})
    assert (await channel.perform(notification(), text, claim())).state is State.DELIVERED


async def test_what_waits_for_a_provider_that_is_away_comes_back_one_after_the_other() -> None:
    well: list[str] = []
    provider = ScriptedProvider([TemporaryFailure(Reason.UNAVAILABLE, "451")] * (AWAY_AFTER + 101))
    channel = deliverer(provider, on_well=lambda: well.append("again"))
    for _ in range(AWAY_AFTER):
        outcome = await channel.perform(notification(), mail(), claim())
        assert outcome.wait <= FIRST_WAIT
    waits = [(await channel.perform(notification(), mail(), claim())).wait for _ in range(100)]
    # Five in a second, and none before its turn, where without turns all would be back within two.
    assert all(wait >= timedelta(seconds=turn / 5 - 0.5) for turn, wait in enumerate(waits, 1))
    urgent = await channel.perform(notification(Priority.CRITICAL), mail(Priority.CRITICAL), claim())
    assert urgent.wait <= FIRST_WAIT
    assert well == []
    for _ in range(2):
        await channel.perform(notification(), mail(), claim())
    assert well == ["again"]


def two(
    first: Iterable[Receipt | Exception | str], second: Iterable[Receipt | Exception | str] = ()
) -> tuple[ScriptedProvider, ScriptedProvider]:
    return ScriptedProvider(first, name="first"), ScriptedProvider(second, name="second")


@pytest.mark.parametrize("priority", [Priority.NORMAL, Priority.CRITICAL])
@pytest.mark.parametrize(
    "error",
    [
        TemporaryFailure(Reason.NETWORK),
        TemporaryFailure(Reason.UNAVAILABLE, "421"),
        TemporaryFailure(Reason.RATE_LIMITED, retry_after=timedelta(minutes=10)),
        ProviderMisconfigured(Reason.AUTH, "535"),
    ],
)
async def test_what_the_first_route_did_not_take_the_next_one_gets_at_once(
    error: DeliveryError, priority: Priority
) -> None:
    first, second = two([error])
    outcome = await deliverer(first, second).perform(notification(priority), mail(priority), claim())
    assert (outcome.state, outcome.provider) == (State.DELIVERED, "second")
    assert outcome.detail == f"first {error.reason} {error.detail}".rstrip()
    assert paused("first") == isinstance(error, ProviderMisconfigured)
    assert paused("second") == 0


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknown(Reason.NETWORK),
        TemporaryFailure(Reason.MAILBOX_FULL),
        RecipientGone(),
        PermanentFailure(Reason.REJECTED),
        DeliveryRefused(Reason.COUNTRY_NOT_ALLOWED),
    ],
)
async def test_what_the_first_route_may_have_taken_or_has_judged_no_other_gets(error: DeliveryError) -> None:
    first, second = two([error])
    to = mail(Priority.CRITICAL)
    await deliverer(first, second).perform(notification(Priority.CRITICAL), to, claim())
    assert not second.attempts


UNFIT = RouteUnfit(Reason.REJECTED, "400 21612")


async def test_what_a_route_cannot_carry_the_next_one_gets_and_both_stay_well() -> None:
    first, second = two([UNFIT])
    channel = deliverer(first, second)
    outcome = await channel.perform(notification(), mail(), claim())
    assert (outcome.state, outcome.provider) == (State.DELIVERED, "second")
    assert outcome.detail == "first rejected 400 21612"
    assert (await channel.perform(notification(), mail(), claim())).provider == "first"


async def test_what_no_route_can_carry_is_a_dead_letter() -> None:
    outcome = await deliverer(*two([UNFIT], [UNFIT])).perform(notification(), mail(), claim())
    assert (outcome.state, outcome.word, outcome.reason) == (State.DEAD_LETTERED, "bad", Reason.REJECTED)


@pytest.mark.parametrize(
    "other",
    [
        TemporaryFailure(Reason.NETWORK),
        TemporaryFailure(Reason.RATE_LIMITED, retry_after=timedelta(minutes=10)),
        ProviderMisconfigured(Reason.AUTH),
    ],
)
@pytest.mark.parametrize("unfit_first", [True, False])
async def test_what_one_route_cannot_carry_waits_for_the_other(other: DeliveryError, unfit_first: bool) -> None:
    answers: list[list[DeliveryError]] = [[UNFIT], [other]] if unfit_first else [[other], [UNFIT]]
    first, second = two(*answers)
    channel = deliverer(first, second)
    outcome = await channel.perform(notification(), mail(), claim())
    assert (outcome.state, len(first.attempts), len(second.attempts)) == (State.PENDING, 1, 1)
    # The other one may be held back, and not even be asked.
    unfit = first if unfit_first else second
    unfit.script.append(UNFIT)
    again = await channel.perform(notification(), mail(), claim(2))
    assert again.state is (State.DELIVERED if again.provider not in ("", unfit.name) else State.PENDING)


async def test_a_hanging_route_is_in_doubt_and_the_next_attempt_goes_elsewhere() -> None:
    first, second = two([ScriptedProvider.HANG])
    channel = deliverer(first, second, deadline_s=0.05)
    outcome = await channel.perform(notification(), mail(), claim())
    assert (outcome.word, second.attempts) == ("unknown", [])
    assert (await channel.perform(notification(), mail(), claim(2, in_doubt=True))).provider == "second"


async def test_only_when_all_routes_refuse_us_no_attempt_is_used_up() -> None:
    refused = ProviderMisconfigured(Reason.AUTH, "535")
    outcome = await deliverer(*two([refused], [refused])).perform(notification(), mail(), claim())
    assert (outcome.word, outcome.counts) == ("operator", False)
    assert (paused("first"), paused("second")) == (1, 1)
    one_is_away = two([TemporaryFailure(Reason.NETWORK)], [refused])
    outcome = await deliverer(*one_is_away).perform(notification(), mail(), claim())
    assert (outcome.word, outcome.counts, outcome.provider) == ("retry", True, "first")


async def test_a_probe_that_came_too_early_for_a_paused_route_is_made_by_another_delivery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of refusals that were under way together the last puts the next probe off, and the first counts as the failure.
    monkeypatch.setattr(provider_health, "PROBE_INTERVAL_S", 0.05)
    first, second = two([ProviderMisconfigured(Reason.AUTH)])
    channel = deliverer(first, second)
    await channel.perform(notification(), mail(), claim())

    async def asked_again() -> bool:
        await channel.perform(notification(), mail(), claim())
        return len(first.attempts) > 1

    await eventually(asked_again)
    assert len(second.attempts) > 1


async def test_when_all_routes_are_paused_the_delivery_waits_unasked() -> None:
    first, second = two([ProviderMisconfigured(Reason.AUTH)], [ProviderMisconfigured(Reason.AUTH)])
    channel = deliverer(first, second)
    for _ in range(10):
        outcome = await channel.perform(notification(), mail(), claim())
    assert (outcome.word, outcome.counts) == ("paused", False)
    assert (len(first.attempts), len(second.attempts)) == (1, 1)


async def test_when_all_routes_limit_us_the_delivery_waits_until_the_first_comes_back() -> None:
    asked = [timedelta(minutes=10), timedelta(minutes=5)]
    channel = deliverer(*two(*([TemporaryFailure(Reason.RATE_LIMITED, retry_after=each)] for each in asked)))
    outcome = await channel.perform(notification(), mail(), claim())
    assert (outcome.word, outcome.provider) == ("retry", "second")
    outcome = await channel.perform(notification(), mail(), claim())
    assert (outcome.word, outcome.counts, outcome.reason) == ("paused", False, Reason.RATE_LIMITED)
    assert timedelta(minutes=4) < outcome.wait < timedelta(minutes=6)


async def test_a_critical_delivery_does_not_wait_long_for_a_route_to_be_reached() -> None:
    first, second = two([TemporaryFailure(Reason.TIMEOUT)])
    await deliverer(first, second).perform(notification(), mail(Priority.CRITICAL), claim())
    assert [each.attempts[0].reach_within for each in (first, second)] == [
        timedelta(seconds=REACH_S),
        pytest.approx(timedelta(seconds=27), abs=timedelta(seconds=1)),
    ]
    alone = ScriptedProvider()
    await deliverer(alone).perform(notification(), mail(Priority.CRITICAL), claim())
    assert alone.attempts[0].reach_within is None


async def test_a_probe_that_succeeds_resumes_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_health, "PROBE_INTERVAL_S", 0.0)
    refused = [ProviderMisconfigured(Reason.QUOTA), ProviderMisconfigured(Reason.QUOTA)]
    provider = ScriptedProvider(refused, name="resuming")
    channel = deliverer(provider)
    words = [(await channel.perform(notification(), mail(), claim())).word for _ in range(4)]
    assert words == ["operator", "operator", "ok", "ok"]
    assert paused("resuming") == 0


@pytest.mark.parametrize(
    "answer",
    [Receipt("queued as 4711"), TemporaryFailure(Reason.UNAVAILABLE, "450"), ProviderMisconfigured(Reason.AUTH, "535")],
)
async def test_each_attempt_is_one_log_line_without_personal_data(
    answer: Receipt | DeliveryError, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    configure("INFO", "json", "email")
    try:
        await outcome_of(answer, attempt=2)
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
    output = capsys.readouterr().out
    attempts = [line for line in map(json.loads, output.splitlines()) if line["event"] == "attempt"]
    assert len(attempts) == 1
    fields = {
        "notification_id", "delivery_id", "channel", "provider", "attempt", "outcome", "reason", "duration_s",
    }  # fmt: skip
    assert fields <= attempts[0].keys()
    for private in (ADDRESS, TITLE, BODY):
        assert private not in output


async def test_attempts_are_counted_by_outcome() -> None:
    def count(word: str) -> float | None:
        labels = {"channel": "email", "provider": "counted", "outcome": word}
        return REGISTRY.get_sample_value("carillon_attempts_total", labels)

    provider = ScriptedProvider([Receipt(), RecipientGone(), Receipt()], name="counted")
    channel = deliverer(provider)
    assert (count("ok"), count("gone"), count("bad")) == (0, 0, 0)
    for _ in range(3):
        await channel.perform(notification(), mail(), claim())
    assert (count("ok"), count("gone"), count("bad")) == (2, 1, 0)


@pytest.fixture
def latency_s() -> Callable[[], float]:
    """How much latency was observed since the last look."""
    seen = 0.0

    def look() -> float:
        nonlocal seen
        labels = {"channel": "push", "priority": "low"}
        total = REGISTRY.get_sample_value("carillon_delivery_latency_seconds_sum", labels) or 0.0
        seen, new = total, total - seen
        return new

    look()
    return look


def test_latency_counts_from_acceptance_or_from_the_planned_time(latency_s: Callable[[], float]) -> None:
    clock = StandingClock()
    now_ms = epoch_ms(clock.now())
    observe = latency_observer(Channel.PUSH, clock)
    observe(notification(accepted_ms=now_ms - 1_500), mail(Priority.LOW))
    assert latency_s() == pytest.approx(1.5)
    observe(notification(accepted_ms=now_ms - 3_600_000), mail(Priority.LOW, due_ms=now_ms - 250))
    assert latency_s() == pytest.approx(0.25)
    # Another machine's clock may be ahead of ours.
    observe(notification(accepted_ms=now_ms + 500), mail(Priority.LOW))
    assert latency_s() == 0


def test_each_delivery_of_an_alert_counts_by_its_level_and_nothing_else_does() -> None:
    clock = StandingClock()
    now_ms = epoch_ms(clock.now())
    observe = latency_observer(Channel.PUSH, clock)

    def told() -> float:
        return REGISTRY.get_sample_value("carillon_alert_told_seconds_sum", {"severity": "warning"}) or 0.0

    before = told()
    plain = notification(accepted_ms=now_ms - 2_000)
    alert = AlertDetails(type="disk", level="warning", severity="a word of the publisher's")
    observe(plain, mail(Priority.HIGH))
    content = plain.content.model_copy(update={"alert": alert})
    observe(plain.model_copy(update={"content": content}), mail(Priority.HIGH))
    assert told() - before == pytest.approx(2)

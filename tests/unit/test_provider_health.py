"""What is known about a provider: when it may be asked, who comes back when, and when it is well again."""

import logging

import pytest
from prometheus_client import REGISTRY

from shared.core.errors import (
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
    Unjudged,
)
from shared.core.model import Channel, Delivery, EmailAddress, Priority
from shared.delivery.provider_health import (
    AWAY_AFTER,
    LONGEST_TURN_S,
    MOST_PEERS,
    PROBE_INTERVAL_S,
    REPEATED_PROBE_INTERVAL_S,
    HealthByServer,
    ProviderHealth,
)
from shared.delivery.witnesses import ENOUGH, witness_of
from tests.fakes.clock import Seconds


def mail(address: str) -> Delivery:
    return Delivery(
        key="k", channel=Channel.EMAIL, priority=Priority.NORMAL, address=EmailAddress(email=address), expires_ms=2**42
    )


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def health(seconds: Seconds) -> ProviderHealth:
    return ProviderHealth(Channel.EMAIL, "gated", seconds)


def test_a_provider_that_refuses_us_is_asked_once_a_second(health: ProviderHealth, seconds: Seconds) -> None:
    health.note(ProviderMisconfigured(Reason.AUTH))
    asked = 0
    for _ in range(100):
        seconds.now_s += 0.1
        asked += health.may_be_asked()
    assert 8 <= asked <= 10


@pytest.mark.parametrize(
    "answer",
    [
        None,
        RecipientGone().said("5.1.1"),
        PermanentFailure(Reason.REJECTED).said("5.7"),
        # Whose fault it is nobody knows, but the password was taken.
        Unjudged(Reason.REJECTED, "550 5.7.1", 1),
        TemporaryFailure(Reason.MAILBOX_FULL).said("4.2.2"),
    ],
)
def test_an_answer_about_the_recipient_ends_the_pause(health: ProviderHealth, answer: Exception | None) -> None:
    health.note(ProviderMisconfigured(Reason.AUTH))
    assert not health.may_be_asked()
    assert health.note(answer)
    assert health.may_be_asked()


@pytest.mark.parametrize(
    "answer",
    [
        ProviderMisconfigured(Reason.AUTH),
        TemporaryFailure(Reason.NETWORK),
        OutcomeUnknown(Reason.TIMEOUT),
        # A rule and a limit of ours: the provider was not asked.
        DeliveryRefused(Reason.COUNTRY_NOT_ALLOWED),
        PermanentFailure(Reason.TOO_LARGE, "the message is longer than any takes"),
    ],
)
def test_an_answer_that_tells_nothing_about_us_leaves_the_pause(health: ProviderHealth, answer: Exception) -> None:
    health.note(ProviderMisconfigured(Reason.AUTH))
    health.note(answer)
    assert not health.may_be_asked()


def test_a_provider_that_never_refused_us_is_not_paused(health: ProviderHealth) -> None:
    for answer in (
        None,
        TemporaryFailure(Reason.NETWORK),
        OutcomeUnknown(Reason.TIMEOUT),
        RecipientGone().said("5.1.1"),
    ):
        health.note(answer)
        assert health.may_be_asked()


def test_turns_are_a_fifth_of_a_second_apart_and_begin_anew_when_it_is_well(
    health: ProviderHealth, seconds: Seconds
) -> None:
    assert [round(health.turn_s(), 3) for _ in range(3)] == [0.2, 0.4, 0.6]
    seconds.now_s += 0.25
    assert health.turn_s() == pytest.approx(0.55)
    for _ in range(5_000):
        last_s = health.turn_s()
    assert last_s == pytest.approx(LONGEST_TURN_S)
    health.note(None)
    assert health.turn_s() == pytest.approx(0.2)


def test_the_first_answer_to_a_new_process_is_news(health: ProviderHealth) -> None:
    assert health.note(None)
    assert not health.note(None)


def test_failures_in_a_row_are_a_provider_that_is_away_until_it_answers(health: ProviderHealth) -> None:
    for _ in range(AWAY_AFTER):
        assert not health.is_away
        assert not health.note(TemporaryFailure(Reason.NETWORK))
    assert health.is_away
    assert health.note(RecipientGone().said("5.1.1"))
    assert not health.is_away
    assert not health.note(None)


@pytest.mark.parametrize("answer", [TemporaryFailure(Reason.RATE_LIMITED), TemporaryFailure(Reason.MAILBOX_FULL)])
def test_a_limit_is_no_sign_of_being_away(health: ProviderHealth, answer: Exception) -> None:
    for _ in range(AWAY_AFTER):
        health.note(answer)
    assert not health.is_away


def test_a_pause_is_logged_once_and_its_end_once(health: ProviderHealth, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for answer in (ProviderMisconfigured(Reason.AUTH), ProviderMisconfigured(Reason.AUTH), None, None):
        health.note(answer)
    assert [record.message for record in caplog.records] == ["provider paused", "provider resumed"]


def refuse_everybody(health: ProviderHealth) -> None:
    for number in range(ENOUGH):
        delivery = mail(f"user{number}@example.com")
        witness = witness_of(delivery, f"n{number}")
        assert witness is not None
        health.witnesses.refused(witness, "5.7")
    assert health.witnesses.against_us
    health.note(ProviderMisconfigured(Reason.AUTH, "550 5.7.1 to everybody"))


@pytest.mark.parametrize(
    "answer",
    [
        PermanentFailure(Reason.REJECTED).said("5.7"),
        Unjudged(Reason.GONE, "550 5.1.1", 1),
        TemporaryFailure(Reason.MAILBOX_FULL).said("4.2.2"),
    ],
)
def test_only_who_is_accepted_ends_what_everybody_was_told(health: ProviderHealth, answer: Exception) -> None:
    refuse_everybody(health)
    assert not health.note(answer)
    assert health.refuses_us
    witness = witness_of(mail("user0@example.com"), "n0")
    assert witness is not None
    health.witnesses.accepted(witness)
    assert health.note(None)
    assert not health.refuses_us


def test_what_was_refused_already_is_the_probe_where_no_other_is_at_hand(
    health: ProviderHealth, seconds: Seconds
) -> None:
    health.note(ProviderMisconfigured(Reason.AUTH))
    seconds.now_s += PROBE_INTERVAL_S
    assert not health.may_be_asked(again=True)
    assert health.may_be_asked()
    seconds.now_s += REPEATED_PROBE_INTERVAL_S
    assert health.may_be_asked(again=True)


def paused() -> float | None:
    return REGISTRY.get_sample_value("carillon_provider_paused", {"channel": "push", "provider": "gated"})


def test_one_of_several_servers_is_paused_alone_and_the_metric_says_so(
    seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    servers = HealthByServer(Channel.PUSH, "gated", seconds)
    error = ProviderMisconfigured(Reason.AUTH)
    first, second = (servers.of(peer, error) for peer in ("push.example.com", "push.example.net"))
    servers.note(first, error)
    assert (servers.to("push.example.com").refuses_us, servers.to("push.example.net").refuses_us) == (True, False)
    assert paused() == 1
    servers.note(second, None)
    assert paused() == 1
    servers.note(first, None)
    assert paused() == 0
    assert [record.peer for record in caplog.records if record.message == "provider paused"] == ["push.example.com"]  # type: ignore[attr-defined]


def test_only_servers_that_answer_are_remembered_and_not_without_end(seconds: Seconds) -> None:
    servers = HealthByServer(Channel.PUSH, "gated", seconds)
    refused = ProviderMisconfigured(Reason.AUTH)
    servers.note(servers.of("push.example.com", refused), refused)
    for number in range(3 * MOST_PEERS):
        # A host that is not allowed: nobody was asked.
        servers.of(f"{number}.example.org", PermanentFailure(Reason.REJECTED, "not allowed"))
    assert servers.to("push.example.com").refuses_us
    for number in range(MOST_PEERS):
        servers.of(f"{number}.example.net", None)
    assert not servers.to("push.example.com").refuses_us
    assert paused() == 0

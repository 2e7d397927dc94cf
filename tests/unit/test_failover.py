"""Choosing among routes: preference, health, Retry-After, slowness, probes."""

from datetime import timedelta

import pytest

from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.core.model import Channel
from shared.delivery.failover import Choice, choose, held_s
from shared.delivery.provider_health import (
    AVOID_FIRST_S,
    AVOID_MOST_S,
    AVOIDED_AFTER,
    PROBE_INTERVAL_S,
    PROBE_LAPSES_S,
    URGENT_PROBE_S,
    ProviderHealth,
)

NAMES = ("smtp", "smtp-2", "smtp-3")
AWAY = TemporaryFailure(Reason.NETWORK)


class Routes:
    """Routes under a clock that the test moves."""

    def __init__(self, *names: str) -> None:
        self.now_s = 1000.0
        self._health = {name: ProviderHealth(Channel.EMAIL, name, lambda: self.now_s) for name in names}

    def choose(self, *, urgent: bool = False) -> list[Choice]:
        return choose(self._health, urgent=urgent)

    def order(self, *, urgent: bool = False) -> list[str]:
        return [choice.name for choice in self.choose(urgent=urgent)]

    def note(self, name: str, error: DeliveryError | None = None, duration_s: float = 0.05) -> None:
        rivals = [health for other, health in self._health.items() if other != name]
        self._health[name].note(error, duration_s, rivals)

    def held_s(self) -> float:
        return held_s(self._health)


@pytest.fixture
def routes() -> Routes:
    return Routes(*NAMES)


def test_the_operators_preference_holds_while_all_are_well(routes: Routes) -> None:
    for name in NAMES:
        routes.note(name)
    assert routes.choose() == [Choice(name, hurry=False) for name in NAMES]


@pytest.mark.parametrize("reason", [Reason.NETWORK, Reason.TIMEOUT])
@pytest.mark.parametrize("kind", [TemporaryFailure, OutcomeUnknown])
def test_a_route_that_is_away_is_asked_last_at_once(routes: Routes, kind: type[DeliveryError], reason: Reason) -> None:
    routes.note("smtp", kind(reason))
    assert routes.order() == ["smtp-2", "smtp-3", "smtp"]


def test_other_failures_count_only_in_a_row(routes: Routes) -> None:
    for _ in range(5):
        for _ in range(AVOIDED_AFTER - 1):
            routes.note("smtp", TemporaryFailure(Reason.UNAVAILABLE))
        routes.note("smtp")
    assert routes.order() == list(NAMES)
    for _ in range(AVOIDED_AFTER):
        routes.note("smtp", TemporaryFailure(Reason.UNAVAILABLE))
    assert routes.order() == ["smtp-2", "smtp-3", "smtp"]


def test_a_route_that_limits_us_without_saying_for_how_long_is_asked_last(routes: Routes) -> None:
    for _ in range(AVOIDED_AFTER):
        assert routes.order() == list(NAMES)
        routes.note("smtp", TemporaryFailure(Reason.RATE_LIMITED))
    assert routes.order() == ["smtp-2", "smtp-3", "smtp"]


@pytest.mark.parametrize(
    "error", [RecipientGone(), PermanentFailure(Reason.REJECTED), TemporaryFailure(Reason.MAILBOX_FULL)]
)
def test_an_answer_about_a_recipient_is_a_sign_of_health(routes: Routes, error: DeliveryError) -> None:
    for _ in range(10):
        routes.note("smtp", error)
    assert routes.order() == list(NAMES)


def test_a_limit_of_ours_says_nothing_about_a_route(routes: Routes) -> None:
    for _ in range(10):
        routes.note("smtp", TemporaryFailure(Reason.OWN_LIMIT))
    assert routes.order() == list(NAMES)


def test_one_delivery_probes_a_route_that_failed_and_the_others_do_not_wait(routes: Routes) -> None:
    routes.note("smtp", AWAY)
    routes.now_s += AVOID_FIRST_S
    assert routes.choose()[0] == Choice("smtp", hurry=True)
    # While nobody knows how the probe ends.
    assert routes.order() == ["smtp-2", "smtp-3", "smtp"]
    routes.note("smtp")
    assert routes.order() == list(NAMES)


def test_each_failed_probe_is_followed_by_a_longer_wait(routes: Routes) -> None:
    routes.note("smtp", AWAY)
    waits = []
    for _ in range(6):
        began_s = routes.now_s
        while routes.order()[0] != "smtp":
            routes.now_s += 1
        waits.append(routes.now_s - began_s)
        routes.note("smtp", AWAY)
    assert waits == [5, 10, 20, 40, 60, 60]
    assert (waits[0], waits[-1]) == (AVOID_FIRST_S, AVOID_MOST_S)


def test_a_crowd_of_failures_in_flight_is_one_failure(routes: Routes) -> None:
    for _ in range(100):
        routes.note("smtp", AWAY)
    routes.now_s += AVOID_FIRST_S
    assert routes.order()[0] == "smtp"


def test_a_probe_that_is_never_heard_of_is_repeated(routes: Routes) -> None:
    routes.note("smtp", AWAY)
    routes.now_s += AVOID_FIRST_S
    assert routes.order()[0] == "smtp"
    routes.now_s += PROBE_LAPSES_S
    assert routes.order()[0] == "smtp"


def test_an_urgent_delivery_is_a_probe_only_where_there_is_no_other(routes: Routes) -> None:
    routes.note("smtp", AWAY)
    routes.now_s += AVOID_FIRST_S
    assert routes.order(urgent=True)[0] == "smtp-2"
    routes.now_s += URGENT_PROBE_S
    assert routes.order(urgent=True)[0] == "smtp"


def test_an_urgent_delivery_hurries_while_a_healthy_route_stands_by(routes: Routes) -> None:
    assert [choice.hurry for choice in routes.choose(urgent=True)] == [True, True, False]
    routes.note("smtp-2", AWAY)
    routes.note("smtp-3", AWAY)
    assert routes.choose(urgent=True) == [Choice(name, hurry=False) for name in NAMES]


def test_a_refusal_of_us_is_probed_every_second_without_end(routes: Routes) -> None:
    for _ in range(10):
        routes.note("smtp", ProviderMisconfigured(Reason.AUTH))
        assert routes.order()[0] == "smtp-2"
        routes.now_s += PROBE_INTERVAL_S
        assert routes.order()[0] == "smtp"


def test_a_route_that_limits_us_is_not_asked_before_its_time(routes: Routes) -> None:
    routes.note("smtp", TemporaryFailure(Reason.RATE_LIMITED, retry_after=timedelta(seconds=90)))
    # Another delivery's answer does not shorten it.
    routes.note("smtp", TemporaryFailure(Reason.RATE_LIMITED, retry_after=timedelta(seconds=10)))
    routes.note("smtp")
    routes.now_s += 89
    assert routes.order() == ["smtp-2", "smtp-3"]
    routes.now_s += 1
    assert routes.order() == list(NAMES)


def test_when_all_limit_us_the_first_to_come_back_decides(routes: Routes) -> None:
    for name, seconds in zip(NAMES, (90, 30, 60), strict=True):
        routes.note(name, TemporaryFailure(Reason.RATE_LIMITED, retry_after=timedelta(seconds=seconds)))
    assert routes.choose() == []
    assert routes.held_s() == 30
    routes.now_s += 30
    assert routes.held_s() == 0
    assert routes.order() == ["smtp-2"]


def test_a_much_slower_route_is_asked_after_the_others_and_measured_again(routes: Routes) -> None:
    routes.note("smtp-2", duration_s=0.1)
    for _ in range(20):
        routes.note("smtp", duration_s=2.0)
    assert routes.order() == ["smtp-2", "smtp-3", "smtp"]
    routes.now_s += AVOID_MOST_S
    assert routes.order()[0] == "smtp"
    routes.note("smtp", duration_s=0.1)
    assert routes.order() == list(NAMES)


def test_equally_slow_routes_keep_their_order() -> None:
    routes = Routes("smtp", "smtp-2")
    routes.note("smtp", duration_s=2.0)
    # Nobody knew how fast the second one is.
    assert routes.order() == ["smtp-2", "smtp"]
    routes.note("smtp-2", duration_s=2.0)
    routes.now_s += AVOID_FIRST_S
    assert routes.order()[0] == "smtp"
    routes.note("smtp", duration_s=2.0)
    assert routes.order() == ["smtp", "smtp-2"]


def test_all_failing_routes_are_still_asked(routes: Routes) -> None:
    for name in reversed(NAMES):
        routes.note(name, AWAY)
        routes.now_s += 0.1
    assert routes.order() == ["smtp-3", "smtp-2", "smtp"]


def test_a_single_route_is_never_held_back() -> None:
    routes = Routes("smtp")
    for error in (AWAY, TemporaryFailure(Reason.RATE_LIMITED, retry_after=timedelta(hours=1))):
        routes.note("smtp", error)
        assert routes.choose(urgent=True) == [Choice("smtp", hurry=False)]

"""The limit on forgetting addresses."""

import logging

import pytest
from prometheus_client import REGISTRY

from shared.core.model import Channel
from shared.delivery.forgetting import FREE_IN_HOUR, FREE_IN_WINDOW, HOUR_S, WINDOW_S, ForgettingLimit


class Answers:
    """A limit under a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.limit = ForgettingLimit(Channel.EMAIL, lambda: self.now_s)

    def ok(self, count: int) -> None:
        for _ in range(count):
            self.limit.answered()

    def forgotten(self, count: int) -> int:
        return sum(self.limit.may_forget() for _ in range(count))


@pytest.fixture
def answers() -> Answers:
    return Answers()


def alarm() -> float | None:
    return REGISTRY.get_sample_value("carillon_forgetting_stopped", {"channel": "email"})


def test_a_few_addresses_are_always_forgotten(answers: Answers) -> None:
    assert answers.forgotten(FREE_IN_WINDOW) == FREE_IN_WINDOW
    assert alarm() == 0


def test_when_everything_looks_gone_forgetting_stops_and_alarms(answers: Answers) -> None:
    assert answers.forgotten(1000) == FREE_IN_WINDOW
    assert alarm() == 1


def test_up_to_five_percent_of_the_answers_are_forgotten(answers: Answers) -> None:
    answers.ok(1900)
    assert answers.forgotten(100) == 100
    assert answers.forgotten(1) == 0


def test_it_goes_on_when_the_five_minutes_are_over(answers: Answers) -> None:
    answers.forgotten(1000)
    answers.now_s += WINDOW_S
    assert answers.forgotten(1) == 1
    assert alarm() == 0


def test_good_answers_release_it_too(answers: Answers) -> None:
    answers.forgotten(20)
    assert answers.limit.is_on
    answers.ok(380)
    assert not answers.limit.is_on
    assert alarm() == 0


def test_old_answers_do_not_count(answers: Answers) -> None:
    answers.ok(10_000)
    answers.now_s += WINDOW_S
    assert answers.forgotten(100) == FREE_IN_WINDOW


def test_at_most_one_percent_of_all_addresses_is_forgotten_in_an_hour(answers: Answers) -> None:
    answers.limit.known = 20_000
    forgotten = 0
    for _ in range(50):
        answers.now_s += HOUR_S / 60
        answers.ok(1000)
        forgotten += answers.forgotten(10)
    assert forgotten == 200
    answers.now_s += HOUR_S
    answers.ok(1000)
    assert answers.forgotten(10) == 10


def test_a_small_address_book_is_not_frozen_by_its_size(answers: Answers) -> None:
    answers.limit.known = 50
    answers.ok(10_000)
    assert answers.forgotten(200) == FREE_IN_HOUR


def test_it_is_logged_once_and_its_end_once(answers: Answers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answers.forgotten(100)
    answers.now_s += WINDOW_S
    answers.forgotten(2)
    assert [record.message for record in caplog.records] == [
        "forgetting addresses stopped",
        "forgetting addresses resumed",
    ]


def test_where_only_the_gone_are_heard_of_their_number_within_an_hour_counts() -> None:
    answers = Answers()
    answers.limit = ForgettingLimit(Channel.EMAIL, lambda: answers.now_s, by_answers=False)
    answers.limit.known = 0
    assert answers.forgotten(10_000) == FREE_IN_HOUR
    assert alarm() == 1
    answers.now_s += HOUR_S
    assert answers.forgotten(1) == 1
    assert alarm() == 0
    answers.limit.known = 50_000
    answers.now_s += HOUR_S
    assert answers.forgotten(10_000) == 500

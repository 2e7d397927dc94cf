"""What an answer to the alerts of a number comes to."""

import itertools

import pytest

from services.sms.alerts import HIGHEST_NUMBER, Answerable, SentAlert
from services.sms.answers import NAMED, NOT_TAKEN, Say, Take, decide, suffix
from services.sms.keywords import read
from services.sms.segments import count_segments
from shared.core.incidents import AlertState

OPEN, TAKEN, OVER = AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.RESOLVED


def alert(number: int | None, state: AlertState | None = OPEN) -> Answerable:
    return Answerable(SentAlert(f"alert-{number}", "user1"), number, state)


def taken(body: str, *alerts: Answerable) -> tuple[str, str]:
    """The alert that is taken, and with what note."""
    follows = decide(read(body), alerts)
    assert isinstance(follows, Take), follows
    return follows.alert.alert_id, follows.note


def said(body: str, *alerts: Answerable) -> str:
    follows = decide(read(body), alerts)
    assert isinstance(follows, Say), follows
    return follows.text


def test_a_number_chooses_and_what_follows_it_is_the_note() -> None:
    assert taken("ack 7 on my way", alert(8), alert(7)) == ("alert-7", "on my way")
    assert taken("8", alert(8), alert(7)) == ("alert-8", "")


def test_with_one_open_alert_no_number_is_needed_and_a_wrong_one_is_a_word() -> None:
    assert taken("ok", alert(8, TAKEN), alert(7)) == ("alert-7", "")
    assert taken("ack 10 minutes", alert(7)) == ("alert-7", "10 minutes")
    # A bare number that is none of ours might be anything.
    assert said("10", alert(7)) == "Reply ACK 7 to take an alert. STOP ends all messages."


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (TAKEN, "Alert 7 is acknowledged already."),
        (OVER, "Alert 7 is resolved already."),
        (None, "Alert 7 is over."),
    ],
)
def test_the_number_of_an_alert_that_is_not_open_takes_no_other(state: AlertState | None, text: str) -> None:
    assert said("ack 7", alert(8), alert(7, state)) == text


def test_of_several_it_asks_which() -> None:
    assert said("ack", alert(9), alert(8, TAKEN), alert(7)) == "2 alerts are open. Which one? Reply ACK 9 or ACK 7."
    assert said("ack 5", alert(9), alert(7)) == "2 alerts are open. Which one? Reply ACK 9 or ACK 7."


def test_nothing_open_is_said() -> None:
    assert said("ok", alert(7, OVER)) == "No alert that was sent to this number is open."
    assert said("hello", alert(7, OVER)) == "This number sends alerts; none is open now. STOP ends all messages."


def test_whoever_was_sent_no_alert_gets_no_answer() -> None:
    assert [decide(read(body), []) for body in ("ack", "hello", "7")] == [None] * 3


def test_only_what_anything_would_get_is_help() -> None:
    kinds = {body: decide(read(body), [alert(9), alert(7)]) for body in ("hello", "ack", "10")}
    assert {body: isinstance(each, Say) and each.is_help for body, each in kinds.items()} == {
        "hello": True, "ack": False, "10": True,
    }  # fmt: skip


def test_every_answer_is_one_sms_of_the_small_alphabet() -> None:
    many = [alert(number) for number in range(HIGHEST_NUMBER, HIGHEST_NUMBER - 90, -1)]
    for alerts, body in itertools.product(
        (many[:1], many[:NAMED], many, [alert(99, None)], [alert(99, TAKEN)]), ("ack", "hello", "ack 99")
    ):
        follows = decide(read(body), alerts)
        if isinstance(follows, Say):
            segments = count_segments(follows.text)
            assert (segments.encoding, segments.count) == ("gsm7", 1), follows.text
    assert count_segments(NOT_TAKEN.text).count == 1
    assert count_segments(suffix(HIGHEST_NUMBER)).encoding == "gsm7"

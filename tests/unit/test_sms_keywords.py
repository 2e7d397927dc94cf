"""What people answer to an SMS."""

import pytest

from services.sms.keywords import NOTE_CHARS, Asked, Request, read


@pytest.mark.parametrize("body", ["STOP", "stop", " Stop. ", "STOPALL", "UNSUBSCRIBE", "cancel", "END", "quit!"])
def test_stop_words_ask_for_silence(body: str) -> None:
    assert read(body) == Asked(Request.STOP)


@pytest.mark.parametrize("body", ["START", "unstop", "Yes"])
def test_start_words_end_it(body: str) -> None:
    assert read(body) == Asked(Request.START)


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("ACK", ""),
        ("ack", ""),
        ("Ack!", ""),
        ("ack: on my way", "on my way"),
        (" ACK on my way\nsoon ", "on my way\nsoon"),
        ("ACK " + "x" * 1600, "x" * NOTE_CHARS),
    ],
)
def test_ack_acknowledges_with_what_follows_as_a_note(body: str, note: str) -> None:
    assert read(body) == Asked(Request.ACKNOWLEDGE, note)


@pytest.mark.parametrize("body", ["", "please stop", "stop it", "acknowledge", "acknowledged", "not ack", "yes please"])
def test_anything_else_asks_for_nothing(body: str) -> None:
    assert read(body) == Asked(Request.OTHER)

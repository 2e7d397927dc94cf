"""What people answer to an SMS."""

import pytest

from services.sms.keywords import NOTE_CHARS, Asked, Request, read


@pytest.mark.parametrize(
    "body",
    [
        "STOP", "stop", " Stop. ", "STOPALL", "Stop all", "UNSUBSCRIBE", "cancel", "END", "quit!",
        "REVOKE", "revoke", "OPTOUT", "Opt out", "opt-out!",
    ],
)  # fmt: skip
def test_stop_words_ask_for_silence(body: str) -> None:
    assert read(body) == Asked(Request.STOP)


@pytest.mark.parametrize("body", ["START", "unstop"])
def test_start_words_end_it(body: str) -> None:
    assert read(body) == Asked(Request.START)


@pytest.mark.parametrize("body", ["HELP", "info", "Help!"])
def test_what_twilio_answers_itself_is_known(body: str) -> None:
    assert read(body) == Asked(Request.HELP)


@pytest.mark.parametrize(
    "body",
    [
        "ACK", "ack", "Ack!", "acked", "Acknowledge", "acknowledged.", "ok", "OK!", "Okay", "\N{THUMBS UP SIGN}",
        "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}", "thumbs up", "Thumbs-up",
    ],
)  # fmt: skip
def test_common_answers_acknowledge(body: str) -> None:
    assert read(body) == Asked(Request.ACKNOWLEDGE)


def test_yes_acknowledges_and_is_a_word_that_ends_silence_too() -> None:
    assert read("Yes") == Asked(Request.ACKNOWLEDGE, may_start=True)
    assert read("yes 7") == Asked(Request.ACKNOWLEDGE, 7, words="7")


@pytest.mark.parametrize(
    "body",
    ["ACK 7", "ack7", "ack #7", "Ack: 7.", "ok 7", "OK, 7!", "acknowledged 7", "\N{THUMBS UP SIGN} 7", "thumbs up 7"],
)
def test_an_answer_may_name_a_number(body: str) -> None:
    asked = read(body)
    assert (asked.request, asked.number, asked.note, asked.is_bare) == (Request.ACKNOWLEDGE, 7, "", False)


@pytest.mark.parametrize("body", ["7", " #7 ", "7."])
def test_a_number_alone_is_an_answer(body: str) -> None:
    assert read(body) == Asked(Request.ACKNOWLEDGE, 7, is_bare=True)


@pytest.mark.parametrize("body", ["7 ack", "7 ok", "7: yes"])
def test_the_number_may_come_first(body: str) -> None:
    asked = read(body)
    assert (asked.request, asked.number, asked.is_bare) == (Request.ACKNOWLEDGE, 7, False)


@pytest.mark.parametrize(
    ("body", "number", "note", "words"),
    [
        ("ack: on my way", None, "on my way", "on my way"),
        (" ACK on my way\nsoon ", None, "on my way\nsoon", "on my way\nsoon"),
        ("ack 7 on my way", 7, "on my way", "7 on my way"),
        ("ok 12, rebooting it", 12, "rebooting it", "12, rebooting it"),
        # Not a number of ours, which have two digits.
        ("ack 2000 people wait", None, "2000 people wait", "2000 people wait"),
        ("ACK " + "x" * 1600, None, "x" * NOTE_CHARS, "x" * NOTE_CHARS),
    ],
)
def test_what_follows_is_a_note(body: str, number: int | None, note: str, words: str) -> None:
    assert read(body) == Asked(Request.ACKNOWLEDGE, number, note, words)


@pytest.mark.parametrize(
    ("body", "number"),
    [
        # What iPhones and Android's Messages make of a reaction where the other side has SMS alone.
        ("Liked \u201c[CRITICAL] Disk full (db-1)\nReply ACK 7\u201d", 7),
        ("\N{THUMBS UP SIGN} to \u201c[CRITICAL] Disk full\nReply ACK 7\u201d", 7),
        ('Liked "[CRITICAL] Disk full\u2026"', None),
    ],
)
def test_a_thumb_put_up_at_an_alert_is_an_answer_to_it(body: str, number: int | None) -> None:
    assert read(body) == Asked(Request.ACKNOWLEDGE, number)


@pytest.mark.parametrize(
    "body",
    [
        "", "please stop", "stop it", "not ack", "yes please", "ok but why?", "acknowledgement", "ack\u00e9", "100",
        "okra", "I am driving and will answer later.", "Disliked \u201cReply ACK 7\u201d",
    ],
)  # fmt: skip
def test_anything_else_asks_for_nothing(body: str) -> None:
    assert read(body) == Asked(Request.OTHER)

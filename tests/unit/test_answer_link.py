"""Tokens to acknowledge an alert with."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.fields import IDENTIFIER_CHARS
from shared.core.incidents import Way
from shared.directory.answer_link import AnswerLink, read_token, token
from shared.directory.suppression import digest
from shared.directory.unsubscribe import token as unsubscribe_token
from shared.store.keys import new_notification_id

SECRET = "a secret of at least thirty-two bytes"
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ALERT_ID = "019b8d3c-1f2a-7a0b-9c3d-0123456789ab"
LINK = AnswerLink(ALERT_ID, "alice", Way.MAIL_LINK, NOW + timedelta(days=7))
GOOD = token(SECRET, LINK)
LETTERS = ascii_letters + digits + "-_"

user_ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=IDENTIFIER_CHARS)
links = st.builds(
    AnswerLink,
    st.builds(new_notification_id),
    user_ids,
    st.sampled_from([Way.MAIL_LINK, Way.PUSH]),
    st.integers(1, 10**9).map(lambda s: NOW + timedelta(seconds=s)),
)


@given(links)
def test_a_token_says_what_it_was_made_for(link: AnswerLink) -> None:
    made = token(SECRET, link)
    assert read_token(SECRET, made, NOW) == link
    assert set(made) <= set(LETTERS)


@given(links, links)
def test_two_links_have_two_tokens(one: AnswerLink, other: AnswerLink) -> None:
    assert (token(SECRET, one) == token(SECRET, other)) == (one == other)


@given(links)
def test_another_secret_made_another_token(link: AnswerLink) -> None:
    assert read_token(SECRET, token("another " + SECRET, link), NOW) is None


@given(links, st.data())
def test_what_is_signed_cannot_be_exchanged(link: AnswerLink, data: st.DataObject) -> None:
    """Put the parts of one token into another one."""
    other = replace(link, user_id=data.draw(user_ids.filter(lambda user_id: user_id != link.user_id)))
    mine, theirs = (base64.urlsafe_b64decode(made + "=" * (-len(made) % 4)) for made in map(_made, (link, other)))
    forged = base64.urlsafe_b64encode(mine[:16] + theirs[16:]).decode().rstrip("=")
    assert read_token(SECRET, forged, NOW) is None


@given(st.text(max_size=800) | st.text(LETTERS, min_size=52, max_size=734))
def test_what_is_no_token_is_none(text: str) -> None:
    assert read_token(SECRET, text, NOW) is None


def _made(link: AnswerLink) -> str:
    return token(SECRET, link)


def test_a_changed_token_is_none() -> None:
    for position, letter in product(range(len(GOOD)), LETTERS):
        if letter != GOOD[position]:
            assert read_token(SECRET, GOOD[:position] + letter + GOOD[position + 1 :], NOW) is None


def test_a_token_that_is_cut_or_longer_is_none() -> None:
    for end in range(len(GOOD)):
        assert read_token(SECRET, GOOD[:end], NOW) is None
    for more in (*LETTERS, "=", "\n", " ", "AAAA"):
        assert read_token(SECRET, GOOD + more, NOW) is None


def test_a_token_ends_at_its_second() -> None:
    assert read_token(SECRET, GOOD, LINK.expires_at - timedelta(microseconds=1)) == LINK
    assert read_token(SECRET, GOOD, LINK.expires_at) is None


def test_a_token_to_unsubscribe_is_none() -> None:
    assert read_token(SECRET, unsubscribe_token(SECRET, digest("user123@example.com"), "billing"), NOW) is None


@pytest.mark.parametrize("user_id", ["a", "ü" * IDENTIFIER_CHARS, "\U0001f600" * IDENTIFIER_CHARS])
def test_every_length_of_a_user_id_has_its_token(user_id: str) -> None:
    link = replace(LINK, user_id=user_id)
    assert read_token(SECRET, token(SECRET, link), NOW) == link

"""Tokens to unsubscribe with."""

import base64
from itertools import product

import pytest

from shared.core.fields import WORD_CHARS
from shared.directory.suppression import digest
from shared.directory.unsubscribe import Unsubscribed, read_token, token
from tests.smtp import token_without_category

SECRET = "a secret of at least thirty-two bytes"
ADDRESS = digest("user123@example.com")
GOOD = token(SECRET, ADDRESS, "billing")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("category", ["billing", "a", "ab", "abc", "weekly: news", "ü" * WORD_CHARS, "\U0001f600" * 64])
def test_a_token_stands_for_the_mailbox_and_the_category_it_was_made_for(category: str) -> None:
    made = token(SECRET, ADDRESS, category)
    assert read_token(SECRET, made) == Unsubscribed(ADDRESS, category)
    assert made == token(SECRET, digest(" User123@EXAMPLE.com"), category)
    assert "user123" not in base64.urlsafe_b64decode(made + "==").decode(errors="replace")


def test_a_token_of_before_is_about_every_category() -> None:
    assert read_token(SECRET, token_without_category(SECRET, ADDRESS)) == Unsubscribed(ADDRESS)


def test_another_secret_made_another_token() -> None:
    assert read_token("another " + SECRET, GOOD) is None
    assert read_token("another " + SECRET, token_without_category(SECRET, ADDRESS)) is None


def test_a_changed_token_is_none() -> None:
    for position, letter in product(range(len(GOOD)), LETTERS):
        if letter != GOOD[position]:
            assert read_token(SECRET, GOOD[:position] + letter + GOOD[position + 1 :]) is None


def test_a_token_cannot_be_made_wider_or_narrower_by_cutting_its_category() -> None:
    for end in range(len(GOOD)):
        assert read_token(SECRET, GOOD[:end]) is None
    assert read_token(SECRET, token_without_category(SECRET, ADDRESS) + "YmlsbGluZw") is None


@pytest.mark.parametrize("text", ["", "A", "A" * 64, "A" * 65, "A" * 80, "ü" * 64, "A" * 63 + "\n", "A" * 100_000])
def test_what_is_no_token_is_none(text: str) -> None:
    assert read_token(SECRET, text) is None


def test_a_token_is_safe_in_a_url() -> None:
    for number in range(100):
        made = token(SECRET, digest(f"user{number}@example.com"), "c" * (number % 5 + 1))
        assert set(made) <= set(LETTERS)

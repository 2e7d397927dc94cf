"""Tokens to unsubscribe with."""

import base64

import pytest

from shared.suppression import digest
from shared.unsubscribe import digest_of, token

SECRET = "a secret of at least thirty-two bytes"
ADDRESS = digest("user123@example.com")


def test_a_token_stands_for_the_mailbox_it_was_made_for() -> None:
    assert digest_of(SECRET, token(SECRET, ADDRESS)) == ADDRESS
    assert token(SECRET, ADDRESS) == token(SECRET, digest(" User123@EXAMPLE.com"))
    assert "user123" not in token(SECRET, ADDRESS)


def test_another_secret_made_another_token() -> None:
    assert digest_of("another " + SECRET, token(SECRET, ADDRESS)) is None


@pytest.mark.parametrize("position", range(0, 64, 7))
def test_a_changed_token_is_none(position: int) -> None:
    good = token(SECRET, ADDRESS)
    other = "A" if good[position] != "A" else "B"
    assert digest_of(SECRET, good[:position] + other + good[position + 1 :]) is None


@pytest.mark.parametrize("text", ["", "A", "A" * 64, "A" * 65, "ü" * 64, "A" * 63 + "\n", "A" * 100_000])
def test_what_is_no_token_is_none(text: str) -> None:
    assert digest_of(SECRET, text) is None


def test_a_token_is_safe_in_a_url() -> None:
    for number in range(100):
        made = token(SECRET, digest(f"user{number}@example.com"))
        assert len(base64.urlsafe_b64decode(made)) == 48
        assert made.replace("-", "").replace("_", "").isalnum()

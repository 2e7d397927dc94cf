"""Attempts as the ledger keeps them, in a bounded number of slots, get their numbers and their order back."""

from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.rows import ATTEMPTS_KEPT, read_attempts


def entry(at_ms: int, word: str = "retry") -> bytes:
    return f"{at_ms}|smtp|{word}|network||421".encode()


def test_attempts_are_read_oldest_first_with_their_words() -> None:
    first, second = read_attempts({2: b"2000|smtp|ok||queued-as-7|", 1: b"1000|smtp|retry|rate_limited||421 4.7.0"}, 2)
    assert (first.number, first.outcome, first.reason, first.detail) == (1, "retry", "rate_limited", "421 4.7.0")
    assert (second.number, second.outcome, second.provider, second.provider_id) == (2, "ok", "smtp", "queued-as-7")


def test_a_detail_may_hold_the_separator() -> None:
    (attempt,) = read_attempts({1: b"1000|fcm|bad|rejected||a|b"}, 1)
    assert attempt.detail == "a|b"


def test_an_attempt_whose_lease_lapsed_is_read() -> None:
    (attempt,) = read_attempts({1: b"1000||unknown|lease_lapsed|"}, 2)
    assert (attempt.number, attempt.outcome, attempt.reason) == (1, "unknown", "lease_lapsed")


def test_an_attempt_in_hand_has_no_entry_and_does_not_shift_the_others() -> None:
    (attempt,) = read_attempts({1: entry(1000)}, 2)
    assert attempt.number == 1


@given(st.lists(st.booleans(), max_size=3 * ATTEMPTS_KEPT))
def test_numbers_are_those_under_which_the_attempts_were_made(counted: list[bool]) -> None:
    # As claim.lua and finish.lua count: one that does not count leaves its entry where the next one writes.
    slots: dict[int, bytes | None] = {}
    made_at: dict[int, int] = {}
    made = 0
    for at_ms, counts in enumerate(counted, start=1):
        slots[(made + 1) % ATTEMPTS_KEPT] = entry(at_ms)
        made_at[made + 1] = at_ms
        made += counts
    attempts = read_attempts(slots, made)
    expected = sorted(made_at.items())[-ATTEMPTS_KEPT:]
    assert [(attempt.number, round(attempt.at.timestamp() * 1000)) for attempt in attempts] == expected

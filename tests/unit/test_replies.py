"""What Redis gives back in twos, whichever protocol the client speaks, is read alike."""

import pytest

from shared.store.replies import pairs, scored


@pytest.mark.parametrize("answer", [[b"a", b"1", b"b", b"2"], {b"a": b"1", b"b": b"2"}, [[b"a", b"1"], [b"b", b"2"]]])
def test_a_hash_is_read_flat_as_a_map_and_in_pairs(answer: list[bytes]) -> None:
    assert pairs(answer) == [(b"a", b"1"), (b"b", b"2")]


@pytest.mark.parametrize("answer", [[], {}])
def test_nothing_is_no_pairs(answer: list[bytes]) -> None:
    assert pairs(answer) == []


@pytest.mark.parametrize("answer", [[b"a", b"1767600000123"], [[b"a", 1767600000123.0]], [(b"a", b"1767600000123")]])
def test_scores_are_whole_numbers(answer: list[object]) -> None:
    assert scored(answer) == [(b"a", 1767600000123)]


def test_half_a_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        pairs([b"a", b"1", b"b"])

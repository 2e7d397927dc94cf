"""The Retry-After header as every provider may send it."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.delivery.verdicts import retry_after

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("120", 120), (" 0 ", 0), ("Mon, 05 Jan 2026 09:01:00 GMT", 60), ("Mon, 05 Jan 2026 08:00:00 GMT", 0),
        ("", None), (None, None), ("soon", None), ("-5", None), ("1.5", None), ("9" * 400, None), ("٣", None),
    ],
)  # fmt: skip
def test_it_is_seconds_or_a_date(value: str | None, expected_s: int | None) -> None:
    expected = None if expected_s is None else timedelta(seconds=expected_s)
    assert retry_after(value, NOW) == expected

"""When the next attempt is made: bounds, full jitter, and what a provider asked for."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.model import Priority
from shared.delivery.retry import RetryPolicy

POLICY = RetryPolicy()

_attempts = st.integers(1, 100_000)
_priorities = st.sampled_from(Priority)
_asked = st.timedeltas(timedelta(days=-1), timedelta(days=2))


def longest(low: float, high: float) -> float:
    assert low == 0
    return high


@pytest.mark.parametrize(
    ("attempt", "ceiling_s"), [(1, 2), (2, 4), (3, 8), (7, 128), (8, 256), (9, 300), (10, 300), (10_000, 300)]
)
def test_the_ceiling_doubles_from_2_s_to_5_minutes(attempt: int, ceiling_s: float) -> None:
    assert POLICY.wait(attempt, Priority.NORMAL, uniform=longest) == timedelta(seconds=ceiling_s)


@pytest.mark.parametrize(("attempt", "ceiling_s"), [(1, 2), (4, 16), (5, 30), (50, 30)])
def test_critical_waits_at_most_30_s(attempt: int, ceiling_s: float) -> None:
    assert POLICY.wait(attempt, Priority.CRITICAL, uniform=longest) == timedelta(seconds=ceiling_s)


@given(attempt=_attempts, priority=_priorities)
def test_every_wait_lies_between_nothing_and_the_ceiling(attempt: int, priority: Priority) -> None:
    ceiling = POLICY.wait(attempt, priority, uniform=longest)
    assert timedelta(0) <= POLICY.wait(attempt, priority) <= ceiling


def test_jitter_is_full_so_that_a_crowd_spreads_over_the_whole_range() -> None:
    waits = [POLICY.wait(9, Priority.NORMAL).total_seconds() for _ in range(2_000)]
    for tenth in range(10):
        assert sum(tenth * 30 <= wait < (tenth + 1) * 30 for wait in waits) > 100


@given(attempt=_attempts, priority=_priorities, asked=_asked)
def test_what_the_provider_asked_for_is_clamped_and_never_undercut(
    attempt: int, priority: Priority, asked: timedelta
) -> None:
    clamped = min(max(asked, timedelta(seconds=1)), timedelta(hours=1))
    wait = POLICY.wait(attempt, priority, asked)
    assert clamped <= wait <= clamped + POLICY.wait(attempt, priority, uniform=longest)


def test_a_provider_that_asks_for_longer_than_30_s_is_heeded_for_critical_too() -> None:
    assert POLICY.wait(1, Priority.CRITICAL, timedelta(minutes=10)) >= timedelta(minutes=10)


def test_a_policy_of_ones_own_is_kept() -> None:
    policy = RetryPolicy(first_wait=timedelta(seconds=1), max_wait=timedelta(seconds=3))
    assert [policy.wait(attempt, Priority.LOW, uniform=longest).total_seconds() for attempt in (1, 2, 3)] == [1, 2, 3]
    assert policy.wait(9, Priority.CRITICAL, uniform=longest) == timedelta(seconds=30)

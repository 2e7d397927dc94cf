"""Waiting in tests: for a condition, with a deadline, never for a guessed time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar, overload

AnswerT = TypeVar("AnswerT")

# A long wait is asked less often: a hundred tests that wait for seconds would take much of the machine's time for that.
_POLL_LEAST_S = 0.02
_POLL_MOST_S = 0.25
_POLL_SHARE = 0.05


@overload
async def eventually(
    condition: Callable[[], Awaitable[AnswerT | None]], within_s: float = 30, what: str = ""
) -> AnswerT: ...


@overload
async def eventually(condition: Callable[[], AnswerT | None], within_s: float = 30, what: str = "") -> AnswerT: ...


async def eventually(condition: Callable[[], Any], within_s: float = 30, what: str = "") -> Any:
    """Ask again and again until the condition is true, and return what it answered.

    Args:
        condition: a plain or an async function; its answer counts as a truth value.
        within_s: deadline, seconds.
        what: what was waited for, for the failure's text.

    Raises:
        AssertionError: it was still not true at the deadline.
    """
    began = monotonic()
    deadline = began + within_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if monotonic() > deadline:
            raise AssertionError(
                f"not within {within_s:g} s: {what or 'the condition'}; the last answer was {answer!r}"
            )
        waited_s = monotonic() - began
        await asyncio.sleep(min(max(waited_s * _POLL_SHARE, _POLL_LEAST_S), _POLL_MOST_S))

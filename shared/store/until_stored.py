"""Repeats a call until the store answers, for callers that cannot go on without it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.core.errors import StoreUnavailable

AnswerT = TypeVar("AnswerT")

_STORE_BACKOFF_S = (0.1, 2.0)


async def until_stored(call: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
    """Make a repeatable call to the store until it answers, with back-off and jitter."""
    first_s, longest_s = _STORE_BACKOFF_S
    wait_s = first_s
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(random.uniform(wait_s / 2, wait_s))  # noqa: S311 - jitter
            wait_s = min(wait_s * 2, longest_s)

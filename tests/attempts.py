"""Attempts at a provider as the delivery loop makes them."""

import asyncio
from collections.abc import Callable

import pytest

from shared.errors import DeliveryError
from shared.model import Attempt, Receipt
from shared.provider import Provider
from tests.waiting import eventually


async def outcome(provider: Provider, attempt: Attempt) -> Receipt | DeliveryError:
    """Return what a send ended with."""
    try:
        return await provider.send(attempt)
    except DeliveryError as error:
        return error


async def cancel_once(provider: Provider, attempt: Attempt, condition: Callable[[], object]) -> None:
    """Begin a send and cancel it when the condition is true, as the delivery loop's deadline does."""
    send = asyncio.create_task(provider.send(attempt), name="send")
    await eventually(condition)
    send.cancel()
    with pytest.raises(asyncio.CancelledError):
        await send

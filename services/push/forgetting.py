"""Forgetting devices: if a push service says that a token is gone, it is removed from its owner's record.

Promises to remove a token only if it was registered before it was found gone. A device that has registered again since
stays. Nothing is removed while the limit is reached: a wrong setting must not erase the directory. The delivery ends in
the same way, whether forgetting works or not. A token that a publisher gave instead of a person stands in no record.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from shared.core.errors import PermanentFailure, RecipientGone, StoreUnavailable
from shared.core.model import Channel, Delivery, MobileToken, WebSubscription
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.forgetting import ForgettingLimit
from shared.directory.directory import Directory
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# How often the limit learns how many devices there are in all.
COUNT_INTERVAL_S = 600.0


class Forgetting:
    """The rules of the push channel: every attempt passes, and the directory forgets what a provider says is gone."""

    def __init__(self, directory: Directory, limit: ForgettingLimit) -> None:
        self._directory = directory
        self._limit = limit

    async def check(self, _attempt: Attempt) -> Receipt | None:
        """Let every attempt pass."""
        return None

    async def learn(self, attempt: Attempt, error: PermanentFailure | None) -> None:
        """Forget the device if it is gone."""
        if not isinstance(error, RecipientGone):
            self._limit.answered()
        # Counted even if there is nothing to remove: it says as much about our settings.
        elif self._limit.may_forget():
            await self._forget(attempt.delivery, error.since or attempt.asked_at)

    async def _forget(self, delivery: Delivery, gone_at: datetime) -> None:
        match delivery.address:
            case MobileToken(token=identity) | WebSubscription(endpoint=identity):
                pass
            case _:
                return
        if delivery.recipient is None:
            return
        try:
            if await self._directory.forget_device(delivery.recipient, identity, gone_at):
                metrics.forgotten_addresses.labels(Channel.PUSH).inc()
        except StoreUnavailable:
            log.warning("device not forgotten, the store is away")


@asynccontextmanager
async def counting(
    directory: Directory, limit: ForgettingLimit, interval_s: float = COUNT_INTERVAL_S
) -> AsyncIterator[None]:
    """Keep telling the limit how many devices there are."""

    async def count() -> None:
        while True:
            try:
                limit.known = await directory.estimate(lambda person: len(person.devices))
            except StoreUnavailable:
                log.warning("devices not counted, the store is away")
            await asyncio.sleep(interval_s)

    async with asyncio.TaskGroup() as group:
        counter = group.create_task(count(), name="count devices")
        try:
            yield
        finally:
            counter.cancel()

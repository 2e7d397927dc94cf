"""The commands' way to the store, with one clear line when there is none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from carillon.commands.output import CannotWork
from carillon.commands.settings import OperatorSettings
from shared.core.errors import StoreUnavailable
from shared.store.keys import Keys
from shared.store.store import Store


@asynccontextmanager
async def open_store(settings: OperatorSettings) -> AsyncIterator[tuple[Store, Keys]]:
    """Connect to the store of ``REDIS_URL``.

    Raises:
        CannotWork: it does not answer, now or later in the block.
    """
    try:
        wait = (settings.redis_wait_replicas, settings.redis_wait_timeout_ms)
        async with Store(settings.needed("redis_url"), *wait) as store:
            await store.ping()
            yield store, Keys(settings.topic_prefix)
    except StoreUnavailable as error:
        raise CannotWork(f"the store of {settings.origin('redis_url')} does not answer: {error}") from None

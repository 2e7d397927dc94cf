"""The synchronous publisher, for programs without an event loop: the asynchronous one in a thread of its own.

    with Publisher("mqtt://broker.example.com") as publisher:
        receipt = publisher.send_user("user123", message="Hello")

Promises what ``AsyncPublisher`` promises, for any number of threads at the same time. A process that forks opens its
publisher after the fork.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from carillon_publisher.outbox.entries import OUTBOX_ENTRIES, Entry, State
from carillon_publisher.publisher import AsyncPublisher
from carillon_publisher.receipts import Event, Receipt
from carillon_publisher.sends import Sends

ResultT = TypeVar("ResultT")


class Publisher(Sends[Receipt]):
    """A connection for publishing; use it as a context manager, once. Arguments and errors are ``AsyncPublisher``'s."""

    def __init__(
        self,
        url: str,
        client_id: str | None = None,
        topic_prefix: str = "",
        *,
        name: str | None = None,
        key: str | None = None,
        ca_file: Path | None = None,
        outbox: Path | None = None,
        outbox_limit: int = OUTBOX_ENTRIES,
        wait_when_limited: bool = False,
    ) -> None:
        # It binds itself to the loop in which it is entered.
        self._publisher = AsyncPublisher(
            url,
            client_id,
            topic_prefix,
            name=name,
            key=key,
            ca_file=ca_file,
            outbox=outbox,
            outbox_limit=outbox_limit,
            wait_when_limited=wait_when_limited,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        # The one that can watch paho's socket on every system.
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="carillon-publisher", daemon=True)
        self._thread.start()
        try:
            self._wait_for(self._publisher.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            self._wait_for(self._publisher.__aexit__())
        finally:
            self._stop()

    def _stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._wait_for(self._finish())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._loop = None

    @staticmethod
    async def _finish() -> None:
        """End what still runs, as ``asyncio.run`` does."""
        loop = asyncio.get_running_loop()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    def _wait_for(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        if self._loop is None:
            work.close()
            raise ValueError("the publisher is not open: use it in a with block")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C: nobody waits for it any more.
            future.cancel()
            raise

    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any] | bytes,
        key: str | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Publish and wait for the receipt; see ``AsyncPublisher.publish``."""
        return self._wait_for(self._publisher.publish(topic, payload, key, timeout_s=timeout_s))

    def _send(self, topic: str, payload: Mapping[str, Any] | bytes, timeout_s: float | None) -> Receipt:
        return self.publish(topic, payload, timeout_s=timeout_s)

    def submit(self, topic: str, payload: Mapping[str, Any] | bytes, key: str | None = None) -> str:
        """Return once the publish is in the outbox; see ``AsyncPublisher.submit``."""
        return self._wait_for(self._publisher.submit(topic, payload, key))

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until the outbox is empty; see ``AsyncPublisher.flush``."""
        return self._wait_for(self._publisher.flush(timeout_s))

    def events(self, notification_id: str, within_s: float = 60.0) -> Iterator[Event]:
        """Yield the later steps of a notification; see ``AsyncPublisher.events``."""
        steps = self._publisher.events(notification_id, within_s)
        try:
            with suppress(StopAsyncIteration):
                while True:
                    yield self._wait_for(_next(steps))
        finally:
            self._wait_for(_close(steps))

    def counts(self) -> dict[State, int]:
        """Return how many entries of every state the outbox holds."""
        return self._wait_for(self._publisher.outbox.counts())

    def refused(self) -> list[Entry]:
        """Return the outbox's entries that were rejected or came too late, oldest first. They stay until dropped."""
        return self._wait_for(self._publisher.outbox.refused())

    def stale(self) -> list[Entry]:
        """Return those that may have been accepted and are not sent again. They stay until dropped."""
        return self._wait_for(self._publisher.outbox.stale())

    def drop(self, key: str) -> bool:
        """Forget the refused or stale entry with this key; False when there is none."""
        return self._wait_for(self._publisher.outbox.drop(key))


async def _next(steps: AsyncIterator[Event]) -> Event:
    return await anext(steps)


async def _close(steps: AsyncIterator[Event]) -> None:
    close = getattr(steps, "aclose", None)
    if close is not None:
        await close()

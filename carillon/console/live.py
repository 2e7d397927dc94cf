"""Keeps pages fresh: the server reads once for everybody who looks at the same page, and tells each what is there now.

Promises that ten people who look at one page cost the store what one does. A page is read again only while somebody
looks. Whoever is slow gets the newest state and never a queue of old ones. All streams end when the console does.

What is sent is server-sent events: ``page`` with ``{"html", "at"}``, ``still`` with ``{"at"}`` where nothing changed,
and ``trouble`` with ``{"words"}`` where it could not be read.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from aiohttp import web

from carillon.console.limits import Busy
from shared.core.clock import Clock, SystemClock, rfc3339
from shared.core.errors import StoreUnavailable
from shared.telemetry.log import frames

log = logging.getLogger(__name__)

# Open pages, and different pages among them: each costs a read every few seconds.
STREAMS = 500
FEEDS = 100
# Whoever signs out, or whose session ends, gets nothing more after so long.
CHECK_S = 15.0
# A browser that does not take what it is sent in this time is gone.
_SEND_S = 10.0

Read = Callable[[], Awaitable[Mapping[str, Any]]]
Write = Callable[[Mapping[str, Any], datetime], str]


class _Feed:
    """What everybody who looks at one page gets."""

    def __init__(self) -> None:
        self.readers = 0
        self.number = 0
        self.event = ""
        self.content: Mapping[str, Any] | None = None
        self.changed = asyncio.Condition()
        self.task: asyncio.Task[None] | None = None
        self._html = ""

    async def tell(self, name: str, document: Mapping[str, Any]) -> None:
        async with self.changed:
            self.number += 1
            self.event = f"event: {name}\ndata: {json.dumps(document, ensure_ascii=False)}\n\n"
            self.changed.notify_all()

    async def read(self, read: Read, write: Write, now: datetime) -> None:
        try:
            content = await read()
            html = write(content, now)
        except (StoreUnavailable, TimeoutError, Busy) as error:
            self.content, self._html = None, ""
            store = isinstance(error, StoreUnavailable)
            words = "The store does not answer." if store else "It takes too long to read this page."
            await self.tell("trouble", {"words": words})
            return
        except Exception as error:  # noqa: BLE001 - one page's mistake must not end the others' streams
            # Without its text: that may quote what was read.
            log.error("a live page failed", extra={"error": type(error).__name__, "frames": frames(error)})  # noqa: TRY400
            self.content, self._html = None, ""
            await self.tell("trouble", {"words": "Something went wrong here."})
            return
        self.content = content
        at = rfc3339(now)
        if html == self._html:
            await self.tell("still", {"at": at})
        else:
            self._html = html
            await self.tell("page", {"html": html, "at": at})


class Streams:
    """All open pages."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._feeds: dict[object, _Feed] = {}
        self._open = 0
        self._closing = asyncio.Event()

    @property
    def reading(self) -> int:
        """How many different pages are read again and again."""
        return len(self._feeds)

    def latest(self, key: object) -> Mapping[str, Any] | None:
        """Return what was read of a page a moment ago, where somebody looks at it."""
        feed = self._feeds.get(key)
        return feed.content if feed is not None else None

    def close(self) -> None:
        """End all streams."""
        self._closing.set()
        for feed in self._feeds.values():
            if feed.task is not None:
                feed.task.cancel()

    async def serve(
        self,
        request: web.Request,
        key: object,
        *,
        every_s: float,
        read: Read,
        write: Write,
        goes_on: Callable[[], Awaitable[bool]],
    ) -> web.StreamResponse:
        """Send a page's state until the reader leaves, may not see it any more, or the console ends.

        Args:
            key: what all who look at the same have in common.
            goes_on: tells whether the reader may still see it.

        Raises:
            Busy: too many pages are open.
        """
        if self._closing.is_set() or self._open >= STREAMS or (key not in self._feeds and len(self._feeds) >= FEEDS):
            raise Busy
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        self._open += 1
        feed = self._join(key, every_s, read, write)
        try:
            await response.prepare(request)
            # A browser that lost the connection comes back after so many milliseconds.
            await response.write(b"retry: 3000\n\n")
            await self._send(response, feed, goes_on)
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._open -= 1
            self._leave(key, feed)
        return response

    async def _send(self, response: web.StreamResponse, feed: _Feed, goes_on: Callable[[], Awaitable[bool]]) -> None:
        loop = asyncio.get_running_loop()
        seen, check_at = 0, loop.time() + CHECK_S
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while not self._closing.is_set():
                waiting = asyncio.ensure_future(self._next(feed, seen))
                await asyncio.wait((waiting, closing), timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    with suppress(asyncio.CancelledError):
                        await waiting
                elif not self._closing.is_set():
                    seen, event = waiting.result()
                    async with asyncio.timeout(_SEND_S):
                        await response.write(event.encode())
                if loop.time() >= check_at:
                    check_at = loop.time() + CHECK_S
                    if not await goes_on():
                        return
        finally:
            closing.cancel()

    @staticmethod
    async def _next(feed: _Feed, seen: int) -> tuple[int, str]:
        async with feed.changed:
            await feed.changed.wait_for(lambda: feed.number > seen)
            return feed.number, feed.event

    def _join(self, key: object, every_s: float, read: Read, write: Write) -> _Feed:
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed()
            feed.task = asyncio.create_task(self._keep(feed, every_s, read, write), name="live page")
        feed.readers += 1
        return feed

    def _leave(self, key: object, feed: _Feed) -> None:
        feed.readers -= 1
        if not feed.readers and self._feeds.get(key) is feed:
            del self._feeds[key]
            if feed.task is not None:
                feed.task.cancel()

    async def _keep(self, feed: _Feed, every_s: float, read: Read, write: Write) -> None:
        while True:
            await feed.read(read, write, self._clock.now())
            await asyncio.sleep(every_s)

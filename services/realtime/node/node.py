"""One realtime process: its parts, and how it stays in step with the other processes.

Promises that a change by one process reaches the sessions of the users concerned on every process. Usually a message
tells it at once. If the message is lost, it takes up to ``HEARTBEAT_ROUND_S`` (own entries, marks, records) or
``FEED_CHECK_S`` (broadcasts, status).
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import ResponseError

from services.realtime.node.acting import Acting
from services.realtime.node.changes import Changes
from services.realtime.node.publishing import NodePublisher
from services.realtime.node.seen import SeenEntries
from services.realtime.sessions import close_codes
from services.realtime.sessions.alert_states import AlertStates
from services.realtime.sessions.hub import Hub
from services.realtime.sessions.news import (
    CountNews,
    EntryNews,
    FeedRecalledNews,
    News,
    PersonNews,
    RecalledNews,
    StatusNews,
    decode,
)
from services.realtime.sessions.session import User
from services.realtime.settings import RealtimeSettings
from shared.core.errors import StoreUnavailable
from shared.inbox.actions import PressedActions
from shared.inbox.feed import Feed, FeedMirror
from shared.inbox.inbox import Inbox
from shared.inbox.presence import Presence
from shared.inbox.sessions import NODE_HEARTBEAT_S, Sessions
from shared.inbox.snooze import Snoozes
from shared.mqtt.connection import Broker
from shared.mqtt.reconnecting import BrokerLink
from shared.runtime.service import Context
from shared.store.until_stored import until_stored

log = logging.getLogger(__name__)

HEARTBEAT_ROUND_S = float(NODE_HEARTBEAT_S)
FEED_CHECK_S = 5.0

# A round of heartbeats is spread over time, so that the store is not asked about ten thousand users at once.
_SLICES = 40

# Messages taken from the broker at a time.
_TAKE_MOST = 500

# How long closing all sockets may take at shutdown.
_DRAIN_S = 8.0


class RealtimeNode:
    """This process among the realtime processes.

    Args:
        heartbeat_s: one round of comparing every user here with the store.
        feed_check_s: between two comparisons of the feed with the store.
    """

    def __init__(
        self,
        context: Context[RealtimeSettings],
        *,
        heartbeat_s: float = HEARTBEAT_ROUND_S,
        feed_check_s: float = FEED_CHECK_S,
    ) -> None:
        settings = context.settings
        self.id = context.instance
        self.context = context
        inbox = Inbox(context.store, context.keys, settings.inbox_limit, settings.inbox_retention)
        feed = Feed(context.store, context.keys, settings.inbox_retention)
        mirror = FeedMirror(feed)
        self.presence = Presence(context.store, context.keys)
        self.registry = Sessions(context.store, context.keys, inbox, context.directory, mirror)
        self.hub = Hub(inbox, mirror, context.directory, AlertStates(context.ledger), self.spawn)
        self._link = BrokerLink(
            context.address,
            f"{context.instance}-node",
            filters=(context.topics.node(self.id), context.topics.all_nodes),
            serve=self._listen,
        )
        self.changes = Changes(
            inbox,
            feed,
            mirror.log,
            snoozes=Snoozes(context.store, context.keys, inbox),
            registry=self.registry,
            directory=context.directory,
            hub=self.hub,
            publisher=NodePublisher(self._link, context.topics, self.id),
            seen=SeenEntries(context.ledger, self.spawn).note,
        )
        self.hub.waking.by(self.changes.wake)
        self.acting = Acting(
            self.changes,
            PressedActions(context.store, context.keys, inbox),
            context.ledger,
            self._link,
            topics=context.topics,
            clock=context.clock,
        )
        self._heartbeat_s = heartbeat_s
        self._feed_check_s = feed_check_s
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep in step with the other processes while the context stands."""
        await until_stored(self.hub.refresh_feed)

        async def connected() -> bool:
            return self._link.is_up

        self.context.checks["node"] = connected
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._link.run(), name="node-link"),
                group.create_task(self._keep_alive(), name="node-heartbeat"),
                group.create_task(self._check_feed(), name="node-feed-check"),
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Start a background task and keep it until its end. If it fails, that is logged and harms no other session."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed", extra={"task": task.get_name()}, exc_info=error)

    async def close_sessions(self) -> None:
        """Send every client away, to another process, and end what is still running for them."""
        for session in self.hub.sessions():
            session.close(close_codes.GOING_AWAY)
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=_DRAIN_S)
            for task in late:
                task.cancel()

    async def _listen(self, broker: Broker) -> None:
        while True:
            for incoming in await broker.take(_TAKE_MOST):
                news = decode(incoming.payload)
                if news is None:
                    log.warning("unreadable message between realtime processes")
                else:
                    await self._hear(news)
                broker.ack(incoming)

    async def _hear(self, news: News) -> None:
        try:
            if isinstance(news, EntryNews):
                self.hub.entry(news)
            elif isinstance(news, CountNews):
                self.hub.count(news)
            elif isinstance(news, RecalledNews):
                self.hub.recalled(news)
            elif isinstance(news, FeedRecalledNews):
                self.hub.feed_recalled(news)
            elif isinstance(news, StatusNews):
                self.hub.status(news)
            elif isinstance(news, PersonNews):
                await self.hub.person(news)
            elif not self.hub.feed(news):
                await self.hub.refresh_feed()
        except StoreUnavailable:
            # The next comparison with the store repairs it.
            log.warning("news not followed up: store away")
        except (ResponseError, ValueError):
            log.exception("news not followed up")

    async def _keep_alive(self) -> None:
        while True:
            users = list(self.hub.users.values())
            size = max(1, math.ceil(len(users) / _SLICES))
            for slice_ in range(_SLICES):
                await asyncio.sleep(self._heartbeat_s / _SLICES)
                await self._compare(users[slice_ * size : (slice_ + 1) * size])

    async def _compare(self, users: Sequence[User]) -> None:
        present = [user for user in users if user.sessions]
        looking = [(user, [session.id for session in user.sessions if session.focused]) for user in present]
        answers, _ = await asyncio.gather(
            asyncio.gather(
                *(
                    self.registry.touch_on_node(user.id, [session.id for session in user.sessions], self.id)
                    for user in present
                ),
                return_exceptions=True,
            ),
            asyncio.gather(
                *(self.presence.keep(user.id, sessions) for user, sessions in looking if sessions),
                # It is repeated in the next round.
                return_exceptions=True,
            ),
        )
        for user, answer in zip(present, answers, strict=True):
            try:
                if isinstance(answer, BaseException):
                    raise answer
                if self.hub.stands(user, answer):
                    await self.hub.reload(user, answer.record_digest)
            except StoreUnavailable:
                log.debug("comparison put off: store away")
            except (ResponseError, ValueError):
                # What the store holds of this user is damaged; the others go on.
                log.exception("a user's sessions cannot be kept")

    async def _check_feed(self) -> None:
        while True:
            await asyncio.sleep(self._feed_check_s)
            try:
                await self.hub.refresh_feed()
            except StoreUnavailable:
                log.debug("comparison of the feed put off: store away")
            except (ResponseError, ValueError):
                log.exception("the feed cannot be read")

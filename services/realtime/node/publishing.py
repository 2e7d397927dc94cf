"""Tells other realtime processes, and the gateways of other people, what happened here.

Does not promise arrival: processes compare with the store, and a gateway's client resumes from its cursor. The messages
under way are bounded, because every caller waits a short time for the broker to take them.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from services.realtime.sessions import news
from services.realtime.sessions.frames import Frame
from services.realtime.sessions.news import News
from shared.core.topics import Topics
from shared.inbox.sessions import GatewaySession
from shared.mqtt.reconnecting import BrokerLink

log = logging.getLogger(__name__)

# How long a write waits for the broker to take the messages that follow from it.
TOLD_S = 1.0


class NodePublisher:
    """Messages out of one realtime process.

    Args:
        node: this process; nothing is sent to it.
    """

    def __init__(self, link: BrokerLink, topics: Topics, node: str) -> None:
        self._link = link
        self._topics = topics
        self._node = node

    def to_nodes(self, nodes: Iterable[str], message: News) -> "list[asyncio.Future[bool]]":
        """Tell those processes, except this one."""
        others = [node for node in nodes if node != self._node]
        if not others:
            return []
        payload = news.encode(message)
        return [self._link.publish(self._topics.node(node), payload) for node in others]

    def to_all_nodes(self, message: News) -> "list[asyncio.Future[bool]]":
        """Tell every process in one message; it comes back here, too."""
        return [self._link.publish(self._topics.all_nodes, news.encode(message))]

    def to_gateways(self, sessions: Iterable[GatewaySession], frame: Frame) -> "list[asyncio.Future[bool]]":
        """Publish a frame for sessions of gateways."""
        return [
            self._link.publish(session.reply_to, frame.data, correlation=session.correlation)
            for session in sessions
            # A publisher must not reach topics through us on which it may not publish itself.
            if self._topics.is_receipt(session.reply_to)
        ]

    async def taken(self, told: "Sequence[asyncio.Future[bool]]") -> None:
        """Wait until the broker took the messages, but not for long."""
        if not told:
            return
        done, late = await asyncio.wait(told, timeout=TOLD_S)
        lost = len(late) + sum(1 for future in done if future.cancelled() or future.exception() is not None)
        if lost:
            log.warning("live messages not taken by the broker", extra={"count": lost})

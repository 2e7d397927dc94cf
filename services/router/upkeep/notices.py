"""What Carillon itself tells people: it publishes a notification as any publisher does, and never twice.

Promises that a notice with a key is told once to each person, however many routers publish it within 24 hours. A notice
that the broker has not taken for a router is told of by the answer, so that the caller tries again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from shared.core.topics import OWN_PUBLISHER, Kind, Topics
from shared.ledger.jobs import settled
from shared.mqtt.reconnecting import BrokerLink

# How long the broker may take to confirm.
CONFIRMED_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell.

    Attributes:
        key: what tells it from every other one.
    """

    key: str
    title: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Notices:
    """Publishes notices on one connection."""

    def __init__(self, topics: Topics, link: BrokerLink) -> None:
        self._topics = topics
        self._link = link

    async def tell(self, notice: Notice, user_ids: Iterable[str]) -> bool:
        """Tell people, and return whether a router has got it for each of them."""
        published = []
        for user_id in user_ids:
            topic = self._topics.of_publisher(OWN_PUBLISHER, self._topics.publish(Kind.REALTIME_USER, user_id))
            document = {
                "id": sha256(f"{notice.key}\n{user_id}".encode()).hexdigest(),
                "title": notice.title,
                "message": notice.message,
                "type": "warning",
                "priority": "high",
                "data": notice.data,
            }
            await self._link.sendable()
            published.append(self._link.publish(topic, json.dumps(document, ensure_ascii=False)))
        return (await settled(published, CONFIRMED_WITHIN_S)).taken == len(published)

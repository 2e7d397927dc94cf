"""Carries out what users press in an entry: its actions.

Promises that a press is published once the broker has confirmed it, and then never again. A press whose publish was cut
off is published at the next press. Which actions an entry has, its text says.
"""

import asyncio
import time
from typing import Any

from services.realtime.node.changes import Changes, Found
from shared.core.clock import Clock
from shared.core.errors import BrokerUnavailable
from shared.core.model import Channel
from shared.core.topics import Topics
from shared.inbox.actions import Press, PressedActions
from shared.ledger.events import event, pressed
from shared.ledger.ledger import Ledger
from shared.mqtt.reconnecting import BrokerLink
from shared.store.replies import read_object

# How long a press waits for the broker, or for another process that is publishing the same one.
PUBLISH_S = 5.0

_LOOK_AGAIN_S = 0.1


class Acting:
    """Presses of actions, at one realtime process."""

    def __init__(
        self,
        changes: Changes,
        pressed: PressedActions,
        ledger: Ledger,
        link: BrokerLink,
        *,
        topics: Topics,
        clock: Clock,
    ) -> None:
        self._changes = changes
        self._pressed = pressed
        self._ledger = ledger
        self._link = link
        self._topics = topics
        self._clock = clock

    async def act(self, user_id: str, entry_id: str, action_id: str, tenant: str | None = None) -> bool:
        """Press an action of an entry; False when the user has no such entry, or the entry has no such action.

        Args:
            tenant: as for ``Changes.mark``.

        Raises:
            BrokerUnavailable: the broker has not confirmed it. The press does not count.
        """
        found = await self._changes.find(user_id, entry_id, tenant)
        if found is None:
            return False
        body = read_object(found.utf8)
        action = _action(body, action_id)
        if action is None:
            return False
        if await self._is_mine(user_id, entry_id, action_id):
            try:
                await self._publish(user_id, entry_id, action, body)
            except BrokerUnavailable:
                await self._end(user_id, entry_id, action_id, found, body, published=False)
                raise
            await self._end(user_id, entry_id, action_id, found, body, published=True)
        return True

    async def _is_mine(self, user_id: str, entry_id: str, action_id: str) -> bool:
        """Take the right to publish a press; False when it has been published."""
        give_up_s = time.monotonic() + PUBLISH_S
        while True:
            press = await self._pressed.press(user_id, entry_id, action_id)
            if press is not Press.BUSY:
                return press is Press.MINE
            if time.monotonic() > give_up_s:
                raise BrokerUnavailable("another process is publishing it")
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _publish(self, user_id: str, entry_id: str, action: dict[str, Any], body: dict[str, Any]) -> None:
        named = await self._ledger.named(entry_id)
        public_id = named.public_id if named is not None else entry_id
        messages: list[tuple[str, str]] = []
        if named is not None and named.events:
            messages.append(
                event(
                    self._topics, public_id, "acted", self._clock,
                    channel=Channel.REALTIME, recipient=user_id, action=action["id"],
                )
            )  # fmt: skip
        about, data = action.get("topic"), body.get("data")
        if about:
            messages.append(
                pressed(
                    self._topics, public_id, action["id"], user_id, self._clock,
                    data=data if isinstance(data, dict) else {}, about=about if isinstance(about, str) else None,
                )
            )  # fmt: skip
        published = [self._link.publish(name, payload) for name, payload in messages]
        try:
            async with asyncio.timeout(PUBLISH_S):
                await asyncio.gather(*published)
        except TimeoutError:
            raise BrokerUnavailable("not confirmed in time") from None

    async def _end(
        self, user_id: str, entry_id: str, action_id: str, found: Found, body: dict[str, Any], *, published: bool
    ) -> None:
        acted = body.get("acted")
        async with self._changes.copying(user_id, found.broadcast):
            marked = await self._pressed.pressed(
                user_id, entry_id, action_id,
                published=published, former=acted if isinstance(acted, str) else None, broadcast=found.broadcast,
                feed=self._changes.log,
            )  # fmt: skip
        if marked is not None:
            await self._changes.marked(user_id, marked, found.groups)


def _action(body: dict[str, Any], action_id: str) -> dict[str, Any] | None:
    actions = body.get("actions")
    for action in actions if isinstance(actions, list) else ():
        if isinstance(action, dict) and action.get("id") == action_id:
            return action
    return None

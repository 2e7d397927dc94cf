"""Whether a user looks at the screen right now, and whether a user has read a notification.

A client reports that its session has the user's focus. The process that holds the session repeats this while the
session is open. So if the process dies, the focus ends within ``FOCUS_TTL_S``. Both answers are true at the moment of
the question; nothing is promised about the next moment.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence

from shared.store.keys import Keys
from shared.store.store import Store

# As long as a session that nobody keeps alive.
FOCUS_TTL_S = 30

_SEEN_MARKS = (b"r", b"a", b"s")


class Presence:
    """Focus and read marks on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def keep(self, user_id: str, session_ids: Iterable[str]) -> None:
        """Say that these sessions have their user's focus, for the next ``FOCUS_TTL_S``."""
        key, lapse_ms = self._focus(user_id), _now_ms() + FOCUS_TTL_S * 1000
        members = [part for session_id in session_ids for part in (lapse_ms, session_id)]
        await asyncio.gather(self._store.submit("ZADD", key, *members), self._store.submit("EXPIRE", key, FOCUS_TTL_S))

    async def leave(self, user_id: str, session_id: str) -> None:
        """Say that a session has lost the focus."""
        await self._store.command("ZREM", self._focus(user_id), session_id)

    async def focused(self, user_ids: Sequence[str]) -> frozenset[str]:
        """Return those who have a session with the focus, in one round trip."""
        now_ms = _now_ms()
        counts = await asyncio.gather(
            *(self._store.submit("ZCOUNT", self._focus(user_id), now_ms, "+inf") for user_id in user_ids)
        )
        return frozenset(user_id for user_id, count in zip(user_ids, counts, strict=True) if count)

    async def has_seen(self, user_id: str, notification_id: str) -> bool:
        """Tell whether a user has read (or archived) a notification, an entry of his own or the feed's."""
        user, feed = self._keys.user(user_id), self._keys.feed
        own, marked, position, epoch, seq = await asyncio.gather(
            self._store.submit("HGET", f"{user}:state", notification_id),
            self._store.submit("HGET", f"{user}:feed_state", notification_id),
            self._store.submit("HMGET", f"{user}:meta", "feed_epoch", "feed_read"),
            self._store.submit("HGET", f"{feed}:meta", "epoch"),
            self._store.submit("ZSCORE", f"{feed}:log", notification_id),
        )
        if own is not None:
            return own in _SEEN_MARKS
        # After the feed began a new history, older marks mean nothing. An entry that is gone was not read in time.
        if seq is None or position[0] != epoch:
            return False
        return marked[:1] in _SEEN_MARKS if marked else float(seq) <= int(position[1] or 0)

    def _focus(self, user_id: str) -> str:
        return f"{self._keys.user(user_id)}:focus"


def _now_ms() -> int:
    return round(time.time() * 1000)

"""Refused publishes, kept so that an operator can see who sends what wrongly.

About the newest ``LIMIT`` are kept. The list expires ``record_retention_s`` after the last refusal. An entry has the
topic, the size of the payload and the receipt's error. It has nothing else of the payload, which may be personal, and
the sender was told.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.core.clock import from_epoch_ms
from shared.store.keys import Keys
from shared.store.replies import pairs, read_object
from shared.store.store import Store

LIMIT = 10_000
TOPIC_CHARS = 200


@dataclass(frozen=True, slots=True)
class Rejection:
    """One refused publish: where it came, how large it was, and the receipt's ``error``."""

    entry_id: str
    at: datetime
    topic: str
    size_bytes: int
    error: dict[str, Any]


class Rejections:
    """The refused publishes on one store."""

    def __init__(self, store: Store, keys: Keys, retention_s: int) -> None:
        self._store = store
        self._key = keys.rejected
        self._retention_s = retention_s

    async def keep(self, refused: Sequence[tuple[str, int, Mapping[str, object]]]) -> None:
        """Write down refusals, in one exchange: of each the topic, the payload's size, and the receipt's error."""
        if not refused:
            return
        written = [
            self._store.submit(
                "XADD", self._key, "MAXLEN", "~", LIMIT, "*",
                "topic", topic[:TOPIC_CHARS], "size", size_bytes, "error", json.dumps(error), lasting=True,
            )
            for topic, size_bytes, error in refused
        ]  # fmt: skip
        await asyncio.gather(*written, self._store.submit("EXPIRE", self._key, self._retention_s))

    async def newest(self, most: int) -> list[Rejection]:
        """Return the newest refusals, newest first."""
        entries = await self._store.command("XREVRANGE", self._key, "+", "-", "COUNT", most)
        found = []
        for entry_id, flat in entries:
            fields = dict(pairs(flat))
            at_ms = int(entry_id.decode().partition("-")[0])
            error, size = read_object(fields.get(b"error")), fields.get(b"size", b"")
            if {"code", "message", "fields"} <= error.keys() and size.isdigit():
                topic = fields.get(b"topic", b"").decode(errors="replace")
                found.append(Rejection(entry_id.decode(), from_epoch_ms(at_ms), topic, int(size), error))
        return found

    async def drop(self, rejections: Iterable[Rejection]) -> int:
        """Forget refusals, and return how many were still there."""
        removed = await asyncio.gather(*(self._store.submit("XDEL", self._key, each.entry_id) for each in rejections))
        return sum(removed)

"""What an earlier release has left in its store, put into a store of today.

``tests/payloads/v0_2/store.jsonl`` was written by the processes of release 0.2.0: a line for each key. The first line
says when. All times in it move with the clock, so that the release seems to have ended a moment ago.
"""

import json
import re
import time
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

_FOLDER = Path(__file__).parent / "payloads"
_MINUTE_MS = 60_000
# A time in seconds, milliseconds or microseconds, and the minute in the name of a key that counts.
_TIMES = re.compile(r"(?<![0-9a-fA-F])(?:\d{16}|\d{13}|\d{10})(?![0-9a-fA-F])")
_MINUTES = re.compile(r"(?<=:)\d{8}(?=\")")
_WITHIN_MS = 2 * 24 * 3600 * 1000


async def leave(store: Redis, release: str = "v0_2") -> None:
    """Put into a store what the release has left."""
    first, *lines = (_FOLDER / release / "store.jsonl").read_text().splitlines()
    at_ms = json.loads(first)["dumped_at_ms"]
    moved = _Moved(at_ms, (round(time.time() * 1000) - at_ms) // _MINUTE_MS * _MINUTE_MS)
    for line in lines:
        entry = json.loads(moved.line(line))
        await _put(store, entry["key"], entry["type"], entry["value"])
        if "ttl_ms" in entry:
            await store.pexpire(entry["key"], entry["ttl_ms"])


class _Moved:
    def __init__(self, at_ms: int, by_ms: int) -> None:
        self._at_ms = at_ms
        self._by_ms = by_ms

    def line(self, text: str) -> str:
        return _MINUTES.sub(self._minute, _TIMES.sub(self._time, text))

    def _time(self, found: re.Match[str]) -> str:
        per_s = 10 ** (len(found[0]) - 10)
        is_time = abs(int(found[0]) * 1000 // per_s - self._at_ms) < _WITHIN_MS
        return str(int(found[0]) + self._by_ms * per_s // 1000) if is_time else found[0]

    def _minute(self, found: re.Match[str]) -> str:
        is_minute = abs(int(found[0]) * _MINUTE_MS - self._at_ms) < _WITHIN_MS
        return str(int(found[0]) + self._by_ms // _MINUTE_MS) if is_minute else found[0]


async def _put(store: Redis, key: str, kind: str, value: Any) -> None:
    match kind:
        case "string":
            await store.set(key, value)
        case "hash":
            await store.hset(key, mapping=value)
        case "set":
            await store.sadd(key, *value)
        case "list":
            await store.rpush(key, *value)
        case "zset":
            await store.zadd(key, dict(value))
        case _:
            raise AssertionError(kind)

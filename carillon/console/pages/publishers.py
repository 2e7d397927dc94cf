"""The page Publishers: who may publish what, how much of it lately, and what was refused."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from carillon.console.page import PAGE_ROWS, Page, Section, Visit
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.model import Priority
from shared.core.topics import PLAIN_PUBLISHER
from shared.directory.publishers import Publisher, Publishers
from shared.ledger.rejections import Rejection, Rejections

# Of the newest refusals, so many are counted by publisher, and so many shown.
_COUNTED = 1_000
_REFUSALS_SHOWN = 50
_LIVE_S = 5.0


@dataclass(frozen=True, slots=True)
class ShownPublisher:
    """A publisher as the page shows it.

    Attributes:
        counted: publishes that count against its rate now; None where it has no rate of its own that is counted.
        full: how much of its rate is used, from 0 to 1; None without one.
        seen_at: its newest publish, where it is counted.
        refused: of the newest refusals.
    """

    name: str
    record: Publisher
    counted: int
    full: float | None
    seen_at: datetime | None
    refused: int


async def show(visit: Visit) -> dict[str, Any]:
    """Read the publishers with a record, and the newest refusals."""
    backend = visit.backend
    publishers = Publishers(backend.store, backend.keys)
    rejections = Rejections(backend.store, backend.keys, backend.record_retention_s)
    names, newest = await asyncio.gather(publishers.names(), rejections.newest(_COUNTED))
    after = visit.cursor
    some = [name for name in names if after is None or name > after]
    records = await publishers.get(some[:PAGE_ROWS])
    known = frozenset(names)
    refused = Counter(_publisher_of(each, backend.topic_prefix) for each in newest)
    lately = await publishers.lately(some[:PAGE_ROWS])
    asked = visit.asked("refused")
    shown = [each for each in newest if not asked or _publisher_of(each, backend.topic_prefix) == asked]
    return {
        "publishers": [
            _shown(name, records[name], *lately[name], refused[name]) for name in some[:PAGE_ROWS] if name in records
        ],
        "after": some[PAGE_ROWS - 1] if len(some) > PAGE_ROWS else None,
        "strangers": sorted((name, count) for name, count in refused.items() if name not in known),
        "refusals": [(each, _publisher_of(each, backend.topic_prefix)) for each in shown[:_REFUSALS_SHOWN]],
        "reasons": Counter(str(each.error.get("code", "")) for each in newest).most_common(),
        "counted": len(newest),
        "asked": asked,
        "plain": PLAIN_PUBLISHER,
        "highest": Priority.CRITICAL,
        "by_minute": _by_minute(newest, visit.now),
    }


def _shown(name: str, record: Publisher, counted: int, seen_ms: int | None, refused: int) -> ShownPublisher:
    rate = record.rate
    full = min(1.0, counted / rate.count) if rate is not None and rate.is_limit else None
    return ShownPublisher(name, record, counted, full, from_epoch_ms(seen_ms) if seen_ms else None, refused)


def _publisher_of(refusal: Rejection, prefix: str) -> str:
    """Return whose publish was refused, by its topic."""
    levels = refusal.topic.removeprefix(prefix).split("/", 2)
    return levels[1] if levels[0] == "from" and len(levels) > 2 else PLAIN_PUBLISHER


def _by_minute(newest: list[Rejection], now: datetime) -> list[int]:
    """Count refusals of the last hour, minute by minute, the oldest first."""
    counts = [0] * 60
    for each in newest:
        minutes_ago = (epoch_ms(now) - epoch_ms(each.at)) // 60_000
        if 0 <= minutes_ago < len(counts):
            counts[-1 - minutes_ago] += 1
    return counts


PAGES = (Page("publishers", "/publishers", "Publishers", show, section=Section.SET_UP, live_s=_LIVE_S),)

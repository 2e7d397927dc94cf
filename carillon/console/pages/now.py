"""The page Now: is it well, what waits, what has just been delivered, and how the providers and processes are."""

import asyncio
from dataclasses import dataclass
from typing import Any

from carillon.console.charts import Spark, spark
from carillon.console.page import Page, Section, Visit
from carillon.console.prometheus import Hour
from carillon.console.rates import Minute
from carillon.status.reading import read_status
from shared.core.model import Channel, Priority
from shared.delivery.by_hand import ByHand
from shared.delivery.standing import ProviderState

_LIVE_S = 3.0
_TONES = {
    ProviderState.WELL: "good", ProviderState.UNKNOWN: "none", ProviderState.AVOIDED: "warn",
    ProviderState.LIMITED: "warn", ProviderState.DOWN: "bad", ProviderState.PAUSED: "bad",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChannelChart:
    """What became due on one channel in the last hour.

    Attributes:
        last: in the last full minute; ``total``: in the hour.
        undelivered: of those how many ended as a dead letter or expired.
    """

    channel: Channel
    chart: Spark
    last: int
    total: int
    undelivered: int


@dataclass(frozen=True, slots=True)
class LatencyChart:
    """How long deliveries of one channel and priority took in the last hour.

    Attributes:
        p50: seconds, now; None where nothing was delivered lately; likewise ``p99``.
        rate: deliveries a second, now.
    """

    channel: Channel
    priority: Priority
    chart: Spark
    p50: float | None
    p99: float | None
    rate: float


async def show(visit: Visit) -> dict[str, Any]:
    """Look at the whole system once."""
    backend = visit.backend
    prometheus = backend.prometheus
    status, minutes, paused, hour = await asyncio.gather(
        read_status(backend.store, backend.keys, without=backend.without),
        backend.rates.last_hour(visit.now.timestamp()),
        ByHand(backend.store, backend.keys).paused(),
        prometheus.last_hour() if prometheus is not None else _none(),
    )
    return {
        "status": status,
        "paused": paused,
        "oldest_s": max((lane.oldest_s for lane in status.lanes), default=0.0),
        "unwell": [each for each in status.providers if _TONES[each.worst.state] in ("warn", "bad")],
        "tones": _TONES,
        "channels": [_of_channel(channel, minutes) for channel in Channel],
        "latencies": _latencies(hour) if hour is not None else None,
        "asked_prometheus": prometheus is not None,
    }


async def _none() -> None:
    return None


def _of_channel(channel: Channel, minutes: list[Minute]) -> ChannelChart:
    accounts = [minute[channel] for minute in minutes]
    # What planning has decided not to send is no delivery.
    due = [each.accepted - each.suppressed for each in accounts]
    lost = [each.dead_lettered + each.expired for each in accounts]
    chart = spark(due, failures=lost)
    return ChannelChart(channel, chart, due[-1], sum(due), sum(lost))


def _latencies(hour: Hour) -> list[LatencyChart]:
    """Return a chart for each channel and priority that delivered something, all with the same scale."""
    known = [value for values in hour.p99.values() for value in values if value is not None]
    top = max(known, default=0.0)
    charts = []
    for channel in Channel:
        for priority in reversed(Priority):
            p99 = hour.p99.get((channel, priority))
            if p99 is None or all(value is None for value in p99):
                continue
            p50, rates = (series.get((channel, priority), [None]) for series in (hour.p50, hour.rates))
            charts.append(LatencyChart(channel, priority, spark(p99, top=top), p50[-1], p99[-1], rates[-1] or 0.0))
    return charts


PAGES = (Page("now", "/", "Now", show, section=Section.WATCH, live_s=_LIVE_S),)

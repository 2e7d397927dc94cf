"""What Prometheus knows of the last hour, where the console is told of one: latencies by channel and priority.

Promises that a Prometheus that is away, slow or wrong costs a page nothing but its charts, and that it is asked at most
every ``EVERY_S``, however many look.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

import aiohttp

from shared.core.model import Channel, Priority
from shared.delivery import http_answer

log = logging.getLogger(__name__)

EVERY_S = 15.0
SPAN_S, STEP_S = 3600, 60
_WITHIN_S = 2.0
_ANSWER_BYTES = 2 * 1024 * 1024
_LATENCY = (
    "histogram_quantile({quantile}, sum by (channel, priority, le) "
    "(rate(carillon_delivery_latency_seconds_bucket[5m])))"
)
_RATE = "sum by (channel, priority) (rate(carillon_delivery_latency_seconds_count[5m]))"

Series = Mapping[tuple[Channel, Priority], list[float | None]]


@dataclass(frozen=True, slots=True)
class Hour:
    """The last hour, a value a minute.

    Attributes:
        rates: deliveries a second.
        p50: seconds from acceptance to the provider's answer, for half of them; ``p99``: for 99 of 100.
    """

    rates: Series
    p50: Series
    p99: Series


class Prometheus:
    """One Prometheus, as the console asks it."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query_range"
        self._hour: Hour | None = None
        self._again_at = 0.0

    async def last_hour(self) -> Hour | None:
        """Return the last hour; None where it does not answer."""
        if monotonic() < self._again_at:
            return self._hour
        self._again_at = monotonic() + EVERY_S
        try:
            timeout = aiohttp.ClientTimeout(total=_WITHIN_S)
            async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
                rates = await self._ask(session, _RATE)
                p50 = await self._ask(session, _LATENCY.format(quantile=0.5))
                p99 = await self._ask(session, _LATENCY.format(quantile=0.99))
                self._hour = Hour(rates, p50, p99)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("Prometheus does not answer", extra={"error": type(error).__name__})
            self._hour = None
        return self._hour

    async def _ask(self, session: aiohttp.ClientSession, query: str) -> Series:
        end = int(time()) // STEP_S * STEP_S
        asked = {"query": query, "start": str(end - SPAN_S), "end": str(end), "step": str(STEP_S)}
        async with session.get(self._url, params=asked) as answer:
            document = json.loads(await http_answer.whole(answer, _ANSWER_BYTES, _WITHIN_S))
        return dict(filter(None, (_read(each, end) for each in document["data"]["result"])))


def _read(series: Any, end: int) -> tuple[tuple[Channel, Priority], list[float | None]] | None:  # noqa: ANN401 - JSON
    labels = series["metric"]
    if labels.get("channel") not in list(Channel) or labels.get("priority") not in list(Priority):
        return None
    values: list[float | None] = [None] * (SPAN_S // STEP_S + 1)
    for at, text in series["values"]:
        value = float(text)
        # NaN where nothing was delivered.
        values[(int(at) - end) // STEP_S + SPAN_S // STEP_S] = value if value == value else None  # noqa: PLR0124
    return (Channel(labels["channel"]), Priority(labels["priority"])), values

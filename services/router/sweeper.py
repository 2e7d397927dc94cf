"""Drives again what is due: retries, scheduled work, leases of dead workers, jobs that got lost on the broker.

Every router runs one. The ledger hands out each due row to one of them, so there is no leader.
"""

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from shared import metrics
from shared.errors import StoreUnavailable
from shared.jobs import jobs_of_due, settled
from shared.ledger import ROUTER_LANE, DueRow, Ledger
from shared.model import Channel
from shared.mqtt_link import BrokerLink
from shared.topics import Topics

log = logging.getLogger(__name__)

# A scheduled notification is late by half of this on average.
INTERVAL_S = 0.25

# Rows taken per lane and shard in one round. What is beyond it comes at once in the next round.
MOST_PER_SHARD = 100

GAUGE_INTERVAL_S = 2.0


async def sweep_forever(ledger: Ledger, topics: Topics, link: BrokerLink) -> None:
    """Publish due rows until cancelled."""
    unheard: set[str] = set()
    while True:
        # Nothing is taken while it could not be handed over.
        await link.wait_up()
        try:
            due = await ledger.sweep(MOST_PER_SHARD, unheard)
        except StoreUnavailable:
            await asyncio.sleep(random.uniform(0.5, 2.0))  # noqa: S311 - jitter
            continue
        if not due:
            await asyncio.sleep(INTERVAL_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            continue
        for lane, count in Counter(row.lane for row in due).items():
            if lane != ROUTER_LANE:
                metrics.redriven_deliveries.labels(lane).inc(count)
        handed = await _hand_over(topics, due, link)
        silent = {lane for lane, taken in handed.items() if not taken}
        if new := silent - unheard:
            log.warning("nobody takes jobs; they wait in the ledger", extra={"lanes": sorted(new)})
        if heard := unheard & handed.keys() - silent:
            log.info("jobs are taken again", extra={"lanes": sorted(heard)})
        unheard = unheard - handed.keys() | silent
        if silent:
            await asyncio.sleep(INTERVAL_S)


async def _hand_over(topics: Topics, due: Sequence[DueRow], link: BrokerLink) -> dict[str, bool]:
    """Publish the jobs of rows, and tell for each lane whether anybody took one."""
    lanes = {topics.jobs(row.lane, row.priority): row.lane for row in due}
    handovers: defaultdict[str, list[asyncio.Future[bool]]] = defaultdict(list)
    for topic, payload, trace in jobs_of_due(topics, due):
        handovers[lanes[topic]].append(link.publish(topic, payload, user_properties=trace))
    return {lane: await settled(answers) < len(answers) for lane, answers in handovers.items()}


async def measure_forever(ledger: Ledger) -> None:
    """Keep the gauges of open work up to date until cancelled."""
    while True:
        try:
            for lane, work in (await ledger.open_work()).items():
                if lane != ROUTER_LANE:
                    channel = Channel(lane)
                    metrics.open_deliveries.labels(channel).set(work.count)
                    metrics.oldest_open_delivery_age.labels(channel).set(work.oldest_age_s)
        except StoreUnavailable:
            log.debug("store away, gauges not updated")
        await asyncio.sleep(GAUGE_INTERVAL_S)

"""Drives again what is due: retries, scheduled work, rows of dead workers, jobs that got lost on the broker.

Every router runs one. The ledger hands out each due row to one of them, so there is no leader.
"""

import asyncio
import logging
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

from services.router.upkeep.ended import tell_ended
from shared.core.clock import Clock
from shared.core.errors import StoreUnavailable
from shared.core.model import Channel
from shared.core.topics import Topics
from shared.ledger.jobs import jobs_of_due, settled
from shared.ledger.ledger import ROUTER_LANE, DueRow, EndedRow, Ledger, is_notification_id
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import shard_of_id
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# How far a round looks ahead. What it finds goes out when its time has come, and so spread as the retries are. All that
# had become due in a quarter of a second, handed out in one burst, would hold up everything else on the machine.
ROUND_S = 0.25

# How long a round waits for the broker to confirm what it was given. What is not confirmed by then has its turn again
# like everything that nobody claimed; the round goes on, for the other lanes.
CONFIRMED_WITHIN_S = 5.0

# Rows taken per lane and shard in one round. What is beyond it comes at once in the next round.
MOST_PER_SHARD = 100

GAUGE_INTERVAL_S = 2.0


async def sweep_forever(ledger: Ledger, topics: Topics, link: BrokerLink, clock: Clock) -> None:
    """Publish rows when they are due, and tell of those that time has ended, until cancelled."""
    unheard: set[str] = set()
    failed: set[tuple[str, str]] = set()
    round_s = 0.0
    while True:
        # Nothing is taken while it could not be handed over.
        await link.wait_up()
        began_s = time.monotonic()
        try:
            swept = await ledger.sweep(MOST_PER_SHARD, timedelta(seconds=round_s), unheard)
        except StoreUnavailable:
            await asyncio.sleep(random.uniform(0.5, 2.0))  # noqa: S311 - jitter
            continue
        due = swept.due
        if new_failed := set(swept.failed) - failed:
            log.error("schedules cannot be swept", extra={"lanes": sorted({lane for lane, _ in new_failed})})
        failed = set(swept.failed)
        for topic, payload in tell_ended(topics, swept.ended, clock):
            link.publish(topic, payload)
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
        taken = Counter([*map(_shard, due), *map(_shard_of_ended, swept.ended)])
        if any(count >= MOST_PER_SHARD for count in taken.values()):
            # A backlog: what comes later does not hold it up.
            round_s = 0.0
            continue
        await asyncio.sleep(began_s + round_s - time.monotonic())
        round_s = ROUND_S * random.uniform(0.8, 1.2)  # noqa: S311 - jitter


async def _hand_over(topics: Topics, due: Sequence[DueRow], link: BrokerLink) -> dict[str, bool]:
    """Publish the job of each row when its time has come, and tell of each lane whether anybody took one.

    Of a lane whose jobs the broker did not answer for, nothing is known.
    """
    lanes = {topics.jobs(row.lane, row.priority): row.lane for row in due}
    handovers: defaultdict[str, list[asyncio.Future[bool]]] = defaultdict(list)
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(ROUND_S + CONFIRMED_WITHIN_S):
            for wait_s, rows in groupby(sorted(due, key=_wait_s), key=_wait_s):
                await asyncio.sleep(began_s + wait_s - time.monotonic())
                for topic, payload, trace in jobs_of_due(topics, list(rows)):
                    await link.sendable()
                    handovers[lanes[topic]].append(link.publish(topic, payload, user_properties=trace))
    except TimeoutError:
        log.warning("broker slow to take jobs; the rest comes again")
    # All lanes at once, so that the limit is that of the round.
    found = await asyncio.gather(*(settled(answers, CONFIRMED_WITHIN_S) for answers in handovers.values()))
    if unanswered := sum(each.unanswered for each in found):
        log.warning("broker slow to confirm", extra={"messages": unanswered})
    answered = {lane: each for lane, each in zip(handovers, found, strict=True) if each.taken or each.for_nobody}
    return {lane: each.taken > 0 for lane, each in answered.items()}


def _wait_s(row: DueRow) -> float:
    return row.wait_s


def _shard(row: DueRow) -> tuple[str, int]:
    return row.lane, shard_of_id(row.notification_id)


def _shard_of_ended(row: EndedRow) -> tuple[str, int]:
    # Of what is none of our ids nothing is known but its lane.
    return row.lane, shard_of_id(row.notification_id) if is_notification_id(row.notification_id) else -1


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

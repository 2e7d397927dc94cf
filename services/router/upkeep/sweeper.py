"""Hands over what is due and what waits: retries, scheduled work, rows of dead workers, lost jobs, and the backlog.

Every router runs one. The ledger hands out each row to one of them, so there is no leader. There are two rounds. One
looks everywhere after what is due. The other one goes round fast, only where this router knows that rows wait for room,
and only as long as they do.
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
from shared.core.channels import ROUTER_LANE
from shared.core.clock import Clock
from shared.core.errors import StoreUnavailable
from shared.core.model import Channel
from shared.core.topics import Topics
from shared.ledger.backlog import WINDOW_ROWS
from shared.ledger.jobs import jobs_of_due, settled
from shared.ledger.lanes import open_work_lately
from shared.ledger.schedule import DueRow, EndedRow, Schedule, Swept
from shared.mqtt.reconnecting import BrokerLink
from shared.store.first_come import comes_first
from shared.store.keys import Keys, is_notification_id, shard_of_id
from shared.store.store import Store
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# How far a round looks ahead. What it finds goes out when its time has come, and so spread as the retries are. All that
# had become due in a quarter of a second, handed out in one burst, would hold up everything else on the machine.
ROUND_S = 0.25

# Where nothing is open that could become due within a minute, one router at a time looks, and as seldom as this. Then
# what other processes write with a short wait is late by so much at most.
CALM_ROUND_S = 1.0
# A look reaches so far that two looks leave nothing between them.
CALM_AHEAD_S = 1.2
_TURN_MS = 900

# How long a round through what waits takes. It becomes longer while little room is found, so that a slow provider's
# backlog costs the store little, and shorter while there is much.
SHORTEST_REFILL_S, LONGEST_REFILL_S = 0.01, 0.16

# How long a round waits for the broker to confirm what it was given. What is not confirmed by then has its turn again
# like everything that nobody claimed; the round goes on, for the other lanes.
CONFIRMED_WITHIN_S = 5.0

# Rows taken per lane and shard in one round. What is beyond it comes at once in the next round.
MOST_PER_SHARD = 100

# Jobs published before everything else in this process has its turn.
_PUBLISHED_AT_ONCE = 20

# How often open work is counted, by one router for all of them, and how often where nothing is due. Then neither the
# number nor the age grows.
GAUGE_INTERVAL_S = 2.0
CALM_GAUGE_INTERVAL_S = 5.0
# What part of an interval a count is good for, so that the next one finds it too old.
_COUNT_LASTS = 0.9


async def sweep_forever(schedule: Schedule, topics: Topics, link: BrokerLink, clock: Clock) -> None:
    """Publish rows when they are due and have room, and tell of those that time has ended, until cancelled."""
    sweeper = _Sweeper(schedule, topics, link, clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(sweeper.sweep_forever(), name="sweep")
        group.create_task(sweeper.refill_forever(), name="refill")


class _Sweeper:
    def __init__(self, schedule: Schedule, topics: Topics, link: BrokerLink, clock: Clock) -> None:
        self._schedule = schedule
        self._topics = topics
        self._link = link
        self._clock = clock
        self._unheard: set[str] = set()
        self._failed: set[tuple[str, str]] = set()

    async def sweep_forever(self) -> None:
        """Hand over what is due, everywhere."""
        round_s, is_calm = 0.0, False
        while True:
            # Nothing is taken while it could not be handed over.
            await self._link.wait_up()
            began_s = time.monotonic()
            try:
                if is_calm and not await comes_first(self._schedule.store, self._schedule.keys, "swept", _TURN_MS):
                    is_calm, round_s = await self._calm_round()
                    continue
                swept = await self._schedule.sweep(MOST_PER_SHARD, timedelta(seconds=round_s), self._unheard)
            except StoreUnavailable:
                await asyncio.sleep(random.uniform(0.5, 2.0))  # noqa: S311 - jitter
                continue
            if new_failed := set(swept.failed) - self._failed:
                log.error("schedules cannot be swept", extra={"lanes": sorted({lane for lane, _ in new_failed})})
            self._failed = set(swept.failed)
            await self._publish(swept)
            if _is_full(swept):
                # A backlog: what comes later does not hold it up.
                round_s = 0.0
            elif swept.is_calm:
                is_calm, round_s = await self._calm_round()
            else:
                is_calm = False
                await asyncio.sleep(began_s + round_s - time.monotonic())
                round_s = ROUND_S * random.uniform(0.8, 1.2)  # noqa: S311 - jitter

    async def refill_forever(self) -> None:
        """Hand over what waits, where this router knows of it."""
        backlog = self._schedule.backlog
        round_s = SHORTEST_REFILL_S
        while True:
            if not backlog.is_there.is_set():
                await backlog.is_there.wait()
                round_s = SHORTEST_REFILL_S
            await self._link.wait_up()
            await asyncio.sleep(round_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            try:
                swept = await self._schedule.refill(MOST_PER_SHARD, self._unheard)
            except StoreUnavailable:
                await asyncio.sleep(random.uniform(0.5, 2.0))  # noqa: S311 - jitter
                continue
            if not backlog.is_there.is_set() or len(swept.due) > WINDOW_ROWS // 8:
                round_s = SHORTEST_REFILL_S
            elif len(swept.due) < WINDOW_ROWS // 16:
                round_s = min(LONGEST_REFILL_S, round_s * 2)
            await self._publish(swept)

    async def _calm_round(self) -> tuple[bool, float]:
        """Wait a calm round, or a usual one if this router writes rows; return which, and how far to look ahead."""
        news = self._schedule.backlog.has_news
        await asyncio.sleep(ROUND_S)
        try:
            async with asyncio.timeout(CALM_ROUND_S - ROUND_S):
                await news.wait()
        except TimeoutError:
            return True, CALM_AHEAD_S
        news.clear()
        return False, ROUND_S

    async def _publish(self, swept: Swept) -> None:
        for topic, payload in tell_ended(self._topics, swept.ended, self._clock):
            self._link.publish(topic, payload)
        for lane, count in Counter(row.lane for row in swept.due if row.is_lost).items():
            if lane != ROUTER_LANE:
                metrics.redriven_deliveries.labels(lane).inc(count)
        handed = await _hand_over(self._topics, swept.due, self._link)
        silent = {lane for lane, taken in handed.items() if not taken}
        if new := silent - self._unheard:
            log.warning("nobody takes jobs; they wait in the ledger", extra={"lanes": sorted(new)})
        if heard := self._unheard & handed.keys() - silent:
            log.info("jobs are taken again", extra={"lanes": sorted(heard)})
        self._unheard = self._unheard - handed.keys() | silent


def _is_full(swept: Swept) -> bool:
    taken = Counter([*map(_shard, swept.due), *map(_shard_of_ended, swept.ended)])
    return any(count >= MOST_PER_SHARD for count in taken.values())


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
                for number, (topic, payload, trace) in enumerate(jobs_of_due(topics, list(rows)), start=1):
                    if number % _PUBLISHED_AT_ONCE == 0:
                        await asyncio.sleep(0)
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


async def measure_forever(store: Store, keys: Keys) -> None:
    """Keep the gauges of open work up to date until cancelled."""
    interval_s = GAUGE_INTERVAL_S
    while True:
        try:
            found = await open_work_lately(store, keys, round(interval_s * _COUNT_LASTS * 1000))
            for lane, work in found.items():
                if lane != ROUTER_LANE:
                    channel = Channel(lane)
                    metrics.open_deliveries.labels(channel).set(work.count)
                    metrics.oldest_open_delivery_age.labels(channel).set(work.oldest_age_s)
            is_calm = not any(work.oldest_age_s for work in found.values())
            interval_s = CALM_GAUGE_INTERVAL_S if is_calm else GAUGE_INTERVAL_S
        except StoreUnavailable:
            log.debug("store away, gauges not updated")
        await asyncio.sleep(interval_s)

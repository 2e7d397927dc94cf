"""Finds the sources that were not heard of in time, and has their incidents opened and resolved.

Every router runs one, and one at a time looks, once a second. An incident is opened as any publisher opens one, by a
publish that a router takes. Promises:

- An incident is opened once and resolved once, whoever dies in between: each step is in the store before it is told and
  until a receipt says that a router has it, and its idempotency key makes a repetition harmless.
- Where nobody has looked for ``AWAY`` (no router, no broker, no store), no source is missed before it had its whole
  time again, or ``COMEBACK`` if that is longer than that: what it has said waits at the broker, or it has to connect.
- A round costs what is due in it, and not what there is.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from services.router.alerts.liveness import Drop, Inhibit, Open, Wait, decide, telling
from services.router.upkeep.router_link import NoReceipt, Receipt, RouterLink
from shared.core.errors import StoreUnavailable
from shared.core.topics import Topics
from shared.directory.liveness import Liveness
from shared.directory.rulebook import Rulebook
from shared.ledger.sources import Due, Looked, Noted, Phase, Sources, Standing, State, Untold
from shared.store.first_come import comes_first
from shared.store.keys import Keys
from shared.store.store import Store
from shared.telemetry import metrics

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# Less than a round, so that each finds it over; more than two routers would look within.
_TURN_MS = 900
_GAUGE_EVERY_S = 5.0
# The router's answer to a repetition with another text: it has the first.
_KNOWN = ("", "idempotency_conflict")
# What no router takes is told again after so long; an operator may change what keeps it from that.
_REFUSED_S = 30.0
# Receipts that are waited for at once.
_ASKS = 200

Ask = Callable[[str, dict[str, Any]], Awaitable[Receipt]]


class LivenessWatch:
    """Looks after the sources of one store.

    Args:
        ask: publishes and returns the receipt; raises ``NoReceipt``.
    """

    def __init__(self, sources: Sources, rulebook: Rulebook, topics: Topics, ask: Ask) -> None:
        self._sources = sources
        self._rulebook = rulebook
        self._topics = topics
        self._ask = ask

    async def look(self) -> bool:
        """Do what is due, and return whether there may be more.

        Raises:
            StoreUnavailable: the rest is done in another round.
        """
        looked = await self._sources.look()
        # First, so that the end of an incident is told before the next one of its source begins.
        await self._tell_all(looked)
        if not looked.due:
            return looked.is_full
        await self._decide(looked)
        decided = await self._sources.look()
        await self._tell_all(decided)
        return looked.is_full or decided.is_full

    async def _tell_all(self, looked: Looked) -> None:
        ending = False
        for begin in range(0, len(looked.untold), _ASKS):
            told = await asyncio.gather(*(self._tell(untold) for untold in looked.untold[begin : begin + _ASKS]))
            ending = ending or Noted.ENDS in told
        if ending:
            await self._tell_all(await self._sources.look())

    async def _decide(self, looked: Looked) -> None:
        left = {due.source: due for due in looked.due}
        records = await self._rulebook.get(Liveness, left)
        parents = {source: record.children_of for source, record in records.items()}
        while left:
            # Parents before their children; in a circle, which two writers can make, nobody is first.
            ready = [due for source, due in left.items() if parents.get(source) not in left]
            await self._decide_each(ready or [*left.values()], records, looked.now_ms, alone=not ready)
            done = {due.source for due in ready}
            left = {source: due for source, due in left.items() if ready and source not in done}

    async def _decide_each(
        self, ready: Sequence[Due], records: Mapping[str, Liveness], now_ms: int, *, alone: bool
    ) -> None:
        of = {due.source: record.children_of for due in ready if (record := records.get(due.source)) is not None}
        names = set() if alone else {parent for parent in of.values() if parent is not None}
        standings = await self._sources.standings(names)
        await asyncio.gather(*(self._carry_out(due, records.get(due.source), standings, now_ms) for due in ready))

    async def _carry_out(
        self, due: Due, record: Liveness | None, standings: Mapping[str, Standing], now_ms: int
    ) -> None:
        parent = standings.get(record.children_of) if record is not None and record.children_of else None
        match decide(due, record, parent, now_ms):
            case Open(says):
                await self._sources.open(due, says)
            case Inhibit(again_ms):
                await self._sources.inhibit(due, again_ms)
            case Wait(again_ms):
                await self._sources.wait(due, again_ms)
            case Drop():
                await self._sources.drop(due)

    async def _tell(self, untold: Untold) -> Noted:
        try:
            kind, alert_type, payload = telling(untold)
        except (ValueError, KeyError):
            # It is in the store and damaged; the others must not wait for it.
            log.exception("an incident of a missing source cannot be read")
            await self._sources.tell_later(untold, _REFUSED_S)
            return Noted.BEFORE
        try:
            receipt = await self._ask(self._topics.publish(kind, alert_type), payload)
        except NoReceipt as error:
            # It comes again with the next round.
            log.warning("an incident of a missing source waits", extra={"phase": untold.phase, "why": str(error)})
            return Noted.BEFORE
        if receipt.code not in _KNOWN:
            extra = {"phase": untold.phase, "code": receipt.code}
            log.error("an incident of a missing source is refused", extra=extra)
            await self._sources.tell_later(untold, receipt.retry_after_s or _REFUSED_S)
            return Noted.BEFORE
        noted = await self._sources.told(untold)
        if noted:
            what = "opened" if untold.phase is Phase.OPENING else "resolved"
            metrics.liveness_incidents.labels(what).inc()
            log.info("incident of a missing source", extra={"what": what, "source": untold.source})
        return noted


async def watch_forever(
    *, store: Store, keys: Keys, sources: Sources, rulebook: Rulebook, topics: Topics, link: RouterLink
) -> None:
    """Look after the sources, and count them, until cancelled."""
    watch = LivenessWatch(sources, rulebook, topics, link.ask)
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run(), name="liveness-link")
        group.create_task(_count_forever(sources), name="liveness-gauges")
        broken = False
        while True:
            # What is decided could not be told.
            await link.wait_up()
            is_full = False
            try:
                if await comes_first(store, keys, "watched", _TURN_MS):
                    is_full = await watch.look()
                broken = False
            except StoreUnavailable:
                log.debug("store away, nobody watches")
            except Exception:
                # What is wrong with one source must not end the watch over the others for good.
                if not broken:
                    log.exception("liveness watch failed")
                broken = True
            if not is_full:
                await asyncio.sleep(LOOK_EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311 - jitter


async def _count_forever(sources: Sources) -> None:
    while True:
        try:
            counts = await sources.counts()
            for state in State:
                if state is not State.UNARMED:
                    metrics.liveness_sources.labels(state).set(counts.get(state, 0))
        except StoreUnavailable:
            log.debug("store away, sources not counted")
        await asyncio.sleep(_GAUGE_EVERY_S)

"""The router's intake connections: a session for each inflow of its slot and of dead slots, and two for answers.

Critical alerts have a connection of their own, and so has what ends something, so that a backlog of other publishes
never delays either. The sessions are persistent: publishes wait in them while the router restarts.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.router.intake.intake import Intake
from services.router.intake.slots import SlotLost, Slots
from services.router.settings import RouterSettings
from shared.core.errors import BrokerUnavailable, StoreUnavailable
from shared.core.topics import Inflow
from shared.mqtt.connection import Broker
from shared.mqtt.reconnecting import BrokerLink
from shared.runtime.service import Context
from shared.store.until_stored import until_stored

log = logging.getLogger(__name__)

# How long the broker keeps a session whose router is gone; longer than any outage of all routers we want to survive.
SESSION_EXPIRY_S = 6 * 3600

# Publishes that the broker may have handed to an inflow and that are not acknowledged. Publishers take turns in what
# is handed over; what waits at the broker waits behind all of a flood. And acknowledgements leave in the order of
# arrival, so one that waits its turn keeps others at the broker. So there are about as many as packet identifiers
# tell apart. The inflow's budget bounds their bytes.
RECEIVE_MAXIMUM = 60_000

# A session counts as drained when nothing has come for this long after the unsubscribe was confirmed.
DRAINED_AFTER_S = 0.5

# How long a lapsed slot waits for somebody to look, and how many one router drains at the same time: each is two
# connections, and what the broker has in flight on them is in memory.
ORPHANS_EVERY_S = 1.0
ADOPTIONS_MOST = 8


@dataclass(frozen=True, slots=True)
class SubscribedIntake:
    """One intake and what it subscribes to.

    Attributes:
        former: what a session of an earlier release may be subscribed to in place of it.
    """

    name: Inflow
    filters: tuple[str, ...]
    intake: Intake
    former: tuple[str, ...] = ()


class RouterIntake:
    """The intake of one router process, over all its connections.

    Args:
        outs: where the intakes publish.
    """

    def __init__(
        self,
        context: Context[RouterSettings],
        slots: Slots,
        intakes: Mapping[Inflow, Intake],
        *,
        outs: Sequence[BrokerLink],
    ) -> None:
        self._context = context
        self._outs = outs
        self._slots = slots
        self._slot = -1
        topics = context.topics
        self._intakes = tuple(
            SubscribedIntake(
                inflow, topics.intake_filters(inflow), intake, topics.former_filters if inflow is Inflow.ALERTS else ()
            )
            for inflow, intake in intakes.items()
        )
        self._links: list[BrokerLink] = []

    @property
    def is_up(self) -> bool:
        """Tell whether every connection stands."""
        return bool(self._links) and all(link.is_up for link in (*self._links, *self._outs))

    async def run(self) -> None:
        """Take a slot and read its sessions until cancelled; drain the sessions of the dead meanwhile."""
        self._slot = await self._slots.take()
        log.info("slot taken", extra={"slot": self._slot})
        self._links = [
            BrokerLink(
                self._context.address,
                self._client_id(self._slot, inflow),
                filters=inflow.filters,
                former=inflow.former,
                serve=inflow.intake.serve,
                session_expiry_s=SESSION_EXPIRY_S,
                receive_maximum=RECEIVE_MAXIMUM,
                budget=inflow.intake.budget,
            )
            for inflow in self._intakes
        ]
        async with asyncio.TaskGroup() as group:
            for out in self._outs:
                group.create_task(out.run(), name=f"out-{out.client_id}")
            group.create_task(self._slots.keep(self._slot), name="slot-keep")
            group.create_task(self._adopt_forever(), name="slot-adopt")
            for link in self._links:
                group.create_task(link.run(), name=f"intake-{link.client_id}")

    async def stop_intake(self) -> None:
        """Unsubscribe; what was in flight still arrives and is handled."""
        await asyncio.gather(*(link.stop_intake() for link in self._links))

    async def idle(self) -> None:
        """Drain the sessions and have the broker forget them, so that nothing waits there for nobody."""
        # A router that has not been given a slot yet has no sessions.
        forgotten = await asyncio.gather(*map(_leave, self._intakes, self._links))
        # Otherwise the lease is left to lapse, so that another router adopts what the broker still holds for us.
        if self._slot >= 0 and all(forgotten):
            await until_stored(lambda: self._slots.release(self._slot))

    async def abandon(self) -> None:
        """Leave the rest: the sessions stay at the broker, and another router adopts them when the lease has lapsed."""

    def _client_id(self, slot: int, inflow: SubscribedIntake) -> str:
        prefix = self._context.settings.topic_prefix.strip("/").replace("/", "-")
        return "-".join(part for part in (prefix, "router", str(slot), inflow.name) if part)

    async def _adopt_forever(self) -> None:
        """Adopt orphaned slots side by side, because draining one may take long."""
        adopting: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                while len(adopting) < ADOPTIONS_MOST and (orphan := await self._orphan()) is not None:
                    task = group.create_task(self._adopt(orphan), name=f"adopt-{orphan}")
                    adopting.add(task)
                    task.add_done_callback(adopting.discard)
                await asyncio.sleep(ORPHANS_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def _orphan(self) -> int | None:
        try:
            return await self._slots.take_orphan(self._slot)
        except StoreUnavailable:
            return None

    async def _adopt(self, slot: int) -> None:
        """Handle what a dead router's sessions hold, and end them."""
        log.warning("adopting a dead router's slot", extra={"slot": slot})
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._slots.keep(slot), name="slot-adopted")
                async with asyncio.TaskGroup() as draining:
                    for inflow in self._intakes:
                        draining.create_task(self._drain(slot, inflow), name=f"drain-{slot}-{inflow.name}")
                renewing.cancel()
            await self._slots.release(slot)
        except* (StoreUnavailable, BrokerUnavailable, SlotLost):
            # Its lease lapses again, and whoever sees that first goes on.
            log.warning("adoption broken off", extra={"slot": slot})
        else:
            log.info("adopted", extra={"slot": slot})

    async def _drain(self, slot: int, inflow: SubscribedIntake) -> None:
        client_id = self._client_id(slot, inflow)
        async with Broker(
            self._context.address,
            client_id,
            session_expiry_s=SESSION_EXPIRY_S,
            receive_maximum=RECEIVE_MAXIMUM,
            budget=inflow.intake.budget,
        ) as broker:
            async with asyncio.TaskGroup() as group:
                # What the session holds comes before the broker's answers, so it is served from the first.
                serving = group.create_task(inflow.intake.serve(broker), name=f"serve-{client_id}")
                # A session that the broker has lost meanwhile has no subscription, and unsubscribing is harmless.
                await broker.unsubscribe(*inflow.filters, *inflow.former)
                # Only this connection counts: on our own one publishes go on, and would keep the adoption from ending.
                await _quiet(lambda: inflow.intake.is_idle(broker), broker)
                serving.cancel()
            await broker.forget_session()


async def _leave(inflow: SubscribedIntake, link: BrokerLink) -> bool:
    """Drain one of our own sessions and tell whether the broker has forgotten it."""
    await _quiet(inflow.intake.is_idle, link)
    try:
        await link.forget_session()
    except BrokerUnavailable:
        log.warning("session left at the broker", extra={"client_id": link.client_id})
        return False
    return True


async def _quiet(is_idle: Callable[[], bool], source: Broker | BrokerLink) -> None:
    """Return when nothing has arrived and nothing was in hand for a while."""
    quiet_s, step_s = 0.0, 0.05
    while quiet_s < DRAINED_AFTER_S:
        await asyncio.sleep(step_s)
        quiet_s = quiet_s + step_s if is_idle() and not source.waiting else 0.0

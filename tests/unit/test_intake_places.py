"""How many batches a router's intake has in hand, over all its connections."""

import asyncio
from typing import Any, cast

from services.router.intake.admission import Admission
from services.router.intake.intake import BATCHES_IN_FLIGHT, Intake
from shared.core.topics import Inflow, Topics
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from shared.runtime.turns import Turns

# A general intake leaves it to the inflow for alerts: it is acknowledged, and nothing else is done.
_NOT_MINE = Incoming(topic="notifications/alerts/critical/disk", payload=b"{}", qos=1, mid=1)


# One that it handles itself.
_MINE = Incoming(topic="notifications/email/send", payload=b"{}", qos=1, mid=1)


class _EverybodyAlike:
    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def share_of(self, _name: str) -> float:
        return 1

    async def records(self, _names: Any) -> None:
        self.asked.set()
        await asyncio.Event().wait()


class _Connection:
    """A connection on which one message arrives, or none."""

    client_id = "router-0-general"
    is_open = True

    def __init__(self, *arriving: Incoming) -> None:
        self._arriving = list(arriving)
        self.acknowledged = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._arriving)

    async def arrived(self) -> None:
        while not self._arriving:
            await asyncio.Event().wait()

    def take_arrived(self, _most: int) -> list[Incoming]:
        taken, self._arriving = self._arriving, []
        return taken

    def let_go(self, _incoming: Incoming) -> None:
        pass

    def ack(self, _incoming: Incoming) -> None:
        self.acknowledged.set()


class _Flooded(_Connection):
    """A connection on which something has always arrived when one looks again."""

    def take_arrived(self, most: int) -> list[Incoming]:
        return self._arriving * most


def _intake(admission: _EverybodyAlike) -> Intake:
    unused: Any = None
    return Intake(
        topics=Topics(), ledger=unused, planner=unused, actions=unused, holding=unused, rejections=unused, clock=unused,
        lifetime_s=60, batch=10, inflow=Inflow.GENERAL, admission=cast("Admission", admission), out=unused,
        turns=Turns(),
    )  # fmt: skip


async def test_what_has_arrived_is_handled_while_more_arrives() -> None:
    admission = _EverybodyAlike()
    serving = asyncio.create_task(_intake(admission).serve(cast("Broker", _Flooded(_MINE))), name="serve")
    try:
        async with asyncio.timeout(30):
            await admission.asked.wait()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_sessions_that_bring_nothing_do_not_hold_up_others() -> None:
    intake = _intake(_EverybodyAlike())
    idle, busy = [_Connection() for _ in range(BATCHES_IN_FLIGHT)], _Connection(_NOT_MINE)
    tasks = [asyncio.create_task(intake.serve(cast("Broker", each)), name="serve") for each in (*idle, busy)]
    try:
        async with asyncio.timeout(30):
            await busy.acknowledged.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

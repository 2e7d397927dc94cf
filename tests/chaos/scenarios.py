"""The faults, one scenario each: what is done while notifications flow, and what may come of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from tests.chaos.checker import Harm, Limits
from tests.chaos.recovery import Recovery
from tests.chaos.rig import LEASE_S, Plan, Rig

Faults = Callable[[Rig], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault of the table.

    Attributes:
        what: for the table.
        times: how often the fault is played in a full run.
        limits: what may come of it, for a run of this size.
        after_end: recovery counts from the end of each fault.
        recovers_within: names of ``Recovery``'s fields and the figure to reach, seconds.
        drain_s: how long the rest may take once everything is whole again.
    """

    what: str
    faults: Faults
    limits: Callable[[Plan], Limits] = lambda _plan: Limits()
    times: int = 20
    services: tuple[str, ...] = ()
    proxied: bool = False
    after_end: bool = False
    recovers_within: Mapping[str, float] = field(default_factory=dict)
    drain_s: float = 60.0

    def too_slow(self, recovery: Recovery) -> list[str]:
        """Say in words which recovery took longer than it may."""
        found = []
        for name, most_s in self.recovers_within.items():
            took_s = getattr(recovery, name)
            if took_s is not None and took_s > most_s:
                found.append(f"{name.removesuffix('_s')} again after {took_s:.1f} s (at most {most_s:g} s)")
        return found


async def _kill(rig: Rig, service: str) -> None:
    """Kill one process of a service at a time, and start it again a moment later."""
    async for _ in rig.every():
        await rig.bounce(service, rig.draw.randrange(rig.plan.processes), rig.draw.uniform(0.0, 1.0))


async def _kill_store(rig: Rig) -> None:
    async for _ in rig.every(0.8):
        await rig.bounce("store", 0, rig.draw.uniform(0.2, 2.0))


async def _kill_broker(rig: Rig) -> None:
    """Kill the broker and delete everything that it had written."""
    async for _ in rig.every(0.8):
        begin = time.time()
        await rig.stack.kill("broker")
        for file in rig.stack.broker.folder.glob("*.db*"):
            file.unlink()
        await asyncio.sleep(rig.draw.uniform(0.2, 2.0))
        await rig.stack.restart(rig.stack.broker)
        rig.note("SIGKILL, state deleted", "broker", begin)


def _killed_channel_limits(service: str, plan: Plan) -> Limits:
    # The services' own defaults; push has connections for fifty sends, realtime's inbox knows what it has.
    concurrency = {"email": 10, "sms": 10, "push": 50, "realtime": 0}[service]
    return Limits({Harm.DUPLICATE: plan.faults * concurrency}, duplicate_share=0.001)


SCENARIOS: dict[str, Scenario] = {
    "router-kill": Scenario(
        "router SIGKILL, two routers",
        partial(_kill, service="router"),
        recovers_within={"accepting_s": 2.0},
    ),
    **{
        f"{service}-kill": Scenario(
            f"{service} SIGKILL, two processes",
            partial(_kill, service=service),
            limits=partial(_killed_channel_limits, service),
            recovers_within={"retaken_s": 3.0},
        )
        for service in ("email", "sms", "push", "realtime")
    },
    "store-kill": Scenario(
        "Redis SIGKILL (AOF everysec)",
        _kill_store,
        times=5,
        limits=lambda plan: Limits({Harm.DUPLICATE: plan.faults * 70}),
        after_end=True,
        recovers_within={"flowing_s": 5.0},
    ),
    "broker-kill": Scenario(
        "broker SIGKILL, its state deleted",
        _kill_broker,
        times=5,
        after_end=True,
        recovers_within={"flowing_s": 10.0},
    ),
}


def sized(scenario: Scenario, plan: Plan) -> Plan:
    """Return the plan of a run with this scenario's number of faults and services."""
    return replace(plan, faults=plan.faults or scenario.times, services=scenario.services or plan.services)

"""The faults of a store with replicas: a master is lost for good, and everything with a receipt must be on its replica.

Every write with an answer waits for one replica (``REDIS_WAIT_REPLICAS``), and there is only one. So after the loss of
a master, nothing of its part is accepted until it is back as the new master's replica. Nothing may be lost.
"""

import asyncio
import time

from tests.chaos.checker import Harm, Limits
from tests.chaos.rig import Plan, Rig
from tests.chaos.scenarios import CONCURRENCY, Scenario
from tests.redis_sets import ClusterSet, SentinelSet

# The promoted replica serves reads at once. Writes wait for the lost master to come back.
_AWAY_S = (0.5, 2.0)


async def _replace_master(rig: Rig) -> None:
    """Kill the master, have the Sentinels promote its replica, and bring it back as a replica."""
    servers = rig.store_set
    assert isinstance(servers, SentinelSet)
    async for _ in rig.every(0.8):
        begin = time.time()
        await servers.master.kill()
        await servers.promoted()
        promoted_s = time.time() - begin
        await asyncio.sleep(rig.draw.uniform(*_AWAY_S))
        await servers.rejoin()
        rig.note(f"SIGKILL, replica promoted after {promoted_s:.1f} s", "master", begin)


async def _replace_master_of_cluster(rig: Rig) -> None:
    """The same with one master after the other of a cluster."""
    servers = rig.store_set
    assert isinstance(servers, ClusterSet)
    async for number in rig.every(0.8):
        which, begin = number % len(servers.masters), time.time()
        await servers.masters[which].kill()
        await servers.promoted(which)
        promoted_s = time.time() - begin
        await asyncio.sleep(rig.draw.uniform(*_AWAY_S))
        await servers.rejoin(which)
        rig.note(f"SIGKILL, replica promoted after {promoted_s:.1f} s", f"master-{which}", begin)


def _limits(plan: Plan) -> Limits:
    """Allow repeats of what was in hand: claims and outcomes wait for no replica, and a lost one is made again."""
    in_hand = plan.processes * sum(CONCURRENCY[service] for service in plan.services)
    return Limits({Harm.DUPLICATE: plan.faults * in_hand})


STORE_SCENARIOS: dict[str, Scenario] = {
    "replica-promoted": Scenario(
        "Redis master SIGKILL, Sentinels promote its replica",
        _replace_master,
        limits=_limits,
        times=5,
        after_end=True,
        recovers_within={"flowing_s": 10.0},
        store_set=SentinelSet,
    ),
    "cluster-master-kill": Scenario(
        "Redis Cluster: a master SIGKILL, its replica promoted",
        _replace_master_of_cluster,
        limits=_limits,
        times=6,
        after_end=True,
        recovers_within={"flowing_s": 10.0},
        store_set=ClusterSet,
    ),
}

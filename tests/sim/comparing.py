"""Runs a world in the system, and compares with what was reckoned."""

from dataclasses import dataclass

from tests.sim.outcome import Outcome, differences
from tests.sim.system import SimulatedStore, System
from tests.sim.world import World


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of a world.

    Attributes:
        told: how many different things there are to tell: of whom, what, and how it ended.
        differences: what one of both tells and the other does not, and what has no end.
    """

    events: int
    rows: int
    told: int
    differences: list[str]


async def compare(store_url: str, world: World, reckoned: Outcome) -> Comparison:
    """Run a world in an empty store."""
    async with SimulatedStore(store_url) as store:
        system = System(store, world)
        found = await system.run()
        left = [f"left over: {count} in {where}" for where, count in (await system.left_over()).items()]
    return Comparison(len(world.events), system.rows, len(reckoned.times), left + list(differences(found, reckoned)))

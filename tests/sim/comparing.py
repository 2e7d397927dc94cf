"""Runs a world in the system and in the reckoning, and compares."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.sim.outcome import differences
from tests.sim.reckoning import Calendar, Reckoning
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


async def compare(store_url: str, make: Callable[[], World], calendar: Calendar | None = None) -> Comparison:
    """Run a world in an empty store.

    Args:
        make: makes the world, each time the same: both change it.
    """
    world = make()
    async with SimulatedStore(store_url) as store:
        system = System(store, world)
        found = await system.run()
        left = [f"left over: {count} in {where}" for where, count in (await system.left_over()).items()]
    reckoned = Reckoning(make(), calendar).run()
    return Comparison(len(world.events), system.rows, len(reckoned.times), left + list(differences(found, reckoned)))

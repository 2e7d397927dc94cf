"""A year of a thousand people: who heard what when equals an independent reckoning. ``python -m tests.sim --help``.

The people are simulated in parts, each with a store's database of its own, side by side. The exit status is 1 where the
system and the reckoning differ.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from carillon.local.ports import LOOPBACK, free_port
from carillon.local.servers import local_store
from tests.sim.comparing import Comparison, compare
from tests.sim.outcome import Outcome
from tests.sim.reckoning import Calendar, Reckoning
from tests.sim.world import World, make

# People of one part: they share a clock, and each moment of theirs waits for the one before.
PART = 25
DIFFERENCES_SHOWN = 20


async def _run(worlds: Sequence[World], reckoned: Sequence[Outcome]) -> list[Comparison]:
    """Run worlds in a store of their own."""
    with tempfile.TemporaryDirectory(prefix="carillon-year-") as folder:
        server = local_store(Path(folder), free_port(), embedded=False, databases=len(worlds))
        # Nobody needs it when the program has ended, and to wait for the disk takes most of the time.
        server.command += ["--appendonly", "no"]
        await server.start()
        try:
            urls = [f"redis://{LOOPBACK}:{server.port}/{database}" for database in range(len(worlds))]
            return await asyncio.gather(*map(compare, urls, worlds, reckoned))
        finally:
            await server.stop()


def _work(numbers: Sequence[int], options: Namespace) -> list[Comparison]:
    worlds = [make(PART, options.days, options.seed + number, options.bursts) for number in numbers]
    calendar = Calendar(worlds[0].begin_ms, worlds[0].end_ms)
    # Before the others run: it takes longer than an exchange with the store may.
    reckoned = [Reckoning(world, calendar).run() for world in worlds]
    return asyncio.run(_run(worlds, reckoned))


def main() -> int:
    """Simulate, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--days", type=int, default=366)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--bursts", type=float, default=10, help="how often in a year a person hears some times in a row"
    )
    options = parser.parse_args()
    processes = os.cpu_count() or 1
    parts = list(range(-(-options.people // PART)))
    began_s = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        shares = [parts[number::processes] for number in range(processes)]
        work = partial(_work, options=options)
        found = list(chain.from_iterable(pool.map(work, filter(None, shares))))
    differences = list(chain.from_iterable(each.differences for each in found))
    print(  # noqa: T201
        f"{len(parts) * PART} people, {options.days} days: {sum(each.events for each in found):,} events, "
        f"{sum(each.rows for each in found):,} rows, {sum(each.told for each in found):,} ends compared, "
        f"{len(differences)} differences, {time.monotonic() - began_s:.0f} s"
    )
    for each in differences[:DIFFERENCES_SHOWN]:
        print(each)  # noqa: T201
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

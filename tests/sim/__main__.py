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
from tests.sim.reckoning import Calendar
from tests.sim.world import make

# People of one part: they share a clock, and each moment of theirs waits for the one before.
PART = 25
DIFFERENCES_SHOWN = 20


async def _parts(numbers: Sequence[int], options: Namespace) -> list[Comparison]:
    """Simulate some parts in a store of their own."""
    with tempfile.TemporaryDirectory(prefix="carillon-year-") as folder:
        server = local_store(Path(folder), free_port(), embedded=False, databases=len(numbers))
        await server.start()
        try:
            calendar: Calendar | None = None
            running = []
            for database, number in enumerate(numbers):
                world = partial(make, PART, options.days, options.seed + number, options.bursts)
                if calendar is None:
                    first = world()
                    calendar = Calendar(first.begin_ms, first.end_ms)
                running.append(compare(f"redis://{LOOPBACK}:{server.port}/{database}", world, calendar))
            return await asyncio.gather(*running)
        finally:
            await server.stop()


def _work(numbers: Sequence[int], options: Namespace) -> list[Comparison]:
    return asyncio.run(_parts(numbers, options))


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

"""Plays faults against a system on this machine: ``make chaos``, or ``python -m tests.chaos --help``.

Prints one table for docs/explanation/reliability.md. Ends with 0 when every scenario stayed within its limits, with 1
otherwise.
"""

import argparse
import asyncio
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.attention_scenarios import ATTENTION_SCENARIOS
from tests.chaos.escalation_scenarios import ESCALATION_SCENARIOS
from tests.chaos.poison_scenarios import POISON_SCENARIOS
from tests.chaos.rig import Plan
from tests.chaos.runner import Result, examples, play
from tests.chaos.scenarios import SCENARIOS, sized
from tests.chaos.store_scenarios import STORE_SCENARIOS

_ALL = SCENARIOS | POISON_SCENARIOS | ATTENTION_SCENARIOS | ESCALATION_SCENARIOS | STORE_SCENARIOS

_HEAD = (
    "| fault | played | published | lost | twice | duplicates at providers | taken over | accepting again "
    "| flowing again | longest wait for a receipt | taken over after the lease | verdict |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def _row(result: Result) -> str:
    verdict, found = result.verdict, result.recovery
    cells = [
        result.scenario.what,
        f"{result.faults} times",
        f"{verdict.published:,}",
        f"{verdict.lost}",
        f"{verdict.twice}",
        f"{verdict.duplicates} of {verdict.effects:,}",
        f"{verdict.retaken}",
        _seconds(found.accepting_s),
        _seconds(found.flowing_s),
        _seconds(found.receipt_s),
        _seconds(found.retaken_s),
        "; ".join([*result.notes, *(result.broken or ["reached"])]),
    ]
    return f"| {' | '.join(cells)} |"


def _seconds(took_s: float | None) -> str:
    return "-" if took_s is None else f"{took_s:.2f} s"


async def _play_all(names: Sequence[str], plan: Plan, keep: Path | None) -> bool:
    reached = True
    sys.stdout.write(f"{_HEAD}\n")
    for name in names:
        scenario = _ALL[name]
        folder = Path(tempfile.mkdtemp(prefix=f"carillon-chaos-{name}-", dir=keep))
        try:
            result = await play(scenario, sized(scenario, plan), folder)
        finally:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.write(f"{_row(result)}\n")
        sys.stdout.flush()
        for line in [f"{name}: {result.took_s:.0f} s", *result.broken, *examples(result.verdict)]:
            sys.stderr.write(f"{line}\n")
        reached = reached and not result.broken
    return reached


def main() -> None:
    """Play what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--notifications", type=int, default=20_000, help="published in each scenario")
    parser.add_argument("--per-second", type=float, default=Plan().per_second, help="how fast at most")
    parser.add_argument("--faults", type=int, default=0, help="how often each fault is played; 0: as the table says")
    parser.add_argument("--seed", type=int, default=1, help="of traffic and schedule")
    parser.add_argument("--scenario", action="append", choices=list(_ALL), help="one of them; may be repeated")
    parser.add_argument("--keep", type=Path, help="leave journals, logs and data in this folder")
    options = parser.parse_args()
    plan = Plan(options.notifications, options.per_second, options.faults, options.seed)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, load before: "
        f"{os.getloadavg()[0]:.1f}, seed {plan.seed}, {plan.notifications:,} notifications, "
        f"at most {plan.per_second:g} / s each\n\n"
    )
    reached = asyncio.run(_play_all(options.scenario or list(_ALL), plan, options.keep))
    raise SystemExit(0 if reached else 1)


if __name__ == "__main__":
    main()

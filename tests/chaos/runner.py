"""Runs a scenario from start to verdict."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.checker import Harm, Verdict, check
from tests.chaos.recovery import Recovery, recovery
from tests.chaos.rig import Plan, running
from tests.chaos.scenarios import Scenario


@dataclass(slots=True)
class Result:
    """What came of a run.

    Attributes:
        broken: everything that was not reached, in words.
    """

    scenario: Scenario
    plan: Plan
    verdict: Verdict
    recovery: Recovery
    faults: int
    took_s: float
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


async def play(scenario: Scenario, plan: Plan, folder: Path) -> Result:
    """Play a scenario in an empty folder, and judge it."""
    started_s = time.monotonic()
    async with running(
        folder,
        plan,
        proxied=scenario.proxied,
        ttl_s=scenario.ttl_s(plan) if scenario.ttl_s else None,
        processes=scenario.processes,
        prepare=scenario.prepare,
    ) as rig:
        async with asyncio.TaskGroup() as group:
            group.create_task(rig.published(), name="published")
            group.create_task(scenario.faults(rig), name="faults")
        await rig.settled(scenario.drain_s)
        evidence = await rig.evidence()
        verdict = check(evidence, scenario.limits(plan))
        broken = list(scenario.judge(rig, evidence, verdict)) if scenario.judge else []
    found = recovery(evidence, after_end=scenario.after_end)
    broken += [*verdict.broken, *scenario.too_slow(found)]
    if not evidence.faults:
        broken.append("no fault was played")
    took_s = time.monotonic() - started_s
    return Result(scenario, plan, verdict, found, len(evidence.faults), took_s, rig.notes, broken)


def examples(verdict: Verdict) -> list[str]:
    """Return a line for each example of a harm that a limit forbids."""
    return [
        f"  {harm}: {example}"
        for harm in Harm
        for example in verdict.examples.get(harm, [])
        if any(harm in line for line in verdict.broken)
    ]

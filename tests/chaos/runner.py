"""Runs a scenario from start to verdict."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.checker import Harm, Verdict, check
from tests.chaos.recovery import Recovery, publishing_ended_at, recovery
from tests.chaos.rig import Plan, running
from tests.chaos.scenarios import Scenario


@dataclass(slots=True)
class Result:
    """What came of a run.

    Attributes:
        faults: how many were played while notifications flowed.
        broken: every limit that was not kept, in words.
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
        mix=scenario.mix,
        processes=scenario.processes,
        prepare=scenario.prepare,
        store_set=scenario.store_set,
        own_relay=scenario.own_relay,
    ) as rig:
        async with asyncio.TaskGroup() as watch:
            supervisor = watch.create_task(rig.supervise(), name="supervise")
            async with asyncio.TaskGroup() as group:
                group.create_task(rig.published(), name="published")
                group.create_task(scenario.faults(rig), name="faults")
            await rig.settled(scenario.drain_s)
            supervisor.cancel()
        complaint = await rig.audit()
        evidence = await rig.evidence()
        verdict = check(evidence, scenario.limits(plan))
        broken = list(scenario.judge(rig, evidence, verdict)) if scenario.judge else []
    found = recovery(evidence, after_end=scenario.after_end)
    broken += [*verdict.broken, *scenario.too_slow(found)]
    if complaint:
        broken.append(f"carillon audit: {complaint}")
    if not scenario.may_end:
        broken += rig.ended
    if not evidence.faults:
        broken.append("no fault was played")
    took_s = time.monotonic() - started_s
    # A fault after everything was published shows nothing.
    played = sum(fault.begin <= publishing_ended_at(evidence) for fault in evidence.faults)
    return Result(scenario, plan, verdict, found, played, took_s, rig.notes, broken)


def examples(verdict: Verdict) -> list[str]:
    """Return a line for each example of a harm that a limit forbids."""
    return [
        f"  {harm}: {example}"
        for harm in Harm
        for example in verdict.examples.get(harm, [])
        if any(harm in line for line in verdict.broken)
    ]

"""Nothing with a receipt is lost with a master: a short version of the scenarios of a store with replicas."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.rig import Plan
from tests.chaos.runner import examples, play
from tests.chaos.scenarios import sized
from tests.chaos.store_scenarios import STORE_SCENARIOS

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

_SMALL = Plan(notifications=600, per_second=50, faults=1, seed=7, services=("realtime", "email"), attempt_deadline_s=2)

_PLANS = {"replica-promoted": _SMALL, "cluster-master-kill": replace(_SMALL, seed=8)}


@pytest.mark.parametrize("name", STORE_SCENARIOS)
async def test_nothing_is_lost_with_a_master(name: str, tmp_path: Path) -> None:
    scenario = STORE_SCENARIOS[name]
    result = await play(scenario, sized(scenario, _PLANS[name]), tmp_path)
    assert result.broken == [], "\n".join(examples(result.verdict))
    assert result.verdict.lost == 0

"""Nothing is lost when processes die: a short version of every scenario that ``make chaos`` plays."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.attention_scenarios import ATTENTION_SCENARIOS
from tests.chaos.escalation_scenarios import ESCALATION_SCENARIOS
from tests.chaos.poison_scenarios import POISON_SCENARIOS
from tests.chaos.rig import Plan
from tests.chaos.runner import examples, play
from tests.chaos.scenarios import SCENARIOS, sized
from tests.warm_start import from_scratch

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

# Providers are slow, so that what is killed has something in hand; one process alone can cope all the same.
_SMALL = Plan(notifications=200, per_second=40, seed=7, answer_s=0.1, attempt_deadline_s=2)
# Where the store stays, a dead worker's claims may lapse soon.
_BRISK = replace(_SMALL, lease_margin_s=2)

_SCENARIOS = SCENARIOS | POISON_SCENARIOS | ATTENTION_SCENARIOS | ESCALATION_SCENARIOS
_PLANS = {
    "router-kill": replace(_BRISK, faults=2, services=("realtime",)),
    "email-kill": replace(_BRISK, faults=2, services=("email",)),
    "sms-kill": replace(_BRISK, faults=2, services=("sms",)),
    "push-kill": replace(_BRISK, faults=2, services=("push",)),
    "realtime-kill": replace(_BRISK, faults=2, services=("realtime",)),
    "store-kill": replace(_SMALL, faults=2, services=("realtime", "email")),
    "broker-kill": replace(_SMALL, faults=2, services=("realtime", "email")),
    # Slow enough to cut every link once.
    "links": replace(_SMALL, faults=1, services=("email",), per_second=15),
    # On a busy machine, attempts could miss their deadline by themselves and cause other duplicates.
    "worker-stop": replace(_BRISK, faults=1, services=("email",), attempt_deadline_s=3),
    "router-stop": replace(_BRISK, faults=1, services=("realtime",)),
    "provider-down": replace(_SMALL, services=("email", "push")),
    # Slow enough to become sure that everybody is refused.
    "relay-refuses-all": replace(_SMALL, per_second=20),
    "poison": replace(_SMALL, services=("email", "sms")),
    # A huge mail takes long on a busy machine, and one whose attempt is given up is sent again.
    "poison-row": replace(_SMALL, faults=6, services=("email", "sms"), attempt_deadline_s=10),
    "rolling": replace(_SMALL, services=("email",)),
    "same-publish": replace(_SMALL, services=("realtime",)),
    "clock": replace(_SMALL, services=("email", "realtime")),
    "hold-kill": replace(_BRISK, faults=2, services=("realtime", "email")),
    "digest-kill": replace(_BRISK, faults=3, services=("realtime", "email")),
    "throttle-kill": replace(_BRISK, faults=3, services=("realtime", "email")),
    "escalation-kill": replace(_BRISK, notifications=16, per_second=4, faults=3, services=("realtime", "email")),
}


def test_every_scenario_has_a_short_version() -> None:
    assert _PLANS.keys() == _SCENARIOS.keys()


@pytest.mark.parametrize("name", _PLANS)
async def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    scenario = _SCENARIOS[name]
    # The poisonous ones are held to their pods' memory.
    with from_scratch() if name in POISON_SCENARIOS else nullcontext():
        result = await play(scenario, sized(scenario, _PLANS[name]), tmp_path)
    assert result.broken == [], "\n".join([*examples(result.verdict), *result.notes])

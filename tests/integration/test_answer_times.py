"""How long alerts wait for an answer is counted once each, by their level, and drills are left out."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from shared.core.incidents import Way
from shared.ledger.alerts import Answered
from tests.conftest import EmptyStore
from tests.incident_bench import BEGIN_MS, Bench
from tests.sim.system import SimulatedStore

pytestmark = pytest.mark.real_store


@pytest_asyncio.fixture
async def bench(store: EmptyStore) -> AsyncIterator[Bench]:
    async with SimulatedStore(store.url) as opened:
        bench = await Bench(opened).begin()
        await bench.people("ada", "ben")
        await bench.on_call("disk", {"users": ["ada", "ben"]})
        yield bench


class Counted:
    """What is counted from now on."""

    def __init__(self) -> None:
        self._before = {name: self._read(name) for name in ("acknowledged", "resolved")}

    def _read(self, name: str, severity: str = "critical") -> tuple[float, float]:
        stem = f"carillon_alert_{name}_seconds"
        count, total = (
            REGISTRY.get_sample_value(f"{stem}_{part}", {"severity": severity}) or 0.0 for part in ("count", "sum")
        )
        return count, total

    def of(self, name: str) -> tuple[float, float]:
        """How many critical alerts, and how many seconds they took together."""
        now, before = self._read(name), self._before[name]
        return now[0] - before[0], round(now[1] - before[1], 3)


async def test_the_first_acknowledgement_and_the_end_are_counted_once(bench: Bench) -> None:
    counted = Counted()
    _, incident = await bench.alert("disk")
    await bench.run(90)
    assert await bench.answering.acknowledge(incident, "ada") is Answered.DONE
    await bench.run(120)
    assert await bench.answering.acknowledge(incident, "ben") is Answered.AGAIN
    assert (counted.of("acknowledged"), counted.of("resolved")) == ((1, 90), (0, 0))
    await bench.run(600)
    assert await bench.answering.over(incident, "-", way=Way.MQTT) is Answered.DONE
    assert await bench.answering.resolve(incident, "ada") is Answered.AGAIN
    assert (counted.of("acknowledged"), counted.of("resolved")) == ((1, 90), (1, 600))


async def test_an_answer_of_a_later_turn_is_not_the_first(bench: Bench) -> None:
    counted = Counted()
    _, incident = await bench.alert("disk")
    await bench.run(10)
    assert await bench.answering.snooze(incident, "ada", BEGIN_MS + 60_000) is Answered.DONE
    assert await bench.answering.reassign(incident, "ada", "user:ben") is Answered.DONE
    await bench.run(30)
    assert await bench.answering.acknowledge(incident, "ben") is Answered.DONE
    assert counted.of("acknowledged") == (0, 0)


async def test_refused_answers_and_drills_are_not_counted(bench: Bench) -> None:
    counted = Counted()
    _, incident = await bench.alert("disk")
    _, drill = await bench.alert("disk", source="drill", dedup_key="drill:1")
    await bench.run(5)
    assert await bench.answering.acknowledge(incident, "nobody") is Answered.NOT_TOLD
    assert await bench.answering.acknowledge(drill, "ada") is Answered.DONE
    assert await bench.answering.over(drill, "-") is Answered.DONE
    assert (counted.of("acknowledged"), counted.of("resolved")) == ((0, 0), (0, 0))


async def test_open_incidents_are_counted_by_where_they_stand(bench: Bench) -> None:
    ids = [(await bench.alert("disk", dedup_key=str(number)))[1] for number in range(4)]
    await bench.run(5)
    await bench.answering.acknowledge(ids[0], "ada")
    await bench.answering.snooze(ids[1], "ada", BEGIN_MS + 3_600_000)
    await bench.answering.resolve(ids[2], "ada")
    assert dict(await bench.incidents.counts()) == {"open": 1, "acknowledged": 1, "snoozed": 1}

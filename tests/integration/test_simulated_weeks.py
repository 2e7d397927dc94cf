"""Weeks in which clocks change, for people in many zones: who heard what when equals an independent reckoning.

``python -m tests.sim`` does the same for a year and a thousand people.
"""

from datetime import UTC, datetime

import pytest

from tests.conftest import EmptyStore
from tests.sim.comparing import compare
from tests.sim.reckoning import Reckoning
from tests.sim.world import make

pytestmark = pytest.mark.real_store


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    [
        # To summer in Europe and Egypt, to winter in Australia, New Zealand and Chile.
        datetime(2040, 3, 20, tzinfo=UTC),
        # To winter in Europe and North America.
        datetime(2040, 10, 20, tzinfo=UTC),
    ],
    ids=lambda begin: f"{begin:%B-%d}",
)
async def test_people_hear_what_an_independent_reckoning_says(store: EmptyStore, begin: datetime) -> None:
    world = make(people=20, days=20, seed=begin.month, bursts=100, begin=begin)
    found = await compare(store.url, world, Reckoning(world).run())

    assert found.differences == []
    assert found.told > 1000

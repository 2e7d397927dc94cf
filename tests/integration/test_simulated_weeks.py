"""Weeks in which clocks change, for people in many zones: who heard what when equals an independent reckoning.

``python -m tests.sim`` does the same for a year and a thousand people.
"""

from datetime import UTC, datetime
from functools import partial

import pytest

from tests.conftest import EmptyStore
from tests.sim.comparing import compare
from tests.sim.world import make

pytestmark = pytest.mark.real_store


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    [
        datetime(2040, 3, 9, tzinfo=UTC),  # to summer in North America and Europe
        datetime(2040, 3, 26, tzinfo=UTC),  # to winter in Chile, Australia and New Zealand
        datetime(2040, 10, 20, tzinfo=UTC),  # to winter in Europe and North America
    ],
    ids=lambda begin: f"{begin:%B-%d}",
)
async def test_people_hear_what_an_independent_reckoning_says(store: EmptyStore, begin: datetime) -> None:
    found = await compare(store.url, partial(make, 25, 18, begin.month + begin.day, 120, begin))

    assert found.differences == []
    assert found.told > 1000

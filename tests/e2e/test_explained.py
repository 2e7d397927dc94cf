"""What ``carillon explain`` says is what then happens, for generated notifications and people.

A few hundred by default. For more: ``CARILLON_EXPLAINED=10000 python -m pytest tests/e2e/test_explained.py -s``; with
``CARILLON_EXPLAINED_SEED`` the same ones again.
"""

import os
import random
from time import monotonic

import pytest

from carillon.local.stack import Stack
from tests.explained import SETTINGS, comparing

pytestmark = [pytest.mark.real_store, pytest.mark.real_broker, pytest.mark.asyncio(loop_scope="session")]

COUNT = int(os.environ.get("CARILLON_EXPLAINED", "240"))
SEED = int(os.environ.get("CARILLON_EXPLAINED_SEED") or random.SystemRandom().getrandbits(32))


@pytest.mark.timeout(3600 if COUNT > 1000 else 120)
async def test_explain_equals_what_then_happens(tmp_path_factory: pytest.TempPathFactory) -> None:
    stack = Stack(tmp_path_factory.mktemp("explained"), settings=SETTINGS)
    try:
        await stack.start()
        began = monotonic()
        async with comparing(stack.broker.url, stack.environment["REDIS_URL"], SEED) as comparison:
            result = await comparison.run(COUNT, people=COUNT // 2)
    finally:
        await stack.stop()
    print(  # noqa: T201 - shown with -s
        f"\nseed {SEED}: {result.notifications} notifications, {result.people} people, {monotonic() - began:.0f} s;"
        f" {dict(result.verdicts)}"
    )
    for one in result.differences[:20]:
        print(one)  # noqa: T201 - as above
    assert not result.differences, f"seed {SEED}: {len(result.differences)} differ, such as {result.differences[0]}"

"""A storm of alerts, told in groups: few messages, each alert traced to the incident that told it."""

from collections.abc import Callable

import pytest

from carillon.local.stack import Stack
from tests.command_line import CommandLine
from tests.load.backlog import slow_relay
from tests.load.storm import Size, measure_storm

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

_SIZE = Size(alerts=300, kinds=6, lasts_s=5, wait_s=1, interval_s=3)
# The wish is two seconds; the machine of the tests is busy.
_PATIENCE_MS = 5_000


async def test_a_storm_is_told_in_groups_and_keeps_nobody_waiting(new_stack: Callable[..., Stack]) -> None:
    async with slow_relay() as (relay, settings):
        stack = new_stack(("router", "email", "realtime"), settings=settings)
        await stack.start()
        found = await measure_storm(stack, relay, _SIZE)
        alert, incident = next(pair for pair in found.told_by.items() if pair[0] != pair[1])
        traced = await CommandLine(stack.data)("trace", alert)
    # The first message of each kind, and those that tell what is new.
    assert all(2 * _SIZE.kinds <= count <= found.most for count in found.messages.values()), found.messages
    assert (found.incidents, found.untold) == (_SIZE.kinds, [])
    assert f"in the incident {incident}" in traced.out
    assert max(found.probes_ms) < _PATIENCE_MS

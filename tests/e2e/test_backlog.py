"""A backlog of mails at a slow relay, with real processes: it waits in the ledger, and what is urgent goes past it."""

import asyncio
import os
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from carillon.local.stack import Stack
from carillon.publisher import Publisher
from shared.core.model import Priority
from shared.ledger.audit import Audit, Depth
from shared.ledger.backlog import SHARED_ROWS, WINDOW_ROWS
from shared.store.keys import SHARDS, Keys
from shared.store.store import Store
from tests.load.backlog import slow_relay
from tests.waiting import eventually

pytestmark = [pytest.mark.real_store, pytest.mark.real_broker]

MAILS = 1_200
BATCH = 200
# Each shard's own part, and what the routers have given to those where something waits.
MOST_HANDED_OVER = WINDOW_ROWS + SHARED_ROWS


async def _size(store: Store, name: str, priority: Priority = Priority.HIGH) -> int:
    asked = (store.submit("ZCARD", f"{Keys().shard(shard)}:{name}:email:{priority}") for shard in range(SHARDS))
    return sum(await asyncio.gather(*asked))


async def _open(store: Store) -> int:
    return sum(
        await asyncio.gather(*(store.submit("ZCARD", f"{Keys().shard(shard)}:due:email") for shard in range(SHARDS)))
    )


def _mails(first: int) -> dict[str, object]:
    return {
        "emails": [
            {"to": f"user{number}@example.com", "subject": "Report", "body": "Attached.", "priority": "high"}
            for number in range(first, first + BATCH)
        ]
    }


async def test_a_backlog_waits_in_the_ledger_and_a_killed_router_loses_none_of_it(tmp_path: Path) -> None:
    async with slow_relay() as (relay, settings):
        stack = Stack(tmp_path, services=("router", "email"), settings=settings)
        await stack.start()
        try:
            await stack.start_service("router", 1)
            async with Publisher(stack.broker.url) as publisher, Store(stack.store.url) as store:
                most = waited = 0

                async def some_taken() -> bool:
                    nonlocal most, waited
                    most, waited = max(most, await _size(store, "out")), max(waited, await _size(store, "ready"))
                    return relay.taken > MAILS // 4

                async with asyncio.TaskGroup() as group:
                    group.create_task(eventually(some_taken, within_s=60), name="watch")
                    for first in range(0, MAILS, BATCH):
                        group.create_task(publisher.publish("notifications/email/batch", _mails(first)), name="mails")
                assert 0 < most <= MOST_HANDED_OVER
                assert waited > 0
                # One mail that is more urgent goes past all that wait.
                urgent = {"to": "oncall@example.com", "subject": "Disk full", "body": "Look.", "priority": "critical"}
                arrived = relay.probes["oncall@example.com"] = asyncio.get_running_loop().create_future()
                await publisher.publish("notifications/email/send", urgent)
                await asyncio.wait_for(arrived, 10)
                assert relay.taken < MAILS
                pid = stack.child("router").pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)

                async def all_ended() -> bool:
                    return await _open(store) == 0

                await eventually(all_ended, within_s=120)
                assert relay.taken == MAILS + 1
                for name in ("ready", "fair"):
                    assert await store.command("KEYS", f"*:{name}:email:*") == []
                report = await Audit(store, Keys(), 86400).run(timedelta(minutes=10), Depth.RECORDS)
                assert report.findings == []
                assert Counter(relay.recipients)["oncall@example.com"] == 1
                assert max(Counter(relay.recipients).values()) == 1
        finally:
            await stack.stop()

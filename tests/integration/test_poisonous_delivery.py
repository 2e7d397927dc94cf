"""A delivery that kills every process that takes it, among deliveries that harm nobody."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from carillon.local.servers import LocalServer
from services.router.upkeep.sweeper import sweep_forever
from shared.core.clock import SystemClock
from shared.core.errors import Reason
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State
from shared.core.topics import Topics
from shared.ledger.jobs import jobs_of, settled
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.ledger.reader import Trace
from shared.mqtt.address import BrokerAddress
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.dying_worker import POISON
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

ROOT = Path(__file__).parents[2]
PROCESSES = 2
NEIGHBOURS = 30
# As claim.lua has it.
MOST_LAPSES = 5


@dataclass
class Workers:
    """Processes that are started again when they end."""

    options: str
    deaths: int = 0
    running: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def keep_one(self) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.dying_worker", self.options), cwd=ROOT
            )
            self.running.append(process)
            try:
                await process.wait()
                self.deaths += 1
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


@asynccontextmanager
async def workers(options: dict[str, object]) -> AsyncIterator[Workers]:
    made = Workers(json.dumps(options))
    tasks = [asyncio.create_task(made.keep_one(), name=f"worker-{number}") for number in range(PROCESSES)]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def record(*keys: str) -> NewRecord:
    now_ms = round(time.time() * 1000)
    notification = Notification(
        id=new_notification_id(), kind="email_send", priority=Priority.CRITICAL, accepted_ms=now_ms,
        content=Content(title="Subject", message="Body"),
    )  # fmt: skip
    rows = [
        NewRow(
            Delivery(
                key=key, channel=Channel.EMAIL, priority=Priority.CRITICAL, expires_ms=now_ms + 600_000,
                address=EmailAddress(email="user@example.com"),
            )
        )
        for key in keys
    ]  # fmt: skip
    return NewRecord(notification, rows)


@pytest.mark.timeout(180)
async def test_what_is_in_the_same_hands_is_delivered_and_what_kills_ends_as_a_dead_letter(
    broker: LocalServer, store: EmptyStore, topic_prefix: str
) -> None:
    topics, address = Topics(topic_prefix), BrokerAddress.parse(broker.url)
    options = {"store": store.url, "broker": broker.url, "prefix": topic_prefix, "lease_s": 1}
    keys = sorted([POISON, *(f"email:{number:02}" for number in range(NEIGHBOURS))])
    async with Store(store.url) as opened, workers(options) as processes:
        ledger, trace = Ledger(opened, Keys(), record_retention_s=600), Trace(opened, Keys())
        link = BrokerLink(
            address, f"{topic_prefix.rstrip('/')}-router", filters=[], serve=lambda _: asyncio.sleep(3600)
        )
        tasks = [
            asyncio.create_task(link.run(), name="link"),
            asyncio.create_task(sweep_forever(ledger.schedule, topics, link, SystemClock()), name="sweeper"),
        ]
        try:
            await link.wait_up()
            one = record(*keys)
            await ledger.accept(one)
            await settled((link.publish(*each) for each in jobs_of(topics, one.content, one.rows)), within_s=10)

            async def all_ended() -> bool:
                return not (await open_work(ledger.store, ledger.keys))["email"].count

            await eventually(all_ended, 120)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        rows = {row.key: row async for row in trace.rows(one.notification.id)}
        assert Counter(row.state for key, row in rows.items() if key != POISON) == {State.DELIVERED: NEIGHBOURS}
        assert (rows[POISON].state, rows[POISON].reason) == (State.DEAD_LETTERED, Reason.WORKER_DIED)
        assert rows[POISON].attempts_made == processes.deaths == MOST_LAPSES
        lapses = Counter(
            key for key, row in rows.items() for attempt in row.attempts if attempt.reason == Reason.LEASE_LAPSED
        )
        assert lapses.pop(POISON) == MOST_LAPSES
        # It took some along, and none of them as often as itself.
        assert 0 < max(lapses.values()) < MOST_LAPSES

"""A storm of alerts that are told in groups: what each person gets, and how long another critical alert takes."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from carillon.local.stack import Stack
from carillon.publisher import Publisher
from shared.core.errors import Reason
from shared.core.model import Channel, State
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger
from shared.ledger.reader import Trace
from shared.store.keys import Keys
from shared.store.store import Store
from tests.load.backlog import SlowRelay
from tests.waiting import eventually

_ON_CALL = ("first", "second")
_OTHER = "other@example.com"
_PROBE_EVERY_S, _PROBE_WITHIN_S = 1.0, 60.0
# A message of a group may be under way when it is counted.
_SETTLED_WITHIN_S = 30.0
_TRACED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Storm:
    """What was measured.

    Attributes:
        publish_s: from the first publish to the last receipt.
        messages: by person, how many mails came; each may have ``most`` by what the policy says.
        untold: alerts whose trace names no incident that was told.
        told_by: the incident that told it, by alert; an incident's own is itself.
        probes_ms: how long critical alerts of another kind took to the relay meanwhile.
    """

    alerts: int
    kinds: int
    publish_s: float
    messages: Mapping[str, int]
    most: int
    untold: Sequence[str]
    told_by: Mapping[str, str]
    probes_ms: Sequence[float]

    @property
    def incidents(self) -> int:
        """How many told of all these alerts."""
        return len(set(self.told_by.values()))


@dataclass(frozen=True, slots=True)
class Size:
    """How large a storm is, and how its policy groups, seconds."""

    alerts: int
    kinds: int
    lasts_s: float
    wait_s: int
    interval_s: int

    @property
    def most_messages(self) -> int:
        """The first message of each kind, and one after each interval in which something new may have come."""
        return self.kinds * (1 + math.ceil(self.lasts_s / self.interval_s))


async def measure_storm(stack: Stack, relay: SlowRelay, size: Size) -> Storm:
    """Publish critical alerts of some kinds at a steady rate, and one of another kind every second."""
    async with Publisher(stack.broker.url) as publisher:
        await _prepare(publisher, size)
        storm = asyncio.create_task(_publish(publisher, size), name="storm")
        probes_ms: list[float] = []
        while not storm.done():
            probes_ms.append(await _probe(publisher, relay, len(probes_ms)))
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(storm), _PROBE_EVERY_S)
        ids, publish_s = storm.result()
        # What came last is told after one more interval.
        until_s = time.monotonic() + max(size.wait_s, size.interval_s)
        while time.monotonic() < until_s:
            probes_ms.append(await _probe(publisher, relay, len(probes_ms)))
            await asyncio.sleep(_PROBE_EVERY_S)
    async with Store(stack.environment["REDIS_URL"]) as store:
        ledger = Ledger(store, Keys())

        async def settled() -> bool:
            return not (await open_work(ledger.store, ledger.keys))[Channel.EMAIL].count

        await eventually(settled, _SETTLED_WITHIN_S, "every mail at the relay")
        told_by = await _traced(Trace(store, Keys()), ids)
    came = Counter(relay.recipients)
    return Storm(
        size.alerts,
        size.kinds,
        publish_s,
        {who: came[f"{who}@example.com"] for who in _ON_CALL},
        size.most_messages,
        [alert_id for alert_id in ids if alert_id not in told_by],
        told_by,
        probes_ms,
    )


async def _prepare(publisher: Publisher, size: Size) -> None:
    for who in (*_ON_CALL, "other"):
        await publisher.publish(f"directory/user/{who}", {"email": f"{who}@example.com"})
    notify = [f"user:{who}" for who in _ON_CALL]
    group = {"by": ["alert_type"], "wait": f"{size.wait_s}s", "interval": f"{size.interval_s}s"}
    await publisher.publish("directory/policy/storm", {"levels": [{"notify": notify}], "group": group})
    await publisher.publish("directory/policy/other", {"levels": [{"notify": ["user:other"]}]})
    for number in range(size.kinds):
        entry = {"users": list(_ON_CALL), "policy": "storm"}
        await publisher.publish(f"directory/oncall/storm{number}", entry)
    await publisher.publish("directory/oncall/other", {"users": ["other"], "policy": "other"})


async def _publish(publisher: Publisher, size: Size) -> tuple[list[str], float]:
    """Return the ids of all alerts, and how long it took."""
    began_s = time.monotonic()

    async def one(number: int) -> str:
        await asyncio.sleep(max(0.0, began_s + number * size.lasts_s / size.alerts - time.monotonic()))
        said = {"message": "The disk is full.", "source": f"node{number}", "dedup_key": f"storm/{number}"}
        receipt = await publisher.publish(
            f"notifications/alerts/critical/storm{number % size.kinds}", said, timeout_s=60
        )
        assert receipt.status == "accepted", receipt
        return str(receipt.notification_id)

    ids = await asyncio.gather(*map(one, range(size.alerts)))
    return ids, time.monotonic() - began_s


async def _probe(publisher: Publisher, relay: SlowRelay, number: int) -> float:
    """Return how long one critical alert of another kind took to the relay, ms."""
    arrived = relay.probes[_OTHER] = asyncio.get_running_loop().create_future()
    began_s = time.perf_counter()
    said = {"message": "The power is off.", "dedup_key": f"other/{number}"}
    await publisher.publish("notifications/alerts/critical/other", said, timeout_s=60)
    async with asyncio.timeout(_PROBE_WITHIN_S):
        arrived_s: float = await arrived
    return (arrived_s - began_s) * 1000


async def _traced(trace: Trace, ids: Sequence[str]) -> dict[str, str]:
    """Return which incident told of each alert, of those that were told."""
    groups: dict[str, str] = {}
    told: set[str] = set()

    async def look(alert_id: str) -> None:
        async for row in trace.rows(alert_id):
            if row.reason == Reason.GROUPED and row.digest is not None:
                groups[alert_id] = row.digest
            elif row.lane == Channel.EMAIL and row.state is State.DELIVERED:
                groups[alert_id] = alert_id
                told.add(alert_id)

    for first in range(0, len(ids), _TRACED_AT_ONCE):
        await asyncio.gather(*map(look, ids[first : first + _TRACED_AT_ONCE]))
    return {alert_id: group for alert_id, group in groups.items() if group in told}

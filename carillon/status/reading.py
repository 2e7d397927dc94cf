"""Reads whether Carillon is well.

    status = await read_status(store, keys, without=("sms",))
    status.well, status.troubles, status.services, status.lanes, status.providers, status.incidents, ...
    status_document(status)          # carillon.status.documents: as ``carillon status --json`` prints it

Promises that a look costs the same however many records there are. It reads counters, the ends of lists and what the
processes say of themselves: about a dozen exchanges with the store. It writes nothing. It does not ask the broker or a
process: a process that cannot reach the broker says so itself.
"""

from asyncio import gather
from collections import Counter
from collections.abc import Collection
from datetime import timedelta

from redis.exceptions import ResponseError

from carillon.local.ports import SERVICES
from carillon.status.providers import providers_of, read_pauses
from carillon.status.status import LOOKED_AT, DeadLately, OpenIncidents, Service, Status, StoreStatus
from carillon.status.thresholds import LATELY_S
from carillon.status.troubles import with_troubles
from shared.core.channels import ROUTER_LANE
from shared.core.clock import from_epoch_ms
from shared.core.model import Channel
from shared.ledger.audit import Audit
from shared.ledger.audit_results import AuditResults
from shared.ledger.dead_letters import DeadLetters
from shared.ledger.incidents import Incidents
from shared.ledger.lanes import read_lanes
from shared.runtime.alive import Processes, left_out
from shared.store.keys import Keys
from shared.store.replies import read_object
from shared.store.store import Store


async def read_status(store: Store, keys: Keys, *, without: Collection[str] = ()) -> Status:
    """Look once.

    Args:
        without: services that this system does without, beside the channels that its routers leave out.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    seconds, microseconds = await store.command("TIME")
    at = from_epoch_ms(int(seconds) * 1000 + int(microseconds) // 1000)
    lately = timedelta(seconds=LATELY_S)
    results = AuditResults(store, keys)
    (processes, lanes, accounts, (incidents, states), (dead, entries)), others = await gather(
        gather(
            Processes(store, keys).of(SERVICES),
            read_lanes(store, keys),
            Audit(store, keys, 0).accounts(lately),
            Incidents(store, keys).glance(LOOKED_AT),
            DeadLetters(store, keys).lately(at - lately, LOOKED_AT),
        ),
        gather(
            results.last(),
            results.last_periodic(),
            _gaps_in_a_day(store, keys),
            _store_status(store),
            read_pauses(store, keys),
        ),
    )
    last, periodic, gaps, kept, pauses = others
    without = {*without, *left_out(processes[ROUTER_LANE])}
    status = Status(
        at=at,
        services={name: Service(name, name in without, processes[name]) for name in SERVICES},
        lanes=lanes,
        lately=accounts,
        providers=[each for channel in Channel for each in providers_of(channel, processes[channel], pauses)],
        pauses=pauses,
        incidents=OpenIncidents(incidents, states),
        dead_letters=DeadLately(dead, Counter((each.lane, each.reason or "record_expired") for each in entries)),
        audit=last,
        periodic_audit=periodic,
        gaps_in_a_day=gaps,
        store=kept,
    )
    return with_troubles(status)


async def _gaps_in_a_day(store: Store, keys: Keys) -> int | None:
    try:
        found = read_object(await store.command("GET", f"{keys.oncall_watch}:result")).get("gaps")
        return int(found["24h"][0]) if isinstance(found, dict) else None
    except (ResponseError, KeyError, IndexError, TypeError, ValueError):
        return None


async def _store_status(store: Store) -> StoreStatus:
    try:
        memory, persistence = await gather(store.info("memory"), store.info("persistence"))
    except ResponseError:
        return StoreStatus()
    return StoreStatus(
        known=True,
        evicts=any(server.get("maxmemory_policy", "noeviction") != "noeviction" for server in memory),
        append_only=all(server.get("aof_enabled", "1") == "1" for server in persistence),
        used_bytes=sum(int(server.get("used_memory", 0)) for server in memory),
    )

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
from collections.abc import Collection, Sequence
from datetime import timedelta

from redis.exceptions import ResponseError

from carillon.local.ports import SERVICES
from carillon.status.status import LOOKED_AT, DeadLately, OpenIncidents, ProviderStatus, Service, Status, StoreStatus
from carillon.status.thresholds import LATELY_S
from carillon.status.troubles import with_troubles
from shared.core.clock import from_epoch_ms
from shared.core.model import Channel
from shared.delivery.by_hand import ByHand, Pause, Target
from shared.delivery.standing import ProviderState, Standing
from shared.ledger.audit import Audit
from shared.ledger.audit_results import AuditResults
from shared.ledger.dead_letters import DeadLetters
from shared.ledger.incidents import Incidents
from shared.ledger.lanes import read_lanes
from shared.runtime.alive import Process, Processes
from shared.store.keys import Keys
from shared.store.replies import read_object
from shared.store.store import Store


async def read_status(store: Store, keys: Keys, *, without: Collection[str] = ()) -> Status:
    """Look once.

    Args:
        without: services that this system does without.

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
            _pauses(store, keys),
        ),
    )
    last, periodic, gaps, kept, pauses = others
    status = Status(
        at=at,
        services={name: Service(name, name in without, processes[name]) for name in SERVICES},
        lanes=lanes,
        lately=accounts,
        providers=[each for channel in Channel for each in _providers(channel, processes[channel], pauses)],
        pauses=pauses,
        incidents=OpenIncidents(incidents, states),
        dead_letters=DeadLately(dead, Counter((each.lane, each.reason or "record_expired") for each in entries)),
        audit=last,
        periodic_audit=periodic,
        gaps_in_a_day=gaps,
        store=kept,
    )
    return with_troubles(status)


def _providers(channel: Channel, processes: Sequence[Process], pauses: Sequence[Pause]) -> list[ProviderStatus]:
    """Join what the living processes of a channel say of its providers, in the operator's order."""
    said: dict[str, list[Standing]] = {}
    for process in processes:
        if process.is_alive:
            for standing in process.standings:
                said.setdefault(standing.provider, []).append(standing)
    by_hand = {each.target: each for each in pauses}
    found = []
    for name, standings in said.items():
        worst = max(standings, key=lambda each: (_badness(each), each.for_s))
        alike = sum(each.state is worst.state for each in standings)
        pause = by_hand.get(Target(channel)) or by_hand.get(Target(channel, name))
        found.append(ProviderStatus(channel, worst, len(standings), alike, pause))
    return found


def _badness(standing: Standing) -> int:
    # One that nobody has used yet says nothing beside one that works.
    return -1 if standing.state is ProviderState.UNKNOWN else standing.state.badness


async def _pauses(store: Store, keys: Keys) -> list[Pause]:
    try:
        return await ByHand(store, keys).paused()
    except ResponseError:
        # Something else has the name. The services tell of that.
        return []


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

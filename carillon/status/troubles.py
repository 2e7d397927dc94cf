"""What is wrong, in words, and the runbook for it: pure functions of one look.

The figures are those of the alerts (``carillon.status.thresholds``), so what is a trouble here is, or soon will be, an
alert. Open incidents are not among the troubles: they are about what is watched, and Carillon is well while it tells
people of them. Neither is a process that has died while others of its service work.
"""

from collections.abc import Iterator
from dataclasses import replace

from carillon.status.spans import short
from carillon.status.status import Service, Status, Trouble
from carillon.status.thresholds import (
    AUDITOR_SILENT_S,
    CHANNEL_WAITS_S,
    DEAD_LETTERS_MOST,
    DEAD_LETTERS_PART,
    LATELY_S,
    NOT_READY_S,
    OUR_REASONS,
    REALTIME_WAITS_S,
    ROUTER_WAITS_S,
)
from shared.core.channels import ROUTER_LANE
from shared.core.clock import rfc3339
from shared.core.model import Channel
from shared.delivery.by_hand import PauseKind
from shared.delivery.standing import ProviderState

BY_HAND = {PauseKind.PAUSE: "paused", PauseKind.DRAIN: "drained"}

_LATELY = short(LATELY_S)
_RUNBOOK_OF_A_PART = {
    "broker": "broker-away",
    "store": "store-away",
    "replicas": "store-away",
    "eviction": "store-may-evict",
}
_ENDED_BY_US = {
    "unreadable": "unreadable-rows",
    "worker_died": "workers-die",
    **dict.fromkeys(OUR_REASONS, "dead-letters"),
}


def with_troubles(status: Status) -> Status:
    """Return the look with all that is wrong."""
    finders = (_of_store, _of_services, _of_providers, _of_lanes, _of_audits, _of_dead_letters, _of_gaps)
    return replace(status, troubles=tuple(trouble for find in finders for trouble in find(status)))


def _of_store(status: Status) -> Iterator[Trouble]:
    if status.store.evicts:
        yield Trouble("The store drops records when its memory is full.", "store-may-evict", "store")
    if not status.store.append_only:
        yield Trouble(
            "A server of the store keeps no append-only file: what was accepted is lost with its process.",
            "store-not-persistent",
            "store",
        )


def _of_services(status: Status) -> Iterator[Trouble]:
    for service in status.services.values():
        if not service.left_out:
            yield from _of_service(service)


def _of_service(service: Service) -> Iterator[Trouble]:
    if not service.alive:
        yield Trouble(f"{service.name}: no process is alive; {_last_heard(service)}.", "service-gone", service.name)
        return
    unready = [
        each for each in service.alive if each.not_ready and (each.not_ready_s >= NOT_READY_S or not service.ready)
    ]
    for parts in sorted({each.not_ready for each in unready}):
        alike = [each for each in unready if each.not_ready == parts]
        of = "its only process is" if len(service.alive) == 1 else f"{len(alike)} of {len(service.alive)} processes are"
        since = short(max(each.not_ready_s for each in alike))
        runbook = next((_RUNBOOK_OF_A_PART[part] for part in parts if part in _RUNBOOK_OF_A_PART), "service-gone")
        what = f"{service.name}: {of} not ready for {since}: {', '.join(parts)}."
        yield Trouble(what, runbook, service.name)


def _last_heard(service: Service) -> str:
    if not service.processes:
        return "none has been heard of in the last hour (one of an earlier release says nothing of itself)"
    last = min(service.processes, key=lambda each: each.silent_s)
    if last.is_ending:
        return f"{last.name} is ending"
    return f"{last.name} was last heard of {short(last.silent_s)} ago"


def _of_providers(status: Status) -> Iterator[Trouble]:
    for pause in status.pauses:
        until = rfc3339(pause.until)
        what = f"{pause.target} is {BY_HAND[pause.kind]} by hand by {pause.by} until {until}: {pause.reason}."
        yield Trouble(what, "provider-paused-by-hand", pause.target.channel)
    for provider in status.providers:
        worst = provider.worst
        # Whoever has paused it by hand knows.
        if provider.by_hand is not None or worst.state not in (ProviderState.PAUSED, ProviderState.DOWN):
            continue
        name = f"{provider.name} ({worst.server})" if worst.server else provider.name
        does = "refused us" if worst.state is ProviderState.PAUSED else "failed"
        of = f" ({provider.unwell} of {provider.processes} processes)" if provider.unwell < provider.processes else ""
        why = " ".join(filter(None, (worst.reason, worst.detail)))
        what = f"{provider.channel}: {name} has {does} for {short(worst.for_s)}{of}: {why}."
        yield Trouble(what, "provider-paused", provider.channel)


def _of_lanes(status: Status) -> Iterator[Trouble]:
    limits = {ROUTER_LANE: ROUTER_WAITS_S, Channel.REALTIME.value: REALTIME_WAITS_S}
    for lane in status.lanes:
        service = status.services[lane.name]
        if service.left_out and not service.alive:
            if lane.open:
                rows = "row waits" if lane.open == 1 else "rows wait"
                what = f"{lane.name}: {lane.open} {rows}, and this system does without {lane.name}: drain or drop them."
                yield Trouble(what, "deliveries-wait", lane.name)
            continue
        if lane.overdue:
            rows = "row is" if lane.overdue == 1 else "rows are"
            what = f"{lane.name}: {lane.overdue} {rows} overdue, and no router has taken them up."
            yield Trouble(what, "audit-overdue", lane.name)
        if lane.oldest_s > limits.get(lane.name, CHANNEL_WAITS_S):
            what = f"{lane.name}: the oldest of {lane.open} open rows has been due for {short(lane.oldest_s)}."
            yield Trouble(what, "deliveries-wait", lane.name)


def _of_audits(status: Status) -> Iterator[Trouble]:
    found = status.periodic_audit
    if found is not None:
        for counts, words, runbook in (
            (found.imbalance, "cannot account for", "audit-imbalance"),
            (found.overdue, "found overdue", "audit-overdue"),
        ):
            for lane, count in counts.items():
                if count:
                    yield Trouble(f"{lane}: the last audit {words} {count} rows.", runbook, lane)
    # A router that has just begun makes its first audit within an interval.
    runs_s = max(((status.at - each.since).total_seconds() for each in status.services[ROUTER_LANE].ready), default=0)
    silent_s = (status.at - found.at).total_seconds() if found is not None else runs_s
    if min(runs_s, silent_s) > AUDITOR_SILENT_S:
        yield Trouble(f"No router has made an audit for {short(silent_s)}.", "auditor-silent", ROUTER_LANE)


def _of_dead_letters(status: Status) -> Iterator[Trouble]:
    for (lane, reason), count in sorted(status.dead_letters.by_reason.items()):
        if reason in _ENDED_BY_US:
            letters = "a dead letter" if count == 1 else f"{count} dead letters"
            yield Trouble(f"{lane}: {letters} in {_LATELY} with the reason {reason}.", _ENDED_BY_US[reason], lane)
    for lane, accounts in status.lately.items():
        ended = accounts.delivered + accounts.expired + accounts.dead_lettered
        if accounts.dead_lettered >= DEAD_LETTERS_MOST and accounts.dead_lettered > DEAD_LETTERS_PART * ended:
            what = f"{lane}: {accounts.dead_lettered} of {ended} deliveries of {_LATELY} became dead letters."
            yield Trouble(what, "dead-letters", lane)


def _of_gaps(status: Status) -> Iterator[Trouble]:
    if count := status.gaps_in_a_day:
        times = "there is a time" if count == 1 else f"there are {count} times"
        yield Trouble(f"Within a day {times} at which nobody is on call.", "oncall-gap", "oncall")

"""A look at the whole system as JSON: what ``carillon status --json`` prints and the console's page reads."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from carillon.status.status import ProviderStatus, Service, Status, Trouble
from shared.core.clock import rfc3339
from shared.ledger.audit_results import AuditResult
from shared.ledger.lanes import Lane
from shared.runtime.alive import Process


def status_document(status: Status) -> dict[str, Any]:
    """Write one look."""
    return {
        "well": status.well,
        "at": rfc3339(status.at),
        "troubles": [trouble_document(each) for each in status.troubles],
        "services": {name: _service(each) for name, each in status.services.items()},
        "lanes": {each.name: _lane(each) for each in status.lanes},
        "lately": {lane: accounts.named for lane, accounts in status.lately.items()},
        "providers": [provider_document(each) for each in status.providers],
        "paused_by_hand": [each.document() for each in status.pauses],
        "incidents": {"count": status.incidents.count, "states": dict(status.incidents.states)},
        "dead_letters": {"count": status.dead_letters.count, "by_reason": _by_lane(status.dead_letters.by_reason)},
        "audit": _audit(status.audit),
        "periodic_audit": _audit(status.periodic_audit),
        "oncall_gaps_in_a_day": status.gaps_in_a_day,
        "store": {
            "known": status.store.known,
            "evicts": status.store.evicts,
            "append_only": status.store.append_only,
            "used_bytes": status.store.used_bytes,
        },
    }


def trouble_document(trouble: Trouble) -> dict[str, Any]:
    """Write one thing that is wrong."""
    return {"what": trouble.what, "about": trouble.about, "runbook": f"docs/runbooks/{trouble.runbook}.md"}


def _service(service: Service) -> dict[str, Any]:
    return {
        "left_out": service.left_out,
        "alive": len(service.alive),
        "ready": len(service.ready),
        "processes": [_process(each) for each in service.processes],
    }


def _process(process: Process) -> dict[str, Any]:
    return {
        "name": process.name,
        "host": process.host,
        "version": process.version,
        "state": process.word,
        "since": rfc3339(process.since),
        "heard_at": rfc3339(process.heard_at),
        "silent_s": round(process.silent_s, 1),
        "not_ready": list(process.not_ready),
    }


def _lane(lane: Lane) -> dict[str, Any]:
    return {
        "open": lane.open,
        "oldest_s": round(lane.oldest_s, 1),
        "overdue": lane.overdue,
        "waiting": lane.waiting,
        "handed_over": lane.handed_over,
        "priorities": {
            priority.value: {
                "waiting": queue.waiting,
                "handed_over": queue.handed_over,
                "waits_s": None if queue.waits_s is None else round(queue.waits_s, 1),
            }
            for priority, queue in lane.queues.items()
        },
    }


def provider_document(provider: ProviderStatus) -> dict[str, Any]:
    """Write how one provider stands."""
    worst = provider.worst
    return {
        "channel": provider.channel.value,
        "provider": provider.name,
        "state": worst.state.value,
        "reason": worst.reason or None,
        "detail": worst.detail or None,
        "server": worst.server or None,
        "for_s": round(worst.for_s, 1),
        "again_in_s": worst.again_in_s,
        "processes": provider.processes,
        "unwell": provider.unwell,
        "paused_by_hand": provider.by_hand is not None,
    }


def _by_lane(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (lane, reason), count in sorted(counts.items()):
        found[lane][reason] = count
    return dict(found)


def _audit(result: AuditResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "at": rfc3339(result.at),
        "by": result.by.value,
        "depth": result.depth,
        "took_s": result.took_s,
        "holds": result.holds,
        "imbalance": dict(result.imbalance),
        "overdue": dict(result.overdue),
    }

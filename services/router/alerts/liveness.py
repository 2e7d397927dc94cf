"""What becomes of a source whose time is over, and how its incident is told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.core.clock import from_epoch_ms, rfc3339
from shared.core.durations import written
from shared.core.topics import Kind
from shared.directory.liveness import Liveness
from shared.ledger.sources import Due, Phase, Standing, State, Untold

_KINDS: Mapping[str, Kind] = {
    "critical": Kind.ALERT_CRITICAL,
    "warning": Kind.ALERT_WARNING,
    "info": Kind.ALERT_INFO,
}
# Whoever waits for a parent that is overdue itself looks again so soon.
PARENT_FIRST_MS = 1000


@dataclass(frozen=True, slots=True)
class Open:
    """It is missing, and people are to be told.

    Attributes:
        says: how, as ``telling`` reads it.
    """

    says: str


@dataclass(frozen=True, slots=True)
class Inhibit:
    """It is missing as its parent is; look again then, milliseconds since 1970."""

    again_ms: int


@dataclass(frozen=True, slots=True)
class Wait:
    """It has time until then, milliseconds since 1970."""

    again_ms: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing is expected of it any more."""


Decision = Open | Inhibit | Wait | Drop


def decide(due: Due, record: Liveness | None, parent: Standing | None, now_ms: int) -> Decision:
    """Say what becomes of a source whose time is over.

    Args:
        record: what is expected of it; None where nothing is.
        parent: how its parent is; None where it has none.
    """
    if record is None:
        return Drop()
    if parent is None:
        return Open(_says(due, record))
    if parent.state.is_missing:
        return Inhibit(now_ms + due.patience_ms)
    if 0 < parent.due_ms <= now_ms:
        return Wait(now_ms + PARENT_FIRST_MS)
    # From its parent's return on, it has its whole time again.
    until_ms = parent.since_ms + due.patience_ms
    if due.state is State.INHIBITED and until_ms > now_ms:
        return Wait(until_ms)
    return Open(_says(due, record))


def _says(due: Due, record: Liveness) -> str:
    message = (
        f"{due.source} is gone: its connection broke. It was last heard of at"
        if due.died
        else f"{due.source} has not been heard of since"
    )
    labels = {"source": due.source} | ({"parent": record.children_of} if record.children_of else {})
    return json.dumps({
        "level": record.severity,
        "type": record.alert_type,
        "labels": labels,
        "starts_at": rfc3339(from_epoch_ms(due.beat_ms)),
        "message": f"{message} {_time(due.beat_ms)}; it should be heard of every {_length(record)}.",
    })  # fmt: skip


def _length(record: Liveness) -> str:
    length = written(record.every)
    return length if isinstance(length, str) else f"{length:g}s"


def _time(at_ms: int) -> str:
    at: datetime = from_epoch_ms(at_ms)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def telling(untold: Untold) -> tuple[Kind, str, dict[str, Any]]:
    """Write what the router is told of an incident: the kind of alert, its type, and the payload.

    The beginning says the same whenever it is told again.
    """
    says = json.loads(untold.says)
    payload = {
        "id": f"liveness:{untold.source}:{untold.incident}:{'open' if untold.phase is Phase.OPENING else 'over'}",
        "source": untold.source,
        "severity": says["level"],
        "dedup_key": dedup_key(untold.source),
        "labels": says["labels"],
        # An end that comes late does not end an incident that began after it.
        "starts_at": says["starts_at"],
    }
    if untold.phase is Phase.OPENING:
        payload["message"] = says["message"]
    else:
        payload |= {"status": "resolved", "message": _over(untold)}
    return _KINDS[says["level"]], says["type"], payload


def _over(untold: Untold) -> str:
    if untold.gone:
        return f"{untold.source} is not expected any more."
    return f"{untold.source} is heard of again since {_time(untold.beat_ms)}."


def dedup_key(source: str) -> str:
    """Return what a source's incidents are known by."""
    return f"liveness:{source}"

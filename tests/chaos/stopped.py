"""What became of the deliveries that a stopped worker had in hand: the judge of ``worker-stop``.

A pure function of the evidence and of the stopped workers' logs. In hand is what a worker had claimed when it was
stopped. After the lease, a delivery may be handed to another worker, which takes it over. If the broker hands it to the
stopped worker, it waits until that one goes on. That one then finds its own attempt in doubt, and makes it again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.chaos.evidence import Evidence, Fault

# A delivery and the number of one attempt at it: one claim.
Claimed = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Hands:
    """Claims of stopped workers.

    Attributes:
        held: all of them, as far as somebody noticed: the worker itself, or who took them over.
        taken_over: those whose lease lapsed, and that another claim followed.
        late: those among them that the stopped worker ended all the same.
        refused: those whose outcome the ledger did not write.
    """

    held: frozenset[Claimed]
    taken_over: frozenset[Claimed]
    late: frozenset[Claimed]
    refused: frozenset[Claimed]


def hands(evidence: Evidence, logged: Iterable[Mapping[str, Any]]) -> Hands:
    """Find what workers had in hand when they were stopped.

    Args:
        logged: the log lines of the stopped workers.
    """
    attempted: set[Claimed] = set()
    across: set[Claimed] = set()
    refused: set[Claimed] = set()
    for line in logged:
        match line.get("event"):
            case "attempt":
                attempted.add(_claimed(line))
                if any(_lasted(line, fault) for fault in evidence.faults):
                    across.add(_claimed(line))
            case "outcome not written" if line["why"] == "stale":
                refused.add(_claimed(line))
    taken_over = {
        (f"{record.notification_id}/{row.key}", attempt.number)
        for record in evidence.ledger.records.values()
        for row in record.rows
        for attempt in row.history
        if attempt.reason == "lease_lapsed"
    }
    # If the claim's answer did not reach the stopped worker, the delivery is taken over, and there is no late outcome
    # to refuse.
    return Hands(
        held=frozenset(across | taken_over),
        taken_over=frozenset(taken_over),
        late=frozenset(taken_over & attempted),
        refused=frozenset(refused),
    )


def judge(found: Hands, repeated: Mapping[str, int]) -> Iterator[str]:
    """Say in words what is wrong.

    Args:
        repeated: how many effects too many there were, by delivery.
    """
    if not found.held:
        yield "a worker was stopped with nothing in its hands"
    if written := found.late - found.refused:
        yield f"{len(written)} late outcomes of what had been taken over were not refused"
    held = {delivery for delivery, _ in found.held}
    more = sum(times - (delivery in held) for delivery, times in repeated.items())
    if more:
        yield f"{more} duplicates beside one for each delivery that was in a stopped worker's hands"


def _claimed(line: Mapping[str, Any]) -> Claimed:
    return line["delivery_id"], line["attempt"]


def _lasted(line: Mapping[str, Any], fault: Fault) -> bool:
    """Tell whether an attempt began before a stop and ended after it."""
    ended = datetime.fromisoformat(line["at"]).timestamp()
    # The log rounds times. An attempt that did not begin before the stop began after it, and that is seconds away.
    began = ended - float(line["duration_s"])
    return began < (fault.begin + fault.end) / 2 < ended

"""How long the system took to recover from each fault: a pure function of the evidence.

"Accepting" is the first receipt for something published after a moment. "Flowing" is the first delivery of such a
publish. If a fault takes everything down (broker, store, links), the moment is the end of the fault, otherwise its
beginning. All clocks are of one machine.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.evidence import Evidence, Published


@dataclass(frozen=True, slots=True)
class Recovery:
    """The slowest of a run's recoveries, in seconds; None if nothing came after a fault.

    Attributes:
        accepting_s: until something published after the fault was receipted.
        flowing_s: until something published after the fault was delivered.
        receipt_s: the longest that any publish of the run waited for its receipt.
        retaken_s: the longest from the end of a dead worker's lease to the end of the next attempt.
    """

    accepting_s: float | None
    flowing_s: float | None
    receipt_s: float
    retaken_s: float | None


def recovery(evidence: Evidence, *, after_end: bool) -> Recovery:
    """Measure a run.

    Args:
        after_end: count from the end of each fault, not from its beginning.
    """
    moments = [fault.end if after_end else fault.begin for fault in evidence.faults]
    published = sorted(evidence.published.values(), key=lambda one: one.sent_at)
    return Recovery(
        accepting_s=_slowest(moments, published, _receipted(published)),
        flowing_s=_slowest(moments, published, _delivered(evidence, published)),
        receipt_s=max((one.receipts[0].at - one.sent_at for one in published if one.receipts), default=0.0),
        retaken_s=_retaken(evidence),
    )


def percentile_ms(
    evidence: Evidence, providers: Sequence[str], spans: Iterable[tuple[float, float]], share: float, *, least: int = 1
) -> float | None:
    """Return a percentile of the time from publish to effect, over what was published in some spans of time.

    Args:
        providers: whose effects count.
        spans: begin and end of each.
        share: for example 0.99.
        least: with fewer effects the result is None.
    """
    sent, spans = _sent_at_by_id(evidence), list(spans)
    took_ms = sorted(
        (effect.at - sent[effect.notification_id]) * 1000
        for effect in evidence.effects
        if effect.provider in providers
        and effect.notification_id in sent
        and any(begin <= sent[effect.notification_id] < end for begin, end in spans)
    )
    return took_ms[min(len(took_ms) - 1, int(len(took_ms) * share))] if len(took_ms) >= least else None


def publishing_began_at(evidence: Evidence) -> float:
    """Return when the first publish left."""
    return min((one.sent_at for one in evidence.published.values()), default=0.0)


def publishing_ended_at(evidence: Evidence) -> float:
    """Return when the last publish left."""
    return max((one.sent_at for one in evidence.published.values()), default=0.0)


def _slowest(moments: Iterable[float], published: Sequence[Published], done_at: dict[str, float]) -> float | None:
    sent = [one.sent_at for one in published]
    waits = []
    for moment in moments:
        later = published[bisect_left(sent, moment) :]
        ends = [done_at[one.key] for one in later if one.key in done_at]
        if ends:
            waits.append(min(ends) - moment)
    return max(waits) if waits else None


def _receipted(published: Iterable[Published]) -> dict[str, float]:
    return {one.key: one.receipts[0].at for one in published if one.receipts}


def _delivered(evidence: Evidence, published: Iterable[Published]) -> dict[str, float]:
    ends: dict[str, float] = {}
    for record in evidence.ledger.records.values():
        if record.key is not None:
            done = [row.ended_at for row in record.rows if row.state == "delivered"]
            if done:
                ends[record.key] = min(done)
    return {one.key: ends[one.key] for one in published if one.key in ends}


def _sent_at_by_id(evidence: Evidence) -> dict[str | None, float]:
    return {
        record.notification_id: evidence.published[record.key].sent_at
        for record in evidence.ledger.records.values()
        if record.key in evidence.published
    }


def _retaken(evidence: Evidence) -> float | None:
    waits = []
    for record in evidence.ledger.records.values():
        for row in record.rows:
            for lapsed, following in zip(row.history, row.history[1:], strict=False):
                if lapsed.reason == "lease_lapsed":
                    waits.append(following.at - lapsed.at)
    return max(waits) if waits else None

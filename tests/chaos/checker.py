"""The judge of a run: compares what the publisher, the providers and the inboxes saw with what the ledger says.

A pure function of the evidence. Promises to find every kind of harm that the journals can show: losses, duplicates,
work that nobody will ever finish, accounts that do not add up. It cannot see what no journal holds, for instance
whether a person read anything.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from tests.chaos.evidence import Evidence, Record, Row

PROVIDER_LANES = {"smtp": "email", "twilio": "sms", "apns": "push", "fcm": "push", "webpush": "push"}
_ENDS = ("delivered", "suppressed", "expired", "dead_lettered")
_REALTIME = "realtime"

# A lane, an address, and the notification where it can be seen.
_Target: TypeAlias = tuple[str, str, str | None]

# So many examples of each harm are named. All are counted.
_NAMED_MOST = 10


class Harm(StrEnum):
    """What can be wrong."""

    UNRECEIPTED = "published, no receipt"
    REFUSED = "refused"
    RECEIPT_WITHOUT_RECORD = "receipted, not in the ledger"
    WRONG_RECEIPT = "receipted under another notification's id"
    TWO_IDS = "one key, two notifications"
    FOREIGN_RECORD = "in the ledger, never published"
    NO_ROWS = "in the ledger, with nothing to deliver"
    UNENDED = "never ended"
    FORGOTTEN = "open, and nobody will look at it"
    NO_EFFECT = "delivered, but the provider never got it"
    DUPLICATE = "delivered more than once"
    UNWANTED_EFFECT = "the provider got it, the ledger says that it was not delivered"
    FOREIGN_EFFECT = "the provider got what the ledger does not know"
    DEAD_LETTERED = "dead-lettered"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    NOT_CONSERVED = "the accounts do not balance"
    STOLEN = "taken over from a worker that lived"


# Each of these means that something that was accepted, or sent again and again, did not happen.
LOSSES = (
    Harm.UNRECEIPTED, Harm.RECEIPT_WITHOUT_RECORD, Harm.NO_ROWS, Harm.UNENDED, Harm.FORGOTTEN, Harm.NO_EFFECT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What a scenario allows; by default nothing at all.

    Attributes:
        most: how often each harm may occur; a harm that is not named, never.
        duplicate_share: beside the number, the greatest share of duplicates among all effects.
        least: how often it must be at least, so that a fault which did nothing is noticed.
        takeovers: the scenario is about lapsed leases; otherwise a lapsed lease is a harm.
    """

    most: dict[Harm, int] = field(default_factory=dict)
    duplicate_share: float = 1.0
    least: dict[Harm, int] = field(default_factory=dict)
    takeovers: bool = True


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        retaken: claims whose lease lapsed.
        counts: how often each harm was found.
        examples: the first few of each.
        repeated: how many effects too many there were, by delivery.
        doubts: how many attempts may have arrived without an answer, by delivery.
        broken: what the limits do not allow, in words; empty for a run that passed.
    """

    published: int = 0
    receipted: int = 0
    notifications: int = 0
    deliveries: int = 0
    effects: int = 0
    retaken: int = 0
    counts: Counter[Harm] = field(default_factory=Counter)
    examples: dict[Harm, list[str]] = field(default_factory=lambda: defaultdict(list))
    repeated: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, harm: Harm, example: str, times: int = 1) -> None:
        """Count a harm."""
        self.counts[harm] += times
        if len(self.examples[harm]) < _NAMED_MOST:
            self.examples[harm].append(example)

    @property
    def lost(self) -> int:
        """How many things that should have happened did not."""
        return sum(self.counts[harm] for harm in LOSSES)

    @property
    def twice(self) -> int:
        """How many keys became more than one notification."""
        return self.counts[Harm.TWO_IDS]

    @property
    def duplicates(self) -> int:
        """How many effects were one too many."""
        return self.counts[Harm.DUPLICATE]


def check(evidence: Evidence, limits: Limits) -> Verdict:
    """Look for every harm, and compare what there is with the limits."""
    verdict = Verdict(published=len(evidence.published), effects=len(evidence.effects) + len(evidence.inboxes))
    by_key = _by_key(evidence)
    verdict.notifications = sum(len(records) for records in by_key.values())
    _check_receipts(evidence, by_key, verdict)
    _check_rows(evidence, verdict)
    _check_effects(evidence, verdict)
    _check_accounts(evidence, verdict)
    if not limits.takeovers and verdict.retaken:
        verdict.add(Harm.STOLEN, f"{verdict.retaken} claims", verdict.retaken)
    verdict.broken = list(_broken(verdict, limits))
    return verdict


def _by_key(evidence: Evidence) -> dict[str, list[Record]]:
    by_key: dict[str, list[Record]] = defaultdict(list)
    for record in evidence.ledger.records.values():
        if record.key is not None:
            by_key[record.key].append(record)
    return by_key


def _check_receipts(evidence: Evidence, by_key: dict[str, list[Record]], verdict: Verdict) -> None:
    for key, published in evidence.published.items():
        accepted = [receipt for receipt in published.receipts if receipt.status in ("accepted", "duplicate")]
        verdict.receipted += bool(accepted)
        if not published.receipts:
            verdict.add(Harm.UNRECEIPTED, key)
        for receipt in published.receipts:
            if receipt.status == "rejected":
                verdict.add(Harm.REFUSED, f"{key}: {receipt.code}")
        records = by_key.get(key, [])
        if accepted and not records:
            verdict.add(Harm.RECEIPT_WITHOUT_RECORD, key)
        known = {record.notification_id for record in records}
        named = {str(receipt.notification_id) for receipt in accepted}
        if records and not named <= known:
            verdict.add(Harm.WRONG_RECEIPT, f"{key}: {', '.join(sorted(named - known))}")
        if len(known | named) > 1:
            verdict.add(Harm.TWO_IDS, f"{key}: {', '.join(sorted(known | named))}")
    for key in by_key.keys() - evidence.published.keys():
        verdict.add(Harm.FOREIGN_RECORD, key)


def _check_rows(evidence: Evidence, verdict: Verdict) -> None:
    for record, row in _rows(evidence):
        name = f"{record.notification_id}/{row.key}"
        verdict.retaken += sum(attempt.reason == "lease_lapsed" for attempt in row.history)
        verdict.doubts[name] += sum(attempt.outcome == "unknown" for attempt in row.history)
        if row.is_open:
            verdict.add(Harm.UNENDED, f"{name}: {row.state}")
            if not row.is_scheduled:
                verdict.add(Harm.FORGOTTEN, name)
        elif row.state == "dead_lettered":
            verdict.add(Harm.DEAD_LETTERED, f"{name}: {row.reason}")
        elif row.state == "expired":
            verdict.add(Harm.EXPIRED, name)
        elif row.state == "suppressed" and row.reason != "no_address":
            verdict.add(Harm.SUPPRESSED, f"{name}: {row.reason}")
    for record in evidence.ledger.records.values():
        if record.key is not None and not record.rows:
            verdict.add(Harm.NO_ROWS, record.notification_id)


def _check_effects(evidence: Evidence, verdict: Verdict) -> None:
    """Count what providers and inboxes got, by lane, address and, where it can be seen, notification.

    An alert may be told to one person several times, with a row for each: as many may arrive.
    """
    got: Counter[_Target] = Counter(
        (PROVIDER_LANES[effect.provider], effect.to, effect.notification_id) for effect in evidence.effects
    )
    got.update((_REALTIME, entry.user_id, entry.notification_id) for entry in evidence.inboxes)
    wanted: dict[_Target, list[tuple[str, Row]]] = defaultdict(list)
    for record, row in _rows(evidence):
        if not row.to:
            continue
        # An SMS carries no id, but only one publish goes to its number.
        target = (row.lane, row.to, None if row.lane == "sms" else record.notification_id)
        name = f"{record.notification_id}/{row.key}"
        # What ended as suppressed may have arrived before, where an attempt at it was in doubt.
        if row.state != "suppressed" or verdict.doubts[name]:
            wanted[target].append((name, row))
            verdict.deliveries += row.state != "suppressed"
    for target, rows in wanted.items():
        _compare(rows, got[target], verdict)
    for target in got.keys() - wanted.keys():
        verdict.add(Harm.FOREIGN_EFFECT, f"{target[0]}, notification {target[2]}", got[target])


def _compare(rows: Sequence[tuple[str, Row]], times: int, verdict: Verdict) -> None:
    """Compare the rows that have one target with how often something arrived there."""
    delivered = [name for name, row in rows if row.state == "delivered"]
    for name in delivered[times:]:
        verdict.add(Harm.NO_EFFECT, name)
    others = [(name, row) for name, row in rows if row.state not in ("delivered", "suppressed")]
    for name, row in others[: max(0, times - len(delivered))]:
        if row.state in ("expired", "dead_lettered"):
            verdict.add(Harm.UNWANTED_EFFECT, f"{name}: {row.state}")
    # Which of several came again cannot be seen: as many of each as were in doubt.
    too_many, repeats = times - len(rows), Counter[str]()
    for name, _ in rows:
        repeats[name] = max(0, min(too_many, verdict.doubts[name]))
        too_many -= repeats[name]
    repeats[rows[0][0]] += max(0, too_many)
    for name, count in (+repeats).items():
        verdict.add(Harm.DUPLICATE, f"{name}: {count + 1}", count)
    verdict.repeated += repeats


def _check_accounts(evidence: Evidence, verdict: Verdict) -> None:
    """Compare what the ledger counted with the rows themselves, and created with ended and open."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for record, row in _rows(evidence):
        rows[row.lane][row.state] += 1
        rows[row.lane]["created"] += 1
        rows[row.lane]["open"] += row.is_open
        del record
    for lane in rows.keys() | evidence.ledger.tallies.keys():
        counted, there = evidence.ledger.tallies.get(lane, Counter()), rows[lane]
        for word in ("created", *_ENDS):
            if counted[word] != there[word]:
                verdict.add(Harm.NOT_CONSERVED, f"{lane}: {counted[word]} counted as {word}, {there[word]} are there")
        ended = sum(counted[word] for word in _ENDS)
        if counted["created"] != ended + there["open"]:
            verdict.add(
                Harm.NOT_CONSERVED, f"{lane}: {counted['created']} created, {ended} ended, {there['open']} open"
            )
    for record in evidence.ledger.records.values():
        still_open = sum(row.is_open for row in record.rows)
        if record.open_rows != still_open:
            verdict.add(
                Harm.NOT_CONSERVED,
                f"{record.notification_id}: {record.open_rows} open by its own count, {still_open} are",
            )


def _rows(evidence: Evidence) -> Iterator[tuple[Record, Row]]:
    for record in evidence.ledger.records.values():
        for row in record.rows:
            yield record, row


def _broken(verdict: Verdict, limits: Limits) -> Iterator[str]:
    for harm in Harm:
        count, most, least = verdict.counts[harm], limits.most.get(harm, 0), limits.least.get(harm, 0)
        if count > most:
            yield f"{count} {harm} (at most {most})"
        if count < least:
            yield f"{count} {harm} (at least {least}, or the fault did nothing)"
    if verdict.effects and verdict.duplicates / verdict.effects > limits.duplicate_share:
        yield f"{verdict.duplicates / verdict.effects:.3%} {Harm.DUPLICATE} (at most {limits.duplicate_share:.3%})"

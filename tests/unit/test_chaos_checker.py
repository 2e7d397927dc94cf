"""The checker complains about every bug that is planted into the evidence of a sound run, and about nothing else."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.checker import Harm, Limits, check
from tests.chaos.evidence import (
    Attempt,
    Effect,
    Evidence,
    InboxEntry,
    Ledger,
    Published,
    Receipt,
    Record,
    Row,
    read_evidence,
    write_ledger,
)

_IDS = [f"0190a000-0000-7000-8000-{number:012}" for number in range(6)]


def _evidence() -> Evidence:
    """A run of five notifications, each with an inbox entry, a mail and an SMS, in which all went well."""
    evidence = Evidence(ledger=Ledger())
    for number, notification_id in enumerate(_IDS[:5]):
        key = f"key{number}"
        receipt = Receipt("accepted", notification_id, at=10.1 + number)
        evidence.published[key] = Published(key, "notifications/email/send", 10.0 + number, [receipt])
        addresses = {"realtime": f"user{number}", "email": f"user{number}@example.com", "sms": f"+3361200000{number}"}
        rows = [Row(f"{lane}:0", lane, "delivered", "", 1, 1, to=to) for lane, to in addresses.items()]
        evidence.ledger.records[notification_id] = Record(notification_id, key, 10.0 + number, 0, rows)
        evidence.effects += [
            Effect("smtp", addresses["email"], 11.0 + number, notification_id),
            Effect("twilio", addresses["sms"], 11.0 + number),
        ]
        evidence.inboxes.append(InboxEntry(addresses["realtime"], notification_id))
    evidence.ledger.tallies = {lane: Counter(created=5, delivered=5) for lane in ("realtime", "email", "sms")}
    return evidence


def _row(evidence: Evidence, number: int, lane: str) -> Row:
    return next(row for row in evidence.ledger.records[_IDS[number]].rows if row.lane == lane)


def _drop_record(evidence: Evidence, number: int) -> None:
    for row in evidence.ledger.records.pop(_IDS[number]).rows:
        evidence.ledger.tallies[row.lane].subtract(("created", "delivered"))
    evidence.effects = [
        effect
        for effect in evidence.effects
        if effect.notification_id != _IDS[number] and effect.to != f"+3361200000{number}"
    ]
    evidence.inboxes = [entry for entry in evidence.inboxes if entry.notification_id != _IDS[number]]


def _ack_before_write(evidence: Evidence) -> None:
    """A router acknowledged to the broker and died before it wrote: no receipt, no record."""
    _drop_record(evidence, 2)
    evidence.published["key2"].receipts.clear()


def _receipt_before_write(evidence: Evidence) -> None:
    """A router told the publisher and died before it wrote."""
    _drop_record(evidence, 2)


def _finish_without_token(evidence: Evidence) -> None:
    """A zombie's late outcome ended a row that had ended already."""
    evidence.ledger.tallies["email"]["delivered"] += 1


def _zombie_reopens(evidence: Evidence) -> None:
    """A zombie's late failure opened a delivered row again, which nothing schedules."""
    _row(evidence, 1, "email").state = "pending"


def _dropped_retry(evidence: Evidence) -> None:
    """A row was put back to pending without a place in the schedule."""
    row = _row(evidence, 1, "sms")
    row.state, row.reason = "pending", "unavailable"
    evidence.effects = [effect for effect in evidence.effects if effect.to != row.to]
    evidence.ledger.records[_IDS[1]].open_rows = 1
    evidence.ledger.tallies["sms"]["delivered"] -= 1


def _never_ends(evidence: Evidence) -> None:
    """A row is handed out again and again, and never finished."""
    _dropped_retry(evidence)
    _row(evidence, 1, "sms").is_scheduled = True


def _double_publish(evidence: Evidence) -> None:
    """A job was performed by two workers."""
    evidence.effects.append(Effect("smtp", "user3@example.com", 12.0, _IDS[3]))


def _double_sms(evidence: Evidence) -> None:
    """An SMS, which carries no id, was sent twice."""
    evidence.effects.append(Effect("twilio", "+33612000003", 12.0))


def _effect_without_delivery(evidence: Evidence) -> None:
    """A provider got a notification that the ledger does not know."""
    evidence.effects.append(Effect("fcm", "device-7", 12.0, _IDS[5]))


def _inbox_without_delivery(evidence: Evidence) -> None:
    """An entry stands in the inbox of somebody whom it was not for."""
    evidence.inboxes.append(InboxEntry("user9", _IDS[3]))


def _delivered_without_effect(evidence: Evidence) -> None:
    """A worker wrote delivered before it called the provider, and died."""
    evidence.effects = [effect for effect in evidence.effects if effect.to != "user4@example.com"]


def _entry_overwritten(evidence: Evidence) -> None:
    """An inbox lost an entry."""
    evidence.inboxes.pop()


def _two_ids(evidence: Evidence) -> None:
    """Two routers accepted the same key."""
    evidence.ledger.records[_IDS[5]] = Record(
        _IDS[5], "key0", 10.0, 0, [Row("realtime:0", "realtime", "delivered", "", 1, 1, to="user0")]
    )
    evidence.inboxes.append(InboxEntry("user0", _IDS[5]))
    evidence.ledger.tallies["realtime"].update(("created", "delivered"))


def _two_receipts(evidence: Evidence) -> None:
    """The second send of a key was answered with another id."""
    evidence.published["key0"].receipts.append(Receipt("duplicate", _IDS[5], at=12.0, sends=2))


def _expired_but_sent(evidence: Evidence) -> None:
    """A worker sent what it then wrote down as expired."""
    _row(evidence, 0, "email").state = "expired"
    evidence.ledger.tallies["email"].update({"expired": 1, "delivered": -1})


def _planned_nothing(evidence: Evidence) -> None:
    """A notification was accepted and no row written."""
    record = evidence.ledger.records[_IDS[0]]
    evidence.ledger.tallies = {lane: Counter(created=4, delivered=4) for lane in evidence.ledger.tallies}
    addresses = {row.to for row in record.rows}
    evidence.effects = [effect for effect in evidence.effects if effect.to not in addresses]
    evidence.inboxes = [entry for entry in evidence.inboxes if entry.user_id not in addresses]
    record.rows.clear()


def _uncounted(evidence: Evidence) -> None:
    """A row was written beside the scripts that count."""
    evidence.ledger.tallies["realtime"]["created"] -= 1


def _stolen(evidence: Evidence) -> None:
    """A worker with a wrong clock took a row from one that lived."""
    _row(evidence, 0, "email").history.append(Attempt(1, 12.0, "unknown", "lease_lapsed"))


def _refused(evidence: Evidence) -> None:
    """The router refused what was sound."""
    evidence.published["key0"].receipts.append(Receipt("rejected", None, at=12.0, code="idempotency_conflict"))


def _dead_lettered(evidence: Evidence) -> None:
    """A row that could have been tried again was given up."""
    row = _row(evidence, 0, "email")
    row.state, row.reason = "dead_lettered", "internal_error"
    evidence.effects = [effect for effect in evidence.effects if effect.to != row.to]
    evidence.ledger.tallies["email"].update({"dead_lettered": 1, "delivered": -1})


_BUGS: list[tuple[Callable[[Evidence], None], Harm]] = [
    (_ack_before_write, Harm.UNRECEIPTED),
    (_receipt_before_write, Harm.RECEIPT_WITHOUT_RECORD),
    (_finish_without_token, Harm.NOT_CONSERVED),
    (_zombie_reopens, Harm.FORGOTTEN),
    (_dropped_retry, Harm.FORGOTTEN),
    (_never_ends, Harm.UNENDED),
    (_double_publish, Harm.DUPLICATE),
    (_double_sms, Harm.DUPLICATE),
    (_effect_without_delivery, Harm.FOREIGN_EFFECT),
    (_inbox_without_delivery, Harm.FOREIGN_EFFECT),
    (_delivered_without_effect, Harm.NO_EFFECT),
    (_entry_overwritten, Harm.NO_EFFECT),
    (_two_ids, Harm.TWO_IDS),
    (_two_receipts, Harm.TWO_IDS),
    (_expired_but_sent, Harm.UNWANTED_EFFECT),
    (_planned_nothing, Harm.NO_ROWS),
    (_uncounted, Harm.NOT_CONSERVED),
    (_stolen, Harm.STOLEN),
    (_refused, Harm.REFUSED),
    (_dead_lettered, Harm.DEAD_LETTERED),
]


def test_a_sound_run_passes() -> None:
    verdict = check(_evidence(), Limits(takeovers=False))
    assert verdict.broken == []
    assert (verdict.published, verdict.receipted, verdict.deliveries, verdict.effects) == (5, 5, 15, 15)
    assert (verdict.lost, verdict.twice, verdict.duplicates) == (0, 0, 0)


@pytest.mark.parametrize(("plant", "harm"), _BUGS, ids=lambda value: getattr(value, "__name__", "").strip("_"))
def test_a_planted_bug_is_found(plant: Callable[[Evidence], None], harm: Harm) -> None:
    evidence = _evidence()
    plant(evidence)
    verdict = check(evidence, Limits(takeovers=False))
    assert verdict.counts[harm] >= 1
    assert any(harm in line for line in verdict.broken), verdict.broken


def test_what_a_scenario_allows_is_no_violation_and_one_more_is() -> None:
    evidence = _evidence()
    _double_publish(evidence)
    assert check(evidence, Limits({Harm.DUPLICATE: 1})).broken == []
    _double_sms(evidence)
    assert check(evidence, Limits({Harm.DUPLICATE: 1})).broken == ["2 delivered more than once (at most 1)"]


def test_a_share_of_duplicates_is_a_limit_beside_their_number() -> None:
    evidence = _evidence()
    _double_publish(evidence)
    assert len(check(evidence, Limits({Harm.DUPLICATE: 9}, duplicate_share=0.001)).broken) == 1


def test_a_fault_that_did_nothing_is_a_violation() -> None:
    assert len(check(_evidence(), Limits(least={Harm.EXPIRED: 1})).broken) == 1


def test_evidence_is_read_back_without_a_torn_line(tmp_path: Path) -> None:
    ledger = _evidence().ledger
    _row(_evidence(), 0, "email").history.append(Attempt(1, 12.0, "ok", ""))
    write_ledger(tmp_path / "ledger.jsonl", ledger)
    (tmp_path / "published.jsonl").write_text(
        '{"sent":"key0","topic":"t","at":1.5}\n'
        '{"receipt":"key0","status":"accepted","notification_id":"n","code":null,"sends":2,"at":2.5}\n'
        '{"sent":"key1","topic":"t","at":3.5}\n{"receipt":"key1","stat'
    )
    (tmp_path / "effects.jsonl").write_text(
        '{"n":1,"provider":"twilio","to":"+33612000000","id":"SM","at":"2026-01-05T09:00:00.500Z"}\n'
    )
    evidence = read_evidence(tmp_path)
    assert evidence.ledger == ledger
    assert evidence.published == {
        "key0": Published("key0", "t", 1.5, [Receipt("accepted", "n", 2.5, 2)]),
        "key1": Published("key1", "t", 3.5),
    }
    assert evidence.effects == [Effect("twilio", "+33612000000", 1_767_603_600.5)]
    assert not evidence.inboxes
    assert not evidence.faults


def _told_again(evidence: Evidence, state: str = "delivered") -> Row:
    """One person has two mails of one alert, with a row for each."""
    row = Row("email:0@1", "email", state, "", 1, 1, to="user3@example.com")
    evidence.ledger.records[_IDS[3]].rows.append(row)
    evidence.ledger.tallies["email"].update(("created", state))
    return row


def test_as_many_may_arrive_at_one_address_as_there_are_rows() -> None:
    evidence = _evidence()
    _told_again(evidence)
    assert check(evidence, Limits()).counts == {Harm.NO_EFFECT: 1}
    _double_publish(evidence)
    assert check(evidence, Limits()).counts == {}
    _double_publish(evidence)
    verdict = check(evidence, Limits())
    assert (verdict.counts, verdict.repeated.total()) == ({Harm.DUPLICATE: 1}, 1)


def test_one_too_many_counts_for_the_row_that_was_in_doubt() -> None:
    evidence = _evidence()
    row = _told_again(evidence)
    row.history = [Attempt(1, 11.5, "unknown", "lease_lapsed")]
    _double_publish(evidence)
    _double_publish(evidence)
    verdict = check(evidence, Limits())
    assert verdict.repeated == Counter({f"{_IDS[3]}/email:0@1": 1})


def test_what_ended_as_suppressed_may_have_arrived_where_it_was_in_doubt() -> None:
    evidence = _evidence()
    row = _told_again(evidence, "suppressed")
    _double_publish(evidence)
    limits = Limits({Harm.SUPPRESSED: 1})
    assert check(evidence, limits).counts[Harm.DUPLICATE] == 1
    row.history = [Attempt(1, 11.5, "unknown", "lease_lapsed")]
    assert check(evidence, limits).broken == []

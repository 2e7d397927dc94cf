"""What a worker that was stopped for longer than its lease may have done, and what not."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.chaos.evidence import Attempt, Evidence, Fault, Ledger, Record, Row
from tests.chaos.stopped import Hands, hands, judge

_STOP = Fault("SIGSTOP", "email-0", 100.0, 115.0)


def _evidence() -> Evidence:
    """Three mails were in hand; one was taken over, one was made again by who was stopped, one was never heard of."""
    histories = {
        "one": [Attempt(1, 113.0, "unknown", "lease_lapsed"), Attempt(2, 113.5, "ok", "")],
        "two": [Attempt(1, 115.1, "unknown", "timeout"), Attempt(2, 117.0, "ok", "")],
        "three": [Attempt(1, 113.0, "unknown", "lease_lapsed"), Attempt(2, 113.5, "ok", "")],
        "four": [Attempt(1, 99.0, "ok", "")],
    }
    evidence = Evidence(ledger=Ledger(), faults=[_STOP])
    for name, history in histories.items():
        row = Row("email:0", "email", "delivered", "", len(history), len(history), history=history)
        evidence.ledger.records[name] = Record(name, name, 98.0, 0, [row])
    return evidence


def _line(event: str, name: str, number: int, at: float, **more: Any) -> dict[str, Any]:
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return {"event": event, "delivery_id": f"{name}/email:0", "attempt": number, "at": time, **more}


def _log() -> list[dict[str, Any]]:
    """What the stopped worker says; the answer to its claim of the third mail never reached it."""
    return [
        {"event": "starting"},
        _line("attempt", "four", 1, 99.0, duration_s=0.3),
        _line("attempt", "one", 1, 115.1, duration_s=15.3),
        _line("attempt", "two", 1, 115.1, duration_s=15.2),
        _line("outcome not written", "one", 1, 115.1, why="stale"),
        _line("attempt", "two", 2, 117.0, duration_s=0.3),
    ]


def test_in_hand_is_what_it_had_begun_or_what_another_took_over() -> None:
    found = hands(_evidence(), _log())
    assert {name for name, _ in found.held} == {"one/email:0", "two/email:0", "three/email:0"}
    assert found.taken_over == {("one/email:0", 1), ("three/email:0", 1)}
    assert found.late == found.refused == {("one/email:0", 1)}


def test_one_duplicate_for_each_delivery_in_hand_is_what_may_be() -> None:
    assert list(judge(hands(_evidence(), _log()), Counter({"one/email:0": 1, "two/email:0": 1}))) == []


@pytest.mark.parametrize("repeated", [{"one/email:0": 2}, {"four/email:0": 1}])
def test_a_second_duplicate_and_one_of_what_was_in_nobodys_hands_are_too_many(repeated: dict[str, int]) -> None:
    (complaint,) = judge(hands(_evidence(), _log()), repeated)
    assert complaint.startswith("1 duplicates beside")


def test_a_late_outcome_that_was_written_is_found() -> None:
    log = [line for line in _log() if line["event"] != "outcome not written"]
    assert list(judge(hands(_evidence(), log), {})) == ["1 late outcomes of what had been taken over were not refused"]


def test_a_stop_that_met_nothing_has_shown_nothing() -> None:
    assert len(list(judge(Hands(frozenset(), frozenset(), frozenset(), frozenset()), {}))) == 1

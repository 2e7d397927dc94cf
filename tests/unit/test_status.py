"""What counts as trouble, in words: of one look that is made up, without a store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from carillon.local.ports import SERVICES
from carillon.local.servers import ROOT
from carillon.status.spans import short, short_bytes
from carillon.status.status import DeadLately, OpenIncidents, ProviderStatus, Service, Status, StoreStatus
from carillon.status.thresholds import AUDITOR_SILENT_S, NOT_READY_S
from carillon.status.troubles import with_troubles
from shared.core.model import Channel
from shared.delivery.standing import ProviderState, Standing
from shared.ledger.audit_report import Accounts
from shared.ledger.audit_results import AuditResult, MadeBy
from shared.ledger.lanes import Lane
from shared.runtime.alive import SILENT_AFTER_S, Process

AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def process(service: str, number: int = 1, *, silent_s: float = 0.0, ran_s: float = 3600.0, **said: object) -> Process:
    name = f"{service}-{number}"
    since, heard_at = AT - timedelta(seconds=ran_s), AT - timedelta(seconds=silent_s)
    return Process(service, name, "node", "0.2.0", since, heard_at, silent_s, **said)  # type: ignore[arg-type]


def result(ago_s: float, **found: object) -> AuditResult:
    at = AT - timedelta(seconds=ago_s)
    said = {"holds": True, "imbalance": {}, "overdue": {}} | found
    return AuditResult(at=at, by=MadeBy.ROUTER, depth="sample", took_s=0.1, document={}, **said)  # type: ignore[arg-type]


WELL = Status(
    at=AT,
    services={name: Service(name, left_out=False, processes=[process(name)]) for name in SERVICES},
    lanes=[Lane(name) for name in SERVICES],
    lately={},
    providers=[],
    pauses=[],
    incidents=OpenIncidents(0, {}),
    dead_letters=DeadLately(0, {}),
    audit=result(30),
    periodic_audit=result(30),
    gaps_in_a_day=0,
    store=StoreStatus(known=True),
)


def with_processes(name: str, *processes: Process, left_out: bool = False) -> Status:
    return replace(WELL, services={**WELL.services, name: Service(name, left_out, processes)})


def said(status: Status) -> list[str]:
    troubles = with_troubles(status).troubles
    for trouble in troubles:
        assert (ROOT / "docs" / "runbooks" / f"{trouble.runbook}.md").is_file(), trouble
    return [trouble.what for trouble in troubles]


def test_all_is_well() -> None:
    status = with_troubles(WELL)
    assert (status.well, list(status.troubles)) == (True, [])


def test_a_service_without_a_living_process_is_gone_unless_it_is_left_out() -> None:
    (words,) = said(with_processes("sms"))
    assert words.startswith("sms: no process is alive; none has been heard of in the last hour (one of an earlier")
    gone = (process("sms", 1, silent_s=75), process("sms", 2, silent_s=SILENT_AFTER_S))
    assert said(with_processes("sms", *gone)) == ["sms: no process is alive; sms-2 was last heard of 10 s ago."]
    assert said(with_processes("sms", *gone, left_out=True)) == []
    waits = replace(with_processes("sms", *gone, left_out=True), lanes=[Lane("sms", open=2, oldest_s=1e5, overdue=2)])
    assert said(waits) == ["sms: 2 rows wait, and this system does without sms: drain or drop them."]
    # As long as somebody drains it, it is a channel as any other.
    drained = with_processes("sms", process("sms"), left_out=True)
    assert said(replace(drained, lanes=[Lane("sms", open=2)])) == []
    assert said(with_processes("sms", *gone, process("sms", 3, silent_s=SILENT_AFTER_S - 1))) == []


def test_a_process_that_ends_does_not_count_and_is_no_trouble_beside_another() -> None:
    ending = process("email", not_ready=("running",), not_ready_s=20)
    assert said(with_processes("email", ending)) == ["email: no process is alive; email-1 is ending."]
    assert said(with_processes("email", ending, process("email", 2))) == []


def test_parts_that_are_not_ready_are_named_after_a_moment_or_at_once_where_nobody_works() -> None:
    cut_off = process("email", not_ready=("broker",), not_ready_s=2)
    (trouble,) = with_troubles(with_processes("email", cut_off)).troubles
    assert trouble.what == "email: its only process is not ready for 2 s: broker."
    assert trouble.runbook == "broker-away"
    assert said(with_processes("email", cut_off, process("email", 2))) == []
    for_long = replace(cut_off, not_ready_s=float(NOT_READY_S))
    assert said(with_processes("email", for_long, process("email", 2))) == [
        "email: 1 of 2 processes are not ready for 15 s: broker."
    ]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (ProviderState.WELL, None),
        (ProviderState.UNKNOWN, None),
        (ProviderState.AVOIDED, None),
        (ProviderState.LIMITED, None),
        (ProviderState.DOWN, "email: smtp (relay:25) has failed for 2 min (1 of 3 processes): timeout no answer."),
        (
            ProviderState.PAUSED,
            "email: smtp (relay:25) has refused us for 2 min (1 of 3 processes): timeout no answer.",
        ),
    ],
)
def test_a_provider_that_fails_or_refuses_us_is_named_with_the_reason(state: ProviderState, words: str | None) -> None:
    worst = Standing("smtp", state, "timeout", "no answer", "relay:25", for_s=120.0)
    status = replace(WELL, providers=[ProviderStatus(Channel.EMAIL, worst, 3, 1)])
    assert said(status) == ([] if words is None else [words])


def test_an_auditor_is_silent_only_once_a_router_has_had_the_time() -> None:
    old = replace(WELL, periodic_audit=result(AUDITOR_SILENT_S + 100))
    assert said(old) == ["No router has made an audit for 6 min 40 s."]
    young = process("router", ran_s=60.0)
    assert said(replace(old, services={**old.services, "router": Service("router", False, [young])})) == []
    assert said(replace(WELL, periodic_audit=None)) == ["No router has made an audit for 1 h."]


def test_what_the_last_audit_found_is_named() -> None:
    found = result(30, holds=False, imbalance={"email": 2, "sms": 0}, overdue={"router": 1})
    assert said(replace(WELL, periodic_audit=found)) == [
        "email: the last audit cannot account for 2 rows.",
        "router: the last audit found overdue 1 rows.",
    ]


def test_many_dead_letters_count_only_beside_what_ended_well() -> None:
    few = {"email": Accounts(accepted=400, delivered=390, dead_lettered=10)}
    assert said(replace(WELL, lately=few)) == []
    many = {"email": Accounts(accepted=100, delivered=90, dead_lettered=10)}
    assert said(replace(WELL, lately=many)) == ["email: 10 of 100 deliveries of 15 min became dead letters."]


def test_gaps_and_a_store_that_may_lose_data_are_named() -> None:
    status = replace(WELL, gaps_in_a_day=2, store=StoreStatus(known=True, evicts=True, append_only=False))
    assert said(status) == [
        "The store drops records when its memory is full.",
        "A server of the store keeps no append-only file: what was accepted is lost with its process.",
        "Within a day there are 2 times at which nobody is on call.",
    ]


@pytest.mark.parametrize(
    ("length_s", "words"),
    [(0.4, "0 s"), (59, "59 s"), (90, "1 min 30 s"), (1830, "30 min"), (3700, "1 h 1 min"), (90000, "1 d 1 h")],
)
def test_a_length_of_time_is_short(length_s: float, words: str) -> None:
    assert short(length_s) == words


@pytest.mark.parametrize(("count", "words"), [(999, "999 bytes"), (1_500, "1.5 kB"), (2_340_000_000, "2.3 GB")])
def test_a_number_of_bytes_is_short(count: int, words: str) -> None:
    assert short_bytes(count) == words

"""The parts of a chaos run that need no system: what is published, and how long a recovery took."""

import json
from collections import Counter

import pytest

from services.router.payloads.parse import parse
from shared.core.topics import Topics
from tests.chaos.evidence import Attempt, Effect, Evidence, Fault, Ledger, Published, Receipt, Record, Row
from tests.chaos.recovery import percentile_ms, publishing_began_at, publishing_ended_at, recovery
from tests.chaos.traffic import ATTENTIVE, MIX, Traffic, key_in

ALL = ("email", "sms", "push", "realtime")
TOPICS = Topics()


def test_a_seed_gives_the_same_publishes_again_and_another_one_others() -> None:
    assert list(Traffic(1, 50, ALL)) == list(Traffic(1, 50, ALL))
    assert list(Traffic(1, 50, ALL)) != list(Traffic(2, 50, ALL))


@pytest.mark.parametrize("mix", [MIX, dict.fromkeys(ATTENTIVE, 1)])
def test_every_publish_is_one_that_the_router_takes_and_names_its_key(mix: dict[str, int]) -> None:
    traffic = Traffic(1, 400, ALL, ttl_s=30, mix=mix)
    assert {publish.sort for publish in traffic} == set(traffic.sorts)
    for publish in traffic:
        route = TOPICS.parse(publish.topic)
        assert route is not None
        assert parse(route.kind, route.params, json.dumps(publish.payload).encode(), envelope={})
        assert key_in(str(publish.payload.get("message") or publish.payload.get("body"))) == publish.key


def test_everybody_in_the_directory_is_somebody_that_the_router_takes() -> None:
    people = [*Traffic(1, 400, ALL).people(), *Traffic(1, 400, ALL, mix=dict.fromkeys(ATTENTIVE, 1)).people()]
    for topic, record in people:
        route = TOPICS.parse(topic)
        assert route is not None
        assert parse(route.kind, route.params, json.dumps(record).encode(), envelope={})


def test_no_two_publishes_share_an_address_of_a_provider() -> None:
    addresses = Counter(
        str(publish.payload.get("to") or publish.payload.get("phone") or publish.payload.get("tokens"))
        for publish in Traffic(1, 2_000, ALL)
        if publish.sort in ("email", "sms", "push")
    )
    assert addresses.most_common(1)[0][1] == 1


@pytest.mark.parametrize("services", [("email",), ("realtime",), ("sms", "push")])
def test_only_what_the_running_services_can_deliver_is_published(services: tuple[str, ...]) -> None:
    sorts = {"email": {"email"}, "realtime": {"realtime"}, "sms": {"sms", "push"}}[services[0]]
    assert {publish.sort for publish in Traffic(1, 100, services)} == sorts


def _evidence() -> Evidence:
    """Two publishes a second; a fault from 2 to 3 s holds up receipts until 4 s and deliveries until 6 s."""
    evidence = Evidence(ledger=Ledger(), faults=[Fault("SIGKILL", "store", 2.0, 3.0)])
    for number in range(10):
        key, sent_at = f"key{number}", number / 2
        held_up = 2.0 <= sent_at < 4.0
        accepted_at = 4.0 if held_up else sent_at + 0.1
        evidence.published[key] = Published(key, "topic", sent_at, [Receipt("accepted", key, accepted_at)])
        row = Row("email:0", "email", "delivered", "", 1, 1, ended_at=6.0 if held_up else accepted_at + 2.5)
        evidence.ledger.records[key] = Record(key, key, accepted_at, 0, [row])
    return evidence


def test_recovery_is_counted_from_the_beginning_or_from_the_end_of_a_fault() -> None:
    from_begin, from_end = (recovery(_evidence(), after_end=after_end) for after_end in (False, True))
    assert (from_begin.accepting_s, from_end.accepting_s) == (2.0, 1.0)
    assert (from_begin.flowing_s, from_end.flowing_s) == (4.0, 3.0)
    assert from_begin.receipt_s == 2.0


def test_what_was_taken_over_is_counted_from_the_end_of_its_lease() -> None:
    evidence = _evidence()
    row = evidence.ledger.records["key0"].rows[0]
    assert recovery(evidence, after_end=False).retaken_s is None
    row.history = [Attempt(1, 13.0, "unknown", "lease_lapsed"), Attempt(2, 13.5, "ok", "")]
    assert recovery(evidence, after_end=False).retaken_s == 0.5


def test_a_fault_with_nothing_after_it_has_no_recovery() -> None:
    evidence = _evidence()
    evidence.faults = [Fault("SIGKILL", "store", 90.0, 91.0)]
    assert recovery(evidence, after_end=True).accepting_s is None
    assert publishing_ended_at(evidence) == 4.5


def test_a_percentile_is_that_of_the_spans_alone() -> None:
    evidence = _evidence()
    evidence.effects = [
        Effect("apns", "device", one.sent_at + (0.5 if one.sent_at < 2 else 1.5), one.key)
        for one in evidence.published.values()
    ]
    began, ended = publishing_began_at(evidence), publishing_ended_at(evidence)
    assert (began, ended) == (0.0, 4.5)
    assert percentile_ms(evidence, ["apns"], [(0, 2)], 0.99) == 500
    assert percentile_ms(evidence, ["apns"], [(0, 1), (2, 3)], 0.99) == 1500
    assert percentile_ms(evidence, ["apns"], [(0, 1), (2, 3)], 0.99, least=5) is None
    assert percentile_ms(evidence, ["fcm"], [(0, 5)], 0.99) is None

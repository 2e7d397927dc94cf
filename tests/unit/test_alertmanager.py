"""Alertmanager's webhook without a socket: what a message says as publishes, and any message at all."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.realtime.alertmanager.mapping import LABELS, Asked, Said, said
from services.realtime.alertmanager.metrics import Outcome
from services.realtime.alertmanager.taking import outcome_of
from services.realtime.alertmanager.webhook import (
    Message,
    UnreadableAlert,
    UnreadableMessage,
    read_alert,
    read_message,
)
from services.router.payloads.notifications import CriticalAlert, InfoAlert, WarningAlert
from shared.core.limits import OBJECT_BYTES
from tests.alertmanager import ENDED, NEVER, STARTED, alert, message

ASKED = Asked("disk_full", None, 86_400)
_MODELS = {"critical": CriticalAlert, "warning": WarningAlert, "info": InfoAlert}


def read(posted: Any) -> Message:
    return read_message(json.dumps(posted).encode())


def said_of(posted_alert: Any, asked: Asked = ASKED, **fields: Any) -> Said:
    """Say the only alert of a message."""
    read_one = read(message(posted_alert, **fields))
    return said(read_one, read_alert(read_one.alerts[0]), asked)


def payload_of(posted_alert: Any, asked: Asked = ASKED, **fields: Any) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(said_of(posted_alert, asked, **fields).payload)
    return payload


def key_of(posted_alert: Any, asked: Asked = ASKED, **fields: Any) -> str:
    return said_of(posted_alert, asked, **fields).key


def test_an_alert_says_what_alertmanager_knows_of_it() -> None:
    found = said_of(alert(labels={"service": "shop", "job": "node"}))
    payload = json.loads(found.payload)
    assert found.topic == "notifications/alerts/critical/disk_full"
    assert len(found.key) == 32
    assert payload == {
        "message": "The disk of db1 is full",
        "source": "db1:9100",
        "severity": "page",
        "affected_systems": ["shop", "db1"],
        "labels": {
            "alertname": "DiskFull", "instance": "db1:9100", "job": "node", "service": "shop", "severity": "page",
        },
        "dedup_key": "0000000000000001",
        "group_key": '{}:{alertname="DiskFull"}',
        "status": "firing",
        "starts_at": "2026-11-28T12:00:00.123Z",
        "expires_after": 86_400,
        "data": {
            "annotations": {"summary": "The disk of db1 is full"},
            "generator_url": "http://prometheus.example:9090/graph?g0.expr=disk_free+%3C+1",
            "external_url": "http://alertmanager.example:9093",
            "receiver": "carillon",
            "group_labels": {"alertname": "DiskFull"},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        ("critical", "critical"),
        ("page", "critical"),
        ("disaster", "critical"),
        ("Warning", "warning"),
        ("warn", "warning"),
        ("info", "info"),
        ("none", "info"),
        (" INFO ", "info"),
        ("a word of theirs", "critical"),
        ("", "critical"),
    ],
)
def test_severity_decides_the_level_unless_the_url_does(severity: str, level: str) -> None:
    posted = alert(labels={"severity": severity})
    assert said_of(posted).topic == f"notifications/alerts/{level}/disk_full"
    assert said_of(posted, Asked("x", "info", 60)).topic == "notifications/alerts/info/x"


def test_an_alert_without_a_severity_is_critical() -> None:
    assert said_of(alert() | {"labels": {"alertname": "X"}}).topic == "notifications/alerts/critical/disk_full"


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"summary": "Short", "description": "Long"}, "Short\n\nLong"),
        ({"description": "Same", "summary": "Same"}, "Same"),
        ({"message": "In the former way"}, "In the former way"),
        ({"runbook_url": "https://example.com"}, "DiskFull is firing (instance: db1:9100)."),
        ({"summary": "  "}, "DiskFull is firing (instance: db1:9100)."),
    ],
)
def test_annotations_or_else_labels_say_what_is_wrong(annotations: dict[str, str], words: str) -> None:
    assert payload_of(alert(annotations=annotations))["message"] == words


def test_an_alert_without_a_name_has_a_sentence_all_the_same() -> None:
    bare: dict[str, dict[str, str]] = {"labels": {}, "annotations": {}}
    assert payload_of(alert() | bare)["message"] == "An alert is firing."
    assert payload_of(alert(status="resolved") | bare)["message"] == "An alert is resolved."


@pytest.mark.parametrize(
    ("labels", "source"),
    [
        ({"instance": "db1:9100", "job": "node"}, "db1:9100"),
        ({"job": "node"}, "node"),
        ({}, "alertmanager.example"),
        ({"instance": "\n"}, "alertmanager.example"),
        ({"instance": "a\nb =?utf-8?"}, "a b = ?utf-8?"),
    ],
)
def test_source_is_the_instance_the_job_or_the_alertmanager(labels: dict[str, str], source: str) -> None:
    assert payload_of(alert() | {"labels": labels})["source"] == source


def test_ports_are_no_part_of_a_systems_name() -> None:
    labels = {"instance": "[2001:db8::1]:9100", "node": "db1", "host": "db1"}
    assert payload_of(alert(labels=labels))["affected_systems"] == ["2001:db8::1", "db1"]


def test_labels_that_are_not_within_our_limits_are_left_out_and_counted() -> None:
    wrong = {"long": "x" * 201, "lines": "a\nb", "encoded": "=?utf-8?"}
    found = said_of(alert(labels=wrong))
    payload = json.loads(found.payload)
    assert found.left_out == 3
    assert not set(wrong) & set(payload["labels"])
    assert payload["data"]["other_labels"] == wrong
    many = said_of(alert(labels={f"label{number}": "x" for number in range(100)}))
    assert many.left_out == 103 - LABELS
    assert len(json.loads(many.payload)["labels"]) == LABELS


# What is the same alert.


def test_repeats_are_the_same_whatever_varies_between_them() -> None:
    key = key_of(alert())
    assert key == key_of(alert(annotations={"summary": "93 %"}, generatorURL="http://other"))
    assert key == key_of(alert(endsAt=ENDED))
    assert key == key_of(alert(), externalURL="http://other", truncatedAlerts=3, receiver="x")
    assert key == key_of(alert(startsAt="2026-11-28T13:00:00.123456789+01:00"))


def test_another_state_start_group_type_or_level_is_another_alert() -> None:
    keys = [
        key_of(alert()),
        key_of(alert(2)),
        key_of(alert(status="resolved")),
        key_of(alert(startsAt="2026-11-28T12:00:01Z")),
        key_of(alert(), groupKey="another"),
        key_of(alert(), Asked("other", None, 86_400)),
        key_of(alert(), Asked("disk_full", "info", 86_400)),
    ]
    assert len(set(keys)) == len(keys)


def test_a_second_end_of_the_same_start_is_not_the_first() -> None:
    first = key_of(alert(status="resolved"))
    assert first == key_of(alert(status="resolved", annotations={"summary": "x"}))
    assert first != key_of(alert(status="resolved", endsAt="2026-11-28T13:30:00Z"))


def test_an_alert_without_a_fingerprint_is_known_by_its_labels() -> None:
    first, again = (payload_of(alert(fingerprint=None))["dedup_key"] for _ in range(2))
    assert first == again != payload_of(alert(2, fingerprint=None))["dedup_key"]


def test_a_group_key_that_is_no_key_of_ours_is_a_digest() -> None:
    for group_key in ("x" * 129, "a\nb", 'x=~"=?"'):
        found = payload_of(alert(), groupKey=group_key)["group_key"]
        assert found != group_key
        assert len(found) == 32
    assert payload_of(alert(), groupKey="x" * 128)["group_key"] == "x" * 128


@pytest.mark.parametrize("starts_at", [NEVER, "", "yesterday", "2026-02-30T00:00:00Z"])
def test_a_start_that_is_none_is_left_out(starts_at: str) -> None:
    assert "starts_at" not in payload_of(alert(startsAt=starts_at))


# What is wrong.


@pytest.mark.parametrize(
    ("posted", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff", "body"),
        (b'{"version": NaN}', "body"),
        (json.dumps(message() | {"version": "3"}).encode(), "version"),
        (json.dumps(message() | {"version": 4}).encode(), "version"),
        (json.dumps(message() | {"groupKey": ""}).encode(), "groupKey"),
        (json.dumps(message() | {"alerts": {}}).encode(), "alerts"),
        (json.dumps(message() | {"truncatedAlerts": -1}).encode(), "truncatedAlerts"),
    ],
)
def test_a_message_that_cannot_be_read_names_the_field(posted: bytes, field: str) -> None:
    with pytest.raises(UnreadableMessage) as error:
        read_message(posted)
    assert [problem.field for problem in error.value.problems] == [field]


@pytest.mark.parametrize(
    ("posted", "field"),
    [
        (alert(status="pending"), "status"),
        (alert(status=None), "status"),
        (alert() | {"labels": ["secret"]}, "labels"),
        (alert() | {"labels": {"secret": 1}}, "labels"),
        (alert(annotations={"secret": None}), "annotations"),
        (alert(startsAt=7), "startsAt"),
        ("secret", "body"),
        (None, "body"),
    ],
)
def test_an_alert_that_cannot_be_read_names_the_field_and_nothing_of_it(posted: Any, field: str) -> None:
    with pytest.raises(UnreadableAlert) as error:
        read_alert(posted)
    assert [problem.field for problem in error.value.problems] == [field]
    assert "secret" not in str(error.value.problems)


@pytest.mark.parametrize(
    ("receipt", "outcome"),
    [
        ({"status": "accepted"}, Outcome.ACCEPTED),
        ({"status": "duplicate"}, Outcome.DUPLICATE),
        ({"status": "rejected", "error": {"code": "idempotency_conflict"}}, Outcome.DUPLICATE),
        ({"status": "rejected", "error": {"code": "rate_limited"}}, Outcome.UNANSWERED),
        ({"status": "rejected", "error": {"code": "unauthorized"}}, Outcome.REFUSED),
        ({"status": "rejected", "error": {"code": "a code of a later release"}}, Outcome.REFUSED),
    ],
)
def test_a_refusal_that_passes_is_told_from_one_that_does_not(receipt: dict[str, Any], outcome: Outcome) -> None:
    assert outcome_of(receipt) is outcome


# Anything at all.

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_maps = st.dictionaries(_texts, _texts, max_size=80)
_alerts = st.fixed_dictionaries(
    {"status": st.sampled_from(["firing", "resolved"]), "labels": _maps},
    optional={
        "annotations": _maps,
        "startsAt": st.one_of(_texts, st.just(STARTED)),
        "endsAt": _texts,
        "generatorURL": _texts,
        "fingerprint": _texts,
    },
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


def _check(found: Said) -> None:
    assert len(found.payload) <= OBJECT_BYTES
    level = found.topic.split("/")[2]
    payload = json.loads(found.payload)
    _MODELS[level].model_validate({**payload, "id": found.key, "alert_type": "disk_full"})


@given(posted=_alerts, group_key=_texts.filter(bool), receiver=_texts, external_url=_texts, group_labels=_maps)
def test_whatever_an_alert_says_its_publish_is_one_that_the_router_takes(
    posted: Any, group_key: str, receiver: str, external_url: str, group_labels: dict[str, str]
) -> None:
    fields: dict[str, Any] = {
        "groupKey": group_key,
        "receiver": receiver,
        "externalURL": external_url,
        "groupLabels": group_labels,
    }
    _check(said_of(posted, **fields))


@pytest.mark.parametrize("text", ["x", "\x00", "\U0001f514", '"'])
def test_an_alert_of_the_largest_message_fits(text: str) -> None:
    long = text * 150_000
    labels = {f"{number:02}{text * 190}": text * 200 for number in range(70)}
    found = said_of(alert(labels=labels, annotations={"summary": long, "other": long}, generatorURL=long))
    _check(found)
    assert found.shortened


@given(posted=st.one_of(_json, st.fixed_dictionaries(
    {"version": st.one_of(st.just("4"), _json), "groupKey": st.one_of(_texts, _json), "alerts": st.lists(_json)}
)))  # fmt: skip
def test_any_json_has_an_answer(posted: Any) -> None:
    try:
        found = read_message(json.dumps(posted).encode())
    except UnreadableMessage:
        return
    for each in found.alerts:
        with suppress(UnreadableAlert):
            _check(said(found, read_alert(each), ASKED))


@given(body=st.binary(max_size=200))
def test_any_bytes_have_an_answer(body: bytes) -> None:
    with pytest.raises(UnreadableMessage):
        read_message(body)

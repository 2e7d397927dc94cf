"""Every topic with a good and a bad payload, the words of each refusal, and any bytes at all."""

import json
import traceback
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from services.router.payloads import control, mails, notifications
from services.router.payloads.parse import Publish, parse
from services.router.payloads.rejection import (
    FIELD_CHARS,
    PROBLEMS_SHOWN,
    FieldProblem,
    Rejected,
    RejectionCode,
)
from shared.core.limits import BATCH_BYTES, OBJECT_BYTES
from shared.core.model import Channel, Platform, Priority
from shared.core.topics import Kind
from shared.directory.categories import NamedCategory
from shared.directory.people import OnCall, Person
from shared.directory.person_change import PersonChange
from shared.directory.tenants import NamedTenant

SUBSCRIPTION = {
    "endpoint": "https://push.example.com/s/1",
    "keys": {
        "p256dh": urlsafe_b64encode(b"\x04" + bytes(64)).decode().rstrip("="),
        "auth": urlsafe_b64encode(bytes(16)).decode().rstrip("="),
    },
    "expirationTime": None,
}
STEP = {"after_s": 300, "notify": ["oncall"]}
TARGET_WORDS = "must be oncall, oncall:second, admins, user:ID or group:ID"
DURATION_WORDS = "must be a length of time such as 30s, 10m, 1h or 7d"
MAIL = {"to": "user@example.com", "subject": "Hello", "body": "Text"}
ACTION = {"id": "yes", "label": "Yes"}

# Kind, the topic's levels, the smallest payload that passes.
SMALLEST: dict[Kind, tuple[dict[str, str], dict[str, Any]]] = {
    Kind.REALTIME_USER: ({"user_id": "user123"}, {"message": "m"}),
    Kind.REALTIME_GROUP: ({"group_id": "ops"}, {"message": "m"}),
    Kind.REALTIME_BROADCAST: ({}, {"message": "m"}),
    Kind.ALERT_CRITICAL: ({"alert_type": "system_failure"}, {"message": "m"}),
    Kind.ALERT_WARNING: ({"alert_type": "system_failure"}, {"message": "m"}),
    Kind.ALERT_INFO: ({"alert_type": "system_failure"}, {"message": "m"}),
    Kind.ALERT_ACKNOWLEDGE: ({"alert_id": "a1"}, {"user_id": "user123"}),
    Kind.ALERT_RESOLVE: ({"alert_id": "a1"}, {}),
    Kind.SYSTEM_STATUS: ({}, {"message": "m"}),
    Kind.SYSTEM_MAINTENANCE: ({}, {"message": "m"}),
    Kind.EMAIL_SEND: ({}, MAIL),
    Kind.EMAIL_BATCH: ({}, {"emails": [MAIL]}),
    Kind.SMS_SEND: ({}, {"phone": "+15005550006", "message": "m"}),
    Kind.PUSH_MOBILE: ({"platform": "ios"}, {"message": "m", "user_id": "user123"}),
    Kind.CANCEL: ({"notification_id": "n1"}, {}),
    Kind.SESSION_CONNECT: ({"user_id": "user123"}, {}),
    Kind.SESSION_DISCONNECT: ({"user_id": "user123"}, {}),
    Kind.SESSION_HEARTBEAT: ({"user_id": "user123"}, {}),
    Kind.DIRECTORY_USER: ({"user_id": "user123"}, {}),
    Kind.DIRECTORY_ONCALL: ({"alert_type": "*"}, {"users": ["user123"]}),
    Kind.DIRECTORY_PUBLISHER: ({"publisher": "shop"}, {}),
    Kind.DIRECTORY_CATEGORY: ({"category": "comments"}, {}),
    Kind.DIRECTORY_TENANT: ({"tenant": "acme"}, {}),
    Kind.ALERT_SNOOZE: ({"alert_id": "a1"}, {"user_id": "user123", "until": 2_000_000_000}),
    Kind.ALERT_REASSIGN: ({"alert_id": "a1"}, {"user_id": "user123", "to": "user:user456"}),
    Kind.DIRECTORY_POLICY: ({"policy": "database"}, {"levels": [{"notify": ["oncall"]}]}),
    Kind.DIRECTORY_SILENCE: (
        {"silence": "db-upgrade"},
        {"matchers": ["system=db-1"], "ends_at": 2_000_000_000, "comment": "Upgrade."},
    ),
    Kind.DIRECTORY_LIVENESS: ({"source": "gateway-7"}, {"every": "60s"}),
    Kind.LIVENESS_BIRTH: ({"source": "gateway-7"}, {}),
    Kind.LIVENESS_DEATH: ({"source": "gateway-7"}, {}),
    Kind.LIVENESS_BEAT: ({"source": "gateway-7"}, {}),
    Kind.DIRECTORY_INHIBITION: ({"inhibition": "site"}, {"source": ["a=b"], "target": ["c=d"]}),
    Kind.DIRECTORY_SUPPRESS: ({"channel": "email"}, {"address": "user@example.com", "reason": "bounce"}),
}
# What stands in for a required field that is missing.
ALTERNATIVES = {
    (Kind.PUSH_MOBILE, "user_id"): "required, or tokens",
    (Kind.DIRECTORY_SUPPRESS, "reason"): "required, or remove",
    (Kind.ALERT_SNOOZE, "until"): "required, or for",
}
NOTIFICATIONS = [
    kind
    for kind in Kind
    if kind.value.startswith(("realtime", "alert_", "system", "email", "sms", "push"))
    and kind not in (Kind.ALERT_ACKNOWLEDGE, Kind.ALERT_RESOLVE, Kind.ALERT_SNOOZE, Kind.ALERT_REASSIGN)
]
PRIORITISED = [kind for kind in NOTIFICATIONS if not kind.value.startswith(("alert", "system"))]


def publish(kind: Kind, change: dict[str, Any] | None = None, params: dict[str, str] | None = None) -> Any:
    """Parse the smallest payload of a kind with some fields changed."""
    smallest_params, smallest = SMALLEST[kind]
    return parse(kind, params or smallest_params, json.dumps({**smallest, **(change or {})}).encode())


def refusal(kind: Kind, change: dict[str, Any] | None = None, params: dict[str, str] | None = None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        publish(kind, change, params)
    return caught.value


def problems(kind: Kind, change: dict[str, Any] | None = None, params: dict[str, str] | None = None) -> dict[str, str]:
    """Return field and problem of a refused payload."""
    rejected = refusal(kind, change, params)
    assert rejected.code is RejectionCode.INVALID_PAYLOAD
    return {each.field: each.problem for each in rejected.fields}


@pytest.mark.parametrize("kind", Kind)
def test_smallest_payload_of_every_topic_passes_with_its_levels(kind: Kind) -> None:
    params, _ = SMALLEST[kind]
    found = publish(kind)
    assert {name: getattr(found, name) for name in params} == params


@pytest.mark.parametrize(
    ("kind", "missing"),
    [(kind, name) for kind, (_, smallest) in SMALLEST.items() for name in smallest if kind != Kind.DIRECTORY_ONCALL],
)
def test_required_field_is_required_and_null_is_no_value(kind: Kind, missing: str) -> None:
    params, smallest = SMALLEST[kind]
    without = {name: value for name, value in smallest.items() if name != missing}
    words = ALTERNATIVES.get((kind, missing), "required")
    for document in (without, {**smallest, missing: None}):
        with pytest.raises(Rejected) as caught:
            parse(kind, params, json.dumps(document).encode())
        assert caught.value.fields == (FieldProblem(missing, words),)


@pytest.mark.parametrize("kind", [kind for kind, (params, _) in SMALLEST.items() if params])
@pytest.mark.parametrize("level", ["+", "#", "a/b", "", "a\n", "x" * 129, "=?utf-8?q?x?="])
def test_bad_topic_level_is_named(kind: Kind, level: str) -> None:
    (name,) = SMALLEST[kind][0]
    assert list(problems(kind, params={name: level})) == [name]


def test_mail_may_be_html_alone() -> None:
    found = publish(Kind.EMAIL_SEND, {"body": None, "html_body": "<p>Hello</p>"})
    assert (found.body, found.html_body) == (None, "<p>Hello</p>")
    assert problems(Kind.EMAIL_SEND, {"body": None, "html_body": 1}) == {"html_body": "must be a string"}
    assert problems(Kind.EMAIL_SEND, {"body": ""}) == {"body": "must not be empty"}
    batch = [MAIL, {**MAIL, "body": None}]
    assert problems(Kind.EMAIL_BATCH, {"emails": batch}) == {"emails.1.body": "required"}


def test_suppression_is_of_a_channel_that_asks_the_list() -> None:
    assert problems(Kind.DIRECTORY_SUPPRESS, params={"channel": "push"}) == {"channel": "must be one of email"}
    assert publish(Kind.DIRECTORY_SUPPRESS, {"reason": None, "remove": True}).remove


def test_only_an_unsubscription_is_of_a_category() -> None:
    said = {"reason": "unsubscribed", "category": "billing"}
    assert publish(Kind.DIRECTORY_SUPPRESS, said).category == "billing"
    wrong = {"category": "only with the reason unsubscribed"}
    assert problems(Kind.DIRECTORY_SUPPRESS, said | {"reason": "bounce"}) == wrong
    assert problems(Kind.DIRECTORY_SUPPRESS, said | {"reason": None, "remove": True}) == wrong


@pytest.mark.parametrize("kind", [Kind.DIRECTORY_USER, Kind.DIRECTORY_ONCALL, Kind.DIRECTORY_SUPPRESS])
def test_what_mqtt_says_of_notifications_is_no_field_of_the_directory(kind: Kind) -> None:
    params, smallest = SMALLEST[kind]
    assert parse(kind, params, json.dumps(smallest).encode(), envelope={"id": "k1", "ttl_s": 60.0}) == publish(kind)


def test_unknown_platform_is_named_with_the_known_ones() -> None:
    assert problems(Kind.PUSH_MOBILE, params={"platform": "symbian"}) == {
        "platform": "must be one of ios, android, ntfy, web"
    }


@pytest.mark.parametrize("kind", [kind for kind in Kind if not kind.value.startswith("directory")])
def test_unknown_field_is_ignored_in_everything_but_the_directory(kind: Kind) -> None:
    assert publish(kind, {"from_a_newer_publisher": 1}) == publish(kind)


@pytest.mark.parametrize("kind", [Kind.DIRECTORY_USER, Kind.DIRECTORY_ONCALL, Kind.DIRECTORY_SUPPRESS])
def test_unknown_field_is_refused_in_the_directory(kind: Kind) -> None:
    assert problems(kind, {"nickname": "x"}) == {"nickname": "unknown"}


def test_topic_wins_over_a_field_of_its_name() -> None:
    assert publish(Kind.REALTIME_USER, {"user_id": "somebody-else"}).user_id == "user123"


@pytest.mark.parametrize(("kind", "name"), [(Kind.DIRECTORY_USER, "user_id"), (Kind.DIRECTORY_ONCALL, "alert_type")])
def test_directory_record_names_what_its_topic_names(kind: Kind, name: str) -> None:
    assert publish(kind, {name: SMALLEST[kind][0][name]}) == publish(kind)
    assert problems(kind, {name: "another"}) == {name: "differs from the topic"}


@pytest.mark.parametrize("kind", NOTIFICATIONS)
def test_every_notification_takes_the_envelope(kind: Kind) -> None:
    found = publish(
        kind,
        {
            "id": "order 7/3",
            "category": "orders",
            "channels": ["email", "sms", "email"],
            "send_at": 1800000000,
            "expires_at": "2027-01-15T10:00:00+01:00",
            "ttl_s": 60,
            "events": True,
        },
    )
    assert found.id == "order 7/3"
    assert found.category == "orders"
    assert found.channels == (Channel.EMAIL, Channel.SMS)
    assert found.send_at == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert found.expires_at == datetime(2027, 1, 15, 9, tzinfo=UTC)
    assert (found.ttl_s, found.events) == (60, True)


ENVELOPE_PROBLEMS: list[tuple[dict[str, Any], str, str]] = [
    ({"id": ""}, "id", "must not be empty"),
    ({"id": 7}, "id", "must be a string"),
    ({"id": "x" * 129}, "id", "too long: at most 128 characters"),
    ({"id": "a\x00"}, "id", "must not contain control characters"),
    ({"category": "a\nb"}, "category", "must not contain control characters"),
    ({"category": "x" * 65}, "category", "too long: at most 64 characters"),
    ({"channels": []}, "channels", "must not be empty"),
    ({"channels": ["email", "fax"]}, "channels.1", "must be one of realtime, email, sms, push"),
    ({"channels": "email"}, "channels", "must be a list"),
    ({"send_at": "tomorrow"}, "send_at", "must be epoch seconds or RFC 3339 with a zone"),
    ({"send_at": "2027-01-15T08:00:00"}, "send_at", "must be epoch seconds or RFC 3339 with a zone"),
    ({"send_at": 1800000000000}, "send_at", "must be between the years 2000 and 2099, in seconds"),
    ({"send_at": True}, "send_at", "must be epoch seconds or RFC 3339 with a zone"),
    ({"expires_at": "2027-02-30T08:00:00Z"}, "expires_at", "not an existing time"),
    ({"send_at": 1800000000, "expires_at": 1800000000}, "expires_at", "must be after send_at"),
    ({"ttl_s": 0}, "ttl_s", "must be greater than 0"),
    ({"ttl_s": "60"}, "ttl_s", "must be a number"),
    ({"ttl_s": True}, "ttl_s", "must be a number"),
    ({"ttl_s": 2**32}, "ttl_s", "must be at most 4294967295"),
    ({"events": "true"}, "events", "must be true or false"),
    ({"events": 1}, "events", "must be true or false"),
]


@pytest.mark.parametrize("kind", NOTIFICATIONS)
@pytest.mark.parametrize(("change", "field", "words"), ENVELOPE_PROBLEMS)
def test_bad_envelope_is_refused_everywhere(kind: Kind, change: dict[str, Any], field: str, words: str) -> None:
    assert problems(kind, change) == {field: words}


@pytest.mark.parametrize("kind", PRIORITISED)
def test_priority_is_the_publishers_where_the_topic_leaves_it_open(kind: Kind) -> None:
    assert publish(kind).priority is Priority.NORMAL
    assert publish(kind, {"priority": "critical"}).priority is Priority.CRITICAL
    assert problems(kind, {"priority": "urgent"}) == {"priority": "must be one of low, normal, high, critical"}


@pytest.mark.parametrize(
    ("kind", "priority"),
    [
        (Kind.ALERT_CRITICAL, Priority.CRITICAL),
        (Kind.ALERT_WARNING, Priority.HIGH),
        (Kind.ALERT_INFO, Priority.NORMAL),
        (Kind.SYSTEM_STATUS, Priority.NORMAL),
        (Kind.SYSTEM_MAINTENANCE, Priority.HIGH),
    ],
)
def test_priority_of_alerts_and_system_topics_is_fixed(kind: Kind, priority: Priority) -> None:
    assert publish(kind, {"priority": "low"}).priority is priority


def test_alert_has_the_level_of_its_topic() -> None:
    kinds = (Kind.ALERT_CRITICAL, Kind.ALERT_WARNING, Kind.ALERT_INFO)
    assert [publish(kind).level for kind in kinds] == ["critical", "warning", "info"]


def test_mqtt_properties_count_where_the_payload_is_silent() -> None:
    params, smallest = SMALLEST[Kind.REALTIME_USER]
    properties = {"id": "from-property", "ttl_s": 30}

    def parsed(change: dict[str, Any], kind: Kind = Kind.REALTIME_USER) -> Any:
        return parse(kind, params, json.dumps({**smallest, **change}).encode(), envelope=properties)

    assert (parsed({}).id, parsed({}).ttl_s) == ("from-property", 30)
    assert (parsed({"id": "own", "ttl_s": None}).id, parsed({"ttl_s": None}).ttl_s) == ("own", 30)
    with pytest.raises(Rejected) as caught:
        parse(Kind.REALTIME_USER, params, b'{"message": "m"}', envelope={"id": "a\nb"})
    assert caught.value.fields == (FieldProblem("id", "must not contain control characters"),)
    assert parse(Kind.DIRECTORY_USER, params, b"{}", envelope=properties) == PersonChange.of(Person(user_id="user123"))


def test_realtime_fields_and_defaults() -> None:
    plain = publish(Kind.REALTIME_USER)
    assert (plain.title, plain.type, plain.data) == ("Notification", "info", {})
    data = {"message_id": "msg_456", "sender": "john_doe", "nested": {"list": [1, 2.5, None, True]}}
    full = publish(Kind.REALTIME_USER, {"title": "New Message", "type": "message", "priority": "high", "data": data})
    assert (full.title, full.type, full.priority, full.data) == ("New Message", "message", Priority.HIGH, data)


def test_broadcast_without_groups_is_for_everybody() -> None:
    assert publish(Kind.REALTIME_BROADCAST).target_groups == ()
    assert publish(Kind.REALTIME_BROADCAST, {"target_groups": []}).target_groups == ()
    assert publish(Kind.REALTIME_BROADCAST, {"target_groups": ["a", "b", "a"]}).target_groups == ("a", "b")


def test_alert_fields() -> None:
    alert = publish(
        Kind.ALERT_CRITICAL,
        {
            "source": "database_monitor",
            "severity": "high",
            "affected_systems": ["db-1", "db-2", "db-1"],
            "data": {"x": 1},
            "dedup_key": "db",
        },
    )
    assert (alert.source, alert.severity, alert.affected_systems) == ("database_monitor", "high", ("db-1", "db-2"))
    assert (alert.data, alert.dedup_key) == ({"x": 1}, "db")


def test_status_services_are_names_or_names_with_states() -> None:
    assert publish(Kind.SYSTEM_STATUS).services == ()
    assert publish(Kind.SYSTEM_STATUS, {"status": "degraded", "services": ["api"]}).services == ("api",)
    assert publish(Kind.SYSTEM_STATUS, {"services": {"api": "down"}}).services == {"api": "down"}


def test_maintenance_times_are_moments() -> None:
    found = publish(
        Kind.SYSTEM_MAINTENANCE,
        {"starts_at": 1800000000, "ends_at": "2027-01-15T08:00:01Z", "services": ["api"]},
    )
    assert (found.ends_at - found.starts_at).total_seconds() == 1
    assert found.services == ("api",)


def test_batch_passes_what_it_says_on_to_mails_that_do_not_say_it() -> None:
    batch = publish(
        Kind.EMAIL_BATCH,
        {
            "priority": "high",
            "send_at": 1800000000,
            "category": "news",
            "id": "batch-1",
            "emails": [MAIL, {**MAIL, "priority": "low", "category": None}, {**MAIL, "send_at": 1900000000}],
        },
    )
    first, second, third = batch.emails
    assert (first.priority, first.category, first.send_at) == (Priority.HIGH, "news", batch.send_at)
    assert (second.priority, second.category) == (Priority.LOW, "news")
    assert third.send_at == datetime.fromtimestamp(1900000000, UTC)
    assert {mail.id for mail in batch.emails} == {None}


def test_batch_takes_a_thousand_mails_and_not_one_more() -> None:
    mail = {"to": "a@b.test", "subject": "s", "body": "b"}
    assert len(publish(Kind.EMAIL_BATCH, {"emails": [mail] * 1000}).emails) == 1000
    assert problems(Kind.EMAIL_BATCH, {"emails": [mail] * 1001}) == {"emails": "too many: at most 1000"}


def test_push_goes_to_a_user_or_to_tokens_of_the_platform_or_to_both() -> None:
    ios = publish(Kind.PUSH_MOBILE, {"tokens": ["ab" * 32, "ab" * 32]}, {"platform": "android"})
    assert (ios.platform, ios.tokens, ios.user_id) == (Platform.ANDROID, ("ab" * 32,), "user123")
    web = publish(Kind.PUSH_MOBILE, {"user_id": None, "tokens": [SUBSCRIPTION]}, {"platform": "web"})
    assert web.user_id is None
    assert web.tokens[0].endpoint == SUBSCRIPTION["endpoint"]
    ntfy = publish(Kind.PUSH_MOBILE, {"tokens": ["ops_7"]}, {"platform": "ntfy"})
    assert (ntfy.platform, ntfy.tokens) == (Platform.NTFY, ("ops_7",))


PROBLEMS: list[tuple[Kind, dict[str, Any], str, str]] = [
    (Kind.REALTIME_USER, {"message": 1}, "message", "must be a string"),
    (Kind.REALTIME_USER, {"message": ""}, "message", "must not be empty"),
    (Kind.REALTIME_USER, {"title": "x" * 201}, "title", "too long: at most 200 characters"),
    (Kind.REALTIME_USER, {"title": "a\r\nBcc: b"}, "title", "must not contain control characters"),
    (Kind.REALTIME_USER, {"title": "=?utf-8?b?QQ==?="}, "title", "must not contain =?"),
    (Kind.REALTIME_USER, {"type": ["info"]}, "type", "must be a string"),
    (Kind.REALTIME_USER, {"data": []}, "data", "must be an object"),
    (Kind.REALTIME_USER, {"data": "text"}, "data", "must be an object"),
    (Kind.REALTIME_GROUP, {"data": 1}, "data", "must be an object"),
    (Kind.REALTIME_BROADCAST, {"target_groups": "ops"}, "target_groups", "must be a list"),
    (Kind.REALTIME_BROADCAST, {"target_groups": ["ops", 1]}, "target_groups.1", "must be a string"),
    (Kind.REALTIME_BROADCAST, {"target_groups": ["a/b"]}, "target_groups.0", "must not contain / + or #"),
    (Kind.REALTIME_BROADCAST, {"target_groups": ["a"] * 501}, "target_groups", "too many: at most 500"),
    (Kind.ALERT_CRITICAL, {"source": 1}, "source", "must be a string"),
    (Kind.ALERT_CRITICAL, {"severity": {}}, "severity", "must be a string"),
    (Kind.ALERT_WARNING, {"affected_systems": "db"}, "affected_systems", "must be a list"),
    (Kind.ALERT_WARNING, {"affected_systems": {"db": "down"}}, "affected_systems", "must be a list"),
    (Kind.ALERT_WARNING, {"affected_systems": [None]}, "affected_systems.0", "must be a string"),
    (Kind.ALERT_INFO, {"dedup_key": "x" * 129}, "dedup_key", "too long: at most 128 characters"),
    (Kind.ALERT_INFO, {"data": [1]}, "data", "must be an object"),
    (Kind.ALERT_ACKNOWLEDGE, {"user_id": "a/b"}, "user_id", "must not contain / + or #"),
    (Kind.ALERT_ACKNOWLEDGE, {"note": "x" * 1001}, "note", "too long: at most 1000 characters"),
    (Kind.ALERT_RESOLVE, {"note": 1}, "note", "must be a string"),
    (Kind.SYSTEM_STATUS, {"services": "api"}, "services", "must be a list or an object"),
    (Kind.SYSTEM_STATUS, {"services": ["api", 1]}, "services.1", "must be a string"),
    (Kind.SYSTEM_STATUS, {"services": {"api": 1}}, "services.api", "must be a string"),
    (Kind.SYSTEM_STATUS, {"services": {"a\nb": "up"}}, "services", "must not contain control characters"),
    (Kind.SYSTEM_STATUS, {"status": True}, "status", "must be a string"),
    (Kind.SYSTEM_MAINTENANCE, {"services": {"api": "down"}}, "services", "must be a list"),
    (Kind.SYSTEM_MAINTENANCE, {"starts_at": "soon"}, "starts_at", "must be epoch seconds or RFC 3339 with a zone"),
    (Kind.SYSTEM_MAINTENANCE, {"starts_at": 1800000000, "ends_at": 1800000000}, "ends_at", "must be after starts_at"),
    (Kind.EMAIL_SEND, {"to": ["user@example.com"]}, "to", "must be a string"),
    (Kind.EMAIL_SEND, {"to": "user"}, "to", "not a valid email address"),
    (Kind.EMAIL_SEND, {"to": "a@example.com, b@example.com"}, "to", "not a valid email address"),
    (Kind.EMAIL_SEND, {"to": "a@example.com\r\nBcc: b@example.com"}, "to", "must not contain control characters"),
    (Kind.EMAIL_SEND, {"subject": "a\nBcc: b@example.com"}, "subject", "must not contain control characters"),
    (Kind.EMAIL_SEND, {"subject": "=?utf-8?q?a=0Ab?="}, "subject", "must not contain =?"),
    (Kind.EMAIL_SEND, {"subject": "x" * 201}, "subject", "too long: at most 200 characters"),
    (Kind.EMAIL_SEND, {"body": ""}, "body", "must not be empty"),
    (Kind.EMAIL_SEND, {"html_body": 1}, "html_body", "must be a string"),
    (Kind.EMAIL_BATCH, {"emails": []}, "emails", "must not be empty"),
    (Kind.EMAIL_BATCH, {"emails": {}}, "emails", "must be a list"),
    (Kind.EMAIL_BATCH, {"emails": [MAIL, "x"]}, "emails.1", "must be an object"),
    (Kind.EMAIL_BATCH, {"emails": [MAIL] * 3 + [{**MAIL, "to": "x"}]}, "emails.3.to", "not a valid email address"),
    (Kind.EMAIL_BATCH, {"emails": [{**MAIL, "subject": None}]}, "emails.0.subject", "required"),
    (Kind.SMS_SEND, {"phone": 15005550006}, "phone", "must be a string"),
    (Kind.SMS_SEND, {"phone": "0033612345678"}, "phone", "not a phone number in E.164 form"),
    (Kind.SMS_SEND, {"phone": "+1555"}, "phone", "not a phone number in E.164 form"),
    (Kind.SMS_SEND, {"phone": "+15551234"}, "phone", "not a possible phone number"),
    (Kind.SMS_SEND, {"message": "x" * 1601}, "message", "too long: at most 1600 characters"),
    (Kind.SMS_SEND, {"message": ""}, "message", "must not be empty"),
    (Kind.PUSH_MOBILE, {"tokens": []}, "tokens", "must not be empty"),
    (Kind.PUSH_MOBILE, {"tokens": "abc"}, "tokens", "must be a list"),
    (Kind.PUSH_MOBILE, {"tokens": [1]}, "tokens.0", "must be a string or a subscription object"),
    (Kind.PUSH_MOBILE, {"tokens": ["a b"]}, "tokens.0", "not a valid device token"),
    (Kind.PUSH_MOBILE, {"tokens": [SUBSCRIPTION]}, "tokens", "must be strings for ios"),
    (Kind.PUSH_MOBILE, {"tokens": ["t"] * 501}, "tokens", "too many: at most 500"),
    (Kind.PUSH_MOBILE, {"user_id": "a+b"}, "user_id", "must not contain / + or #"),
    (Kind.SESSION_CONNECT, {"session_id": 1}, "session_id", "must be a string"),
    (Kind.SESSION_CONNECT, {"device_info": 1}, "device_info", "must be an object or a string"),
    (Kind.SESSION_DISCONNECT, {"session_id": "a#"}, "session_id", "must not contain / + or #"),
    (Kind.SESSION_HEARTBEAT, {"device_info": "a\nb"}, "device_info", "must not contain control characters"),
    (Kind.DIRECTORY_USER, {"email": "x"}, "email", "not a valid email address"),
    (Kind.DIRECTORY_USER, {"devices": [{"token": "t"}]}, "devices.0.platform", "required"),
    (
        Kind.DIRECTORY_USER,
        {"devices": [{"platform": "x"}]},
        "devices.0.platform",
        "must be one of ios, android, ntfy, web",
    ),
    (Kind.DIRECTORY_USER, {"devices": [{"platform": "ios"}]}, "devices.0.token", "required"),
    (Kind.DIRECTORY_USER, {"devices": [{"platform": "web"}]}, "devices.0.subscription", "required"),
    (Kind.DIRECTORY_USER, {"devices": ["t"]}, "devices.0", "must be an object"),
    (Kind.DIRECTORY_USER, {"preferences": {"sms": "yes"}}, "preferences.sms", "must be true or false"),
    (Kind.DIRECTORY_USER, {"preferences": []}, "preferences", "must be an object"),
    (Kind.DIRECTORY_USER, {"roles": ["root"]}, "roles.0", "must be one of admin"),
    (Kind.DIRECTORY_SUPPRESS, {"address": "nobody"}, "address", "not a valid email address"),
    (Kind.DIRECTORY_SUPPRESS, {"reason": "boredom"}, "reason", "must be one of bounce, complaint, unsubscribed"),
    (Kind.DIRECTORY_PUBLISHER, {"may": ["notifications/#/x"]}, "may.0", "must be a topic filter"),
    (Kind.DIRECTORY_PUBLISHER, {"may": ["from/shop/#"]}, "may.0", "without from/ and the publisher"),
    (Kind.DIRECTORY_PUBLISHER, {"may_answer": "all"}, "may_answer", "must be one of own, any"),
    (
        Kind.DIRECTORY_PUBLISHER, {"rate": "1000"}, "rate",
        "must be a rate such as 1000/60s, at most over a day, or 0 for no limit",
    ),
    (Kind.DIRECTORY_PUBLISHER, {"share": 0}, "share", "must be greater than 0"),
    (Kind.DIRECTORY_PUBLISHER, {"keys": ["secret"]}, "keys.0", "must be a SHA-256 in hexadecimal"),
    (Kind.DIRECTORY_PUBLISHER, {"unknown_fields": "ignore"}, "unknown_fields", "must be one of warn, reject"),
    (Kind.DIRECTORY_USER, {"quiet_hours": {"windows": [{"from": "22:00"}]}}, "quiet_hours.windows.0.to", "required"),
    (
        Kind.DIRECTORY_USER, {"preferences": {"categories": {"a/b": {}}}}, "preferences.categories",
        "must not contain / + or #",
    ),
    (
        Kind.DIRECTORY_USER, {"preferences": {"categories": {"billing": {"digest": "yearly"}}}},
        "preferences.categories.billing.digest", "must be one of instant, hourly, daily, weekly",
    ),
    (Kind.DIRECTORY_CATEGORY, {"policy": "never"}, "policy", "must be one of opt_out, opt_in, required"),
    (Kind.DIRECTORY_CATEGORY, {"throttle": {"limit": 1, "per": "1y"}}, "throttle.per", DURATION_WORDS),
    (
        Kind.DIRECTORY_CATEGORY, {"throttle": {"limit": 1, "per": "32d"}}, "throttle.per",
        "must be at least 1s and at most 31d",
    ),
    (
        Kind.DIRECTORY_CATEGORY, {"throttle": {"limit": 1, "per": "1h", "key": "thread"}}, "throttle.key",
        "must name a field of the data, such as data.thread",
    ),
    (Kind.DIRECTORY_CATEGORY, {"digest": {}}, "digest.schedule", "required, or window"),
    (
        Kind.DIRECTORY_CATEGORY, {"digest": {"window": 1, "schedule": {}}}, "digest.schedule",
        "not together with window",
    ),
    (
        Kind.DIRECTORY_CATEGORY, {"digest": {"window": 1e-7}}, "digest.window",
        "must be at least a millisecond and at most 366d",
    ),
    (
        Kind.DIRECTORY_CATEGORY, {"digest": {"window": "1h", "at_most": 60}}, "digest.at_most",
        "must not be shorter than window",
    ),
    (Kind.DIRECTORY_TENANT, {"brand": {"colour": "blue"}}, "brand.colour", "must be a colour such as #0a7cff"),
    (Kind.DIRECTORY_TENANT, {"brand": {"logo_url": "http://a.example"}}, "brand.logo_url", "must be an https URL"),
    (Kind.DIRECTORY_TENANT, {"categories": {"news": {"title": ""}}}, "categories.news.title", "must not be empty"),
    (Kind.ALERT_SNOOZE, {"until": None}, "until", "required, or for"),
    (Kind.ALERT_SNOOZE, {"for": "2h"}, "until", "not together with for"),
    (Kind.ALERT_REASSIGN, {"to": "everybody"}, "to", TARGET_WORDS),
    (Kind.DIRECTORY_SILENCE, {"matchers": []}, "matchers", "must not be empty"),
    (Kind.DIRECTORY_SILENCE, {"matchers": ["a=~.*"]}, "matchers", "at least one must not match the empty text"),
    (Kind.DIRECTORY_SILENCE, {"starts_at": 2_000_000_000}, "ends_at", "must be after starts_at"),
    (Kind.DIRECTORY_LIVENESS, {"every": "often"}, "every", DURATION_WORDS),
    (Kind.DIRECTORY_LIVENESS, {"every": 0.5}, "every", "must be at least 1s"),
    (Kind.DIRECTORY_LIVENESS, {"severity": "loud"}, "severity", "must be one of critical, warning, info"),
    (Kind.DIRECTORY_LIVENESS, {"children_of": "a/b"}, "children_of", "must not contain / + or #"),
    (Kind.LIVENESS_DEATH, {"session": "17"}, "session", "must be a whole number"),
    (Kind.LIVENESS_BIRTH, {"session": 10**15}, "session", "must be at most 999999999999999"),
    (Kind.LIVENESS_DEATH, {"clean": 1}, "clean", "must be true or false"),
    (Kind.DIRECTORY_INHIBITION, {"target": []}, "target", "must not be empty"),
    (Kind.DIRECTORY_POLICY, {"levels": []}, "levels", "must not be empty"),
    (Kind.DIRECTORY_POLICY, {"levels": [{"notify": ["group:"]}]}, "levels.0.notify.0", TARGET_WORDS),
    (Kind.DIRECTORY_POLICY, {"group": {"by": []}}, "group.by", "must not be empty"),
    (Kind.DIRECTORY_ONCALL, {"escalation": [STEP], "policy": "database"}, "policy", "not together with escalation"),
    (Kind.REALTIME_USER, {"actions": [ACTION]}, "actions.0.topic", "required, or url"),
    (Kind.REALTIME_USER, {"actions": [{**ACTION, "topic": False}]}, "actions.0.topic", "required, or url"),
    (Kind.REALTIME_USER, {"actions": [{**ACTION, "topic": 1}]}, "actions.0.topic", "must be true, false or a string"),
    (
        Kind.REALTIME_USER, {"actions": [{**ACTION, "topic": "a", "url": "https://a.example"}]}, "actions.0.topic",
        "not together with url",
    ),
    (Kind.REALTIME_USER, {"actions": [{**ACTION, "topic": True}] * 2}, "actions", "must have an id of its own each"),
    (Kind.DIRECTORY_ONCALL, {"users": None}, "layers", "required, or users"),
    (Kind.DIRECTORY_ONCALL, {"users": []}, "users", "must not be empty"),
    (Kind.DIRECTORY_ONCALL, {"repeat": 1.5}, "repeat", "must be a whole number"),
    (Kind.DIRECTORY_ONCALL, {"repeat": 101}, "repeat", "must be at most 100"),
    (Kind.DIRECTORY_ONCALL, {"escalation": [{**STEP, "after_s": -1}]}, "escalation.0.after_s", "must be at least 0"),
    (Kind.DIRECTORY_ONCALL, {"escalation": [{**STEP, "notify": []}]}, "escalation.0.notify", "must not be empty"),
    (Kind.DIRECTORY_ONCALL, {"escalation": [{**STEP, "notify": ["x"]}]}, "escalation.0.notify.0", TARGET_WORDS),
    (Kind.DIRECTORY_ONCALL, {"overrides": [{"user": "a", "from": 1800000000}]}, "overrides.0.until", "required"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "field", "words"), PROBLEMS)
def test_bad_field_is_named_in_stable_words(kind: Kind, change: dict[str, Any], field: str, words: str) -> None:
    if "user_id" not in change and kind is Kind.PUSH_MOBILE:
        change = {**change, "user_id": None}
    assert problems(kind, change) == {field: words}


def test_what_is_meant_in_a_tenants_category_does_not_depend_on_its_name() -> None:
    for name in ("comments", "digest"):
        (wrong,) = refusal(Kind.DIRECTORY_TENANT, {"categories": {name: {"polcy": "opt_in"}}}).fields
        assert wrong == FieldProblem(f"categories.{name}.polcy", "unknown", "policy")


def test_every_topic_has_a_refused_payload_in_the_table() -> None:
    # Their only field is their level.
    assert {kind for kind, *_ in PROBLEMS} == set(Kind) - {Kind.CANCEL, Kind.LIVENESS_BEAT}


def test_tokens_of_the_web_are_subscriptions() -> None:
    assert problems(Kind.PUSH_MOBILE, {"tokens": ["t"]}, {"platform": "web"}) == {
        "tokens": "must be subscription objects for web"
    }


def test_a_null_clears_a_field_of_the_directory() -> None:
    params = {"user_id": "user123"}
    person = parse(Kind.DIRECTORY_USER, params, b'{"name": null, "groups": null, "preferences": {"sms": null}}')
    assert isinstance(person, PersonChange)
    assert person.patch == {"user_id": "user123", "name": None, "groups": None, "preferences": {"sms": None}}
    with pytest.raises(Rejected) as caught:
        parse(Kind.DIRECTORY_USER, params, b'{"nmae": null, "preferences": {"smss": null}}')
    assert {field.field for field in caught.value.fields} == {"nmae", "preferences.smss"}


def test_push_needs_somebody_to_go_to() -> None:
    assert problems(Kind.PUSH_MOBILE, {"user_id": None}) == {"user_id": "required, or tokens"}


def test_directory_topics_return_the_records() -> None:
    person = publish(Kind.DIRECTORY_USER, {"email": "user123@example.com", "groups": ["ops"]})
    assert isinstance(person, PersonChange)
    named = {"user_id": "user123", "email": "user123@example.com", "groups": ["ops"]}
    assert (person.user_id, person.patch) == ("user123", named)
    entry = publish(Kind.DIRECTORY_ONCALL)
    assert isinstance(entry, OnCall)
    assert (entry.alert_type, entry.users) == ("*", ("user123",))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.DIRECTORY_USER, control.DeleteUser(user_id="user123")),
        (Kind.DIRECTORY_ONCALL, control.DeleteOnCall(alert_type="*")),
        (Kind.ALERT_RESOLVE, control.AlertResolve(alert_id="a1")),
        (Kind.CANCEL, control.Cancel(notification_id="n1")),
        (Kind.SESSION_CONNECT, control.SessionConnect(user_id="user123")),
        (Kind.SESSION_DISCONNECT, control.SessionDisconnect(user_id="user123")),
        (Kind.SESSION_HEARTBEAT, control.SessionHeartbeat(user_id="user123")),
    ],
)
def test_empty_payload_deletes_in_the_directory_and_is_an_empty_object_elsewhere(kind: Kind, expected: Publish) -> None:
    params, _ = SMALLEST[kind]
    found = parse(kind, params, b"")
    assert type(found) is type(expected)
    assert found == expected
    name = next(iter(params))
    with pytest.raises(Rejected) as caught:
        parse(kind, {name: "a/b"}, b"")
    assert [each.field for each in caught.value.fields] == [name]


@pytest.mark.parametrize("kind", [*NOTIFICATIONS, Kind.ALERT_ACKNOWLEDGE])
def test_empty_payload_is_no_json_where_something_is_required(kind: Kind) -> None:
    with pytest.raises(Rejected) as caught:
        parse(kind, SMALLEST[kind][0], b"")
    assert caught.value.code is RejectionCode.INVALID_JSON


def test_session_takes_what_a_gateway_knows_of_the_device() -> None:
    assert publish(Kind.SESSION_CONNECT, {"session_id": "s1", "device_info": {"os": "x"}}).device_info == {"os": "x"}
    assert publish(Kind.SESSION_HEARTBEAT, {"device_info": "phone"}).device_info == "phone"


def parsed_bytes(payload: bytes) -> Publish:
    return parse(Kind.REALTIME_USER, {"user_id": "user123"}, payload)


@pytest.mark.parametrize(
    "payload",
    [
        b" ", b"{", b"null", b"[]", b'"text"', b"1", b"{'message': 'm'}", b'{"message": "m"} x', b'{"message": NaN}',
        b'{"message": "m", "ttl_s": Infinity}', b'{"message": "m", "data": {"x": -Infinity}}', b'{"message": "\xff"}',
        b'{"message": "\xed\xa0\x80"}', b'{"message": "\\ud800"}', '{"message": "m"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"message": "m"}', b'{"message": "a\nb"}', b"[" * 60_000, b'{"a":' * 13_000,
        b'{"message": "m", "data": {"x": ' + b"[" * 250 + b"]" * 250 + b"}}",
        b'{"message": "m", "data": {"x": ' + b"9" * 5000 + b"}}",
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_in_utf_8_is_invalid_json(payload: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        parsed_bytes(payload)
    assert caught.value.code is RejectionCode.INVALID_JSON
    assert caught.value.fields == ()


@pytest.mark.parametrize(
    "kind", [kind for kind in NOTIFICATIONS if "message" in SMALLEST[kind][1] and kind is not Kind.SMS_SEND]
)
def test_a_message_may_fill_the_payload(kind: Kind) -> None:
    params, smallest = SMALLEST[kind]
    room = OBJECT_BYTES - len(json.dumps({**smallest, "message": ""}))
    payload = json.dumps({**smallest, "message": "x" * room}).encode()
    assert len(payload) == OBJECT_BYTES
    found: Any = parse(kind, params, payload)
    assert len(found.message) == room


def test_payload_of_64_kib_passes_and_one_byte_more_is_too_large() -> None:
    fitting = b'{"message": "m"' + b" " * (OBJECT_BYTES - 16) + b"}"
    assert len(fitting) == OBJECT_BYTES
    assert isinstance(parsed_bytes(fitting), notifications.RealtimeUser)
    with pytest.raises(Rejected) as caught:
        parsed_bytes(fitting + b" ")
    assert caught.value.code is RejectionCode.TOO_LARGE
    assert str(OBJECT_BYTES) in caught.value.message


def test_a_batch_takes_1000_mails_of_1_kib_and_not_more_than_1_mib() -> None:
    smallest = json.dumps({"emails": [{**MAIL, "body": ""}] * 1_000}).encode()
    body = "x" * ((BATCH_BYTES - len(smallest)) // 1_000)
    assert len(body) > 950
    payload = json.dumps({"emails": [{**MAIL, "body": body}] * 1_000}).encode()
    payload += b" " * (BATCH_BYTES - len(payload))
    found = parse(Kind.EMAIL_BATCH, {}, payload)
    assert isinstance(found, mails.EmailBatch)
    assert [mail.body for mail in found.emails if isinstance(mail, mails.BatchMail)] == [body] * 1_000
    with pytest.raises(Rejected) as caught:
        parse(Kind.EMAIL_BATCH, {}, payload + b" ")
    assert caught.value.code is RejectionCode.TOO_LARGE
    assert str(BATCH_BYTES) in caught.value.message


def test_a_mail_of_a_batch_is_no_larger_than_one_of_its_own_may_be() -> None:
    largest = {**MAIL, "html_body": "x" * (OBJECT_BYTES // 2), "body": ""}
    largest["body"] = "x" * (OBJECT_BYTES - len(json.dumps(largest, separators=(",", ":"))))
    larger = {**largest, "subject": MAIL["subject"] + "!"}
    fitting = json.dumps({"emails": [MAIL, largest, MAIL]}).encode()
    assert isinstance(parse(Kind.EMAIL_BATCH, {}, fitting), mails.EmailBatch)
    with pytest.raises(Rejected) as caught:
        parse(Kind.EMAIL_BATCH, {}, json.dumps({"emails": [MAIL, larger, largest, larger]}).encode())
    assert caught.value.code is RejectionCode.TOO_LARGE
    assert [each.field for each in caught.value.fields] == ["emails.1", "emails.3"]
    assert str(OBJECT_BYTES) in caught.value.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[" * 31 + "]" * 31, None),
        ("[" * 32 + "]" * 32, "nested too deep: at most 32 levels"),
        ('{"a":' * 150 + "1" + "}" * 150, "nested too deep: at most 32 levels"),
        ("1e308", None),
        ("1e999", "holds a number that is out of range"),
        ('[[{}, {"y": -1e999}]]', "holds a number that is out of range"),
    ],
)
def test_data_stays_readable_for_other_json_readers(value: str, words: str | None) -> None:
    payload = f'{{"message": "m", "data": {{"x": {value}}}}}'.encode()
    if words is None:
        assert isinstance(parsed_bytes(payload), notifications.RealtimeUser)
        return
    with pytest.raises(Rejected) as caught:
        parsed_bytes(payload)
    assert caught.value.fields == (FieldProblem("data", words),)


def test_receipt_has_the_shape_of_the_contract() -> None:
    assert refusal(Kind.REALTIME_USER, {"message": None}).receipt() == {
        "status": "rejected",
        "error": {
            "code": "invalid_payload",
            "message": "One field is not valid.",
            "fields": [{"field": "message", "problem": "required"}],
        },
    }
    assert Rejected(RejectionCode.UNKNOWN_TOPIC, "No such topic.").receipt() == {
        "status": "rejected",
        "error": {"code": "unknown_topic", "message": "No such topic.", "fields": []},
    }


def test_codes_are_those_of_the_contract() -> None:
    words = (
        "invalid_json invalid_payload too_large unknown_topic idempotency_conflict rate_limited unauthorized expired"
    )
    assert [code.value for code in RejectionCode] == words.split()


def test_receipt_stays_small_however_much_is_wrong() -> None:
    rejected = refusal(Kind.EMAIL_BATCH, {"emails": [{}] * 1000})
    assert len(rejected.fields) == PROBLEMS_SHOWN
    assert rejected.message == f"3000 fields are not valid. The first {PROBLEMS_SHOWN} are listed."
    rejected = refusal(Kind.DIRECTORY_USER, {"x" * 5000: 1})
    assert [len(each.field) for each in rejected.fields] == [FIELD_CHARS]
    assert len(json.dumps(rejected.receipt())) < 500


SECRET = "s3cr3t-value@@"
MODELS: list[tuple[Kind, type[BaseModel]]] = [
    (Kind.REALTIME_USER, notifications.RealtimeUser),
    (Kind.REALTIME_BROADCAST, notifications.RealtimeBroadcast),
    (Kind.ALERT_CRITICAL, notifications.CriticalAlert),
    (Kind.SYSTEM_STATUS, notifications.SystemStatus),
    (Kind.SYSTEM_MAINTENANCE, notifications.SystemMaintenance),
    (Kind.EMAIL_SEND, mails.EmailSend),
    (Kind.EMAIL_BATCH, mails.EmailBatch),
    (Kind.SMS_SEND, notifications.SmsSend),
    (Kind.PUSH_MOBILE, notifications.PushMobile),
    (Kind.DIRECTORY_USER, Person),
    (Kind.DIRECTORY_ONCALL, OnCall),
    (Kind.DIRECTORY_SUPPRESS, control.Suppress),
    (Kind.DIRECTORY_CATEGORY, NamedCategory),
    (Kind.DIRECTORY_TENANT, NamedTenant),
]
# Any string is good content, and names of fields within these are free or, when unknown, shown.
FREE = {
    "message", "body", "html_body", "data", "services", "preferences", "quiet_hours", "throttle", "digest", "brand",
    "categories", "labels",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind, model in MODELS
        for name in model.model_fields
        if name not in {*SMALLEST[kind][0], *FREE} and (kind, name) != (Kind.DIRECTORY_CATEGORY, "channels")
    ],
)
@pytest.mark.parametrize(
    "value", [f"{SECRET}\r\n=?", [SECRET + "\n/"], {SECRET + "\n": SECRET + "\n"}, [{"to": SECRET}]]
)
def test_refusal_never_repeats_a_value(kind: Kind, name: str, value: object) -> None:
    params, smallest = SMALLEST[kind]
    with pytest.raises(Rejected) as caught:
        parse(kind, params, json.dumps({**smallest, name: value}).encode())
    shown = json.dumps(caught.value.receipt()) + "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert caught.value.__cause__ is None
    assert caught.value.fields


def test_models_show_nothing_of_their_content() -> None:
    assert repr(publish(Kind.EMAIL_SEND)) == "EmailSend()"
    assert str(publish(Kind.REALTIME_USER)) == ""


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_names = st.sampled_from(
    sorted(
        {name for _, smallest in SMALLEST.values() for name in smallest}
        | set(notifications.RealtimeUser.model_fields)
        | set(notifications.CriticalAlert.model_fields)
        | set(notifications.SystemMaintenance.model_fields)
        | set(notifications.PushMobile.model_fields)
        | set(Person.model_fields)
        | set(OnCall.model_fields)
        | set(NamedCategory.model_fields)
        | set(NamedTenant.model_fields)
    )
)


@given(st.sampled_from(Kind), st.binary(max_size=200))
def test_any_bytes_give_a_model_or_a_rejection(kind: Kind, payload: bytes) -> None:
    try:
        parse(kind, SMALLEST[kind][0], payload)
    except Rejected as rejected:
        json.dumps(rejected.receipt())


@given(st.sampled_from(Kind), st.dictionaries(_names, _json, max_size=6))
def test_any_object_gives_a_model_or_problems_in_our_words(kind: Kind, change: dict[str, Any]) -> None:
    params, smallest = SMALLEST[kind]
    try:
        found = parse(kind, params, json.dumps({**smallest, **change}).encode())
    except Rejected as error:
        rejected = error
    else:
        json.dumps(found.patch) if isinstance(found, PersonChange) else found.model_dump_json()
        return
    assert rejected.code is RejectionCode.INVALID_PAYLOAD
    assert rejected.fields
    # pydantic's own sentences begin like these; each of them should have been translated.
    foreign = ("Input", "Value", "String", "Tuple", "Dictionary", "Field", "Extra", "Unable")
    assert not [each for each in rejected.fields if each.problem.startswith(foreign)]


@given(st.sampled_from(PRIORITISED), st.text(max_size=220))
def test_title_that_passed_is_one_line_of_a_header(kind: Kind, text: str) -> None:
    name = "subject" if kind in (Kind.EMAIL_SEND, Kind.EMAIL_BATCH) else "title"
    change = {"emails": [{**MAIL, name: text}]} if kind is Kind.EMAIL_BATCH else {name: text}
    try:
        found = publish(kind, change)
    except Rejected:
        return
    title = getattr(found.emails[0] if kind is Kind.EMAIL_BATCH else found, name, "of no effect")
    assert title.splitlines() == [title]
    assert "=?" not in title
    assert len(title) <= 200

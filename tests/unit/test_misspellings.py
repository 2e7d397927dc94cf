"""What a publisher gets wrong, and whether the answer names the mend: fields, topics, types and values."""

import json
from hashlib import sha256
from time import process_time
from typing import Any

import pytest

from services.router.intake.taken import logged_fields
from services.router.payloads.parse import parse, read
from services.router.payloads.rejection import PROBLEMS_SHOWN, FieldProblem, Rejected
from shared.core.topics import Kind, Topics

USER = Kind.REALTIME_USER
MAIL = {"to": "user@example.com", "subject": "Hello", "body": "Text"}
SMS = {"phone": "+15005550006", "message": "m"}
ALICE = {"user_id": "alice"}
DISK = {"alert_type": "disk"}
IOS = {"platform": "ios"}
SAID = {"message": "m"}
SHOP = {"publisher": "shop"}
LAYER = {"users": ["a"], "rotation": "daily", "start": "2026-01-05"}


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    ("kind", "params", "payload", "field", "meant"),
    [
        (USER, ALICE, SAID | {"prioriy": "high"}, "prioriy", "priority"),
        (USER, ALICE, SAID | {"Priority": "high"}, "Priority", "priority"),
        (USER, ALICE, SAID | {"titel": "t"}, "titel", "title"),
        (USER, ALICE, SAID | {"subject": "t"}, "subject", "title"),
        (USER, ALICE, SAID | {"sendAt": 1_900_000_000}, "sendAt", "send_at"),
        (USER, ALICE, SAID | {"expires": 1_900_000_000}, "expires", "expires_at"),
        (USER, ALICE, SAID | {"ttl": 60}, "ttl", "ttl_s"),
        (USER, ALICE, SAID | {"chanels": ["push"]}, "chanels", "channels"),
        (USER, ALICE, SAID | {"event": True}, "event", "events"),
        (USER, ALICE, SAID | {"catagory": "billing"}, "catagory", "category"),
        (USER, ALICE, SAID | {"metadata": {"order": 1}}, "metadata", "data"),
        (USER, ALICE, SAID | {"idempotency_key": "k"}, "idempotency_key", "id"),
        (Kind.REALTIME_BROADCAST, {}, SAID | {"groups": ["ops"]}, "groups", "target_groups"),
        (Kind.ALERT_CRITICAL, DISK, SAID | {"dedupKey": "k"}, "dedupKey", "dedup_key"),
        (Kind.ALERT_CRITICAL, DISK, SAID | {"severty": "high"}, "severty", "severity"),
        (Kind.ALERT_CRITICAL, DISK, SAID | {"systems": ["db"]}, "systems", "affected_systems"),
        (Kind.ALERT_CRITICAL, DISK, SAID | {"alert": {"source": "db1"}}, "alert.source", "source"),
        (Kind.SYSTEM_MAINTENANCE, {}, SAID | {"start_at": "2026-01-05T00:00:00Z"}, "start_at", "starts_at"),
        (Kind.EMAIL_SEND, {}, MAIL | {"html": "<p>Hello</p>"}, "html", "html_body"),
        (Kind.EMAIL_BATCH, {}, {"emails": [MAIL], "catgory": "news"}, "catgory", "category"),
        (Kind.PUSH_MOBILE, IOS, SAID | ALICE | {"token": "abc"}, "token", "tokens"),
        (Kind.ALERT_ACKNOWLEDGE, {"alert_id": "a"}, ALICE | {"notes": "mine"}, "notes", "note"),
        (USER, ALICE, SAID | {"notification_id": "k"}, "notification_id", "id"),
        (USER, ALICE, SAID | {"messageId": "k"}, "messageId", "id"),
        (USER, ALICE, SAID | {"expiry": 60}, "expiry", "expires_at"),
        (USER, ALICE, SAID | {"delay": 60}, "delay", "send_at"),
        (USER, ALICE, SAID | {"scheduled_at": 1_900_000_000}, "scheduled_at", "send_at"),
        (USER, ALICE, SAID | {"prio": "high"}, "prio", "priority"),
        (USER, ALICE, SAID | {"heading": "t"}, "heading", "title"),
        (Kind.EMAIL_SEND, {}, MAIL | {"bodyHtml": "<p>Hello</p>"}, "bodyHtml", "html_body"),
        (Kind.ALERT_WARNING, DISK, SAID | {"deduplication_key": "k"}, "deduplication_key", "dedup_key"),
        (Kind.ALERT_WARNING, DISK, SAID | {"affectedSystems": ["db"]}, "affectedSystems", "affected_systems"),
        (Kind.SYSTEM_STATUS, {}, SAID | {"state": "down"}, "state", "status"),
        (Kind.SYSTEM_MAINTENANCE, {}, SAID | {"end_at": "2026-01-05T00:00:00Z"}, "end_at", "ends_at"),
        (Kind.REALTIME_BROADCAST, {}, SAID | {"target_group": ["ops"]}, "target_group", "target_groups"),
    ],
)  # fmt: skip
def test_a_misspelt_field_that_may_be_missing_is_a_warning_or_a_refusal_with_the_right_one(
    kind: Kind, params: dict[str, str], payload: dict[str, Any], field: str, meant: str
) -> None:
    data = json.dumps(payload).encode()
    wrong = (FieldProblem(field, "unknown", meant),)
    assert read(kind, params, data).unread == wrong
    with pytest.raises(Rejected) as caught:
        read(kind, params, data, reject_unknown=True)
    assert (caught.value.code, caught.value.fields) == ("invalid_payload", wrong)


@pytest.mark.parametrize(
    ("kind", "params", "payload", "field", "meant"),
    [
        (USER, ALICE, {"mesage": "m"}, "mesage", "message"),
        (USER, ALICE, {"text": "m"}, "text", "message"),
        (USER, ALICE, {"body": "m"}, "body", "message"),
        (Kind.EMAIL_SEND, {}, without(MAIL, "to") | {"email": "a@example.com"}, "email", "to"),
        (Kind.EMAIL_SEND, {}, without(MAIL, "to") | {"recipient": "a@example.com"}, "recipient", "to"),
        (Kind.EMAIL_SEND, {}, without(MAIL, "subject") | {"title": "t"}, "title", "subject"),
        (Kind.EMAIL_SEND, {}, without(MAIL, "body") | {"text": "t"}, "text", "body"),
        (Kind.EMAIL_BATCH, {}, {"mails": [MAIL]}, "mails", "emails"),
        (Kind.EMAIL_BATCH, {}, {"emails": [MAIL, MAIL | {"prioriy": "high"}]}, "emails.1.prioriy", "priority"),
        (Kind.SMS_SEND, {}, without(SMS, "phone") | {"to": "+15005550006"}, "to", "phone"),
        (Kind.SMS_SEND, {}, without(SMS, "phone") | {"number": "+15005550006"}, "number", "phone"),
        (Kind.PUSH_MOBILE, IOS, SAID | {"userId": "alice"}, "userId", "user_id"),
        (Kind.ALERT_ACKNOWLEDGE, {"alert_id": "a"}, {"user": "alice"}, "user", "user_id"),
        (Kind.DIRECTORY_USER, ALICE, {"e-mail": "a@example.com"}, "e-mail", "email"),
        (Kind.DIRECTORY_USER, ALICE, {"preferances": {}}, "preferances", "preferences"),
        (Kind.DIRECTORY_USER, ALICE, {"preferences": {"emial": True}}, "preferences.emial", "email"),
        (Kind.DIRECTORY_USER, ALICE, {"devices": [{"platform": "ios", "tokn": "a"}]}, "devices.0.tokn", "token"),
        (Kind.DIRECTORY_ONCALL, DISK, {"layers": [LAYER | {"timezon": "UTC"}]}, "layers.0.timezon", "timezone"),
        (Kind.DIRECTORY_ONCALL, DISK, {"users": ["a"], "escalations": []}, "escalations", "escalation"),
        (Kind.DIRECTORY_PUBLISHER, SHOP, {"shares": 3}, "shares", "share"),
        (Kind.DIRECTORY_PUBLISHER, SHOP, {"may_anwser": "any"}, "may_anwser", "may_answer"),
        (Kind.DIRECTORY_PUBLISHER, SHOP, {"priority": "low"}, "priority", "priority_at_most"),
        (Kind.DIRECTORY_PUBLISHER, SHOP, {"key": []}, "key", "keys"),
        (Kind.DIRECTORY_SUPPRESS, {"channel": "email"}, {"adress": "a@example.com"}, "adress", "address"),
    ],
)  # fmt: skip
def test_a_misspelt_field_that_is_needed_or_stands_in_a_record_is_refused_with_the_right_one(
    kind: Kind, params: dict[str, str], payload: dict[str, Any], field: str, meant: str
) -> None:
    with pytest.raises(Rejected) as caught:
        parse(kind, params, json.dumps(payload).encode())
    assert FieldProblem(field, "unknown", meant) in caught.value.fields


@pytest.mark.parametrize(
    ("kind", "params", "payload", "problem"),
    [
        (USER, ALICE, SAID | {"priority": "urgent"}, "must be one of low, normal, high, critical"),
        (USER, ALICE, SAID | {"channels": "push"}, "must be a list"),
        (USER, ALICE, SAID | {"channels": ["mail"]}, "must be one of realtime, email, sms, push"),
        (USER, ALICE, SAID | {"ttl_s": "60"}, "must be a number"),
        (USER, ALICE, SAID | {"events": "yes"}, "must be true or false"),
        (USER, ALICE, SAID | {"data": "x"}, "must be an object"),
        (USER, ALICE, SAID | {"send_at": 1_900_000_000_000}, "must be between the years 2000 and 2099, in seconds"),
        (USER, ALICE, SAID | {"send_at": "tomorrow"}, "must be epoch seconds or RFC 3339 with a zone"),
        (USER, ALICE, {"message": 5}, "must be a string"),
        (USER, ALICE, {"message": ""}, "must not be empty"),
        (USER, ALICE, {"message": None}, "required"),
        (USER, ALICE, SAID | {"title": "a\nb"}, "must not contain control characters"),
        (USER, ALICE, SAID | {"ttl_s": 0}, "must be greater than 0"),
        (USER, ALICE, SAID | {"channels": []}, "must not be empty"),
        (USER, ALICE, SAID | {"send_at": "2026-01-05T00:00:00"}, "must be epoch seconds or RFC 3339 with a zone"),
        (Kind.EMAIL_SEND, {}, MAIL | {"to": "user@"}, "not a valid email address"),
        (Kind.EMAIL_BATCH, {}, {"emails": MAIL}, "must be a list"),
        (Kind.SMS_SEND, {}, SMS | {"phone": 15005550006}, "must be a string"),
        (Kind.PUSH_MOBILE, IOS, SAID, "required, or tokens"),
        (Kind.DIRECTORY_USER, ALICE, {"preferences": {"sms": "yes"}}, "must be true or false"),
        (Kind.DIRECTORY_USER, ALICE, {"timezone": "CET+1"}, "not an IANA time zone"),
        (Kind.DIRECTORY_ONCALL, DISK, {"layers": [LAYER | {"rotation": "hourly"}]}, "must be one of daily, weekly"),
        (
            Kind.DIRECTORY_PUBLISHER, SHOP, {"rate": "1000 per minute"},
            "must be a rate such as 1000/60s, at most over a day, or 0 for no limit",
        ),
        (Kind.SMS_SEND, {}, SMS | {"phone": "0151 234567"}, "not a phone number in E.164 form"),
        (Kind.PUSH_MOBILE, {"platform": "iphone"}, SAID | ALICE, "must be one of ios, android, ntfy, web"),
    ],
)  # fmt: skip
def test_a_wrong_type_or_value_is_refused_with_what_is_right(
    kind: Kind, params: dict[str, str], payload: dict[str, Any], problem: str
) -> None:
    with pytest.raises(Rejected) as caught:
        parse(kind, params, json.dumps(payload).encode())
    assert [each.problem for each in caught.value.fields] == [problem]


@pytest.mark.parametrize(
    ("topic", "nearest"),
    [
        ("notification/email/send", "notifications/email/send"),
        ("notifications/emial/send", "notifications/email/send"),
        ("notifications/email/sned", "notifications/email/send"),
        ("/notifications/email/send", "notifications/email/send"),
        ("Notifications/Email/Send", "notifications/email/send"),
        ("email/send", "notifications/email/send"),
        ("notifications/mail/batch", "notifications/email/batch"),
        ("notifications/sms", "notifications/sms/send"),
        ("notifications/sms/send/+15005550006", "notifications/sms/send"),
        ("notifications/realtime/users/alice", "notifications/realtime/user/{user_id}"),
        ("notifications/realtime/user", "notifications/realtime/user/{user_id}"),
        ("notifications/alert/critical/disk", "notifications/alerts/critical/{alert_type}"),
        ("notifications/alerts/acknowlege/0197", "notifications/alerts/acknowledge/{alert_id}"),
        ("notifications/push/ios", "notifications/push/mobile/{platform}"),
        ("notifications/system/maintainance", "notifications/system/maintenance"),
        ("from/shop/notification/email/send", "from/shop/notifications/email/send"),
        ("from/shop/notifications/emails/send", "from/shop/notifications/email/send"),
        ("notifications/alerts/warn/disk", "notifications/alerts/warning/{alert_type}"),
        ("notifications/alerts/resolved/0197", "notifications/alerts/resolve/{alert_id}"),
        ("notifications/cancle/0197", "notifications/cancel/{notification_id}"),
        ("directory/users/alice", "directory/user/{user_id}"),
        ("directory/on-call/disk", "directory/oncall/{alert_type}"),
        ("websockets/connect/alice", "websocket/connect/{user_id}"),
        ("fleet/truck/7", None),
        ("x" * 2000, None),
    ],
)
def test_a_wrong_topic_has_its_nearest_right_one(topic: str, nearest: str | None) -> None:
    assert Topics().nearest(topic) == nearest
    assert Topics("staging/").nearest(f"staging/{topic}") == (f"staging/{nearest}" if nearest else None)


@pytest.mark.parametrize(
    ("topic", "masked"),
    [
        ("notifications/realtime/user/alice", "notifications/realtime/user/{user_id}"),
        ("notifications/sms/+15005550006", "notifications/sms/*"),
        ("notifications/email/user@example.com/send", "notifications/email/*/send"),
        ("notification/emial/send", "notification/emial/send"),
        ("a/b/c/d/e/f/g/h", "*/*/*/*/*/*/…"),
    ],
)
def test_a_topic_is_logged_without_what_may_be_personal(topic: str, masked: str) -> None:
    assert Topics().masked(topic) == masked
    assert Topics("staging/").masked(f"staging/{topic}") == masked


def test_field_names_are_logged_without_what_may_be_personal() -> None:
    names = ["message", "emails.17.to", "", "user@example.com", "+15005550006", "data.Alice Smith", "x" * 60]
    assert logged_fields([{"field": name} for name in names]) == ["message", "emails.17.to", "", "*", "*", "*", "*"]


def test_what_the_topic_says_is_not_overruled_in_silence() -> None:
    alert = json.dumps(SAID | {"priority": "low", "level": "critical"}).encode()
    assert read(Kind.ALERT_CRITICAL, DISK, alert).unread == (
        FieldProblem("priority", "differs from the topic, which counts"),
    )
    other = json.dumps(SAID | {"user_id": "bob"}).encode()
    assert read(USER, ALICE, other).unread == (FieldProblem("user_id", "differs from the topic, which counts"),)
    same = json.dumps(SAID | {"user_id": "alice"}).encode()
    assert read(USER, ALICE, same, envelope={"id": "k", "ttl_s": 60}).unread == ()


def test_what_mqtt_says_of_any_publish_is_no_unknown_field() -> None:
    assert read(Kind.CANCEL, {"notification_id": "n"}, b"{}", envelope={"id": "k", "ttl_s": 60}).unread == ()


def test_a_payload_full_of_unknown_fields_costs_little_and_is_answered_shortly() -> None:
    names = [sha256(str(number).encode()).hexdigest()[:9] for number in range(3000)]
    payload = json.dumps(SAID | dict.fromkeys(names, 1)).encode()
    before_s = process_time()
    unread = read(USER, ALICE, payload).unread
    # 2 ms were measured; looking for the nearest of each took 300.
    assert process_time() - before_s < 0.1
    assert len(unread) == PROBLEMS_SHOWN + 1
    assert unread[-1].problem == f"and {len(names) - PROBLEMS_SHOWN} more unknown"

"""From a checked publish to a draft: when it is due, until when, for whom, and what makes two publishes the same."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.payloads import notifications
from services.router.payloads.parse import parse
from services.router.payloads.rejection import Rejected, RejectionCode
from services.router.planning.compose import Draft, compose
from services.router.planning.tasks import Crowd, People
from shared.core.clock import epoch_ms
from shared.core.model import Channel, EmailAddress, MobileToken, PhoneNumber, Platform, Priority, WebSubscription
from shared.core.topics import Kind
from shared.store.keys import shard_of_id, shard_of_key

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
NOW_MS = epoch_ms(NOW)
LIFETIME_S = 86_400
HOUR_MS = 3_600_000

USER = {"user_id": "user123"}
ALERT = {"alert_type": "disk"}
MAIL = {"to": "user@example.com", "subject": "Subject", "body": "Body"}
SUBSCRIPTION = {
    "endpoint": "https://push.example.com/s/1",
    "keys": {
        "p256dh": urlsafe_b64encode(b"\x04" + bytes(64)).decode().rstrip("="),
        "auth": urlsafe_b64encode(bytes(16)).decode().rstrip("="),
    },
}


def at(hours: float) -> str:
    return (NOW + timedelta(hours=hours)).isoformat()


def draft(
    kind: Kind, params: Mapping[str, str], body: Mapping[str, Any], *, expiry_s: int | None = None, key: str = ""
) -> Draft:
    """Compose as the intake does, with an MQTT message expiry and an idempotency key where they are given."""
    envelope: dict[str, object] = ({"id": key} if key else {}) | ({} if expiry_s is None else {"ttl_s": expiry_s})
    publish = parse(kind, params, json.dumps(body).encode(), envelope=envelope)
    assert isinstance(publish, notifications.Notification)
    return compose(kind, publish, now_ms=NOW_MS, lifetime_s=LIFETIME_S, unstable=frozenset(envelope) & {"ttl_s"})


def to_user(expiry_s: int | None = None, key: str = "", **body: Any) -> Draft:
    return draft(Kind.REALTIME_USER, USER, {"message": "m", **body}, expiry_s=expiry_s, key=key)


def test_without_times_it_is_due_at_once_and_lives_for_the_common_lifetime() -> None:
    one = to_user()
    assert (one.send_at_ms, one.expires_ms) == (0, NOW_MS + LIFETIME_S * 1000)
    assert one.notification.accepted_ms == NOW_MS


@pytest.mark.parametrize(
    ("body", "send_at_ms", "expires_ms"),
    [
        ({"send_at": at(2)}, NOW_MS + 2 * HOUR_MS, NOW_MS + 26 * HOUR_MS),
        ({"send_at": (NOW + timedelta(hours=2)).timestamp()}, NOW_MS + 2 * HOUR_MS, NOW_MS + 26 * HOUR_MS),
        ({"send_at": at(-2)}, 0, NOW_MS + 24 * HOUR_MS),
        ({"send_at": at(0)}, 0, NOW_MS + 24 * HOUR_MS),
        ({"expires_at": at(1)}, 0, NOW_MS + HOUR_MS),
        ({"expires_at": at(48)}, 0, NOW_MS + 48 * HOUR_MS),
        ({"ttl_s": 60}, 0, NOW_MS + 60_000),
        ({"ttl_s": 0.5}, 0, NOW_MS + 500),
        ({"ttl_s": 60, "expires_at": at(1)}, 0, NOW_MS + 60_000),
        ({"ttl_s": 7200, "expires_at": at(1)}, 0, NOW_MS + HOUR_MS),
        ({"send_at": at(2), "expires_at": at(3)}, NOW_MS + 2 * HOUR_MS, NOW_MS + 3 * HOUR_MS),
    ],
)
def test_due_time_and_deadline(body: dict[str, Any], send_at_ms: int, expires_ms: int) -> None:
    one = to_user(**body)
    assert (one.send_at_ms, one.expires_ms) == (send_at_ms, expires_ms)


def test_only_a_publishers_own_deadline_is_the_notifications() -> None:
    assert to_user().notification.deadline_ms is None
    assert to_user(ttl_s=60).notification.deadline_ms == NOW_MS + 60_000
    assert to_user(expires_at=at(1)).notification.deadline_ms == NOW_MS + HOUR_MS


def test_the_message_expiry_counts_as_ttl_and_the_payloads_own_wins() -> None:
    assert to_user(expiry_s=60).expires_ms == NOW_MS + 60_000
    assert to_user(expiry_s=60, ttl_s=30).expires_ms == NOW_MS + 30_000


@pytest.mark.parametrize(
    "body",
    [
        {"expires_at": at(-1)},
        {"expires_at": at(0)},
        # It could only ever expire, so its publisher is told now.
        {"send_at": at(2), "ttl_s": 60},
    ],
)
def test_what_can_never_be_delivered_in_time_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        to_user(**body)
    assert caught.value.code is RejectionCode.EXPIRED


@given(key=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="="), min_size=1, max_size=80))
def test_the_shard_comes_from_the_idempotency_key(key: str) -> None:
    one = to_user(key=key)
    assert shard_of_id(one.notification.id) == shard_of_key(key)
    assert one.idempotency_key == key


SAME = [
    ({"message": "m"}, {"message": "m", "title": "Notification", "type": "info", "priority": "normal", "data": {}}),
    ({"data": {"a": 1, "b": {"c": 2, "d": 3}}}, {"data": {"b": {"d": 3, "c": 2}, "a": 1}}),
    ({"send_at": "2026-01-06T10:00:00+01:00"}, {"send_at": "2026-01-06T09:00:00Z"}),
    ({"send_at": "2026-01-06T09:00:00Z"}, {"send_at": datetime(2026, 1, 6, 9, tzinfo=UTC).timestamp()}),
    ({}, {"unknown_field": 1}),
    ({}, {"category": None}),
]
OTHER = [
    {"message": "n"},
    {"title": "Other"},
    {"type": "warning"},
    {"priority": "high"},
    {"data": {"a": 1}},
    {"category": "c"},
    {"channels": ["realtime"]},
    {"send_at": at(1)},
    {"expires_at": at(1)},
    {"ttl_s": 60},
    {"events": True},
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_content_has_the_same_fingerprint(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert to_user(key="k", **one).fingerprint == to_user(key="k", **other).fingerprint != ""


@pytest.mark.parametrize("other", OTHER)
def test_another_content_has_another_fingerprint(other: dict[str, Any]) -> None:
    assert to_user(key="k").fingerprint != to_user(key="k", **other).fingerprint


def test_another_recipient_or_kind_has_another_fingerprint() -> None:
    body = {"message": "m"}
    kinds = [
        draft(Kind.REALTIME_USER, USER, body, key="k"),
        draft(Kind.REALTIME_USER, {"user_id": "user124"}, body, key="k"),
        draft(Kind.REALTIME_GROUP, {"group_id": "user123"}, body, key="k"),
        draft(Kind.REALTIME_BROADCAST, {}, body, key="k"),
        draft(Kind.ALERT_WARNING, ALERT, body, key="k"),
        draft(Kind.ALERT_INFO, ALERT, body, key="k"),
    ]
    assert len({one.fingerprint for one in kinds}) == len(kinds)


def test_the_message_expiry_is_no_part_of_the_fingerprint() -> None:
    # The broker counts it down, and a publisher may leave it out when it asks again.
    prints = {to_user(key="k", expiry_s=expiry_s).fingerprint for expiry_s in (60, 59, None)}
    assert len(prints) == 1


def test_the_message_expiry_is_no_part_of_a_batchs_fingerprint() -> None:
    batch = {"emails": [MAIL, MAIL]}
    prints = {draft(Kind.EMAIL_BATCH, {}, batch, key="k", expiry_s=expiry_s).fingerprint for expiry_s in (60, 59, None)}
    assert len(prints) == 1


def test_without_a_key_no_fingerprint_is_made() -> None:
    assert to_user().fingerprint == ""


def test_recipients_are_looked_up_or_given() -> None:
    assert to_user().audience == People(user_ids=("user123",))
    assert draft(Kind.REALTIME_GROUP, {"group_id": "ops"}, {"message": "m"}).audience == Crowd(groups=("ops",))
    assert draft(Kind.REALTIME_BROADCAST, {}, {"message": "m"}).audience == Crowd()
    targets = {"message": "m", "target_groups": ["a", "b"]}
    assert draft(Kind.REALTIME_BROADCAST, {}, targets).audience == Crowd(groups=("a", "b"))
    assert draft(Kind.SYSTEM_STATUS, {}, {"message": "m"}).audience == Crowd()
    assert draft(Kind.SYSTEM_MAINTENANCE, {}, {"message": "m"}).audience == Crowd()
    assert draft(Kind.EMAIL_SEND, {}, MAIL).audience is None
    assert draft(Kind.SMS_SEND, {}, {"phone": "+15005550006", "message": "m"}).audience is None


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
def test_the_topic_decides_the_priority_of_alerts_and_system_news(kind: Kind, priority: Priority) -> None:
    params = ALERT if "alert" in kind else {}
    assert draft(kind, params, {"message": "m", "priority": "low"}).notification.priority is priority


def test_only_critical_alerts_require_an_acknowledgement() -> None:
    body = {"message": "m", "source": "db1", "severity": "sev1", "affected_systems": ["db", "api"]}
    for kind in (Kind.ALERT_CRITICAL, Kind.ALERT_WARNING, Kind.ALERT_INFO):
        one = draft(kind, ALERT, body)
        details = one.notification.content.alert
        assert details is not None
        assert (one.alert_type, details.type, details.source, details.severity) == ("disk", "disk", "db1", "sev1")
        assert details.affected_systems == ("db", "api")
        assert details.requires_acknowledgment == (kind is Kind.ALERT_CRITICAL)
        assert one.audience is None


def test_one_trouble_is_one_alert_but_a_critical_one_is_never_taken_for_a_warning() -> None:
    def dedup(kind: Kind, alert_type: str = "disk", key: str = "db1") -> str:
        return draft(kind, {"alert_type": alert_type}, {"message": "m", "dedup_key": key}).dedup_key

    assert dedup(Kind.ALERT_CRITICAL) == dedup(Kind.ALERT_CRITICAL)
    different = [
        dedup(Kind.ALERT_CRITICAL),
        dedup(Kind.ALERT_WARNING),
        dedup(Kind.ALERT_INFO),
        dedup(Kind.ALERT_CRITICAL, alert_type="cpu"),
        dedup(Kind.ALERT_CRITICAL, key="db2"),
    ]
    assert len(set(different)) == len(different)


def test_a_dedup_key_decides_the_shard() -> None:
    one = draft(Kind.ALERT_CRITICAL, ALERT, {"message": "m", "dedup_key": "db1"}, key="order-1")
    assert shard_of_id(one.notification.id) == shard_of_key(one.dedup_key)


def test_a_single_mail_says_its_content_once() -> None:
    one = draft(Kind.EMAIL_SEND, {}, {**MAIL, "html_body": "<p>Body</p>", "priority": "low", "send_at": at(1)})
    (delivery,) = one.direct
    content = one.notification.content
    assert (content.title, content.message, content.html_body) == ("Subject", "Body", "<p>Body</p>")
    assert (delivery.channel, delivery.priority) == (Channel.EMAIL, Priority.LOW)
    assert delivery.address == EmailAddress(email="user@example.com")
    assert delivery.content is None
    assert (delivery.due_ms, delivery.expires_ms) == (NOW_MS + HOUR_MS, NOW_MS + 25 * HOUR_MS)


def batch(*mails: dict[str, Any], **fields: object) -> Draft:
    return draft(Kind.EMAIL_BATCH, {}, {"emails": list(mails), **fields})


def test_a_batch_is_one_notification_with_a_delivery_for_each_mail() -> None:
    one = batch(MAIL, {**MAIL, "to": "other@example.com", "subject": "Second", "priority": "high"})
    first, second = one.direct
    assert (first.key, second.key) == ("email:0", "email:1")
    assert second.address == EmailAddress(email="other@example.com")
    assert first.content is not None
    assert second.content is not None
    assert (first.content.title, second.content.title) == ("Subject", "Second")
    assert (first.priority, second.priority) == (Priority.NORMAL, Priority.HIGH)
    assert one.notification.content.message == ""


def test_mails_of_a_batch_have_their_own_times_and_inherit_the_rest() -> None:
    one = batch(
        MAIL,
        {**MAIL, "send_at": at(72)},
        {**MAIL, "ttl_s": 60},
        {**MAIL, "expires_at": at(2)},
        {**MAIL, "send_at": at(-1)},
    )
    day_ms = LIFETIME_S * 1000
    assert [(mail.due_ms, mail.expires_ms) for mail in one.direct] == [
        (0, NOW_MS + day_ms),
        # Its lifetime begins when it is due, not when it was accepted.
        (NOW_MS + 72 * HOUR_MS, NOW_MS + 72 * HOUR_MS + day_ms),
        (0, NOW_MS + 60_000),
        (0, NOW_MS + 2 * HOUR_MS),
        (0, NOW_MS + day_ms),
    ]
    later = batch(MAIL, {**MAIL, "send_at": at(2)}, send_at=at(1), expires_at=at(4))
    assert [(mail.due_ms, mail.expires_ms) for mail in later.direct] == [
        (NOW_MS + HOUR_MS, NOW_MS + 4 * HOUR_MS),
        (NOW_MS + 2 * HOUR_MS, NOW_MS + 4 * HOUR_MS),
    ]


def test_a_batch_of_one_mail_keeps_that_mails_times() -> None:
    (mail,) = batch({**MAIL, "send_at": at(1)}).direct
    assert (mail.due_ms, mail.expires_ms) == (NOW_MS + HOUR_MS, NOW_MS + 25 * HOUR_MS)


def test_an_sms_goes_to_its_number() -> None:
    (delivery,) = draft(Kind.SMS_SEND, {}, {"phone": "+15005550006", "message": "m", "ttl_s": 5}).direct
    assert (delivery.channel, delivery.address) == (Channel.SMS, PhoneNumber(phone="+15005550006"))
    assert delivery.expires_ms == NOW_MS + 5_000


def test_a_push_goes_to_tokens_to_a_persons_devices_or_to_both() -> None:
    platform = {"platform": "android"}
    both = draft(Kind.PUSH_MOBILE, platform, {"message": "m", "tokens": ["one", "two"], "user_id": "user123"})
    assert both.audience == People(user_ids=("user123",), only_push=Platform.ANDROID)
    assert [delivery.address for delivery in both.direct] == [
        MobileToken(platform=Platform.ANDROID, token=token) for token in ("one", "two")
    ]
    assert draft(Kind.PUSH_MOBILE, platform, {"message": "m", "tokens": ["one"]}).audience is None
    (browser,) = draft(Kind.PUSH_MOBILE, {"platform": "web"}, {"message": "m", "tokens": [SUBSCRIPTION]}).direct
    assert isinstance(browser.address, WebSubscription)
    assert browser.address.endpoint == "https://push.example.com/s/1"


def test_maintenance_keeps_its_times_and_services() -> None:
    body = {"message": "m", "starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-02-01T02:00:00Z", "services": ["api"]}
    content = draft(Kind.SYSTEM_MAINTENANCE, {}, body).notification.content
    assert content.type == "maintenance"
    assert content.data == {
        "starts_at": "2026-02-01T00:00:00+00:00",
        "ends_at": "2026-02-01T02:00:00+00:00",
        "services": ["api"],
    }

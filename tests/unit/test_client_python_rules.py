"""The Python client's test kit refuses and warns of what the router refuses and warns of, in the same words."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carillon_publisher.receipts import FieldProblem as ClientsProblem
from carillon_publisher.testing.rules import NotTaken, rules
from services.router.payloads import parse
from services.router.payloads.rejection import FieldProblem, Rejected
from shared.core.topics import Kind, Topics
from shared.directory.people import Person

TOPICS = Topics()
PARAMETERS = ("user123", "ios", "web", "email", "a b", "x" * 129, "=?x")


@dataclass(frozen=True)
class Verdict:
    """What comes of a publish.

    Attributes:
        code: None where it is taken.
        problems: of the refusal, or the warnings.
    """

    code: str | None
    problems: tuple[tuple[str, str, str | None], ...]
    message: str = ""


def of_router(kind: Kind, params: dict[str, str], payload: bytes, *, reject_unknown: bool) -> Verdict:
    try:
        read = parse.read(kind, params, payload, reject_unknown=reject_unknown)
    except Rejected as rejected:
        # The words of a JSON reader are its own.
        message = "" if rejected.code.value == "invalid_json" else rejected.message
        return Verdict(rejected.code.value, _said(rejected.fields), message)
    return Verdict(None, _said(read.unread))


def of_client(topic: str, payload: bytes, *, reject_unknown: bool) -> Verdict:
    try:
        return Verdict(None, _said(rules().read(rules().topic(topic), payload, reject_unknown=reject_unknown)))
    except NotTaken as error:
        message = "" if error.refusal.code == "invalid_json" else error.refusal.message
        return Verdict(error.refusal.code, _said(error.refusal.fields), message)


def _said(fields: tuple[FieldProblem, ...] | tuple[ClientsProblem, ...]) -> tuple[tuple[str, str, str | None], ...]:
    return tuple((each.field, each.problem, each.meant) for each in fields)


_OF_MATCHERS = (Kind.DIRECTORY_SILENCE, Kind.DIRECTORY_INHIBITION)


def agree(kind: Kind, parameter: str, payload: bytes, *, reject_unknown: bool = False) -> Verdict:
    topic = TOPICS.publish(kind, parameter)
    route = TOPICS.parse(topic)
    assert route is not None
    expected = of_router(kind, route.params, payload, reject_unknown=reject_unknown)
    found = of_client(topic, payload, reject_unknown=reject_unknown)
    if kind in _OF_MATCHERS and expected.problems:
        # What a matcher is only the router reads.
        assert set(found.problems) <= set(expected.problems)
    else:
        assert found == expected
    return expected


SUBSCRIPTION = {
    "endpoint": "https://push.example.com/1",
    "keys": {"p256dh": "B" + "A" * 86, "auth": "A" * 22},
}

# What a field may be, right for one and wrong for another.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 0.5, 1e9, 1e300, 2**33, 1_767_603_600, 1_767_603_600_000, "", "a", "info", "normal",
    "high", "urgent", "critical", "x" * 65, "x" * 129, "x" * 201, "x" * 2000, "a\nb", "=?utf-8?q?a?=", "a/b", "ä",
    "user@example.com", "user@example", "user@localhost", "u@exämple.com", "@", "a..b@example.com", "user@example.test",
    f"{'l' * 65}@example.com", "+15555550100", "+49301234567", "+1555", "+999123456789", "0049301234567",
    "Europe/Paris", "Europe/Nowhere", "de", "de-AT", "1", "2026-01-05", "2026-13-05", "2026-01-05T09:00:00Z",
    "2026-01-05T10:00:00Z",
    "2026-02-30T09:00:00Z", "1999-01-05T09:00:00Z", "2026-01-05T09:00:00", "09:00", "25:00", "daily", "monday",
    "oncall", "admins", "user:ada", "user:", "bounce", "unsubscribed", "order-17", "welcome", "production", "ntfy",
    "ios", "web", "android", "token-1", "to ken", ".token", "https://push.example.com/1", "http://localhost/1",
    "http://example.com/1", "https://user@example.com/1", [], ["a"], ["a", "a"], ["realtime"], ["email", "fax"], [1],
    ["+"], ["x" * 201], ["admin"], [SUBSCRIPTION], [{}], [None], [[]], {}, {"a": "b"}, {"a": 1}, {"": ""}, {"a\n": "b"},
    SUBSCRIPTION, {"endpoint": "ftp://a", "keys": {"p256dh": "AA", "auth": "A"}}, {"realtime": True}, {"smss": True},
    "1000/60s", "0/60s", "5/0s", "100/25h", "10/1", "own", "any", "reject", ["notifications/#"], ["from/x/#"],
    ["a/#/b"], ["a" * 64], ["A" * 64], {"realtime": None}, {"message": "a"}, {"realtime": "yes"},
    [{"platform": "ios", "token": "abc"}], [{"platform": "ntfy", "token": "a:b"}],
    [{"platform": "web"}], [{"platform": "fax"}], [{"token": "abc"}], ["x"],
    [{"platform": "android", "token": "a", "environment": "sandbox", "toke": 1}],
    [{"to": "a@example.com", "subject": "s", "body": "b"}], [{"to": "a@example.com", "subject": "s"}],
    [{"to": "a@example.com", "template": "welcome"}, {"to": "b@example.com", "template": "welcome", "subject": "s"}],
    [{"to": "a", "sujet": "s", "body": "b", "id": "x"}], [{"to": "a@example.com", "subject": "s", "body": None}],
    [{"users": ["ada"], "rotation": "daily", "start": "2026-01-05"}], [{"users": [], "start": "x", "handof": "09:00"}],
    [{"users": ["ada"], "rotation": "daily", "every_hours": 12, "start": "2026-01-05", "handoff": "9"}],
    [{"users": ["ada"], "every_hours": 0, "start": "2026-01-05", "timezone": "Mars", "weekday": "mon"}],
    [{"user": "ada", "from": 1_767_603_600, "until": "2026-01-05T09:00:00Z"}], [{"user": "ada", "from": 1}],
    "30s", "0s", "10m", "31d", "367d", 1e-4, "#0a7cff", "opt_in", "respect", "acme",
    {"email": None, "digest": "daily"}, {"timezone": "Mars", "windows": [{"days": [], "from": "22:00", "to": "7"}]},
    {"windows": [{"days": ["monday"], "from": "22:00", "to": "07:00"}] * 22},
    {"name": "A", "logo_url": "http://a", "colour": "blue", "footer": "x" * 1001}, {"logo_url": "https://a.b/l?c='"},
    {"limit": 5, "per": "1h", "then": "fold", "key": "data.thread"}, {"limit": 0, "per": "32d", "key": "data."},
    {"window": "10m", "at_most": "9m", "items": 201}, {"window": 60, "at_most": "1m", "first": "now"},
    {"schedule": {"at": "09:00", "days": ["monday", "monday"]}}, {"window": "1m", "schedule": {}}, {"widow": "1m"},
    {"categories": {"billing": {"email": False, "digest": "weekly"}, "news": None}}, {"categories": None},
    {"categories": {"a/b": {"fax": True}, "news": {"emial": True}}}, {"billing": {"policy": "never"}},
    {"comments": {"channels": {"email": False}, "digest": {"window": "x"}}, "digest": {"polcy": "opt_in"}},
    [{"id": "a", "label": "A", "url": "https://a.b"}], [{"id": "a", "label": "A"}, {"id": "b", "topic": 1}],
    [{"id": "a", "label": "A", "topic": True}] * 2, [{"id": "a", "label": "A", "topic": False}],
    [{"id": "a", "label": "A", "url": "https://a.b", "topic": "x"}],
    [{"id": each, "label": "A", "topic": True} for each in "abcd"], [{"id": each, "label": ""} for each in "abcd"],
    [{"after_s": 300, "notify": ["oncall", "user:"]}], [{"after_s": "300", "notify": [], "channels": []}],
]  # fmt: skip

NAMES = [
    "id", "category", "channels", "send_at", "expires_at", "ttl_s", "events", "priority", "message", "title", "type",
    "data", "template", "locale", "timezone", "target_groups", "source", "severity", "affected_systems", "dedup_key",
    "status", "services", "starts_at", "ends_at", "to", "subject", "body", "html_body", "emails", "phone", "user_id",
    "tokens", "platform", "note", "session_id", "device_info", "address", "remove", "reason", "detail", "email", "name",
    "groups", "roles", "preferences", "devices", "users", "layers", "overrides", "escalation", "repeat", "alert_type",
    "level", "mesage", "msg", "text", "prioriy", "sendAt", "Message", "html", "recipient", "payload", "meta", "",
    "x" * 150, "urgency", "ttl", "notification_id", "alert_id", "group_id", "channel", "completely different",
    "may", "may_answer", "priority_at_most", "rate", "share", "tenant", "unknown_fields", "keys", "delay", "endat",
    "actions", "policy", "throttle", "digest", "quiet_hours", "snooze_until", "brand", "categories", "titel", "polcy",
]  # fmt: skip

DATA: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
# A right payload of most topics, so that the other fields are reached.
GOOD = {"message": "Hello", "to": "a@example.com", "subject": "s", "body": "b", "phone": "+15555550100", "user_id": "u",
        "address": "a@example.com", "reason": "bounce", "users": ["ada"], "tokens": ["abc"]}  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    document = {name: GOOD[name] for name in GOOD if draw(st.booleans())}
    changed = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES) | DATA, max_size=5)
    return document | draw(changed)


@settings(max_examples=300)
@given(
    kind=st.sampled_from(Kind),
    parameter=st.sampled_from(PARAMETERS),
    document=documents(),
    reject_unknown=st.booleans(),
)
@example(kind=Kind.EMAIL_SEND, parameter="", document={"to": "a@example.com", "sbuject": "s"}, reject_unknown=False)
@example(
    kind=Kind.REALTIME_USER,
    parameter="u",
    document={"message": "a", "prioriy": "high", "user_id": "v"},
    reject_unknown=False,
)
@example(
    kind=Kind.SYSTEM_STATUS,
    parameter="",
    document={f"field{number}": number for number in range(30)},
    reject_unknown=True,
)
@example(
    kind=Kind.EMAIL_BATCH,
    parameter="",
    document={"emails": [{"to": number} for number in range(30)]},
    reject_unknown=False,
)
@example(
    kind=Kind.EMAIL_BATCH,
    parameter="",
    document={"emails": [{"to": "a@example.com", "template": "welcome"}] * 101},
    reject_unknown=False,
)
@example(
    kind=Kind.SYSTEM_STATUS, parameter="", document={"message": "a", "services": ["a"] * 201}, reject_unknown=False
)
@example(
    kind=Kind.SYSTEM_STATUS,
    parameter="",
    document={"message": "a", "services": [1, *["a"] * 200]},
    reject_unknown=False,
)
@example(kind=Kind.PUSH_MOBILE, parameter="web", document={"message": "a", "tokens": ["a"]}, reject_unknown=False)
@example(kind=Kind.PUSH_MOBILE, parameter="ios", document={"message": "a"}, reject_unknown=False)
def test_a_payload_is_judged_like_by_the_router(
    kind: Kind, parameter: str, document: dict[str, Any], *, reject_unknown: bool
) -> None:
    agree(kind, parameter, json.dumps(document).encode(), reject_unknown=reject_unknown)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    "payload",
    [
        b"", b" ", b"{}", b"[]", b"null", b"not json", b'{"message": NaN}', b'{"a": 1e999}', b'{"data": {"a": 1e999}}',
        b'{"message": "\\ud800"}', b"\xff", '{"message": "a"}'.encode("utf-16"), b"\xef\xbb\xbf{}", b'{"a": 1, "a": 2}',
        b'{"message": "a", "message": "b"}', b'{"message": "a\n"}', b"{" * 300,
        b'{"data": ' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"data": ' + b'{"a":' * 31 + b"1" + b"}" * 31 + b"}", b'{"data": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}",
        b'{"message": "' + b"x" * 65_536 + b'"}', b'{"emails": [{"body": "' + b"x" * 65_536 + b'"}]}',
        b"x" * (1024 * 1024 + 1), b'{"ttl_s": 1e999}', b'{"send_at": 1e999}', b'{"emails": "' + b"x" * 65_536 + b'"}',
    ],
)  # fmt: skip
def test_bytes_are_judged_like_by_the_router(kind: Kind, payload: bytes) -> None:
    agree(kind, "user123", payload)


# Those of another level and of another audience have the same fields.
@pytest.mark.parametrize(
    "kind", sorted(set(Kind) - {Kind.ALERT_WARNING, Kind.ALERT_INFO, Kind.REALTIME_USER, Kind.REALTIME_GROUP})
)
def test_each_field_is_judged_like_by_the_router(kind: Kind) -> None:
    models = (parse.MODELS[kind], parse.TEMPLATED.get(kind))
    fields = {
        name for model in models if model is not None for name in getattr(model, "model_fields", Person.model_fields)
    }
    for name in fields:
        for value in VALUES:
            agree(kind, "web", json.dumps(GOOD | {name: value}).encode())


@pytest.mark.parametrize(
    "topic",
    [
        "notifications/realtime/users/ada", "from/shop/notification/realtime/user/ada", "fleet/truck/7",
        "from/shop/a/b",
        "from//notifications/system/status", "from/-/notifications/system/status", "notifications/realtime/user/",
        "notifications/email/sent", "directory/publishers/shop", "x" * 200,
    ],
)  # fmt: skip
def test_a_wrong_topic_is_answered_like_by_the_router(topic: str) -> None:
    assert TOPICS.parse(topic) is None
    with pytest.raises(NotTaken) as error:
        rules().topic(topic)
    meant = TOPICS.nearest(topic)
    assert error.value.refusal.code == "unknown_topic"
    assert error.value.refusal.message.endswith(f"Did you mean {meant}?" if meant else "Nothing listens on this topic.")


def test_a_named_publishers_topic_is_the_same_as_the_plain_one() -> None:
    assert rules().topic("from/shop/notifications/system/status") == rules().topic("notifications/system/status")

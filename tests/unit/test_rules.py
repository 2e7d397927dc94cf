"""The rules in ``clients/rules.json``: fresh, and read by them a payload gets the answer that the router gives it."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.payloads.parse import read
from services.router.payloads.rejection import FieldProblem, Rejected
from services.router.rules.__main__ import RULES, files
from shared.core.topics import Kind, Topics
from tests.rules_reader import Answer, Problem, Rules

READER = Rules(json.loads(RULES.read_text()))
TOPICS = Topics()

SUBSCRIPTION = {
    "endpoint": "https://push.example.com/s/1",
    "keys": {"p256dh": "BA" + "A" * 85, "auth": "A" * 22},
    "expirationTime": None,
}
ENVELOPE = {
    "id": "k1",
    "category": "news",
    "channels": ["email", "push"],
    "send_at": 1_800_000_000,
    "expires_at": "2027-01-15T10:00:00+01:00",
    "ttl_s": 60,
    "events": True,
    "tenant": "acme",
    "actions": [
        {"id": "open", "label": "Open", "url": "https://example.com/o?a=1", "style": "primary"},
        {"id": "yes", "label": "Yes", "topic": True},
    ],
}
SAID = {"message": "m", "title": "t", "priority": "high", "data": {"a": [1, {"b": None}]}}
REALTIME = SAID | {"type": "info"}
ALERT = {
    "message": "m", "source": "s", "severity": "high", "affected_systems": ["db"], "data": {}, "dedup_key": "d"
}  # fmt: skip
MAIL = {"to": "user@example.com", "subject": "s", "body": "b", "html_body": "<p>b</p>", "priority": "low"}
IN_TEMPLATE = {"template": "welcome", "data": {"name": "Ada"}, "locale": "fr-CA", "timezone": "Europe/Paris"}
TEMPLATED_MAIL = {"to": "user@example.com", "template": "welcome", "data": {"name": "Ada"}}
OVERRIDE = {"user": "b", "from": 1_800_000_000, "until": "2027-01-16T10:00:00Z"}
LAYER = {
    "users": ["a", "b"], "rotation": "weekly", "handoff": "09:00", "weekday": "monday", "start": "2026-01-05",
    "timezone": "Europe/Paris", "overrides": [OVERRIDE],
    "restrictions": [{"days": ["monday"], "from": "18:00", "to": "08:00"}],
}  # fmt: skip

QUIET = {"timezone": "Europe/Paris", "windows": [{"days": ["friday"], "from": "22:00", "to": "07:00"}]}
CATEGORY = {
    "title": "Comments", "policy": "opt_in", "channels": {"email": True, "sms": None}, "priority_at_most": "high",
    "quiet_hours": "ignore", "throttle": {"limit": 5, "per": "1h", "then": "fold", "key": "data.thread"},
    "digest": {
        "window": "10m", "at_most": 3600, "mode": "sliding", "first": "now", "key": "data.a.b", "channels": ["email"],
        "items": 10, "template": "several",
    },
}  # fmt: skip

# A parameter of the topic, and payloads that pass and say much.
FULL: list[tuple[Kind, str, dict[str, Any]]] = [
    (Kind.REALTIME_USER, "alice", ENVELOPE | REALTIME),
    (Kind.REALTIME_USER, "alice", IN_TEMPLATE),
    (Kind.REALTIME_GROUP, "ops", REALTIME),
    (Kind.REALTIME_GROUP, "ops", IN_TEMPLATE),
    (Kind.REALTIME_BROADCAST, "", REALTIME | {"target_groups": ["a", "b", "a"]}),
    (Kind.REALTIME_BROADCAST, "", IN_TEMPLATE | {"target_groups": ["a"]}),
    (Kind.ALERT_CRITICAL, "disk", ALERT),
    (Kind.ALERT_WARNING, "disk", ALERT),
    (Kind.ALERT_INFO, "disk", ALERT),
    (Kind.ALERT_ACKNOWLEDGE, "a1", {"user_id": "alice", "note": "mine"}),
    (Kind.ALERT_RESOLVE, "a1", {"note": "over"}),
    (Kind.SYSTEM_STATUS, "", {"message": "m", "status": "degraded", "services": {"api": "down"}}),
    (Kind.SYSTEM_STATUS, "", {"message": "m", "services": ["api"]}),
    (
        Kind.SYSTEM_MAINTENANCE,
        "",
        {"message": "m", "starts_at": 1_800_000_000, "ends_at": 1_800_000_100, "services": ["api"]},
    ),
    (Kind.EMAIL_SEND, "", ENVELOPE | MAIL),
    (Kind.EMAIL_SEND, "", IN_TEMPLATE | {"to": "user@example.com"}),
    (Kind.EMAIL_BATCH, "", {"emails": [MAIL, TEMPLATED_MAIL, MAIL | {"html_body": None}]}),
    (Kind.SMS_SEND, "", {"phone": "+15005550006", "message": "m", "priority": "high"}),
    (Kind.SMS_SEND, "", IN_TEMPLATE | {"phone": "+33612345678"}),
    (Kind.PUSH_MOBILE, "ios", SAID | {"user_id": "alice", "tokens": ["ab", "cd"]}),
    (Kind.PUSH_MOBILE, "ntfy", SAID | {"tokens": ["ops_7"]}),
    (Kind.PUSH_MOBILE, "web", {"message": "m", "tokens": [SUBSCRIPTION]}),
    (Kind.PUSH_MOBILE, "android", IN_TEMPLATE | {"user_id": "alice", "tokens": ["ab"]}),
    (Kind.CANCEL, "n1", {}),
    (Kind.SESSION_CONNECT, "alice", {"session_id": "s1", "device_info": {"os": "x"}}),
    (Kind.SESSION_DISCONNECT, "alice", {"session_id": "s1", "device_info": "x"}),
    (Kind.SESSION_HEARTBEAT, "alice", {"session_id": "s1"}),
    (
        Kind.DIRECTORY_USER,
        "alice",
        {
            "user_id": "alice", "email": "alice@example.com", "phone": "+33612345678", "name": "Alice", "locale": "fr",
            "timezone": "Europe/Paris", "groups": ["ops"], "roles": ["admin"],
            "preferences": {
                "sms": True, "push": None,
                "categories": {"billing": {"email": False, "push": None, "digest": "daily"}, "news": None},
            },
            "quiet_hours": QUIET, "snooze_until": 1_800_000_000,
            "devices": [
                {"platform": "ios", "token": "ab", "environment": "sandbox", "registered_at": 1_700_000_000},
                {"platform": "ntfy", "token": "ops_7"},
                {"platform": "web", "subscription": SUBSCRIPTION},
            ],
        },
    ),
    (Kind.DIRECTORY_ONCALL, "disk", {"users": ["a"], "overrides": [OVERRIDE], "repeat": 2}),
    (
        Kind.DIRECTORY_ONCALL,
        "*",
        {
            "alert_type": "*",
            "layers": [LAYER, {"users": ["c"], "every_hours": 12, "start": "2026-01-05"}],
            "escalation": [{"after_s": 0, "notify": ["oncall", "admins", "user:bob"], "channels": ["sms"]}],
        },
    ),
    (
        Kind.DIRECTORY_PUBLISHER,
        "shop",
        {
            "publisher": "shop", "may": ["notifications/#", "+/x"], "may_answer": "any", "priority_at_most": "high",
            "rate": "100/1m", "share": 2, "tenant": "acme", "unknown_fields": "reject", "keys": ["0" * 64],
        },
    ),
    (Kind.DIRECTORY_CATEGORY, "comments", CATEGORY | {"category": "comments"}),
    (
        Kind.DIRECTORY_CATEGORY,
        "comments",
        {"digest": {"schedule": {"at": "09:00", "days": ["monday"]}}, "throttle": {"limit": 1, "per": 0.5 + 0.5}},
    ),
    (
        Kind.DIRECTORY_TENANT,
        "acme",
        {
            "tenant": "acme", "title": "Acme", "timezone": "Europe/Paris", "locale": "fr", "quiet_hours": QUIET,
            "brand": {"name": "Acme", "logo_url": "https://acme.example/l.png", "colour": "#0a7cff", "footer": ""},
            "categories": {"comments": CATEGORY, "digest": {"policy": "required"}},
        },
    ),
    (Kind.DIRECTORY_SUPPRESS, "email", {"address": "a@example.com", "reason": "unsubscribed", "category": "news"}),
    (Kind.DIRECTORY_SUPPRESS, "email", {"address": "a@example.com", "reason": "bounce", "detail": "5.1.1"}),
    (Kind.DIRECTORY_SUPPRESS, "email", {"address": "a@example.com", "remove": True}),
]  # fmt: skip

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 0.5, 1.0, 61, 101, 8761, 2**32, 2**40, 1_800_000_000, 1_900_000_000, 1e300, 10**30,
    "", "a", "a/b", "a\nb", "\u2028", "=?x?=", "x" * 65, "x" * 129, "x" * 201, "x" * 255, "x" * 1601, "😀" * 33,
    "2027-01-15T08:00:00Z", "2027-01-15 08:00:00.5+01:00", "2027-02-30T08:00:00Z", "1999-12-31T23:59:59Z", "2027-01-15",
    "2099-12-31T23:59:60Z", "2100-01-01T00:00:00Z", "2027-13-01", "1999-01-01", "09:00", "24:00", "9:00", "tomorrow",
    "high", "urgent", "low", "email", "fax", "ios", "web", "ntfy", "android", "sandbox", "daily", "weekly", "monday",
    "bounce", "unsubscribed", "complaint", "admin", "oncall", "admins", "user:", "user:a/b", "user:bob", "user:x\n",
    "user@example.com", "user@example", "user@localhost", "user@x.test", "a..b@example.com", "a@b@example.com",
    "a b@example.com", "user@-x.example.com", "user@example.com.", "user@exa_mple.com", "user@example.123",
    "user@host.local", "x" * 65 + "@example.com", ".a@example.com", "a+b@example.co.uk", "user@[127.0.0.1]",
    "+15005550006", "+1500555000", "+33612345678", "+336123456789", "+999123456789", "0033612345678", "+0123456789",
    "Europe/Paris", "Europe/Atlantis", "UTC", "fr", "fr_CA", "f", "en-", "http://localhost:1/x", "http://example.com/x",
    "https://example.com", "https://u@example.com", "https://", "BA" + "A" * 85, "CA" + "A" * 85, "A" * 22,
    "A" * 22 + "==", "A" * 21, "A" * 23, "*", "ops 7", "ab=", ".ab",
    "30s", "0s", "9m", "11m", "31d", "32d", "366d", "367d", "9999999d", "1ms", "1H", "-1s", "\u0661s", 1e-4,
    1e-7, 0.9999999, 31_622_400, 31_622_401, "data.thread", "data.", "data..a", "data.a.", "data", "data.a b\n",
    "#0A7cff", "#0a7cf", "https://example.com/a b", "https://example.com/\u00a0", "https://example.com/ä", "https://a.b/'",
    "https://a.b/\\", "https://a.b/\u0085", "opt_out", "required", "hold", "drop", "sliding", "now", "wait", "ignore",
    "primary", "instant", {"window": "1m"}, {"window": "1m", "schedule": {}}, {"window": "1m", "at_most": "59s"},
    {"days": []}, {"windows": [{"from": "22:00"}]}, {"limit": 1, "per": "40d"}, {"per": "1d"}, {"categories": None},
    {"categories": {"billing": None, "": {"fax": None}, "a/b": {"emial": True}}}, {"digest": {"widow": "1m"}},
    [{"id": "a", "label": "A", "topic": False}], [{"id": "a", "label": "A", "topic": "b", "url": "https://a.b"}],
    [{"id": "a", "label": "A", "topic": True}] * 2, [{"id": str(number), "label": "A"} for number in range(4)],
    "0", "0/1s", "10/s", "10/1", "10/2d", "9/25h", "own", "any", "warn", "reject", "a/#", "#/a", "a+/b", "$SYS/#",
    "from/x/#",     ["a/#/b"], ["from/a/b"], ["0" * 63], ["A" * 64],
    [], [1], ["a"], ["a", "a"], ["email", "fax"], ["a"] * 501, ["sms"] * 17, [[]], [{}], [None], [""], [SUBSCRIPTION],
    {}, {"a": 1}, {"a": "b"}, {"": "b"}, {"a\nb": ""}, {"message": "x", "priority": "low"}, {"platform": "ios"},
    {"platform": "symbian", "token": "x"}, {"sms": None, "fax": True, "mail": None}, SUBSCRIPTION, MAIL, TEMPLATED_MAIL,
    LAYER, OVERRIDE, {"template": None}, [MAIL] * 3,
]  # fmt: skip
NAMES = [
    "prioriy", "Priority", "titel", "text", "msg", "sendAt", "ttl", "expires", "email", "recipient", "number", "token",
    "metadata", "alert", "body", "subject", "html", "template", "templat", "user", "user_id", "level", "priority",
    "note", "notes", "group", "mails", "devices", "platform", "adress", "x", "x" * 120, "fr_om", "until", "Überschrift",
    "id", "categories", "category", "digest", "digets", "windows", "quietHours", "lable", "colour", "color",
]  # fmt: skip


_OF_MATCHERS = ("directory/silence/", "directory/inhibition/")


def topic_of(kind: Kind, parameter: str) -> str:
    return TOPICS.publish(kind, parameter)


def routers(topic: str, payload: bytes, properties: dict[str, object], *, reject_unknown: bool = False) -> Answer:
    """Say what the router says, in the reader's form."""
    route = TOPICS.parse(topic)
    assert route is not None
    try:
        found = read(route.kind, route.params, payload, envelope=properties, reject_unknown=reject_unknown)
    except Rejected as rejected:
        return Answer(rejected.code.value, rejected.message, _problems(rejected.fields))
    return Answer(warnings=_problems(found.unread))


def _problems(fields: tuple[FieldProblem, ...]) -> tuple[Problem, ...]:
    return tuple((each.field, each.problem, each.meant) for each in fields)


def hold(
    topic: str, payload: bytes, properties: dict[str, object] | None = None, *, strict: tuple[bool, ...] = (False,)
) -> Answer:
    """Ask both, and return their answer.

    Args:
        strict: whether unknown fields are refused.
    """
    for reject_unknown in strict:
        expected = routers(topic, payload, properties or {}, reject_unknown=reject_unknown)
        found = READER.answer(topic, payload, properties=properties, reject_unknown=reject_unknown)
        if expected.code == "invalid_json":
            assert found.code == "invalid_json"
        elif topic.startswith(_OF_MATCHERS) and expected.fields:
            # What a matcher is only the router reads.
            assert set(found.fields) <= set(expected.fields), payload[:300]
        else:
            assert found == expected, payload[:300]
    return expected


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name every place in a document."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from places(each, (*path, name))


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for name in path[:-1]:
        document = document[name]
    document[path[-1]] = value


def remove(document: Any, path: tuple[Any, ...]) -> Any:
    for name in path[:-1]:
        document = document[name]
    return document.pop(path[-1])


def test_the_files_are_what_the_models_say() -> None:
    for path, text in files().items():
        assert path.read_text() == text, f"{path} is out of date: make rules"


@pytest.mark.parametrize(("kind", "parameter", "payload"), FULL)
def test_what_passes_here_passes_there(kind: Kind, parameter: str, payload: dict[str, Any]) -> None:
    assert hold(topic_of(kind, parameter), json.dumps(payload).encode()) == Answer()


@pytest.mark.parametrize(("kind", "parameter", "payload"), FULL)
def test_every_value_in_every_place_gets_the_routers_answer(
    kind: Kind, parameter: str, payload: dict[str, Any]
) -> None:
    topic = topic_of(kind, parameter)
    for place in places(payload):
        changed = deepcopy(payload)
        remove(changed, place)
        hold(topic, json.dumps(changed).encode())
        changed = deepcopy(payload)
        for value in VALUES:
            put(changed, place, value)
            hold(topic, json.dumps(changed).encode())


@pytest.mark.parametrize(("kind", "parameter", "payload"), FULL)
def test_every_misspelt_name_gets_the_routers_answer(kind: Kind, parameter: str, payload: dict[str, Any]) -> None:
    topic = topic_of(kind, parameter)
    for place in places(payload):
        for name in NAMES:
            if isinstance(place[-1], str):
                changed = deepcopy(payload)
                value = remove(changed, place)
                put(changed, (*place[:-1], name), value)
                hold(topic, json.dumps(changed).encode(), strict=(True, False))
    hold(topic, json.dumps(payload | dict.fromkeys(NAMES, "x")).encode())
    hold(topic, json.dumps({**payload, "notification": {"message": 1, "priority": "low", "fax": 2}}).encode())


@settings(max_examples=500)
@given(st.data())
def test_several_mistakes_at_once_get_the_routers_answer(data: st.DataObject) -> None:
    kind, parameter, payload = data.draw(st.sampled_from(FULL))
    payload = deepcopy(payload | data.draw(st.sampled_from([{}, ENVELOPE])))
    for _ in range(data.draw(st.integers(2, 5))):
        known = list(places(payload))
        if not known:
            break
        place = data.draw(st.sampled_from(known))
        action = data.draw(st.sampled_from(["put", "put", "remove", "rename", "add"]))
        if action == "put":
            put(payload, place, deepcopy(data.draw(st.sampled_from(VALUES))))
        elif action == "remove":
            remove(payload, place)
        elif isinstance(place[-1], str):
            value = remove(payload, place) if action == "rename" else data.draw(st.sampled_from(VALUES))
            put(payload, (*place[:-1], data.draw(st.sampled_from(NAMES))), deepcopy(value))
    parameter = data.draw(st.sampled_from([parameter, parameter, "a+", "x" * 129, "ios", "other"]))
    said: list[dict[str, object]] = [{}, {"id": "k", "ttl_s": 60}, {"id": "a\nb"}, {"ttl_s": 0}]
    properties = data.draw(st.sampled_from(said))
    publisher = data.draw(st.sampled_from(["-", "shop"]))
    hold(
        TOPICS.of_publisher(publisher, topic_of(kind, parameter or "-")),
        json.dumps(payload).encode(),
        properties,
        strict=(True, False),
    )


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{}", b"null", b"[]", b"{", b'"x"', b"\xff", b'{"a": NaN}', b'{"message": "\\ud800"}', b"[" * 300,
        b'{"message": "a", "message": "b"}', b'{"data": {"x": 1e999}}', b'{"data": ' + b'{"a":' * 40 + b"1" + b"}" * 41,
        b'{"data": ' + b'{"a":' * 31 + b"1" + b"}" * 32, b" " * 70_000, b'{"a": "' + b"x" * 70_000 + b'"}',
        b" " * 1_100_000, b'{"ttl_s": 1e999}',
    ],
)  # fmt: skip
def test_odd_payloads_get_the_routers_answer(kind: Kind, payload: bytes) -> None:
    hold(topic_of(kind, "alice"), payload)


def test_large_batches_get_the_routers_answer() -> None:
    batch = topic_of(Kind.EMAIL_BATCH, "")
    large = MAIL | {"body": "x" * 65_000, "html_body": "é" * 1_000}
    for emails in (
        [MAIL] * 1_001,
        [TEMPLATED_MAIL] * 101,
        [large, MAIL, large],
        [MAIL | {"to": 1}] * 400,
        [MAIL] * 900,
    ):
        hold(batch, json.dumps({"emails": emails}, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "topic",
    [
        "notifications/realtime/users/alice", "notification/realtime/user/alice", "notifications/email/sent", "x/y",
        "notifications/sms", "notifications/alerts/critcal/disk", "directory/person/alice", "websocket/conect/alice",
        "notifications/realtime/user/", "notifications/system/statu", "notifications/push/ios", "x" * 200,
        "notifications/email", "directory/on-call/disk", "from/shop/x", "from/shop",
        "from/shop/notification/email/send", "from/-/notifications/email/send", "from//notifications/email/send",
        "notifications/alerts/disk", "websocket/heartbeat",
    ],
)  # fmt: skip
def test_a_misspelt_topic_gets_the_routers_answer(topic: str) -> None:
    assert TOPICS.parse(topic) is None
    assert READER.answer(topic, b"{}").code == "unknown_topic"
    assert READER.nearest_topic(topic) == TOPICS.nearest(topic)

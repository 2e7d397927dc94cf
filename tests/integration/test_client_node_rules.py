"""The Node client's fake against the router's own reading: the same code, fields, problems and meant names."""

import base64
import json
import random
from pathlib import Path
from typing import Any

from services.router.payloads.parse import read
from services.router.payloads.rejection import Rejected
from shared.core.topics import Topics
from tests.client_node_build import run_lines

PAYLOADS = 3_000
TOPICS = Topics()

_ENVELOPE: dict[str, Any] = {
    "id": "order-1",
    "category": "orders",
    "channels": ["email", "push"],
    "send_at": 1_900_000_000,
    "expires_at": "2035-01-05T09:00:00+01:00",
    "ttl_s": 60,
    "events": True,
    "tenant": "acme",
    "actions": [
        {"id": "open", "label": "Open", "url": "https://example.com/o?a=1", "style": "primary"},
        {"id": "yes", "label": "Yes", "topic": True},
    ],
}
_SUBSCRIPTION = {
    "endpoint": "https://push.example.com/abc",
    "keys": {"p256dh": base64.urlsafe_b64encode(b"\x04" + bytes(64)).decode(), "auth": "AAAAAAAAAAAAAAAAAAAAAA"},
}
_TEMPLATE: dict[str, Any] = {
    "template": "welcome", "data": {"name": "A"}, "locale": "pt-BR", "timezone": "Europe/Paris", "priority": "high"
}  # fmt: skip
_MAIL = {"to": "user@example.com", "subject": "Welcome", "body": "Hello", "html_body": "<p>Hello</p>"}
_REALTIME = _ENVELOPE | {"message": "Hello", "title": "Hi", "type": "info", "priority": "low", "data": {"a": [1, {}]}}
_ALERT = _ENVELOPE | {
    "message": "Disk is full", "source": "db-1", "severity": "high", "affected_systems": ["db"], "data": {},
    "dedup_key": "disk-7",
}  # fmt: skip

_QUIET: dict[str, Any] = {"windows": [{"days": ["friday"], "from": "22:00", "to": "07:00"}]}
_CATEGORY: dict[str, Any] = {
    "title": "Comments", "policy": "opt_in", "channels": {"email": True, "sms": None}, "priority_at_most": "high",
    "quiet_hours": "ignore", "throttle": {"limit": 5, "per": "1h", "then": "fold", "key": "data.thread"},
    "digest": {
        "window": "10m", "at_most": 3600, "mode": "sliding", "first": "now", "key": "data.a.b", "channels": ["email"],
        "items": 10, "template": "several",
    },
}  # fmt: skip

# What is good, topic by topic; the payloads of the test are these with a few things changed.
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("notifications/realtime/user/user123", _REALTIME),
    ("notifications/realtime/user/user123", _ENVELOPE | _TEMPLATE),
    ("notifications/realtime/group/staff", _REALTIME),
    ("notifications/realtime/broadcast", _REALTIME | {"target_groups": ["a", "b"]}),
    ("notifications/realtime/broadcast", _TEMPLATE | {"target_groups": ["a", "b"]}),
    ("notifications/alerts/critical/disk", _ALERT),
    ("notifications/alerts/warning/disk", _ALERT | {"priority": "high", "level": "warning"}),
    ("notifications/alerts/info/disk", _ALERT | {"alert_type": "disk"}),
    ("notifications/alerts/acknowledge/a1", {"user_id": "user123", "note": "Mine"}),
    ("notifications/alerts/resolve/a1", {"note": "Over"}),
    ("notifications/system/status", _ENVELOPE | {"message": "All well", "status": "ok", "services": ["a"]}),
    ("notifications/system/status", {"message": "All well", "services": {"mail": "ok", "sms": "slow"}}),
    (
        "notifications/system/maintenance",
        {"message": "Tonight", "starts_at": 1_900_000_000, "ends_at": "2031-01-05T09:00:00.5Z", "services": ["mail"]},
    ),
    ("notifications/email/send", _ENVELOPE | _MAIL | {"priority": "critical"}),
    ("notifications/email/send", _TEMPLATE | {"to": "user@example.com"}),
    ("notifications/email/batch", {"emails": [_MAIL, _MAIL | {"priority": "low", "send_at": 1_900_000_000}]}),
    ("notifications/email/batch", {"emails": [_TEMPLATE | {"to": "a@example.com"}, _MAIL], "priority": "high"}),
    ("notifications/sms/send", _ENVELOPE | {"phone": "+15555550100", "message": "Hello", "priority": "normal"}),
    ("notifications/sms/send", _TEMPLATE | {"phone": "+442079460000"}),
    ("notifications/push/mobile/ios", {"user_id": "user123", "message": "Hello", "title": "Hi", "data": {}}),
    ("notifications/push/mobile/android", {"tokens": ["abc:def", "ghi"], "message": "Hello"}),
    ("notifications/push/mobile/web", {"tokens": [_SUBSCRIPTION], "message": "Hello"}),
    ("notifications/push/mobile/web", _TEMPLATE | {"user_id": "user123", "tokens": [_SUBSCRIPTION]}),
    ("notifications/cancel/n1", {}),
    ("websocket/connect/user123", {"session_id": "s1", "device_info": {"os": "linux"}}),
    ("websocket/heartbeat/user123", {"session_id": "s1", "device_info": "phone"}),
    (
        "directory/user/user123",
        {
            "email": "user@example.com", "phone": "+15555550100", "name": "User", "locale": "en", "timezone": "UTC",
            "groups": ["staff"], "roles": ["admin"],
            "preferences": {"sms": True, "categories": {"billing": {"email": False, "digest": "daily"}, "news": None}},
            "quiet_hours": _QUIET, "snooze_until": 1_900_000_000,
            "devices": [{"platform": "ios", "token": "abc"}, {"platform": "web", "subscription": _SUBSCRIPTION}],
        },
    ),
    ("directory/oncall/disk", {"users": ["user123"], "escalation": [{"after_s": 0, "notify": ["oncall"]}]}),
    (
        "directory/oncall/disk",
        {"layers": [{"users": ["a"], "rotation": "daily", "start": "2026-01-05", "timezone": "Europe/Paris"}]},
    ),
    (
        "directory/oncall/disk",
        {
            "layers": [
                {
                    "users": ["a"], "rotation": "daily", "start": "2026-01-05",
                    "restrictions": [{"days": ["monday"], "from": "18:00", "to": "08:00"}],
                }
            ]
        },
    ),
    (
        "directory/publisher/shop",
        {
            "may": ["notifications/#", "directory/user/+"], "may_answer": "any", "priority_at_most": "high",
            "rate": "1000/60s", "share": 2.5, "tenant": "acme", "unknown_fields": "reject", "keys": ["0a" * 32],
        },
    ),
    ("directory/category/comments", _CATEGORY),
    ("directory/category/comments", _CATEGORY["throttle"]),
    ("directory/category/comments", {"digest": {"schedule": {"at": "09:00", "days": ["monday"]}}}),
    (
        "directory/tenant/acme",
        {
            "title": "Acme", "timezone": "Europe/Paris", "locale": "fr", "quiet_hours": _QUIET,
            "brand": {"name": "Acme", "logo_url": "https://acme.example/l.png", "colour": "#0a7cff", "footer": "Acme"},
            "categories": {"comments": _CATEGORY, "digest": {"policy": "required"}},
        },
    ),
    ("directory/suppress/email", {"address": "user@example.com", "reason": "unsubscribed", "category": "news"}),
]  # fmt: skip

# Values that are wrong somewhere, and right somewhere else.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.5, 60, 1e300, 4_294_967_296, "", " ", "text", "two\nlines", "=?utf-8?q?a?=", "a/b",
    "a+b", "a#b", "é", "漢字", "\x7f", "\u2028", "x" * 64, "x" * 65, "x" * 128, "x" * 129, "x" * 200, "x" * 201,
    "😀" * 64, "😀" * 65, [], [[]], ["a"], ["a", "a"], [1, "a"], [None], ["email"], ["email", "fax"], ["x"] * 201, {},
    {"a": 1}, {"a": None}, {"message": "Hello"}, {"message": "Hello", "title": "Hi"}, "critical", "urgent", "low",
    "HIGH", "user@example.com", "user@example", "user@@example.com", "a b@example.com", ".a@example.com",
    "a@münchen.de", "ü@example.com", "a@x.test", "a@localhost", "a@example.com.", "a@-x.com", "x" * 65 + "@example.com",
    "+15555550100", "+1555", "+999123456", "15555550100", "+4915112345678", "+44 20 7946 0000", "+3531234567",
    "+0123456", 1_900_000_000, 2_000_000_000.25, 1_900_000_000_000, 946_684_799, "2031-01-05T09:00:00Z",
    "2031-01-05 09:00:00z", "2031-02-30T09:00:00Z", "2031-01-05T24:00:00Z", "2031-01-05T09:00:60Z",
    "2031-01-05T09:00:00", "1999-01-05T09:00:00Z", "2031-01-05T09:00:00+23:59", "2031-01-05T09:00:00+24:00",
    "2031-01-05", "2026-13-01", "09:00", "25:00", "9:00",
    "Europe/Paris", "UTC", "Mars/Base", "europe/paris", "en", "en_GB", "e", "en-", "daily", "monthly", "oncall",
    "user:a", "user:", "ios", "web", "windows", "unsubscribed", "bounce", _SUBSCRIPTION, {"endpoint": "http://example.com"},
    "30s", "0s", "9m", "11m", "31d", "32d", "366d", "367d", "1ms", "1H", 1e-4, 31_622_401, "data.thread", "data.",
    "data..a", "data.a b\n", "#0A7cff", "#0a7cf", "https://a.b/a b", "https://a.b/\u00a0", "https://a.b/ä", "https://a.b/'",
    "https://a.b/\u0085", "https://a.b/\ufeff", "opt_out", "hold", "sliding", "now", "ignore", "primary", "instant",
    {"window": "1m"}, {"window": "1m", "schedule": {}}, {"window": "1m", "at_most": "59s"}, {"limit": 1, "per": "40d"},
    {"categories": {"billing": None, "": {"fax": None}, "a/b": {"emial": True}}}, {"digest": {"widow": "1m"}},
    {"comments": _CATEGORY | {"polcy": 1}}, {"digest": {"polcy": 1}}, {"email": None, "fax": None},
    [{"id": "a", "label": "A", "topic": False}], [{"id": "a", "label": "A", "topic": "b", "url": "https://a.b"}],
    [{"id": "a", "label": "A", "topic": True}] * 2, [{"id": each, "label": "A", "topic": True} for each in "abcd"],
    "1000/60s", "5/h", "0/60s", "1/2d", "1/24h", "1/25h", ["from/x/#"], ["a/#/b"], ["+/a"], ["0A" * 32],
    {"endpoint": "http://127.0.0.1:1/x", "keys": {"p256dh": "AA", "auth": "A"}}, _MAIL, _TEMPLATE,
]  # fmt: skip

# What others call our fields, and slips of the finger.
NAMES = [
    "mesage", "mesages", "msg", "text", "content", "body", "message", "Title", "titel", "subject", "heading", "prioriy",
    "urgency", "priority", "sendAt", "send-at", "send_at", "expiresAt", "ttl", "TTL", "channel", "chanels", "metadata",
    "payload", "variables", "template", "idempotencyKey", "key", "recipient", "to", "email", "number", "user", "userId",
    "devices", "token", "systems", "dedupKey", "level", "severty", "group", "groups", "html", "xyz", "__proto__",
    "constructor", "x" * 65, "x" * 120, "ünïcode", "", "a.b", "user_id", "alert_type", "platform", "services", "note",
    "reason", "remove", "session", "device", "mails", "emails", "data",
]  # fmt: skip

BYTES = [
    b"", b"{", b"[]", b"null", b'"text"', b"1", b"{}x", b'{"message": NaN}', b'{"message": "\\ud800"}', b"\xff",
    b'{"message": "Hello", "data": {"a": 1e999}}', b'\xef\xbb\xbf{"message": "Hello"}', b"{'message': 'Hello'}",
    b'{"message": "Hello", "message": 5}', b'{"message": "Hello",}', b'{"message": "' + b"x" * 70_000 + b'"}',
    b'{"message": "Hello", "data": {"a": ' + b"[" * 30 + b"]" * 30 + b"}}",
    b'{"message": "Hello", "data": {"a": ' + b"[" * 31 + b"]" * 31 + b"}}",
    b'{"message": "Hello", "data": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
    json.dumps({"emails": [_MAIL | {"body": "x" * 66_000}, _MAIL, {"a": "y" * 66_000}]}).encode(),
    json.dumps({"emails": [_TEMPLATE | {"to": "a@example.com"}] * 101}).encode(),
    json.dumps({"emails": [{}] * 30}).encode(), json.dumps({"emails": [_MAIL] * 1_001}).encode(),
    json.dumps({"emails": [_MAIL] * 15_000}).encode(), json.dumps({f"field{each}x": 1 for each in range(30)}).encode(),
    json.dumps({"message": "Hello"} | {f"field{each}x": 1 for each in range(30)}).encode(),
    json.dumps({"message": "Hello", "services": {"two\nlines": "ok", "mail": 5}}).encode(),
]  # fmt: skip

UNKNOWN_TOPICS = [
    "notifications/realtime/users/user123", "notification/realtime/user/user123", "notifications/realtime/user",
    "notifications/realtime/user/", "notifications/realtime/user/a/b", "notifications/alert/critical/disk",
    "notifications/alerts/criticl/disk", "notifications/emails/send", "notifications/email/sent", "notifications/mail",
    "notifications/sms", "notifications/push/ios", "notifications/push/mobile", "notifications/system/state",
    "notifications/System/Status", "notifications/x", "notifications/" + "x" * 130, "websocket/connected/user123",
    "directory/users/user123", "directory/on-call/disk", "notifications/cancel", "notifications/realtime/brodcast",
    "notifications/status", "notifications/maintenance", "/notifications/system/status", "notifications/sms/send/1",
    "from/shop/notifications/sms", "from/-/notifications/sms/send", "from//notifications/sms/send", "from/shop",
    "from/shop/", "from/" + "x" * 129 + "/notifications/sms", "from/shop/from/shop/notifications/sms/send",
]  # fmt: skip


def changed(chance: random.Random, document: dict[str, Any]) -> dict[str, Any]:
    """Make one change to a payload, or to an object inside it."""
    inside = [each for each in document.values() if isinstance(each, dict)]
    inside += [
        each for values in document.values() if isinstance(values, list) for each in values if isinstance(each, dict)
    ]
    if inside and chance.random() < 0.4:
        at = chance.choice(inside)
        at_changed = changed(chance, at)
        return {
            name: at_changed if value is at
            else [at_changed if each is at else each for each in value] if isinstance(value, list)
            else value
            for name, value in document.items()
        }  # fmt: skip
    names = list(document)
    match chance.choice(["drop", "value", "value", "value", "add", "rename"]):
        case "drop" if names:
            gone = chance.choice(names)
            return {name: value for name, value in document.items() if name != gone}
        case "value" if names:
            return document | {chance.choice(names): chance.choice(VALUES)}
        case "rename" if names:
            gone, instead = chance.choice(names), chance.choice(NAMES)
            return {instead if name == gone else name: value for name, value in document.items()}
        case _:
            return document | {chance.choice(NAMES): chance.choice(VALUES)}


def publishes(seed: int) -> list[tuple[str, bytes, dict[str, str]]]:
    """Good payloads, payloads with one to four changes, and texts that are no payload."""
    chance = random.Random(seed)  # noqa: S311 - test data
    made: list[tuple[str, bytes, dict[str, str]]] = []
    made += [(topic, json.dumps(payload).encode(), {}) for topic, payload in GOOD]
    made += [(topic, payload, {}) for topic, _ in GOOD for payload in BYTES]
    made += [(topic, b"{}", {}) for topic in UNKNOWN_TOPICS]
    while len(made) < PAYLOADS:
        topic, payload = chance.choice(GOOD)
        for _ in range(chance.randint(1, 4)):
            payload = changed(chance, payload)
        if chance.random() < 0.1:
            stem, _, last = topic.rpartition("/")
            level = chance.choice([last, "two\nlines", "x" * 129, "web", "é", "=?a"])
            topic = f"{stem}/{level}" if TOPICS.parse(f"{stem}/{level}") else topic
        if chance.random() < 0.1:
            topic = f"from/shop/{topic}"
        properties = {"id": chance.choice(["k1", "", "two\nlines", "x" * 129])} if chance.random() < 0.1 else {}
        made.append((topic, json.dumps(payload).encode(), properties))
    return made


def told(topic: str, payload: bytes, properties: dict[str, str]) -> dict[str, Any]:
    """Return what the router finds."""
    route = TOPICS.parse(topic)
    if route is None:
        nearest = TOPICS.nearest(topic)
        return {"code": "unknown_topic", "message": f"Nothing listens on this topic.{_meant(nearest)}", "fields": []}
    try:
        found = read(route.kind, route.params, payload, envelope=properties)
    except Rejected as rejected:
        error: dict[str, Any] = dict(rejected.receipt()["error"])
        return error
    return {"warnings": [each.document() for each in found.unread]}


def _meant(nearest: str | None) -> str:
    return f" Did you mean {nearest}?" if nearest else ""


def compared(found: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same: a parser's own words about JSON need not."""
    return {name: value for name, value in found.items() if name != "message" or found["code"] != "invalid_json"}


def test_the_fake_says_what_the_router_says(node_client_package: Path) -> None:
    # Others each time, and a failure says which.
    seed = random.randrange(2**32)  # noqa: S311 - test data
    made = publishes(seed)
    lines = [
        json.dumps({"topic": topic, "payload": base64.b64encode(payload).decode(), "properties": properties})
        for topic, payload, properties in made
    ]
    answers = [json.loads(line) for line in run_lines(node_client_package, "driver/check.mjs", lines)]
    wrong = []
    codes = set()
    for publish, answer in zip(made, answers, strict=True):
        router = compared(told(*publish))
        codes.add(router.get("code", "accepted"))
        fake = compared(answer.get("error") or {"warnings": answer["warnings"]})
        if router != fake:
            wrong.append((publish[0], publish[1][:500], publish[2], router, fake))
    assert codes == {"accepted", "invalid_json", "invalid_payload", "too_large", "unknown_topic"}
    assert wrong == [], f"seed {seed}: {len(wrong)} of {len(made)}"

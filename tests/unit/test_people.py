"""Directory records: what passes, what is refused and in which words, and that nothing personal shows."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.core import fields
from shared.core.model import Channel, Platform
from shared.directory.people import (
    DEVICES,
    GROUPS,
    Device,
    EscalationStep,
    MobileDevice,
    OnCall,
    Override,
    Person,
    RotationLayer,
    WebDevice,
)

P256DH = urlsafe_b64encode(b"\x04" + bytes(range(64))).decode().rstrip("=")
AUTH = urlsafe_b64encode(bytes(range(16))).decode().rstrip("=")
SUBSCRIPTION = {"endpoint": "https://push.example.com/s/1", "keys": {"p256dh": P256DH, "auth": AUTH}}

PERSON: dict[str, Any] = {
    "user_id": "user123",
    "email": "user123@example.com",
    "phone": "+15005550006",
    "name": "User 123",
    "locale": "de_CH",
    "timezone": "Europe/Paris",
    "groups": ["ops", "web", "ops"],
    "roles": ["admin"],
    "preferences": {"sms": True},
    "devices": [
        {"platform": "ios", "token": "ab" * 32, "environment": "sandbox", "registered_at": 1767603600},
        {"platform": "android", "token": "cX9:APA91b-_"},
        {"platform": "web", "subscription": {**SUBSCRIPTION, "expirationTime": None}},
    ],
}
LAYER: dict[str, Any] = {"users": ["ann"], "rotation": "daily", "start": "2026-01-05"}
ONCALL: dict[str, Any] = {
    "alert_type": "*",
    "layers": [
        {**LAYER, "handoff": "08:30", "weekday": "monday", "timezone": "Europe/Paris"},
        {"users": ["user2"], "every_hours": 12, "start": "2026-01-05"},
    ],
    "overrides": [{"user": "cem", "from": "2026-02-01T00:00:00+01:00", "until": 1770000000}],
    "escalation": [{"after_s": 300, "notify": ["oncall", "admins", "user:user4"], "channels": ["sms", "sms"]}],
    "repeat": 2,
}

EVENING = {"from": "18:00", "to": "08:00"}


def problem(model: type[BaseModel], document: dict[str, Any]) -> tuple[str, str]:
    """Return where and why pydantic refuses a document, and see that its message repeats no value."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    assert "input_value" not in str(caught.value)
    first = caught.value.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]


def test_a_device_that_is_there_twice_is_one_and_what_was_said_last_counts() -> None:
    phone = {"platform": "ios", "token": "t"}
    person = Person.model_validate({"user_id": "u", "devices": [phone, {**phone, "environment": "sandbox"}]})
    [device] = person.devices
    assert isinstance(device, MobileDevice)
    assert device.environment == "sandbox"


def test_full_person_is_read_and_normalised() -> None:
    person = Person.model_validate(PERSON)
    assert person.groups == ("ops", "web")
    assert person.is_admin
    assert person.locale == "de-CH"
    assert [person.choice(channel).on for channel in Channel] == [True, True, True, True]
    ios, android, web = person.devices
    assert isinstance(ios, MobileDevice)
    assert isinstance(android, MobileDevice)
    assert isinstance(web, WebDevice)
    assert (ios.platform, android.platform, web.platform) == (Platform.IOS, Platform.ANDROID, Platform.WEB)
    assert web.subscription.model_dump() == SUBSCRIPTION


def test_person_needs_nothing_but_an_id() -> None:
    person = Person(user_id="user123")
    on = {channel.value: person.choice(channel).on for channel in Channel}
    assert on == {"realtime": True, "email": True, "sms": False, "push": True}
    assert (person.email, person.phone, person.groups, person.devices, person.is_admin) == (None, None, (), (), False)


@pytest.mark.parametrize(("model", "document"), [(Person, PERSON), (OnCall, ONCALL)])
def test_record_reads_back_from_its_own_json(model: type[BaseModel], document: dict[str, Any]) -> None:
    record = model.model_validate(document)
    assert model.model_validate_json(record.model_dump_json()) == record
    assert model.model_validate_json(record.model_dump_json(exclude_defaults=True)) == record
    assert model.model_validate(record.model_dump()) == record


def test_records_show_nothing_personal() -> None:
    shown = repr(Person.model_validate(PERSON)) + repr(TypeAdapter(Device).validate_python(PERSON["devices"][2]))
    for secret in ("@example.com", "+1500", "User 123", "abab", "APA91b", "push.example.com", P256DH, AUTH):
        assert secret not in shown


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"nickname": "x"}, "nickname", "Extra inputs are not permitted"),
        ({"preferences": {"mail": True}}, "preferences.mail", "Extra inputs are not permitted"),
        ({"preferences": {"email": "yes"}}, "preferences.email", "Input should be a valid boolean"),
        ({"preferences": {"email": 1}}, "preferences.email", "Input should be a valid boolean"),
        ({"roles": ["root"]}, "roles.0", "Input should be 'admin'"),
        ({"name": "A\r\nBcc: x@example.com"}, "name", "must not contain control characters"),
        ({"name": "A\u2028B"}, "name", "must not contain control characters"),
        ({"name": "A\x85B"}, "name", "must not contain control characters"),
        ({"name": "=?utf-8?q?A?="}, "name", "must not contain =?"),
        ({"name": "x" * 201}, "name", "String should have at most 200 characters"),
        ({"timezone": "Europe/Atlantis"}, "timezone", "not an IANA time zone"),
        ({"timezone": "../../etc/passwd"}, "timezone", "not an IANA time zone"),
        ({"timezone": "Europe"}, "timezone", "not an IANA time zone"),
        ({"locale": "english, please"}, "locale", "not a language tag"),
        ({"groups": ["a/b"]}, "groups.0", "must not contain / + or #"),
        ({"groups": [f"g{n}" for n in range(GROUPS + 1)]}, "groups", f"at most {GROUPS} items"),
        ({"devices": [{"platform": "ios", "token": f"t{n}"} for n in range(DEVICES + 1)]}, "devices", "at most 50"),
        (
            {"devices": [{"platform": "android", "token": "t", "environment": "sandbox"}]},
            "devices.0.android.environment",
            "only for ios",
        ),
        ({"devices": [{"platform": "ios", "token": "a/b"}]}, "devices.0.ios.token", "not a valid device token"),
        ({"devices": [{"platform": "ios", "token": "../x"}]}, "devices.0.ios.token", "not a valid device token"),
        ({"devices": [{"platform": "ios", "token": "a b"}]}, "devices.0.ios.token", "not a valid device token"),
        ({"devices": [{"platform": "ios", "token": "t\n"}]}, "devices.0.ios.token", "not a valid device token"),
        ({"devices": [{"platform": "web", "token": "t"}]}, "devices.0.web.subscription", "Field required"),
        (
            {"devices": [{"platform": "ntfy", "token": "ops:7"}]},
            "devices.0.ntfy.token",
            "not a topic of ntfy: 1 to 64 letters, digits, _ and -",
        ),
        (
            {"devices": [{"platform": "ntfy", "token": "t", "environment": "sandbox"}]},
            "devices.0.ntfy.environment",
            "only for ios",
        ),
    ],
)
def test_bad_field_of_a_person_is_refused_and_named(change: dict[str, Any], field: str, words: str) -> None:
    where, why = problem(Person, {**PERSON, **change})
    assert where == field
    assert words in why


@pytest.mark.parametrize("text", ["a", "user-123", "user@example.com", "Jörg Müller", "用户", "a" * 128, "*", "$x"])
def test_identifier_takes_one_topic_level(text: str) -> None:
    assert Person(user_id=text).user_id == text


@pytest.mark.parametrize("text", ["", "a" * 129, "a/b", "+", "#", "a\x00", "a\n", "a\x7f", "a\u2029", "=?x"])
def test_identifier_refuses_topic_syntax_and_control_characters(text: str) -> None:
    assert problem(Person, {"user_id": text})[0] == "user_id"


@given(st.text(max_size=140))
def test_identifier_that_passed_is_safe_in_a_topic_and_a_header(text: str) -> None:
    try:
        Person(user_id=text)
    except ValidationError:
        return
    assert 1 <= len(text) <= 128
    assert not set(text) & set("/+#")
    assert text.splitlines() == [text]
    assert "=?" not in text


@pytest.mark.parametrize(
    ("given_address", "usable"),
    [
        ("user@example.com", "user@example.com"),
        ("First.Last+tag@mail.example.org", "First.Last+tag@mail.example.org"),
        ("user@host.test", "user@host.test"),
        ("user@EXAMPLE.com", "user@example.com"),
        ("user@exämple.com", "user@xn--exmple-cua.com"),
    ],
)
def test_address_is_returned_as_smtp_takes_it(given_address: str, usable: str) -> None:
    assert Person(user_id="u", email=given_address).email == usable


@pytest.mark.parametrize(
    "text",
    [
        "user", "user@", "@example.com", "a b@example.com", "user@localhost", "user@example.com,b@example.com",
        "User <user@example.com>", '"a b"@example.com', "user@[127.0.0.1]", "jörg@example.com", "user@a..com",
        "user@example.com\r\nBcc: x@example.com", "user@example.com\n", "=?utf-8?q?user?=@example.com",
        "user@host.invalid", "a" * 65 + "@example.com", "user@" + "a." * 130 + "com", "",
    ],
)  # fmt: skip
def test_unusable_address_is_refused(text: str) -> None:
    where, why = problem(Person, {"user_id": "u", "email": text})
    assert where == "email"
    assert "@" not in why


@given(st.text(max_size=60) | st.emails())
def test_address_that_passed_is_one_ascii_mailbox(text: str) -> None:
    try:
        address = Person(user_id="u", email=text).email
    except ValidationError:
        return
    assert address is not None
    assert address.isascii()
    assert address.isprintable()
    assert address.count("@") == 1
    assert not set(address) & set(' <>,;:"()[]\\')
    assert Person(user_id="u", email=address).email == address


@pytest.mark.parametrize("text", ["+15005550006", "+15551234567", "+12025550123", "+447700900123", "+33612345678"])
def test_possible_number_is_taken_even_when_reserved_for_tests(text: str) -> None:
    assert Person(user_id="u", phone=text).phone == text


@pytest.mark.parametrize(
    "text",
    ["15005550006", "+1 500 555 0006", "+1-500-555-0006", "0033612345678", "+05005550006", "+1555", "+15550100",
     "+999123456789", "+1500555000612345", "+15005550006;ext=3", "+١٥٠٠٥٥٥٠٠٠٦", "tel:+15005550006", "+15005550006\n"],
)  # fmt: skip
def test_other_forms_of_a_number_are_refused(text: str) -> None:
    assert problem(Person, {"user_id": "u", "phone": text})[0] == "phone"


@pytest.mark.parametrize(
    "endpoint",
    ["https://push.example.com/x", "https://push.example.com:8443/x?y=z", "http://127.0.0.1:8025/webpush/1",
     "http://localhost/x", "http://[::1]:80/x"],
)  # fmt: skip
def test_push_endpoint_is_https_or_this_machine(endpoint: str) -> None:
    assert fields.push_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    "endpoint",
    ["http://push.example.com/x", "http://127.0.0.1.example.com/", "ftp://127.0.0.1/", "https://", "/x", "https:///x",
     "https://user@push.example.com/", "https://push.example.com:99999/", "https://push.example.com/a b",
     "https://push.example.com/\n", "https://püsh.example.com/", "https://[::1/", "http://localhost.example.com/"],
)  # fmt: skip
def test_other_push_endpoints_are_refused(endpoint: str) -> None:
    device = {"platform": "web", "subscription": {**SUBSCRIPTION, "endpoint": endpoint}}
    where, why = problem(Person, {"user_id": "u", "devices": [device]})
    assert (where, why) == ("devices.0.web.subscription.endpoint", "must be an https URL")


def test_push_keys_lose_their_padding() -> None:
    keys = {"p256dh": P256DH + "=", "auth": AUTH + "=="}
    device = WebDevice.model_validate({"platform": "web", "subscription": {**SUBSCRIPTION, "keys": keys}})
    assert (device.subscription.keys.p256dh, device.subscription.keys.auth) == (P256DH, AUTH)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("p256dh", "AAAA", "not an uncompressed P-256 key"),
        ("p256dh", urlsafe_b64encode(b"\x02" + bytes(64)).decode().rstrip("="), "not an uncompressed P-256 key"),
        ("p256dh", "a+b/", "not base64url"),
        ("p256dh", "=", "not base64url"),
        ("auth", "AAAAA", "not base64url"),
        ("auth", "AAAA", "not a secret of 16 bytes"),
    ],
)
def test_push_key_of_another_size_or_alphabet_is_refused(key: str, value: str, words: str) -> None:
    subscription = {**SUBSCRIPTION, "keys": {"p256dh": P256DH, "auth": AUTH, key: value}}
    where, why = problem(WebDevice, {"platform": "web", "subscription": subscription})
    assert (where, why) == (f"subscription.keys.{key}", words)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1767225600, datetime(2026, 1, 1, tzinfo=UTC)),
        (1767225600.5, datetime(2026, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01t00:00:00z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01 01:00:00+01:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2025-12-31T19:00:00.123-05:00", datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_moment_is_epoch_seconds_or_rfc_3339_in_utc(value: object, expected: datetime) -> None:
    found = TypeAdapter(fields.Moment).validate_python(value)
    assert found == expected
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T00:00:00", "2026-01-01", "2026-01-01T00:00Z", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
        "2026-01-01T24:61:00Z", "2026-01-01T00:00:00+99:99", "1767225600", "tomorrow", "", "2026-W01-1T00:00:00Z",
        "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", 1767225600000, 0, -1, 10**400, float("inf"),
        float("nan"), True, [], {}, datetime(2026, 1, 1),  # noqa: DTZ001 - the point
        "\uff12\uff10\uff12\uff16-01-01T00:00:00Z",
    ],
)  # fmt: skip
def test_moment_refuses_everything_else(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(fields.Moment).validate_python(value)


@given(st.floats(946771200, 4102272000), st.timezones())
def test_moment_keeps_the_instant_of_any_zone(epoch_s: float, zone: tzinfo) -> None:
    at = datetime.fromtimestamp(epoch_s, UTC)
    # Offsets with seconds, which RFC 3339 cannot write, ended before 2000.
    assert fields.moment(at.astimezone(zone).isoformat(timespec="microseconds")) == fields.moment(epoch_s) == at


def test_oncall_entry_is_read_as_written() -> None:
    entry = OnCall.model_validate(ONCALL)
    assert entry.layers is not None
    first, second = entry.layers
    assert (first.start, first.handoff, first.rotation, first.every_hours) == (
        date(2026, 1, 5),
        time(8, 30),
        "daily",
        None,
    )
    assert (second.handoff, second.timezone, second.every_hours) == (time(9), "UTC", 12)
    assert entry.overrides[0].starts_at == datetime(2026, 1, 31, 23, tzinfo=UTC)
    assert entry.escalation == (
        EscalationStep(after_s=300, notify=("oncall", "admins", "user:user4"), channels=(Channel.SMS,)),
    )
    written = json.loads(entry.model_dump_json())
    assert written["layers"][0]["handoff"] == "08:30"
    assert set(written["overrides"][0]) == {"user", "from", "until"}


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ({}, "layers", "required, or users"),
        ({"users": ["ann"], "layers": [LAYER]}, "layers", "not together with users"),
        ({"users": []}, "users", "must not be empty"),
        ({"layers": []}, "layers", "must not be empty"),
        ({"users": ["a/b"]}, "users.0", "must not contain / + or #"),
        ({"users": "ann"}, "users", "valid tuple"),
        ({"users": ["ann"], "rota": 1}, "rota", "not permitted"),
        ({"users": ["ann"], "repeat": True}, "repeat", "valid integer"),
        ({"users": ["ann"], "repeat": -1}, "repeat", "greater than or equal to 0"),
        ({"users": ["ann"], "repeat": 101}, "repeat", "less than or equal to 100"),
        ({"users": ["ann"], "escalation": []}, "escalation", "must not be empty"),
    ],
)
def test_bad_oncall_entry_is_refused_and_named(document: dict[str, Any], field: str, words: str) -> None:
    where, why = problem(OnCall, {"alert_type": "x", **document})
    assert where == field
    assert words in why


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"rotation": None}, "rotation", "required, or every_hours"),
        ({"every_hours": 3}, "rotation", "not together with every_hours"),
        ({"rotation": "monthly"}, "rotation", "'daily' or 'weekly'"),
        ({"restrictions": []}, "restrictions", "must not be empty"),
        ({"restrictions": [{"from": "18:00"}]}, "restrictions.0.to", "required"),
        ({"restrictions": [{"from": "18:00", "to": "24:00"}]}, "restrictions.0.to", "not an existing time"),
        ({"restrictions": [{**EVENING, "days": []}]}, "restrictions.0.days", "must not be empty"),
        ({"restrictions": [{**EVENING, "days": ["mon"]}]}, "restrictions.0.days.0", "'monday'"),
        ({"restrictions": [{**EVENING, "zone": "UTC"}]}, "restrictions.0.zone", "not permitted"),
        ({"restrictions": [EVENING] * 22}, "restrictions", "at most 21"),
        ({"rotation": None, "every_hours": 0}, "every_hours", "greater than or equal to 1"),
        ({"rotation": None, "every_hours": 1.5}, "every_hours", "valid integer"),
        ({"users": []}, "users", "must not be empty"),
        ({"handoff": "9:00"}, "handoff", "must be a time like 09:00"),
        ({"handoff": "25:00"}, "handoff", "not an existing time"),
        ({"handoff": 900}, "handoff", "must be a time like 09:00"),
        ({"weekday": "Monday"}, "weekday", "'monday'"),
        ({"start": "2026-02-30"}, "start", "not an existing date"),
        ({"start": "2026-01-05T00:00:00Z"}, "start", "must be a date like 2026-01-05"),
        ({"start": 20260105}, "start", "must be a date like 2026-01-05"),
        ({"start": "1999-12-31"}, "start", "between the years 2000 and 2099"),
        ({"timezone": "Mars/Base"}, "timezone", "not an IANA time zone"),
    ],
)
def test_bad_layer_is_refused_and_named(change: dict[str, Any], field: str, words: str) -> None:
    where, why = problem(RotationLayer, {**LAYER, **change})
    assert where == field
    assert words in why


def test_layer_needs_a_start() -> None:
    assert problem(RotationLayer, {"users": ["ann"], "rotation": "daily"}) == ("start", "Field required")


def test_override_ends_after_it_starts() -> None:
    document = {"user": "ann", "from": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert problem(Override, document) == ("until", "must be after from")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"after_s": -1}, "after_s"),
        ({"after_s": "300"}, "after_s"),
        ({"after_s": True}, "after_s"),
        ({"after_s": float("inf")}, "after_s"),
        ({"after_s": float("nan")}, "after_s"),
        ({"notify": []}, "notify"),
        ({"notify": ["everybody"]}, "notify.0"),
        ({"notify": ["user:"]}, "notify.0"),
        ({"notify": ["user:a/b"]}, "notify.0"),
        ({"channels": []}, "channels"),
        ({"channels": ["fax"]}, "channels.0"),
    ],
)
def test_bad_escalation_step_is_refused_and_named(change: dict[str, Any], field: str) -> None:
    assert problem(EscalationStep, {"after_s": 300, "notify": ["oncall"], **change})[0] == field

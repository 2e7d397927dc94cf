"""CloudEvents over MQTT: what is taken out of an event, and what is wrong with one."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.payloads.cloudevents import Event, identity_of, read_event
from services.router.payloads.parse import parse
from services.router.payloads.rejection import Rejected, RejectionCode
from shared.core.topics import Kind

STRUCTURED = "application/cloudevents+json"
ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.order.shipped"}
DATA = {"message": "It is on its way."}


def binary(content_type: str | None = "application/json", **attributes: str) -> Event | None:
    """Read an event in binary mode, with these attributes changed."""
    return read_event(content_type, list((ATTRIBUTES | attributes).items()), json.dumps(DATA).encode())


def structured(content_type: Any = STRUCTURED, **members: Any) -> Event | None:
    """Read an event in structured mode, with these members changed."""
    return read_event(content_type, (), json.dumps({**ATTRIBUTES, "data": DATA, **members}).encode())


def problems(caught: pytest.ExceptionInfo[Rejected]) -> dict[str, str]:
    assert caught.value.code is RejectionCode.INVALID_PAYLOAD
    return {each.field: each.problem for each in caught.value.fields}


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_plain_publish_is_no_event(content_type: str | None) -> None:
    assert read_event(content_type, [("idempotency-key", "1"), ("id", "1")], b"{}") is None


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", "a/b+json", None])
def test_both_modes_carry_the_same(content_type: str | None) -> None:
    one, other = binary(content_type), structured(datacontenttype=content_type)
    assert one is not None
    assert other is not None
    assert json.loads(one.payload) == json.loads(other.payload) == DATA
    assert one.key == other.key
    assert one.envelope(Kind.REALTIME_USER) == other.envelope(Kind.REALTIME_USER)


def test_data_may_be_in_base64() -> None:
    event = structured(data=None, data_base64=base64.b64encode(b'{"message": "Hello"}').decode())
    assert event is not None
    assert event.payload == b'{"message": "Hello"}'


@pytest.mark.parametrize("content_type", [f"{STRUCTURED}; charset=utf-8", "APPLICATION/CloudEvents+JSON"])
def test_content_type_of_structured_mode_is_read_as_media_types_are(content_type: str) -> None:
    assert structured(content_type) is not None


def test_same_source_and_id_are_the_same_notification() -> None:
    keys = {event.key for event in (binary(), binary(type="other"), structured(time="2026-11-28T12:00:00Z")) if event}
    assert len(keys) == 1
    others = {event.key for event in (binary(id="2"), binary(source="/shop1"), binary(source="/sho", id="p1")) if event}
    assert len(others | keys) == 4
    assert all(len(key) <= 128 for key in keys | others)


def test_attributes_stand_for_fields_where_a_topic_has_them() -> None:
    event = binary(subject="db1")
    assert event is not None
    assert event.envelope(Kind.REALTIME_USER) == {"id": event.key, "type": "com.example.order.shipped"}
    alert = {"id": event.key, "source": "/shop", "affected_systems": ["db1"]}
    assert event.envelope(Kind.ALERT_CRITICAL) == alert
    assert event.envelope(Kind.EMAIL_SEND) == {"id": event.key}


def test_an_attribute_that_its_field_refuses_is_left_out() -> None:
    event = binary(type="x" * 65, source="x" * 201, subject="a\nb")
    assert event is not None
    assert event.envelope(Kind.REALTIME_USER).keys() == {"id"}
    assert event.envelope(Kind.ALERT_INFO).keys() == {"id"}


def test_payload_wins_over_attributes() -> None:
    event = structured(data={"message": "Hello", "type": "info", "id": "mine"})
    assert event is not None
    envelope = event.envelope(Kind.REALTIME_USER)
    read = parse(Kind.REALTIME_USER, {"user_id": "user1"}, event.payload, envelope=envelope)
    assert (getattr(read, "type", None), getattr(read, "id", None)) == ("info", "mine")


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(Rejected) as caught:
        structured(**{name: None})
    assert problems(caught) == {name: "required"}
    if name != "specversion":
        with pytest.raises(Rejected) as caught:
            read_event(None, [(each, value) for each, value in ATTRIBUTES.items() if each != name], b"{}")
        assert problems(caught) == {name: "required"}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("specversion", "0.3", "must be 1.0"),
        ("id", "", "must not be empty"),
        ("id", 7, "must be a string"),
        ("source", "", "must not be empty"),
        ("type", ["x"], "must be a string"),
        ("subject", "", "must not be empty"),
        ("subject", {}, "must be a string"),
        ("dataschema", "", "must not be empty"),
        ("time", "yesterday", "must be a time in RFC 3339"),
        ("time", 1764331200, "must be a time in RFC 3339"),
        ("time", "2026-11-28T12:00:00", "must be a time in RFC 3339"),
        ("datacontenttype", "application/xml", "must be JSON"),
        ("data", "text", "must be an object"),
        ("data", [1], "must be an object"),
        ("data_base64", "e30=", "must not stand beside data"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: Any, problem: str) -> None:
    with pytest.raises(Rejected) as caught:
        structured(**{name: value})
    assert problems(caught) == {name: problem}
    if isinstance(value, str) and not name.startswith("data"):
        with pytest.raises(Rejected) as caught:
            binary(**{name: value})
        assert problems(caught) == {name: problem}


def test_every_wrong_attribute_is_named_at_once() -> None:
    with pytest.raises(Rejected) as caught:
        structured(id=None, time="now", specversion="2.0")
    assert problems(caught).keys() == {"id", "time", "specversion"}


def test_an_event_counts_once_towards_a_rate_only_if_it_cannot_become_two_notifications() -> None:
    def binary_name(key: str | None = None, payload: bytes = b"{}", **attributes: str) -> str | None:
        return identity_of(None, list((ATTRIBUTES | attributes).items()), payload, key)

    def structured_name(payload: bytes) -> str | None:
        return identity_of(STRUCTURED, (), payload, None)

    assert binary_name() == binary_name(traceparent="another try")
    names = [binary_name(), binary_name("key"), binary_name(id="2"), binary_name(source="x"), binary_name(payload=b"1")]
    names += [structured_name(b'{"id": "1", "source": "a"}'), structured_name(b'{"id": "1", "source": "b"}')]
    assert None not in names
    assert len(set(names)) == len(names)
    assert identity_of("application/json", [("id", "1")], b'{"id": "1"}', "key") is None


@pytest.mark.parametrize("content_type", ["application/cloudevents-batch+json", "application/cloudevents+avro"])
def test_other_formats_are_refused(content_type: str) -> None:
    with pytest.raises(Rejected) as caught:
        structured(content_type)
    assert problems(caught) == {"content_type": f"must be {STRUCTURED}"}


def test_binary_data_that_is_not_json_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        binary("application/x-www-form-urlencoded")
    assert problems(caught) == {"datacontenttype": "must be JSON"}


def test_broken_base64_is_refused() -> None:
    for broken in ("e30", "?", 7, "é"):
        with pytest.raises(Rejected) as caught:
            structured(data=None, data_base64=broken)
        assert problems(caught) == {"data_base64": "must be in base64"}


def test_infinity_does_not_become_null() -> None:
    text = json.dumps({**ATTRIBUTES, "data": {"message": "x", "data": {"n": 1}}}).replace('"n": 1', '"n": 1e999')
    event = read_event(STRUCTURED, (), text.encode())
    assert event is not None
    with pytest.raises(Rejected):
        parse(Kind.REALTIME_USER, {"user_id": "user1"}, event.payload)


_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_names = st.sampled_from([*ATTRIBUTES, "data", "data_base64", "time", "subject", "datacontenttype", "traceparent"])


@given(document=st.dictionaries(_names, _json, max_size=9) | _json)
def test_any_structured_event_is_read_or_refused(document: Any) -> None:
    if isinstance(document, dict):
        document = ATTRIBUTES | document
    with suppress(Rejected):
        read_event(STRUCTURED, (), json.dumps(document).encode())


@given(payload=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with suppress(Rejected):
        read_event(STRUCTURED, (), payload)


@pytest.mark.parametrize("depth", [150, 198, 199, 1000])
def test_deep_nesting_is_read_or_refused(depth: int) -> None:
    start = json.dumps({**ATTRIBUTES, "data": {"data": 0}})
    with suppress(Rejected):
        read_event(STRUCTURED, (), start.replace(": 0", ": " + "[" * depth + "]" * depth).encode())

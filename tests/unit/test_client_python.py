"""The Python client's own rules, where they repeat the router's: topics, fields, times and what a receipt holds."""

import inspect
import json
import pickle
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from carillon.version import VERSION
from carillon_publisher import payloads
from carillon_publisher.errors import NoReceipt, RateLimited, Refused, refused
from carillon_publisher.payload_terms import moment
from carillon_publisher.payloads import encoded
from carillon_publisher.publisher import PAYLOAD_BYTES, AsyncPublisher
from carillon_publisher.receipts import Event, FieldProblem, Receipt, Refusal, Status
from carillon_publisher.sync import Publisher
from carillon_publisher.topics import PATTERNS, Topics
from carillon_publisher.version import VERSION as CLIENTS_VERSION
from services.router.payloads import control, mails, notifications, templated
from shared.core import fields
from shared.core import topics as routers
from shared.core.limits import PAYLOAD_BYTES as ROUTERS_PAYLOAD_BYTES

REJECTED = Receipt(
    Status.REJECTED,
    error=Refusal("invalid_payload", "One field is not valid.", (FieldProblem("mesage", "unknown", "message"),)),
)
LIMITED = Receipt(Status.REJECTED, error=Refusal("rate_limited", "Too much.", retry_after_s=12))


def test_it_has_carillons_version() -> None:
    assert CLIENTS_VERSION == VERSION


def test_it_knows_the_topics_of_the_router() -> None:
    assert list(PATTERNS) == list(routers._PATTERNS.values())
    assert PAYLOAD_BYTES == ROUTERS_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("meant", "models", "given"),
    [
        (payloads.Realtime, (notifications.RealtimeUser, templated.TemplatedUser), {"user_id"}),
        (payloads.Realtime, (notifications.RealtimeGroup, templated.TemplatedGroup), {"group_id"}),
        (payloads.Broadcast, (notifications.RealtimeBroadcast, templated.TemplatedBroadcast), set()),
        (payloads.Alert, (notifications.CriticalAlert,), {"alert_type"}),
        (payloads.Acknowledge, (control.AlertAcknowledge,), {"alert_id"}),
        (payloads.Resolve, (control.AlertResolve,), {"alert_id"}),
        (payloads.Cancel, (control.Cancel,), {"notification_id"}),
        (payloads.Status, (notifications.SystemStatus,), set()),
        (payloads.Maintenance, (notifications.SystemMaintenance,), set()),
        (payloads.Email, (mails.EmailSend, templated.TemplatedEmail), {"to"}),
        (payloads.EmailBatch, (mails.EmailBatch,), {"emails"}),
        (payloads.Mail, (mails.BatchMail, mails.TemplatedBatchMail), {"id", "channels", "events"}),
        (payloads.Sms, (notifications.SmsSend, templated.TemplatedSms), {"phone"}),
        (payloads.Push, (notifications.PushMobile, templated.TemplatedPush), {"platform"}),
    ],
)
def test_its_types_name_the_fields_of_the_routers_models(
    meant: Any, models: Iterable[type[BaseModel]], given: set[str]
) -> None:
    known = {name for model in models for name in model.model_fields}
    assert set(meant.__annotations__) - {"timeout_s"} == known - given


def test_both_publishers_have_the_same_methods() -> None:
    def methods(of: type) -> dict[str, list[str]]:
        public = {name: getattr(of, name) for name in dir(of) if not name.startswith("_")}
        return {name: list(inspect.signature(each).parameters) for name, each in public.items() if callable(each)}

    both = methods(AsyncPublisher)
    # The outbox's own calls are coroutines, which a synchronous program has no use for.
    assert both == {name: each for name, each in methods(Publisher).items() if name in both}
    assert methods(Publisher).keys() - both.keys() == {"counts", "refused", "stale", "drop"}


@pytest.mark.parametrize(
    ("topic", "meant"),
    [
        ("notification/realtime/user/user123", "notifications/realtime/user/{user_id}"),
        ("notifications/realtime/users/user123", "notifications/realtime/user/{user_id}"),
        ("alerts/critical/disk", "notifications/alerts/critical/{alert_type}"),
        ("notifications/email/sent", "notifications/email/send"),
        ("home/kitchen/lamp", None),
    ],
)
def test_a_wrong_topic_is_answered_like_by_the_router(topic: str, meant: str | None) -> None:
    assert Topics().nearest(topic) == meant == routers.Topics().nearest(topic)


def test_a_named_publisher_has_topics_of_its_own() -> None:
    topics = Topics("staging/", "shop")
    full = topics.publish("notifications/system/status")
    assert full == "staging/from/shop/notifications/system/status"
    assert topics.plain(full) == "notifications/system/status"
    # The router reads and answers whatever a named publisher publishes.
    assert topics.is_read(full)
    assert topics.is_read(topics.publish("notification/system/status"))
    assert not Topics("staging/").is_read("staging/notification/system/status")
    assert topics.receipts("shop", "shop") == "staging/receipts/shop/publishes"
    assert topics.receipts("shop", "shop-2") == "staging/receipts/shop/shop-2/publishes"


@pytest.mark.parametrize("name", ["", "-", "a/b", "a+", "#"])
def test_a_name_is_one_level_of_a_topic(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Topics(name=name)


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        ({"message": "a", "title": None}, b'{"message": "a"}'),
        ({"send_at": datetime(2026, 1, 5, 9, tzinfo=UTC)}, b'{"send_at": "2026-01-05T09:00:00+00:00"}'),
        ({"ttl_s": timedelta(minutes=2)}, b'{"ttl_s": 120.0}'),
        ({"affected_systems": ("a", "b")}, b'{"affected_systems": ["a", "b"]}'),
        (b"as it is", b"as it is"),
    ],
)
def test_a_payload_is_written_as_the_router_reads_it(payload: dict[str, Any] | bytes, written: bytes) -> None:
    assert encoded(payload) == written


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"send_at": datetime(2026, 1, 5, 9)}, "time zone"),  # noqa: DTZ001 - what is refused
        ({"data": {"a": float("nan")}}, "JSON"),
        ({"data": object()}, "JSON"),
    ],
)
def test_what_json_cannot_say_is_refused_where_it_is_written(payload: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        encoded(payload)


@pytest.mark.parametrize(
    "value",
    [
        1_767_603_600,
        1_767_603_600.5,
        "2026-01-05T09:00:00Z",
        "2026-01-05t09:00:00.123456+02:00",
        "2026-01-05",
        "2026-13-05T09:00:00Z",
        1_767_603_600_000,
        True,
        None,
        "1999-12-31T23:59:59Z",
        float("inf"),
        float("nan"),
        10**400,
    ],
)
def test_a_time_is_one_where_the_router_says_so(value: Any) -> None:
    try:
        expected: datetime | None = fields.moment(value)
    except (PydanticCustomError, OverflowError):
        expected = None
    assert moment(value) == expected


def test_a_receipt_keeps_what_it_does_not_know() -> None:
    document = {
        "status": "accepted",
        "notification_id": "n1",
        "accepted_at": "2026-01-05T09:00:00.123Z",
        "warnings": [{"field": "prioriy", "problem": "unknown", "meant": "priority"}],
        "session_id": "s1",
    }

    receipt = Receipt.read(json.dumps(document))
    assert receipt.accepted_at == datetime(2026, 1, 5, 9, 0, 0, 123_000, tzinfo=UTC)
    assert receipt.extra == {"session_id": "s1"}
    assert receipt.document() == document


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"status": "perhaps"}', '{"status": "accepted", "accepted_at": "2026-01-05T09:00:00"}', "null",
     '{"status": "rejected", "error": {"code": 1}}', '{"status": "rejected", "error": "no"}',
     '{"status": "rejected", "error": {"code": "c", "message": "m", "fields": {"a": 1}}}',
     '{"status": "rejected", "error": {"code": "c", "message": "m", "retry_after_s": "1"}}'],
)  # fmt: skip
def test_what_is_no_receipt_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the one error of everything unreadable
        Receipt.read(text)


def test_an_event_is_read_as_the_services_write_it() -> None:
    event = Event.read(b'{"state": "delivered", "channel": "email", "recipient": "u", "reason": null, "at": '
                       b'"2026-01-05T09:00:00.123Z", "confirmation": {"outcome": "delivered"}}')  # fmt: skip
    assert (event.state, event.channel, event.reason) == ("delivered", "email", None)
    assert event.extra == {"confirmation": {"outcome": "delivered"}}


@pytest.mark.parametrize("error", [refused(REJECTED), refused(LIMITED), NoReceipt("nobody answers", "k")])
def test_an_error_survives_a_process_pool(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again)) == (type(error), str(error))


def test_a_refusal_says_what_is_wrong_and_a_limit_when_it_ends() -> None:
    error = refused(REJECTED)
    assert type(error) is Refused
    assert (error.code, error.fields[0].meant) == ("invalid_payload", "message")
    assert str(error) == "invalid_payload: One field is not valid. mesage: unknown, did you mean message?"
    limited = refused(LIMITED)
    assert isinstance(limited, RateLimited)
    assert limited.retry_after_s == 12

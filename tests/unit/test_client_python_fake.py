"""The fake publishers of the Python client's test kit: what they keep, refuse, repeat and play."""

from datetime import UTC, datetime

import pytest

from carillon_publisher import Event, NoReceipt, RateLimited, Refused, Status
from carillon_publisher.testing import FakeAsyncPublisher, FakePublisher

USER = "notifications/realtime/user/user123"
DELIVERED = Event("delivered", "email", "user123", None, datetime(2026, 1, 5, 9, tzinfo=UTC))


def test_what_was_accepted_is_kept_as_the_router_reads_it() -> None:
    with FakePublisher() as publisher:
        receipt = publisher.send_user("user123", message="Hello", send_at=DELIVERED.at)
        publisher.publish("notifications/system/status", b'{"message": "a", "status": null}', "k1")
    assert receipt.status is Status.ACCEPTED
    assert [(each.topic, each.payload, each.key) for each in publisher.published] == [
        (USER, {"message": "Hello", "send_at": "2026-01-05T09:00:00+00:00"}, None),
        ("notifications/system/status", {"message": "a"}, "k1"),
    ]
    assert publisher.on("notifications/system/status") == [{"message": "a"}]
    assert publisher.published[0].receipt == receipt
    publisher.clear()
    assert publisher.published == []


def test_an_alert_has_an_id_of_its_own() -> None:
    publisher = FakePublisher()
    alert = publisher.critical_alert("disk_full", message="Disk full on db1")
    assert alert.alert_id == alert.notification_id
    assert publisher.acknowledge(alert.alert_id or "", user_id="ada").alert_id is None


def test_a_key_is_taken_once() -> None:
    publisher = FakePublisher()
    first = publisher.send_user("user123", message="Hello", id="order-17")
    again = publisher.send_user("user123", message="Hello", id="order-17")
    assert (again.status, again.notification_id) == (Status.DUPLICATE, first.notification_id)
    with pytest.raises(Refused, match="idempotency_conflict"):
        publisher.send_user("user123", message="Good bye", id="order-17")
    assert len(publisher.published) == 1


def test_a_wrong_topic_names_the_right_one() -> None:
    with pytest.raises(Refused, match=r"notifications/realtime/user/\{user_id\}") as refused:
        FakePublisher().publish("notification/realtime/user/user123", {"message": "a"})
    assert refused.value.code == "unknown_topic"
    with pytest.raises(ValueError, match="topic"):
        FakePublisher().publish("notifications/#", {"message": "a"})


def test_unknown_fields_are_refused_where_the_installation_does_so() -> None:
    assert FakePublisher().publish(USER, {"message": "a", "prioriy": "high"}).warnings[0].meant == "priority"
    with pytest.raises(Refused) as refused:
        FakePublisher(unknown_fields="reject").publish(USER, {"message": "a", "prioriy": "high"})
    assert [(each.field, each.meant) for each in refused.value.fields] == [("prioriy", "priority")]


def test_a_fake_plays_limits_lost_receipts_and_later_steps() -> None:
    publisher = FakePublisher()
    publisher.refuse_next("rate_limited", retry_after_s=12)
    publisher.lose_next()
    with pytest.raises(RateLimited) as limited:
        publisher.send_user("user123", message="a")
    assert limited.value.retry_after_s == 12
    with pytest.raises(NoReceipt) as lost:
        publisher.publish(USER, {"message": "a"}, "k1")
    assert lost.value.key == "k1"
    receipt = publisher.send_user("user123", message="a")
    publisher.tell(receipt.notification_id or "", DELIVERED)
    assert list(publisher.events(receipt.notification_id or "")) == [DELIVERED]
    assert publisher.submit(USER, {"message": "a"}, "k2") == "k2"
    assert publisher.submit(USER, {"message": "a", "id": "k3"}) == "k3"
    assert publisher.flush() == 0
    assert len(publisher.published) == 3


async def test_the_asynchronous_fake_does_the_same() -> None:
    async with FakeAsyncPublisher() as publisher:
        receipt = await publisher.send_email("user@example.com", subject="Welcome", body="Thank you.")
        publisher.tell(receipt.notification_id or "", DELIVERED)
        assert [event async for event in publisher.events(receipt.notification_id or "")] == [DELIVERED]
        assert await publisher.submit(USER, {"message": "a"}, "k2") == "k2"
        assert await publisher.flush() == 0
        with pytest.raises(Refused) as refused:
            await publisher.send_sms("12", message="a")
    assert refused.value.fields[0].problem == "not a phone number in E.164 form"
    assert len(publisher.published) == 2

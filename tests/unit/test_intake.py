"""What the intake reads beside the payload."""

from typing import cast

import pytest

from services.router.intake.taken import Taken, envelope_of, waves
from services.router.payloads.parse import Publish
from services.router.payloads.rejection import Rejected, RejectionCode
from shared.mqtt.packets import Incoming


def incoming(expiry_s: int | None, *user_properties: tuple[str, str]) -> Incoming:
    return Incoming("notifications/email/send", b"{}", 1, 1, expiry_s=expiry_s, user_properties=user_properties)


def test_properties_stand_for_fields() -> None:
    assert envelope_of(incoming(None)) == {}
    assert envelope_of(incoming(60, ("idempotency-key", "order-1"))) == {"ttl_s": 60, "id": "order-1"}


def test_what_was_handed_over_with_no_time_left_has_expired() -> None:
    with pytest.raises(Rejected) as caught:
        envelope_of(incoming(0))
    assert caught.value.code is RejectionCode.EXPIRED


def action(topic: str) -> Taken:
    taken = Taken(Incoming(f"notifications/{topic}", b"{}", 1, 1), None)
    taken.publish = cast("Publish", "an action")
    return taken


def test_actions_about_one_thing_are_carried_out_one_after_the_other_and_others_side_by_side() -> None:
    topics = ["alerts/acknowledge/a", "cancel/b", "alerts/resolve/a", "cancel/c"]
    found = [[one.incoming.topic for one in wave] for wave in waves([action(topic) for topic in topics])]
    assert found == [
        ["notifications/alerts/acknowledge/a", "notifications/cancel/b"],
        ["notifications/alerts/resolve/a", "notifications/cancel/c"],
    ]

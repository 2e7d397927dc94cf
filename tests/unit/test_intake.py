"""What the intake reads beside the payload."""

from typing import cast

import pytest

from services.router.intake.taken import Taken, envelope_of, waves
from services.router.payloads.parse import Publish
from services.router.payloads.rejection import Rejected, RejectionCode
from shared.core.topics import Topics
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


def waves_of(*topics: str) -> list[list[str]]:
    """Return the topics of the actions that are carried out side by side."""
    taken = [Taken(Incoming(topic, b"{}", 1, 1), Topics().parse(topic)) for topic in topics]
    for one in taken:
        assert one.route is not None
        one.publish = cast("Publish", "an action")
    return [[one.incoming.topic for one in wave] for wave in waves(taken)]


def test_actions_about_one_thing_are_carried_out_one_after_the_other_and_others_side_by_side() -> None:
    alerts, cancel = "notifications/alerts", "notifications/cancel"
    assert waves_of(f"{alerts}/acknowledge/a", f"{cancel}/b", f"{alerts}/resolve/a", f"{cancel}/c") == [
        [f"{alerts}/acknowledge/a", f"{cancel}/b"],
        [f"{alerts}/resolve/a", f"{cancel}/c"],
    ]


def test_what_a_source_says_is_carried_out_in_order_and_beside_what_others_say() -> None:
    # A beat behind the death would bring back what is gone, for as long as its time is.
    assert waves_of("liveness/a", "liveness/b/death", "liveness/a/death", "liveness/c/death", "liveness/a/birth") == [
        ["liveness/a", "liveness/b/death"],
        ["liveness/a/death", "liveness/c/death"],
        ["liveness/a/birth"],
    ]

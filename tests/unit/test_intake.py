"""What the intake reads beside the payload."""

import pytest

from services.router.intake.taken import envelope_of
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

"""The events that tell a publisher of each later step: what is in them, in which form."""

import json
from datetime import UTC, datetime

from shared.core.errors import Reason
from shared.core.model import Channel, State
from shared.core.topics import Topics
from shared.ledger.events import Confirmation, event
from tests.fakes.clock import StandingClock

CLOCK = StandingClock(datetime(2026, 1, 5, 9, 0, 0, 123_000, UTC))


def test_an_event_says_where_a_delivery_stands_and_why() -> None:
    topic, payload = event(
        Topics("staging/"), "n1", State.EXPIRED, CLOCK,
        channel=Channel.SMS, recipient="ann", reason=Reason.EXPIRED,
    )  # fmt: skip
    assert topic == "staging/notifications/events/n1"
    assert json.loads(payload) == {
        "state": "expired",
        "channel": "sms",
        "recipient": "ann",
        "reason": "expired",
        "at": "2026-01-05T09:00:00.123Z",
    }


def test_what_an_event_does_not_say_is_null() -> None:
    _, payload = event(Topics(), "n1", "accepted", CLOCK, reason=Reason.NONE)
    step = json.loads(payload)
    assert (step["channel"], step["recipient"], step["reason"]) == (None, None, None)
    assert "confirmation" not in step


def test_an_event_tells_how_far_a_message_came_after_its_delivery() -> None:
    said: Confirmation = {"outcome": "failed", "code": "30003"}
    _, payload = event(Topics(), "n1", State.DELIVERED, CLOCK, channel=Channel.SMS, confirmation=said)
    assert json.loads(payload)["confirmation"] == said

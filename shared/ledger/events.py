"""What a publisher who asked for events is told on ``notifications/events/{id}``: one message for each later step."""

import json
from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from shared.core.clock import Clock, rfc3339
from shared.core.topics import Topics
from shared.ledger.jobs import Message


class Confirmation(TypedDict):
    """How far a delivery came after the provider had taken it, where the provider says so later."""

    outcome: str
    code: Annotated[str | None, Field(description="The provider's own.")]


class Step(TypedDict):
    """One step of a notification or of one of its deliveries."""

    state: Annotated[str, Field(description="A delivery's; `accepted` for the notification itself.")]
    channel: str | None
    recipient: Annotated[str | None, Field(description="The user; null where the publisher named an address.")]
    reason: str | None
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    confirmation: NotRequired[Confirmation]


def event(
    topics: Topics,
    notification_id: str,
    state: str,
    clock: Clock,
    *,
    channel: str | None = None,
    recipient: str | None = None,
    reason: str = "",
    confirmation: Confirmation | None = None,
) -> Message:
    """Write one step as the wire contract's section 3 has it, which was taken now.

    Args:
        notification_id: the one that the publisher was told: of a part, that of the whole.
        state: a delivery's, or ``accepted`` for the notification itself.
        confirmation: what the provider said later.
    """
    step: Step = {
        "state": state,
        "channel": channel,
        "recipient": recipient,
        "reason": reason or None,
        "at": rfc3339(clock.now()),
    }
    if confirmation is not None:
        step["confirmation"] = confirmation
    return topics.event(notification_id), json.dumps(step)

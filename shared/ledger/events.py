"""What others are told of a notification: its later steps, and which actions people pressed.

A publisher who asked for events is told each step on ``notifications/events/{id}``. A pressed action that has a topic
is told on ``notifications/actions/{id}/{action}``.
"""

import json
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from shared.core.clock import Clock, rfc3339
from shared.core.model import RECALL, RECALLED, State
from shared.core.topics import Topics
from shared.ledger.jobs import Message


class Confirmation(TypedDict):
    """How far a delivery came after the provider had taken it, where the provider says so later."""

    outcome: str
    code: Annotated[str | None, Field(description="The provider's own.")]


class Step(TypedDict):
    """One step of a notification or of one of its deliveries."""

    state: Annotated[
        str,
        Field(
            description="A delivery's; `accepted` for the notification itself, `acted` for an action that was pressed, "
            "`recalled` or `not_recalled` for a delivery that was to be taken back."
        ),
    ]
    channel: str | None
    recipient: Annotated[str | None, Field(description="The user; null where the publisher named an address.")]
    reason: str | None
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    confirmation: NotRequired[Confirmation]
    action: NotRequired[Annotated[str, Field(description="The id of the action that the recipient pressed.")]]


class Pressed(TypedDict):
    """Somebody pressed an action of a notification, in the inbox."""

    notification_id: str
    action: Annotated[str, Field(description="The action's id.")]
    user_id: str
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    data: Annotated[dict[str, Any], Field(description="The notification's own.")]
    topic: NotRequired[Annotated[str, Field(description="What the action's `topic` says, where it is a text.")]]


def pressed(
    topics: Topics,
    notification_id: str,
    action: str,
    user_id: str,
    clock: Clock,
    *,
    data: dict[str, Any],
    about: str | None = None,
) -> Message:
    """Write that somebody pressed an action now.

    Args:
        notification_id: as for ``event``.
        data: the notification's.
        about: what the action's topic says, where it is a text.
    """
    press: Pressed = {
        "notification_id": notification_id,
        "action": action,
        "user_id": user_id,
        "at": rfc3339(clock.now()),
        "data": data,
    }
    if about is not None:
        press["topic"] = about
    return topics.action(notification_id, action), json.dumps(press)


# How a row that takes a delivery back has ended otherwise; the delivery itself had its end before.
NOT_RECALLED = "not_recalled"


def step_of(key: str, state: State) -> str:
    """Say which step it is that the row with this key is in this state."""
    if not key.endswith(RECALL) or not state.is_end:
        return state
    return RECALLED if state is State.DELIVERED else NOT_RECALLED


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
    action: str | None = None,
) -> Message:
    """Write one step as the wire contract's section 3 has it, which was taken now.

    Args:
        notification_id: the one that the publisher was told: of a part, that of the whole.
        state: a delivery's, or ``accepted`` for the notification itself, or ``acted``.
        confirmation: what the provider said later.
        action: what the recipient pressed.
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
    if action is not None:
        step["action"] = action
    return topics.event(notification_id), json.dumps(step)

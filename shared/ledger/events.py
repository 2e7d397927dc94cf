"""What a publisher who asked for events is told on ``notifications/events/{id}``: one message for each later step."""

import json
from collections.abc import Mapping

from shared.core.clock import Clock, rfc3339
from shared.core.topics import Topics
from shared.ledger.jobs import Message


def event(
    topics: Topics,
    notification_id: str,
    state: str,
    clock: Clock,
    *,
    channel: str | None = None,
    recipient: str | None = None,
    reason: str = "",
    confirmation: Mapping[str, str | None] | None = None,
) -> Message:
    """Write one step as the wire contract's section 3 has it, which was taken now.

    Args:
        notification_id: the one that the publisher was told: of a part, that of the whole.
        state: a delivery's, or ``accepted`` for the notification itself.
        confirmation: how far it came after the provider had taken it, where the provider says so later.
    """
    step: dict[str, object] = {
        "state": state,
        "channel": channel,
        "recipient": recipient,
        "reason": reason or None,
        "at": rfc3339(clock.now()),
    }
    if confirmation is not None:
        step["confirmation"] = confirmation
    return topics.event(notification_id), json.dumps(step)

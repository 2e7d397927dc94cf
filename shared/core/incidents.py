"""What can happen to an incident, and the lines in which its timeline says so.

An incident is an alert that somebody has to answer, or whose publisher says when it is over. Its timeline is only added
to: each line says what happened, by whom and by which way. The store puts the time before it.
"""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum

# The source of an alert that was raised to try out the way: how long it waits for an answer is not counted.
DRILL_SOURCE = "drill"

# The user property in which the realtime service says to the router by which way a publish came. No attribute of a
# CloudEvent has a hyphen, so no header of a publish over HTTP becomes this one.
WAY_PROPERTY = "carillon-way"


class AlertState(StrEnum):
    """Where an alert stands; the words are also the reasons with which its escalation ends."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


def alert_state(text: bytes | None) -> AlertState | None:
    """Read where an alert stands; None where there is none, or another word."""
    known = {state.value.encode(): state for state in AlertState}
    return known.get(text) if text else None


class Way(StrEnum):
    """From where something came that happened to an incident."""

    MQTT = "mqtt"
    HTTP = "http"
    INBOX = "inbox"
    MAIL_LINK = "mail link"
    PUSH = "push"
    SMS = "sms"
    ESCALATION = "escalation"
    ALERTMANAGER = "alertmanager"
    LIVENESS = "liveness"
    CONSOLE = "console"
    COMMAND_LINE = "command line"


class Happened(StrEnum):
    """What a line of the timeline says. The store itself writes those of single deliveries."""

    OPENED = "opened"
    TOLD = "told"
    """A level was told."""
    DELIVERED = "delivered"
    CONFIRMED = "confirmed"
    """The provider says that it has arrived."""
    REFUSED = "refused"
    """A provider refused it, and nobody knows yet whose fault that is."""
    PAUSED = "paused"
    """Its providers are paused by hand, so that it waits."""
    FAILED = "failed"
    EXPIRED = "expired"
    DEAD_LETTERED = "dead_lettered"
    SUPPRESSED = "suppressed"
    SEEN = "seen"
    ESCALATES = "escalates"
    """The next level is told now, for the reason that is said."""
    EXHAUSTED = "exhausted"
    """There is no further level."""
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    REASSIGNED = "reassigned"
    REOPENED = "reopened"
    NOTED = "noted"
    """Somebody has written something down; nothing else has changed."""
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    MAINTENANCE = "maintenance"
    FLAPPING = "flapping"
    MEMBER = "member"
    """One more alert belongs to it."""
    MEMBER_RESOLVED = "member_resolved"
    RESOLVED = "resolved"
    CANCELLED = "cancelled"


def line(
    what: Happened,
    *,
    by: str | None = None,
    way: Way | None = None,
    note: str | None = None,
    recipients: Mapping[str, Sequence[str]] | None = None,
    **more: str | int | None,
) -> str:
    """Write a line of a timeline.

    Args:
        by: who did it: a user, or a publisher.
        recipients: who was told, and on which channels.
        more: what else there is to say, such as ``level``, ``until`` (ms since 1970), ``to``, ``rule``.
    """
    said = {"what": what, "by": by, "from": way, "note": note or None, "recipients": recipients, **more}
    return json.dumps({name: value for name, value in said.items() if value is not None}, ensure_ascii=False)

"""Incidents and their timelines as JSON objects, for commands, exports and HTTP: what does not apply is left out.

Every time is RFC 3339, in UTC.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shared.core.clock import from_epoch_ms, rfc3339
from shared.core.incidents import AlertState
from shared.ledger.incidents import Entry, Incident
from shared.ledger.members import MemberState

# A time outside is none: ``datetime`` ends with the year 9999.
# So much is shown of what a member says.
_MEMBER_CHARS = 200

_LATEST_MS = 253_402_300_799_000


def incident_document(incident: Incident) -> dict[str, Any]:
    """Say what an incident is, and where it stands."""
    alert = incident.alert
    said: dict[str, Any] = {
        "id": incident.id,
        "state": incident.word,
        "type": alert.type,
        "level": alert.level,
        "severity": alert.severity or alert.level,
        "source": alert.source,
        "affected_systems": list(alert.affected_systems) or None,
        "labels": alert.labels or None,
        "title": incident.title,
        "message": incident.message,
        "publisher": incident.publisher,
        "opened_at": _time(incident.opened_at),
        "repeats": incident.repeats,
        "repeated_at": _time(incident.repeated_at),
        "acknowledged_by": incident.acknowledged_by,
        "acknowledged_at": _time(incident.acknowledged_at),
        "snoozed_until": _time(incident.snoozed_until),
        "resolved_by": incident.resolved_by,
        "resolved_at": _time(incident.resolved_at),
        "muted": incident.muted,
        "members_open": 0 if is_over(incident) and incident.members_open else incident.members_open,
    }
    return {name: value for name, value in said.items() if value is not None}


def is_over(incident: Incident) -> bool:
    """Tell whether nothing of it is open, whatever its members' publishers have said last."""
    return incident.state in (None, AlertState.RESOLVED)


def members_document(incident: Incident, members: Sequence[MemberState], count: int) -> dict[str, Any]:
    """Say which alerts an incident tells of, where it is a group; nothing where it is none.

    Args:
        members: those to be named, the newest first; ``count`` is how many there are.
    """
    if not count:
        return {}
    named = [
        {
            "id": each.id,
            "state": "open" if each.is_open and not is_over(incident) else "resolved",
            "source": each.said.get("source"),
            "affected_systems": each.said.get("systems"),
            "message": " ".join(str(each.said.get("message", "")).split())[:_MEMBER_CHARS],
            "count": each.count,
            "first_at": rfc3339(from_epoch_ms(each.first_ms)),
            "last_at": rfc3339(from_epoch_ms(each.last_ms)),
        }
        for each in members
    ]
    said = [{name: value for name, value in each.items() if value not in (None, [])} for each in named]
    return {"members": said, "members_count": count}


def entry_document(entry: Entry) -> dict[str, Any]:
    """Write a line of a timeline: ``at`` and ``what`` first, then whatever it says."""
    said: dict[str, Any] = {name: value for name, value in entry.said.items() if name not in ("at", "what")}
    if isinstance(until := moment_of(entry, "until"), datetime):
        said["until"] = rfc3339(until)
    about = {"recipient": entry.recipient, "channel": entry.channel}
    return {
        "at": rfc3339(entry.at),
        "what": entry.what,
        **{name: value for name, value in about.items() if value is not None},
        **said,
    }


def moment_of(entry: Entry, name: str) -> datetime | None:
    """Read a time that a line of a timeline says; None where it says none."""
    said = entry.said.get(name)
    if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said <= _LATEST_MS:
        return None
    return from_epoch_ms(said)


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None

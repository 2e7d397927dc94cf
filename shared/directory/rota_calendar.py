"""Who is on call as iCalendar (RFC 5545), and the links with which calendar programs read it.

A shift keeps its UID as long as it begins at the same time, whoever has it. So a program that reads the calendar again
changes the event and does not add one. A gap is an event, too. Times are in UTC, and no event makes anybody busy.

A link is signed for one type of alert, and reads that calendar alone. It never expires, because a calendar program asks
for years. Only a change of the secret ends all links.
"""

import base64
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode
from uuid import UUID, uuid5

from icalendar import Calendar, Event

from shared.directory.rota import Rota
from shared.directory.shifts import Shift, whole_shifts

# Weeks of the calendar before and after today.
WEEKS_BEFORE, WEEKS_AFTER = 4, 13

# How the signed text begins: a key that was derived for one purpose opens nothing else.
_PURPOSE = b"carillon oncall calendar v1\0"
# RFC 2104, 5: half of the hash at least, and 80 bits.
_MAC_BYTES = 16

_NAMESPACE = UUID("7e3c1a52-0a0d-5d5c-9a3c-6f1f0f6f2f01")
_REFRESH = timedelta(hours=1)


def calendar(rota: Rota, at: datetime) -> str:
    """Write the calendar of a rota: some weeks before a moment and some after it.

    Args:
        at: an aware time; the text says that it was written then.
    """
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = midnight - timedelta(weeks=WEEKS_BEFORE)
    planned = whole_shifts(rota.entry, since, midnight + timedelta(weeks=WEEKS_AFTER))
    return calendar_of(rota, planned, since, at)


def calendar_of(rota: Rota, planned: Iterable[Shift], since: datetime, at: datetime) -> str:
    """Write shifts as a calendar.

    Args:
        since: where an event begins whose shift began before; its UID is that of the whole shift.
        at: when the text is written.
    """
    written = Calendar()
    title = f"On call: {rota.alert_type}"
    written.add("prodid", "-//Carillon//On call//EN")
    written.add("version", "2.0")
    written.add("method", "PUBLISH")
    # RFC 7986, 5.1 and 5.7; and what programs read that are older than it.
    written.add("name", title)
    written.add("x-wr-calname", title)
    written.add("refresh-interval", _REFRESH, parameters={"VALUE": "DURATION"})
    written.add("x-published-ttl", "PT1H")
    for shift in planned:
        written.add_component(_event(rota, shift, since, at))
    text: bytes = written.to_ical()
    return text.decode()


def _event(rota: Rota, shift: Shift, since: datetime, at: datetime) -> Event:
    event = Event()
    event.add("uid", str(uuid5(_NAMESPACE, f"{rota.alert_type}\n{shift.begin.timestamp()}")))
    event.add("dtstamp", at.astimezone(UTC))
    event.add("dtstart", max(shift.begin, since))
    event.add("dtend", shift.end)
    event.add("summary", _summary(rota, shift))
    event.add("transp", "TRANSPARENT")
    return event


def _summary(rota: Rota, shift: Shift) -> str:
    names = ", ".join(rota.name(each) if each in rota.people else f"{each} (unknown)" for each in shift.users)
    if shift.is_gap(rota.people):
        return f"Nobody on call: {names}" if names else "Nobody on call"
    return names


def link_token(secret: str, alert_type: str) -> str:
    """Sign what reads the calendar of one type of alert."""
    mac = hmac.digest(secret.encode(), _PURPOSE + alert_type.encode(), "sha256")[:_MAC_BYTES]
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def is_link_of(secret: str, alert_type: str, token: str) -> bool:
    """Tell whether a token reads the calendar of this type of alert."""
    # As bytes: a token that is not ASCII is compared, too.
    return hmac.compare_digest(token.encode(errors="replace"), link_token(secret, alert_type).encode())


def link_path(secret: str, alert_type: str) -> str:
    """Write the path and query of a calendar's link."""
    query = urlencode({"token": link_token(secret, alert_type)})
    return f"/v1/oncall/{quote(alert_type, safe='')}.ics?{query}"

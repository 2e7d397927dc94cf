"""A rota: one on-call entry with the people whom it names, and what is told about it.

The command line prints the documents and the realtime service answers with them. Times in them are RFC 3339, in UTC.
Somebody whom the directory does not know is in them with ``"known": false``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from shared.core.clock import rfc3339
from shared.core.fields import EARLIEST, LATEST
from shared.directory.directory import Directory
from shared.directory.people import OnCall, Person
from shared.directory.schedule import everybody_on_call, second_on_call
from shared.directory.shifts import Load, Shift, loads, named_users, shift_at, shifts, zone_of_entry

_HOUR = timedelta(hours=1)


class OnDuty(TypedDict):
    """Somebody who is on call."""

    user_id: str
    name: NotRequired[str]


class OnCallNow(TypedDict):
    """Who is on call for a type of alert, as a display is told."""

    alert_type: Annotated[str, Field(description="`*` serves the types without an entry.")]
    users: Annotated[list[OnDuty], Field(description="Empty in a gap. Whom the directory does not know is left out.")]
    until: NotRequired[Annotated[str, Field(json_schema_extra={"format": "date-time"})]]
    next: Annotated[list[OnDuty], Field(description="Who is on call after that; empty in a gap, or without a plan.")]


@dataclass(frozen=True, slots=True)
class Rota:
    """Who is on call for one type of alert.

    Attributes:
        alert_type: as it was asked for; the entry may be that of ``*``.
        people: those whom the entry names and the directory knows.
    """

    alert_type: str
    entry: OnCall
    people: Mapping[str, Person]

    @property
    def zone(self) -> str:
        """The zone whose clock the entry goes by."""
        return zone_of_entry(self.entry)

    def name(self, user_id: str) -> str:
        """Return how somebody is called; the id where nobody knows a name."""
        person = self.people.get(user_id)
        return user_id if person is None or person.name is None else person.name

    def loads(self, planned: Sequence[Shift]) -> tuple[Load, ...]:
        """Sum up what each person bears in some shifts."""
        zones = {each: person.timezone for each, person in self.people.items() if person.timezone is not None}
        return loads(planned, zones, self.zone)

    def now_document(self, at: datetime) -> dict[str, Any]:
        """Say who is on call at a moment, and who is next."""
        now, later = shift_at(self.entry, at)
        document = {
            "alert_type": self.alert_type,
            "entry": self.entry.alert_type,
            "at": rfc3339(at),
            "now": self.shift_document(now),
            "second": self._people(second_on_call(self.entry, at)),
            "everybody": self._people(everybody_on_call(self.entry, at)),
        }
        return document if later is None else document | {"next": self.shift_document(later)}

    def told(self, now: Shift, later: Shift | None) -> OnCallNow:
        """Say who is on call and who is next, of those whom the directory knows: nobody else is told anything."""
        said = OnCallNow(alert_type=self.alert_type, users=self._on_duty(now), next=self._on_duty(later))
        if now.end < LATEST:
            said["until"] = rfc3339(now.end)
        return said

    def _on_duty(self, shift: Shift | None) -> list[OnDuty]:
        users = shift.users if shift is not None else ()
        known = [(user, self.people[user]) for user in users if user in self.people]
        return [
            OnDuty(user_id=user) if person.name is None else OnDuty(user_id=user, name=person.name)
            for user, person in known
        ]

    def weeks_document(self, since: datetime, weeks: int) -> dict[str, Any]:
        """List the shifts and gaps of some weeks, and what each person bears in them."""
        planned = shifts(self.entry, since, since + timedelta(weeks=weeks))
        listed = [self.shift_document(shift) for shift in planned]
        return {
            "shifts": listed,
            "gaps": [shift for shift in listed if shift["gap"]],
            "people": [
                self._person(load.user) | {"hours": round(load.time / _HOUR, 2), "nights": load.nights}
                for load in self.loads(planned)
            ],
        }

    def shift_document(self, shift: Shift) -> dict[str, Any]:
        """Write one shift; an end that was not found is left out."""
        document: dict[str, Any] = {"users": self._people(shift.users), "gap": shift.is_gap(self.people)}
        if shift.begin > EARLIEST:
            document["from"] = rfc3339(shift.begin)
        if shift.end < LATEST:
            document["until"] = rfc3339(shift.end)
        return document

    def _people(self, user_ids: Iterable[str]) -> list[dict[str, Any]]:
        return [self._person(each) for each in user_ids]

    def _person(self, user_id: str) -> dict[str, Any]:
        person = self.people.get(user_id)
        document = {"user_id": user_id, "known": person is not None}
        return document if person is None or person.name is None else document | {"name": person.name}


async def read_rota(directory: Directory, alert_type: str) -> Rota | None:
    """Look up the entry that serves a type, and its people; None where no entry serves it."""
    entry = (await directory.oncall([alert_type])).get(alert_type)
    if entry is None:
        return None
    return Rota(alert_type, entry, await directory.people(sorted(named_users(entry))))


async def read_rotas(directory: Directory) -> tuple[list[Rota], list[str]]:
    """Look up every entry and its people.

    Returns:
        By type; and the types whose entry cannot be read.
    """
    entries = await directory.all_oncall()
    readable = {alert_type: entry for alert_type, entry in sorted(entries.items()) if entry is not None}
    people = await directory.people(sorted(frozenset[str]().union(*map(named_users, readable.values()))))
    rotas = [Rota(alert_type, entry, people) for alert_type, entry in readable.items()]
    return rotas, sorted(entries.keys() - readable.keys())

"""Incidents as people look at them: which are open, what one is, and what happened to it.

Promises to write nothing but the two indexes, from which what is forgotten is taken out. A list is one call
to each shard; texts are read in pages.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from redis.exceptions import ResponseError

from shared.core.clock import from_epoch_ms
from shared.core.incidents import AlertState, Happened, alert_state
from shared.core.matchers import Labels
from shared.core.model import AlertDetails, State
from shared.ledger.members import Members, MemberState
from shared.ledger.rows import RowStatus, milliseconds, moment, spec_field
from shared.store.keys import SHARDS, Keys, is_notification_id, milliseconds_of_id
from shared.store.replies import pairs, read_object, scored
from shared.store.store import Store, each

# Records that are read in one round trip, and lines of a timeline.
_PAGE = 200

# Records that are read for one page of a list.
_LOOKED_AT = 2000

# The rows of an incident's next steps: s:escalate:[TURN.]LEVEL and s:again:TURN:TIME.
_STEPS = "s:[ea][sg][ca]*"
_STEP = re.compile(r"s:(?:escalate:(?:[0-9]+[.])?([0-9]{1,6})|again:[0-9]+:[0-9]+)", re.ASCII)
_SCANS, _SCAN_COUNT = 5, 1000

# The indexes of a shard: those that are open, and those that were over lately.
_OPEN, _OVER = "incidents", "over"

_FIELDS = (
    "c", "alert", "cancelled", "turn", "repeats", "repeated_at", "acknowledged_by", "acknowledged_at",
    "resolved_at", "resolved_by", "snoozed_until", "muted", "waits", "members_open", "group",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident.

    Attributes:
        state: None for one that was cancelled.
        title, message: as its publisher said them.
        tenant: whose customers it is for.
        alert: what makes it an alert, with its labels.
        repeats: how often its publisher has said the same again; ``repeated_at``: the last time.
        members_open: of a group, how many of its alerts are open; None for an alert that is told alone.
        waits: nobody has been told of it yet.
        group: the incident of which it is a member; ``Incidents.get`` returns that one.
        muted: why nobody is told of it at the moment, such as ``silence:ID``.
    """

    id: str
    state: AlertState | None
    title: str
    message: str
    alert: AlertDetails
    publisher: str | None
    opened_at: datetime
    repeats: int = 0
    repeated_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    resolved_by: str | None = None
    resolved_at: datetime | None = None
    snoozed_until: datetime | None = None
    turn: int = 0
    muted: str | None = None
    waits: bool = False
    members_open: int | None = None
    group: str | None = None
    tenant: str | None = None

    @property
    def word(self) -> str:
        """Where it stands, in one word."""
        if self.state is None:
            return "cancelled"
        if self.state is AlertState.ACKNOWLEDGED and self.snoozed_until is not None:
            return "snoozed"
        return self.state.value


@dataclass(frozen=True, slots=True)
class Place:
    """Where an incident stands in the index: those behind it are older."""

    at_ms: int
    id: str

    def __str__(self) -> str:
        return f"{self.at_ms}.{self.id}"

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """Read what ``str`` wrote; None where it is something else."""
        found = re.fullmatch(PLACE_PATTERN, text, re.ASCII)
        return cls(int(found[1]), found[2]) if found else None


PLACE_PATTERN = "([0-9]{1,15})[.]([0-9a-f-]{36})"


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """A part of the list of open incidents, the newest first.

    Attributes:
        last: behind which the next part begins; None at the end of the list.
    """

    incidents: Sequence[Incident]
    last: Place | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a timeline.

    Attributes:
        what: one of ``Happened``, or a later release's.
        said: what else it says.
        recipient: of a line about one delivery.
        channel: likewise.
    """

    at: datetime
    what: str
    said: Mapping[str, Any] = field(default_factory=dict)
    recipient: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class NextStep:
    """What is done next about an incident where nobody answers.

    Attributes:
        level: which level is told then, counted from 0; None where the incident is opened again.
    """

    at: datetime
    level: int | None


class Incidents:
    """Reads incidents on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def open_ids(self) -> list[str]:
        """Return the ids of all open incidents, the newest first."""
        asked = [
            self._store.submit("ZRANGE", f"{self._keys.shard(shard)}:incidents", 0, -1, "WITHSCORES")
            for shard in range(SHARDS)
        ]
        answers = [answer for answer in await each(asked) if not isinstance(answer, ResponseError)]
        places = [place for answer in answers for place in _read_places(answer)]
        return [place.id for place in sorted(places, key=_newness, reverse=True)]

    async def counts(self) -> Counter[str]:
        """Count the open incidents by where they stand, as ``Incident.word`` says it."""
        counted: Counter[str] = Counter()
        ids = await self.open_ids()
        for start in range(0, len(ids), _PAGE):
            counted += await self._standing(ids[start : start + _PAGE])
        return counted

    async def glance(self, most: int) -> tuple[int, Counter[str]]:
        """Count all open incidents, and say where the newest ``most`` of them stand, in two exchanges."""
        indexes = [f"{self._keys.shard(shard)}:incidents" for shard in range(SHARDS)]
        asked = [self._store.submit("ZCARD", index) for index in indexes]
        asked += [self._store.submit("ZRANGE", index, 0, most - 1, "REV", "WITHSCORES") for index in indexes]
        answers = await each(asked)
        total = sum(answer for answer in answers[:SHARDS] if not isinstance(answer, ResponseError))
        newest = [answer for answer in answers[SHARDS:] if not isinstance(answer, ResponseError)]
        places = sorted((place for answer in newest for place in _read_places(answer)), key=_newness, reverse=True)
        return total, await self._standing([place.id for place in places[:most]])

    async def _standing(self, ids: Sequence[str]) -> Counter[str]:
        asked = [
            self._store.submit("HMGET", f"{self._keys.shard_of(one)}:n:{one}", "alert", "snoozed_until") for one in ids
        ]
        counted: Counter[str] = Counter()
        for answer in await each(asked):
            state = None if isinstance(answer, ResponseError) else alert_state(answer[0])
            if state is AlertState.ACKNOWLEDGED and answer[1]:
                counted["snoozed"] += 1
            elif state in (AlertState.OPEN, AlertState.ACKNOWLEDGED):
                counted[state.value] += 1
        return counted

    async def listed(self) -> AsyncIterator[Incident]:
        """Yield the open incidents, the newest first. One that is forgotten leaves the index."""
        ids = await self.open_ids()
        for start in range(0, len(ids), _PAGE):
            some = ids[start : start + _PAGE]
            for incident_id, found in zip(some, await self._read(some), strict=True):
                if found is None:
                    await self._leave_out(incident_id)
                elif isinstance(found, Incident):
                    yield found

    async def labels(self, ids: Sequence[str]) -> dict[str, Labels]:
        """Return the labels of these incidents, by their ids; without those that are gone."""
        found: dict[str, Labels] = {}
        for start in range(0, len(ids), _PAGE):
            some = ids[start : start + _PAGE]
            incidents = zip(some, await self._read(some), strict=True)
            found |= {each: one.alert.all_labels for each, one in incidents if isinstance(one, Incident)}
        return found

    async def page(
        self,
        most: int,
        before: Place | None,
        is_wanted: Callable[[Incident], bool],
        *,
        over: bool = False,
        looks_at: int = _LOOKED_AT,
    ) -> IncidentPage:
        """Return a part of the list of open incidents. It may hold fewer than ``most``, and even none, before its end.

        Args:
            before: only those behind it; None for the newest.
            over: those that were over lately, in place of the open ones, by when they were over.
            looks_at: so many records at most, about.
        """
        index = _OVER if over else _OPEN
        found: list[Incident] = []
        for _ in range(max(1, looks_at // _PAGE)):
            places = await self._places(index, before)
            for place, incident in zip(places, await self._read([place.id for place in places]), strict=True):
                before = place
                if incident is None:
                    await self._leave_out(place.id, index)
                elif isinstance(incident, Incident) and is_wanted(incident):
                    found.append(incident)
                    if len(found) == most:
                        return IncidentPage(found, place)
            if len(places) < _PAGE:
                return IncidentPage(found, None)
        return IncidentPage(found, before)

    async def _places(self, index: str, before: Place | None) -> list[Place]:
        """Return up to ``_PAGE`` places of an index behind one, the newest first."""
        keys = [f"{self._keys.shard(shard)}:{index}" for shard in range(SHARDS)]
        parts = await asyncio.gather(*(self._places_of(key, before) for key in keys))
        places = sorted((place for part in parts for place in part), key=_newness, reverse=True)
        return places[:_PAGE]

    async def _places_of(self, key: str, before: Place | None) -> list[Place]:
        bound = "+inf" if before is None else str(before.at_ms)
        found: list[Place] = []
        passed = 0
        while True:
            asked = ("ZRANGE", key, bound, "-inf", "BYSCORE", "REV", "LIMIT", passed, _PAGE, "WITHSCORES")
            try:
                answer = await self._store.command(*asked)
            except ResponseError:
                return []
            # Of those of the same millisecond some may stand before it.
            found += [place for place in _read_places(answer) if before is None or _newness(place) < _newness(before)]
            if len(scored(answer)) < _PAGE or len(found) >= _PAGE:
                return found
            passed += _PAGE

    async def _leave_out(self, incident_id: str, index: str = _OPEN) -> None:
        """Take one that is forgotten out of an index."""
        await self._store.command("ZREM", f"{self._keys.shard_of(incident_id)}:{index}", incident_id)

    async def get(self, incident_id: str) -> Incident | None:
        """Return an incident, or that of which an alert is a member; None where there is none of that id (any more)."""
        if not is_notification_id(incident_id):
            return None
        (found,) = await self._read([incident_id])
        if isinstance(found, Incident) and found.group is not None:
            (found,) = await self._read([found.group])
        return found if isinstance(found, Incident) else None

    async def _read(self, ids: Sequence[str]) -> list[Incident | ResponseError | None]:
        """Read records: None where there is none, and the error where the store cannot read it."""
        asked = [self._store.submit("HMGET", f"{self._keys.shard_of(each)}:n:{each}", *_FIELDS) for each in ids]
        answers = await each(asked)
        return [_incident(*pair) for pair in zip(ids, answers, strict=True)]

    async def members(self, incident_id: str, most: int) -> tuple[list[MemberState], int]:
        """Return the newest alerts of an incident that is told as a group, and how many there are."""
        found = await Members(self._store, self._keys).of(incident_id)
        return sorted(found, key=lambda each: each.last_ms, reverse=True)[:most], len(found)

    async def timeline(self, incident_id: str) -> list[Entry]:
        """Return what happened to an incident, the oldest first."""
        return await self._lines(incident_id, 0, -1)

    async def timeline_page(
        self, incident_id: str, most: int, before: int | None = None
    ) -> tuple[list[Entry], int, int]:
        """Return a part of what happened, the oldest first; without ``before`` the newest part.

        Args:
            before: only lines in front of this one.

        Returns:
            The lines, which number the first of them has (counted from 0), and how many lines there are.
        """
        key = f"{self._keys.shard_of(incident_id)}:timeline:{incident_id}"
        # In front of the first line is nothing, and a range that ends before it begins.
        first, last = (-most, -1) if before is None else (max(0, before - most), before - 1) if before else (1, 0)
        (length,), entries = await asyncio.gather(
            each([self._store.submit("LLEN", key)]), self._lines(incident_id, first, last)
        )
        count = length if isinstance(length, int) else 0
        end = count if before is None else min(before, count)
        return entries, max(0, end - len(entries)), count

    async def next_step(self, incident_id: str) -> NextStep | None:
        """Return what is done next where nobody answers; None where nothing is planned, or it cannot be read."""
        record, cursor = f"{self._keys.shard_of(incident_id)}:n:{incident_id}", b"0"
        found: list[NextStep] = []
        # One of a large fan-out is not read to its end.
        for _ in range(_SCANS):
            (answer,) = await each([self._store.submit("HSCAN", record, cursor, "MATCH", _STEPS, "COUNT", _SCAN_COUNT)])
            if isinstance(answer, ResponseError):
                break
            cursor, flat = answer
            found += [step for name, text in pairs(flat) if (step := _next_step(name, text)) is not None]
            if int(cursor) == 0:
                break
        return min(found, key=lambda step: step.at, default=None)

    async def _lines(self, incident_id: str, first: int, last: int) -> list[Entry]:
        base = self._keys.shard_of(incident_id)
        (lines,) = await each([self._store.submit("LRANGE", f"{base}:timeline:{incident_id}", first, last)])
        entries = [] if isinstance(lines, ResponseError) else [_entry(line) for line in lines]
        keys = sorted({str(entry.said["key"]) for entry in entries if "key" in entry.said})
        deliveries: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), _PAGE):
            some = keys[start : start + _PAGE]
            specs = await self._store.command("HMGET", f"{base}:n:{incident_id}", *map(spec_field, some))
            deliveries |= {key: read_object(spec) for key, spec in zip(some, specs, strict=True) if spec is not None}
        return [_with_delivery(entry, deliveries.get(str(entry.said.get("key")), {})) for entry in entries]


def _newness(place: Place) -> tuple[int, str]:
    return place.at_ms, place.id


def _read_places(answer: Sequence[Any]) -> list[Place]:
    """Read a part of the index; what is no id is none of ours."""
    named = [Place(at_ms, member.decode(errors="replace")) for member, at_ms in scored(answer)]
    return [place for place in named if is_notification_id(place.id)]


def _incident(incident_id: str, found: Sequence[bytes | None] | ResponseError) -> Incident | ResponseError | None:
    if isinstance(found, ResponseError):
        return found
    content, state, cancelled, turn, repeats, repeated_at, *answers, muted, waits, members_open, group = found
    taken_by, taken_at, resolved_at, resolved_by, snoozed = answers
    if content is None or state is None:
        return None
    said = read_object(content)
    texts = said.get("content")
    texts = texts if isinstance(texts, dict) else {}
    return Incident(
        id=incident_id,
        state=None if cancelled and state != AlertState.RESOLVED.encode() else alert_state(state),
        title=str(texts.get("title", "")),
        message=str(texts.get("message", "")),
        alert=_alert(texts.get("alert")),
        publisher=said.get("publisher"),
        opened_at=moment(said.get("accepted_ms")) or from_epoch_ms(milliseconds_of_id(incident_id)),
        repeats=milliseconds(repeats) or 0,
        repeated_at=moment(repeated_at),
        acknowledged_by=_text(taken_by),
        acknowledged_at=moment(taken_at),
        resolved_by=_text(resolved_by),
        resolved_at=moment(resolved_at),
        snoozed_until=moment(snoozed),
        turn=milliseconds(turn) or 0,
        # What is taken or over keeps what is written of that.
        muted=_text(muted) if state == AlertState.OPEN.encode() else None,
        waits=waits is not None and state == AlertState.OPEN.encode(),
        members_open=milliseconds(members_open),
        group=_id(group),
        tenant=tenant if isinstance(tenant := said.get("tenant"), str) else None,
    )


def _alert(document: object) -> AlertDetails:
    try:
        return AlertDetails.model_validate(document)
    except ValidationError:
        return AlertDetails(type="", level="critical")


def _id(value: bytes | None) -> str | None:
    named = _text(value)
    return named if named is not None and is_notification_id(named) else None


def _text(value: bytes | None) -> str | None:
    return value.decode(errors="replace") if value else None


def _entry(text: bytes) -> Entry:
    at, _, written = text.decode(errors="replace").partition("|")
    said = read_object(written)
    what = str(said.pop("what", "unreadable"))
    return Entry(from_epoch_ms(milliseconds(at) or 0), what, said)


def _next_step(name: bytes, text: bytes) -> NextStep | None:
    found = _STEP.fullmatch(name.decode(errors="replace"))
    status = RowStatus.read(text.decode(errors="replace"))
    if found is None or status is None or status.state is not State.PENDING:
        return None
    return NextStep(from_epoch_ms(status.due_ms), int(found[1]) if found[1] else None)


def _with_delivery(entry: Entry, delivery: Mapping[str, Any]) -> Entry:
    channel, recipient = delivery.get("channel"), delivery.get("recipient")
    return Entry(
        entry.at,
        # What the store calls a row that gave up is a failed delivery to those who read it.
        Happened.FAILED if entry.what == Happened.DEAD_LETTERED else entry.what,
        entry.said,
        recipient if isinstance(recipient, str) else None,
        channel if isinstance(channel, str) else None,
    )

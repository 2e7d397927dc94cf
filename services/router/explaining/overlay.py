"""Records that are laid over the directory for a question, with nothing written: what would be if they were there.

A line is one that ``carillon directory import`` takes: a user's entry sets the fields that it names and leaves the
others; another one replaces the entry. It is checked as the router checks it.
"""

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.router.payloads.parse import read
from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode, invalid_payload
from shared.core.clock import Clock
from shared.core.errors import CarillonError
from shared.core.topics import Kind
from shared.directory.catalogue import Catalogue, Catalogues
from shared.directory.categories import NamedCategory
from shared.directory.directory import Directory, with_change
from shared.directory.people import OnCall
from shared.directory.person_change import PersonChange
from shared.directory.record import Record
from shared.directory.tenants import NamedTenant
from shared.store.keys import Keys
from shared.store.store import Store

RECORDS = 100_000

# People whose records are remembered, so that both runs see the same ones and the store is asked once.
_PEOPLE = 50_000

# The field that says whose entry a line is, its kind, and the name of that level in the kind's topic.
_KINDS = {
    "user_id": (Kind.DIRECTORY_USER, "user_id"),
    "oncall": (Kind.DIRECTORY_ONCALL, "alert_type"),
    "category": (Kind.DIRECTORY_CATEGORY, "category"),
    "tenant": (Kind.DIRECTORY_TENANT, "tenant"),
}


class BadRecord(CarillonError):
    """A record that cannot be laid over.

    Attributes:
        number: which one, counted from 1.
    """

    def __init__(self, number: int, why: Rejected) -> None:
        problems = "; ".join(f"{each.field}: {each.problem}" for each in why.fields)
        super().__init__(f"record {number}: {why.message}{f' ({problems})' if problems else ''}")
        self.number = number
        self.why = why


@dataclass(frozen=True, slots=True)
class Overlay:
    """What is laid over: changes of people in their order, and other records as they would be stored."""

    people: Mapping[str, Sequence[PersonChange]] = field(default_factory=dict)
    oncall: Mapping[str, bytes] = field(default_factory=dict)
    categories: Mapping[str, bytes] = field(default_factory=dict)
    tenants: Mapping[str, bytes] = field(default_factory=dict)


NOTHING = Overlay()


def read_lines(lines: Iterable[bytes]) -> Overlay:
    """Read JSON lines; empty ones count, and say nothing.

    Raises:
        BadRecord: one of them cannot be laid over.
    """
    return _overlay((number, line.removeprefix(b"\xef\xbb\xbf").strip()) for number, line in enumerate(lines, 1))


def read_records(records: Iterable[Mapping[str, Any]]) -> Overlay:
    """Read records that were JSON objects.

    Raises:
        BadRecord: one of them cannot be laid over.
    """
    return _overlay((number, json.dumps(record).encode()) for number, record in enumerate(records, 1))


def _overlay(lines: Iterable[tuple[int, bytes]]) -> Overlay:
    people: dict[str, list[PersonChange]] = {}
    oncall: dict[str, bytes] = {}
    categories: dict[str, bytes] = {}
    tenants: dict[str, bytes] = {}
    for number, line in lines:
        if not line:
            continue
        if number > RECORDS:
            raise BadRecord(number, Rejected(RejectionCode.TOO_LARGE, f"There are more than {RECORDS:,} records."))
        try:
            whose, found = _read(line)
        except Rejected as rejected:
            raise BadRecord(number, rejected) from None
        match found:
            case PersonChange():
                people.setdefault(whose, []).append(found)
            case OnCall():
                oncall[whose] = found.model_dump_json(exclude_none=True, by_alias=True).encode()
            case NamedCategory():
                categories[whose] = _stored(found.record)
            case NamedTenant():
                tenants[whose] = _stored(found.record)
    return Overlay(people, oncall, categories, tenants)


def _read(line: bytes) -> tuple[str, object]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise Rejected(RejectionCode.INVALID_JSON, "It is not JSON.") from None
    if not isinstance(document, dict):
        raise Rejected(RejectionCode.INVALID_JSON, "It is not a JSON object.")
    if "publisher" in document:
        raise invalid_payload((FieldProblem("publisher", "changes nothing about what was published before"),))
    names = [name for name in _KINDS if name in document]
    if len(names) != 1:
        raise invalid_payload((FieldProblem("user_id", "required, or oncall, category or tenant, and only one"),))
    (name,) = names
    kind, level = _KINDS[name]
    whose = document[name]
    if not isinstance(whose, str):
        raise invalid_payload((FieldProblem(name, "must be a string"),))
    if name == "oncall":
        # In a publish the topic says it, and a field of that name is unknown there.
        del document[name]
    return whose, read(kind, {level: whose}, json.dumps(document).encode()).publish


def _stored(record: Record) -> bytes:
    return record.model_dump_json(exclude_unset=True, by_alias=True).encode()


@dataclass(slots=True)
class Snapshot:
    """What was read of the directory: two look-ups that share it see the same."""

    people: OrderedDict[str, tuple[bytes | None, bytes | None]] = field(default_factory=OrderedDict)
    oncall: dict[str, bytes | None] = field(default_factory=dict)
    admins: list[str] | None = None
    catalogue: Catalogue | None = None


class OverlaidDirectory(Directory):
    """The directory with an overlay. It reads only, and each record once."""

    def __init__(self, store: Store, keys: Keys, clock: Clock, overlay: Overlay, snapshot: Snapshot) -> None:
        super().__init__(store, keys, clock)
        self._overlay = overlay
        self._snapshot = snapshot

    async def records(self, user_ids: Sequence[str]) -> Sequence[tuple[bytes | None, bytes | None]]:
        """Return records with the overlay's changes; what people chose themselves stays."""
        known = self._snapshot.people
        missing = [user_id for user_id in user_ids if user_id not in known]
        fresh = dict(zip(missing, await super().records(missing), strict=True)) if missing else {}
        found = [self._changed(user_id, *(fresh.get(user_id) or known[user_id])) for user_id in user_ids]
        known |= fresh
        while len(known) > _PEOPLE:
            known.popitem(last=False)
        return found

    def _changed(self, user_id: str, record: bytes | None, own: bytes | None) -> tuple[bytes | None, bytes | None]:
        for change in self._overlay.people.get(user_id, ()):
            record = with_change(record, change, self._clock.now())
        return record, own

    async def oncall_records(self, alert_types: Sequence[str]) -> Sequence[bytes | None]:
        """Return entries with the overlay's in their place."""
        known = self._snapshot.oncall
        missing = [each for each in alert_types if each not in known]
        if missing:
            known |= dict(zip(missing, await super().oncall_records(missing), strict=True))
        return [self._overlay.oncall.get(each, known[each]) for each in alert_types]

    async def admin_ids(self) -> list[str]:
        """Return who may be an admin: whom the index names, and whom the overlay changes."""
        if self._snapshot.admins is None:
            self._snapshot.admins = await super().admin_ids()
        return sorted({*self._snapshot.admins, *self._overlay.people})


class OverlaidCatalogues(Catalogues):
    """Categories and tenants with an overlay. It reads only, and everything once."""

    def __init__(self, store: Store, keys: Keys, overlay: Overlay, snapshot: Snapshot) -> None:
        super().__init__(store, keys)
        self._overlay = overlay
        self._snapshot = snapshot
        self._all: Catalogue | None = None

    async def look_up(self, categories: Collection[str], tenants: Collection[str]) -> Catalogue:  # noqa: ARG002 - the base's shape
        """Return everything, with the overlay's records in their places."""
        return await self.all()

    async def all(self) -> Catalogue:
        """Return everything, with the overlay's records in their places."""
        if self._snapshot.catalogue is None:
            self._snapshot.catalogue = await super().all()
        if self._all is None:
            known = self._snapshot.catalogue
            self._all = Catalogue(
                {**known.categories, **self._overlay.categories}, {**known.tenants, **self._overlay.tenants}
            )
        return self._all

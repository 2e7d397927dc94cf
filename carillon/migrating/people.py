"""The people of an export: who is meant by an id, an address or a name, and who that is here.

A foreign reference names somebody by id, email address or username; each finds the same person. Here the person's id is
the one that a table of the importer names for any of these, else the username, else it is made from the name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from carillon.migrating.names import ids, readable
from carillon.migrating.remarks import Remarks
from shared.core.errors import CarillonError
from shared.directory.people import Person

_PROBLEMS = {"user_id": "not an id", "email": "not an address that can be used", "name": "not a name that can be used",
             "phone": "not a number in E.164 form", "timezone": "not a zone of the IANA database"}  # fmt: skip


class BadTable(CarillonError):
    """The table of ids cannot be used."""


def read_table(document: object) -> dict[str, str]:
    """Check a table that says which foreign id, address or username is which user here.

    Raises:
        BadTable: it is no object of texts, or an id cannot be one.
    """
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise BadTable("--users: must be a JSON object of foreign ids, addresses or usernames and user ids")
    for number, value in enumerate(document.values(), start=1):
        try:
            Person(user_id=value)
        except ValidationError:
            raise BadTable(f"--users: the value of entry {number} is not a user id") from None
    return {key.casefold(): value for key, value in document.items()}


@dataclass(frozen=True, slots=True)
class Foreigner:
    """Somebody of an export.

    Attributes:
        key: the foreign id.
        groups: ids of groups.
    """

    key: str
    name: str | None = None
    email: str | None = None
    username: str | None = None
    phone: str | None = None
    timezone: str | None = None
    groups: tuple[str, ...] = ()

    @property
    def known_as(self) -> list[str]:
        """Everything that a reference may say."""
        return [each.casefold() for each in (self.key, self.email, self.username) if each]

    @property
    def called(self) -> str:
        """What an id is made from."""
        if self.username and "@" not in self.username:
            return self.username
        return self.name or (self.email or self.username or self.key).partition("@")[0]


@dataclass(slots=True)
class People:
    """Everybody of one import.

    Attributes:
        table: which foreign id, address or username is which user here, in lower case.
        kind: what the product calls somebody.
    """

    listed: list[Foreigner]
    table: Mapping[str, str]
    remarks: Remarks
    kind: str = "user"
    _by_reference: dict[str, Foreigner] = field(default_factory=dict)
    _only_mentioned: dict[str, Foreigner] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.listed:
            for reference in each.known_as:
                self._by_reference.setdefault(reference, each)

    def mention(self, key: str | None, *, name: str | None = None, email: str | None = None) -> str | None:
        """Take note of a reference, and return the key of the one who is meant; None where it names nobody.

        All references are mentioned before the first id is asked for, so that ids do not depend on the order.
        """
        for reference in (key, email):
            if reference and (found := self._by_reference.get(reference.casefold())):
                return found.key
        if not key and not email:
            return None
        somebody = Foreigner(key or email or "", name=name, email=email)
        for reference in somebody.known_as:
            self._by_reference.setdefault(reference, somebody)
        self._only_mentioned[somebody.key] = somebody
        return somebody.key

    def id_of(self, key: str) -> str:
        """Return who that is here."""
        if not self._ids:
            self._name_everybody()
        return self._ids[key]

    def _name_everybody(self) -> None:
        everybody = {each.key: each for each in [*self._only_mentioned.values(), *self.listed]}
        for key, each in everybody.items():
            if here := next((self.table[name] for name in each.known_as if name in self.table), None):
                self._ids[key] = here
        free = {key: each.called for key, each in everybody.items() if key not in self._ids}
        self._ids |= ids(free, taken=set(self._ids.values()))

    def records(self) -> list[dict[str, Any]]:
        """Return everybody as records of the directory, with what can be used."""
        found = []
        everybody = {each.key: each for each in [*self._only_mentioned.values(), *self.listed]}
        for each in sorted(everybody.values(), key=lambda each: (self.id_of(each.key), each.key)):
            user_id = self.id_of(each.key)
            place = f'{self.kind} "{user_id}"'
            fields = {"email": each.email, "name": each.name, "phone": each.phone, "timezone": each.timezone}
            record: dict[str, Any] = {"user_id": user_id, **{name: value for name, value in fields.items() if value}}
            if each.groups:
                record["groups"] = list(dict.fromkeys(each.groups))
            if each.key in self._only_mentioned and user_id not in self.table.values():
                self.remarks.lost(
                    place, "", "is named and not in the export, so there is no address",
                    "export the users, too, or say with --users who it is",
                )  # fmt: skip
            record = self._usable(record, place)
            if len(record) > 1:
                found.append(record)
        return found

    def _usable(self, record: dict[str, Any], place: str) -> dict[str, Any]:
        try:
            Person.model_validate(record)
        except ValidationError as error:
            for name in {str(each["loc"][0]) for each in error.errors()}:
                del record[name]
                self.remarks.lost(place, name, f"{_PROBLEMS.get(name, 'cannot be used')}; left out", "write it later")
        return record


def group_id(name: str) -> str:
    """Return the id of a group that has this name."""
    return readable(name) or "unnamed"

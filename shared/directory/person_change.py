"""What a write to the directory changes of one user: it sets the fields that it names and leaves the others.

A write is a JSON merge patch (RFC 7396). A field that is null is cleared, ``preferences`` is merged channel by channel
and category by category, and a list replaces the list before. Promises that a change which passed leaves a record that
can be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.directory.people import Person
from shared.directory.preferences import Preferences


@dataclass(frozen=True, slots=True)
class PersonChange:
    """A merge patch for one user's record.

    Attributes:
        patch: checked values under the record's names, None for what is cleared. Personal.
    """

    user_id: str
    patch: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "PersonChange":
        """Check a write as it was published.

        Raises:
            ValidationError: a name or a value that a record cannot have.
        """
        named = Person.model_validate(_without_nulls(document))
        patch = dict(cls.of(named).patch)
        patch |= {name: None for name in Person.model_fields if name in document and document[name] is None}
        chosen = document.get("preferences")
        if isinstance(chosen, Mapping):
            preferences = {**patch["preferences"], **_cleared(chosen)}
            if isinstance(chosen.get("categories"), Mapping):
                preferences["categories"] = {**preferences["categories"], **_cleared(chosen["categories"])}
            patch["preferences"] = preferences
        return cls(named.user_id, patch)

    @classmethod
    def of(cls, person: Person) -> "PersonChange":
        """Make the change that names what was said when this person was made."""
        return cls(person.user_id, person.model_dump(mode="json", exclude_unset=True))


def _without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is cleared, and keep a name that is unknown, so that it is refused."""
    kept = {name: value for name, value in document.items() if value is not None or name not in Person.model_fields}
    chosen = kept.get("preferences")
    if isinstance(chosen, Mapping):
        known = Preferences.model_fields
        kept["preferences"] = {name: value for name, value in chosen.items() if value is not None or name not in known}
        of_categories = kept["preferences"].get("categories")
        if isinstance(of_categories, Mapping):
            named = {name: value for name, value in of_categories.items() if value is not None}
            kept["preferences"]["categories"] = named
    return kept


def _cleared(document: Mapping[str, Any]) -> dict[str, None]:
    return {name: None for name, value in document.items() if value is None}


def merged(record: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a merge patch (RFC 7396, section 2) to a record."""
    result = dict(record)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[name] = value
    return result

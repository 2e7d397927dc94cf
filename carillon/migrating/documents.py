"""JSON that somebody else wrote: read with a bound, and looked at without trust.

Promises that a ``Node`` gives a value of the wanted type or None, and has said what was wrong then. It never raises.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from carillon.migrating.remarks import Remarks
from shared.core.errors import CarillonError
from shared.core.fields import EARLIEST, LATEST
from shared.core.wall_clock import zone_of

# Ten thousand people with their schedules are some 10 MiB.
LARGEST_BYTES = 64 * 1024 * 1024
NAME_CHARS = 80

_T = TypeVar("_T")


class Unreadable(CarillonError):
    """A file from which nothing can be read."""


def parse(content: bytes, name: str) -> Any:  # noqa: ANN401 - whatever somebody wrote
    """Read a file's JSON.

    Raises:
        Unreadable: it is too large, or no JSON.
    """
    if len(content) > LARGEST_BYTES:
        raise Unreadable(f"{name}: larger than {LARGEST_BYTES // 1024**2} MiB")
    try:
        return json.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        raise Unreadable(f"{name}: not JSON") from None


def objects(documents: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the objects of some documents, each with the name of the list that it stands in.

    An answer of an API holds its objects in a list (``data``, ``results``, ``schedules``), or is one object or a list.
    An object in no list has the name of its field (``schedule``), or none.
    """
    for document in documents:
        yield from _objects(document, "", 0)


# An answer is an object with a list, and a file of several answers is an object of those.
_DEEP = 2
_LISTS_OF_ANSWERS = ("data", "results")


def _objects(document: Any, name: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401
    if isinstance(document, list):
        yield from ((name, each) for each in document if isinstance(each, dict))
        return
    if not isinstance(document, dict):
        return
    answers = [key for key in _LISTS_OF_ANSWERS if isinstance(document.get(key), list | dict)]
    if answers:
        for key in answers:
            yield from _objects(document[key], name, depth + 1)
    elif "id" in document or depth > _DEEP:
        yield name, document
    else:
        for key, value in document.items():
            if isinstance(value, dict | list):
                yield from _objects(value, key, depth + 1)


def unfinished(documents: Sequence[Any], kind_of: Callable[[str, dict[str, Any]], str]) -> list[str]:
    """Return the kinds of objects of which there are pages, and the last one is not there.

    Args:
        kind_of: says which kind an object is, by the list that it stands in and its fields.
    """
    more: dict[str, bool] = {}
    for name, answer in _answers(documents):
        first = next((each for _, each in objects([{name: answer} if name else answer])), None)
        if first is not None and (kind := kind_of(name, first)):
            more[kind] = more.get(kind, True) and _has_more(answer)
    return sorted(kind for kind, each in more.items() if each)


def _answers(documents: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in documents:
        if isinstance(document, dict):
            below = [(name, each) for name, each in document.items() if isinstance(each, dict)]
            if "paging" in document or not below:
                yield "", document
            else:
                yield from below


def _has_more(answer: dict[str, Any]) -> bool:
    """Tell whether an answer names a next page: as Grafana OnCall, PagerDuty and Opsgenie do."""
    paging = answer.get("paging")
    return bool(answer.get("next")) or answer.get("more") is True or (isinstance(paging, dict) and "next" in paging)


@dataclass(frozen=True, slots=True)
class Node:
    """One object of a foreign document.

    Attributes:
        place: what a remark calls the whole that it belongs to.
        path: the way from there to this object, empty at the top.
    """

    value: dict[str, Any]
    place: str
    remarks: Remarks
    path: str = ""

    def at(self, name: str) -> str:
        """Return what a remark calls a field."""
        return f"{self.path}.{name}" if self.path else name

    def lost(self, name: str, problem: str, advice: str = "") -> None:
        """Say that a field is not as it was."""
        self.remarks.lost(self.place, self.at(name) if name else self.path, problem, advice)

    def note(self, name: str, problem: str, advice: str = "") -> None:
        """Say what somebody should know about a field."""
        self.remarks.note(self.place, self.at(name) if name else self.path, problem, advice)

    def text(self, name: str) -> str | None:
        """Return a text; None where there is none."""
        found = self._typed(name, lambda value: value if isinstance(value, str) else None, "must be a string")
        return found or None

    def flag(self, name: str) -> bool | None:
        """Return true or false; None where it is neither."""
        return self._typed(name, lambda value: value if isinstance(value, bool) else None, "must be true or false")

    def whole(self, name: str) -> int | None:
        """Return a whole number of at least 0; None where there is none."""
        return self._typed(name, _whole, "must be a whole number, at least 0")

    def moment(self, name: str, zone: str | None = None) -> datetime | None:
        """Return a time, in UTC or, for a text without a zone, in ``zone``; None where there is none."""
        return self._typed(name, lambda value: _moment(value, zone), "must be a time of the years 2000 to 2099")

    def node(self, name: str) -> "Node | None":
        """Return the object below a field; None where there is none."""
        found = self._typed(name, lambda value: value if isinstance(value, dict) else None, "must be an object")
        return None if found is None else Node(found, self.place, self.remarks, self.at(name))

    def nodes(self, name: str) -> list["Node"]:
        """Return the objects of a list; what is none is named and left out."""
        return [
            Node(value, self.place, self.remarks, f"{self.at(name)}[{number}]")
            for number, value in self._listed(name)
            if self._is(value, dict, f"{name}[{number}]", "must be an object")
        ]

    def all_nodes(self, name: str) -> "list[Node] | None":
        """Return the objects of a list; None where one of them is none, which is named."""
        found, value = self.nodes(name), self.value.get(name)
        return found if value is None or (isinstance(value, list) and len(found) == len(value)) else None

    def texts(self, name: str) -> list[str]:
        """Return the texts of a list; what is none is named and left out."""
        return [
            value
            for number, value in self._listed(name)
            if self._is(value, str, f"{name}[{number}]", "must be a string")
        ]

    def lists_of_texts(self, name: str) -> list[list[str]]:
        """Return the lists of texts of a list; what is none is named and left out."""
        found = []
        for number, value in self._listed(name):
            if self._is(value, list, f"{name}[{number}]", "must be a list"):
                texts = [each for each in value if isinstance(each, str)]
                if len(texts) < len(value):
                    self.lost(f"{name}[{number}]", "must hold strings alone; the others are left out")
                found.append(texts)
        return found

    def _listed(self, name: str) -> list[tuple[int, Any]]:
        found = self._typed(name, lambda value: value if isinstance(value, list) else None, "must be a list")
        return list(enumerate(found or []))

    def _is(self, value: object, kind: type, name: str, problem: str) -> bool:
        if isinstance(value, kind):
            return True
        self.lost(name, f"{problem}; left out")
        return False

    def _typed(self, name: str, read: Callable[[Any], _T | None], problem: str) -> _T | None:
        value = self.value.get(name)
        if value is None:
            return None
        found = read(value)
        if found is None:
            self.lost(name, f"{problem}; left out")
        return found


def _whole(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # What does not fit a number of a database is no count of anything.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _moment(value: object, zone: str | None) -> datetime | None:
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            if found.tzinfo is None:
                found = found.replace(tzinfo=UTC if zone is None else zone_of(zone))
        elif isinstance(value, int) and not isinstance(value, bool):
            # Opsgenie's backup writes milliseconds.
            found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
        else:
            return None
        found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if EARLIEST <= found < LATEST else None


def called(kind: str, value: dict[str, Any]) -> str:
    """Say which object it is: by its name, else by its id; a person by the id alone."""
    for name in ("id",) if kind == "user" else ("name", "summary", "id"):
        text = value.get(name)
        if isinstance(text, str) and text.strip():
            return f'{kind} "{" ".join(text.split())[:NAME_CHARS]}"'
    return f"{kind} without a name"

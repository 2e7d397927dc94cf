"""Lines that hold each other: JSON lines of which each has the SHA-256 of the one before.

Promises that ``faults`` finds every line that was changed, taken out, added or put elsewhere, the first and the last
ones included: the first says what it is the beginning of, the last how many there are. It does not promise to find what
somebody wrote who made all of the file anew.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

FORMAT = "carillon-incident/1"
_BEFORE = "previous"
_END = "end"
_NOTHING_BEFORE = "0" * 64


def chained(head: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write what an incident is, its entries, and the end: one line each, without the line break."""
    previous, count = _NOTHING_BEFORE, 0
    for document in (dict(head, format=FORMAT), *entries):
        text = _written(document, previous)
        yield text
        previous, count = _digest(text), count + 1
    yield _written({_END: True, "lines": count + 1}, previous)


def faults(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Tell what is wrong with such lines: which, counted from 1, and what it is; nothing if all is well."""
    found: list[tuple[int, str]] = []
    previous = _NOTHING_BEFORE
    for number, text in enumerate(lines, start=1):
        document = _read(text)
        if document is None:
            found.append((number, "is no JSON object"))
        elif text != _written_again(document):
            found.append((number, "is not written as it was exported"))
        elif document.get(_BEFORE) != previous:
            found.append((number, "does not follow the line before it"))
        elif (number == 1) != (document.get("format") == FORMAT):
            found.append((number, "is not the beginning" if number == 1 else "is a second beginning"))
        elif (number == len(lines)) != (document.get(_END) is True):
            found.append((number, "is not the end" if number == len(lines) else "is an end with lines behind it"))
        elif _END in document and document.get("lines") != number:
            found.append((number, f"says that there are {document.get('lines')} lines"))
        previous = _digest(text)
    return found or ([(0, "there are no lines")] if not lines else [])


def _read(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _written(document: Mapping[str, Any], previous: object) -> str:
    return json.dumps({**document, _BEFORE: previous}, ensure_ascii=False, separators=(",", ":"))


def _written_again(document: Mapping[str, Any]) -> str:
    return _written({name: value for name, value in document.items() if name != _BEFORE}, document.get(_BEFORE))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

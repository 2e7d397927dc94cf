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
# Said by the chain itself. An entry that says one of them says it with an underscore behind.
_RESERVED = frozenset({"format", "lines", _BEFORE, _END})


def chained(head: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write what an incident is, its entries, and the end: one line each, without the line break.

    Every line can be written in UTF-8.
    """
    previous, count = _NOTHING_BEFORE, 0
    for document in ({**_own(head), "format": FORMAT}, *map(_own, entries)):
        text = _written(document, previous)
        yield text
        previous, count = _digest(text), count + 1
    yield _end(count + 1, previous)


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
        elif _END in document and text != _end(number, previous):
            # No line behind it holds what it says.
            found.append((number, "is not written as it was exported"))
        previous = _digest(text)
    return found or ([(0, "there are no lines")] if not lines else [])


def _own(document: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_" if name in _RESERVED else name: value for name, value in document.items()}


def _read(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _written(document: Mapping[str, Any], previous: object) -> str:
    text = json.dumps({**document, _BEFORE: previous}, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair is no character of UTF-8; what stands for it then is what JSON writes for it.
    return text.encode(errors="backslashreplace").decode()


def _end(count: int, previous: object) -> str:
    return _written({_END: True, "lines": count}, previous)


def _written_again(document: Mapping[str, Any]) -> str:
    return _written({name: value for name, value in document.items() if name != _BEFORE}, document.get(_BEFORE))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

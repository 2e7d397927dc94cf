"""Which known name was meant by one that is not known, as the router says it."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

_REMEMBERED_MOST = 1024


class Names:
    """The words of ``rules.json`` about names."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._close: float = said["close"]
        self._chars: int = said["name_chars"]
        self._other_words: Mapping[str, list[str]] = said["other_words"]
        self.objects = frozenset(said["objects"])

    def meant(self, name: str, known: Collection[str], said: Collection[str] = ()) -> str | None:
        """Return the known field that was most likely meant; None where none is near.

        Args:
            said: fields that the payload has, so that they are not what is meant by another word.
        """
        others = (each for each in self._other_words.get(letters(name), ()) if each in known and each not in said)
        if found := next(others, None):
            return found
        return _nearest(name, tuple(known), self._close) if len(name) <= self._chars else None


@lru_cache(_REMEMBERED_MOST)
def _nearest(name: str, known: tuple[str, ...], close: float) -> str | None:
    by_letters = {letters(each): each for each in known}
    found = get_close_matches(letters(name), by_letters, n=1, cutoff=close)
    meant = by_letters[found[0]] if found else None
    return meant if meant != name else None


def letters(name: str) -> str:
    """Return a name as it is compared."""
    return name.casefold().replace("_", "").replace("-", "")

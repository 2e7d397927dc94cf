"""Finds the known name that a misspelt one most likely stands for; refusals and warnings show it.

Pure, and bounded in time for any input: a name longer than ``NAME_CHARS`` is compared with nothing. What was found is
remembered for a while, because who misspells a field does so in every payload.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

# No name that we know is longer.
NAME_CHARS = 64

# difflib's own is 0.6; below this, what is found is more often a chance than a slip of the finger.
CLOSE = 0.65

_REMEMBERED_MOST = 1024


def nearest(name: str, known: Iterable[str], close: float = CLOSE) -> str | None:
    """Return the known name that is spelt most alike, None where none is near or the name is known.

    Case, underscores and hyphens make no difference: ``sendAt`` is near ``send_at``.

    Args:
        close: from 0 to 1, how much alike two names must be.
    """
    return _nearest(name, tuple(known), close) if len(name) <= NAME_CHARS else None


@lru_cache(_REMEMBERED_MOST)
def _nearest(name: str, known: tuple[str, ...], close: float) -> str | None:
    by_letters = {letters(each): each for each in known}
    found = get_close_matches(letters(name), by_letters, n=1, cutoff=close)
    meant = by_letters[found[0]] if found else None
    return meant if meant != name else None


def letters(name: str) -> str:
    """Return a name as it is compared."""
    return name.casefold().replace("_", "").replace("-", "")

"""Ids that people can read, made from names: stable, and no two of them the same.

Promises that an id depends on the names and foreign ids of one import alone, and not on their order: where two names
would give one id, each gets a mark of its own foreign id.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping

# Room for a mark, and for what a group's name adds, below the limit of an identifier.
_LONGEST = 64
_MARK_CHARS = 6


def readable(text: str) -> str:
    """Return the letters and digits of a text in lower case, with hyphens between; empty where there are none."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST].rstrip("-")


def ids(names: Mapping[str, str], taken: Collection[str] = ()) -> dict[str, str]:
    """Return an id for every key.

    Args:
        names: a foreign id, and what it is called.
        taken: ids that are somebody else's.
    """
    wanted = {key: readable(name) or readable(key) or "unnamed" for key, name in names.items()}
    counts = Counter(wanted.values())
    alone = {key for key, name in wanted.items() if counts[name] == 1 and name not in taken}
    found = {key: wanted[key] for key in alone}
    used = {*taken, *found.values()}
    for key in sorted(wanted.keys() - alone):
        mark = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
        chars = next(size for size in range(_MARK_CHARS, len(mark) + 1) if f"{wanted[key]}-{mark[:size]}" not in used)
        found[key] = f"{wanted[key]}-{mark[:chars]}"
        used.add(found[key])
    return found

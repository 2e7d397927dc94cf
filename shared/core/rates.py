"""How often something may happen: so many times in so long."""

import re
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

_RATE = re.compile(r"([0-9]{1,7})/([0-9]{1,5})(s|m|h)?")
_UNIT_S = {"s": 1, "m": 60, "h": 3600}
LONGEST_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` in any ``window_s`` seconds; a count of 0 is no limit."""

    count: int
    window_s: int = 1

    @property
    def is_limit(self) -> bool:
        """Tell whether it limits anything."""
        return self.count > 0

    def __str__(self) -> str:
        return f"{self.count}/{self.window_s}s" if self.is_limit else "0"


def read_rate(text: object) -> Rate:
    """Read ``1000/60s``, ``100/1h`` or ``0``.

    Raises:
        PydanticCustomError: it is none of these.
    """
    if isinstance(text, Rate):
        return text
    if text == "0" or (type(text) is int and text == 0):
        return Rate(0)
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found:
        count, window_s = int(found[1]), int(found[2]) * _UNIT_S[found[3] or "s"]
        if count and 0 < window_s <= LONGEST_S:
            return Rate(count, window_s)
    raise PydanticCustomError("rate", "must be a rate such as 1000/60s, at most over a day, or 0 for no limit")

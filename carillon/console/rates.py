"""How much became due on each channel, minute by minute, and how it ended: the counters that the ledger keeps.

Promises that a look costs little however often pages ask: a minute that is over is counted again only after a while,
because its rows may end later.
"""

from collections.abc import Mapping
from time import monotonic

from shared.ledger.audit import Audit
from shared.ledger.audit_report import Accounts
from shared.store.keys import Keys
from shared.store.store import Store

MINUTES = 60
# Most rows end within a minute or two of becoming due.
_YOUNG = 3
_OLD_FOR_S = 60.0

Minute = Mapping[str, Accounts]


class Rates:
    """Reads the last hour, and remembers what is over."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._audit = Audit(store, keys, 0)
        self._kept: dict[int, Minute] = {}
        self._old_until = 0.0

    async def last_hour(self, now_s: float) -> list[Minute]:
        """Return the minutes that are over, the oldest first, as lane to accounts."""
        this = int(now_s // 60)
        wanted = range(this - MINUTES, this)
        if monotonic() >= self._old_until:
            self._kept = {}
        missing = [minute for minute in wanted if minute not in self._kept or minute >= this - _YOUNG]
        if len(missing) == MINUTES:
            self._old_until = monotonic() + _OLD_FOR_S
        found = dict(zip(missing, await self._audit.each_minute(missing), strict=True))
        self._kept = {minute: known for minute, known in self._kept.items() if minute in wanted} | found
        return [self._kept[minute] for minute in wanted]

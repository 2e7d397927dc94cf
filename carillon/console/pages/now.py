"""The page Now: is it well."""

from typing import Any

from carillon.console.page import Page, Section, Visit
from shared.core.model import Channel
from shared.ledger.ledger import Ledger

_LIVE_S = 2.0
# What some caller has counted so lately is good enough.
_COUNTED_WITHIN_MS = 1500


async def show(visit: Visit) -> dict[str, Any]:
    """Read what is open on each lane."""
    ledger = Ledger(visit.backend.store, visit.backend.keys)
    work = await ledger.open_work_lately(_COUNTED_WITHIN_MS)
    lanes = [(lane, work[lane].count, work[lane].oldest_age_s) for lane in (*Channel, "router") if lane in work]
    return {"lanes": lanes}


PAGES = (Page("now", "/", "Now", show, section=Section.WATCH, live_s=_LIVE_S),)

"""The page Log of changes: who did what to what, and how it ended."""

import re
from typing import Any

from carillon.console.changes import Outcome
from carillon.console.page import PAGE_ROWS, Page, Problem, Section, Visit

_PLACE = re.compile("[0-9]{1,15}-[0-9]{1,10}", re.ASCII)
_TONES = {Outcome.DONE: "good", Outcome.REFUSED: "warn", Outcome.FAILED: "bad", Outcome.UNKNOWN: "info"}


async def show(visit: Visit) -> dict[str, Any]:
    """Read a part of the log."""
    before = visit.cursor
    if before is not None and not _PLACE.fullmatch(before):
        raise Problem(400, "Not understood", "Go on with the link of an earlier page.")
    found, after = await visit.changes.page(PAGE_ROWS, before)
    return {"changes": found, "after": after, "tones": {outcome.value: tone for outcome, tone in _TONES.items()}}


PAGES = (Page("changes", "/changes", "Log of changes", show, section=Section.SET_UP),)

"""The page Incidents: what nobody has taken yet, what somebody has, and what was over lately.

The first view reads the newest ``_LOOKED_AT`` open incidents once and sorts them by whether somebody has them. The list
of one kind reads a page of the index and goes on by a cursor.
"""

from collections.abc import Iterable
from typing import Any

from carillon.console.incident_words import Shown, shown
from carillon.console.page import PAGE_ROWS, Page, Problem, Section, Visit
from carillon.console.pages import incident
from shared.ledger.incidents import Incident, Incidents, Place

_LOOKED_AT = 400
_SHOWN = 50
_OVER_SHOWN = 10
_LIVE_S = 5.0

# What the lists of one kind hold, by the word in the query.
_KINDS = {
    "open": ("Nobody has them", frozenset({"open"})),
    "taken": ("Somebody has them", frozenset({"acknowledged", "snoozed"})),
    "over": ("Over", frozenset({"resolved", "cancelled"})),
}


async def show(visit: Visit) -> dict[str, Any]:
    """Read the first view, or the list of one kind."""
    incidents = Incidents(visit.backend.store, visit.backend.keys)
    kind = visit.asked("show")
    if kind:
        return await _list(visit, incidents, kind)
    page = await incidents.page(_LOOKED_AT, None, lambda _: True)
    over = await incidents.page(_OVER_SHOWN, None, lambda _: True, over=True)
    unanswered = [each for each in page.incidents if each.word == "open"]
    taken = [each for each in page.incidents if each.word != "open"]
    counted = len(page.incidents)
    return {
        "kind": None,
        "unanswered": _rows(visit, unanswered[:_SHOWN]),
        "taken": _rows(visit, taken[:_SHOWN]),
        "over": _rows(visit, over.incidents),
        "counts": (len(unanswered), len(taken)),
        "looked_at": counted if page.last is not None else None,
        "left_out": (max(0, len(unanswered) - _SHOWN), max(0, len(taken) - _SHOWN)),
    }


async def _list(visit: Visit, incidents: Incidents, kind: str) -> dict[str, Any]:
    if kind not in _KINDS:
        raise Problem(400, "Not understood", "There are lists of open, taken and over.")
    title, words = _KINDS[kind]
    before = None
    if visit.cursor is not None and (before := Place.read(visit.cursor)) is None:
        raise Problem(400, "Not understood", "Go on with the link of an earlier page.")
    found = await incidents.page(
        PAGE_ROWS, before, lambda each: each.word in words, over=kind == "over", looks_at=_LOOKED_AT
    )
    return {
        "kind": kind,
        "title_of_kind": title,
        "rows": _rows(visit, found.incidents),
        "after": None if found.last is None else str(found.last),
    }


def _rows(visit: Visit, found: Iterable[Incident]) -> list[Shown]:
    return [shown(each, visit.now) for each in found]


PAGES = (Page("incidents", "/incidents", "Incidents", show, section=Section.WATCH, live_s=_LIVE_S), incident.PAGE)

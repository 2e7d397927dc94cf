"""The page Find: what was said to whom, by person, address, the publisher's own id, notification id, and time.

What is looked for is sent by POST, because it may be an address. The page that it leads to has an address's hash in its
own address, and never the address itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from carillon.console.forms import Form
from carillon.console.page import Action, Done, Page, Problem, Section, Visit, path_to
from carillon.console.roles import Role
from carillon.console.words import STATES, TONES, afterwards, reason_words, rule_words
from shared.core.model import Channel
from shared.directory.directory import Directory
from shared.directory.suppression import digest
from shared.ledger.finding import OUTCOMES, BadCursor, Finder, Narrowed
from shared.ledger.finding import Page as FoundPage
from shared.ledger.found import NOT_ARRIVED, Filters, Found, FoundDelivery
from shared.store.keys import is_notification_id

_ROWS = 30
# Of one search; what has not been looked at by then comes with the next page.
_SEARCH = timedelta(seconds=2)
_HASH = re.compile(r"[0-9a-f]{64}")
_PHONE = re.compile(r"\+[0-9 ()-]{5,20}")

KINDS = {"": "whatever it is", "person": "a person", "address": "an address", "own": "the publisher's id"}
WITHIN = {"": None, "1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
WITHIN_WORDS = {"": "any time", "1h": "the last hour", "1d": "the last 24 hours", "7d": "the last 7 days"}
OUTCOME_WORDS = {
    "": "any", "open": "still open", "undelivered": "not delivered", "delivered": "delivered",
    "not_arrived": "did not arrive", "complained": "called spam", "suppressed": "not sent", "expired": "expired",
    "dead_lettered": "dead letter",
}  # fmt: skip
CHANNEL_WORDS = {"": "any", **{each.value: each.value for each in Channel}}
_KEPT = ("within", "from", "until", "category", "channel", "outcome")


@dataclass(frozen=True, slots=True)
class Line:
    """A delivery as the list shows it.

    Attributes:
        later: what has become of it beside that.
    """

    delivery: FoundDelivery
    word: str
    tone: str
    later: str
    why: str
    by: str


async def look(visit: Visit, form: Form) -> Done:
    """Find out what was typed, and lead to the page that shows it."""
    text = form.text("q", most_chars=200)
    kind = form.choice("as", KINDS)
    kept = {name: form.text(name, most_chars=100) for name in _KEPT}
    form.check()
    if is_notification_id(text.lower()) and kind == "":
        return Done("Found by its id.", to=path_to("/trace/{id}", id=text.lower()))
    asked = await _asked(visit, text, kind) if text else {}
    said = {name: value for name, value in {**asked, **kept}.items() if value}
    return Done("", to=f"/find?{urlencode({**said, 'go': '1'})}")


async def _asked(visit: Visit, text: str, kind: str) -> dict[str, str]:
    if kind == "address" or (kind == "" and ("@" in text or _PHONE.fullmatch(text))):
        address = text if "@" in text else re.sub(r"[ ()-]", "", text)
        return {"address": digest(address)}
    if kind == "":
        directory = Directory(visit.backend.store, visit.backend.keys)
        kind = "person"
        if await directory.person(text) is None:
            finder = _finder(visit)
            of_person, of_id = await finder.by_person(text, limit=1), await finder.by_own_id(text, limit=1)
            kind = "own" if of_id.found and not of_person.found else "person"
    return {kind: text}


async def show(visit: Visit) -> dict[str, Any]:
    """Search, where something is asked for."""
    asked = {name: visit.asked(name) for name in ("person", "address", "own", *_KEPT)}
    if asked["address"] and not _HASH.fullmatch(asked["address"]):
        raise Problem(400, "Not understood", "An address stands here by its hash. Type it into the form.")
    searched = bool(visit.asked("go") or any(asked.values()))
    page = await _search(visit, asked) if searched else FoundPage(())
    return {
        "asked": asked,
        "searched": searched,
        "found": [(each, _lines(each)) for each in page.found],
        "is_cut": page.is_cut,
        "after": page.cursor,
        "choices": {"as": KINDS, "within": WITHIN_WORDS, "channel": CHANNEL_WORDS, "outcome": OUTCOME_WORDS},
        "category_of": asked["category"],
    }


async def _search(visit: Visit, asked: dict[str, str]) -> FoundPage:
    finder = _finder(visit)
    outcome, within = asked["outcome"], asked["within"]
    if outcome not in OUTCOME_WORDS or within not in WITHIN or asked["channel"] not in CHANNEL_WORDS:
        raise Problem(400, "Not understood", "Choose one of what the form offers.")
    lately = WITHIN[within]
    since = _moment("from", asked["from"]) or (visit.now - lately if lately is not None else None)
    narrowed: Narrowed = {
        "since": since,
        "until": _moment("until", asked["until"]),
        "after": visit.cursor,
        "limit": _ROWS,
        "filters": Filters(
            category=asked["category"] or None,
            channel=asked["channel"] or None,
            outcomes=OUTCOMES[outcome] if outcome else None,
        ),
    }
    try:
        if asked["person"]:
            return await finder.by_person(asked["person"], **narrowed)
        if asked["address"]:
            return await finder.by_address_hash(asked["address"], **narrowed)
        if asked["own"]:
            return await finder.by_own_id(asked["own"], **narrowed)
        return await finder.by_time(**narrowed)
    except BadCursor:
        raise Problem(400, "Not understood", "Go on with the link of an earlier page.") from None


def _finder(visit: Visit) -> Finder:
    backend = visit.backend
    return Finder(backend.store, backend.keys, retention_s=backend.record_retention_s, time_limit=_SEARCH)


def _moment(name: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problems = {name: "write it as 2026-01-05T09:00, in UTC"}
        raise Problem(400, "Not understood", "This is no time.", problems) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _lines(found: Found) -> Sequence[Line]:
    return lines(found.deliveries)


def lines(deliveries: Sequence[FoundDelivery]) -> Sequence[Line]:
    """Say of each delivery where it stands and why."""
    return [_line(each) for each in deliveries]


def _line(delivery: FoundDelivery) -> Line:
    word, tone = STATES.get(delivery.state, delivery.state.value), TONES.get(delivery.state, "none")
    later = afterwards(delivery.later) if delivery.outcome != delivery.state else ""
    if delivery.outcome == NOT_ARRIVED:
        # That it was delivered is no longer true; what was complained about has arrived.
        word, tone, later = later, "bad", ""
    return Line(
        delivery,
        "held" if delivery.is_held else word,
        tone,
        later,
        reason_words(delivery.reason),
        rule_words(delivery.rule),
    )


PAGES = (
    Page(
        "find", "/find", "Find", show, section=Section.LOOK_UP,
        actions=(Action("/find", Role.VIEWER, "find", look, keeps=("as",), is_change=False),),
    ),
)  # fmt: skip

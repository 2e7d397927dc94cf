"""The page Silences: what tells nobody now and next, and which open alerts a new silence would be about.

A silence is looked at before it begins: the form asks for a preview, and the preview holds the button that begins it.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from carillon.console.forms import BadForm, Form
from carillon.console.incident_words import Shown, shown
from carillon.console.page import PAGE_ROWS, Action, Done, NotDone, NotThere, Page, Problem, Section, Visit
from carillon.console.roles import Role
from services.router.alerts.noise import MAINTENANCE_PREFIX
from shared.core.clock import SystemClock, epoch_ms, from_epoch_ms
from shared.core.fields import LINE_CHARS
from shared.core.matchers import LIST_CHARS, MatcherError, read_matchers
from shared.directory.inhibitions import Inhibition
from shared.directory.rulebook import RULES, Rulebook, TooManyRules
from shared.directory.silences import Silence
from shared.ledger.held import Muted
from shared.ledger.incidents import Incident, Incidents
from shared.ledger.silencing import Ended, Silencing

# Open incidents that are looked at, for what is muted now and for a preview.
_LOOKED_AT = 400
_PREVIEWED = 50
# Of those that have not begun the first; the command line lists all.
_PENDING_SHOWN = 50
_OVER_SHOWN = 20
_LONGEST = timedelta(days=366)
_LENGTHS = ("30m", "2h", "8h", "1d", "7d")


@dataclass(frozen=True, slots=True)
class ShownSilence:
    """A silence as the page shows it.

    Attributes:
        maintenance: the id of the notification that announced it; None for one of a person.
        muted: how many of the open incidents that were looked at tell nobody because of it.
        never_matched: it is over, and was about nothing.
    """

    id: str
    silence: Silence
    state: str
    maintenance: str | None
    muted: int
    last_matched: datetime | None

    @property
    def never_matched(self) -> bool:
        """Whether it may have been a mistake."""
        return self.state == "over" and self.last_matched is None


async def show(visit: Visit) -> dict[str, Any]:
    """Read what is silenced, and by what; with matchers in the query, what a silence of them would be about."""
    rulebook = Rulebook(visit.backend.store, visit.backend.keys)
    silences, matched, inhibitions, page = await asyncio.gather(
        rulebook.all(Silence),
        rulebook.matched(Silence),
        rulebook.all(Inhibition),
        Incidents(visit.backend.store, visit.backend.keys).page(_LOOKED_AT, None, lambda _: True),
    )
    muted = Counter(each.muted for each in page.incidents if each.muted)
    found = [_shown(name, each, muted, matched, visit.now) for name, each in silences.items()]
    holding = sorted((each for each in found if each.state == "holds"), key=_place)
    after = _cursor(visit.cursor)
    rest = [each for each in holding if after is None or _place(each) > after]
    pending = sorted((each for each in found if each.state == "pending"), key=_begin)
    return {
        "holding": rest[:PAGE_ROWS],
        "after": "{}.{}".format(*_place(rest[PAGE_ROWS - 1])) if len(rest) > PAGE_ROWS else None,
        "is_first": after is None,
        "pending": pending[:_PENDING_SHOWN] if after is None else [],
        "counts": (len(holding), len(pending)),
        "over": sorted(
            (each for each in found if each.state == "over"), key=lambda each: each.silence.ends_at, reverse=True
        )[:_OVER_SHOWN],
        "inhibitions": [(name, each, muted[f"inhibition:{name}"]) for name, each in sorted(inhibitions.items())],
        "muted": sum(muted.values()),
        "looked_at": len(page.incidents),
        "is_all": page.last is None,
        "lengths": _LENGTHS,
        "draft": {name: visit.asked(name, LIST_CHARS) for name in ("matchers", "for", "starts", "comment")},
        "preview": _preview(visit, page.incidents),
        "longest_comment": LINE_CHARS,
    }


def _shown(name: str, silence: Silence, muted: Counter[str], matched: Mapping[str, int], now: datetime) -> ShownSilence:
    is_maintenance = name.startswith(MAINTENANCE_PREFIX)
    seconds = matched.get(name)
    return ShownSilence(
        id=name,
        silence=silence,
        state=silence.state_at(now),
        maintenance=name.removeprefix(MAINTENANCE_PREFIX) if is_maintenance else None,
        muted=muted[name if is_maintenance else f"silence:{name}"],
        last_matched=from_epoch_ms(seconds * 1000) if seconds is not None else None,
    )


def _place(shown_silence: ShownSilence) -> tuple[int, str]:
    """Say where a silence that holds stands in the list: what ends first comes first."""
    return epoch_ms(shown_silence.silence.ends_at), shown_silence.id


def _cursor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    at, _, name = text.partition(".")
    if not (at.isascii() and at.isdigit()):
        raise Problem(400, "Not understood", "Go on with the link of an earlier page.")
    return int(at), name


def _begin(shown_silence: ShownSilence) -> datetime:
    return shown_silence.silence.starts_at or shown_silence.silence.ends_at


def _preview(visit: Visit, incidents: Sequence[Incident]) -> dict[str, Any] | None:
    """Say which open incidents a silence would be about, or what is wrong with it."""
    if not visit.asked("matchers", LIST_CHARS):
        return None
    try:
        silence = _silence(Form({name: visit.query.get(name, "") for name in _FIELDS}), visit)
    except BadForm as bad:
        return {"problems": bad.problems, "found": [], "count": 0, "silence": None}
    about = [each for each in incidents if silence.is_about(each.alert.all_labels)]
    rows: list[Shown] = [shown(each, visit.now) for each in about[:_PREVIEWED]]
    return {"problems": {}, "found": rows, "count": len(about), "silence": silence}


_FIELDS = ("matchers", "for", "starts", "comment")


def _silence(form: Form, visit: Visit) -> Silence:
    """Read a silence from the form.

    Raises:
        BadForm: something is wrong with it.
    """
    matchers = form.read("matchers", _matchers, required=True, most_chars=LIST_CHARS)
    length = form.length("for", required=True, most=_LONGEST)
    comment = form.text("comment", required=True, most_chars=LINE_CHARS)
    starts = form.read("starts", _moment)
    form.check()
    starts_at = starts or visit.now
    try:
        silence = Silence.model_validate(
            {
                "matchers": matchers,
                "starts_at": starts_at,
                "ends_at": starts_at + (length or timedelta()),
                "comment": comment,
                "created_by": visit.session.who,
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "matchers"
        form.wrong({"ends_at": "for", "starts_at": "starts"}.get(field, field), first["msg"])
        form.check()
        raise
    if silence.ends_at <= visit.now:
        form.wrong("for", "it would be over already")
        form.check()
    return silence


def _matchers(text: str) -> list[str]:
    try:
        found = [str(each) for each in read_matchers(text)]
    except MatcherError as error:
        raise ValueError(str(error)) from None
    if not found:
        raise ValueError("name at least one, such as system=db-1")
    return found


def _moment(text: str) -> datetime:
    """Read a time as the browser's field writes it, in UTC, or as RFC 3339."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a time such as 2026-12-24T22:00 (UTC)") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=SystemClock().now().tzinfo)


async def begin(visit: Visit, form: Form) -> Done:
    """Begin a silence, or write down when it begins."""
    silence = _silence(form, visit)
    try:
        silence_id = await _silencing(visit).begin(silence)
    except TooManyRules:
        raise NotDone(f"There are too many silences: at most {RULES}.") from None
    began = "The silence holds" if silence.holds_at(visit.now) else "The silence is written down, and holds later,"
    until = silence.ends_at.strftime("%Y-%m-%d %H:%M UTC")
    return Done(f"{began} until {until}.", to="/silences", after={"id": silence_id, "matchers": list(silence.matchers)})


async def end(visit: Visit, form: Form) -> Done:
    """End a silence now, or delete one that has not begun."""
    form.check()
    match await _silencing(visit).end(visit.params["id"]):
        case Ended.UNKNOWN:
            raise NotThere("There is no silence of this id (any more).")
        case Ended.DELETED:
            words = "The silence is deleted. It had not begun."
        case Ended.WAS_OVER:
            words = "The silence was over already."
        case Ended.ENDED:
            words = "The silence has ended. What it kept quiet, and is still open, is told now."
    return Done(words, to="/silences")


def _silencing(visit: Visit) -> Silencing:
    store, keys = visit.backend.store, visit.backend.keys
    return Silencing(Rulebook(store, keys), Muted(store, keys), SystemClock())


PAGES = (
    Page(
        "silences",
        "/silences",
        "Silences",
        show,
        section=Section.WATCH,
        actions=(
            Action("/silences", Role.RESPONDER, "silence.begin", begin, keeps=_FIELDS),
            Action("/silences/{id}/end", Role.RESPONDER, "silence.end", end, target="id"),
        ),
    ),
)

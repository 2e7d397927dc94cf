"""The page Dead letters: what ended undelivered, and a way to try it again or to take it off the list, in two steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError

from carillon.console.changes import Outcome
from carillon.console.dead_letters import AT_ONCE, COUNTED, LANES, look, press
from carillon.console.forms import Form
from carillon.console.page import PAGE_ROWS, Action, Done, NotThere, Page, Problem, Section, Visit
from carillon.console.roles import Role
from carillon.console.words import reason_words
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.durations import Duration
from shared.core.errors import Reason
from shared.ledger.dead_letters import DeadLetters, Wanted
from shared.ledger.reader import DeadLetter, Trace
from shared.ledger.trace_words import whom
from shared.runtime.alive import Processes
from shared.store.keys import is_notification_id

_VERBS = {"replay": "Replay", "drop": "Drop"}
_LONGEST = timedelta(days=30)
_duration: TypeAdapter[timedelta] = TypeAdapter(Duration)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which dead letters are meant, as the query or a form says it.

    Attributes:
        older: as it was typed; ``until`` is the time that it meant when somebody looked.
    """

    channel: str
    reason: str
    older: str
    notification_id: str
    until: datetime

    @property
    def fields(self) -> dict[str, str]:
        """What stands in a query."""
        said = {"channel": self.channel, "reason": self.reason, "older": self.older, "id": self.notification_id}
        return {name: text for name, text in said.items() if text}

    @property
    def wanted(self) -> Wanted:
        """The same for the ledger."""
        return Wanted(
            self.until, lane=self.channel or None, reason=self.reason or None,
            notification_id=self.notification_id or None,
        )  # fmt: skip


async def show(visit: Visit) -> dict[str, Any]:
    """Read a page of the list, the newest first."""
    chosen = _chosen({name: visit.asked(name) for name in ("channel", "reason", "older")}, visit.now)
    before, skipped = _cursor(visit.cursor)
    trace = Trace(visit.backend.store, visit.backend.keys)
    found = await trace.dead_letters(
        PAGE_ROWS + skipped + 1, lane=chosen.channel or None, reason=chosen.reason or None,
        before=before or (chosen.until if chosen.older else None), look_at=20 * PAGE_ROWS,
    )  # fmt: skip
    rest = found[skipped:]
    return {
        "chosen": chosen,
        "lanes": LANES,
        "reasons": {each.value: reason_words(each) for each in Reason if each},
        "letters": [_shown(each) for each in rest[:PAGE_ROWS]],
        "after": _next(rest, skipped) if len(rest) > PAGE_ROWS else None,
        "count": await DeadLetters(visit.backend.store, visit.backend.keys).count(),
        "query_of": urlencode(chosen.fields),
    }


def _shown(letter: DeadLetter) -> dict[str, Any]:
    row = letter.row
    return {
        "letter": letter,
        "whom": whom(row) if row is not None else "",
        "reason": row.reason if row is not None else "",
        "why": reason_words(row.reason) if row is not None else "Its record is over; the reason is not known any more.",
        "last": row.attempts[-1] if row is not None and row.attempts else None,
    }


def _cursor(text: str | None) -> tuple[datetime | None, int]:
    """Read from which time on, and how many of that very time were shown before."""
    if text is None:
        return None, 0
    at, _, skipped = text.partition(".")
    if not at.isdigit() or not skipped.isdigit() or len(at) > 15 or int(skipped) > 1000:
        raise Problem(400, "Not understood", "Go on with the link of an earlier page.")
    return from_epoch_ms(int(at)), int(skipped)


def _next(rest: list[DeadLetter], skipped: int) -> str:
    last = rest[PAGE_ROWS - 1].at
    same = sum(1 for each in rest[:PAGE_ROWS] if each.at == last)
    return f"{epoch_ms(last)}.{same + (skipped if same == PAGE_ROWS else 0)}"


async def preview(visit: Visit) -> dict[str, Any]:
    """Look at what a replay or drop would do, without doing it."""
    verb = visit.params["verb"]
    if verb not in _VERBS:
        raise NotThere("Dead letters are replayed or dropped.")
    letters = await _letters(visit)
    said = {name: visit.asked(name) for name in ("channel", "reason", "older", "id", "extend")}
    chosen = _chosen(said, await letters.now())
    extend = _length("extend", said["extend"])
    seen = await look(letters, chosen.wanted, extend, replay=verb == "replay")
    return {
        "verb": verb,
        "label": _VERBS[verb],
        "chosen": chosen,
        "until_ms": epoch_ms(chosen.until),
        "extend": said["extend"],
        "look": seen,
        "counts": [
            (lane, reason, reason_words(reason), number) for (lane, reason), number in seen.counts.most_common(20)
        ],
        "counted": COUNTED,
        "at_once": AT_ONCE,
        "presses": -(-seen.total // AT_ONCE),
    }


async def _letters(visit: Visit) -> DeadLetters:
    backend = visit.backend
    without = backend.without | await Processes(backend.store, backend.keys).left_out()
    return DeadLetters(backend.store, backend.keys, without)


async def confirm(visit: Visit, form: Form) -> Done:
    """Replay or drop a bounded part of what was looked at."""
    verb = visit.params["verb"]
    if verb not in _VERBS:
        raise NotThere("Dead letters are replayed or dropped.")
    said = {name: form.text(name) for name in ("channel", "reason", "older", "id", "extend")}
    until = form.read("until", lambda text: from_epoch_ms(int(text)), required=True)
    form.check()
    if until is None:
        raise Problem(400, "Not done", "Look at what is meant first.")
    chosen = Chosen(said["channel"], said["reason"], said["older"], said["id"], until)
    _check(chosen)
    letters = await _letters(visit)
    pressed = await press(letters, chosen.wanted, _length("extend", said["extend"]), replay=verb == "replay")
    words = f"{pressed.done} {'replayed' if verb == 'replay' else 'dropped'}."
    if pressed.left_dead:
        left = ", ".join(f"{number} ({why})" for why, number in pressed.left_dead.most_common(5))
        words += f" Left dead: {left}."
    # What stays dead would be met again by the next press, and no press would come behind it.
    goes_on = pressed.is_more and pressed.done > 0
    where = "/dead-letters"
    if goes_on:
        where += f"/{verb}?{urlencode({**chosen.fields, 'extend': said['extend']})}"
        words += " There are more: look again and go on."
    elif pressed.is_more:
        words += " There are more, behind those that stay dead: narrow it down."
    return Done(words, to=where, outcome=Outcome.DONE if pressed.done or not pressed.left_dead else Outcome.REFUSED)


def _chosen(said: Mapping[str, str], now: datetime) -> Chosen:
    older = _length("older", said["older"])
    chosen = Chosen(said["channel"], said["reason"], said["older"], said.get("id", ""), now - (older or timedelta(0)))
    _check(chosen)
    return chosen


def _check(chosen: Chosen) -> None:
    problems = {}
    if chosen.channel and chosen.channel not in LANES:
        problems["channel"] = f"must be one of {', '.join(LANES)}"
    if chosen.notification_id and not is_notification_id(chosen.notification_id):
        problems["id"] = "is no notification's id"
    if problems:
        raise Problem(400, "Not understood", "Choose one of what the form offers.", problems)


def _length(name: str, text: str) -> timedelta | None:
    if not text:
        return None
    try:
        length = _duration.validate_python(text)
    except ValidationError:
        length = None
    if length is None or length > _LONGEST:
        raise Problem(400, "Not understood", "This is no length of time.", {name: "write 30m, 2h or 7d; at most 30d"})
    return length


PAGES = (
    Page("dead-letters", "/dead-letters", "Dead letters", show, section=Section.LOOK_UP),
    Page(
        "dead-letters-act", "/dead-letters/{verb}", "Dead letters", preview, role=Role.OPERATOR, within="dead-letters",
        actions=(
            Action(
                "/dead-letters/{verb}", Role.OPERATOR, "dead_letters", confirm, target="verb",
                keeps=("channel", "reason", "older", "id", "extend"),
            ),
        ),
    ),
)  # fmt: skip

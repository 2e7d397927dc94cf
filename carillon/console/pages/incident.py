"""One incident: where it stands and what comes next, who was told, what happened, and what a responder can do."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from carillon.console.forms import Form
from carillon.console.incident_words import (
    age_s,
    channels_of,
    facts,
    headline,
    lines,
    severity_tone,
    state_words,
    told_people,
    where,
)
from carillon.console.page import Action, Done, NotDone, NotThere, Page, Problem, Visit, path_to
from carillon.console.rendering import query
from carillon.console.roles import Role
from shared.core.chained_lines import chained, faults
from shared.core.clock import epoch_ms
from shared.core.incidents import Way
from shared.directory.directory import Directory
from shared.directory.policies import NotifyTarget
from shared.ledger.alerts import Answered
from shared.ledger.answering import LONGEST_SNOOZE, NOTE_CHARS, Answering
from shared.ledger.held import Muted
from shared.ledger.incident_documents import entry_document, incident_document, members_document
from shared.ledger.incidents import Entry, Incident, Incidents
from shared.ledger.ledger import Ledger

_LINES = 100
# Of the newest lines, so many are summed up by person.
_SUMMED_UP = 500
_MEMBERS = 20
_LIVE_S = 3.0
# Of an export that is written in one piece.
_EXPORTED = 10_000
_SNOOZES = ("30m", "1h", "4h", "8h", "1d")

_target: TypeAdapter[str] = TypeAdapter(NotifyTarget)


async def show(visit: Visit) -> dict[str, Any] | web.StreamResponse:
    """Read one incident; a member of a group leads to its group."""
    incidents = Incidents(visit.backend.store, visit.backend.keys)
    incident = await _read(incidents, visit)
    if incident.id != visit.params["id"]:
        raise web.HTTPSeeOther(f"{path_to(PAGE.path, id=incident.id)}{query(**dict(visit.query))}")
    if visit.asked("export"):
        return await _export(incidents, incident)
    before = _before(visit)
    most = _LINES if before is not None else _SUMMED_UP
    (entries, first, count), (members, member_count), step = await asyncio.gather(
        incidents.timeline_page(incident.id, most, before),
        incidents.members(incident.id, _MEMBERS),
        incidents.next_step(incident.id),
    )
    people = told_people(entries)
    written = lines(entries, first, incident.opened_at)[-_LINES:]
    state, tone = state_words(incident)
    severity = incident.alert.severity or incident.alert.level
    return {
        "incident": incident,
        "state": state,
        "tone": tone,
        "severity": severity,
        "severity_tone": severity_tone(severity),
        "is_over": incident.word in ("resolved", "cancelled"),
        "headline": headline(incident),
        "where": where(incident),
        "age_s": age_s(incident, visit.now),
        "step": step,
        "people": people,
        "channels": channels_of(people),
        "facts": facts(incident),
        "members": members_document(incident, members, member_count),
        "lines": list(reversed(written)),
        "count": count,
        "earlier": written[0].number if written and written[0].number else None,
        "is_newest": before is None,
        "snoozes": _SNOOZES,
        "note_chars": NOTE_CHARS,
        "targets": ["oncall", "oncall:second", "admins", *(f"user:{each.user_id}" for each in people)],
    }


def _before(visit: Visit) -> int | None:
    text = visit.asked("before", 6)
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise Problem(400, "Not understood", "Go on with the link of an earlier page.")
    return int(text)


async def _read(incidents: Incidents, visit: Visit) -> Incident:
    incident = await incidents.get(visit.params["id"])
    if incident is None:
        raise NotThere("There is no incident of this id, or it was so long ago that it is forgotten.")
    return incident


async def _export(incidents: Incidents, incident: Incident) -> web.StreamResponse:
    """Write the incident as lines that hold each other, as ``carillon incident export`` does."""
    entries, _, _ = await incidents.timeline_page(incident.id, _EXPORTED)
    text = await asyncio.to_thread(_chained, incident, entries)
    return web.Response(
        text=text,
        content_type="application/jsonl",
        charset="utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="incident-{incident.id}.jsonl"',
            "X-Carillon-SHA256": hashlib.sha256(text.encode()).hexdigest(),
        },
    )


def _chained(incident: Incident, entries: list[Entry]) -> str:
    written = list(chained(incident_document(incident), map(entry_document, entries)))
    if faults(written):
        raise Problem(500, "Not exported", "The lines do not hold each other. Nothing was written.")
    return "".join(f"{line}\n" for line in written)


# What a responder can do.


def _answering(visit: Visit) -> Answering:
    backend = visit.backend
    ledger = Ledger(backend.store, backend.keys, backend.record_retention_s)
    return Answering(ledger, Directory(backend.store, backend.keys), Muted(backend.store, backend.keys))


async def _answer(visit: Visit, answer: Callable[..., Awaitable[Answered]], *said: object, words: str) -> Done:
    """Answer as the person who is signed in, and say what came of it.

    Args:
        answer: one of the answers of ``Answering``; ``said`` is what it takes beside who answers what.
    """
    incidents = Incidents(visit.backend.store, visit.backend.keys)
    before = await _read(incidents, visit)
    answered = await answer(
        _answering(visit), visit.params["id"], visit.session.who, *said,
        way=Way.CONSOLE, may_any=visit.may(Role.OPERATOR),
    )  # fmt: skip
    match answered:
        case Answered.UNKNOWN:
            raise NotThere("There is no incident of this id (any more).")
        case Answered.NOT_TOLD:
            raise NotDone(
                f"Only somebody who was told of it, an admin or an operator may answer it. {visit.session.who} is none."
            )
        case Answered.OVER:
            raise NotDone("It is over.")
        case Answered.FULL:
            raise NotDone("Its timeline takes no note any more.")
    after = await incidents.get(before.id)
    return Done(
        words if answered is Answered.DONE else "It was so already.",
        to=f"/incidents/{before.id}",
        before={"state": before.word, "who": before.acknowledged_by},
        after=None if after is None else {"state": after.word, "who": after.acknowledged_by},
    )


def _note(form: Form, *, required: bool = False) -> str:
    """Read the note, the last of a form's fields."""
    note = form.text("note", required=required, most_chars=NOTE_CHARS, lines=True)
    form.check()
    return note


async def acknowledge(visit: Visit, form: Form) -> Done:
    """Take it."""
    return await _answer(visit, Answering.acknowledge, _note(form), words="You have it. Nobody else is told.")


async def resolve(visit: Visit, form: Form) -> Done:
    """Say that it is over."""
    return await _answer(visit, Answering.resolve, _note(form), words="It is resolved.")


async def snooze(visit: Visit, form: Form) -> Done:
    """Put it away for a while."""
    length = form.length("for", required=True, most=LONGEST_SNOOZE)
    if length is not None and length <= timedelta():
        form.wrong("for", "must be longer than nothing")
    note = _note(form)
    until_ms = epoch_ms(visit.now + (length or timedelta()))
    words = "It is snoozed. At the end it is open again, and people are told from the beginning."
    return await _answer(visit, Answering.snooze, until_ms, note, words=words)


async def reassign(visit: Visit, form: Form) -> Done:
    """Hand it on."""
    to = form.read("to", _read_target, required=True) or ""
    note = _note(form)
    words = f"It is handed on to {to}, and they are told now."
    return await _answer(visit, Answering.reassign, to, note, words=words)


async def write_note(visit: Visit, form: Form) -> Done:
    """Write something into the timeline."""
    return await _answer(visit, Answering.note, _note(form, required=True), words="The note stands in the timeline.")


def _read_target(text: str) -> str:
    try:
        return _target.validate_python(text)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None


def _action(verb: str, do: Callable[[Visit, Form], Awaitable[Done]], *keeps: str) -> Action:
    return Action(f"/incidents/{{id}}/{verb}", Role.RESPONDER, f"incident.{verb}", do, target="id", keeps=keeps)


PAGE = Page(
    "incident",
    "/incidents/{id}",
    "Incident",
    show,
    within="incidents",
    live_s=_LIVE_S,
    actions=(
        _action("acknowledge", acknowledge, "note"),
        _action("resolve", resolve, "note"),
        _action("snooze", snooze, "for", "note"),
        _action("reassign", reassign, "to", "note"),
        _action("note", write_note, "note"),
    ),
)

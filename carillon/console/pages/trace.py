"""The page Trace: the life of one notification as a line drawn to scale, and as tables that say the same."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from carillon.console.page import NotThere, Page, Visit
from carillon.console.timeline import Scale
from carillon.console.words import (
    ATTEMPT_TONES,
    ATTEMPTS,
    CALLBACK_TONES,
    CALLBACKS,
    TONES,
    afterwards,
    reason_words,
    rule_words,
    state_words,
)
from shared.core.channels import ROUTER_LANE
from shared.core.model import Channel, State
from shared.ledger.reader import Seen, Trace, TracedRecord, TracedRow
from shared.ledger.trace_document import in_order, trace_document
from shared.ledger.trace_words import task_text, whom

# Rows that are read for the page, that are drawn, and people who are named as readers.
_ROWS_READ = 100
_LANES = 24
_SEEN_NAMED = 50
_EVENTS = 300
# An export is one answer; a larger fan-out is exported by the command line.
_ROWS_EXPORTED = 5000


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened.

    Attributes:
        kind: how it is drawn: start, try, end, callback, seen, answer.
        channel: of which delivery; empty for the notification as a whole.
    """

    at: datetime
    kind: str
    tone: str
    words: str
    detail: str = ""
    channel: str = ""
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the drawing.

    Attributes:
        begin: where it begins to wait, in percent; ``end`` where it ends or stands now.
        is_open: it goes on.
        later: what is bad about it although it was delivered.
    """

    name: str
    recipient: str
    word: str
    tone: str
    begin: float
    end: float
    is_open: bool
    later: str = ""
    marks: Sequence[tuple[float, Moment]] = field(default_factory=tuple)


async def show(visit: Visit) -> dict[str, Any]:
    """Read a notification, at most so many of its rows, and lay them out."""
    trace = Trace(visit.backend.store, visit.backend.keys)
    notification_id, recipient = visit.params["id"], visit.asked("recipient") or None
    record = await _record(trace, notification_id)
    rows, is_cut = await _first(trace.rows(notification_id, recipient), _ROWS_READ)
    seen = await trace.seen(notification_id, recipient)
    deliveries = [row for row in rows if row.lane != ROUTER_LANE]
    tasks = [row for row in rows if row.lane == ROUTER_LANE]
    whole = sorted(_of_record(record), key=lambda each: each.at)
    of_rows = {row.key: list(_of_row(row, seen)) for row in rows}
    told = {row.recipient for row in deliveries if row.lane == Channel.REALTIME}
    readers = [
        Moment(at, "seen", "good", "Read in the inbox.", recipient=user)
        for user, at in seen.by.items()
        if user not in told
    ]
    everything = sorted(
        [*whole, *readers, *(moment for row in rows for moment in of_rows[row.key])], key=lambda each: each.at
    )
    drawn = deliveries[:_LANES]
    is_open = record.open_rows > 0
    shown = [*whole, *readers, *(moment for row in drawn for moment in of_rows[row.key])]
    scale = Scale(
        [record.accepted_at, *(each.at for each in shown), *(row.since for row in drawn)]
        + ([record.read_at] if is_open else [])
    )
    lanes = [_lane_of_all(record, [*whole, *readers], scale)]
    lanes += [_lane(row, of_rows[row.key], scale, record.read_at) for row in drawn]
    return {
        "record": record,
        "recipient": recipient or "",
        "scale": scale,
        "ticks": scale.ticks(),
        "lanes": lanes,
        "drawn_count": len(drawn),
        "left_out": len(deliveries) - len(drawn),
        "is_cut": is_cut,
        "kinds": sorted({moment.kind for lane in lanes for _, moment in lane.marks}),
        "events": everything[:_EVENTS],
        "events_left_out": max(0, len(everything) - _EVENTS),
        "deliveries": [_shown(row, seen) for row in deliveries],
        "tasks": [(row, task_text(row), state_words(row), TONES.get(row.state, "none")) for row in tasks],
        "seen": list(seen.by.items())[:_SEEN_NAMED],
        "seen_count": len(seen.by),
        "seen_complete": seen.complete,
    }


async def export(visit: Visit) -> web.Response:
    """Answer with the trace as JSON, as ``carillon trace --json`` prints it."""
    trace = Trace(visit.backend.store, visit.backend.keys)
    notification_id, recipient = visit.params["id"], visit.asked("recipient") or None
    record = await _record(trace, notification_id)
    rows, is_cut = await _first(trace.rows(notification_id, recipient), _ROWS_EXPORTED)
    document = trace_document(record, rows, await trace.seen(notification_id, recipient))
    text = json.dumps({**document, "complete": not is_cut}, ensure_ascii=False, indent=2).encode(errors="replace")
    named = {"Content-Disposition": f'attachment; filename="trace-{record.notification_id}.json"'}
    return web.Response(body=text, content_type="application/json", charset="utf-8", headers=named)


async def _record(trace: Trace, notification_id: str) -> TracedRecord:
    record = await trace.record(notification_id)
    if record is None:
        raise NotThere("There is no notification of this id. It may have been forgotten: records have an end.")
    return record


async def _first(rows: AsyncIterator[TracedRow], most: int) -> tuple[list[TracedRow], bool]:
    found: list[TracedRow] = []
    async for row in rows:
        if len(found) == most:
            return in_order(found), True
        found.append(row)
    return in_order(found), False


def _of_record(record: TracedRecord) -> Iterator[Moment]:
    yield Moment(record.accepted_at, "start", "info", "Accepted.")
    if record.acknowledged_at is not None:
        yield Moment(record.acknowledged_at, "answer", "good", f"Acknowledged by {record.acknowledged_by}.")
    if record.resolved_at is not None:
        yield Moment(record.resolved_at, "answer", "good", "Resolved.")
    if record.cancelled_at is not None:
        yield Moment(record.cancelled_at, "answer", "none", "Cancelled by its publisher.")
    if record.recalled_at is not None:
        yield Moment(record.recalled_at, "answer", "none", "Taken back by its publisher.")


def _of_row(row: TracedRow, seen: Seen) -> Iterator[Moment]:
    if row.lane == ROUTER_LANE:
        yield Moment(row.until, "end", TONES.get(row.state, "none"), f"{task_text(row)}: {state_words(row)}.",
            channel="router", recipient=row.recipient or "")  # fmt: skip
        return
    whose: dict[str, str] = {"channel": row.lane, "recipient": whom(row)}
    for attempt in row.attempts:
        tone = ATTEMPT_TONES.get(attempt.outcome, "bad")
        words = f"Attempt {attempt.number}: {ATTEMPTS.get(attempt.outcome, attempt.outcome)}"
        said = (attempt.provider, reason_words(attempt.reason), attempt.detail)
        yield Moment(attempt.at, "try", tone, words, " · ".join(part for part in said if part), **whose)
    if row.state.is_end and not (row.state is State.DELIVERED and row.attempts):
        words = f"{state_words(row).capitalize()}."
        yield Moment(row.until, "end", TONES.get(row.state, "none"), words, reason_words(row.reason), **whose)
    for callback in row.callbacks:
        tone = CALLBACK_TONES.get(callback.outcome, "info")
        words = CALLBACKS.get(callback.outcome, callback.outcome)
        yield Moment(callback.at, "callback", tone, words, callback.code, **whose)
    if row.lane == Channel.REALTIME and row.recipient is not None and row.recipient in seen.by:
        yield Moment(seen.by[row.recipient], "seen", "good", "Read in the inbox.", **whose)


def _lane_of_all(record: TracedRecord, moments: Sequence[Moment], scale: Scale) -> Lane:
    word = record.alert.value if record.alert is not None else "open" if record.open_rows else "ended"
    tone = "bad" if word == "open" and record.alert is not None else "info" if record.open_rows else "none"
    marks = [(scale.at(each.at), each) for each in moments]
    last = max((place for place, _ in marks), default=0.0)
    is_open = record.open_rows > 0
    end = max(last, scale.at(record.read_at)) if is_open else last
    return Lane("notification", "", word, tone, scale.at(record.accepted_at), end, is_open, marks=marks)


def _lane(row: TracedRow, moments: Sequence[Moment], scale: Scale, now: datetime) -> Lane:
    end = row.until if row.state.is_end else now
    return Lane(
        row.lane, whom(row), state_words(row), TONES.get(row.state, "none"),
        scale.at(row.since), scale.at(max(end, row.since)), not row.state.is_end,
        afterwards(row.confirmation), [(scale.at(each.at), each) for each in moments],
    )  # fmt: skip


def _shown(row: TracedRow, seen: Seen) -> dict[str, Any]:
    return {
        "row": row,
        "whom": whom(row),
        "word": state_words(row),
        "tone": TONES.get(row.state, "none"),
        "later": afterwards(row.confirmation),
        "why": reason_words(row.reason),
        "by": rule_words(row.rule),
        "seen_at": seen.by.get(row.recipient) if row.recipient and row.lane == Channel.REALTIME else None,
        "callbacks": [
            (CALLBACKS.get(each.outcome, each.outcome), CALLBACK_TONES.get(each.outcome, "info"), each)
            for each in row.callbacks
        ],
        "attempts": [
            (ATTEMPTS.get(each.outcome, each.outcome), ATTEMPT_TONES.get(each.outcome, "bad"), each,
             reason_words(each.reason))
            for each in row.attempts
        ],
    }  # fmt: skip


PAGES = (
    Page("trace", "/trace/{id}", "Trace", show, within="find"),
    Page("trace-export", "/trace/{id}/export.json", "Trace", export, within="find"),
)

"""``carillon dead-letters list``: what ended undelivered, and what was refused at the door."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import click

from carillon.commands.choices import INTAKE
from carillon.commands.opening_store import open_store
from carillon.commands.output import print_columns, print_json
from carillon.commands.settings import OperatorSettings
from carillon_publisher.receipts import FieldProblem
from shared.core.clock import SystemClock, rfc3339
from shared.ledger.reader import DeadLetter, Trace
from shared.ledger.rejections import LIMIT as REJECTIONS_KEPT
from shared.ledger.rejections import Rejection, Rejections
from shared.ledger.trace_document import row_document
from shared.ledger.trace_words import whom


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which dead letters to list; None is any."""

    channel: str | None
    reason: str | None
    before: datetime | None
    most: int


def print_dead_letters(
    *, channel: str | None, reason: str | None, older_than: timedelta | None, limit: int, as_json: bool
) -> None:
    """Print the newest dead letters that are meant, at most so many."""
    settings = OperatorSettings.load()
    before = SystemClock().now() - older_than if older_than is not None else None
    found = asyncio.run(_read(settings, _Wanted(channel, reason, before, limit)))
    if as_json:
        print_json([_document(each) for each in found])
    elif not found:
        click.echo("no dead letters")
    else:
        print_columns([("AT", "CHANNEL", "REASON", "RECIPIENT", "WHAT"), *map(_cells, found)])


async def _read(settings: OperatorSettings, wanted: _Wanted) -> list[DeadLetter | Rejection]:
    found: list[DeadLetter | Rejection] = []
    async with open_store(settings) as (store, keys):
        if wanted.channel != INTAKE:
            found += await Trace(store, keys).dead_letters(
                wanted.most, lane=wanted.channel, reason=wanted.reason, before=wanted.before
            )
        if wanted.channel in (None, INTAKE):
            unfiltered = wanted.reason is None and wanted.before is None
            rejections = Rejections(store, keys, settings.record_retention_s)
            newest = await rejections.newest(wanted.most if unfiltered else REJECTIONS_KEPT)
            found += [each for each in newest if _is_wanted(each, wanted)]
    return sorted(found, key=lambda each: each.at, reverse=True)[: wanted.most]


def _is_wanted(rejection: Rejection, wanted: _Wanted) -> bool:
    in_time = wanted.before is None or rejection.at <= wanted.before
    return in_time and wanted.reason in (None, rejection.error["code"])


def _document(letter: DeadLetter | Rejection) -> Mapping[str, object]:
    if isinstance(letter, Rejection):
        return {
            "at": rfc3339(letter.at),
            "channel": INTAKE,
            "reason": letter.error["code"],
            "topic": letter.topic,
            "size_bytes": letter.size_bytes,
            "message": letter.error["message"],
            "fields": letter.error["fields"],
        }
    row = row_document(letter.row) if letter.row else {}
    return {
        "at": rfc3339(letter.at),
        "channel": letter.lane,
        "reason": row.get("reason"),
        "notification_id": letter.notification_id,
        "key": letter.key,
        "recipient": row.get("recipient"),
        "priority": row.get("priority"),
        "attempts_made": row.get("attempts_made"),
        "attempts": row.get("attempts", []),
    }


def _cells(letter: DeadLetter | Rejection) -> tuple[str, ...]:
    if isinstance(letter, Rejection):
        problems = "; ".join(str(FieldProblem.read(each)) for each in letter.error["fields"])
        what = f"{letter.topic} ({letter.size_bytes} bytes)" + (f": {problems}" if problems else "")
        return rfc3339(letter.at), INTAKE, letter.error["code"], "-", what
    reason, recipient = ("(record expired)", "-") if letter.row is None else (letter.row.reason, whom(letter.row))
    return rfc3339(letter.at), letter.lane, reason, recipient, f"{letter.notification_id} {letter.key}"

"""``carillon trace``: what became of one notification."""

import asyncio
from collections import Counter

import click

from carillon.commands.durations import spoken
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json, printable
from carillon.commands.rows import attempt_line, confirmation_line, when
from carillon.commands.settings import OperatorSettings
from shared.core.clock import rfc3339
from shared.core.errors import Reason
from shared.ledger.reader import Seen, Trace, TracedRecord, TracedRow
from shared.ledger.trace_document import in_order, trace_document
from shared.ledger.trace_words import state_of, whom

# People named one by one; --json names all that the ledger does.
_SEEN_SHOWN = 10


def print_trace(*, notification_id: str, recipient: str | None, limit: int, as_json: bool) -> None:
    """Read and print a notification, at most so many of its rows."""
    settings = OperatorSettings.load()
    record, rows, seen = asyncio.run(_read(settings, notification_id, recipient))
    if record is None:
        kept = spoken(settings.record_retention_s)
        raise AnswerIsNo(f"no such notification (records are kept {kept} after their end)")
    if as_json:
        print_json(trace_document(record, rows, seen))
    else:
        _print(record, rows, seen, limit)


async def _read(
    settings: OperatorSettings, notification_id: str, recipient: str | None
) -> tuple[TracedRecord | None, list[TracedRow], Seen]:
    async with open_store(settings) as (store, keys):
        reader = Trace(store, keys)
        record = await reader.record(notification_id)
        if record is None:
            return None, [], Seen()
        rows = [row async for row in reader.rows(notification_id, recipient)]
        seen = await reader.seen(notification_id, recipient)
    return record, in_order(rows), seen


def _print(record: TracedRecord, rows: list[TracedRow], seen: Seen, limit: int) -> None:
    head = [
        ("notification", record.notification_id),
        *([("part of", record.part_of)] if record.part_of else []),
        *([("publisher", record.publisher)] if record.publisher else []),
        ("kind", record.kind),
        ("priority", record.priority.value),
        ("accepted", rfc3339(record.accepted_at)),
        ("open", str(record.open_rows)),
    ]
    if record.channels:
        head.append(("only on", ", ".join(record.channels)))
    if record.alert is not None:
        head.append(("alert", record.alert.value))
        if record.acknowledged_at is not None:
            head.append(("acknowledged", f"{rfc3339(record.acknowledged_at)} by {record.acknowledged_by}"))
        if record.resolved_at is not None:
            head.append(("resolved", rfc3339(record.resolved_at)))
    if record.cancelled_at is not None:
        head.append(("cancelled", rfc3339(record.cancelled_at)))
    if record.recalled_at is not None:
        head.append(("recalled", rfc3339(record.recalled_at)))
    shown = list(seen.by.items())[:_SEEN_SHOWN]
    head += [("seen", f"{rfc3339(at)} by {user}") for user, at in shown]
    if len(seen.by) > len(shown) or not seen.complete:
        count = f"{len(seen.by)}" if seen.complete else f"more than {len(seen.by)}"
        head.append(("seen", f"by {count} people; the first {len(shown)} are shown"))
    print_columns(head)
    click.echo()
    _print_rows(rows[:limit])
    if len(rows) > limit:
        click.echo()
        click.echo(f"{len(rows) - limit} more; all {len(rows)} together:")
        counts = Counter((row.lane, state_of(row), row.reason) for row in rows)
        print_columns(
            [(lane, state, reason or "-", str(count)) for (lane, state, reason), count in counts.most_common()]
        )


def _print_rows(rows: list[TracedRow]) -> None:
    cells = [("CHANNEL", "RECIPIENT", "STATE", "REASON", "AT")]
    cells += [(row.lane, whom(row), state_of(row), row.reason or "-", when(row)) for row in rows]
    print_columns(cells, notes=[[], *(_notes(row) for row in rows)])


def _notes(row: TracedRow) -> list[str]:
    later = [confirmation_line(each) for each in row.callbacks]
    decided = [printable(f"decided by {row.rule}")] if row.rule else []
    told_in = "incident" if row.reason == Reason.GROUPED else "digest"
    digest = [f"in the {told_in} {row.digest}"] if row.digest else []
    return [*decided, *digest, *(attempt_line(attempt) for attempt in row.attempts), *later]

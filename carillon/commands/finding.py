"""``carillon find``: what was said to whom lately, and what became of it."""

import asyncio
import sys
from collections.abc import Sequence

import click

from carillon.commands.durations import spoken
from carillon.commands.moments import read_moment_or_ago
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json, printable
from carillon.commands.rows import confirmation_line
from carillon.commands.settings import OperatorSettings
from shared.core.clock import rfc3339
from shared.ledger.finding import OUTCOMES, BadCursor, Finder, Narrowed, Page
from shared.ledger.found import Filters, Found, FoundDelivery
from shared.ledger.found_documents import page_document

_LONGEST_ADDRESS = 500


def print_found(
    *,
    user_id: str | None,
    address: str | None,
    text_id: str | None,
    since: str | None,
    until: str | None,
    filters: Filters,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Search by the one that is given, or by time alone, and print one page."""
    given = sum(each is not None for each in (user_id, address, text_id))
    if given > 1:
        raise click.UsageError("only one of --user, --address and --text-id")
    if not given and since is None:
        raise click.UsageError("say what to search by: --user, --address, --text-id or --since")
    narrowed: Narrowed = {
        "since": read_moment_or_ago(since, "--since") if since is not None else None,
        "until": read_moment_or_ago(until, "--until") if until is not None else None,
        "after": after,
        "limit": limit,
        "filters": filters,
    }
    typed_address = _address(address) if address is not None else None
    settings = OperatorSettings.load()

    async def search() -> Page:
        async with open_store(settings) as (store, keys):
            finder = Finder(store, keys, retention_s=settings.record_retention_s)
            if user_id is not None:
                return await finder.by_person(user_id, **narrowed)
            if typed_address is not None:
                return await finder.by_address(typed_address, **narrowed)
            if text_id is not None:
                return await finder.by_own_id(text_id, **narrowed)
            return await finder.by_time(**narrowed)

    try:
        page = asyncio.run(search())
    except BadCursor as error:
        raise click.BadParameter(str(error), param_hint="--after") from None
    if as_json:
        print_json(page_document(page))
    else:
        print_page(page)
    if not page.found and not page.is_cut:
        kept = spoken(settings.record_retention_s)
        raise AnswerIsNo(f"nothing found (notifications are kept {kept} after their end)")


def filters_of(category: str | None, channel: str | None, outcome: str | None, publisher: str | None) -> Filters:
    """Turn what was typed into filters; None is any."""
    outcomes = OUTCOMES[outcome] if outcome is not None else None
    return Filters(category=category, channel=channel, outcomes=outcomes, publisher=publisher)


def _address(typed: str) -> str:
    address = sys.stdin.readline(_LONGEST_ADDRESS).strip() if typed == "-" else typed.strip()
    if not address:
        raise click.BadParameter("is empty", param_hint="--address")
    return address


def print_page(page: Page) -> None:
    """Print a page as a table of deliveries, with where to go on."""
    print_found_rows(page.found)
    if page.is_cut:
        click.echo(f"the time for one search is over; go on with --after {page.cursor}")
    elif page.cursor is not None:
        click.echo(f"there may be more: --after {page.cursor}")


def print_found_rows(found: Sequence[Found]) -> None:
    """Print notifications, a line for each delivery, and what is not listed of one that has many."""
    cells: list[tuple[str, ...]] = []
    notes: list[list[str]] = []
    for each in found:
        rows = [(rfc3339(row.at), each.notification_id, each.category or "-", *_cells(row)) for row in each.deliveries]
        cells += rows or [(rfc3339(each.at), each.notification_id, each.category or "-", "-", "-", "-", "-", "-")]
        notes += [_notes(row) for row in each.deliveries] or [[]]
        if each.more:
            notes[-1].append(f"{each.more} more; all together: {_counts(each)}")
    if cells:
        header = ("AT", "NOTIFICATION", "CATEGORY", "CHANNEL", "OUTCOME", "REASON", "RECIPIENT", "TO")
        print_columns([header, *cells], notes=[[], *notes])


def _cells(row: FoundDelivery) -> tuple[str, ...]:
    outcome = "held" if row.is_held and not row.state.is_end else row.outcome
    return row.channel, outcome, row.reason or "-", row.recipient or "-", row.to or "-"


def _notes(row: FoundDelivery) -> list[str]:
    decided = [printable(f"decided by {row.rule}")] if row.rule else []
    told = [f"told in {row.digest}"] if row.digest else []
    later = [confirmation_line(row.later)] if row.later is not None and row.outcome != row.state else []
    return [*decided, *told, *later]


def _counts(found: Found) -> str:
    return ", ".join(
        f"{count} {channel} {outcome}{f' ({reason})' if reason else ''}"
        for (channel, outcome, reason), count in sorted(found.counts.items(), key=lambda each: -each[1])
    )

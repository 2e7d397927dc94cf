"""``carillon replay-decisions``: what a change of the directory would have done to what was sent lately."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import IO

import click

from carillon.commands.explaining import rules_of
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json, printable
from carillon.commands.progress import ProgressLine
from carillon.commands.settings import OperatorSettings
from services.router.explaining.documents import PEOPLE_SHOWN, difference_document
from services.router.explaining.overlay import BadRecord, Overlay, read_lines
from services.router.explaining.replaying import Compared, Difference, Replay, changed
from shared.core.channels import Channel
from shared.core.clock import rfc3339
from shared.ledger.past import LONGEST_SPAN_S


def compare_decisions(
    *, since: timedelta, file: IO[bytes], user_id: str | None, people: bool, limit: int, as_json: bool
) -> None:
    """Compare, and print the difference."""
    if since.total_seconds() > LONGEST_SPAN_S:
        raise click.BadParameter(
            f"the ledger knows what was accepted {LONGEST_SPAN_S // 86400} days ago", param_hint="--since"
        )
    try:
        overlay = read_lines(file)
    except BadRecord as bad:
        raise AnswerIsNo(printable(str(bad).replace("record", "line", 1))) from None
    found = asyncio.run(_run(OperatorSettings.load(), since, overlay, user_id, people=people, limit=limit))
    if as_json:
        print_json(difference_document(found, people=people))
    else:
        _print(found, people=people)


async def _run(
    settings: OperatorSettings, since: timedelta, overlay: Overlay, user_id: str | None, *, people: bool, limit: int
) -> Difference:
    line = ProgressLine()
    now = datetime.now(UTC)
    try:
        async with open_store(settings) as (store, keys):
            return await Replay(store, keys, rules_of(settings), overlay).run(
                now - since,
                now,
                user_id=user_id,
                people=people,
                limit=limit,
                progress=lambda share, done: line.show(f"{min(share, 1):.0%} of the time, {done:,} notifications"),
            )
    finally:
        line.clear()


def _print(found: Difference, *, people: bool) -> None:
    print_columns([("CHANNEL", "WHAT BECOMES OF IT", "BEFORE", "AFTER", "DIFFERENCE"), *_rows(found.total)])
    click.echo()
    if people:
        _print_people(found)
    click.echo(
        f"{found.notifications:,} notifications from {rfc3339(found.since)} to {rfc3339(found.until)},"
        f" {found.decisions:,} decisions: {found.changed:,} change, for {len(found.changed_people):,} people"
    )
    before, after = found.digests
    if before or after:
        click.echo(f"digests opened: {before:,} before, {after:,} after")
    before, after = found.refused
    if before or after:
        click.echo(f"notifications refused: {before:,} before, {after:,} after")
    for line in _left_out(found):
        click.echo(f"left out: {line}")


def _print_people(found: Difference) -> None:
    some = list(changed(found.people))
    cells = [(user_id, *row) for user_id, each in some[:PEOPLE_SHOWN] for row in _rows(each, only_changed=True)]
    if cells:
        print_columns([("PERSON", "CHANNEL", "WHAT BECOMES OF IT", "BEFORE", "AFTER", "DIFFERENCE"), *cells])
    more = max(0, len(some) - PEOPLE_SHOWN) + found.left_out.people
    if more:
        click.echo(f"and {more:,} more people; name one with --user")
    if cells or more:
        click.echo()


def _rows(compared: Compared, *, only_changed: bool = False) -> Iterator[tuple[str, ...]]:
    counts = compared.before.keys() | compared.after.keys()
    for channel in Channel:
        for _, word in sorted(each for each in counts if each[0] == channel):
            before, after = compared.before[channel, word], compared.after[channel, word]
            if before != after or not only_changed:
                yield channel.value, word.replace(":", ": "), f"{before}", f"{after}", f"{after - before:+d}"


def _left_out(found: Difference) -> Iterator[str]:
    left_out = found.left_out
    if found.more:
        yield "what came after that: the limit was reached; see --limit"
    if left_out.expired:
        yield f"{left_out.expired:,} notifications whose records have expired"
    if left_out.unreadable:
        yield f"{left_out.unreadable:,} notifications whose records cannot be read"
    if left_out.addresses:
        yield f"{left_out.addresses:,} addresses that publishers gave"
    if left_out.unplanned:
        yield f"{left_out.unplanned:,} records without people of the directory, such as those of broadcasts as a whole"

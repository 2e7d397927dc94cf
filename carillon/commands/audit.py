"""``carillon audit``: what can be typed; ``carillon.commands.auditing`` does it."""

from datetime import timedelta

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option


@click.command()
@click.option("--since", type=Duration(), default="1h", show_default=True, help="How far to look back, at most 7d.")
@click.option("--deep", is_flag=True, help="Count the rows in the records, too, and look at every open row.")
@click.option(
    "--overdue-after",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long after its time something may wait.",
)
@json_option
def audit(*, since: timedelta, deep: bool, overdue_after: timedelta, as_json: bool) -> None:
    """Check that accepted = delivered + suppressed + expired + dead_lettered + open, and that nothing is overdue.

    The accounts are those of the minutes in which deliveries (and the router's own tasks) became due. They must balance
    at any moment, also while the system works. What came into digests has left with one, was taken out, or waits in an
    open one. --deep does not believe the counters: it counts the rows in the records of the last 24 hours at most, and
    the items of each open digest, and names the notifications that something is wrong with.

    Exit status: 0 balanced and nothing overdue; 1 not so; 2 wrong use or settings.

    \b
    Examples:
      carillon audit
      carillon audit --since 24h --deep --json
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.auditing import audit_accounts

    audit_accounts(since=since, deep=deep, overdue_after=overdue_after, as_json=as_json)

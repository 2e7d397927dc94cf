"""``carillon replay-decisions``: what can be typed; ``carillon.commands.replaying_decisions`` does it."""

from datetime import timedelta
from typing import IO

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option


@click.command("replay-decisions")
@click.option("--since", type=Duration(), default="7d", show_default=True, help="How far to look back, at most 7d.")
@click.option(
    "--with", "file", type=click.File("rb"), required=True, metavar="FILE", help="The change; - is standard input."
)
@click.option("--user", "user_id", metavar="USER_ID", help="Only what went to this person.")
@click.option("--people", is_flag=True, help="Show for whom something changes, person by person.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000_000),
    default=100_000,
    show_default=True,
    help="Notifications at most, the earliest first.",
)
@json_option
def replay_decisions(
    *, since: timedelta, file: IO[bytes], user_id: str | None, people: bool, limit: int, as_json: bool
) -> None:
    """Say what a change of categories, schedules or preferences would have done to what was sent lately.

    FILE holds JSON lines as for `carillon directory import`: categories, tenants, users' entries and on-call entries.
    What the ledger remembers is planned twice by the router's own planner, each notification at its own time: once with
    the directory as it is, and once with FILE laid over it. Both are counted and compared, by channel: sent, silent,
    held, into digests, suppressed and why. Nothing is written, and nothing is sent.

    Both times begin without history, and are compared with each other, not with what happened. Approximate are
    throttles and digests, which are reckoned in memory; nobody is taken to look at the screen; what a held notification
    meets when its hold ends is not asked, nor is a second step of an escalation. Addresses on suppression lists are
    those of today. Left out, and counted, are records that have expired and addresses that publishers gave. People of
    a group or of everybody whom a broadcast did not reach are not named in the ledger, so a change is not seen to
    reach them.

    Exit status: 0 compared; 1 a line of FILE cannot be used; 2 wrong use or settings.

    \b
    Examples:
      carillon replay-decisions --since 7d --with change.jsonl
      echo '{"category": "comments", "digest": {"window": "1h"}}' | carillon replay-decisions --with - --people
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.replaying_decisions import compare_decisions

    compare_decisions(since=since, file=file, user_id=user_id, people=people, limit=limit, as_json=as_json)

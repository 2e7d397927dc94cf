"""``carillon dead-letters replay``: what can be typed; ``carillon.commands.replaying`` does it."""

from datetime import timedelta

import click

from carillon.commands.dead_letter_filters import Filters, filter_options
from carillon.commands.durations import Duration
from carillon.commands.output import json_option


@click.command()
@filter_options
@click.option("--extend", type=Duration(), help="Give a new deadline, this long from now; a later one is kept.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=50, show_default=True, help="Most per second.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of each.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def replay(*, filters: Filters, extend: timedelta | None, rate: float, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Try dead letters again, the oldest first.

    What is replayed is due at once: the router's sweeper hands it to its channel. It keeps its history, and it is
    replayed once, however many people run this at the same time. Left dead and reported are those past their deadline
    (unless --extend gives a new one) or cancelled, those of an alert that was acknowledged or resolved, those whose
    person is gone, has switched the channel off, or has no such address any more, and those whose address is on the
    suppression list (bounced, unsubscribed, complained). Mail and SMS go to the address that the directory has now.
    --dry-run looks at all that, too. Refused publishes (channel "intake") cannot be replayed, because nothing was
    accepted: their publishers were told, and publish again.

    Exit status: 0 all replayed; 1 some were left; 2 wrong use or settings.

    \b
    Examples:
      carillon dead-letters replay --channel email --reason rejected --dry-run
      carillon dead-letters replay --channel email --older-than 1h --extend 6h --rate 20
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.replaying import replay_dead_letters

    replay_dead_letters(filters=filters, extend=extend, rate=rate, dry_run=dry_run, yes=yes, as_json=as_json)

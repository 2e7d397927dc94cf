"""``carillon dead-letters drop``: what can be typed; ``carillon.commands.dropping`` does it."""

import click

from carillon.commands.dead_letter_filters import Filters, filter_options
from carillon.commands.output import json_option


@click.command()
@filter_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(*, filters: Filters, yes: bool, as_json: bool) -> None:
    """Take dead letters off the list, for good.

    A dropped delivery stays dead-lettered: its record keeps its state and its trace, and the audit counts it. Only the
    list and replay do not know it any more. Without --channel, refused publishes (channel "intake") are dropped, too.

    Exit status: 0 dropped, or nothing to drop; 1 the answer to the question was no; 2 wrong use or settings.

    \b
    Examples:
      carillon dead-letters drop --channel push --reason gone
      carillon dead-letters drop --older-than 3d --yes
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.dropping import drop_dead_letters

    drop_dead_letters(filters=filters, yes=yes, as_json=as_json)

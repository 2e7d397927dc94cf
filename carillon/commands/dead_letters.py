"""``carillon dead-letters``: what can be typed; ``carillon.commands.listing`` prints the list.

``carillon.commands.replay`` and ``carillon.commands.drop`` hold the commands that change something.
"""

from datetime import timedelta

import click

from carillon.commands.choices import INTAKE
from carillon.commands.drop import drop
from carillon.commands.durations import Duration
from carillon.commands.output import json_option
from carillon.commands.replay import replay
from shared.core.channels import LANES


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at what ended undelivered, try it again, or drop it."""


dead_letters.add_command(replay)
dead_letters.add_command(drop)


@dead_letters.command("list")
@click.option("--channel", type=click.Choice([*LANES, INTAKE]), help="Only this channel's.")
@click.option("--reason", help="Only those with this reason (for intake: this code).")
@click.option("--older-than", type=Duration(), help="Only those that ended this long ago or earlier.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@json_option
def list_(*, channel: str | None, reason: str | None, older_than: timedelta | None, limit: int, as_json: bool) -> None:
    """List dead letters, newest first.

    A dead letter is a delivery that ended undelivered because it could not succeed. Publishes that the router refused
    are listed with them, as the channel "intake" with the code and the fields that were wrong; so are the router's own
    tasks, as the channel "router". Times are UTC.

    \b
    Examples:
      carillon dead-letters list --channel email --older-than 1h
      carillon dead-letters list --channel intake --reason invalid_payload --json
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.listing import print_dead_letters

    print_dead_letters(channel=channel, reason=reason, older_than=older_than, limit=limit, as_json=as_json)

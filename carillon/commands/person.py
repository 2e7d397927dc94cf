"""``carillon person``: what can be typed; ``carillon.commands.showing_person`` does it."""

import click

from carillon.commands.output import json_option


@click.group()
def person() -> None:
    """Look at what the system knows of a person."""


@person.command()
@click.argument("user_id", metavar="USER_ID")
@click.option("--reveal", is_flag=True, help="Show the mail address and the telephone number in full.")
@click.option(
    "--limit", type=click.IntRange(0, 500), default=20, show_default=True, help="So many of the newest notifications."
)
@json_option
def show(*, user_id: str, reveal: bool, limit: int, as_json: bool) -> None:
    """Show a person's entry, own choices, devices and suppressions, what is held, and what was sent lately.

    Addresses are masked unless you say --reveal. Tokens of devices are always masked: whoever has one can use it. Times
    are UTC.

    Exit status: 0 shown; 1 nothing is known of this person; 2 wrong use or settings.

    \b
    Examples:
      carillon person show user123
      carillon person show user123 --reveal --json
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.showing_person import print_person

    print_person(user_id, reveal=reveal, limit=limit, as_json=as_json)

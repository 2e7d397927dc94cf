"""``carillon trace``: what can be typed; ``carillon.commands.tracing`` does it."""

import click

from carillon.commands.output import json_option

_ROWS_SHOWN = 200


@click.command()
@click.argument("notification_id")
@click.option("--recipient", metavar="USER_ID", help="Only the deliveries to this user.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=_ROWS_SHOWN,
    show_default=True,
    help="Deliveries and tasks listed; --json lists all.",
)
@json_option
def trace(*, notification_id: str, recipient: str | None, limit: int, as_json: bool) -> None:
    """Show every decision, delivery and attempt of a notification, with times and reasons.

    What is said and where it goes (titles, bodies, addresses, tokens) is not shown. A person who only gets the common
    entry of a broadcast has no delivery of his own: it is the one for everybody, or for the groups. Times are UTC.

    Exit status: 0 found; 1 no such notification; 2 wrong use or settings.

    \b
    Examples:
      carillon trace 0197c5a2-7f00-7003-8000-000000000000
      carillon trace 0197c5a2-7f00-7003-8000-000000000000 --recipient user123 --json
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.tracing import print_trace

    print_trace(notification_id=notification_id, recipient=recipient, limit=limit, as_json=as_json)

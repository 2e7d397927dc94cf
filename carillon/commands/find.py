"""``carillon find``: what can be typed; ``carillon.commands.finding`` does it."""

import click

from carillon.commands.choices import CHANNELS, OUTCOMES
from carillon.commands.output import json_option


@click.command()
@click.option("--user", "user_id", metavar="USER_ID", help="What was said to this person.")
@click.option("--address", help="What went to this mail address or telephone number; - reads it from standard input.")
@click.option("--text-id", metavar="ID", help="What its publisher calls so: by its id, or an alert's dedup_key.")
@click.option("--since", metavar="TIME", help="What was due from then on: 2h ago, or a time. Alone: everything.")
@click.option("--until", metavar="TIME", help="What was due until then.")
@click.option("--category", help="Only this category's.")
@click.option("--channel", type=click.Choice(CHANNELS), help="Only this channel's deliveries.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only deliveries of which this has become.")
@click.option("--publisher", help="Only this publisher's; - is the plain topics'.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
@click.option("--after", metavar="CURSOR", help="Go on where the page before ended.")
@json_option
def find(
    *,
    user_id: str | None,
    address: str | None,
    text_id: str | None,
    since: str | None,
    until: str | None,
    category: str | None,
    channel: str | None,
    outcome: str | None,
    publisher: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Find what was sent to whom lately, and what became of it: by person, address, publisher's id or time.

    The newest notifications come first, with the deliveries that are this person's or go to this address. Addresses are
    masked, and no text is shown. An address in the command can be seen by others on this machine (ps): let --address -
    read it from standard input there.

    A TIME is how long ago (30s, 15m, 2h, 7d), RFC 3339 with a zone, or seconds since 1970. Printed times are UTC.
    An outcome is a delivery's state, not_arrived or complained: the provider had taken it, and said later that it came
    back, or that its reader called it spam. Open is pending or sending; undelivered is suppressed, expired,
    dead_lettered or not_arrived.

    Exit status: 0 found; 1 nothing; 2 wrong use or settings.

    \b
    Examples:
      carillon find --user user123
      carillon find --user user123 --channel push --outcome undelivered
      echo alice@example.com | carillon find --address - --since 2d
      carillon find --text-id order-4711
      carillon find --since 1h --outcome dead_lettered --json
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.finding import filters_of, print_found

    print_found(
        user_id=user_id, address=address, text_id=text_id, since=since, until=until,
        filters=filters_of(category, channel, outcome, publisher), limit=limit, after=after, as_json=as_json,
    )  # fmt: skip

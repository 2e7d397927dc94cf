"""``carillon oncall``: what can be typed; ``carillon.commands.rotas`` does it.

Read only: an entry comes from a publish on ``directory/oncall/{alert_type}``, or from ``carillon directory import``.
"""

import click

from carillon.commands.output import json_option

WEEKS_MOST = 53
DAYS_MOST = 371


@click.group()
def oncall() -> None:
    """Look at who is on call, who is next, and where nobody is.

    An entry is written with `carillon directory import`, or by a publish on directory/oncall/TYPE. The type * serves
    the types without an entry. A person whom the directory does not know is marked with (unknown).
    """


@oncall.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the entries, with who is on call now and until when.

    \b
    Example:
      carillon oncall list
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.rotas import print_list

    print_list(as_json=as_json)


@oncall.command()
@click.argument("alert_type", metavar="TYPE")
@click.option(
    "--at", metavar="TIME", help="As of this time: RFC 3339 with a zone, or seconds since 1970. [default: now]"
)
@click.option("--weeks", type=click.IntRange(1, WEEKS_MOST), help="The shifts of so many weeks, and who bears what.")
@json_option
def show(*, alert_type: str, at: str | None, weeks: int | None, as_json: bool) -> None:
    """Show who is on call for TYPE, who is told second, and who is next.

    With --weeks there are all shifts and gaps from that time on, and the hours and nights of each person. A night is
    any part of 22:00 to 06:00, on the clock of the person's own zone, or else of the entry's first layer. Somebody whom
    the directory does not know is told of nothing: where nobody else is on call, it is a gap, and the admins are told.

    Exit status: 0 shown; 1 no entry serves this type; 2 wrong use or settings.

    \b
    Examples:
      carillon oncall show disk_full
      carillon oncall show disk_full --at 2026-12-24T23:00:00Z
      carillon oncall show '*' --weeks 8
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.rotas import print_rota

    print_rota(alert_type, at=at, weeks=weeks, as_json=as_json)


@oncall.command()
@click.argument("alert_type", metavar="[TYPE]", required=False)
@click.option(
    "--days", type=click.IntRange(1, DAYS_MOST), default=30, show_default=True, help="How many days from now on."
)
@json_option
def gaps(*, alert_type: str | None, days: int, as_json: bool) -> None:
    """List the times at which nobody is on call: for TYPE, or for every entry.

    Exit status: 0 there is none; 1 there is one, or an entry cannot be read; 2 wrong use or settings.

    \b
    Examples:
      carillon oncall gaps
      carillon oncall gaps disk_full --days 90
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.rotas import print_gaps

    print_gaps(alert_type, days=days, as_json=as_json)


@oncall.command()
@click.argument("alert_type", metavar="TYPE")
@click.option("--url", help="Where people reach the realtime service, such as https://notify.example.com.")
@json_option
def link(*, alert_type: str, url: str | None, as_json: bool) -> None:
    """Print a link with which a calendar program reads the calendar of TYPE.

    It is signed with REALTIME_LINK_SECRET, which the realtime service needs, too. Whoever has the link can read who is
    on call for TYPE, and nothing else. It never expires: only another secret ends it.

    \b
    Example:
      carillon oncall link disk_full --url https://notify.example.com
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.rotas import print_link

    print_link(alert_type, url=url, as_json=as_json)

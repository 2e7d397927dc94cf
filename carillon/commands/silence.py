"""``carillon silence``: what can be typed; ``carillon.commands.silencing`` does it."""

from datetime import timedelta

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option

timeout_option = click.option(
    "--timeout", type=Duration(), default="10s", show_default=True, help="How long to wait for the receipt."
)
client_id_option = click.option(
    "--client-id", envvar="CARILLON_CLIENT_ID", help="Name at the broker, where it binds names to logins."
)


@click.group()
def silence() -> None:
    """Keep alerts from telling anybody for a while, by their labels.

    An alert's labels are alert_type, severity, source, each of its affected systems as system, and its own.
    """


@silence.command()
@click.argument("matchers", metavar="MATCHER...", nargs=-1, required=True)
@click.option("--for", "length", type=Duration(), required=True, help="For how long, such as 30m, 2h or 7d.")
@click.option("--comment", required=True, help="Why; whoever looks at the list reads it.")
@click.option("--starts", metavar="TIME", help="When: RFC 3339 with a zone, or seconds since 1970. [default: now]")
@click.option(
    "--by",
    metavar="NAME",
    envvar=["USER", "CARILLON_CLIENT_ID"],
    help="Who says so. [default: who is logged in, else CARILLON_CLIENT_ID]",
)
@timeout_option
@client_id_option
@json_option
def add(
    *,
    matchers: tuple[str, ...],
    length: timedelta,
    comment: str,
    starts: str | None,
    by: str | None,
    timeout: timedelta,
    client_id: str | None,
    as_json: bool,
) -> None:
    """Silence the alerts that fit every MATCHER, and print the silence's id.

    A MATCHER is a label, one of = != =~ !~, and a value or a regular expression that fits the whole value. A label that
    is missing counts as empty. Put quotes around what the shell would take as its own.

    Exit status: 0 silenced; 1 rejected, or not answered in time; 2 wrong use or settings.

    \b
    Examples:
      carillon silence add system=db-1 --for 2h --comment 'the disks are changed'
      carillon silence add 'severity=~high|warning' 'system!~db-.*' --for 30m --comment 'a deployment'
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.silencing import add_silence

    add_silence(
        matchers,
        length=length,
        comment=comment,
        starts=starts,
        by=by,
        timeout_s=timeout.total_seconds(),
        client_id=client_id,
        as_json=as_json,
    )


@silence.command("list")
@click.option("--all", "is_all", is_flag=True, help="Those that are over, too.")
@json_option
def list_(*, is_all: bool, as_json: bool) -> None:
    """List the silences that hold now, and those that are to begin."""
    from carillon.commands.silencing import print_silences

    print_silences(is_all=is_all, as_json=as_json)


@silence.command()
@click.argument("silence_id", metavar="ID")
@timeout_option
@client_id_option
@json_option
def expire(*, silence_id: str, timeout: timedelta, client_id: str | None, as_json: bool) -> None:
    """End the silence ID now. One that has not begun is deleted.

    Exit status: 0 ended; 1 no such silence, it is over, or not answered in time; 2 wrong use or settings.
    """
    from carillon.commands.silencing import expire_silence

    expire_silence(silence_id, timeout_s=timeout.total_seconds(), client_id=client_id, as_json=as_json)

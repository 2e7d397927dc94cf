"""``carillon console``: what can be typed; ``carillon.commands.serving_console`` does it."""

from datetime import timedelta

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option
from carillon.commands.status import without_option

# Those of ``carillon.console.roles``, which a test compares.
ROLES = ("viewer", "responder", "operator")


@click.group(invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8026, show_default=True, help="0 is any free one.")
@click.option("--quiet", is_flag=True, help="Print no link and no token: for where what is printed is kept.")
@without_option
@json_option
@click.pass_context
def console(
    context: click.Context, *, host: str, port: int, quiet: bool, without: frozenset[str], as_json: bool
) -> None:
    """Serve the operators' web console until Ctrl-C, and print a link that signs you in, once.

    The link makes whoever opens it an operator, within 12 hours. `carillon console link` makes another one, for any
    role. Set CONSOLE_URL where people reach the console elsewhere than on this machine, and CONSOLE_SESSION_SECRET so
    that they stay signed in when it starts again. It speaks HTTP without TLS: elsewhere, put a proxy with TLS before
    it.

    Programs ask it over HTTP, each request with the token in CONSOLE_TOKEN (or in the file that CONSOLE_TOKEN_FILE
    names) as `Authorization: Bearer TOKEN`. Where neither is set, a token is made up for this run and printed.

    \b
      POST /v1/explain           {"topic", "payload", "user"?, "at"?}
      POST /v1/replay-decisions  {"since"?, "with": [RECORD, ...], "user"?, "people"?, "limit"?}
      GET  /v1/categories        ?tenant=NAME

    Their answers are those of the commands with --json. It needs the router's settings, as `carillon explain` does.

    With --json it prints {"console", "sign_in", "token"}.

    Exit status: 0 told to end; 2 wrong use or settings, or the port is taken.

    \b
    Examples:
      carillon console
      CONSOLE_URL=https://console.example.com carillon console --host 0.0.0.0 --quiet
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    if context.invoked_subcommand is not None:
        return
    from carillon.commands.serving_console import serve_console

    serve_console(host=host, port=port, quiet=quiet, without=without, as_json=as_json)


@console.command()
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True, help="What the person may do.")
@click.option("--name", help="Who it is, for the log of changes.  [default: the user of this machine]")
@click.option(
    "--for",
    "lifetime",
    type=Duration(),
    default=timedelta(minutes=15),
    show_default="15m",
    help="How long it can be used: at most 24h.",
)
@click.option("--url", metavar="URL", help="Where people reach the console.  [default: CONSOLE_URL]")
@json_option
def link(*, role: str, name: str | None, lifetime: timedelta, url: str | None, as_json: bool) -> None:
    """Print a link that lets one person into the console, once.

    Whoever opens it first is signed in. With --json it prints {"sign_in", "role", "for_s"}.

    Exit status: 0 printed; 2 wrong use or settings, or the store does not answer.

    \b
    Examples:
      carillon console link
      carillon console link --role responder --name ada --for 1h
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.serving_console import print_link

    if lifetime > timedelta(days=1):
        raise click.BadParameter("at most 24h", param_hint="--for")
    print_link(role=role, name=name, lifetime=lifetime, url=url, as_json=as_json)

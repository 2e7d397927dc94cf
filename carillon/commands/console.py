"""``carillon console``: what can be typed; ``carillon.commands.serving_console`` does it."""

import click

from carillon.commands.output import json_option


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8026, show_default=True, help="0 is any free one.")
@json_option
def console(*, host: str, port: int, as_json: bool) -> None:
    """Answer operators over HTTP until Ctrl-C: explain, replay-decisions and categories.

    Each request presents the token in CONSOLE_TOKEN, or in the file that CONSOLE_TOKEN_FILE names, as `Authorization:
    Bearer TOKEN`. Where neither is set, a token is made up for this run and printed. The console reads the store with
    the operator's user, and writes nothing. It speaks HTTP without TLS: elsewhere than on this machine, put a proxy
    with TLS before it.

    \b
      POST /v1/explain           {"topic", "payload", "user"?, "at"?}
      POST /v1/replay-decisions  {"since"?, "with": [RECORD, ...], "user"?, "people"?, "limit"?}
      GET  /v1/categories        ?tenant=NAME

    The answers are those of the commands with --json. It needs the router's settings, as `carillon explain` does.

    Exit status: 0 told to end; 2 wrong use or settings, or the port is taken.

    \b
    Examples:
      carillon console
      CONSOLE_TOKEN_FILE=/run/secrets/console carillon console --host 0.0.0.0 --port 8026
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.serving_console import serve_console

    serve_console(host=host, port=port, as_json=as_json)

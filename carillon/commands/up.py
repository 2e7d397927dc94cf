"""``carillon up`` as a command: its options, read from the table that ``carillon.local.system`` keeps of its ports."""

import sys
from pathlib import Path

import click

from carillon.commands.output import json_option
from carillon.local.ports import Ports
from carillon.local.stack import DATA_VARIABLE, DEFAULT_DATA
from carillon.local.system import PORT_OPTIONS
from carillon.local.system import up as run_up


def _port_options() -> list[click.Parameter]:
    return [
        click.Option(
            [choice.option, choice.field],
            type=click.IntRange(1, 65535),
            default=getattr(Ports(), choice.field),
            envvar=choice.variable,
            show_default=True,
            show_envvar=True,
            help=f"Port of {choice.purpose}.",
        )
        for choice in PORT_OPTIONS
    ]


@click.command(params=_port_options())
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA,
    envvar=DATA_VARIABLE,
    show_envvar=True,
    help="Folder for everything that lasts.  [default: var in the repository]",
)
@click.option("--embedded", is_flag=True, help="Take the embedded broker and store even where there are real ones.")
@json_option
def up(*, data: Path, embedded: bool, as_json: bool, **ports: int) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Broker, store, sandbox providers and the five services start on loopback ports, with sample people. Nothing leaves
    this machine: mails, SMS and pushes end in the sandbox, but for the pushes to a browser that somebody subscribes on
    the page. A second run on the same folder continues.

    With --json every line is an object: what this command says in "message", where everything is in the one with
    "inbox", and the lines of the processes with "process".

    Exit status: 0 told to end; 1 a part could not be kept running; 2 it could not begin.

    \b
    Examples:
      carillon up
      carillon up --data /tmp/carillon --http-port 8081
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    sys.exit(run_up(data=data, ports=Ports(**ports), embedded=embedded, as_json=as_json))

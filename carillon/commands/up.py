"""``carillon up`` as a command: its options, read from the table that ``carillon.local.ports`` keeps."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from carillon.commands.output import json_option
from carillon.local.places import DATA_VARIABLE, DEFAULT_DATA
from carillon.local.ports import (
    HIGHEST_PORT,
    IN_A_ROW,
    PORT_BASE_OPTION,
    PORT_OPTIONS,
    PORTS_IN_A_ROW,
    SERVICES,
    Ports,
)


def _port_options() -> list[click.Parameter]:
    return [
        click.Option(
            [choice.option, choice.field],
            type=click.IntRange(1, HIGHEST_PORT),
            envvar=choice.variable,
            # None where it was not asked for, because the base decides then.
            default=None,
            show_envvar=True,
            help=f"Port of {choice.purpose}.  [default: {getattr(Ports(), choice.field)}]",
        )
        for choice in PORT_OPTIONS
    ]


def _base_help() -> str:
    # Without the dashes of the options, at which a terminal would break the line.
    words = [name.removesuffix("_base").replace("_", " ") for name in IN_A_ROW]
    order = [f"N{f'+{offset}' if offset else ''} {word}" for offset, word in enumerate(words[:-1])]
    first = len(order)
    order.append(f"N+{first} to N+{first + len(SERVICES) - 1} {words[-1]} ({', '.join(SERVICES)})")
    return f"All ports from N on, but for those that are given by themselves: {', '.join(order)}."


@click.command(params=_port_options())
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA,
    envvar=DATA_VARIABLE,
    show_envvar=True,
    help="Folder for everything that lasts.  [default: var in the repository]",
)
@click.option(
    PORT_BASE_OPTION,
    type=click.IntRange(1, HIGHEST_PORT - PORTS_IN_A_ROW + 1),
    metavar="N",
    envvar="CARILLON_PORT_BASE",
    show_envvar=True,
    help=_base_help(),
)
@click.option("--embedded", is_flag=True, help="Take the embedded broker and store even where there are real ones.")
@json_option
def up(*, data: Path, port_base: int | None, embedded: bool, as_json: bool, **asked: int | None) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Broker, store, sandbox providers, the five services and the operators' console start on loopback ports, with sample
    people. Nothing leaves this machine: mails, SMS and pushes end in the sandbox, but for the pushes to a browser that
    somebody subscribes on the page. A second run on the same folder continues. It prints a link that signs you in to
    the console, once, and how to publish a first notification with mosquitto_pub, Python and Node.

    Pages of the origins in REALTIME_ALLOWED_ORIGINS may connect, besides the one that this command serves. The channels
    in CARILLON_WITHOUT are left out.

    With --json every line is an object: what this command says in "message", where everything is in the one with
    "inbox" (also "sign_in" for the console, the broker and the commands that publish), and the lines of the processes
    with "process".

    Exit status: 0 told to end; 1 a part could not be kept running; 2 it could not begin.

    \b
    Examples:
      carillon up
      carillon up --data /tmp/carillon --http-port 8081
      carillon up --data /tmp/second --port-base 20000
      REALTIME_ALLOWED_ORIGINS=http://localhost:3000 carillon up
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.local.system import up as run_up

    ports = Ports() if port_base is None else Ports.from_base(port_base)
    ports = replace(ports, **{name: port for name, port in asked.items() if port is not None})
    sys.exit(run_up(data=data, ports=ports, embedded=embedded, as_json=as_json))

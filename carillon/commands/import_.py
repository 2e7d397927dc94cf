"""``carillon import``: what can be typed; ``carillon.commands.migrating`` does it."""

from collections.abc import Callable
from datetime import timedelta
from typing import IO, Any

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option


@click.group("import")
def import_() -> None:
    """Bring schedules and escalation policies from another product."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("files", type=click.File("rb"), nargs=-1, required=True, metavar="FILE..."),
        click.option("--users", type=click.File("rb"), help="JSON object: foreign id, address or username to user id."),
        click.option("--publish", is_flag=True, help="Import at once what would be printed."),
        click.option(
            "--timeout", type=Duration(), default="30s", show_default=True, help="With --publish: wait for a receipt."
        ),
        click.option("--client-id", envvar="CARILLON_CLIENT_ID", help="With --publish: name at the broker."),
        json_option,
    )[::-1]:
        command = option(command)
    return command


@import_.command()
@_options
def opsgenie(
    *, files: tuple[IO[bytes], ...], users: IO[bytes] | None, publish: bool, timeout: timedelta,
    client_id: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Read schedules, escalations, users and teams of Opsgenie from FILEs, and print them as records.

    Each FILE is an answer of the API, a file of the configuration backup, or an object that holds several. What is
    printed is what `carillon directory import` takes. What could not be carried over is named on standard error.

    Exit status: 0 all of it; 1 something was lost, or not imported; 2 wrong use or settings, or no such export.

    \b
    Examples:
      carillon import opsgenie schedules.json escalations.json users.json teams.json > records.jsonl
      carillon import opsgenie OpsGenieBackups/{schedules,escalations,users,teams}/*.json --publish
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    _run("opsgenie", files, users, publish=publish, timeout=timeout, client_id=client_id, as_json=as_json)


@import_.command()
@_options
def oncall(
    *, files: tuple[IO[bytes], ...], users: IO[bytes] | None, publish: bool, timeout: timedelta,
    client_id: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Read schedules, shifts, escalation chains and users of Grafana OnCall from FILEs, and print them as records.

    Each FILE is an answer of the API, or an object that holds several. What is printed is what `carillon directory
    import` takes. What could not be carried over is named on standard error.

    Exit status: 0 all of it; 1 something was lost, or not imported; 2 wrong use or settings, or no such export.

    \b
    Examples:
      carillon import oncall schedules.json on_call_shifts.json escalation_*.json users.json > records.jsonl
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    _run("oncall", files, users, publish=publish, timeout=timeout, client_id=client_id, as_json=as_json)


@import_.command()
@_options
def pagerduty(
    *, files: tuple[IO[bytes], ...], users: IO[bytes] | None, publish: bool, timeout: timedelta,
    client_id: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Read schedules, escalation policies and users of PagerDuty from FILEs, and print them as records.

    Each FILE is an answer of the API, or an object that holds several. A schedule needs its layers: export each with
    GET /schedules/{id}. What is printed is what `carillon directory import` takes. What could not be carried over is
    named on standard error.

    Exit status: 0 all of it; 1 something was lost, or not imported; 2 wrong use or settings, or no such export.

    \b
    Examples:
      carillon import pagerduty schedule-*.json escalation_policies.json users.json > records.jsonl
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    _run("pagerduty", files, users, publish=publish, timeout=timeout, client_id=client_id, as_json=as_json)


def _run(
    product: str, files: tuple[IO[bytes], ...], users: IO[bytes] | None, *, publish: bool, timeout: timedelta,
    client_id: str | None, as_json: bool,
) -> None:  # fmt: skip
    from carillon.commands.migrating import migrate

    sending = (timeout, client_id) if publish else None
    migrate(product, files, users, sending=sending, as_json=as_json)

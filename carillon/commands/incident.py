"""``carillon incident``: what can be typed; ``carillon.commands.incidents`` and its neighbours do it."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option
from carillon.commands.silence import client_id_option, timeout_option

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

STATES = ("open", "acknowledged", "snoozed")


@click.group()
def incident() -> None:
    """Look at incidents, answer them, and keep what happened.

    An incident is an alert that somebody has to answer, or whose publisher says when it is over. Its id is the
    alert_id of the receipt.
    """


def _answering(command: CommandT) -> CommandT:
    """Give a command what every answer needs."""
    for option in (
        json_option,
        client_id_option,
        timeout_option,
        click.option("--note", help="A word for those who read the timeline."),
        click.argument("incident_id", metavar="ID"),
    ):
        command = option(command)
    return command


def _publish(
    verb: str, incident_id: str, said: dict[str, object], *, client_id: str | None, timeout: timedelta, as_json: bool
) -> None:
    from carillon.commands.sending import Order, publish

    if not incident_id or not set(incident_id).isdisjoint("/+#"):
        raise click.BadParameter("must be the id of an incident", param_hint="ID")
    payload = json.dumps({name: value for name, value in said.items() if value is not None})
    topic = f"notifications/alerts/{verb}/{incident_id}"
    order = Order(topic, payload.encode(errors="replace"), None, timeout.total_seconds(), None, None, as_json)
    sys.exit(0 if publish(order, client_id) else 1)


@incident.command("list")
@click.option("--all-levels", is_flag=True, help="Those of warnings and infos, too, not only the critical ones.")
@click.option("--state", type=click.Choice(STATES), help="Only those that stand there.")
@click.option("--over", is_flag=True, help="In their place those that were over lately, at most 500.")
@json_option
def list_(*, all_levels: bool, state: str | None, over: bool, as_json: bool) -> None:
    """List the incidents that are not over, the newest first.

    \b
    Examples:
      carillon incident list
      carillon incident list --state open --all-levels --json
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.incidents import print_list

    if over and state is not None:
        raise click.UsageError("either --state or --over")
    print_list(all_levels=all_levels, state=state, over=over, as_json=as_json)


@incident.command()
@click.argument("incident_id", metavar="ID")
@json_option
def show(*, incident_id: str, as_json: bool) -> None:
    """Show what an incident is, and its timeline: when, what, who, by which way, on which channel and why.

    Times are UTC, each with the time since the beginning.

    Exit status: 0 shown; 1 no such incident; 2 wrong use or settings.

    \b
    Example:
      carillon incident show 0197c5a2-7f00-7003-8000-000000000000
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.incidents import print_incident

    print_incident(incident_id, as_json=as_json)


@incident.command()
@_answering
@click.option("--user", metavar="USER_ID", required=True, help="Who takes it.")
def acknowledge(
    *, incident_id: str, user: str, note: str | None, timeout: timedelta, client_id: str | None, as_json: bool
) -> None:
    """Write that a person has seen it and takes it: nobody else is told.

    The person must have been told of it, or be an admin.

    Exit status: 0 done; 1 rejected, or not answered in time; 2 wrong use or settings.

    \b
    Example:
      carillon incident acknowledge 0197c5a2-7f00-7003-8000-000000000000 --user user123 --note 'on it'
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    said: dict[str, object] = {"user_id": user, "note": note}
    _publish("acknowledge", incident_id, said, client_id=client_id, timeout=timeout, as_json=as_json)


@incident.command()
@_answering
@click.option("--user", metavar="USER_ID", help="Who says so. [default: the publisher as whom the command connects]")
def resolve(
    *, incident_id: str, user: str | None, note: str | None, timeout: timedelta, client_id: str | None, as_json: bool
) -> None:
    """Write that the trouble is over.

    A person must have been told of it, or be an admin. Without a person it is the publisher who says so: the one of
    the alert, or one whose record lets it answer any alert.

    Exit status: 0 done; 1 rejected, or not answered in time; 2 wrong use or settings.

    \b
    Example:
      carillon incident resolve 0197c5a2-7f00-7003-8000-000000000000 --user user123 --note 'disk replaced'
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    said: dict[str, object] = {"user_id": user, "note": note}
    _publish("resolve", incident_id, said, client_id=client_id, timeout=timeout, as_json=as_json)


@incident.command()
@_answering
@click.option("--user", metavar="USER_ID", required=True, help="Who takes it for that time.")
@click.option("--for", "length", type=Duration(), help="For how long, from now on.")
@click.option("--until", metavar="TIME", help="Until when: RFC 3339 with a zone, or seconds since 1970.")
def snooze(
    *,
    incident_id: str,
    user: str,
    length: timedelta | None,
    until: str | None,
    note: str | None,
    timeout: timedelta,
    client_id: str | None,
    as_json: bool,
) -> None:
    """Put it away for a while: at the end it is open again, and people are told from the beginning.

    The person must have been told of it, or be an admin. The longest time is 31 days.

    Exit status: 0 done; 1 rejected, or not answered in time; 2 wrong use or settings.

    \b
    Examples:
      carillon incident snooze 0197c5a2-7f00-7003-8000-000000000000 --user user123 --for 2h
      carillon incident snooze 0197c5a2-7f00-7003-8000-000000000000 --user user123 --until 2026-12-24T08:00:00Z
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    if (length is None) is (until is None):
        raise click.UsageError("needs either --for or --until")
    from carillon.commands.moments import read_moment

    said: dict[str, object] = {
        "user_id": user,
        "for": length.total_seconds() if length is not None else None,
        "until": read_moment(until, "--until").timestamp() if until is not None else None,
        "note": note,
    }
    _publish("snooze", incident_id, said, client_id=client_id, timeout=timeout, as_json=as_json)


@incident.command()
@_answering
@click.option("--user", metavar="USER_ID", required=True, help="Who hands it on.")
@click.option(
    "--to", "target", metavar="TARGET", required=True, help="user:ID, group:ID, oncall, oncall:second or admins."
)
def reassign(
    *,
    incident_id: str,
    user: str,
    target: str,
    note: str | None,
    timeout: timedelta,
    client_id: str | None,
    as_json: bool,
) -> None:
    """Hand it on: it is open again, TARGET is told at once, and it escalates from there.

    The person must have been told of it, or be an admin.

    Exit status: 0 done; 1 rejected, or not answered in time; 2 wrong use or settings.

    \b
    Example:
      carillon incident reassign 0197c5a2-7f00-7003-8000-000000000000 --user user123 --to group:database
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    said: dict[str, object] = {"user_id": user, "to": target, "note": note}
    _publish("reassign", incident_id, said, client_id=client_id, timeout=timeout, as_json=as_json)


@incident.command()
@click.argument("incident_id", metavar="ID")
@click.argument("text", metavar="TEXT")
@click.option("--user", metavar="USER_ID", required=True, help="Who writes it.")
@json_option
def note(*, incident_id: str, text: str, user: str, as_json: bool) -> None:
    """Write TEXT into the timeline, and change nothing else; also when the incident is over.

    The person must have been told of it, or be an admin. It is written into the store, and needs no broker.

    Exit status: 0 written; 1 no such incident, or not this person's; 2 wrong use or settings.

    \b
    Example:
      carillon incident note 0197c5a2-7f00-7003-8000-000000000000 'the disk was replaced by 04:10' --user user123
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.incidents import write_note

    write_note(incident_id, text, user, as_json=as_json)


@incident.command()
@click.argument("incident_id", metavar="ID")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file, in place of standard output.")
def export(*, incident_id: str, output: Path | None) -> None:
    """Write an incident and its timeline as JSON lines, each with the SHA-256 of the line before it.

    The first line says what the incident is, the last one how many lines there are. `carillon incident verify` finds
    every line that was changed, taken out, added or moved since.

    Exit status: 0 written; 1 no such incident; 2 wrong use or settings, or the file cannot be written.

    \b
    Examples:
      carillon incident export 0197c5a2-7f00-7003-8000-000000000000 --output incident.jsonl
      carillon incident export 0197c5a2-7f00-7003-8000-000000000000 | gzip > incident.jsonl.gz
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.exporting import export_incident

    export_incident(incident_id, output)


@incident.command()
@click.argument("file", type=click.File("rb"))
@json_option
def verify(*, file: Any, as_json: bool) -> None:  # noqa: ANN401 - click's lazy file
    """Check that an export is as it was written. FILE may be - for standard input.

    It needs no system. It does not find what somebody wrote who made all of the file anew: keep the SHA-256 of the
    file elsewhere against that.

    Exit status: 0 all well; 1 some lines are not, and each is named by its number; 2 wrong use, or the file cannot be
    read.

    \b
    Example:
      carillon incident verify incident.jsonl
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.verifying import verify_export

    verify_export(file, as_json=as_json)

"""``carillon import``: reads what another product exported, and prints or imports the records that it comes to.

What is lost is named on standard error, or in the JSON, and never keeps the rest from being written.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import click

from carillon.commands.importing import publish_lines
from carillon.commands.output import AnswerIsNo, CannotWork, print_json, printable
from carillon.migrating import oncall, opsgenie, pagerduty
from carillon.migrating.composing import Imported
from carillon.migrating.documents import LARGEST_BYTES, Unreadable, parse
from carillon.migrating.people import BadTable, read_table

_PRODUCTS = {"opsgenie": opsgenie.read, "oncall": oncall.read, "pagerduty": pagerduty.read}


def migrate(
    product: str, files: Sequence[IO[bytes]], users: IO[bytes] | None, *, sending: tuple[timedelta, str | None] | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Print or import the records of some files.

    Args:
        users: says which foreign id, address or username is which user here.
        sending: how long to wait for a receipt, and the name at the broker; None prints.
    """
    try:
        table = {} if users is None else read_table(_parsed(users))
        found = _PRODUCTS[product]([_parsed(file) for file in files], table, datetime.now(UTC))
    except (BadTable, Unreadable) as error:
        raise CannotWork(str(error)) from None
    lines = [json.dumps(record).encode() for record in found.records]
    if not as_json:
        _report(found)
    problem = ""
    if sending is not None:
        problem = _import(lines, found, *sending, as_json=as_json)
    elif as_json:
        print_json({"records": found.records, **_remarks(found)})
    else:
        for line in lines:
            click.echo(line)
    lost = len(found.remarks.all_lost) + found.remarks.left_out
    problems = (f"not carried over as it was: {lost}" if lost else "", problem)
    if any(problems):
        raise AnswerIsNo("; ".join(filter(None, problems)))


def _parsed(file: IO[bytes]) -> Any:  # noqa: ANN401 - whatever somebody wrote
    return parse(file.read(LARGEST_BYTES + 1), file.name if isinstance(file.name, str) else "-")


def _report(found: Imported) -> None:
    for remark in (*found.remarks.all_lost, *found.remarks.notes):
        click.echo(printable(str(remark)), err=True)
    if found.remarks.left_out:
        click.echo(f"and {found.remarks.left_out} more", err=True)


def _remarks(found: Imported) -> dict[str, object]:
    return {
        "lost": [each.document() for each in found.remarks.all_lost],
        "notes": [each.document() for each in found.remarks.notes],
        "left_out": found.remarks.left_out,
    }


def _import(
    lines: Sequence[bytes], found: Imported, timeout: timedelta, client_id: str | None, *, as_json: bool
) -> str:  # fmt: skip
    result = publish_lines(lines, timeout=timeout, client_id=client_id, quiet=as_json)
    if as_json:
        print_json({**result.document(), **_remarks(found)})
    else:
        click.echo(result.summary)
    return result.problem

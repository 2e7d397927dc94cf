"""What commands print: JSON for programs, aligned columns for people, and errors of one line.

Promises that text which somebody else wrote (a topic, a provider's answer) cannot move the terminal's cursor or colour
it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class AnswerIsNo(click.ClickException):
    """The command did its work, and the answer is no: exit status 1."""

    exit_code = 1


class CannotWork(click.ClickException):
    """The command could not do its work (settings, or something does not answer): exit status 2."""

    exit_code = 2


def json_option(command: CommandT) -> CommandT:
    """Give a command the option ``--json``, as the parameter ``as_json``; before the command it means the same."""
    return click.option("--json", "as_json", is_flag=True, callback=_here_or_before, help="Print JSON.")(command)


def _here_or_before(context: click.Context, _option: click.Parameter, value: bool) -> bool:
    return value or bool(context.find_root().params.get("as_json"))


def print_json(document: object) -> None:
    """Print one document on one line."""
    # What the store holds may be no text at all.
    click.echo(json.dumps(document, ensure_ascii=False).encode(errors="replace").decode())


def print_columns(
    rows: Iterable[Sequence[str]], *, indent: str = "", notes: Iterable[Sequence[str]] | None = None
) -> None:
    """Print rows with their cells under each other; the last cell is as long as it is.

    Args:
        indent: put before every row.
        notes: for each row the lines to print below it, further to the right.
    """
    lines = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*(line[:-1] for line in lines), strict=True)]
    below = [()] * len(lines) if notes is None else notes
    for line, note_lines in zip(lines, below, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=True)]
        click.echo((indent + "  ".join([*cells, line[-1]])).rstrip())
        for note in note_lines:
            click.echo(f"{indent}    {note}")


def printable(text: str) -> str:
    """Replace control characters and others that a terminal does not show as themselves."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)

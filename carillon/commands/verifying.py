"""``carillon incident verify``: whether an export is as it was written; it asks nobody."""

from typing import BinaryIO

import click

from carillon.commands.output import AnswerIsNo, CannotWork, print_json
from shared.core.chained_lines import faults
from shared.store.replies import read_object


def verify_export(file: BinaryIO, *, as_json: bool) -> None:
    """Check an export, and refuse one that was changed."""
    try:
        written = file.read()
    except OSError as error:
        raise CannotWork(f"{file.name} cannot be read ({error.strerror})") from None
    # A line ends at a line break and nowhere else: texts may hold what ``splitlines`` takes for one.
    lines = written.decode(errors="surrogateescape").split("\n")
    if not lines[-1]:
        lines.pop()
    found = faults(lines)
    if as_json:
        print_json({"lines": len(lines), "faults": [{"line": number, "problem": what} for number, what in found]})
    else:
        for number, what in found:
            click.echo(f"line {number} {what}" if number else what)
    if found:
        raise AnswerIsNo(f"not as it was exported: {len(found)} fault{'' if len(found) == 1 else 's'}")
    if not as_json:
        head = read_object(lines[0])
        click.echo(f"all well: incident {head.get('id')}, {len(lines)} lines")

"""``carillon incident export``: an incident and its timeline as lines that hold each other."""

from pathlib import Path

import click

from carillon.commands.incidents import read_incident
from carillon.commands.output import CannotWork
from shared.core.chained_lines import chained
from shared.ledger.incident_documents import entry_document, incident_document


def export_incident(incident_id: str, output: Path | None) -> None:
    """Write an incident and its timeline as lines that hold each other."""
    incident, timeline = read_incident(incident_id)
    lines = chained(incident_document(incident), map(entry_document, timeline))
    if output is None:
        for text in lines:
            click.echo(text)
        return
    try:
        output.write_bytes("".join(f"{text}\n" for text in lines).encode())
    except OSError as error:
        raise CannotWork(f"{output} cannot be written ({error.strerror})") from None

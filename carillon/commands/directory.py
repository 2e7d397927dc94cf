"""``carillon directory``: what can be typed; ``carillon.commands.importing`` does it."""

from datetime import timedelta
from typing import IO

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option


@click.group()
def directory() -> None:
    """Put people, on-call entries, publishers, categories and tenants into the directory."""


@directory.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--timeout", type=Duration(), default="30s", show_default=True, help="How long to wait for a receipt.")
@click.option("--client-id", envvar="CARILLON_CLIENT_ID", help="Name at the broker, where it binds names to logins.")
@json_option
def import_(*, file: IO[bytes], timeout: timedelta, client_id: str | None, as_json: bool) -> None:
    """Import people, on-call entries, publishers, categories and tenants from FILE (- is standard input).

    FILE holds one JSON object per line: {"user_id": ...} with the fields of a user, {"oncall": TYPE, ...} with those of
    an on-call entry, {"publisher": NAME, ...}, {"category": NAME, ...} or {"tenant": NAME, ...} with those of such a
    record. A user's line sets the fields that it names and leaves the others (null clears one); another line replaces
    the entry. What a person chose, and devices that the person registered, stay. Each line that cannot be imported is
    reported on standard error with its number and the fields that are wrong; the others are imported.

    Exit status: 0 all imported; 1 some not; 2 wrong use or settings.

    \b
    Examples:
      carillon directory import people.jsonl
      echo '{"user_id": "user123", "email": "user123@example.com"}' | carillon directory import -
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.importing import import_file

    import_file(file=file, timeout=timeout, client_id=client_id, as_json=as_json)

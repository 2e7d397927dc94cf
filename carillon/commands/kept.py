"""What ``carillon send --outbox FILE`` does with what is in the file: send it, list it, drop it."""

import asyncio
import shlex
from collections.abc import Iterable
from pathlib import Path

import click

from carillon.commands.opening_broker import new_publisher
from carillon.commands.output import AnswerIsNo, print_columns, print_json
from carillon.commands.settings import OperatorSettings
from carillon.publisher import Publisher
from carillon_publisher.outbox.outbox import Entry, Outbox, State
from shared.core.clock import rfc3339


class StillKept(click.ClickException):
    """What was to be sent has no receipt and waits in the outbox: exit status 3."""

    exit_code = 3

    def __init__(self, what: str, file: Path) -> None:
        again = f"carillon send --outbox {shlex.quote(str(file))} --flush"
        super().__init__(f"{what}; kept in {file}, send again with: {again}")


def flush(client_id: str | None, file: Path, timeout_s: float, *, as_json: bool) -> None:
    """Send what is kept, and tell what became of it.

    Args:
        timeout_s: how long to go on without a single receipt.

    Raises:
        StillKept: something has no receipt yet.
        AnswerIsNo: something is refused or stale.
    """
    settings = OperatorSettings.load()
    _must_be_there(file)
    publisher = new_publisher(settings, client_id, file)
    before, after, needing = asyncio.run(_flush(publisher, timeout_s))
    ended = [*needing[State.REFUSED], *needing[State.STALE]]
    # An entry that was refused or stale before is not among those that were sent now.
    new = after[State.REFUSED] + after[State.STALE] - before[State.REFUSED] - before[State.STALE]
    accepted = before[State.WAITING] - after[State.WAITING] - new
    if as_json:
        lists = {state.value: [_document(entry) for entry in entries] for state, entries in needing.items()}
        print_json({"accepted": accepted, "waiting": after[State.WAITING], **lists})
    else:
        refused, stale = after[State.REFUSED], after[State.STALE]
        click.echo(f"accepted {accepted}, waiting {after[State.WAITING]}, refused {refused}, stale {stale}")
        _print(ended)
    if after[State.WAITING]:
        raise StillKept(f"no receipt for {after[State.WAITING]}", file)
    if ended:
        raise AnswerIsNo(f"{len(ended)} in {file} need a look; --drop KEY forgets one")


async def _flush(
    publisher: Publisher, timeout_s: float
) -> tuple[dict[State, int], dict[State, int], dict[State, list[Entry]]]:
    # What is too old has ended when the file is open.
    async with publisher:
        before = await publisher.outbox.counts()
        waiting = before[State.WAITING]
        while waiting:
            left = await publisher.flush(timeout_s)
            if left >= waiting:
                break
            waiting = left
        needing = {State.REFUSED: await publisher.outbox.refused(), State.STALE: await publisher.outbox.stale()}
        return before, await publisher.outbox.counts(), needing


def list_entries(file: Path, *, as_json: bool) -> None:
    """Print what is kept, without what it says."""
    entries = asyncio.run(_entries(file))
    if as_json:
        print_json([_document(entry) for entry in entries])
    elif entries:
        _print(entries)
    else:
        click.echo("nothing is kept")


async def _entries(file: Path) -> list[Entry]:
    _must_be_there(file)
    async with Outbox(file, create=False) as outbox:
        return [entry async for entry in outbox.entries()]


def drop(file: Path, keys: Iterable[str]) -> None:
    """Forget refused and stale entries.

    Raises:
        AnswerIsNo: there is no such entry under some of the keys.
    """
    missing = asyncio.run(_drop(file, list(dict.fromkeys(keys))))
    if missing:
        raise AnswerIsNo(f"nothing refused or stale has the key {', '.join(missing)}")


async def _drop(file: Path, keys: list[str]) -> list[str]:
    _must_be_there(file)
    async with Outbox(file, create=False) as outbox:
        return [key for key in keys if not await outbox.drop(key)]


def _must_be_there(file: Path) -> None:
    if not file.exists():
        raise click.UsageError(f"{file} does not exist")


def _print(entries: Iterable[Entry]) -> None:
    rows = [("STATE", "WRITTEN", "KEY", "TOPIC", "WHY"), *map(_cells, entries)]
    if len(rows) > 1:
        print_columns(rows)


def _cells(entry: Entry) -> tuple[str, ...]:
    return entry.state, rfc3339(entry.written_at), entry.key, entry.topic, str(entry.error or "-")


def _document(entry: Entry) -> dict[str, object]:
    return {
        "state": entry.state,
        "key": entry.key,
        "topic": entry.topic,
        "written_at": rfc3339(entry.written_at),
        "first_sent_at": rfc3339(entry.first_sent_at) if entry.first_sent_at else None,
        "deadline": rfc3339(entry.deadline) if entry.deadline else None,
        "error": entry.error.document() if entry.error else None,
    }

"""``carillon directory import``: people, on-call entries, publishers, categories, tenants and rules from a file.

Every line is published and answered on its own: what is wrong with one keeps no other from being imported, and
importing a file again changes nothing. Of two lines for the same entry the later one holds.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from operator import itemgetter
from typing import IO

import click
from pydantic_core import PydanticCustomError

from carillon.commands.opening_broker import open_publisher
from carillon.commands.output import AnswerIsNo, print_json, printable
from carillon.commands.settings import OperatorSettings
from carillon.publisher import OUTSTANDING, FieldProblem, NoReceipt, Publisher, Refusal, Refused
from shared.core.errors import CarillonError
from shared.core.fields import identifier
from shared.core.topics import Kind, Topics

# The field that says whose entry a line is, and the kind of publish that the line becomes.
_KINDS = {
    "user_id": Kind.DIRECTORY_USER,
    "oncall": Kind.DIRECTORY_ONCALL,
    "publisher": Kind.DIRECTORY_PUBLISHER,
    "category": Kind.DIRECTORY_CATEGORY,
    "tenant": Kind.DIRECTORY_TENANT,
    "policy": Kind.DIRECTORY_POLICY,
    "silence": Kind.DIRECTORY_SILENCE,
    "inhibition": Kind.DIRECTORY_INHIBITION,
    "liveness": Kind.DIRECTORY_LIVENESS,
}
# A record may say something under the name of another kind: to which tenant a publisher's notifications belong.
_FIELDS_TOO = {"publisher": {"tenant"}, "category": {"policy"}, "oncall": {"policy"}, "liveness": {"publisher"}}
# In a publish the topic says it, and a field of that name is unknown there.
_ONLY_IN_TOPICS = ("oncall", "liveness")

# The publisher puts the prefix before it.
_TOPICS = Topics()

_PROGRESS_EVERY = 100
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line that can be published."""

    kind: Kind
    topic: str
    payload: bytes


class _BadLine(CarillonError):
    """A line that cannot be published."""

    def __init__(self, code: str, message: str, name: str = "", problem: str = "") -> None:
        super().__init__(message)
        fields = (FieldProblem(field=name, problem=problem),) if name else ()
        self.refusal = Refusal(code=code, message=message, fields=fields)


@dataclass(slots=True)
class Import:
    """How far an import has come; it says so on standard error.

    Attributes:
        failed: line number, counted from 1, and what is wrong.
        stopped: nothing answers, so the rest of the file is not tried.
    """

    quiet: bool
    imported: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(_KINDS.values(), 0))
    failed: list[tuple[int, Refusal]] = field(default_factory=list)
    stopped: bool = False
    _line_is_open: bool = False

    @property
    def done(self) -> int:
        """How many lines have been dealt with."""
        return sum(self.imported.values()) + len(self.failed)

    @property
    def summary(self) -> str:
        """What has been imported, in a line."""
        people, oncall, *_ = self.imported.values()
        also = "".join(f" and {count} {name}" for name, count in self._others.items() if count)
        return f"imported {people} people and {oncall} on-call entries{also}"

    @property
    def problem(self) -> str:
        """Why the answer is no; empty where everything was imported."""
        if self.stopped:
            return "stopped, because nothing answers; importing the same file again is safe"
        return f"{len(self.failed)} of {self.done} lines not imported" if self.failed else ""

    @property
    def _others(self) -> dict[str, int]:
        _, _, *others = self.imported.values()
        names = ("publishers", "categories", "tenants", "policies", "silences", "inhibitions", "sources")
        return dict(zip(names, others, strict=True))

    def document(self) -> dict[str, object]:
        """Return it as JSON."""
        people, oncall, *_ = self.imported.values()
        failed = [{"line": number, **refusal.document()} for number, refusal in sorted(self.failed, key=itemgetter(0))]
        return {
            "people": people, "oncall": oncall, **self._others, "failed": failed, "complete": not self.stopped,
        }  # fmt: skip

    def took(self, kind: Kind) -> None:
        """Count an entry that is in the directory now."""
        self.imported[kind] += 1
        if not self.quiet and sys.stderr.isatty() and self.done % _PROGRESS_EVERY == 0:
            click.echo(f"\r{self.done} lines", err=True, nl=False)
            self._line_is_open = True

    def refused(self, number: int, refusal: Refusal) -> None:
        """Report a line that was not imported."""
        self.failed.append((number, refusal))
        if not self.quiet:
            self.close_line()
            click.echo(printable(f"line {number}: {refusal}"), err=True)

    def close_line(self) -> None:
        """End the line of the progress, so that something else can be printed."""
        if self._line_is_open:
            click.echo(err=True)
        self._line_is_open = False


def import_file(*, file: IO[bytes], timeout: timedelta, client_id: str | None, as_json: bool) -> None:
    """Publish every line of a file, and print what became of them."""
    # A pipe is read to its end first: waiting for a slow writer would hold up the connection.
    lines: Iterable[bytes] = file if file.seekable() else file.readlines()
    result = publish_lines(lines, timeout=timeout, client_id=client_id, quiet=as_json)
    if as_json:
        print_json(result.document())
    else:
        click.echo(result.summary)
    if result.problem:
        raise AnswerIsNo(result.problem)


def publish_lines(lines: Iterable[bytes], *, timeout: timedelta, client_id: str | None, quiet: bool) -> Import:
    """Publish every line, and say on standard error which ones were not imported.

    Args:
        timeout: how long to wait for a receipt.
        quiet: say nothing.
    """
    settings = OperatorSettings.load()
    result = Import(quiet=quiet)
    asyncio.run(_import(settings, client_id, lines, result, timeout.total_seconds()))
    result.close_line()
    return result


async def _import(
    settings: OperatorSettings, client_id: str | None, lines: Iterable[bytes], result: Import, timeout_s: float
) -> None:
    outstanding: dict[str, asyncio.Task[None]] = {}
    async with open_publisher(settings, client_id) as publisher, asyncio.TaskGroup() as group:
        for number, line in enumerate(lines, start=1):
            try:
                entry = _read(line)
            except _BadLine as bad:
                result.refused(number, bad.refusal)
                continue
            if entry is None:
                continue
            if entry.topic in outstanding:
                # Two routers may share the work; only waiting keeps the order.
                await asyncio.wait([outstanding[entry.topic]])
            while len(outstanding) >= OUTSTANDING:
                await asyncio.wait(outstanding.values(), return_when=asyncio.FIRST_COMPLETED)
            if result.stopped:
                break
            task = group.create_task(_publish(publisher, number, entry, result, timeout_s), name=f"import-{number}")
            outstanding[entry.topic] = task
            task.add_done_callback(_forgetting(outstanding, entry.topic))


def _forgetting(outstanding: dict[str, asyncio.Task[None]], topic: str) -> Callable[[asyncio.Task[None]], object]:
    return lambda _task: outstanding.pop(topic)


async def _publish(publisher: Publisher, number: int, entry: _Entry, result: Import, timeout_s: float) -> None:
    try:
        await publisher.publish(entry.topic, entry.payload, timeout_s=timeout_s)
    except Refused as refused:
        error = refused.receipt.error
        result.refused(number, error or Refusal(code="rejected", message="The router gave no reason."))
    except NoReceipt as error:
        result.stopped = True
        result.refused(number, Refusal(code="no_receipt", message=str(error)))
    except ValueError as error:
        result.refused(number, Refusal(code="too_large", message=str(error)))
    else:
        result.took(entry.kind)


def _read(line: bytes) -> _Entry | None:
    """Turn one line into what is published; None for an empty line."""
    text = line.removeprefix(_BYTE_ORDER_MARK).strip()
    if not text:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _BadLine("invalid_json", "The line is not JSON.") from None
    if not isinstance(document, dict):
        raise _BadLine("invalid_json", "The line is not a JSON object.")
    names = [name for name in _KINDS if name in document]
    names = [name for name in names if not any(name in _FIELDS_TOO.get(other, ()) for other in names)]
    if len(names) != 1:
        *others, last = list(_KINDS)[1:]
        problem = f"required, or {', '.join(others)} or {last}, and only one of them"
        raise _BadLine("invalid_payload", "One field is not valid.", "user_id", problem)
    (name,) = names
    whose = document[name]
    problem = _problem(whose)
    if problem:
        raise _BadLine("invalid_payload", "One field is not valid.", name, problem)
    if name in _ONLY_IN_TOPICS:
        del document[name]
        text = json.dumps(document).encode()
    return _Entry(_KINDS[name], _TOPICS.publish(_KINDS[name], whose), text)


def _problem(whose: object) -> str:
    """Say why this cannot stand in a topic, nothing when it can."""
    if not isinstance(whose, str):
        return "must be a string"
    if not whose:
        return "must not be empty"
    try:
        identifier(whose)
    except PydanticCustomError as error:
        return error.message()
    return ""

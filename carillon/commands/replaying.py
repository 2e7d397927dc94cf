"""``carillon dead-letters replay``: try again what ended undelivered, where that still makes sense."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import click

from carillon.commands.choices import INTAKE
from carillon.commands.dead_letter_filters import Filters, confirm, counts_text
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_json, printable
from carillon.commands.progress import ProgressLine
from carillon.commands.settings import OperatorSettings
from shared.ledger.dead_letters import Answer, DeadLetters, Entry, Wanted
from shared.runtime.alive import Processes


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be done with what was found."""

    wanted: Wanted
    limit: int | None
    extend: timedelta | None
    rate_per_s: float
    dry_run: bool


def replay_dead_letters(
    *, filters: Filters, extend: timedelta | None, rate: float, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Replay what is meant, after a question, and print what became of it."""
    if filters.channel == INTAKE:
        raise click.UsageError("refused publishes were never accepted, so they cannot be replayed: publish them again")
    settings = OperatorSettings.load()
    wanted, counts = asyncio.run(_count(settings, filters))
    if counts and not dry_run:
        confirm(f"Replay {counts_text(counts)} dead letters?", yes=yes)
    order = _Order(wanted, filters.limit, extend, rate, dry_run)
    outcome = asyncio.run(_replay(settings, order, counts.total(), as_json=as_json))
    outcome.conclude()


async def _count(settings: OperatorSettings, filters: Filters) -> tuple[Wanted, Counter[str]]:
    counts: Counter[str] = Counter()
    async with open_store(settings) as (store, keys):
        letters = DeadLetters(store, keys)
        wanted = await filters.wanted(letters)
        async for page in letters.pages(wanted, filters.limit):
            counts.update(entry.lane for entry in page)
    return wanted, counts


async def _replay(settings: OperatorSettings, order: _Order, expected: int, *, as_json: bool) -> "_Outcome":
    outcome = _Outcome(expected, as_json=as_json, dry_run=order.dry_run)
    try:
        async with open_store(settings) as (store, keys):
            without = settings.without | await Processes(store, keys).left_out()
            letters = DeadLetters(store, keys, without)
            pages = letters.pages(order.wanted, order.limit)
            async for entry in _paced(pages, None if order.dry_run else order.rate_per_s):
                outcome.add(entry, await letters.replay(entry, order.extend, dry_run=order.dry_run))
    finally:
        outcome.line.clear()
    return outcome


async def _paced(pages: AsyncIterator[list[Entry]], rate_per_s: float | None) -> AsyncIterator[Entry]:
    """Yield entries, not faster than the rate; what was late is not made up for."""
    loop = asyncio.get_running_loop()
    next_s = loop.time()
    async for page in pages:
        for entry in page:
            if rate_per_s is not None:
                await asyncio.sleep(next_s - loop.time())
                next_s = max(next_s, loop.time()) + 1 / rate_per_s
            yield entry


@dataclass(slots=True)
class _Outcome:
    """Counts what became of the dead letters, and prints it."""

    expected: int
    as_json: bool
    dry_run: bool
    line: ProgressLine = field(default_factory=ProgressLine)
    replayed: int = 0
    already: int = 0
    left: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Entry, answer: Answer) -> None:
        if answer is Answer.REOPENED:
            self.replayed += 1
        elif answer is Answer.ALREADY:
            self.already += 1
        else:
            self.left[answer.value] += 1
        if self.as_json:
            print_json(
                {
                    "notification_id": entry.notification_id,
                    "key": entry.key,
                    "channel": entry.lane,
                    "reason": entry.reason,
                    "replay": answer,
                }
            )
        elif answer not in (Answer.REOPENED, Answer.ALREADY):
            self.line.clear()
            click.echo(printable(f"left dead ({answer})  {entry.lane}  {entry.notification_id} {entry.key}"))
        self.line.show(f"{self.replayed + self.already + self.left.total()} of {self.expected}")

    def conclude(self) -> None:
        """Print the sum.

        Raises:
            AnswerIsNo: some were left dead.
        """
        if self.as_json:
            sums = {"replayed": self.replayed, "already": self.already, "left": dict(self.left)}
            print_json({**sums, "dry_run": self.dry_run})
        elif not (self.replayed or self.already or self.left):
            click.echo("no dead letters")
        else:
            by_others = f"; {self.already} replayed or dropped by somebody else meanwhile" if self.already else ""
            click.echo(f"{self.replayed} {'would be ' if self.dry_run else ''}replayed{by_others}")
        if self.left:
            raise AnswerIsNo(f"{counts_text(self.left)} {'would be ' if self.dry_run else ''}left dead")

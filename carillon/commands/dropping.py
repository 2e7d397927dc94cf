"""``carillon dead-letters drop``: take off the list what nobody will replay."""

import asyncio
from collections import Counter
from collections.abc import Iterable

import click

from carillon.commands.choices import INTAKE
from carillon.commands.dead_letter_filters import Filters, confirm, counts_text
from carillon.commands.opening_store import open_store
from carillon.commands.output import print_json
from carillon.commands.settings import OperatorSettings
from shared.ledger.dead_letters import DeadLetters, Wanted
from shared.ledger.rejections import LIMIT as REJECTIONS_KEPT
from shared.ledger.rejections import Rejection, Rejections


def drop_dead_letters(*, filters: Filters, yes: bool, as_json: bool) -> None:
    """Drop what is meant, after a question, and print how much it was."""
    settings = OperatorSettings.load()
    wanted, counts = asyncio.run(_count(settings, filters))
    dropped: Counter[str] = Counter()
    if counts:
        confirm(f"Drop {counts_text(counts)} dead letters for good?", yes=yes)
        dropped = asyncio.run(_drop(settings, wanted, filters.limit))
    if as_json:
        print_json({"dropped": dropped.total(), "channels": dict(dropped)})
    else:
        click.echo(f"dropped {counts_text(dropped)}" if dropped else "no dead letters")


async def _count(settings: OperatorSettings, filters: Filters) -> tuple[Wanted, Counter[str]]:
    async with open_store(settings) as (store, keys):
        letters = DeadLetters(store, keys)
        wanted = await filters.wanted(letters)
        counts: Counter[str] = Counter()
        if wanted.lane != INTAKE:
            async for page in letters.pages(wanted, filters.limit):
                counts.update(entry.lane for entry in page)
        rejections = Rejections(store, keys, settings.record_retention_s)
        counts[INTAKE] += len(await _refused(rejections, wanted, _rest(filters.limit, counts.total())))
    return wanted, +counts


async def _drop(settings: OperatorSettings, wanted: Wanted, limit: int | None) -> Counter[str]:
    dropped: Counter[str] = Counter()
    async with open_store(settings) as (store, keys):
        if wanted.lane != INTAKE:
            letters = DeadLetters(store, keys)
            async for page in letters.pages(wanted, limit):
                for lane in {entry.lane for entry in page}:
                    dropped[lane] += await letters.drop(entry for entry in page if entry.lane == lane)
        rejections = Rejections(store, keys, settings.record_retention_s)
        refused = await _refused(rejections, wanted, _rest(limit, dropped.total()))
        dropped[INTAKE] += await rejections.drop(refused)
    return +dropped


def _rest(limit: int | None, taken: int) -> int | None:
    return None if limit is None else limit - taken


async def _refused(rejections: Rejections, wanted: Wanted, most: int | None) -> list[Rejection]:
    """Return the refused publishes that are meant, the oldest first."""
    if wanted.lane not in (None, INTAKE) or wanted.notification_id is not None:
        return []
    return list(_matching(reversed(await rejections.newest(REJECTIONS_KEPT)), wanted))[:most]


def _matching(refused: Iterable[Rejection], wanted: Wanted) -> Iterable[Rejection]:
    return (each for each in refused if each.at <= wanted.until and wanted.reason in (None, each.error["code"]))

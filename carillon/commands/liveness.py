"""``carillon liveness``: which sources are to be heard of, and which are missing.

Read only: a record comes from a publish on ``directory/liveness/{source}``, or from ``carillon directory import``.
"""

from typing import TYPE_CHECKING, Any

import click

from carillon.commands.output import json_option

if TYPE_CHECKING:
    from shared.directory.liveness import Liveness
    from shared.ledger.sources import Standing


@click.group()
def liveness() -> None:
    """Look at the sources that are to be heard of: programs, devices, jobs.

    A record is written with `carillon directory import`, or by a publish on directory/liveness/SOURCE.
    """


@liveness.command("list")
@click.option("--missing", is_flag=True, help="Only those that should be heard of and are not.")
@json_option
def list_(*, missing: bool, as_json: bool) -> None:
    """List the sources that have a record, and how they are.

    A source is unarmed until its first beat, and then alive. If it is missing, it is open, or inhibited while its
    parent is missing, too. One that went of its own will is clean.
    """
    from carillon.commands.output import print_columns, print_json

    found = [
        _document(source, record, standing)
        for source, (record, standing) in sorted(_read().items())
        if standing.state.is_missing or not missing
    ]
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no source is missing" if missing else "no source has a record")
    else:
        names = ("source", "state", "since", "last_heard", "every", "parent")
        print_columns([
            ("source", "state", "since", "last heard", "every", "parent"),
            *(tuple(each[name] or "-" for name in names) for each in found),
        ])  # fmt: skip


def _read() -> "dict[str, tuple[Liveness, Standing]]":
    import asyncio

    from carillon.commands.opening_store import open_store
    from carillon.commands.settings import OperatorSettings
    from shared.directory.liveness import Liveness
    from shared.directory.rulebook import Rulebook
    from shared.ledger.sources import Sources

    settings = OperatorSettings.load()

    async def read() -> "dict[str, tuple[Liveness, Standing]]":
        async with open_store(settings) as (store, keys):
            records = await Rulebook(store, keys).all(Liveness)
            standings = await Sources(store, keys).standings(records)
            return {source: (record, standings[source]) for source, record in records.items()}

    return asyncio.run(read())


def _document(source: str, record: "Liveness", standing: "Standing") -> dict[str, Any]:
    from shared.core.durations import written

    return {
        "source": source,
        "state": standing.state.value,
        "since": _moment(standing.since_ms),
        "last_heard": _moment(standing.beat_ms),
        "every": str(written(record.every)),
        "grace": str(written(record.grace)),
        "parent": record.children_of,
        "alert_type": record.alert_type,
        "severity": record.severity,
        "publisher": record.publisher,
    }


def _moment(at_ms: int) -> str | None:
    from shared.core.clock import from_epoch_ms, rfc3339

    return rfc3339(from_epoch_ms(at_ms)) if at_ms else None

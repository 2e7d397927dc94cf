"""``carillon category``: which categories of notifications there are, and what each says.

Read only: a record comes from a publish on ``directory/category/{name}``, or from ``carillon directory import``.
"""

from typing import TYPE_CHECKING, Any

import click

from carillon.commands.output import json_option

if TYPE_CHECKING:
    from shared.directory.catalogue import Catalogue
    from shared.directory.categories import KnownCategory

tenant_option = click.option("--tenant", help="With the changes of this tenant.")


@click.group()
def category() -> None:
    """Look at the categories of notifications: policy, channels, throttle and digest of each.

    A record is written with `carillon directory import`, or by a publish on directory/category/NAME.
    """


@category.command("list")
@tenant_option
@json_option
def list_(*, tenant: str | None, as_json: bool) -> None:
    """List the categories that have a record."""
    from carillon.commands.output import print_columns, print_json

    found = _read(tenant).known_to(tenant)
    if as_json:
        print_json([_document(known) for known in found])
        return
    rows = [("name", "policy", "channels", "at most", "quiet hours", "throttle", "digest", "title")]
    for known in found:
        record = _document(known)
        rows.append((
            known.name, known.record.policy, _channels(record), record.get("priority_at_most") or "critical",
            known.record.quiet_hours, _throttle(record), _digest(record), known.record.title or "",
        ))  # fmt: skip
    print_columns(rows)


@category.command()
@click.argument("name")
@tenant_option
@json_option
def show(*, name: str, tenant: str | None, as_json: bool) -> None:
    """Show the record of NAME, and which tenants have one of their own for it.

    Exit status: 0 shown; 1 there is no such category.
    """
    from carillon.commands.output import AnswerIsNo, print_columns, print_json

    catalogue = _read(tenant)
    known = catalogue.category(name, tenant)
    if known is None:
        raise AnswerIsNo(f"there is no category {name}; see `carillon category list`")
    changed = {"changed_by": [each for each in sorted(catalogue.tenants) if _changes(catalogue, each, name)]}
    document = _document(known) | changed
    if as_json:
        print_json(document)
        return
    shown = document | {"channels": _channels(document), "throttle": _throttle(document), "digest": _digest(document)}
    rows = [(field, " ".join(value) if isinstance(value, list) else str(value)) for field, value in shown.items()]
    print_columns([(field, value) for field, value in rows if value])


def _read(tenant: str | None) -> "Catalogue":
    import asyncio

    from carillon.commands.opening_store import open_store
    from carillon.commands.output import AnswerIsNo
    from carillon.commands.settings import OperatorSettings
    from shared.directory.catalogue import Catalogues

    settings = OperatorSettings.load()

    async def read() -> "Catalogue":
        async with open_store(settings) as (store, keys):
            return await Catalogues(store, keys).all()

    catalogue = asyncio.run(read())
    if tenant is not None and catalogue.tenant(tenant) is None:
        raise AnswerIsNo(f"there is no tenant {tenant}")
    return catalogue


def _changes(catalogue: "Catalogue", tenant: str, name: str) -> bool:
    record = catalogue.tenant(tenant)
    return record is not None and name in record.categories


def _document(known: "KnownCategory") -> dict[str, Any]:
    return {"name": known.name, **known.record.model_dump(mode="json", exclude_none=True)}


def _channels(record: dict[str, Any]) -> str:
    return " ".join(f"{'' if on else 'no '}{channel}" for channel, on in record["channels"].items()) or "-"


def _throttle(record: dict[str, Any]) -> str:
    throttle = record.get("throttle")
    if throttle is None:
        return "-"
    by = f" by {throttle['key']}" if "key" in throttle else ""
    return f"{throttle['limit']} per {throttle['per']}{by}, then {throttle['then']}"


def _digest(record: dict[str, Any]) -> str:
    digest = record.get("digest")
    if digest is None:
        return "-"
    schedule = digest.get("schedule")
    when = f"at {schedule['at']}" if schedule is not None else f"within {digest['window']}"
    return f"{when}, on {' '.join(digest['channels'])}"

"""``carillon oncall``: reads entries from the store, and prints who is on call."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

import click
from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from carillon.commands.moments import read_moment
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json
from carillon.commands.settings import OperatorSettings
from shared.core.clock import SystemClock
from shared.core.errors import ConfigError
from shared.core.fields import EARLIEST, IDENTIFIER_CHARS, LATEST, identifier
from shared.core.wall_clock import zone_of
from shared.directory.directory import Directory
from shared.directory.rota import Rota, read_rota, read_rotas
from shared.directory.rota_calendar import link_path
from shared.directory.schedule import second_on_call
from shared.directory.shifts import Shift, gaps, shift_at, shifts
from shared.runtime.settings import SECRET_BYTES, secrets_in

_HOUR = timedelta(hours=1)

_T = TypeVar("_T")


def print_list(*, as_json: bool) -> None:
    """Print every entry with who is on call now."""
    rotas, unreadable = _with_directory(read_rotas)
    at = SystemClock().now()
    if as_json:
        print_json([rota.now_document(at) for rota in rotas])
    elif rotas:
        rows = [("type", "on call", "until", "then")]
        for rota in rotas:
            now, later = shift_at(rota.entry, at)
            rows.append((rota.alert_type, _who(rota, now), _end(rota, now), _who(rota, later) if later else "-"))
        print_columns(rows)
    _refuse(unreadable)


def print_rota(alert_type: str, *, at: str | None, weeks: int | None, as_json: bool) -> None:
    """Print who is on call for one type, and with weeks the shifts and what each person bears."""
    since = SystemClock().now() if at is None else read_moment(at, "--at")
    rota = _served(alert_type)
    if as_json:
        of_weeks = {} if weeks is None else rota.weeks_document(since, weeks)
        print_json(rota.now_document(since) | of_weeks)
        return
    now, later = shift_at(rota.entry, since)
    second = Shift(second_on_call(rota.entry, since), since, since)
    rows = [
        (
            "type",
            alert_type if rota.entry.alert_type == alert_type else f"{alert_type} (entry {rota.entry.alert_type})",
        ),
        ("now", f"{_who(rota, now)}, from {_begin(rota, now)} until {_end(rota, now)}"),
        *([("second", _names(rota, second))] if second.users else []),
        ("next", f"{_who(rota, later)}, until {_end(rota, later)}" if later else "-"),
        ("zone", rota.zone),
    ]
    print_columns(rows)
    if weeks is not None:
        _print_weeks(rota, since, weeks)


def _print_weeks(rota: Rota, since: datetime, weeks: int) -> None:
    planned = shifts(rota.entry, since, since + timedelta(weeks=weeks))
    click.echo()
    print_columns([("from", "until", "on call"), *_rows(rota, planned)])
    if missing := gaps(planned, rota.people):
        click.echo("\nnobody is on call:")
        print_columns([row[:2] for row in _rows(rota, missing)], indent="  ")
    loads = rota.loads(planned)
    if loads:
        click.echo()
        rows = [(f"{load.time / _HOUR:.1f}", str(load.nights), _name(rota, load.user)) for load in loads]
        print_columns([("hours", "nights", "person"), *rows])


def print_gaps(alert_type: str | None, *, days: int, as_json: bool) -> None:
    """Print when nobody is on call, and refuse where there is such a time."""
    since = SystemClock().now()
    rotas, unreadable = ([_served(alert_type)], []) if alert_type is not None else _with_directory(read_rotas)
    until = since + timedelta(days=days)
    found = [(rota, shift) for rota in rotas for shift in gaps(shifts(rota.entry, since, until), rota.people)]
    if as_json:
        print_json([{"alert_type": rota.alert_type} | rota.shift_document(shift) for rota, shift in found])
    elif found:
        rows = [(rota.alert_type, *row) for rota, shift in found for row in _rows(rota, [shift])]
        print_columns([("type", "from", "until", "on call"), *rows])
    _refuse(unreadable)
    if found:
        count = len(found)
        raise AnswerIsNo(f"{count} gap{'' if count == 1 else 's'} within {days} day{'' if days == 1 else 's'}")


def print_link(alert_type: str, *, url: str | None, as_json: bool) -> None:
    """Print a signed link to the calendar of one type."""
    _check(alert_type)
    secret, *_ = secrets_in(SecretStr(OperatorSettings.load().needed("realtime_link_secret")))
    if len(secret.encode()) < SECRET_BYTES:
        raise ConfigError(f"REALTIME_LINK_SECRET must be at least {SECRET_BYTES} bytes long")
    signed = f"{(url or '').rstrip('/')}{link_path(secret, alert_type)}"
    if as_json:
        print_json({"alert_type": alert_type, "link": signed})
    else:
        click.echo(signed)


def _served(alert_type: str) -> Rota:
    _check(alert_type)

    async def read(directory: Directory) -> Rota | None:
        return await read_rota(directory, alert_type)

    rota = _with_directory(read)
    if rota is None:
        raise AnswerIsNo(f"no on-call entry serves {alert_type}; see `carillon oncall list`")
    return rota


def _with_directory(read: Callable[[Directory], Awaitable[_T]]) -> _T:
    settings = OperatorSettings.load()

    async def opened() -> _T:
        async with open_store(settings) as (store, keys):
            return await read(Directory(store, keys))

    return asyncio.run(opened())


def _refuse(unreadable: list[str]) -> None:
    if unreadable:
        raise AnswerIsNo(f"an on-call entry cannot be read: {', '.join(unreadable)}")


def _check(alert_type: str) -> None:
    """Refuse what the directory could not hold."""
    try:
        identifier(alert_type)
    except PydanticCustomError as error:
        raise click.BadParameter(error.message(), param_hint="TYPE") from None
    if not 1 <= len(alert_type) <= IDENTIFIER_CHARS:
        raise click.BadParameter(f"must have 1 to {IDENTIFIER_CHARS} characters", param_hint="TYPE")


def _rows(rota: Rota, planned: Iterable[Shift]) -> list[tuple[str, str, str]]:
    return [(_begin(rota, shift), _end(rota, shift), _who(rota, shift)) for shift in planned]


def _who(rota: Rota, shift: Shift) -> str:
    if not shift.users:
        return "nobody"
    return f"nobody: {_names(rota, shift)}" if shift.is_gap(rota.people) else _names(rota, shift)


def _names(rota: Rota, shift: Shift) -> str:
    return ", ".join(_name(rota, each) for each in shift.users)


def _name(rota: Rota, user_id: str) -> str:
    return user_id if user_id in rota.people else f"{user_id} (unknown)"


def _begin(rota: Rota, shift: Shift) -> str:
    return "long ago" if shift.begin == EARLIEST else _local(rota, shift.begin)


def _end(rota: Rota, shift: Shift) -> str:
    return "further notice" if shift.end == LATEST else _local(rota, shift.end)


def _local(rota: Rota, at: datetime) -> str:
    return f"{at.astimezone(zone_of(rota.zone)):%a %Y-%m-%d %H:%M %z}"

"""``carillon publisher``: who publishes, with which rights, at which rate, and by which key and login."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from carillon.commands.output import json_option

if TYPE_CHECKING:
    from shared.directory.publishers import Publisher, Publishers

T = TypeVar("T")

logins_option = click.option(
    "--logins",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file that `carillon broker-roles` reads: the login is written there, too.",
)


@click.group()
def publisher() -> None:
    """Say who publishes below from/NAME/, and what that one may do.

    A record limits a publisher. One without a record may publish on notifications/#, at ROUTER_PUBLISHER_RATE. The name
    - is the publisher of the topics without from/.
    """


def _record_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--may", multiple=True, help="A filter of topics that it may publish on; may be repeated."),
        click.option("--may-answer", type=click.Choice(["own", "any"]), help="Whose alerts it may answer, and cancel."),
        click.option("--priority-at-most", type=click.Choice(["low", "normal", "high", "critical"])),
        click.option("--rate", help="Publishes in a time, such as 1000/60s; 0 is no limit."),
        click.option("--share", type=float, help="Its share of a lane, compared with the others'; 1 by default."),
        click.option("--tenant", help="What its notifications belong to that say nothing else."),
        click.option("--unknown-fields", type=click.Choice(["warn", "reject"])),
    )
    for option in reversed(options):
        command = option(command)
    return command


@publisher.command()
@click.argument("name")
@_record_options
@logins_option
@json_option
def create(*, name: str, logins: Path | None, as_json: bool, **record: object) -> None:
    """Make the record of NAME, a key for HTTP and a login for the broker, and print both.

    They are printed once: the record keeps the SHA-256 of the key, and the broker that of the password. With --logins
    the login is written into that file; apply it with `carillon broker-roles`.

    Exit status: 0 made; 1 there is a publisher of this name; 2 wrong use or settings.

    \b
    Examples:
      carillon publisher create shop
      carillon publisher create monitoring --may 'notifications/alerts/#' --rate 5000/60s --logins logins.txt
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.broker.rules import new_password
    from carillon.commands.output import AnswerIsNo
    from shared.core.topics import OWN_PUBLISHER, PLAIN_PUBLISHER
    from shared.directory.publishers import Publishers

    made = _record(name, record)
    # Nobody logs in as the plain topics' publisher or as Carillon itself, and HTTP publishes below from/.
    is_nobody = name in (PLAIN_PUBLISHER, OWN_PUBLISHER)
    key = "" if is_nobody else _new_key()
    if key:
        made = made.model_copy(update={"keys": (_digest(key),)})

    async def make(publishers: Publishers) -> None:
        if await publishers.get([name]):
            raise AnswerIsNo(f"there is a publisher {name}; see `carillon publisher show {name}`")
        await publishers.put(name, made)

    password = "" if is_nobody else new_password()
    _check_logins(logins, name)
    _run(make)
    _write_login(logins, name, password)
    _print_secrets(name, key, password, logins, as_json=as_json)


@publisher.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the publishers that have a record."""
    from carillon.commands.output import print_columns, print_json
    from shared.directory.publishers import Publishers

    async def read(publishers: Publishers) -> "dict[str, Publisher]":
        return await publishers.all()

    found = _run(read)
    if as_json:
        print_json([{"name": name, **_document(found[name])} for name in sorted(found)])
        return
    rows = [("name", "rate", "share", "answers", "at most", "keys", "may")]
    for name in sorted(found):
        one = found[name]
        may = " ".join(one.may) if one.may is not None else "notifications/#" if name != "-" else "#"
        rows.append((
            name, str(one.rate or "default"), f"{one.share:g}", one.may_answer, str(one.priority_at_most or "critical"),
            str(len(one.keys)), may,
        ))  # fmt: skip
    print_columns(rows)


@publisher.command()
@click.argument("name")
@json_option
def show(*, name: str, as_json: bool) -> None:
    """Show the record of NAME, and how much it has published within its rate's window.

    Exit status: 0 shown; 1 there is no such publisher.
    """
    from carillon.commands.output import print_columns, print_json
    from shared.directory.publishers import Publishers

    async def read(publishers: Publishers) -> "tuple[Publisher, int]":
        return await _existing(publishers, name), await publishers.counted(name)

    record, counted = _run(read)
    document = {"name": name, **_document(record), "published_lately": counted}
    if as_json:
        print_json(document)
    else:
        print_columns([(field, _text(value)) for field, value in document.items()])


@publisher.command()
@click.argument("name")
@click.option("--keep", is_flag=True, help="Let the former keys work on, until the next rotation.")
@logins_option
@json_option
def rotate(*, name: str, keep: bool, logins: Path | None, as_json: bool) -> None:
    """Give NAME a new key, and with --logins a new password, and print them once.

    The former keys are of no use any more within seconds. With --keep they are, so that every process of the publisher
    can be given the new one first; `carillon publisher retire NAME` ends the former ones afterwards.
    """
    from carillon.broker.rules import new_password
    from shared.core.topics import OWN_PUBLISHER, PLAIN_PUBLISHER
    from shared.directory.publishers import KEYS, Publishers

    if name in (PLAIN_PUBLISHER, OWN_PUBLISHER):
        raise click.BadParameter(f"the publisher {name} has no key and no login", param_hint="NAME")
    key = _new_key()

    async def change(publishers: Publishers) -> None:
        record = await _existing(publishers, name)
        former = record.keys[-(KEYS - 1) :] if keep else ()
        await publishers.put(name, record.model_copy(update={"keys": (*former, _digest(key))}))

    password = new_password() if logins is not None else ""
    _run(change)
    if password:
        _write_login(logins, name, password)
    _print_secrets(name, key, password, logins, as_json=as_json)


@publisher.command()
@click.argument("name")
@json_option
def retire(*, name: str, as_json: bool) -> None:
    """Let the newest key of NAME alone work on: what `rotate --keep` has kept is of no use within seconds.

    Exit status: 0 done, also where there was one key alone; 1 there is no such publisher.
    """
    from carillon.commands.output import print_json
    from shared.directory.publishers import Publishers

    async def change(publishers: Publishers) -> int:
        record = await _existing(publishers, name)
        former = len(record.keys[:-1])
        if former:
            await publishers.put(name, record.model_copy(update={"keys": record.keys[-1:]}))
        return former

    former = _run(change)
    if as_json:
        print_json({"name": name, "retired": former})
    else:
        click.echo(f"retired {former} key{'' if former == 1 else 's'} of {name}")


@publisher.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@logins_option
@json_option
def delete(*, name: str, yes: bool, logins: Path | None, as_json: bool) -> None:
    """Delete the record of NAME and its keys; with --logins its login, too.

    While the broker has the login, NAME may go on publishing as one without a record.
    """
    from carillon.commands.output import print_json
    from shared.directory.publishers import Publishers

    async def remove(publishers: Publishers) -> None:
        await _existing(publishers, name)
        if not yes:
            click.confirm(f"Delete the publisher {name}?", abort=True, err=True)
        await publishers.delete(name)

    _run(remove)
    if logins is not None:
        _write_login(logins, name, "")
    if as_json:
        print_json({"name": name, "deleted": True})
    else:
        click.echo(f"deleted {name}")


async def _existing(publishers: "Publishers", name: str) -> "Publisher":
    from carillon.commands.output import AnswerIsNo

    found = await publishers.get([name])
    if name not in found:
        raise AnswerIsNo(f"there is no publisher {name}; see `carillon publisher list`")
    return found[name]


def _run(work: "Callable[[Publishers], Awaitable[T]]") -> T:
    import asyncio

    from carillon.commands.opening_store import open_store
    from carillon.commands.settings import OperatorSettings
    from shared.directory.publishers import Publishers

    settings = OperatorSettings.load()

    async def run() -> T:
        async with open_store(settings) as (store, keys):
            return await work(Publishers(store, keys))

    return asyncio.run(run())


def _record(name: str, options: dict[str, object]) -> "Publisher":
    from pydantic import ValidationError

    from shared.directory.publishers import NamedPublisher

    said = {field: value for field, value in options.items() if value not in (None, ())}
    try:
        return NamedPublisher.model_validate({"publisher": name, **said}).record
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        hint = "NAME" if field == "publisher" else f"--{field.replace('_', '-')}"
        raise click.BadParameter(first["msg"], param_hint=hint) from None


def _document(record: "Publisher") -> dict[str, object]:
    document = record.model_dump(mode="json", exclude={"keys"}, exclude_none=True)
    # Enough to tell one key from another.
    return document | {"keys": [digest[:12] for digest in record.keys]}


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _new_key() -> str:
    import secrets

    return f"ck_{secrets.token_urlsafe(32)}"


def _digest(key: str) -> str:
    import hashlib

    return hashlib.sha256(key.encode()).hexdigest()


def _print_secrets(name: str, key: str, password: str, logins: Path | None, *, as_json: bool) -> None:
    from carillon.commands.output import print_columns, print_json

    if as_json:
        print_json({"name": name, "key": key or None, "password": password or None})
        return
    if not key:
        click.echo(f"made {name}")
        return
    rows = [("key", key)]
    if password:
        rows.append(("login", f"{name} named-publisher {password}"))
    print_columns(rows)
    click.echo("The key is for HTTP, the login for the broker. They are not shown again.", err=True)
    if password and logins is None:
        click.echo("Add the login to the file that `carillon broker-roles` reads, and apply it.", err=True)


def _check_logins(path: Path | None, name: str) -> None:
    """Refuse a file that cannot be read, or has a login of this name, before anything is made."""
    from carillon.broker.roles import roles
    from carillon.commands.logins import read_logins
    from carillon.commands.output import AnswerIsNo

    if path is None or not path.exists():
        return
    if any(login.name == name for login in read_logins(path.read_text(), known=roles())):
        raise AnswerIsNo(f"{path} has a login {name}")


def _write_login(path: Path | None, name: str, password: str) -> None:
    """Put a login into the file in place of the one of this name; without a password take it out."""
    if path is None:
        return
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if line.split()[:1] != [name]]
    if password:
        kept.append(f"{name} named-publisher {password}")
    written = path.with_name(f".{path.name}.new")
    written.touch(mode=0o600)
    written.write_text("".join(f"{line}\n" for line in kept))
    written.replace(path)

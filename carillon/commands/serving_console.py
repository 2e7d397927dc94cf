"""``carillon console``: the operators' console, until it is told to end, and the links that let people in."""

import asyncio
import getpass
import secrets
from collections.abc import Callable
from datetime import timedelta

import click

from carillon.commands.console_settings import ConsoleSettings
from carillon.commands.explaining import rules_of
from carillon.commands.opening_store import open_store
from carillon.commands.output import print_json
from carillon.console import links
from carillon.console.app import Console
from carillon.console.backend import Backend
from carillon.console.roles import Role
from carillon.console.serving import serve
from shared.core.errors import ConfigError
from shared.telemetry.log import configure

# A shorter one could be found by trying.
TOKEN_CHARS = 16


def serve_console(*, host: str, port: int, quiet: bool, without: frozenset[str], as_json: bool) -> None:
    """Serve, and say where."""
    settings = ConsoleSettings.load()
    configure(settings.log_level, settings.log_format, "console")
    given = settings.console_token.get_secret_value()
    if given and len(given) < TOKEN_CHARS:
        raise ConfigError(f"CONSOLE_TOKEN: must have at least {TOKEN_CHARS} characters")
    token = given or secrets.token_urlsafe(32)

    def say(url: str, link: str | None) -> None:
        if as_json:
            made_up = {} if given or quiet else {"token": token}
            print_json({"console": url, **({"sign_in": link} if link else {}), **made_up})
            return
        if link:
            click.echo(f"sign in, once: {link}")
        click.echo(f"console: {url}")
        if not given and not quiet:
            click.echo(f"token for this run: {token}")

    asyncio.run(_serve(settings, host, port, token, say, with_link=not quiet, without=without))


async def _serve(
    settings: ConsoleSettings,
    host: str,
    port: int,
    token: str,
    say: Callable[[str, str | None], None],
    *,
    with_link: bool,
    without: frozenset[str],
) -> None:
    async with open_store(settings) as (store, keys):
        backend = Backend(
            store,
            rules_of(settings),
            topic_prefix=settings.topic_prefix,
            record_retention_s=settings.record_retention_s,
            mqtt_url=settings.mqtt_url.get_secret_value() or None,
            mqtt_ca_file=settings.mqtt_ca_file,
            without=without | settings.without,
            prometheus_url=settings.console_prometheus_url,
        )
        console = Console(
            backend,
            token=token,
            session_secrets=settings.session_secrets,
            url=settings.console_url or "",
            oidc=settings.oidc,
        )

        async def listening(at: int) -> None:
            url = settings.console_url or f"http://{f'[{host}]' if ':' in host else host}:{at}"
            link = None
            if with_link:
                link = await links.new_link(store, keys, url, who=_user(), role=Role.OPERATOR, lifetime=links.START_FOR)
            say(url, link)

        await serve(console.application(), host, port, listening)


def print_link(*, role: str, name: str | None, lifetime: timedelta, url: str | None, as_json: bool) -> None:
    """Make a link that lets one person in, once, and print it."""
    settings = ConsoleSettings.load()
    base = url or settings.console_url
    if not base:
        raise ConfigError("CONSOLE_URL is not set: say with --url where the console is")
    known = Role.of(role)
    assert known is not None  # noqa: S101 - the option's choices
    link = asyncio.run(_link(settings, base, name or _user(), known, lifetime))
    if as_json:
        print_json({"sign_in": link, "role": role, "for_s": round(lifetime.total_seconds())})
    else:
        click.echo(link)


async def _link(settings: ConsoleSettings, url: str, who: str, role: Role, lifetime: timedelta) -> str:
    async with open_store(settings) as (store, keys):
        return await links.new_link(store, keys, url, who=who, role=role, lifetime=lifetime)


def _user() -> str:
    """Return who runs this, as the machine knows the person."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return "operator"

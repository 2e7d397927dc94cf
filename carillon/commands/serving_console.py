"""``carillon console``: the operators' HTTP, until it is told to end."""

import asyncio
import secrets
from collections.abc import Callable

import click

from carillon.commands.broker_and_store import open_store
from carillon.commands.explaining import rules_of
from carillon.commands.output import print_json
from carillon.commands.settings import OperatorSettings
from carillon.console.app import Console
from carillon.console.serving import serve
from shared.core.errors import ConfigError

# A shorter one could be found by trying.
TOKEN_CHARS = 16


def serve_console(*, host: str, port: int, as_json: bool) -> None:
    """Serve, and say where."""
    settings = OperatorSettings.load()
    given = settings.console_token.get_secret_value()
    if given and len(given) < TOKEN_CHARS:
        raise ConfigError(f"CONSOLE_TOKEN: must have at least {TOKEN_CHARS} characters")
    token = given or secrets.token_urlsafe(32)
    shown_host = f"[{host}]" if ":" in host else host

    def listening(at: int) -> None:
        url = f"http://{shown_host}:{at}"
        if as_json:
            print_json({"console": url, **({} if given else {"token": token})})
        else:
            click.echo(f"console: {url}" + ("" if given else f"\ntoken for this run: {token}"))

    asyncio.run(_serve(settings, host, port, token, listening))


async def _serve(
    settings: OperatorSettings, host: str, port: int, token: str, listening: Callable[[int], None]
) -> None:
    async with open_store(settings) as (store, _):
        console = Console(store, rules_of(settings), topic_prefix=settings.topic_prefix, token=token)
        await serve(console.application(), host, port, listening)

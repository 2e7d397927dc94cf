"""``carillon status``: what can be typed; ``carillon.commands.showing_status`` does it."""

import click

from carillon.commands.output import json_option
from carillon.local.ports import SERVICES


def _services(_context: click.Context, _option: click.Parameter, value: tuple[str, ...]) -> frozenset[str]:
    names = frozenset(name.strip() for part in value for name in part.split(",") if name.strip())
    if unknown := sorted(names - set(SERVICES)):
        raise click.BadParameter(f"there is no service {unknown[0]!r}; there are {', '.join(SERVICES)}")
    return names


# Of every command that looks at whether all is well.
without_option = click.option(
    "--without",
    multiple=True,
    metavar="SERVICE",
    callback=_services,
    help="This system does without that service; may be given again. [env: CARILLON_WITHOUT, with commas, and what the"
    " routers leave out]",
)


@click.command()
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@without_option
@json_option
def status(*, watch: bool, without: frozenset[str], as_json: bool) -> None:
    """Say whether all is well: services, lanes, providers, incidents, dead letters, the last audit, the store.

    First comes what is wrong, in words, each with the runbook that says what to do. Open incidents are shown, and are
    no trouble of Carillon itself. A service counts as missing when no process of it has said for ten seconds that it is
    alive. It reads the store alone, and takes as long however much is in it.

    With --watch the exit status is that of the last look. On a terminal each look takes the place of the one before;
    elsewhere, and with --json, one follows the other.

    Exit status: 0 all is well; 1 not so, or the store does not answer; 2 wrong use or settings.

    \b
    Examples:
      carillon status
      carillon status --watch
      carillon status --without sms --json
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.showing_status import show_status

    show_status(watch=watch, without=without, as_json=as_json)

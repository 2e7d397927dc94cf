"""``carillon template``: what can be typed; ``carillon.commands.rendering`` does it."""

from pathlib import Path

import click

from carillon.commands.choices import CHANNELS
from carillon.commands.output import json_option

# Of ``services.router.planning.alert_texts``, which is imported when it is used.
ALERT_KINDS = ("opened", "flapping", "escalated", "reopened", "reassigned", "news")

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def template() -> None:
    """Look at the texts of templates before anybody gets them."""


@template.command()
@click.argument("name")
@click.option("--data", default="{}", help="The variables: a JSON object, or a file with one.")
@click.option("--alert", type=click.Choice(ALERT_KINDS), help="With a sample alert, told for this reason.")
@click.option("--locale", help="The reader's language tag, like fr-CA; the template's own by default.")
@click.option("--timezone", help="The reader's IANA time zone; UTC by default.")
@click.option("--channel", type=click.Choice(CHANNELS), help="This channel only.")
@click.option("--dir", "folder", type=_FOLDER, help="The folder of templates; TEMPLATES_DIR by default.")
@json_option
def render(
    *,
    name: str,
    data: str,
    alert: str | None,
    locale: str | None,
    timezone: str | None,
    channel: str | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Show what each channel says to one reader with the template NAME.

    Exit status: 0 written; 1 the data does not fit, or there is no such template; 2 wrong use or settings.

    \b
    Examples:
      carillon template render welcome --data '{"name": "User 123", "joined": "2026-11-02", "tasks": 3}' --locale fr-CA
      carillon template render welcome --data welcome.json --channel email --json
      carillon template render incident --alert escalated --locale de --timezone Europe/Berlin
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.rendering import print_texts

    print_texts(
        name, data=data, alert=alert, locale=locale, timezone=timezone, channel=channel, folder=folder, as_json=as_json
    )


@template.command()
@click.argument("folder", type=_FOLDER)
@json_option
def check(*, folder: Path, as_json: bool) -> None:
    """Read all templates of FOLDER, and name every file that is broken, with its line.

    Exit status: 0 all can be used; 1 some cannot; 2 wrong use.

    \b
    Example:
      carillon template check templates/
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.rendering import print_problems

    print_problems(folder, as_json=as_json)

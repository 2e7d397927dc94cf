"""``carillon broker-roles``: the broker's rules for the logins of a file, to be put where the broker reads them."""

from collections.abc import Collection
from typing import IO

import click

from carillon.broker.roles import Login, roles
from carillon.broker.rules import dynamic_security, emqx_acl
from shared.core.errors import ConfigError


@click.command()
@click.argument("logins", type=click.File("r"))
@click.option(
    "--for",
    "broker",
    type=click.Choice(["mosquitto", "emqx"]),
    default="mosquitto",
    show_default=True,
    help="The dynamic-security.json of mosquitto, or the acl.conf of EMQX.",
)
@click.option("--topic-prefix", default="", envvar="TOPIC_PREFIX", show_envvar=True, help="The services' prefix.")
def broker_roles(*, logins: IO[str], broker: str, topic_prefix: str) -> None:
    """Print who may do what at the broker, for the logins of a file.

    Each line of LOGINS is a name, a role and a password, with spaces between them; one that begins with # is skipped.
    Roles: router, email, sms, push, realtime, publisher, gateway, admin, monitor. A publisher, gateway, admin or
    monitor connects with its name as its client id. The passwords are hashed for mosquitto; EMQX keeps its own.

    \b
    Examples:
      carillon broker-roles logins.txt > dynamic-security.json
      carillon broker-roles --for emqx logins.txt > acl.conf
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    read = read_logins(logins.read(), known=roles())
    click.echo(
        dynamic_security(read, topic_prefix) if broker == "mosquitto" else emqx_acl(read, topic_prefix), nl=False
    )


def read_logins(text: str, known: Collection[str]) -> list[Login]:
    """Read a file of logins.

    Args:
        known: the roles that there are.

    Raises:
        ConfigError: a line is wrong; the message has its number and not the password.
    """
    found: dict[str, Login] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3:
            raise ConfigError(f"line {number}: a name, a role and a password are required")
        name, role, password = words
        if role not in known:
            raise ConfigError(f"line {number}: there is no role {role}; there are {', '.join(known)}")
        if name in found:
            raise ConfigError(f"line {number}: {name} is there already")
        try:
            found[name] = Login(name, password, role)
        except ConfigError as error:
            raise ConfigError(f"line {number}: {error}") from None
    return list(found.values())

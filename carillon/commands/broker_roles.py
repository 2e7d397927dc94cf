"""``carillon broker-roles``: the broker's rules for the logins of a file, to be put where the broker reads them."""

from typing import IO

import click


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
    Roles: router, email, sms, push, realtime, publisher, named-publisher, gateway, admin, monitor. A publisher,
    gateway, admin or monitor connects with its name as its client id. A named-publisher does, too, and publishes below
    from/ and its name. The passwords are hashed for mosquitto; EMQX keeps its own.

    \b
    Examples:
      carillon broker-roles logins.txt > dynamic-security.json
      carillon broker-roles --for emqx logins.txt > acl.conf
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.broker.roles import roles
    from carillon.broker.rules import dynamic_security, emqx_acl
    from carillon.commands.logins import read_logins

    read = read_logins(logins.read(), known=roles())
    click.echo(
        dynamic_security(read, topic_prefix) if broker == "mosquitto" else emqx_acl(read, topic_prefix), nl=False
    )

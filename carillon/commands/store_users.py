"""``carillon store-users``: the store's users for the logins of a file, as Redis reads them."""

from typing import IO

import click


@click.command()
@click.argument("logins", type=click.File("r"))
@click.option("--topic-prefix", default="", envvar="TOPIC_PREFIX", show_envvar=True, help="The services' prefix.")
def store_users(*, logins: IO[str], topic_prefix: str) -> None:
    """Print who may do what in the store, for the logins of a file: what Redis reads as its aclfile.

    Each line of LOGINS is a name, a role and a password, with spaces between them; one that begins with # is skipped.
    Roles: router, email, sms, push, realtime, operator. Everybody else is kept out.

    \b
    Example:
      carillon store-users logins.txt > users.acl
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.logins import read_logins
    from carillon.store.users import STORE_ROLES, acl_file

    click.echo(acl_file(read_logins(logins.read(), known=STORE_ROLES), topic_prefix), nl=False)

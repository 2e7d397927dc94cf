"""``carillon token``: what can be typed; ``carillon.commands.signing`` does it."""

from datetime import timedelta

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option


@click.command()
@click.argument("user_id")
@click.option("--expires-in", type=Duration(), default="1h", show_default=True, help="How long the token is valid.")
@click.option("--tenant", help="Show this tenant's notifications, and those of no tenant.")
@json_option
def token(*, user_id: str, expires_in: timedelta, tenant: str | None, as_json: bool) -> None:
    """Print a token (a JWT signed with HS256) that says its bearer is USER_ID.

    It is signed with REALTIME_JWT_SECRET and carries REALTIME_JWT_AUDIENCE and REALTIME_JWT_ISSUER where they are set.
    Whoever has it is that user until it expires.

    \b
    Examples:
      carillon token user123
      carillon token user123 --tenant acme
      curl -H "Authorization: Bearer $(carillon token user123 --expires-in 5m)" http://127.0.0.1:8080/v1/inbox
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.signing import print_token

    print_token(user_id=user_id, expires_in=expires_in, tenant=tenant, as_json=as_json)

"""``carillon token``: a token with which a client connects to the realtime service, for trying out and for scripts."""

from datetime import timedelta

import click
import jwt
from pydantic_core import PydanticCustomError

from carillon.commands.durations import Duration
from carillon.commands.output import json_option, print_json
from carillon.commands.settings import OperatorSettings
from shared.core.clock import SystemClock, rfc3339
from shared.core.errors import ConfigError
from shared.core.fields import IDENTIFIER_CHARS, identifier
from shared.runtime.settings import SECRET_BYTES


@click.command()
@click.argument("user_id")
@click.option("--expires-in", type=Duration(), default="1h", show_default=True, help="How long the token is valid.")
@json_option
def token(*, user_id: str, expires_in: timedelta, as_json: bool) -> None:
    """Print a token (a JWT signed with HS256) that says its bearer is USER_ID.

    It is signed with REALTIME_JWT_SECRET and carries REALTIME_JWT_AUDIENCE and REALTIME_JWT_ISSUER where they are set.
    Whoever has it is that user until it expires.

    \b
    Examples:
      carillon token user123
      curl -H "Authorization: Bearer $(carillon token user123 --expires-in 5m)" http://127.0.0.1:8080/v1/inbox
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    _check(user_id)
    settings = OperatorSettings.load()
    secret = settings.needed("realtime_jwt_secret")
    if len(secret.encode()) < SECRET_BYTES:
        raise ConfigError(f"REALTIME_JWT_SECRET must be at least {SECRET_BYTES} bytes long")
    now = SystemClock().now()
    expires_at = now + expires_in
    claims = {
        "sub": user_id,
        "iat": now,
        "exp": expires_at,
        "aud": settings.realtime_jwt_audience,
        "iss": settings.realtime_jwt_issuer,
    }
    signed = jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, "HS256")
    if as_json:
        print_json({"token": signed, "user_id": user_id, "expires_at": rfc3339(expires_at)})
    else:
        click.echo(signed)


def _check(user_id: str) -> None:
    """Refuse what the directory could not hold."""
    try:
        identifier(user_id)
    except PydanticCustomError as error:
        raise click.BadParameter(error.message(), param_hint="USER_ID") from None
    if not 1 <= len(user_id) <= IDENTIFIER_CHARS:
        raise click.BadParameter(f"must have 1 to {IDENTIFIER_CHARS} characters", param_hint="USER_ID")

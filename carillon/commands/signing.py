"""``carillon token``: a token with which a client connects to the realtime service, for trying out and for scripts."""

from datetime import timedelta

import click
import jwt
from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from carillon.commands.output import print_json
from carillon.commands.settings import OperatorSettings
from shared.core.clock import SystemClock, rfc3339
from shared.core.errors import ConfigError
from shared.core.fields import IDENTIFIER_CHARS, identifier
from shared.runtime.settings import SECRET_BYTES, secrets_in


def print_token(*, user_id: str, expires_in: timedelta, tenant: str | None, as_json: bool) -> None:
    """Sign and print a token that is valid so long.

    Args:
        tenant: whose notifications it shows; None for all.
    """
    _check(user_id, "USER_ID")
    if tenant is not None:
        _check(tenant, "--tenant")
    settings = OperatorSettings.load()
    secret, *_ = secrets_in(SecretStr(settings.needed("realtime_jwt_secret")))
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
        "tenant": tenant,
    }
    signed = jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, "HS256")
    if as_json:
        of_tenant = {} if tenant is None else {"tenant": tenant}
        print_json({"token": signed, "user_id": user_id, **of_tenant, "expires_at": rfc3339(expires_at)})
    else:
        click.echo(signed)


def _check(name: str, hint: str) -> None:
    """Refuse what the directory could not hold."""
    try:
        identifier(name)
    except PydanticCustomError as error:
        raise click.BadParameter(error.message(), param_hint=hint) from None
    if not 1 <= len(name) <= IDENTIFIER_CHARS:
        raise click.BadParameter(f"must have 1 to {IDENTIFIER_CHARS} characters", param_hint=hint)

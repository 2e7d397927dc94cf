"""Who a client is: the claim ``sub`` of a JWT that we can verify, and the claim ``tenant``, where there is one.

Accepts a token only with an algorithm that we chose, a valid signature, a future ``exp``, and the audience and issuer
of the settings. The client is not told why a token was refused, and no log line holds a token.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from pydantic import TypeAdapter

from services.realtime.settings import RealtimeSettings
from shared.core.fields import Identifier

_identifier: TypeAdapter[str] = TypeAdapter(Identifier)


# PyJWT raises these for texts that are no token: half a surrogate pair, a header a thousand levels deep, an endless
# number.
UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class Unauthenticated(Exception):
    """There is no token, or it is not valid."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, known until ``expires_s`` (seconds since 1970).

    Attributes:
        issued_s: when the token was issued; None if it does not say so.
        tenant: whose entries the token shows, beside those that belong to nobody; None if it shows all.
    """

    user_id: str
    expires_s: float
    issued_s: float | None = None
    tenant: str | None = None


class Keys(Protocol):
    """Where verification keys come from."""

    async def key(self, token: str) -> tuple[Any, list[str]]:
        """Return the key for a token and the algorithms that may be used with it.

        Raises:
            Unauthenticated: there is no key for it.
        """
        ...


_ALGORITHMS = ["HS256"]


class SharedSecret:
    """A secret for HS256, and those before it that are still accepted."""

    def __init__(self, secret: str, *before: str) -> None:
        self._secrets = (secret, *before)

    async def key(self, token: str) -> tuple[Any, list[str]]:
        """Return the secret that has signed the token; the last one, if none of the others has."""
        *others, last = self._secrets
        return next((secret for secret in others if _is_signed(token, secret)), last), _ALGORITHMS


def _is_signed(token: str, secret: str) -> bool:
    try:
        jwt.PyJWS().decode(token, secret, _ALGORITHMS)
    except UNREADABLE:
        return False
    return True


class TokenVerifier:
    """Turns tokens into identities."""

    def __init__(self, settings: RealtimeSettings, keys: Keys) -> None:
        self._keys = keys
        self._audience = settings.realtime_jwt_audience
        self._issuer = settings.realtime_jwt_issuer

    async def verify(self, token: str) -> Identity:
        """Return who presents this token.

        Raises:
            Unauthenticated: the token is not valid.
        """
        key, algorithms = await self._keys.key(token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
            issued_s, tenant = claims.get("iat"), claims.get("tenant")
            return Identity(
                _identifier.validate_python(claims["sub"]),
                float(claims["exp"]),
                None if issued_s is None else float(issued_s),
                None if tenant is None else _identifier.validate_python(tenant),
            )
        except UNREADABLE:
            # "from None": the chain could carry parts of the token into a log.
            raise Unauthenticated from None

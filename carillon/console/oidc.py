"""Signing in by OpenID Connect: the authorization code flow with PKCE, state and nonce.

Promises that nobody gets in by an answer that this browser did not ask for, by a token of another issuer or client, by
one that is over, or without a role. What the provider says beyond that is not kept.

OpenID Connect Core 1.0, 3.1 (the flow) and 3.1.3.7 (the token's checks, by authlib); RFC 7636 (PKCE).
"""

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlencode

import aiohttp

from carillon.console.roles import Role
from shared.delivery import http_answer

log = logging.getLogger(__name__)

# Asymmetric ones only: with a symmetric one, whoever knows the client's secret could write tokens.
_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
_ANSWER_BYTES = 256 * 1024
_WITHIN_S = 10.0
_KNOWN_FOR_S = 3600.0
# How far the provider's clock may be from ours.
_LEEWAY_S = 60
_WHO_CHARS = 200


class NotSignedIn(Exception):
    """The provider's answer lets nobody in; the text is for the person and says nothing about the token."""


@dataclass(frozen=True)
class OidcSettings:
    """How the console is known to the provider.

    Attributes:
        issuer: its URL, under which ``/.well-known/openid-configuration`` stands.
        roles_claim: the claim of the ID token that holds the roles; a dot leads into an object.
        roles: what the provider calls each role.
    """

    issuer: str
    client_id: str
    client_secret: str
    roles_claim: str
    roles: Mapping[str, Role]
    scope: str = "openid profile email"


@dataclass(frozen=True, slots=True)
class Asked:
    """What one browser has asked for; it stands in a signed cookie until the answer comes."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Asked":
        """Make one that nobody can guess."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


class Oidc:
    """One provider."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._known: Mapping[str, Any] = {}
        self._keys: Any = None
        self._until = 0.0

    async def address(self, asked: Asked, back: str) -> str:
        """Return where the browser goes to sign in.

        Args:
            back: the console's own address for the answer.

        Raises:
            NotSignedIn: the provider does not answer.
        """
        # Imported with the first sign-in: many consoles do without, and start sooner.
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415

        known, _ = await self._provider()
        challenge = create_s256_code_challenge(asked.verifier)
        query = urlencode(
            {
                "response_type": "code", "client_id": self._settings.client_id, "redirect_uri": back,
                "scope": self._settings.scope, "state": asked.state, "nonce": asked.nonce,
                "code_challenge": challenge, "code_challenge_method": "S256",
            }
        )  # fmt: skip
        endpoint = str(known["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def signed_in(self, asked: Asked, answer: Mapping[str, str], back: str) -> tuple[str, Role]:
        """Return who has signed in, and the role.

        Args:
            answer: the query with which the browser came back.

        Raises:
            NotSignedIn: it lets nobody in.
        """
        if not secrets.compare_digest(answer.get("state", "").encode(), asked.state.encode()):
            raise NotSignedIn("The answer does not belong to this sign-in. Begin again.")
        code = answer.get("code")
        if not code:
            raise NotSignedIn("The provider did not let you in.")
        claims = await self._claims(asked, code, back)
        role = self._role(claims)
        if role is None:
            raise NotSignedIn("You have no role in this console. Ask those who give them.")
        who = next((claims[name] for name in ("email", "preferred_username", "sub") if claims.get(name)), "")
        return str(who)[:_WHO_CHARS], role

    async def _claims(self, asked: Asked, code: str, back: str) -> Mapping[str, Any]:
        known, keys = await self._provider()
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": asked.verifier,
            "client_id": self._settings.client_id, "client_secret": self._settings.client_secret,
        }  # fmt: skip
        document = await self._ask("POST", str(known["token_endpoint"]), form)
        token = document.get("id_token")
        if not isinstance(token, str):
            raise NotSignedIn("The provider did not say who you are.")
        from joserfc.errors import JoseError  # noqa: PLC0415

        try:
            found = self._checked(token, keys, asked)
        except (JoseError, ValueError) as error:
            # Without its text: that may quote the token. The provider may have changed its keys.
            self._until = 0.0
            log.warning("an ID token is refused", extra={"error": type(error).__name__})
            raise NotSignedIn("The provider's answer cannot be trusted. Begin again.") from None
        return found

    def _checked(self, token: str, keys: Any, asked: Asked) -> Mapping[str, Any]:  # noqa: ANN401 - a set of keys
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415
        from joserfc import jwt  # noqa: PLC0415

        read = jwt.decode(token, keys, algorithms=_ALGORITHMS)
        options = {
            "iss": {"essential": True, "value": self._settings.issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
            "nonce": {"essential": True},
        }
        params = {"nonce": asked.nonce, "client_id": self._settings.client_id}
        claims: Any = CodeIDToken(read.claims, read.header, options, params)
        claims.validate(leeway=_LEEWAY_S)
        return dict(read.claims)

    def _role(self, claims: Mapping[str, Any]) -> Role | None:
        value: Any = claims
        for part in self._settings.roles_claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        words = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        roles = [self._settings.roles[word] for word in words if isinstance(word, str) and word in self._settings.roles]
        return max(roles, default=None)

    async def _provider(self) -> tuple[Mapping[str, Any], Any]:
        if self._keys is None or monotonic() >= self._until:
            issuer = self._settings.issuer
            known = await self._ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            # OpenID Connect Discovery 1.0, 4.3: it must be the issuer that was asked for.
            if known.get("issuer") != issuer or not {"authorization_endpoint", "token_endpoint", "jwks_uri"} <= set(
                known
            ):
                raise NotSignedIn("The provider is not set up as this console expects.")
            keys = _keys(await self._ask("GET", str(known["jwks_uri"])))
            self._known, self._keys, self._until = known, keys, monotonic() + _KNOWN_FOR_S
        return self._known, self._keys

    async def _ask(self, method: str, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_WITHIN_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(method, url, data=form, allow_redirects=False) as answer,
            ):
                body = await http_answer.whole(answer, _ANSWER_BYTES, _WITHIN_S)
                document = json.loads(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            log.warning("the OpenID provider does not answer", extra={"error": type(error).__name__})
            raise NotSignedIn("The provider does not answer. Try again shortly.") from None
        if answer.status != 200 or not isinstance(document, dict):
            log.warning("the OpenID provider refuses", extra={"status": answer.status})
            raise NotSignedIn("The provider did not let you in.")
        return document


def _keys(document: Any) -> Any:  # noqa: ANN401 - JSON, and a set of keys
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import KeySet  # noqa: PLC0415

    try:
        return KeySet.import_key_set(document)
    except (JoseError, ValueError, KeyError, TypeError):
        raise NotSignedIn("The provider's keys cannot be read.") from None

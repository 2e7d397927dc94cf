"""Who makes a request, and whether the page that makes it may."""

from aiohttp import web

from services.realtime.answers import unauthorized, unavailable
from services.realtime.auth import Identity, TokenVerifier, Unauthenticated
from services.realtime.jwks import KeysUnavailable
from services.realtime.origins import Origins
from services.realtime.tickets import Tickets
from shared.errors import StoreUnavailable


class Guard:
    """Turns requests into identities, by token or ticket."""

    def __init__(self, verifier: TokenVerifier, tickets: Tickets, origins: Origins) -> None:
        self._verifier = verifier
        self._tickets = tickets
        self._origins = origins

    async def identify(self, request: web.Request, *, by_ticket: bool = False) -> Identity:
        """Return who makes a request.

        Args:
            request: with a token in its Authorization header.
            by_ticket: a ``ticket`` in the query will do, too.

        Raises:
            Unauthenticated: nobody whom we can be sure of.
            Refusal: not now, or not from that page.
        """
        origin = self._origins.of(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() == "bearer" and token:
                return await self._verifier.verify(token.strip())
            ticket = request.query.get("ticket")
            if by_ticket and ticket:
                return await self._tickets.redeem(ticket, origin)
        except (StoreUnavailable, KeysUnavailable):
            raise unavailable() from None
        raise Unauthenticated

    async def user(self, request: web.Request) -> Identity:
        """Return who makes a request of the HTTP API.

        Raises:
            Refusal: without a token that holds, the request is answered 401.
        """
        try:
            return await self.identify(request)
        except Unauthenticated:
            raise unauthorized() from None

    async def issue_ticket(self, request: web.Request) -> str:
        """Make a ticket for whoever makes this request, from the page that makes it."""
        return await self._tickets.issue(await self.user(request), self._origins.of(request))

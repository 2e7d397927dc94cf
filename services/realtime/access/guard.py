"""Who makes a request, and whether the page that makes it may."""

from aiohttp import web

from services.realtime.access.jwks import KeysUnavailable
from services.realtime.access.origins import Origins
from services.realtime.access.rates import Rates
from services.realtime.access.refusals import too_many_requests, unauthorized, unavailable
from services.realtime.access.tickets import Tickets
from services.realtime.access.tokens import Identity, TokenVerifier, Unauthenticated
from shared.core.errors import StoreUnavailable
from shared.directory.directory import Directory


class Guard:
    """Turns requests into identities, by token or ticket.

    If a user is deleted, the tokens issued before become useless, even if another user gets that name.

    Args:
        rates: how often each user may ask.
    """

    def __init__(
        self, verifier: TokenVerifier, tickets: Tickets, origins: Origins, directory: Directory, rates: Rates
    ) -> None:
        self._directory = directory
        self._verifier = verifier
        self._rates = rates
        self._tickets = tickets
        self._origins = origins

    async def identify(self, request: web.Request, *, by_ticket: bool = False) -> Identity:
        """Return who makes a request.

        Args:
            request: with a token in its Authorization header.
            by_ticket: a ``ticket`` in the query will do, too.

        Raises:
            Unauthenticated: there is no proof of who it is.
            Refusal: the page may not ask, it asks too often, or nobody can tell now.
        """
        identity = await self._identity(request, by_ticket=by_ticket)
        if wait_s := self._rates.take(identity.user_id):
            raise too_many_requests("Too many requests of this user in too short a time.", wait_s)
        return identity

    async def _identity(self, request: web.Request, *, by_ticket: bool) -> Identity:
        origin = self._origins.of(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            identity = None
            if scheme.lower() == "bearer" and token:
                identity = await self._verifier.verify(token.strip())
            elif by_ticket and (ticket := request.query.get("ticket")):
                identity = await self._tickets.redeem(ticket, origin)
            if identity is None or await self._was_deleted(identity):
                raise Unauthenticated
        except (StoreUnavailable, KeysUnavailable):
            raise unavailable() from None
        return identity

    async def _was_deleted(self, identity: Identity) -> bool:
        deleted_s = await self._directory.deleted_at(identity.user_id)
        if deleted_s is None:
            return False
        if identity.issued_s is None:
            # The token has no time of issue. While no user has that name, it counts as old.
            return await self._directory.person(identity.user_id) is None
        return identity.issued_s <= deleted_s

    async def user(self, request: web.Request) -> Identity:
        """Return who makes a request of the HTTP API.

        Raises:
            Refusal: without a valid token the request is answered with 401.
        """
        try:
            return await self.identify(request)
        except Unauthenticated:
            raise unauthorized() from None

    async def issue_ticket(self, request: web.Request) -> str:
        """Make a ticket for whoever makes this request, from the page that makes it."""
        return await self._tickets.issue(await self.user(request), self._origins.of(request))

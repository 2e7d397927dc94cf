"""One-time tickets: browsers cannot set headers on a WebSocket or an EventSource, and a token in a URL would be logged.

Promises that a ticket works once, within ``TICKET_S``, for its user and from its origin. It never lives longer than the
token that it was issued for. The store holds only the hash of a ticket.
"""

import hashlib
import json
import secrets
from dataclasses import asdict

from services.realtime.access.tokens import Identity, Unauthenticated
from shared.store.keys import Keys
from shared.store.store import Store

TICKET_S = 30


class Tickets:
    """Tickets on one store, so that any realtime process redeems what another one issued."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def _key(self, ticket: str) -> str:
        # The hash is also the Redis hash tag, so tickets spread over a cluster.
        return f"{self._keys.user(hashlib.sha256(ticket.encode()).hexdigest())}:ticket"

    async def issue(self, identity: Identity, origin: str | None) -> str:
        """Make a ticket for requests from ``origin`` (None: from no browser)."""
        ticket = secrets.token_urlsafe(32)
        record = json.dumps(asdict(identity) | {"origin": origin})
        await self._store.command("SET", self._key(ticket), record, "EX", TICKET_S)
        return ticket

    async def redeem(self, ticket: str, origin: str | None) -> Identity:
        """Return whom a ticket is for. It is used up, even if it does not fit.

        Raises:
            Unauthenticated: unknown, used, too old, or made for another origin.
        """
        record = await self._store.command("GETDEL", self._key(ticket))
        if record is None:
            raise Unauthenticated
        known = json.loads(record)
        if known["origin"] != origin:
            raise Unauthenticated
        return Identity(known["user_id"], known["expires_s"], known.get("issued_s"), known.get("tenant"))

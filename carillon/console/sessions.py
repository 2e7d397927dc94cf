"""Who is signed in: a signed cookie that ends by itself, and that nobody takes after a sign-out.

The cookie holds who somebody is and the role, so that every console with the same secret knows it. Whoever signs out is
remembered in the store until the cookie would have ended: a copy of it is worth nothing either.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiohttp import web

from carillon.console.roles import Role
from carillon.console.signing import Signing
from shared.core.clock import Clock, SystemClock
from shared.store.keys import Keys
from shared.store.store import Store

_SESSION, _FORM = "session", "form"
_ID_BYTES = 18


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in.

    Attributes:
        who: the name that stands in the log of changes.
        way: how the person signed in: ``link`` or ``oidc``.
    """

    id: str
    who: str
    role: Role
    way: str
    since: datetime
    until: datetime


class Sessions:
    """Begins, reads and ends sessions.

    Args:
        lifetime: after this a person signs in again.
        secure: the console is reached by https, and the cookie goes nowhere else.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        signing: Signing,
        *,
        lifetime: timedelta,
        secure: bool,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._signing = signing
        self._lifetime = lifetime
        self.secure = secure
        self._clock = clock or SystemClock()
        # RFC 6265bis, 4.1.3.2: no other host, and no page without TLS, can set a cookie of that name.
        self.cookie = "__Host-carillon-console" if secure else "carillon-console"

    def begin(self, response: web.StreamResponse, who: str, role: Role, way: str) -> Session:
        """Sign somebody in."""
        now = self._clock.now().replace(microsecond=0)
        session = Session(secrets.token_urlsafe(_ID_BYTES), who, role, way, now, now + self._lifetime)
        document = {
            "id": session.id, "who": who, "role": role.word, "way": way,
            "since": int(now.timestamp()), "until": int(session.until.timestamp()),
        }  # fmt: skip
        self._set(response, self._signing.sign(_SESSION, document), self._lifetime)
        return session

    async def read(self, request: web.Request) -> Session | None:
        """Return who sends this request; None for a stranger, and for a session that is over.

        Raises:
            StoreUnavailable: nobody knows whether the person has signed out.
        """
        presented = request.cookies.get(self.cookie)
        document = self._signing.read(_SESSION, presented) if presented else None
        if document is None:
            return None
        role = Role.of(document["role"])
        since, until = (datetime.fromtimestamp(document[name], self._clock.now().tzinfo) for name in ("since", "until"))
        now = self._clock.now()
        # The lifetime that is set now counts for sessions that began with a longer one, too.
        if role is None or now >= min(until, since + self._lifetime):
            return None
        if await self._store.command("EXISTS", self._ended(document["id"])):
            return None
        return Session(document["id"], document["who"], role, document["way"], since, until)

    async def end(self, response: web.StreamResponse, session: Session) -> None:
        """Sign somebody out, in every window and for every copy of the cookie."""
        left_s = max(1, round((session.until - self._clock.now()).total_seconds()))
        await self._store.command("SET", self._ended(session.id), "", "EX", left_s, lasting=True)
        response.del_cookie(self.cookie, path="/", secure=self.secure, httponly=True, samesite="Lax")

    def form_token(self, session: Session) -> str:
        """Return what every form of this session presents."""
        return self._signing.token(_FORM, session.id)

    def is_form_of(self, session: Session, token: str) -> bool:
        """Tell whether a form is one that this session was given."""
        return self._signing.goes_with(token, _FORM, session.id)

    def _ended(self, session_id: str) -> str:
        return f"{self._keys.console}:ended:{session_id}"

    def _set(self, response: web.StreamResponse, value: str, lifetime: timedelta) -> None:
        # Lax: a link to an incident in a chat opens it, and a form of another site brings no cookie.
        response.set_cookie(
            self.cookie,
            value,
            max_age=round(lifetime.total_seconds()),
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="Lax",
        )

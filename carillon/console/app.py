"""The operators' web console: pages for people, and the HTTP of ``carillon.console.api`` for programs.

Promises:

- It reads through the code of the commands, never holds up a service, and ends when it is told to.
- Whoever is not signed in sees the sign-in page and nothing else.
- ``GET /healthz`` answers as long as the process turns, whatever the store does.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta

from aiohttp import web

from carillon.console.api import Api
from carillon.console.backend import Backend
from carillon.console.oidc import Oidc, OidcSettings
from carillon.console.page import Page
from carillon.console.sessions import Sessions
from carillon.console.sign_in import SignIn
from carillon.console.signing import Signing
from carillon.console.site import Site
from carillon.console.site_map import PAGES
from shared.core.clock import Clock

SESSION = timedelta(hours=12)
_FORM_BYTES = 256 * 1024


class Console:
    """One console of one system.

    Args:
        token: what programs present under ``/v1/``.
        session_secrets: sign the sessions, the newest first; none for a secret of this process alone.
        url: where people reach it; by https, cookies go nowhere else.
        lifetime: after this people sign in again.
        oidc: who else lets people in; None for one-time links alone.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        token: str,
        session_secrets: Sequence[str] = (),
        url: str = "",
        lifetime: timedelta = SESSION,
        oidc: OidcSettings | None = None,
        pages: Sequence[Page] = PAGES,
        clock: Clock | None = None,
    ) -> None:
        self.backend = backend
        signing = Signing(session_secrets or [secrets.token_urlsafe(32)])
        secure = url.startswith("https://")
        sessions = Sessions(backend.store, backend.keys, signing, lifetime=lifetime, secure=secure, clock=clock)
        self.site = Site(backend, sessions, signing, pages, url=url, clock=clock)
        self._api = Api(backend, token)
        self._sign_in = SignIn(self.site, signing, Oidc(oidc) if oidc is not None else None, url)

    def application(self) -> web.Application:
        """Put the application together."""
        app = web.Application(client_max_size=_FORM_BYTES)
        self.site.add(app, "GET", "/healthz", _health, None)
        self._sign_in.add_to(app)
        self.site.add_to(app)
        app.add_subapp("/v1/", self._api.application())

        async def close(_app: web.Application) -> None:
            await self.backend.close()

        app.on_cleanup.append(close)
        return app


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})

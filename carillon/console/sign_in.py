"""Signing in, by a one-time link or by OpenID Connect, and signing out.

A link opens a page with one button, which a script presses: whatever looks at links for people (a chat, a mail scanner)
opens the page and does not use up the link.
"""

from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web

from carillon.console import links
from carillon.console.oidc import Asked, NotSignedIn, Oidc
from carillon.console.page import Problem
from carillon.console.roles import Role
from carillon.console.signing import Signing
from carillon.console.site import SIGN_IN, Site, local_path

_T = TypeVar("_T")

SIGN_OUT = "/sign-out"
OIDC = "/sign-in/oidc"
BACK = "/sign-in/oidc/back"
# A person may have to find a second factor first.
_ASKED_S = 600
_ASKED = "oidc"


class SignIn:
    """The way in and out of one site.

    Args:
        oidc: None where only links let people in.
        url: where people reach the console; the provider sends them back there.
    """

    def __init__(self, site: Site, signing: Signing, oidc: Oidc | None, url: str) -> None:
        self._site = site
        self._signing = signing
        self._oidc = oidc
        self._back = f"{url.rstrip('/')}{BACK}"
        self._cookie = f"{site.sessions.cookie}-asked"

    def add_to(self, app: web.Application) -> None:
        """Serve it."""
        self._site.add(app, "GET", SIGN_IN, self.page, None)
        self._site.add(app, "POST", SIGN_IN, self.by_link, None)
        self._site.add(app, "POST", SIGN_OUT, self.out, Role.VIEWER)
        if self._oidc is not None:
            self._site.add(app, "GET", OIDC, self.to_provider, None)
            self._site.add(app, "GET", BACK, self.from_provider, None)

    async def page(self, request: web.Request) -> web.Response:
        """Show how to sign in, or the button of a link."""
        context = {
            "link": request.query.get(links.PARAMETER, "")[: links.TOKEN_CHARS],
            "to": local_path(request.query.get("to", "/")),
            "oidc": OIDC if self._oidc is not None else None,
        }
        return self._site.respond(request, "sign_in.html", context, title="Sign in")

    async def by_link(self, request: web.Request) -> web.Response:
        """Take a link, once."""
        self._site.check_origin(request)
        fields = await self._site.read_form(request)
        backend = self._site.backend
        found = await links.take(backend.store, backend.keys, fields.get(links.PARAMETER, ""))
        if found is None:
            words = "This link was used already, or its time is over. `carillon console link` makes another."
            raise Problem(403, "This link is over", words)
        who, role = found
        response = web.Response(status=303, headers={"Location": local_path(fields.get("to", "/"))})
        self._site.sessions.begin(response, who, role, "link")
        return response

    async def to_provider(self, request: web.Request) -> web.Response:
        """Send somebody to the provider, and remember in the browser what was asked for."""
        asked = Asked.new()
        response = web.Response(status=303)
        response.headers["Location"] = await self._through(self._provider.address(asked, self._back))
        document = {
            "state": asked.state, "nonce": asked.nonce, "verifier": asked.verifier,
            "to": local_path(request.query.get("to", "/")), "until": int(self._site.now.timestamp()) + _ASKED_S,
        }  # fmt: skip
        # Lax: the provider sends the browser back from another site.
        response.set_cookie(
            self._cookie, self._signing.sign(_ASKED, document), max_age=_ASKED_S, path="/", httponly=True,
            secure=self._site.sessions.secure, samesite="Lax",
        )  # fmt: skip
        return response

    async def from_provider(self, request: web.Request) -> web.Response:
        """Let in whom the provider sends back."""
        document = self._signing.read(_ASKED, request.cookies.get(self._cookie, ""))
        if document is None or document["until"] < self._site.now.timestamp():
            raise Problem(403, "Not signed in", "This sign-in was not begun here, or it took too long. Begin again.")
        asked = Asked(document["state"], document["nonce"], document["verifier"])
        who, role = await self._through(self._provider.signed_in(asked, request.query, self._back))
        response = web.Response(status=303, headers={"Location": local_path(document["to"])})
        response.del_cookie(self._cookie, path="/", secure=self._site.sessions.secure, httponly=True, samesite="Lax")
        self._site.sessions.begin(response, who, role, "oidc")
        return response

    async def out(self, request: web.Request) -> web.Response:
        """Sign somebody out."""
        session = await self._site.signed_in(request, Role.VIEWER)
        await self._site.checked_form(request, session)
        response = web.Response(status=303, headers={"Location": SIGN_IN})
        await self._site.sessions.end(response, session)
        return response

    @property
    def _provider(self) -> Oidc:
        assert self._oidc is not None  # noqa: S101 - the routes are served with one alone
        return self._oidc

    @staticmethod
    async def _through(asking: Awaitable[_T]) -> _T:
        try:
            return await asking
        except NotSignedIn as refused:
            raise Problem(403, "Not signed in", str(refused)) from None

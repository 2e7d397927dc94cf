"""Signing in by a one-time link, and signing out.

A link opens a page with one button, which a script presses: whatever looks at links for people (a chat, a mail scanner)
opens the page and does not use up the link.
"""

from aiohttp import web

from carillon.console import links
from carillon.console.page import Problem
from carillon.console.roles import Role
from carillon.console.site import SIGN_IN, Site, local_path

SIGN_OUT = "/sign-out"


class SignIn:
    """The way in and out of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, app: web.Application) -> None:
        """Serve it."""
        self._site.add(app, "GET", SIGN_IN, self.page, None)
        self._site.add(app, "POST", SIGN_IN, self.by_link, None)
        self._site.add(app, "POST", SIGN_OUT, self.out, Role.VIEWER)

    async def page(self, request: web.Request) -> web.Response:
        """Show how to sign in, or the button of a link."""
        context = {
            "link": request.query.get(links.PARAMETER, "")[: links.TOKEN_CHARS],
            "to": local_path(request.query.get("to", "/")),
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

    async def out(self, request: web.Request) -> web.Response:
        """Sign somebody out."""
        session = await self._site.signed_in(request, Role.VIEWER)
        await self._site.checked_form(request, session)
        response = web.Response(status=303, headers={"Location": SIGN_IN})
        await self._site.sessions.end(response, session)
        return response

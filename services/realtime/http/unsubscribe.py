"""One-click unsubscription (RFC 8058): the link in a mail unsubscribes its mailbox from a category, without a login.

Promises that a GET changes nothing, because mail scanners follow links (RFC 8058, 3.1). An invalid token shows nothing.
A second request changes nothing more.
"""

from collections.abc import Sequence

from aiohttp import web

from services.realtime.http.link_page import button, page, paragraph
from shared.directory.suppression import Cause, Suppressions
from shared.directory.unsubscribe import PATH, Unsubscribed, read_token

# The category in links of mails that were sent before links had one.
_ANY = "the mail that comes in categories, such as newsletters and reports"


class Unsubscription:
    """Serves the links of mails.

    Args:
        secrets: what they were signed with, the newest first; the email service has the same.
    """

    def __init__(self, secrets: Sequence[str], suppressions: Suppressions) -> None:
        self._secrets = secrets
        self._suppressions = suppressions

    def routes(self) -> list[web.RouteDef]:
        """List what is served."""
        return [web.get(PATH, self.ask), web.post(PATH, self.unsubscribe)]

    async def ask(self, request: web.Request) -> web.Response:
        """Show a page with a button."""
        asked = self._asked(request)
        if asked is None:
            return _unknown()
        text = f"Do you want no more of {_named(asked)}? Other mail, and critical alerts, are still sent."
        return page("Unsubscribe", paragraph(text), button("Unsubscribe"))

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Take a mailbox off the category; the body, which says ``List-Unsubscribe=One-Click``, adds nothing."""
        asked = self._asked(request)
        if asked is None:
            return _unknown()
        await self._suppressions.add(asked.address_digest, Cause.UNSUBSCRIBED, category=asked.category)
        return page("Unsubscribed", paragraph(f"You will get no more of {_named(asked)}."))

    def _asked(self, request: web.Request) -> Unsubscribed | None:
        token = request.query.get("token", "")
        return next(filter(None, (read_token(secret, token) for secret in self._secrets)), None)


def _named(asked: Unsubscribed) -> str:
    return _ANY if asked.category is None else f"the mail of the category “{asked.category}”"


def _unknown() -> web.Response:
    text = "This link is not complete or not valid any more. Please copy all of it from the mail."
    return page("Unknown link", paragraph(text), status=400)

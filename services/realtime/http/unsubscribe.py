"""One-click unsubscription (RFC 8058): the link in a mail unsubscribes its mailbox from a category, without a login.

Promises that a GET changes nothing, because mail scanners follow links (RFC 8058, 3.1). An invalid token shows nothing.
A second request changes nothing more.
"""

import base64
import hashlib
from html import escape

from aiohttp import web

from shared.directory.suppression import Cause, Suppressions
from shared.directory.unsubscribe import PATH, Unsubscribed, read_token

_STYLE = (
    "body{margin:15vh auto;padding:0 24px;max-width:32em;font:16px/1.5 system-ui,sans-serif;color-scheme:light dark}"
    "button{font:inherit;padding:8px 20px}"
)
# Nothing runs here, nothing is loaded, and nobody may frame the button.
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Without an action the form goes to the page's own address, token included.
_BUTTON = '<form method="post"><button>Unsubscribe</button></form>'
# The category in links of mails that were sent before links had one.
_ANY = "the mail that comes in categories, such as newsletters and reports"


class Unsubscription:
    """Serves the links of mails.

    Args:
        secret: what they were signed with; the email service has the same one.
    """

    def __init__(self, secret: str, suppressions: Suppressions) -> None:
        self._secret = secret
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
        return _page("Unsubscribe", text, _BUTTON)

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Take a mailbox off the category; the body, which says ``List-Unsubscribe=One-Click``, adds nothing."""
        asked = self._asked(request)
        if asked is None:
            return _unknown()
        await self._suppressions.add(asked.address_digest, Cause.UNSUBSCRIBED, category=asked.category)
        return _page("Unsubscribed", f"You will get no more of {_named(asked)}.")

    def _asked(self, request: web.Request) -> Unsubscribed | None:
        return read_token(self._secret, request.query.get("token", ""))


def _named(asked: Unsubscribed) -> str:
    return _ANY if asked.category is None else f"the mail of the category “{asked.category}”"


def _unknown() -> web.Response:
    text = "This link is not complete or not valid any more. Please copy all of it from the mail."
    return _page("Unknown link", text, status=400)


def _page(title: str, text: str, form: str = "", status: int = 200) -> web.Response:
    body = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">\n'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1><p>{escape(text)}</p>{form}</main></body></html>\n"
    )
    headers = {"Content-Security-Policy": _POLICY}
    return web.Response(text=body, status=status, content_type="text/html", charset="utf-8", headers=headers)

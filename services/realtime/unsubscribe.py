"""One-click unsubscription (RFC 8058): whoever holds a mail's link may take its mailbox off the list, without a login.

Promises that a GET changes nothing, because mail scanners follow links (RFC 8058, 3.1), that a token of nobody's tells
nothing, and that asking twice is as good as once.
"""

import base64
import hashlib
from html import escape

from aiohttp import web

from shared.suppression import Cause, Suppressions
from shared.unsubscribe import PATH, digest_of

_STYLE = (
    "body{margin:15vh auto;padding:0 24px;max-width:32em;font:16px/1.5 system-ui,sans-serif;color-scheme:light dark}"
    "button{font:inherit;padding:8px 20px}"
)
# Nothing runs here, nothing is loaded, and nobody may frame the button.
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_ASK = (
    "Unsubscribe",
    "Do you want no more mail of this kind? Critical alerts are still sent to people who are on call.",
    # Without an action the form goes to the page's own address, token included.
    '<form method="post"><button>Unsubscribe</button></form>',
)
_DONE = ("Unsubscribed", "You will get no more mail of this kind.", "")
_UNKNOWN = ("Unknown link", "This link is not complete or not valid any more. Please copy all of it from the mail.", "")


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
        return _page(*_ASK) if self._digest(request) else _page(*_UNKNOWN, status=400)

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Take a mailbox off the list; the body, which says ``List-Unsubscribe=One-Click``, adds nothing."""
        digest = self._digest(request)
        if digest is None:
            return _page(*_UNKNOWN, status=400)
        await self._suppressions.add(digest, Cause.UNSUBSCRIBED)
        return _page(*_DONE)

    def _digest(self, request: web.Request) -> str | None:
        return digest_of(self._secret, request.query.get("token", ""))


def _page(title: str, text: str, form: str, status: int = 200) -> web.Response:
    body = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">\n'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1><p>{escape(text)}</p>{form}</main></body></html>\n"
    )
    headers = {"Content-Security-Policy": _POLICY}
    return web.Response(text=body, status=status, content_type="text/html", charset="utf-8", headers=headers)

"""Which pages may talk to us: our own, and those of ``REALTIME_ALLOWED_ORIGINS``, compared exactly.

Browsers name the page's origin in every request across origins and in every WebSocket handshake. So a request of
another page is refused before it is read. Programs that are no browsers name no origin.
"""

from urllib.parse import urlsplit

from aiohttp import web

from services.realtime.access.refusals import Refusal

# Stands for our own origin, which has many names behind proxies.
OWN = "self"
# What a browser sends when it hides a page's origin (Fetch, 3.2).
_HIDDEN = "null"

_PREFLIGHT_S = 600
_METHODS = "GET, POST, PUT, DELETE"
_HEADERS = "Authorization, Content-Type, Last-Event-ID"


class Origins:
    """The rule of one process."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    def of(self, request: web.Request) -> str | None:
        """Return the origin of a request: ``OWN``, an allowed one, or None when it names none.

        Raises:
            Refusal: it is another page's, or no origin at all.
        """
        origin = request.headers.get("Origin")
        if origin is None:
            # A page's own GET requests name no origin. Fetch Metadata (W3C) says where they come from.
            return OWN if request.headers.get("Sec-Fetch-Site") == "same-origin" else None
        place = _place(origin)
        # The scheme is not compared: behind a proxy that ends TLS we see http where the browser sees https.
        if place.lower() == request.host.lower():
            return OWN
        if origin in self._allowed:
            return origin
        raise Refusal(403, "forbidden_origin", "This page may not talk to this server.")

    def preflight(self, request: web.Request) -> web.Response | None:
        """Answer the question a browser asks before a request across origins (Fetch, 3.3.2), None for any other."""
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _HEADERS,
                "Access-Control-Max-Age": str(_PREFLIGHT_S),
            },
        )

    async def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let an allowed page read the answer; a hook for every response."""
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin in self._allowed:
            response.headers["Access-Control-Allow-Origin"] = str(origin)
            # Without this its script could not see the header (Fetch, 3.3.5).
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"


def _place(origin: str) -> str:
    """Return host and port of an origin; an empty text for a hidden one.

    Raises:
        Refusal: it is none.
    """
    if origin == _HIDDEN:
        return ""
    try:
        url = urlsplit(origin)
    except ValueError:
        url = None
    if url is None or not (url.scheme and url.netloc):
        raise Refusal(400, "bad_request", "The header Origin names no origin.")
    return url.netloc

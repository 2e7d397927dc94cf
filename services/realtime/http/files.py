"""Serves the modules in ``page/``, and on request the page for trying out, each with its content security policy.

The files are read when the process starts. Later changes in the folder have no effect.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import ETag, web

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}

# The form of a Host header. Nothing else may get into the policy.
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")

# The files of the page for trying out. All others are what other people's pages include (docs/guides/web.md).
_DEMO = frozenset({"index.html", "page.css", "page.js"})

_WORKER = "carillon-sw.js"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def page_routes(*, demo: bool, public_url: str | None = None) -> list[web.RouteDef]:
    """Return a route for each file, and ``/`` for the page for trying out.

    Args:
        demo: whether that page is served; everybody with a token can read his inbox there.
        public_url: where the links of alerts lead, which the service worker calls under whatever name it was loaded.
    """
    folder = Path(str(resources.files("services.realtime") / "page"))
    routes: list[web.RouteDef] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix in _TYPES and (demo or name not in _DEMO):
            calls = public_url if name == _WORKER else None
            handler = file_handler(path.read_bytes(), _TYPES[path.suffix], calls)
            routes.append(web.get(f"/{name}", handler))
            if name == "index.html":
                routes.append(web.get("/", handler))
    return routes


def file_handler(content: bytes, content_type: str, calls: str | None = None) -> Handler:
    """Make the handler that serves one file; browsers ask each time whether it changed.

    Args:
        calls: a URL of another origin that the file may call.
    """
    tag = hashlib.sha256(content).hexdigest()[:32]

    async def handle(request: web.Request) -> web.Response:
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": content_security_policy(request, calls)}
        known = any(match.value in (tag, "*") for match in request.if_none_match or ())
        if known:
            response = web.Response(status=304, headers=headers)
        else:
            response = web.Response(body=content, content_type=content_type, charset="utf-8", headers=headers)
        response.etag = ETag(tag)
        return response

    return handle


def content_security_policy(request: web.Request, calls: str | None = None) -> str:
    """Write the policy of one answer.

    WebSockets to the same host are named, because ``'self'`` does not include them in every browser.

    Args:
        calls: as for ``file_handler``.
    """
    sockets = f" ws://{request.host} wss://{request.host}" if _HOST.fullmatch(request.host) else ""
    other = urlsplit(calls or "")
    called = f" {other.scheme}://{other.netloc}" if _HOST.fullmatch(other.netloc) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self'{sockets}{called}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

"""Describes what goes over MQTT, at ``/v1/asyncapi``: an AsyncAPI document for programs, a page for people.

The document, ``asyncapi.json``, is generated from the router's models (``make rules``) and shipped as a file, because
this service has none of the router's code. A test keeps it fresh.
"""

import json
from importlib import resources
from typing import Any

from aiohttp import web

from services.realtime.access.refusals import FieldProblem, invalid
from services.realtime.http.asyncapi_page import write_asyncapi_page
from services.realtime.http.files import Handler, file_handler

_JSON = "application/json"
_HTML = "text/html"


def read_asyncapi() -> dict[str, Any]:
    """Return the document."""
    document: dict[str, Any] = json.loads((resources.files(__package__) / "asyncapi.json").read_text())
    return document


def asyncapi_routes() -> list[web.RouteDef]:
    """Return the route of the document and its page."""
    document = read_asyncapi()
    shown: dict[str, Handler] = {
        "json": file_handler(json.dumps(document).encode(), _JSON),
        "html": file_handler(write_asyncapi_page(document).encode(), _HTML),
    }

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = request.query.get("format")
        if asked is None:
            asked = "html" if _prefers_page(request.headers.get("Accept", "")) else "json"
        if asked not in shown:
            raise invalid(FieldProblem("format", "must be json or html"))
        response = await shown[asked](request)
        response.headers["Vary"] = "Accept"
        return response

    return [web.get("/v1/asyncapi", handle)]


def _prefers_page(accept: str) -> bool:
    """Tell whether a page is asked for, as browsers do, who name HTML and take JSON as one of all other types."""
    named = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    return _HTML in named and (_JSON not in named or named.index(_HTML) < named.index(_JSON))

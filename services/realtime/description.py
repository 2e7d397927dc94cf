"""What describes the service to programs and people: the API's OpenAPI document and page, and what goes over MQTT.

All of it follows from the code alone, and takes a tenth of a second to write. A process writes it once.
"""

import json
from functools import cache
from typing import Any

from aiohttp import web

from services.realtime.alertmanager.operations import ALERTMANAGER_OPERATIONS
from services.realtime.http.api_page import api_page_routes
from services.realtime.http.asyncapi import asyncapi_routes
from services.realtime.http.files import file_handler
from services.realtime.http.openapi import describe
from services.realtime.http.operations import OPERATIONS
from services.realtime.publish.operations import PUBLISHER_OPERATIONS


@cache
def description() -> dict[str, Any]:
    """Return the OpenAPI document of all calls."""
    return describe((*OPERATIONS, *PUBLISHER_OPERATIONS, *ALERTMANAGER_OPERATIONS))


@cache
def description_routes(*, viewer: bool) -> tuple[web.RouteDef, ...]:
    """Return the routes of documents and pages.

    Args:
        viewer: whether the API's page links to the viewer.
    """
    return (
        web.get("/v1/openapi.json", file_handler(json.dumps(description()).encode(), "application/json")),
        *asyncapi_routes(),
        *api_page_routes(description(), viewer=viewer),
    )

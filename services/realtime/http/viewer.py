"""Swagger UI over the API's description, for trying calls out: at ``/api/try``, beside the page for trying out.

Needs no network, and no exception from the policy of the other pages. Its files come from a package of the extra
``viewer``, which stands in the developers' lock with its hash. The images do not have it: there ``/api/try`` does not
exist.
"""

from importlib.util import find_spec
from pathlib import Path

from aiohttp import web

from services.realtime.http.files import file_handler

# Found but never imported: the package is made for Flask, which is not used here.
_PACKAGE = "flask_swagger_ui"
_FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}

_PAGE = b"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Carillon realtime: try the API</title>
<link rel="icon" href="../icon.svg">
<link rel="stylesheet" href="swagger-ui.css">
</head>
<body>
<main id="viewer"></main>
<script src="swagger-ui-bundle.js"></script>
<script src="viewer.js"></script>
</body>
</html>
"""
# Without an address the page does not send the document to the validator of Swagger's makers.
_START = b"""\
SwaggerUIBundle({ url: "../v1/openapi.json", dom_id: "#viewer", validatorUrl: null });
"""


def viewer_routes() -> list[web.RouteDef]:
    """Return the routes of the viewer, none where its package is not installed."""
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return []
    folder = Path(found.submodule_search_locations[0]) / "dist"
    return [
        web.get("/api/try", file_handler(_PAGE, "text/html")),
        web.get("/api/viewer.js", file_handler(_START, "text/javascript")),
        *(web.get(f"/api/{name}", file_handler((folder / name).read_bytes(), kind)) for name, kind in _FILES.items()),
    ]

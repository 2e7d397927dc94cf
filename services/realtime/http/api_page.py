"""The API's description as a page for people, at ``/api``: HTML and a style sheet of our own, no scripts.

It is written from the document of ``openapi`` when the process starts, so the two always agree.
"""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from aiohttp import web

from services.realtime.http.files import file_handler

_CODE = re.compile(r"`([^`]*)`")

_REFERENCE = re.compile(r"#/components/schemas/(\w+)")
_LINK = r'<a href="#\1">\1</a>'

_STYLE = b"""\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
h3 { margin-top: 2rem; font: 600 1rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .75rem; background: color-mix(in srgb, currentColor 7%, transparent); }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; }
th, td { padding: .2rem 1rem .2rem 0; text-align: start; vertical-align: top; }
"""


def api_page_routes(description: Mapping[str, Any], *, viewer: bool) -> list[web.RouteDef]:
    """Return the routes of the page and its style sheet.

    Args:
        viewer: whether the page links to the viewer.
    """
    return [
        web.get("/api", file_handler(write_page(description, viewer=viewer).encode(), "text/html")),
        web.get("/api.css", file_handler(_STYLE, "text/css")),
    ]


def write_page(description: Mapping[str, Any], *, viewer: bool = False) -> str:
    """Write an OpenAPI description as HTML."""
    return "\n".join(_page(description, viewer=viewer))


def _page(description: Mapping[str, Any], *, viewer: bool) -> Iterator[str]:
    info, components = description["info"], description["components"]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<title>{escape(info["title"])}</title><link rel="icon" href="icon.svg">'
    yield '<link rel="stylesheet" href="api.css"></head><body>'
    yield f"<h1>{escape(info['title'])}</h1><p>{prose(info['description'])}</p>"
    try_out = ' For trying calls out: <a href="api/try">Swagger UI</a>.' if viewer else ""
    yield f'<p>For programs: <a href="v1/openapi.json">OpenAPI 3.1</a>.{try_out}</p>'
    yield '<p>What goes over MQTT: <a href="v1/asyncapi">topics, payloads and receipts</a>.</p>'
    for tag in description["tags"]:
        yield f"<h2>{escape(tag['name'].capitalize())}</h2>"
        for path, methods in description["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(method, path, operation, description)
    yield "<h2>Shapes</h2>"
    for name, schema in components["schemas"].items():
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3>{_schema(schema)}'
    yield "</body></html>"


def _operation(method: str, path: str, operation: Mapping[str, Any], description: Mapping[str, Any]) -> Iterator[str]:
    yield f'<h3 id="{escape(operation["operationId"])}">{method.upper()} {escape(path)}</h3>'
    yield f"<p>{prose(operation['summary'])}. {prose(operation.get('description', ''))}</p>"
    proofs = [proof for choice in operation.get("security", description["security"]) for proof in choice]
    yield f"<p>Asks for: {' or '.join(proofs) or 'nothing'}.</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>parameter</th><th>in</th><th>shape</th><th>meaning</th></tr>"
        for parameter in parameters:
            yield (
                f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}</td>"
                f"<td><code>{escape(json.dumps(parameter['schema']))}</code></td>"
                f"<td>{prose(parameter.get('description', ''))}</td></tr>"
            )
        yield "</table>"
    if body := operation.get("requestBody"):
        yield f"<p>Body:</p>{_content(body)}"
    yield "<table><tr><th>answer</th><th>meaning</th></tr>"
    for status, answer in sorted(operation["responses"].items()):
        known = description["components"]["responses"].get(answer.get("$ref", "").rpartition("/")[2], answer)
        yield f"<tr><td>{status}</td><td>{prose(known['description'])}{_shape_of(known)}</td></tr>"
    yield "</table>"


def _content(body: Mapping[str, Any]) -> str:
    # Each media type has the same schema.
    media = next(iter(body["content"].values()))
    return _schema(media["schema"])


def _shape_of(answer: Mapping[str, Any]) -> str:
    for media in answer.get("content", {}).values():
        name = media["schema"].get("$ref", "").rpartition("/")[2]
        if name:
            return f' <a href="#{escape(name)}">{escape(name)}</a>'
    return ""


def _schema(schema: Mapping[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return f'<p><a href="#{escape(name)}">{escape(name)}</a></p>'
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False), quote=False)
    return f"<pre>{_REFERENCE.sub(_LINK, text)}</pre>"


def prose(text: str) -> str:
    """Write a description: what stands between backquotes is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text, quote=False))

"""The outbox for people and programs, and the script of faults.

Promises that what strangers sent is shown as text and never run: the page has a strict content security policy and
inserts everything as text. Other sites in the same browser cannot change anything here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path

from aiohttp import web
from pydantic import ValidationError

from sandbox.kept import Entry, Kept
from sandbox.script import Rule, Script, TooManyRulesError

_FOLDER = Path(__file__).with_name("page")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# Parsing mails takes time: after so many entries other exchanges get their turn.
_ENTRIES_AT_ONCE = 100


class Page:
    """Everything under the sandbox's HTTP address that is not a provider."""

    def __init__(self, kept: Kept, script: Script) -> None:
        self._kept = kept
        self._script = script
        self._files = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in _FOLDER.iterdir()}

    def routes(self) -> list[web.RouteDef]:
        """What is served."""
        return [
            web.get("/", self._index),
            web.get("/page/{name}", self._file),
            web.get("/outbox.json", self._entries),
            web.delete("/outbox.json", from_here(self._clear)),
            web.get("/script", self._rules),
            web.post("/script", from_here(self._add_rule)),
            web.delete("/script", from_here(self._clear_script)),
            web.get("/healthz", self._health),
        ]

    async def _index(self, _: web.Request) -> web.Response:
        return self._page_file("index.html")

    async def _file(self, request: web.Request) -> web.Response:
        return self._page_file(request.match_info["name"])

    def _page_file(self, name: str) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound
        content, kind = self._files[name]
        return web.Response(body=content, content_type=kind, charset="utf-8", headers=_PAGE_HEADERS)

    async def _entries(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        try:
            since = int(query.get("since", "0"))
            limit = int(query["limit"]) if "limit" in query else None
        except ValueError:
            raise web.HTTPBadRequest(text="since and limit are whole numbers\n") from None
        chosen = self._kept.select(since=since, channel=query.get("channel"), to=query.get("to"), limit=limit)
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/json; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                # With these a program that polls notices a restart, and entries that were dropped.
                "Outbox-Epoch": self._kept.epoch,
                "Outbox-First": str(self._kept.first_n),
                "Outbox-Size": str(len(self._kept)),
            }
        )
        await response.prepare(request)
        await _write_array(response, chosen)
        return response

    async def _clear(self, _: web.Request) -> web.Response:
        self._kept.clear()
        return web.Response(status=204)

    async def _rules(self, _: web.Request) -> web.Response:
        return web.json_response([scripted.as_json() for scripted in self._script.rules])

    async def _add_rule(self, request: web.Request) -> web.Response:
        try:
            rule = Rule.model_validate_json(await request.read())
        except ValidationError as error:
            problems = [
                {"field": ".".join(str(part) for part in problem["loc"]), "problem": problem["msg"]}
                for problem in error.errors(include_url=False, include_input=False, include_context=False)
            ]
            return web.json_response({"problems": problems}, status=400)
        try:
            scripted = self._script.add(rule)
        except TooManyRulesError:
            return web.json_response({"problems": [{"field": "", "problem": "too many rules"}]}, status=409)
        return web.json_response(scripted.as_json(), status=201)

    async def _clear_script(self, _: web.Request) -> web.Response:
        self._script.clear()
        return web.Response(status=204)

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "entries": len(self._kept)})


Handler = Callable[[web.Request], Awaitable[web.Response]]


def from_here(handler: Handler) -> Handler:
    """Refuse what a browser sends on behalf of another site; programs send no such header."""

    async def serve(request: web.Request) -> web.Response:
        if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            raise web.HTTPForbidden(text="not from another site\n")
        return await handler(request)

    return serve


async def _write_array(response: web.StreamResponse, entries: list[Entry]) -> None:
    """Write entries as one JSON array, letting others run in between."""
    separator = "["
    remaining = iter(entries)
    while batch := list(islice(remaining, _ENTRIES_AT_ONCE)):
        text = ",\n".join(json.dumps(entry.as_json(), ensure_ascii=False) for entry in batch)
        # A broken mail can hold lone surrogates, which UTF-8 cannot.
        await response.write((separator + text).encode("utf-8", "backslashreplace"))
        separator = ",\n"
        await asyncio.sleep(0)
    await response.write(b"]\n" if separator != "[" else b"[]\n")
    await response.write_eof()

"""The console's HTTP, for operators: ``POST /v1/explain``, ``POST /v1/replay-decisions`` and ``GET /v1/categories``.

Promises:

- Whoever has no token learns nothing but that one is needed.
- Nothing is written, and nothing that was asked stands in a log.
- A request ends within its time, and few are answered at once: an operator's question must not slow the system down.
  What comes beyond that is refused and may come again.

Errors are those of the realtime service: ``{"error": {"code", "message", "fields"}}``.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from carillon.console.api_requests import ExplainRequest, ReplayRequest
from carillon.console.backend import Backend
from services.realtime.access.refusals import (
    FieldProblem,
    Refusal,
    from_http,
    from_status,
    from_validation,
    invalid,
    unavailable,
)
from services.router.explaining.building import explainer
from services.router.explaining.documents import category_document, difference_document, explanation_document
from services.router.explaining.explainer import FixedClock
from services.router.explaining.overlay import BadRecord, read_records
from services.router.explaining.replaying import Replay
from shared.core.clock import SystemClock
from shared.core.errors import StoreUnavailable
from shared.directory.catalogue import Catalogues

log = logging.getLogger(__name__)

BODY_BYTES = 4 * 1024 * 1024
EXPLAIN_S = 10.0
REPLAY_S = 120.0
EXPLAINS = 8
REPLAYS = 1

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_RequestT = TypeVar("_RequestT", bound=BaseModel)


class Api:
    """Answers operators' questions about one system, to whoever has the token.

    Args:
        token: what a request must present.
    """

    def __init__(self, backend: Backend, token: str) -> None:
        self._store = backend.store
        self._keys = backend.keys
        self._prefix = backend.topic_prefix
        self._topics = backend.topics
        self._rules = backend.rules
        self._token = token.encode()
        self._explains = _Places(EXPLAINS)
        self._replays = _Places(REPLAYS)

    def application(self) -> web.Application:
        """Put together what is served under ``/v1/``."""
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES)
        app.add_routes(
            [
                web.post("/explain", self.explain),
                web.post("/replay-decisions", self.replay_decisions),
                web.get("/categories", self.categories, allow_head=False),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            self._check_token(request)
            response = await handler(request)
        except Refusal as refusal:
            response = refusal.response()
        except web.HTTPException as error:
            response = from_http(error).response()
        except StoreUnavailable:
            response = unavailable().response()
        except TimeoutError:
            response = Refusal(504, "too_slow", "It takes too long. Ask about less.").response()
        except Exception as error:  # noqa: BLE001 - a request's mistake must not stop the console
            # Without its text: that may quote what was asked.
            log.error("a request failed", extra={"error": type(error).__name__})  # noqa: TRY400
            response = from_status(500).response()
        response.headers["Cache-Control"] = "no-store"
        return response

    def _check_token(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        presented = token.strip().encode(errors="surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(presented, self._token):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Refusal(401, "unauthorized", "The console's token is required.", headers=challenge)

    async def explain(self, request: web.Request) -> web.Response:
        """Say who would hear what, when and why."""
        asked = await _read(request, ExplainRequest)
        clock = SystemClock() if asked.at is None else FixedClock(asked.at)
        with self._explains.hold():
            async with asyncio.timeout(EXPLAIN_S):
                explaining = explainer(self._store, self._keys, self._topics, self._rules, clock)
                payload = json.dumps(asked.payload).encode()
                explanation = await explaining.explain(self._prefix + asked.topic, payload, asked.user)
        return web.json_response(explanation_document(explanation))

    async def replay_decisions(self, request: web.Request) -> web.Response:
        """Say what a change would have done to what was sent lately."""
        asked = await _read(request, ReplayRequest)
        try:
            overlay = read_records(asked.records)
        except BadRecord as bad:
            at = f"with.{bad.number - 1}"
            problems = [FieldProblem(f"{at}.{each.field}", each.problem) for each in bad.why.fields]
            raise invalid(*(problems or [FieldProblem(at, bad.why.message)])) from None
        now = datetime.now(UTC)
        with self._replays.hold():
            async with asyncio.timeout(REPLAY_S):
                difference = await Replay(self._store, self._keys, self._rules, overlay).run(
                    now - asked.since, now, user_id=asked.user, people=asked.people, limit=asked.limit
                )
        return web.json_response(difference_document(difference, people=asked.people))

    async def categories(self, request: web.Request) -> web.Response:
        """List the categories that have a record; with ``tenant`` those that this tenant's notifications have."""
        async with asyncio.timeout(EXPLAIN_S):
            catalogue = await Catalogues(self._store, self._keys).all()
        tenant = request.query.get("tenant")
        if tenant is not None and catalogue.tenant(tenant) is None:
            raise Refusal(404, "not_found", "There is nothing by that name.")
        return web.json_response([category_document(known) for known in catalogue.known_to(tenant)])


class _Places:
    """So many requests at once."""

    def __init__(self, most: int) -> None:
        self._free = most

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Take a place.

        Raises:
            Refusal: there is none.
        """
        if not self._free:
            raise Refusal(429, "too_many_requests", "Others are being answered.", headers={"Retry-After": "5"})
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


async def _read(request: web.Request, model: type[_RequestT]) -> _RequestT:
    async with asyncio.timeout(EXPLAIN_S):
        body = await request.read()
    try:
        document: Mapping[str, Any] = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid(FieldProblem("body", "must be a JSON object")) from None
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise from_validation(error) from None

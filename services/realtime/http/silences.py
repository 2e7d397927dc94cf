"""Silences over HTTP, for admins: which there are, a new one, and the end of one."""

import asyncio
import json
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from services.realtime.access.bodies import json_object
from services.realtime.access.guard import Guard
from services.realtime.access.refusals import FieldProblem, from_validation, invalid, not_found
from services.realtime.http.shapes import NewSilence, SilencesQuery
from shared.core.clock import Clock, from_epoch_ms
from shared.directory.directory import Directory
from shared.directory.rulebook import RULES, Rulebook, TooManyRules
from shared.directory.silences import Silence
from shared.ledger.held import Muted
from shared.ledger.silencing import Ended, Silencing


class SilenceCalls:
    """The calls, as handlers."""

    def __init__(self, guard: Guard, directory: Directory, clock: Clock, *, rulebook: Rulebook, muted: Muted) -> None:
        self._guard = guard
        self._directory = directory
        self._clock = clock
        self._rulebook = rulebook
        self._silencing = Silencing(rulebook, muted, clock)

    def routes(self) -> list[web.RouteDef]:
        """Return the calls with their paths."""
        return [
            web.get("/v1/silences", self.list),
            web.post("/v1/silences", self.add),
            web.delete("/v1/silences/{id}", self.end),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """List the silences that hold or are to begin, the one that ends first at the top."""
        await self._admin(request)
        try:
            is_all = SilencesQuery.model_validate(dict(request.query)).all
        except ValidationError as error:
            raise from_validation(error) from None
        found, matched = await self._rulebook.all(Silence), await self._rulebook.matched(Silence)
        now = self._clock.now()
        shown = sorted(
            ((name, each) for name, each in found.items() if is_all or now < each.ends_at),
            key=lambda pair: (pair[1].ends_at, pair[0]),
        )
        # In a thread: thousands of them take longer to write than other clients should wait.
        return await asyncio.to_thread(
            lambda: _json({"silences": [self._document(name, each, matched.get(name)) for name, each in shown]})
        )

    async def add(self, request: web.Request) -> web.Response:
        """Begin a silence, or write down when it begins."""
        user_id = await self._admin(request)
        try:
            said = NewSilence.model_validate(await json_object(request))
            starts_at = said.starts_at or self._clock.now()
            ends_at = starts_at + said.length if said.length is not None else said.ends_at
            silence = Silence.model_validate(
                {
                    "matchers": said.matchers,
                    "starts_at": starts_at,
                    "ends_at": ends_at,
                    "comment": said.comment,
                    "created_by": user_id,
                }
            )
        except ValidationError as error:
            raise from_validation(error) from None
        if silence.ends_at <= self._clock.now():
            raise invalid(FieldProblem("for" if said.length is not None else "ends_at", "must be in the future"))
        try:
            silence_id = await self._silencing.begin(silence)
        except TooManyRules:
            raise invalid(FieldProblem("matchers", f"too many silences: at most {RULES}")) from None
        return _json(self._document(silence_id, silence, None), status=201)

    async def end(self, request: web.Request) -> web.Response:
        """End a silence now, or delete one that has not begun."""
        await self._admin(request)
        if await self._silencing.end(request.match_info["id"]) is Ended.UNKNOWN:
            raise not_found()
        return web.Response(status=204)

    async def _admin(self, request: web.Request) -> str:
        identity = await self._guard.user(request)
        person = await self._directory.person(identity.user_id)
        # They are about everybody's alerts, so a token of one tenant does not reach them.
        if identity.tenant is not None or person is None or not person.is_admin:
            raise not_found()
        return identity.user_id

    def _document(self, silence_id: str, silence: Silence, matched_s: int | None) -> dict[str, Any]:
        document = json.loads(silence.model_dump_json(exclude_none=True))
        last = {} if matched_s is None else {"last_matched": _moment(matched_s)}
        return {"id": silence_id, "state": silence.state_at(self._clock.now()), **document, **last}


def _moment(seconds: int) -> str:
    return from_epoch_ms(seconds * 1000).isoformat().replace("+00:00", "Z")


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(document, status=status, headers={"Cache-Control": "no-store"})

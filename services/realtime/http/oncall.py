"""Who is on call, for people and for their calendar programs.

Promises that only those see it who have to do with it: the people whom the entry puts on call, and the admins. For
others there is nothing by that name. A calendar's link shows its one calendar to whoever has it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from services.realtime.access.bodies import whole_number
from services.realtime.access.guard import Guard
from services.realtime.access.rates import Rates
from services.realtime.access.refusals import FieldProblem, invalid, not_found, too_many_requests
from services.realtime.http.shapes import WEEKS_MOST
from shared.core.clock import Clock
from shared.directory.directory import Directory
from shared.directory.rota import Rota, read_rota
from shared.directory.rota_calendar import calendar, is_link_of

# What the links of one calendar may ask: programs ask once an hour, and a large one takes a tenth of a second to write.
_LINK_PER_S = 2.0
_LINK_BURST = 50


class OnCallCalls:
    """The calls, as handlers.

    Args:
        secrets: what the links of calendars are signed with, the newest first; none where there are no links.
    """

    def __init__(self, guard: Guard, directory: Directory, clock: Clock, secrets: Sequence[str]) -> None:
        self._guard = guard
        self._directory = directory
        self._clock = clock
        self._secrets = secrets
        self._rates = Rates(_LINK_PER_S, _LINK_BURST)

    def routes(self) -> list[web.RouteDef]:
        """Return the calls with their paths."""
        # The first that fits is taken: a type whose name ends in .ics has a calendar only.
        return [
            web.get("/v1/oncall/{type}.ics", self.calendar),
            web.get("/v1/oncall/{type}", self.show),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Show who is on call, who is next, and the shifts of some weeks where they are asked for."""
        user_id = (await self._guard.user(request)).user_id
        weeks = whole_number(request, "weeks", 1) if "weeks" in request.query else 0
        if weeks > WEEKS_MOST:
            raise invalid(FieldProblem("weeks", f"must be at most {WEEKS_MOST}"))
        rota = await self._rota_for(request, user_id)
        now = self._clock.now()

        def document() -> dict[str, Any]:
            return rota.now_document(now) | (rota.weeks_document(now, weeks) if weeks else {})

        # In a thread: a rota of many turns takes longer than other clients should wait.
        return web.json_response(await asyncio.to_thread(document))

    async def calendar(self, request: web.Request) -> web.Response:
        """Write the calendar, for a user or for a link."""
        if self._is_by_link(request):
            if wait_s := self._rates.take(_alert_type(request)):
                raise too_many_requests("Too many requests with this link in too short a time.", wait_s)
            rota = await self._rota(request)
        else:
            rota = await self._rota_for(request, (await self._guard.user(request)).user_id)
        text = await asyncio.to_thread(calendar, rota, self._clock.now())
        return web.Response(text=text, content_type="text/calendar", charset="utf-8")

    def _is_by_link(self, request: web.Request) -> bool:
        token = request.query.get("token")
        if token is None:
            return False
        return any(is_link_of(secret, _alert_type(request), token) for secret in self._secrets)

    async def _rota_for(self, request: web.Request, user_id: str) -> Rota:
        rota = await self._rota(request)
        # Only those are looked up here whom the entry names.
        if user_id not in rota.people:
            person = await self._directory.person(user_id)
            if person is None or not person.is_admin:
                raise not_found()
        return rota

    async def _rota(self, request: web.Request) -> Rota:
        rota = await read_rota(self._directory, _alert_type(request))
        if rota is None:
            raise not_found()
        return rota


def _alert_type(request: web.Request) -> str:
    return request.match_info["type"]

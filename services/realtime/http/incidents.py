"""Alerts over HTTP: incidents as people see them, and the answers that people give.

Promises that only somebody who was told of an alert, or an admin, sees or answers it. For others there is nothing by
that name. The list is for admins. A page of it reads a bounded number of records.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from services.realtime.access.bodies import json_object, whole_number
from services.realtime.access.guard import Guard
from services.realtime.access.refusals import FieldProblem, Refusal, from_validation, invalid, not_found
from services.realtime.http.shapes import (
    INCIDENT_STATES,
    INCIDENTS_DEFAULT,
    INCIDENTS_MOST,
    Acknowledgement,
    AlertSnooze,
    Reassignment,
)
from shared.core.clock import Clock, epoch_ms
from shared.core.incidents import Way
from shared.directory.directory import Directory
from shared.inbox.timeline import is_seen_by
from shared.ledger.alerts import Answered
from shared.ledger.answering import LONGEST_SNOOZE, Answering
from shared.ledger.incident_documents import entry_document, incident_document, members_document
from shared.ledger.incidents import Entry, Incident, Incidents, Place
from shared.ledger.told_alert import ToldAlerts

# Of a group, so many of its alerts; the newest.
MEMBERS_SHOWN = 200

_ModelT = TypeVar("_ModelT", bound=BaseModel)


class IncidentCalls:
    """The calls, as handlers."""

    def __init__(
        self,
        guard: Guard,
        directory: Directory,
        clock: Clock,
        *,
        incidents: Incidents,
        told: ToldAlerts,
        answering: Answering,
    ) -> None:
        self._guard = guard
        self._directory = directory
        self._clock = clock
        self._incidents = incidents
        self._told = told
        self._answering = answering

    def routes(self) -> list[web.RouteDef]:
        """Return the calls with their paths."""
        return [
            web.get("/v1/incidents", self.list),
            web.get("/v1/incidents/{id}", self.show),
            web.post("/v1/alerts/{id}/acknowledge", self.acknowledge),
            web.post("/v1/alerts/{id}/resolve", self.resolve),
            web.post("/v1/alerts/{id}/snooze", self.snooze),
            web.post("/v1/alerts/{id}/reassign", self.reassign),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """List the incidents that are not over, the newest first, to an admin."""
        identity = await self._guard.user(request)
        person = await self._directory.person(identity.user_id)
        if person is None or not person.is_admin:
            raise not_found()
        state, before = _state(request), _before(request)
        most = min(whole_number(request, "limit", INCIDENTS_DEFAULT), INCIDENTS_MOST)

        def is_wanted(incident: Incident) -> bool:
            return state in (None, incident.word) and is_seen_by(identity.tenant, incident.tenant)

        page = await self._incidents.page(most, before, is_wanted)
        listed: dict[str, Any] = {"incidents": [incident_document(each) for each in page.incidents]}
        return _json(listed if page.last is None else listed | {"next": str(page.last)})

    async def show(self, request: web.Request) -> web.Response:
        """Show an incident and its timeline to somebody who was told of it, or to an admin."""
        identity = await self._guard.user(request)
        incident = await self._incidents.get(_id(request))
        if incident is None or not is_seen_by(identity.tenant, incident.tenant):
            raise not_found()
        if await self._told.shown_to(identity.user_id, incident.id) is None:
            raise not_found()
        timeline = await self._incidents.timeline(incident.id)
        members = members_document(incident, *await self._incidents.members(incident.id, MEMBERS_SHOWN))
        # In a thread: a long timeline takes longer to write than other clients should wait.
        return await asyncio.to_thread(_shown, incident, timeline, members)

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Acknowledge an alert: its escalation ends."""
        user_id = (await self._guard.user(request)).user_id
        said = await _body(request, Acknowledgement, optional=True)
        return await _answered(self._answering.acknowledge(_id(request), user_id, said.note, way=Way.HTTP))

    async def resolve(self, request: web.Request) -> web.Response:
        """Say that the trouble is over."""
        user_id = (await self._guard.user(request)).user_id
        said = await _body(request, Acknowledgement, optional=True)
        return await _answered(self._answering.resolve(_id(request), user_id, said.note, way=Way.HTTP))

    async def snooze(self, request: web.Request) -> web.Response:
        """Put an alert away for a while: then it is open again."""
        user_id = (await self._guard.user(request)).user_id
        said = await _body(request, AlertSnooze)
        until_ms = epoch_ms(said.ends_at(self._clock.now(), LONGEST_SNOOZE))
        return await _answered(self._answering.snooze(_id(request), user_id, until_ms, said.note, way=Way.HTTP))

    async def reassign(self, request: web.Request) -> web.Response:
        """Hand an alert on: it is open again, and escalates from there."""
        user_id = (await self._guard.user(request)).user_id
        said = await _body(request, Reassignment)
        return await _answered(self._answering.reassign(_id(request), user_id, said.to, said.note, way=Way.HTTP))


async def _answered(answer: Awaitable[Answered]) -> web.Response:
    answered = await answer
    if answered is Answered.OVER:
        raise Refusal(409, "over", "This alert is over.")
    if not answered:
        raise not_found()
    return web.Response(status=204)


async def _body(request: web.Request, model: type[_ModelT], *, optional: bool = False) -> _ModelT:
    try:
        return model.model_validate(await json_object(request, optional=optional))
    except ValidationError as error:
        raise from_validation(error) from None


def _shown(incident: Incident, timeline: list[Entry], members: dict[str, Any]) -> web.Response:
    entries = [entry_document(entry) for entry in timeline]
    return _json(incident_document(incident) | members | {"timeline": entries})


def _json(document: dict[str, Any]) -> web.Response:
    return web.json_response(document, headers={"Cache-Control": "no-store"})


def _id(request: web.Request) -> str:
    return request.match_info["id"]


def _state(request: web.Request) -> str | None:
    state = request.query.get("state")
    if state is not None and state not in INCIDENT_STATES:
        raise invalid(FieldProblem("state", f"must be one of {', '.join(INCIDENT_STATES)}"))
    return state


def _before(request: web.Request) -> Place | None:
    text = request.query.get("before")
    if text is None:
        return None
    place = Place.read(text)
    if place is None:
        raise invalid(FieldProblem("before", "must be the next of an earlier page"))
    return place

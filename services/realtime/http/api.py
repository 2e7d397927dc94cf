"""The HTTP API: inbox, preferences, devices, tickets.

Promises that users reach only what is theirs: every call works on the ``sub`` of the token. What belongs to somebody
else looks as if it did not exist. A call with nothing to answer answers 204.
"""

import json
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from services.realtime.access.bodies import json_object, whole_number
from services.realtime.access.guard import Guard
from services.realtime.access.refusals import (
    FieldProblem,
    Refusal,
    from_validation,
    invalid,
    not_found,
    unavailable,
)
from services.realtime.access.snooze import Snooze
from services.realtime.access.tickets import TICKET_S
from services.realtime.http.choosing import Choosing
from services.realtime.http.shapes import PAGE_DEFAULT, PAGE_MOST, Ticket, WebPushKey
from services.realtime.node.acting import Acting
from services.realtime.node.changes import Changes, NotSnoozed
from services.realtime.sessions.alert_states import AlertStates
from shared.core.clock import Clock, epoch_ms
from shared.core.errors import BrokerUnavailable
from shared.directory.directory import Directory
from shared.directory.people import DEVICES, Device, OwnChoices, Person
from shared.inbox.inbox import Change
from shared.inbox.timeline import Mark
from shared.ledger.held import Held
from shared.ledger.ledger import Ledger

_devices: TypeAdapter[Device] = TypeAdapter(Device)

_STATES: dict[str | None, Collection[Mark]] = {
    None: (Mark.UNREAD, Mark.READ),
    "unread": (Mark.UNREAD,),
    "read": (Mark.READ,),
    "archived": (Mark.ARCHIVED,),
    "snoozed": (Mark.SNOOZED,),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The calls of the API, as handlers."""

    def __init__(
        self,
        guard: Guard,
        changes: Changes,
        directory: Directory,
        ledger: Ledger,
        clock: Clock,
        *,
        acting: Acting,
        choosing: Choosing,
        held: Held,
        webpush_key: str | None = None,
    ) -> None:
        self._guard = guard
        self._changes = changes
        self._directory = directory
        self._clock = clock
        self._acting = acting
        self._choosing = choosing
        self._held = held
        self._alerts = AlertStates(ledger)
        self._webpush_key = webpush_key

    def routes(self) -> list[web.RouteDef]:
        """Return the calls with their paths."""
        return [
            web.get("/v1/inbox", self.inbox),
            web.post("/v1/inbox/read-all", self.read_all),
            web.post("/v1/inbox/{id}/read", self.mark("read")),
            web.post("/v1/inbox/{id}/unread", self.mark("unread")),
            web.post("/v1/inbox/{id}/archive", self.mark("archive")),
            web.post("/v1/inbox/{id}/snooze", self.snooze),
            web.delete("/v1/inbox/{id}/snooze", self.end_snooze),
            web.post("/v1/inbox/{id}/actions/{action}", self.act),
            web.get("/v1/preferences", self.preferences),
            web.put("/v1/preferences", self.put_preferences),
            web.post("/v1/devices", self.add_device),
            web.delete("/v1/devices/{token}", self.remove_device),
            web.get("/v1/webpush", self.webpush),
            web.post("/v1/tickets", self.ticket),
        ]

    async def inbox(self, request: web.Request) -> web.Response:
        """List notifications, newest first."""
        identity = await self._guard.user(request)
        user_id, tenant = identity.user_id, identity.tenant
        categories = request.query.getall("category", None)
        page = await self._changes.page(
            user_id, _marks(request), _limit(request), request.query.get("before"),
            tenant=tenant, categories=None if categories is None else {each or None for each in categories},
        )  # fmt: skip
        if page is None:
            raise invalid(FieldProblem("before", "must be the id of an entry of this inbox"))
        texts = [item.notification for item in await self._alerts.shown(page.items)]
        is_top = "before" not in request.query and request.query.get("state") in (None, "unread")
        waiting = await self._changes.unanswered(user_id, self._alerts, tenant) if is_top else []
        unanswered = ",".join(item.notification for item in waiting)
        counted = [{"name": each.category, "unread": each.unread} for each in page.categories]
        by_category = f'"categories":{json.dumps(counted)},' if "before" not in request.query else ""
        return _json(
            f'{{"notifications":[{",".join(texts)}],"unanswered":[{unanswered}],"unread":{page.unread},{by_category}'
            f'"cursor":"{page.cursor.encode()}"}}'
        )

    def mark(self, change: Change) -> Handler:
        """Make the handler that changes the mark of one entry."""

        async def handle(request: web.Request) -> web.Response:
            identity = await self._guard.user(request)
            if not await self._changes.mark(identity.user_id, request.match_info["id"], change, identity.tenant):
                raise not_found()
            return web.Response(status=204)

        return handle

    async def read_all(self, request: web.Request) -> web.Response:
        """Mark everything as read."""
        identity = await self._guard.user(request)
        await self._changes.read_all(identity.user_id, identity.tenant)
        return web.Response(status=204)

    async def snooze(self, request: web.Request) -> web.Response:
        """Put an entry away for a while."""
        identity = await self._guard.user(request)
        try:
            snooze = Snooze.model_validate(await json_object(request))
        except ValidationError as error:
            raise from_validation(error) from None
        ends_at = snooze.ends_at(self._clock.now(), self._changes.longest_snooze)
        try:
            done = await self._changes.snooze(
                identity.user_id, request.match_info["id"], epoch_ms(ends_at), self._alerts, identity.tenant
            )
        except NotSnoozed as error:
            raise Refusal(409, error.why, error.why.message) from None
        if not done:
            raise not_found()
        return web.Response(status=204)

    async def end_snooze(self, request: web.Request) -> web.Response:
        """Let a snoozed entry come back now."""
        identity = await self._guard.user(request)
        if not await self._changes.end_snooze(identity.user_id, request.match_info["id"], identity.tenant):
            raise not_found()
        return web.Response(status=204)

    async def act(self, request: web.Request) -> web.Response:
        """Press an action of an entry."""
        identity = await self._guard.user(request)
        entry_id, action = request.match_info["id"], request.match_info["action"]
        try:
            done = await self._acting.act(identity.user_id, entry_id, action, identity.tenant)
        except BrokerUnavailable:
            raise unavailable() from None
        if not done:
            raise not_found()
        return web.Response(status=204)

    async def preferences(self, request: web.Request) -> web.Response:
        """Show what the user hears of, and what there is to choose."""
        identity = await self._guard.user(request)
        shown = await self._choosing.shown(identity.user_id, identity.tenant)
        if shown is None:
            raise _unknown_user()
        return _json(shown)

    async def put_preferences(self, request: web.Request) -> web.Response:
        """Replace the user's own choices. For a channel that is not named, the directory decides again."""
        identity = await self._guard.user(request)
        said = await json_object(request)
        before = await self._directory.person(identity.user_id)
        shown = await self._choosing.choose(identity.user_id, identity.tenant, said)
        if shown is None:
            raise _unknown_user()
        if _quiet(before) != _quiet(await self._directory.person(identity.user_id)):
            await self._held.release(identity.user_id)
        await self._changes.person_changed(identity.user_id)
        return _json(shown)

    async def add_device(self, request: web.Request) -> web.Response:
        """Add a device for pushes. A device that is known already counts as registered now."""
        user_id = (await self._guard.user(request)).user_id
        try:
            named = _devices.validate_python(await json_object(request))
        except ValidationError as error:
            raise from_validation(error) from None
        # The device says itself that it is there, whatever was known before.
        device = named.model_copy(update={"registered_at": self._clock.now()})

        def with_device(person: Person, own: OwnChoices) -> OwnChoices:
            if sum(known.identity != device.identity for known in person.devices) >= DEVICES:
                raise Refusal(409, "too_many_devices", f"A user has at most {DEVICES} devices.")
            others = tuple(known for known in own.devices if known.identity != device.identity)
            return own.model_copy(update={"devices": (*others, device)})

        if await self._directory.choose(user_id, with_device) is None:
            # A token does not make somebody a recipient: it may outlive a record that was deleted on purpose.
            raise _unknown_user()
        return web.Response(status=204)

    async def remove_device(self, request: web.Request) -> web.Response:
        """Remove a device by its token, a browser by its subscription's endpoint."""
        user_id = (await self._guard.user(request)).user_id
        if not await self._directory.forget_device(user_id, request.match_info["token"]):
            raise not_found()
        return web.Response(status=204)

    async def webpush(self, request: web.Request) -> web.Response:
        """Show the key that browsers subscribe with."""
        await self._guard.user(request)
        if self._webpush_key is None:
            raise not_found()
        return _json(WebPushKey(public_key=self._webpush_key).model_dump_json())

    async def ticket(self, request: web.Request) -> web.Response:
        """Make a one-time ticket."""
        ticket = Ticket(ticket=await self._guard.issue_ticket(request), expires_in=TICKET_S)
        return _json(ticket.model_dump_json())


def _quiet(person: Person | None) -> object:
    return None if person is None else (person.quiet_hours, person.snooze_until)


def _unknown_user() -> Refusal:
    return Refusal(404, "unknown_user", "The directory does not know this user.")


def _json(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})


def _limit(request: web.Request) -> int:
    """Read how many entries are asked for at most; a page holds ``PAGE_MOST``, whatever more is asked for."""
    return min(whole_number(request, "limit", PAGE_DEFAULT), PAGE_MOST)


def _marks(request: web.Request) -> Collection[Mark]:
    """Read which entries are asked for; without a state, all but the archived."""
    marks = _STATES.get(request.query.get("state"))
    if marks is None:
        raise invalid(FieldProblem("state", "must be unread, read, archived or snoozed"))
    return marks

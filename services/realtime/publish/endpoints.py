"""The calls of HTTP for publishers, as handlers.

Promises that what is published here is what MQTT takes: the body goes to the router unread, in the publisher's name,
and the answer is the router's receipt. A client that goes away leaves nothing behind that lives longer than the wait
for its receipt.
"""

import asyncio

from aiohttp import web

from services.realtime.access.bodies import whole_number
from services.realtime.access.rates import Rates
from services.realtime.access.refusals import (
    FieldProblem,
    Refusal,
    invalid,
    not_found,
    too_many_requests,
    unavailable,
)
from services.realtime.publish import metrics
from services.realtime.publish.answers import answer_of, no_router
from services.realtime.publish.outcomes import Outcomes
from services.realtime.publish.posted import read_posted
from services.realtime.publish.properties import properties_of
from services.realtime.publish.publisher_keys import PublisherKeys
from services.realtime.publish.router_link import NoReceipt, RouterLink
from services.realtime.publish.shapes import DELIVERIES_DEFAULT, DELIVERIES_MOST
from shared.core.errors import StoreUnavailable
from shared.mqtt.connection import is_topic_name
from shared.telemetry.metrics import series


class PublishEndpoints:
    """What publishers may ask.

    Args:
        rates: how often each publisher may ask what became of a notification.
        stopping: set when the process is about to end; clients are then told to connect elsewhere.
    """

    def __init__(
        self, keys: PublisherKeys, router: RouterLink, outcomes: Outcomes, rates: Rates, stopping: asyncio.Event
    ) -> None:
        self._keys = keys
        self._router = router
        self._outcomes = outcomes
        self._rates = rates
        self._stopping = stopping

    def routes(self) -> list[web.RouteDef]:
        """Return the calls with their paths."""
        return [
            web.post("/v1/publish/{topic:(?s:.+)}", self.publish),
            web.get("/v1/notifications/{id}", self.outcome, allow_head=False),
        ]

    async def publish(self, request: web.Request) -> web.StreamResponse:
        """Publish what is posted, and answer with the receipt."""
        try:
            response = await self._published(request)
        except Refusal as refusal:
            response = refusal.response()
        except StoreUnavailable:
            response = unavailable().response()
        series(metrics.http_publishes, str(response.status)).inc()
        if self._stopping.is_set():
            response.force_close()
        return response

    async def outcome(self, request: web.Request) -> web.Response:
        """Show what became of a notification."""
        publisher = await self._keys.publisher(request)
        if wait_s := self._rates.take(publisher):
            raise too_many_requests("Too many requests of this publisher in too short a time.", wait_s)
        limit = min(whole_number(request, "limit", DELIVERIES_DEFAULT), DELIVERIES_MOST)
        found = await self._outcomes.read(publisher, request.match_info["id"], limit)
        if found is None:
            raise not_found()
        return web.Response(text=found.model_dump_json(exclude_none=True), content_type="application/json")

    async def _published(self, request: web.Request) -> web.Response:
        publisher = await self._keys.publisher(request)
        with self._router.places.hold(publisher) as place:
            topic = request.match_info["topic"]
            if not is_topic_name(f"from/{publisher}/{topic}"):
                raise invalid(FieldProblem("topic", "must be the name of an MQTT topic"))
            properties = properties_of(request)
            payload = await read_posted(request, place)
            try:
                return answer_of(await self._router.ask(publisher, topic, payload, properties))
            except NoReceipt as error:
                raise no_router(error) from None

"""``POST /v1/alertmanager/{alert_type}``.

Promises that a message is answered with 2xx only when every alert of it is in the ledger, or was refused for good.
Alertmanager sends a message again after 5xx and after nothing else, so whatever may pass is 503, and whatever would be
the same again is 4xx.
"""

import asyncio
import logging
from http import HTTPStatus

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from services.realtime.access.refusals import FieldProblem, Refusal, from_validation, invalid, unavailable
from services.realtime.alertmanager import metrics
from services.realtime.alertmanager.mapping import Asked
from services.realtime.alertmanager.metrics import Outcome
from services.realtime.alertmanager.shapes import WebhookQuery
from services.realtime.alertmanager.taking import REFUSALS_SHOWN, NotStored, Taking
from services.realtime.alertmanager.webhook import Message, UnreadableMessage, read_message
from services.realtime.publish.posted import read_posted
from services.realtime.publish.publisher_keys import PublisherKeys
from services.realtime.publish.router_link import RouterLink
from shared.core.errors import StoreUnavailable
from shared.core.fields import Identifier
from shared.telemetry.metrics import series

log = logging.getLogger(__name__)

PATH = "/v1/alertmanager/{alert_type}"

# Elsewhere the client is told so by 4xx, after which Alertmanager would give the message up.
_PASSES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)

_TYPE: TypeAdapter[str] = TypeAdapter(Identifier)


class AlertmanagerEndpoint:
    """The call.

    Args:
        stopping: set when the process is about to end; Alertmanager is then told to connect elsewhere.
    """

    def __init__(self, keys: PublisherKeys, router: RouterLink, stopping: asyncio.Event) -> None:
        self._keys = keys
        self._router = router
        self._stopping = stopping

    def routes(self) -> list[web.RouteDef]:
        """Return the call with its path."""
        return [web.post(PATH, self.take)]

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take a message."""
        try:
            response: web.Response = await self._taken(request)
        except Refusal as refusal:
            response = refusal.response()
        except (StoreUnavailable, NotStored):
            response = unavailable().response()
        series(metrics.messages, str(response.status)).inc()
        if self._stopping.is_set():
            response.force_close()
        return response

    async def _taken(self, request: web.Request) -> web.Response:
        publisher = await self._keys.publisher(request)
        asked = _asked(request)
        message = await self._read(request, publisher)
        taken = Taking(self._router, publisher, message, asked)
        await taken.run()
        metrics.truncated.inc(message.truncated_alerts)
        metrics.left_out.inc(taken.labels_left_out)
        if taken.labels_left_out:
            log.warning("labels of alerts left out", extra={"publisher": publisher, "labels": taken.labels_left_out})
        if taken.refused:
            codes = sorted({each.code for each in taken.refused})
            extra = {"publisher": publisher, "alerts": len(taken.refused), "codes": codes}
            log.warning("alerts refused for good", extra=extra)
        if taken.refused and len(taken.refused) == len(message.alerts):
            raise _nothing_taken(taken)
        return web.json_response(_answer(message, taken))

    async def _read(self, request: web.Request, publisher: str) -> Message:
        try:
            with self._router.places.hold(publisher) as place:
                return read_message(await read_posted(request, place))
        except UnreadableMessage as error:
            raise invalid(*error.problems) from None
        except Refusal as refusal:
            if refusal.status not in _PASSES:
                raise
            raise Refusal(503, "unavailable", refusal.message, headers=refusal.headers) from None


def _asked(request: web.Request) -> Asked:
    alert_type = request.match_info["alert_type"]
    try:
        _TYPE.validate_python(alert_type)
    except ValidationError as error:
        raise invalid(*(FieldProblem("alert_type", each.problem) for each in from_validation(error).fields)) from None
    try:
        query = WebhookQuery.model_validate(dict(request.query))
    except ValidationError as error:
        raise from_validation(error) from None
    return Asked(alert_type, query.level, query.expires_after.total_seconds())


def _nothing_taken(taken: Taking) -> Refusal:
    if all(refused.code == "unauthorized" for refused in taken.refused):
        return Refusal(403, "unauthorized", "The publisher may not publish these alerts.")
    problems = [FieldProblem(f"alerts.{each.place}", each.code) for each in taken.refused[:REFUSALS_SHOWN]]
    return Refusal(400, "nothing_taken", "Every alert of the message was refused.", fields=problems)


def _answer(message: Message, taken: Taking) -> dict[str, object]:
    answer: dict[str, object] = {
        "accepted": taken.outcomes[Outcome.ACCEPTED],
        "duplicates": taken.outcomes[Outcome.DUPLICATE],
        "refused": taken.outcomes[Outcome.REFUSED],
        "truncated": message.truncated_alerts,
        "labels_left_out": taken.labels_left_out,
    }
    if taken.refused:
        answer["refusals"] = [each.document() for each in taken.refused[:REFUSALS_SHOWN]]
    return answer

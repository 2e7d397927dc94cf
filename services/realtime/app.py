"""The HTTP server of one realtime process, put together.

Promises that every error answer is JSON of one shape, and that no browser takes an answer for another type than it has.
On shutdown every client is told to connect elsewhere before the server ends.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from services.realtime.access.addresses import Addresses, AddressLimits
from services.realtime.access.client_connection import ClientConnection
from services.realtime.access.guard import Guard
from services.realtime.access.jwks import RemoteKeys
from services.realtime.access.origins import Origins
from services.realtime.access.rates import Rates
from services.realtime.access.refusals import FieldProblem, Refusal, from_http, from_status, invalid, unavailable
from services.realtime.access.tickets import Tickets
from services.realtime.access.tokens import Keys, SharedSecret, TokenVerifier
from services.realtime.alertmanager import metrics as alertmanager_metrics
from services.realtime.alertmanager.endpoint import AlertmanagerEndpoint
from services.realtime.bounces.mails import ReportedMails
from services.realtime.bounces.providers import configured
from services.realtime.bounces.suppressing import Suppressing, TakenReports
from services.realtime.bounces.webhooks import Webhooks
from services.realtime.description import description_routes
from services.realtime.http.answer import AnswerPage
from services.realtime.http.api import Api
from services.realtime.http.choosing import Choosing
from services.realtime.http.files import page_routes
from services.realtime.http.incidents import IncidentCalls
from services.realtime.http.oncall import OnCallCalls
from services.realtime.http.silences import SilenceCalls
from services.realtime.http.unsubscribe import Unsubscription
from services.realtime.http.viewer import viewer_routes
from services.realtime.node.node import RealtimeNode
from services.realtime.publish import metrics
from services.realtime.publish.endpoints import PublishEndpoints
from services.realtime.publish.outcomes import Outcomes
from services.realtime.publish.publisher_keys import PublisherKeys
from services.realtime.publish.router_link import RouterLink
from services.realtime.sessions.alert_states import AlertStates
from services.realtime.settings import RealtimeSettings
from services.realtime.sockets.client_frames import ClientFrames
from services.realtime.sockets.endpoints import SessionEndpoints
from shared.core.errors import ConfigError, StoreUnavailable
from shared.core.model import Channel
from shared.directory.answer_link import PATH as ANSWER_PATH
from shared.directory.catalogue import Catalogues
from shared.directory.publishers import Publishers
from shared.directory.rulebook import Rulebook
from shared.directory.suppression import Suppressions
from shared.directory.unsubscribe import PATH as UNSUBSCRIBE_PATH
from shared.ledger.answering import Answering
from shared.ledger.confirmations import Confirmations
from shared.ledger.held import Held, Muted
from shared.ledger.incidents import Incidents
from shared.ledger.reader import Trace
from shared.ledger.told_alert import ToldAlerts
from shared.runtime.settings import secrets_in
from shared.telemetry.log import frames

log = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024

# What a user may ask at once, in seconds of the steady rate.
BURST_S = 10

# Connections that wait to be accepted when all clients of another process connect here (bounded by net.core.somaxconn).
BACKLOG = 4096

# There the link alone decides. Mail programs show its page under an origin of their own, and browsers hide the origin
# of a page that sends no referrer.
_LINK_PATHS = (UNSUBSCRIBE_PATH, ANSWER_PATH)

# For requests that are still being answered when the server ends. Sessions have been closed before.
_SHUTDOWN_S = 2.0


@asynccontextmanager
async def serve_clients(node: RealtimeNode, router: RouterLink) -> AsyncIterator[int]:
    """Serve WebSocket, SSE, API, publishers and page while the context stands.

    Yields:
        The port, which the system chose when 0 was asked for.

    Raises:
        ConfigError: the port cannot be had.
    """
    settings = node.context.settings
    metrics.prepare()
    alertmanager_metrics.prepare()
    async with AsyncExitStack() as stack:
        keys = await _keys(settings, stack)
        addresses = Addresses(settings.trusted_proxies)
        limits = AddressLimits(
            settings.realtime_max_sessions_per_address, settings.realtime_new_sessions_per_address_per_s
        )
        await stack.enter_async_context(router.running())
        runner = web.AppRunner(build(node, keys, addresses, limits, router), shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(router.drained)
        listening = await _listen(settings, runner, addresses, limits)
        stack.push_async_callback(node.close_sessions)
        stack.callback(listening.close)
        port = int(listening.sockets[0].getsockname()[1])
        log.info("serving clients", extra={"port": port})
        yield port


async def _listen(
    settings: RealtimeSettings, runner: web.AppRunner, addresses: Addresses, limits: AddressLimits
) -> asyncio.Server:
    """Accept connections of our own class. An aiohttp site knows only aiohttp's class."""
    loop = asyncio.get_running_loop()
    # There is one after the runner's setup.
    server = cast("web.Server", runner.server)
    try:
        return await loop.create_server(
            lambda: ClientConnection(server, addresses, limits, loop),
            settings.realtime_host,
            settings.realtime_port,
            backlog=BACKLOG,
        )
    except OSError as error:
        raise ConfigError(f"REALTIME_PORT: cannot listen on {settings.realtime_port} ({error.strerror})") from None


async def _keys(settings: RealtimeSettings, stack: AsyncExitStack) -> Keys:
    if settings.realtime_jwt_secret is not None:
        return SharedSecret(*secrets_in(settings.realtime_jwt_secret))
    return await stack.enter_async_context(RemoteKeys(settings.realtime_jwks_url or ""))


def build(
    node: RealtimeNode, keys: Keys, addresses: Addresses, limits: AddressLimits, router: RouterLink
) -> web.Application:
    """Put the application together."""
    context = node.context
    origins = Origins(context.settings.allowed_origins)
    per_s = context.settings.realtime_requests_per_user_per_s
    rates = Rates(per_s, per_s * BURST_S)
    tickets = Tickets(context.store, context.keys)
    guard = Guard(TokenVerifier(context.settings, keys), tickets, origins, context.directory, rates)
    muted = Muted(context.store, context.keys)
    answering = Answering(context.ledger, context.directory, muted)
    client_frames = ClientFrames(
        node.changes, answering, node.presence, rates,
        acting=node.acting, alerts=AlertStates(context.ledger), clock=context.clock,
    )  # fmt: skip
    sessions = SessionEndpoints(node, guard, origins, client_frames, addresses=addresses, limits=limits)
    unwanted = Suppressions(context.store, context.keys, Channel.EMAIL, context.clock)
    catalogues = Catalogues(context.store, context.keys)
    choosing = Choosing(context.directory, catalogues, unwanted, context.clock, context.settings.without)
    api = Api(
        guard, node.changes, context.directory, context.ledger, context.clock,
        acting=node.acting, held=Held(context.store, context.keys),
        choosing=choosing, webpush_key=context.settings.realtime_webpush_public_key,
    )  # fmt: skip

    publisher_keys = PublisherKeys(Publishers(context.store, context.keys).of_key, addresses)
    outcomes = Outcomes(Trace(context.store, context.keys))
    publish = PublishEndpoints(publisher_keys, router, outcomes, Rates(per_s, per_s * BURST_S), context.stopping)
    alertmanager = AlertmanagerEndpoint(publisher_keys, router, context.stopping)

    secret = context.settings.email_unsubscribe_secret
    unsubscription = Unsubscription(secrets_in(secret), unwanted).routes() if secret is not None else []
    link_secret = context.settings.realtime_link_secret
    oncall = OnCallCalls(
        guard, context.directory, context.clock, secrets_in(link_secret) if link_secret is not None else ()
    )
    told = ToldAlerts(context.store, context.keys, context.directory)
    incidents = IncidentCalls(
        guard, context.directory, context.clock,
        incidents=Incidents(context.store, context.keys), told=told, answering=answering,
    )  # fmt: skip
    silences = SilenceCalls(
        guard, context.directory, context.clock, rulebook=Rulebook(context.store, context.keys), muted=muted
    )
    answer_page = _answer_page(node, answering, Rates(per_s, per_s * BURST_S))
    webhooks = _webhooks(node, unwanted, addresses)

    app = web.Application(middlewares=[_answer_errors(origins)], client_max_size=BODY_BYTES)
    app.on_response_prepare.append(_protect)
    app.on_response_prepare.append(origins.sign)
    demo = context.settings.realtime_demo_page == "on"
    app.add_routes(
        [
            web.get("/v1/ws", sessions.websocket),
            web.get("/v1/events", sessions.events, allow_head=False),
            *api.routes(),
            *oncall.routes(),
            *incidents.routes(),
            *silences.routes(),
            *publish.routes(),
            *alertmanager.routes(),
            *unsubscription,
            *answer_page,
            *webhooks,
            *description_routes(viewer=demo),
            *(viewer_routes() if demo else ()),
            *page_routes(demo=demo, public_url=context.settings.realtime_public_url),
        ]
    )
    return app


def _answer_page(node: RealtimeNode, answering: Answering, rates: Rates) -> list[web.RouteDef]:
    context = node.context
    secret = context.settings.realtime_link_secret
    if secret is None:
        return []
    alerts = ToldAlerts(context.store, context.keys, context.directory)
    return AnswerPage(secrets_in(secret), alerts, answering, rates, context.clock).routes()


def _webhooks(node: RealtimeNode, unwanted: Suppressions, addresses: Addresses) -> list[web.RouteDef]:
    context = node.context
    providers = configured(context.settings)
    if not providers:
        return []
    taken = TakenReports(context.store, context.keys)

    def publish(topic: str, payload: str) -> "asyncio.Future[bool]":
        # There is no connection yet when this is put together.
        return context.publish(topic, payload)

    mails = ReportedMails(Confirmations(context.store, context.keys), context.topics, publish, context.clock)
    suppressing = Suppressing(unwanted, mails, taken, context.directory.count, context.clock)
    return Webhooks(providers, suppressing, addresses).routes()


def _answer_errors(origins: Origins) -> Middleware:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if isinstance(request.protocol, ClientConnection):
            request.protocol.asked()
        try:
            _refuse_packed(request)
            if request.path not in _LINK_PATHS:
                origins.of(request)
            return origins.preflight(request) or await handler(request)
        except Refusal as refusal:
            return refusal.response()
        except StoreUnavailable:
            return unavailable().response()
        except web.HTTPException as error:
            return from_http(error).response()
        except Exception as error:  # noqa: BLE001 - logged here, without its text, which may quote the request
            # The path may hold an id or a token; the method and the route say enough.
            what = {"method": request.method, "route": _route(request), "traceback": frames(error)}
            log.error("request failed", extra=what)  # noqa: TRY400
            return from_status(HTTPStatus.INTERNAL_SERVER_ERROR).response()

    return answer


def _refuse_packed(request: web.Request) -> None:
    """Refuse compressed bodies: bodies are small, but a compressed one may become large."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise invalid(FieldProblem("Content-Encoding", "must not be used: send the body as it is"))


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


async def _protect(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "no-store")

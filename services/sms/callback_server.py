"""The endpoint that providers call to report what became of a message and what people answer.

Promises that a body is bounded in size and in time. After an answer other than 2xx the provider can call again without
harm. Does not check who calls: each provider's route does.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from services.sms.settings import CallbackEndpoint
from shared.core.errors import ConfigError, StoreUnavailable
from shared.telemetry.log import frames

log = logging.getLogger(__name__)

ReadT = TypeVar("ReadT")

# Twilio sends some thirty short fields; an inbound SMS has at most 1,600 characters.
BODY_BYTES = 64 * 1024
READ_DEADLINE_S = 10
_SHUTDOWN_S = 2.0


async def in_time(reading: Awaitable[ReadT]) -> ReadT:
    """Wait for a request's body.

    Raises:
        web.HTTPException: the body is too slow, or cannot be read.
    """
    try:
        async with asyncio.timeout(READ_DEADLINE_S):
            return await reading
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (ValueError, LookupError):
        # For example the body names a charset that does not exist.
        raise web.HTTPBadRequest from None


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except StoreUnavailable:
        return web.Response(status=503)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - logged here, without its text, which may quote the body
        # Without the query, which names a delivery. The route says enough.
        known = request.match_info.route.resource
        path = known.canonical if known is not None else ""
        log.error("callback failed", extra={"path": path, "traceback": frames(error)})  # noqa: TRY400
        return web.Response(status=500)


@asynccontextmanager
async def serve_callbacks(endpoint: CallbackEndpoint, routes: Iterable[web.RouteDef]) -> AsyncIterator[int]:
    """Serve providers' calls while the context stands.

    Yields:
        The port, which the system chose when 0 was asked for.

    Raises:
        ConfigError: the port cannot be had.
    """
    app = web.Application(client_max_size=BODY_BYTES, middlewares=[_answer_errors])
    app.add_routes(routes)
    # Providers do not compress their calls, so a compressed body is not read.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, endpoint.host, endpoint.port).start()
        except OSError as error:
            raise ConfigError(f"SMS_CALLBACK_PORT: cannot listen on {endpoint.port} ({error.strerror})") from None
        port = int(runner.addresses[0][1])
        log.info("callback endpoint", extra={"port": port})
        yield port
    finally:
        await runner.cleanup()
